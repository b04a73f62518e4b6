//! One row as the client wrote it.

use forebay_contract::{Request, Value};

/// The largest integer below which a double holds every integer.
const EXACT: u64 = 1 << 53;

/// A value of a row as JSON has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum JsonValue {
    /// A number that a double holds: an integer, or one with a fraction. NaN represents `null`.
    Number(f64),
    /// A whole number that was written as `1.0` or `1e3`.
    WholeFloat(f64),
    /// An integer that no double holds.
    Long(i64),
    Boolean(bool),
    Text(String),
}

/// The values of one row.
///
/// A row of numbers is in `values`. As soon as there is text, a boolean or an integer that no double holds, the whole
/// row is in `mixed` and `values` is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Values in the order in which the client wrote them; NaN represents `null`, a missing value.
    pub values: Vec<f64>,
    /// The same for a row that has more than numbers.
    pub mixed: Vec<Value>,
    /// One name for each value if the client sent named fields, else empty.
    pub names: Vec<String>,
    /// Which of the first 128 of `values` were written as `1.0` and not as `1`, one bit each: where a column of text
    /// takes integers, these are not.
    pub(crate) whole_floats: u128,
}

impl JsonValue {
    pub(crate) fn of_float(value: f64) -> Self {
        if value.fract() == 0.0 { Self::WholeFloat(value) } else { Self::Number(value) }
    }

    /// An integer beyond 64 bits with a sign is a float.
    pub(crate) fn of_unsigned(value: u64) -> Self {
        match i64::try_from(value) {
            Ok(long) if value > EXACT => Self::Long(long),
            Ok(_) => Self::Number(value as f64),
            Err(_) => Self::WholeFloat(value as f64),
        }
    }

    pub(crate) fn of_signed(value: i64) -> Self {
        if value.unsigned_abs() > EXACT { Self::Long(value) } else { Self::Number(value as f64) }
    }

    /// Approximate encoded size, in bytes.
    pub(crate) fn weight(&self) -> usize {
        if let Self::Text(text) = self { text.len() + 8 } else { 8 }
    }
}

/// A number as a value; whole numbers are integers unless they were written as floats.
fn value(number: f64, whole_float: bool) -> Value {
    let integer = number as i64;
    if !whole_float && number.abs() <= EXACT as f64 && integer as f64 == number {
        Value::integer(integer)
    } else {
        Value::float(number)
    }
}

impl Row {
    /// A row with room for `capacity` numbers.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { values: Vec::with_capacity(capacity), ..Self::default() }
    }

    /// A row of numbers, which the client gave `names` or none.
    pub fn of_numbers(values: Vec<f64>, names: Vec<String>) -> Self {
        Self { values, names, ..Self::default() }
    }

    /// A row of values, which the client gave `names` or none.
    pub fn of_values(mixed: Vec<Value>, names: Vec<String>) -> Self {
        Self { mixed, names, ..Self::default() }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.values.len().max(self.mixed.len())
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a value.
    pub(crate) fn push(&mut self, json: JsonValue) {
        let (number, whole_float) = match json {
            JsonValue::Number(number) => (number, false),
            JsonValue::WholeFloat(number) => (number, true),
            JsonValue::Long(long) => return self.push_mixed(Value::integer(long)),
            JsonValue::Boolean(truth) => return self.push_mixed(Value::boolean(truth)),
            JsonValue::Text(text) => return self.push_mixed(Value::text(text)),
        };
        if self.mixed.is_empty() {
            if whole_float {
                self.whole_floats |= bit(self.values.len());
            }
            self.values.push(number);
        } else {
            self.mixed.push(value(number, whole_float));
        }
    }

    fn push_mixed(&mut self, value: Value) {
        if self.mixed.is_empty() {
            self.mixed = self.take_numbers();
        }
        self.mixed.push(value);
    }

    /// The numbers as values.
    fn take_numbers(&mut self) -> Vec<Value> {
        let numbers = std::mem::take(&mut self.values).into_iter().enumerate();
        numbers.map(|(at, number)| value(number, self.whole_floats & bit(at) != 0)).collect()
    }

    /// One value alone.
    pub(crate) fn value_of(json: JsonValue) -> Value {
        let mut row = Self::default();
        row.push(json);
        if row.mixed.is_empty() {
            row.mixed = row.take_numbers();
        }
        row.mixed.pop().unwrap_or(Value::MISSING)
    }

    /// The row with numbers that keep whether they were written as `1` or `1.0`, if one was written as `1.0`: only
    /// columns of text tell them apart.
    pub fn into_exact(mut self) -> Self {
        if self.whole_floats != 0 && self.mixed.is_empty() {
            self.mixed = self.take_numbers();
        }
        self
    }

    /// Puts the values into `request`, with `exact` as [`Row::into_exact`] has them, which takes more room.
    pub(crate) fn fill(self, exact: bool, request: &mut Request) {
        let row = if exact { self.into_exact() } else { self };
        (request.features, request.values, request.names) = (row.values, row.mixed, row.names);
    }

    /// Approximate encoded size of the row on an edge, in bytes.
    pub fn weight(&self) -> usize {
        let mixed: usize = self.mixed.iter().map(Value::weight).sum();
        self.values.len() * 8 + mixed + self.names.iter().map(|name| name.len() + 2).sum::<usize>()
    }
}

impl FromIterator<JsonValue> for Row {
    /// A row without names.
    fn from_iter<I: IntoIterator<Item = JsonValue>>(values: I) -> Self {
        let values = values.into_iter();
        let mut row = Self::with_capacity(values.size_hint().0);
        values.for_each(|value| row.push(value));
        row
    }
}

/// The bit of the value at `index`; none beyond 128 values.
fn bit(index: usize) -> u128 {
    u32::try_from(index).ok().and_then(|index| 1u128.checked_shl(index)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: Vec<JsonValue>) -> Row {
        values.into_iter().collect()
    }

    #[test]
    fn a_row_of_numbers_stays_one() {
        let numbers = row(vec![JsonValue::of_signed(1), JsonValue::of_float(2.0), JsonValue::Number(f64::NAN)]);
        assert_eq!((numbers.len(), numbers.mixed.len(), numbers.values[1]), (3, 0, 2.0));
        let mut request = Request::default();
        numbers.clone().fill(false, &mut request);
        assert_eq!((request.features.len(), request.values.len()), (3, 0));
        numbers.fill(true, &mut request);
        assert_eq!(request.values, [Value::integer(1), Value::float(2.0), Value::MISSING]);
        row(vec![JsonValue::of_signed(1)]).fill(true, &mut request);
        assert_eq!((request.features.as_slice(), request.values.len()), ([1.0].as_slice(), 0));
    }

    #[test]
    fn text_makes_every_value_keep_its_kind() {
        let values = vec![
            JsonValue::of_unsigned(1),
            JsonValue::of_float(1.0),
            JsonValue::of_float(0.5),
            JsonValue::Text("a".into()),
            JsonValue::of_float(-0.0),
            JsonValue::of_unsigned(u64::MAX),
            JsonValue::of_signed(i64::MIN),
            JsonValue::Boolean(true),
            JsonValue::Number(f64::NAN),
        ];
        let mixed = row(values);
        let expected = [
            Value::integer(1),
            Value::float(1.0),
            Value::float(0.5),
            Value::text("a"),
            Value::float(-0.0),
            Value::float(u64::MAX as f64),
            Value::integer(i64::MIN),
            Value::boolean(true),
            Value::MISSING,
        ];
        assert_eq!((mixed.mixed.as_slice(), mixed.values.len()), (expected.as_slice(), 0));
        assert!(mixed.weight() > row(vec![JsonValue::Number(1.0)]).weight());
    }

    #[test]
    fn wide_rows_have_no_bits_left() {
        assert_eq!((bit(0), bit(127), bit(128), bit(usize::MAX)), (1, 1 << 127, 0, 0));
    }
}
