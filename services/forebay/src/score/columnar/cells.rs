//! The values of one column.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field};
use forebay_contract::Value;
use forebay_contract::wire::value::Kind;

/// Reads the value at a position that is not null.
type Read = fn(&dyn Array, usize) -> Value;

/// The values of one column, in the order of the rows.
pub(super) struct Cells {
    /// The values, or the dictionary that `keys` point into.
    values: ArrayRef,
    /// Where in `values` each row has its value; `None` for a missing one.
    keys: Option<Vec<Option<usize>>>,
    read: Read,
    text: bool,
}

impl Cells {
    /// # Errors
    /// The type, if it is not read.
    pub(super) fn new(column: &ArrayRef) -> Result<Self, String> {
        let Some(dictionary) = column.as_any_dictionary_opt() else {
            let (read, text) = reader(column.data_type()).ok_or_else(|| column.data_type().to_string())?;
            return Ok(Self { values: Arc::clone(column), keys: None, read, text });
        };
        let values = dictionary.values();
        let (read, text) = reader(values.data_type()).ok_or_else(|| column.data_type().to_string())?;
        let keys = match values.is_empty() {
            true => vec![None; column.len()],
            false => {
                let keys = dictionary.normalized_keys().into_iter().enumerate();
                keys.map(|(row, key)| (!column.is_null(row)).then_some(key)).collect()
            }
        };
        Ok(Self { values: Arc::clone(values), keys: Some(keys), read, text })
    }

    /// Whether the values are text.
    pub(super) fn is_text(&self) -> bool {
        self.text
    }

    /// The value of a row.
    pub(super) fn value(&self, row: usize) -> Value {
        let at = match &self.keys {
            Some(keys) => keys.get(row).copied().flatten(),
            None => Some(row),
        };
        match at {
            Some(at) if !self.values.is_null(at) => (self.read)(self.values.as_ref(), at),
            _ => Value::MISSING,
        }
    }

    /// The number of a row, NaN for a missing one.
    pub(super) fn number(&self, row: usize) -> f64 {
        match self.value(row).kind {
            Some(Kind::Float(value)) => value,
            Some(Kind::Integer(value)) => value as f64,
            Some(Kind::Boolean(value)) => f64::from(u8::from(value)),
            Some(Kind::Text(_)) | None => f64::NAN,
        }
    }
}

/// # Errors
/// The name and type of a column that cannot be a feature.
pub(super) fn check_type(field: &Field) -> Result<(), String> {
    let values = match field.data_type() {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    match reader(values) {
        Some(_) => Ok(()),
        None => Err(format!(
            "column {} is of type {}, expected integers, floats, booleans or text",
            field.name(),
            field.data_type()
        )),
    }
}

/// How values of this type are read, and whether they are text.
fn reader(values: &DataType) -> Option<(Read, bool)> {
    let read: Read = match values {
        DataType::Null => |_, _| Value::MISSING,
        DataType::Boolean => |array, at| Value::boolean(array.as_boolean().value(at)),
        DataType::Int8 => integer::<Int8Type>,
        DataType::Int16 => integer::<Int16Type>,
        DataType::Int32 => integer::<Int32Type>,
        DataType::Int64 => integer::<Int64Type>,
        DataType::UInt8 => integer::<UInt8Type>,
        DataType::UInt16 => integer::<UInt16Type>,
        DataType::UInt32 => integer::<UInt32Type>,
        // as in JSON: what 64 bits with a sign do not hold is a float
        DataType::UInt64 => |array, at| {
            let value = array.as_primitive::<UInt64Type>().value(at);
            i64::try_from(value).map_or_else(|_| Value::float(value as f64), Value::integer)
        },
        // NaN is a missing value, as it is to pandas
        DataType::Float16 => |array, at| Value::float(array.as_primitive::<Float16Type>().value(at).to_f64()),
        DataType::Float32 => |array, at| Value::float(f64::from(array.as_primitive::<Float32Type>().value(at))),
        DataType::Float64 => |array, at| Value::float(array.as_primitive::<Float64Type>().value(at)),
        DataType::Utf8 => return Some((|array, at| Value::text(array.as_string::<i32>().value(at)), true)),
        DataType::LargeUtf8 => return Some((|array, at| Value::text(array.as_string::<i64>().value(at)), true)),
        DataType::Utf8View => return Some((|array, at| Value::text(array.as_string_view().value(at)), true)),
        _ => return None,
    };
    Some((read, false))
}

fn integer<T: ArrowPrimitiveType>(array: &dyn Array, at: usize) -> Value
where
    T::Native: Into<i64>,
{
    Value::integer(array.as_primitive::<T>().value(at).into())
}
