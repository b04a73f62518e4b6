//! The values of a tensor: collected from JSON without an intermediate tree, and checked against the datatype.

use std::fmt;
use std::sync::Arc;

use forebay_contract::Problem;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::{Datatype, WholeFloats, unsuitable};

/// Nested arrays deeper than this are refused.
const MAX_DEPTH: usize = 100;
/// What stands for a token of infinity in a document that has been through `json_tokens`.
pub(crate) const INFINITY_MARK: &str = "\u{0}Infinity";
/// The greatest number up to which every integer is exact in 64-bit floats.
const MOST_EXACT: u64 = 1 << 53;

/// One value that is not simply a number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Missing,
    Float(f64),
    Integer(i64),
    Boolean(bool),
    Text(Arc<str>),
}

/// Values in row-major order. Numbers alone are kept as they are passed on: NaN is a missing value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Collected {
    Numbers(Vec<f64>, WholeFloats),
    Values(Vec<Value>),
}

impl Default for Collected {
    fn default() -> Self {
        Self::Numbers(Vec::new(), WholeFloats::None)
    }
}

impl Collected {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers, _) => numbers.len(),
            Self::Values(values) => values.len(),
        }
    }

    /// A float, or a missing value.
    pub(crate) fn push_number(&mut self, number: f64) {
        match self {
            Self::Numbers(numbers, floats) => {
                if number.fract() == 0.0 {
                    floats.insert(numbers.len());
                }
                numbers.push(number);
            }
            Self::Values(values) => values.push(number_value(number, true)),
        }
    }

    /// An integer; one that a float cannot hold makes the values typed.
    pub(crate) fn push_integer(&mut self, integer: i64) {
        match self {
            Self::Numbers(numbers, _) if integer.unsigned_abs() <= MOST_EXACT => numbers.push(integer as f64),
            _ => self.push_value(Value::Integer(integer)),
        }
    }

    pub(crate) fn push_value(&mut self, value: Value) {
        if let Self::Numbers(numbers, floats) = self {
            let values =
                numbers.iter().enumerate().map(|(index, number)| number_value(*number, floats.contains(index)));
            *self = Self::Values(values.collect());
        }
        if let Self::Values(values) = self {
            values.push(value);
        }
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn value(&self, index: usize) -> Value {
        match self {
            Self::Numbers(numbers, floats) => number_value(numbers[index], floats.contains(index)),
            Self::Values(values) => values[index].clone(),
        }
    }

    /// Checks values that came as JSON against the datatype of the tensor `name`, and rounds those of `FP32`. The datatype
    /// says which whole numbers are floats.
    ///
    /// # Errors
    /// `invalid_features`, with the tensor and the index of the first value that is wrong.
    pub(crate) fn checked(mut self, datatype: Datatype, name: &str) -> Result<Self, Problem> {
        if matches!(datatype, Datatype::Fp16 | Datatype::Bf16) {
            let text = format!("input '{name}': {} cannot be sent as JSON, only as binary data", datatype.name());
            return Err(unsuitable(text));
        }
        match &mut self {
            Self::Numbers(numbers, floats) => {
                *floats = if datatype.is_float() { WholeFloats::All } else { WholeFloats::None };
                for (index, number) in numbers.iter_mut().enumerate() {
                    *number = checked_number(*number, datatype).map_err(|why| wrong(name, index, datatype, &why))?;
                }
                if datatype == Datatype::Bool {
                    let boolean =
                        |number: &f64| if number.is_nan() { Value::Missing } else { Value::Boolean(*number == 1.0) };
                    return Ok(Self::Values(numbers.iter().map(boolean).collect()));
                }
            }
            Self::Values(values) => {
                for (index, value) in values.iter_mut().enumerate() {
                    check_value(value, datatype).map_err(|why| wrong(name, index, datatype, &why))?;
                }
            }
        }
        Ok(self)
    }
}

impl FromIterator<Value> for Collected {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        let mut collected = Self::default();
        for value in values {
            match value {
                Value::Missing => collected.push_number(f64::NAN),
                Value::Float(number) => collected.push_number(number),
                Value::Integer(integer) => collected.push_integer(integer),
                other => collected.push_value(other),
            }
        }
        collected
    }
}

fn number_value(number: f64, float: bool) -> Value {
    match number {
        _ if number.is_nan() => Value::Missing,
        // numbers without the bit came from an integer of this size
        _ if !float && number.fract() == 0.0 && number.abs() <= MOST_EXACT as f64 => Value::Integer(number as i64),
        _ => Value::Float(number),
    }
}

fn wrong(name: &str, index: usize, datatype: Datatype, why: &str) -> Problem {
    unsuitable(format!("input '{name}': element {index} {why}, which is no value of {}", datatype.name()))
}

/// The number as the datatype holds it. NaN is a missing value of any datatype.
fn checked_number(number: f64, datatype: Datatype) -> Result<f64, String> {
    if number.is_nan() {
        return Ok(number);
    }
    if number.is_infinite() {
        return Err(format!("is {number}"));
    }
    if let Some((least, most)) = datatype.integer_range() {
        let fits = number.fract() == 0.0 && (least..=most).contains(&number);
        return if fits { Ok(number) } else { Err(format!("is {number}")) };
    }
    match datatype {
        Datatype::Fp64 => Ok(number),
        Datatype::Fp32 => {
            let rounded = number as f32;
            if rounded.is_finite() { Ok(f64::from(rounded)) } else { Err(format!("is {number}")) }
        }
        Datatype::Bool if number == 0.0 || number == 1.0 => Ok(number),
        _ => Err(format!("is the number {number}")),
    }
}

fn check_value(value: &mut Value, datatype: Datatype) -> Result<(), String> {
    match value {
        Value::Float(_) | Value::Integer(_) if datatype == Datatype::Bool => {
            let number = match value {
                Value::Integer(integer) => *integer as f64,
                Value::Float(number) => *number,
                _ => return Ok(()),
            };
            *value = Value::Boolean(checked_number(number, datatype)? == 1.0);
        }
        Value::Missing => {}
        Value::Float(number) => {
            let number = checked_number(*number, datatype)?;
            *value = number_value(number, datatype.is_float());
        }
        Value::Integer(integer) if datatype.is_float() => {
            *value = Value::Float(checked_number(*integer as f64, datatype)?);
        }
        Value::Integer(integer) => {
            if datatype == Datatype::Uint64 && *integer < 0 {
                return Err(format!("is {integer}"));
            }
            if !matches!(datatype, Datatype::Int64 | Datatype::Uint64) {
                checked_number(*integer as f64, datatype)?;
            }
        }
        Value::Boolean(_) if datatype == Datatype::Bool => {}
        Value::Boolean(given) => return Err(format!("is {given}")),
        Value::Text(text) if text.as_ref() == INFINITY_MARK => return Err("is not finite".to_owned()),
        Value::Text(_) if datatype == Datatype::Bytes => {}
        Value::Text(_) => return Err("is a string".to_owned()),
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Collected {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let mut collected = Self::default();
        json.deserialize_seq(ArrayOf { collected: &mut collected, depth: 1 })?;
        Ok(collected)
    }
}

/// An array of values or of arrays.
pub(crate) struct ArrayOf<'c> {
    pub collected: &'c mut Collected,
    pub depth: usize,
}

impl<'de> Visitor<'de> for ArrayOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers, booleans, strings or nulls, flat or nested")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(ElementOf { collected: &mut *self.collected, depth: self.depth })?.is_some() {}
        Ok(())
    }
}

/// One element, or an array inside.
pub(crate) struct ElementOf<'c> {
    pub collected: &'c mut Collected,
    pub depth: usize,
}

impl<'de> DeserializeSeed<'de> for ElementOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a boolean, a string, null or an array")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.collected.push_number(number);
        Ok(())
    }

    fn visit_i64<E: Error>(self, integer: i64) -> Result<(), E> {
        self.collected.push_integer(integer);
        Ok(())
    }

    fn visit_u64<E: Error>(self, integer: u64) -> Result<(), E> {
        match i64::try_from(integer) {
            Ok(integer) => self.collected.push_integer(integer),
            Err(_) => self.collected.push_number(integer as f64),
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.collected.push_number(f64::NAN);
        Ok(())
    }

    fn visit_bool<E: Error>(self, boolean: bool) -> Result<(), E> {
        self.collected.push_value(Value::Boolean(boolean));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.collected.push_value(Value::Text(text.into()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        if self.depth >= MAX_DEPTH {
            return Err(A::Error::custom(format_args!("nested deeper than {MAX_DEPTH} arrays")));
        }
        ArrayOf { collected: self.collected, depth: self.depth + 1 }.visit_seq(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Collected {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn nested_and_flat_arrays_are_the_same_and_numbers_stay_plain() {
        assert_eq!(read("[[1,2.5],[3,-4]]"), Collected::Numbers(vec![1.0, 2.5, 3.0, -4.0], WholeFloats::None));
        assert_eq!(read("[]").len(), 0);
        let Collected::Numbers(numbers, _) = read("[1,null]") else { panic!("typed") };
        assert!(numbers[0] == 1.0 && numbers[1].is_nan());
        let typed = vec![
            Value::Integer(1),
            Value::Float(1.0),
            Value::Integer(9_007_199_254_740_993),
            Value::Boolean(true),
            Value::Text("a".into()),
        ];
        assert_eq!(read(r#"[1,1.0,9007199254740993,true,"a"]"#), Collected::Values(typed));
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(serde_json::from_str::<Collected>(&deep(100)).is_ok());
        assert!(serde_json::from_str::<Collected>(&deep(101)).is_err());
        assert!(serde_json::from_str::<Collected>("5").is_err() && serde_json::from_str::<Collected>("[{}]").is_err());
    }

    #[test]
    fn values_are_checked_against_the_datatype() {
        let checked = |json: &str, datatype| read(json).checked(datatype, "x").map_err(|problem| problem.message);
        let floats = |numbers| Ok(Collected::Numbers(numbers, WholeFloats::All));
        assert_eq!(checked("[0.1,1]", Datatype::Fp64), floats(vec![0.1, 1.0]));
        assert_eq!(checked("[0.1]", Datatype::Fp32), floats(vec![f64::from(0.1_f32)]));
        assert_eq!(checked("[1.0]", Datatype::Int64), Ok(Collected::Numbers(vec![1.0], WholeFloats::None)));
        let exact = 9_007_199_254_740_993;
        let values = |one, large| Ok(Collected::Values(vec![one, Value::Missing, large]));
        let json = "[1.0,null,9007199254740993]";
        assert_eq!(checked(json, Datatype::Int64), values(Value::Integer(1), Value::Integer(exact)));
        assert_eq!(checked(json, Datatype::Fp64), values(Value::Float(1.0), Value::Float(exact as f64)));
        assert_eq!(
            checked("[true,0]", Datatype::Bool),
            Ok(Collected::Values(vec![Value::Boolean(true), Value::Boolean(false)]))
        );
        assert_eq!(checked("[1]", Datatype::Bool), Ok(Collected::Values(vec![Value::Boolean(true)])));
        for (json, datatype, message) in [
            ("[1,1e39]", Datatype::Fp32, "element 1 is"),
            ("[1.5]", Datatype::Int32, "element 0 is 1.5"),
            ("[256]", Datatype::Uint8, "element 0 is 256"),
            ("[-1]", Datatype::Uint64, "element 0 is -1"),
            ("[1]", Datatype::Bytes, "is the number 1"),
            (r#"["a"]"#, Datatype::Fp32, "is a string"),
            ("[1]", Datatype::Fp16, "cannot be sent as JSON"),
            (r#"[1,"\u0000Infinity"]"#, Datatype::Fp64, "element 1 is not finite"),
        ] {
            let error = checked(json, datatype).unwrap_err();
            assert!(error.starts_with("input 'x'") && error.contains(message), "{json}: {error}");
        }
    }
}
