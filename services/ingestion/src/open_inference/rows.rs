//! The rows that the tensors of a request make: one tensor with a row in each of its first indexes, or one tensor for
//! each column.

use forebay_contract::{ErrorCode, Problem};

use super::elements::INFINITY_MARK;
use super::tensor::InputTensor;
use super::{Collected, Value, unsuitable};
use crate::parse::repeated;
use crate::request::{JsonValue, Row};

/// The name, in metadata, of the tensor that holds all columns of a model. Requests may call it something else.
pub(crate) const MATRIX: &str = "input-0";

/// The most that the names of all rows of a request may take, in bytes, and what each takes besides its text.
const MAX_NAMES: usize = 32 << 20;
const NAME_BYTES: usize = 40;

/// The rows of a request. `columns` are the names of the model's columns in order, or none if they are not known.
///
/// # Errors
/// `invalid_features` if the shapes do not fit each other; `payload_too_large` for more than `max_rows` rows.
pub(crate) fn rows(inputs: Vec<InputTensor>, columns: &[String], max_rows: usize) -> Result<Vec<Row>, Problem> {
    let mut inputs = inputs;
    if let Some(twice) = repeated(inputs.iter().map(|input| input.name.as_str())) {
        return Err(unsuitable(format!("input '{twice}' is given twice")));
    }
    let Some(first) = inputs.first() else {
        return Err(unsuitable("expected at least 1 input, but got 0"));
    };
    let count = first.shape[0];
    if count == 0 {
        return Err(unsuitable(format!("input '{}': the shape {:?} has no rows", first.name, first.shape)));
    }
    check_size(count, name_bytes(inputs.iter().map(|input| input.name.as_str())), max_rows)?;
    if inputs.len() == 1 && !is_column(first, columns) {
        return inputs.pop().map_or_else(|| Ok(Vec::new()), |matrix| of_matrix(matrix, columns));
    }
    of_columns(inputs, count)
}

/// Bytes of the names of a row.
pub(crate) fn name_bytes<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> usize {
    names.into_iter().map(|name| NAME_BYTES + name.as_ref().len()).sum()
}

/// Checks a table before its rows are made, each of which has all names: so many bytes ([`name_bytes`]).
///
/// # Errors
/// `payload_too_large` for more than `max_rows` rows, or for names that would fill the memory.
pub(crate) fn check_size(rows: usize, names: usize, max_rows: usize) -> Result<(), Problem> {
    let too_large = |text| Err(Problem::new(ErrorCode::PayloadTooLarge, text));
    if rows > max_rows {
        return too_large(format!("{rows} rows, more than the limit for one request ({max_rows}, http.max_rows)"));
    }
    if names.saturating_mul(rows) > MAX_NAMES {
        return too_large(format!("{rows} rows with {names} bytes for names each, at most {MAX_NAMES} in all"));
    }
    Ok(())
}

/// Whether the only tensor of a request is a column of the model. A matrix may have any name, but not one dimension.
fn is_column(tensor: &InputTensor, columns: &[String]) -> bool {
    let narrow = matches!(tensor.shape.as_slice(), [_] | [_, 1]);
    narrow && columns.len() != 1 && columns.contains(&tensor.name)
}

fn of_matrix(matrix: InputTensor, columns: &[String]) -> Result<Vec<Row>, Problem> {
    let InputTensor { name, shape, elements, .. } = matrix;
    let width: usize = shape[1..].iter().product();
    if shape.len() == 1 && columns.len() != 1 {
        let expected = if columns.is_empty() { "n".to_owned() } else { columns.len().to_string() };
        return Err(unsuitable(format!("input '{name}': unexpected shape {shape:?}, expected [-1, {expected}]")));
    }
    if width == 0 || (!columns.is_empty() && width != columns.len()) {
        return Err(unsuitable(format!(
            "input '{name}': unexpected shape {shape:?}, expected [-1, {}]",
            columns.len().max(1)
        )));
    }
    Ok(match elements {
        Collected::Numbers(numbers, floats) => {
            let row = |(at, values): (usize, &[f64])| Row {
                whole_floats: floats.of_row(at * width, width),
                ..Row::of_numbers(values.to_vec(), Vec::new())
            };
            numbers.chunks_exact(width).enumerate().map(row).collect()
        }
        Collected::Values(values) => {
            values.chunks_exact(width).map(|values| values.iter().map(json).collect()).collect()
        }
    })
}

fn of_columns(inputs: Vec<InputTensor>, count: usize) -> Result<Vec<Row>, Problem> {
    let mut names = Vec::with_capacity(inputs.len());
    let mut columns = Vec::with_capacity(inputs.len());
    for InputTensor { name, shape, elements, .. } in inputs {
        if !matches!(shape.as_slice(), [_] | [_, 1]) {
            return Err(unsuitable(format!(
                "input '{name}': unexpected shape {shape:?}, expected [-1] or [-1, 1]: one of several inputs is a column"
            )));
        }
        if shape[0] != count {
            return Err(unsuitable(format!(
                "input '{name}' has {} rows, but input '{}' has {count}",
                shape[0], names[0]
            )));
        }
        columns.push(elements);
        names.push(name);
    }
    let value = |column: &Collected, at: usize| match column {
        Collected::Numbers(numbers, floats) if floats.contains(at) => JsonValue::of_float(numbers[at]),
        Collected::Numbers(numbers, _) => JsonValue::Number(numbers[at]),
        Collected::Values(values) => json(&values[at]),
    };
    let row = |at| Row { names: names.clone(), ..columns.iter().map(|column| value(column, at)).collect() };
    Ok((0..count).map(row).collect())
}

/// A row of these values.
///
/// # Errors
/// `invalid_features` for a value that no model takes.
pub(crate) fn row(values: Collected, names: Vec<String>) -> Result<Row, Problem> {
    let (numbers, floats) = match values {
        Collected::Numbers(numbers, floats) => (numbers, floats),
        Collected::Values(values) => {
            let infinite = |value: &Value| matches!(value, Value::Text(text) if text.as_ref() == INFINITY_MARK);
            if let Some(at) = values.iter().position(infinite) {
                return Err(unsuitable(format!("value {at} is not finite")));
            }
            return Ok(Row { names, ..values.iter().map(json).collect() });
        }
    };
    if let Some(at) = numbers.iter().position(|number| number.is_infinite()) {
        return Err(unsuitable(format!("value {at} is not finite")));
    }
    Ok(Row { whole_floats: floats.of_row(0, numbers.len()), ..Row::of_numbers(numbers, names) })
}

/// An element as a value of a row.
fn json(element: &Value) -> JsonValue {
    match element {
        Value::Missing => JsonValue::Number(f64::NAN),
        Value::Float(number) => JsonValue::of_float(*number),
        Value::Integer(integer) => JsonValue::of_signed(*integer),
        Value::Boolean(boolean) => JsonValue::Boolean(*boolean),
        Value::Text(text) => JsonValue::Text(text.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Datatype, WholeFloats};
    use super::*;

    fn tensor(name: &str, shape: &[i64], numbers: &[f64]) -> InputTensor {
        InputTensor::new(name.into(), Datatype::Fp64, shape, Collected::Numbers(numbers.to_vec(), WholeFloats::None))
            .unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_matrix_has_any_name_and_columns_have_theirs() {
        let two = names(&["age", "bmi"]);
        for known in [&[][..], &two] {
            let made = rows(vec![tensor("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0])], known, 10).unwrap();
            assert_eq!(made[1], Row::of_numbers(vec![3.0, 4.0], vec![]));
        }
        let columns = || vec![tensor("bmi", &[2], &[1.0, 2.0]), tensor("age", &[2, 1], &[3.0, 4.0])];
        let made = rows(columns(), &two, 10).unwrap();
        assert_eq!(made[1], Row::of_numbers(vec![2.0, 4.0], names(&["bmi", "age"])));
        let alone = rows(vec![tensor("bmi", &[2, 1], &[1.0, 2.0])], &two, 10).unwrap();
        assert_eq!(alone[1], Row::of_numbers(vec![2.0], names(&["bmi"])));
        let only = rows(vec![tensor("age", &[2], &[1.0, 2.0])], &names(&["age"]), 10).unwrap();
        assert_eq!(only[1].values, [2.0]);
        let image = rows(vec![tensor("x", &[1, 2, 2], &[1.0, 2.0, 3.0, 4.0])], &[], 10).unwrap();
        assert_eq!(image[0].values.len(), 4);
    }

    #[test]
    fn text_and_booleans_keep_their_kind() {
        let texts = Collected::Values(vec![Value::Text("a".into()), Value::Missing]);
        let city = InputTensor::new("city".into(), Datatype::Bytes, &[2], texts).unwrap();
        let made = rows(vec![tensor("age", &[2], &[3.0, 4.0]), city], &names(&["age", "city"]), 10).unwrap();
        let wire = |row: &Row| row.mixed.clone();
        assert_eq!(wire(&made[0]), [forebay_contract::Value::integer(3), forebay_contract::Value::text("a")]);
        assert_eq!(made[1].values[0], 4.0, "a missing value makes no row of values");
        assert_eq!((made[0].names.as_slice(), made[1].names.len()), (names(&["age", "city"]).as_slice(), 2));
    }

    #[test]
    fn columns_of_text_get_whole_numbers_as_they_were_sent() {
        use forebay_contract::Value as Wire;
        let exact = |row: Row| row.into_exact();
        for (datatype, wire) in [(Datatype::Fp64, Wire::float(1.0)), (Datatype::Int64, Wire::integer(1))] {
            let tensor = |name: &str, json: &str| {
                let elements: Collected = serde_json::from_str(json).unwrap();
                InputTensor::new(name.into(), datatype, &[1, 1], elements).unwrap().checked().unwrap()
            };
            for json in ["[1]", "[1.0]"] {
                let matrix = exact(rows(vec![tensor("x", json)], &names(&["a"]), 10).unwrap().remove(0));
                let one = matrix
                    .mixed
                    .first()
                    .cloned()
                    .unwrap_or(Wire::integer(matrix.values.first().map_or(0, |v| *v as i64)));
                assert_eq!(one, wire, "{json} of {datatype:?}");
                let column = vec![tensor("a", json), tensor("b", "[2]")];
                let columns = exact(rows(column, &names(&["a", "b"]), 10).unwrap().remove(0));
                let one = columns
                    .mixed
                    .first()
                    .cloned()
                    .unwrap_or(Wire::integer(columns.values.first().map_or(0, |v| *v as i64)));
                assert_eq!(one, wire, "{json} of {datatype:?}");
            }
        }
        for (json, first) in
            [(r#"[1,"a"]"#, Wire::integer(1)), (r#"[1.0,"a"]"#, Wire::float(1.0)), ("[1.0,2]", Wire::float(1.0))]
        {
            let made = exact(row(serde_json::from_str(json).unwrap(), vec![]).unwrap());
            assert_eq!(made.mixed[0], first, "{json}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused_by_name() {
        let known = names(&["a", "b"]);
        for (inputs, why) in [
            (vec![], "expected at least 1 input, but got 0"),
            (vec![tensor("x", &[2], &[1.0, 2.0])], "input 'x': unexpected shape [2]"),
            (vec![tensor("x", &[1, 3], &[1.0, 2.0, 3.0])], "expected [-1, 2]"),
            (vec![tensor("x", &[0, 2], &[])], "has no rows"),
            (vec![tensor("x", &[4, 2], &[0.0; 8])], "4 rows, more than"),
            (vec![tensor("a", &[1], &[1.0]), tensor("a", &[1], &[1.0])], "'a' is given twice"),
            (vec![tensor("a", &[1], &[1.0]), tensor("b", &[2], &[1.0, 2.0])], "'b' has 2 rows"),
            (vec![tensor("a", &[1], &[1.0]), tensor("b", &[1, 2], &[1.0, 2.0])], "input 'b': unexpected shape [1, 2]"),
        ] {
            let problem = rows(inputs, &known, 3).unwrap_err();
            assert!(problem.message.contains(why), "{}", problem.message);
        }
        assert_eq!(
            rows(vec![tensor("x", &[4, 2], &[0.0; 8])], &known, 3).unwrap_err().code,
            ErrorCode::PayloadTooLarge
        );
    }
}
