//! The signature in `MLmodel`: columns or a tensor, outputs, parameters. Each is JSON in a string.

use serde_json::Value;

use super::MAX_WIDTH;
use super::column_spec::{ColumnSpec, list};
use crate::{Column, ColumnKind};

/// Largest text of the parameters, in bytes.
const MAX_PARAMS: usize = 64 << 10;

/// The inputs of the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inputs {
    /// The file has no signature, or one that says nothing about a row.
    Unknown,
    /// A tensor signature: the width, and the kind that all columns have.
    Tensor {
        /// The number of values in a row.
        width: usize,
        /// The kind of the values.
        kind: ColumnKind,
    },
    /// Columns in order.
    Columns(Vec<Column>),
}

/// A parameter of the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    /// The value that applies when a request gives none.
    pub default: Value,
}

impl Inputs {
    /// The number of values in a row, if the signature says it.
    pub fn width(&self) -> Option<usize> {
        match self {
            Self::Unknown => None,
            Self::Tensor { width, .. } => Some(*width),
            Self::Columns(columns) => Some(columns.len()),
        }
    }

    /// The kinds of the columns, if the signature says them.
    pub fn kinds(&self) -> Option<Vec<ColumnKind>> {
        match self {
            Self::Unknown => None,
            Self::Tensor { width, kind } => Some(vec![*kind; *width]),
            Self::Columns(columns) => Some(columns.iter().map(|column| column.kind).collect()),
        }
    }

    /// The names of the columns, if the signature has them.
    pub fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::Columns(columns) => Some(columns.iter().map(|column| column.name.clone()).collect()),
            Self::Unknown | Self::Tensor { .. } => None,
        }
    }
}

/// Reads the inputs. The inner error names a column whose type is not supported, and the type.
pub(super) fn inputs(json: &str) -> Result<Result<Inputs, String>, String> {
    let columns = list(json)?;
    if let [column] = columns.as_slice()
        && column.tensor.is_some()
    {
        return tensor_inputs(column);
    }
    let mut read = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let Some(name) = &column.name else {
            // columns without names: the model says what they are
            let kinds = columns.iter().map(column_kind).collect::<Result<Vec<_>, _>>();
            return Ok(kinds.map(|_| Inputs::Unknown).map_err(|kind| unsupported(&format!("{index}"), &kind)));
        };
        let kind = match column_kind(column) {
            Ok(kind) => kind,
            Err(kind) => return Ok(Err(unsupported(&format!("{name:?}"), &kind))),
        };
        let optional = !column.required.unwrap_or_else(|| !column.optional.unwrap_or(false));
        read.push(Column { name: name.clone(), kind, optional });
    }
    Ok(Ok(if read.is_empty() { Inputs::Unknown } else { Inputs::Columns(read) }))
}

fn tensor_inputs(column: &ColumnSpec) -> Result<Result<Inputs, String>, String> {
    let kind = match column_kind(column) {
        Ok(kind) => kind,
        Err(kind) => {
            let name = column.name.as_deref().unwrap_or("0");
            return Ok(Err(unsupported(&format!("{name:?}"), &kind)));
        }
    };
    let shape = column.tensor.as_ref().and_then(|tensor| tensor.shape.as_deref()).ok_or("the tensor has no shape")?;
    match shape {
        [_, width] if *width > 0 => match usize::try_from(*width) {
            Ok(width) if width <= MAX_WIDTH => Ok(Ok(Inputs::Tensor { width, kind })),
            _ => Err(format!("tensor input is {width} wide, at most {MAX_WIDTH}")),
        },
        _ => Ok(Ok(Inputs::Unknown)),
    }
}

/// The names of the outputs, if each has one.
pub(super) fn output_names(json: &str) -> Vec<String> {
    let Ok(columns) = list(json) else { return Vec::new() };
    let names: Option<Vec<String>> = columns.into_iter().map(|column| column.name).collect();
    names.filter(|names| names.len() <= MAX_WIDTH).unwrap_or_default()
}

/// Whether each column has floats of 32 bits, to which MLflow rounds what it is given; empty when none has. A tensor's
/// columns are alike.
pub(super) fn singles(json: &str) -> Vec<bool> {
    let single = |column: &ColumnSpec| match &column.tensor {
        Some(tensor) => tensor.dtype.as_deref() == Some("float32"),
        None => column.kind.as_deref() == Some("float"),
    };
    let mut singles: Vec<bool> = list(json).unwrap_or_default().iter().map(single).collect();
    if !singles.contains(&true) {
        singles.clear();
    }
    singles
}

/// The parameters with their defaults.
pub(super) fn params(json: &str) -> Result<Vec<Param>, String> {
    if json.len() > MAX_PARAMS {
        return Err(format!("params: are larger than {MAX_PARAMS} bytes"));
    }
    let params = match serde_json::from_str(json).map_err(|error| format!("params: {error}"))? {
        Value::Array(params) => params,
        Value::Null => Vec::new(),
        _ => return Err("params: is not a list".to_owned()),
    };
    let read = |param: &Value| {
        let name = param.get("name").and_then(Value::as_str).ok_or("params: one has no name")?;
        Ok(Param { name: name.to_owned(), default: param.get("default").cloned().unwrap_or_default() })
    };
    params.iter().map(read).collect()
}

fn unsupported(column: &str, kind: &str) -> String {
    format!("column {column} has the type {kind}, which is not supported")
}

/// The kind of a column.
///
/// # Errors
/// The name of its type when there is none.
fn column_kind(column: &ColumnSpec) -> Result<ColumnKind, String> {
    if let Some(tensor) = &column.tensor {
        return tensor_kind(tensor.dtype.as_deref().unwrap_or("float64"));
    }
    match column.kind.as_deref() {
        None | Some("double" | "float") => Ok(ColumnKind::Float),
        Some("long" | "integer") => Ok(ColumnKind::Integer),
        Some("boolean") => Ok(ColumnKind::Boolean),
        Some("string") => Ok(ColumnKind::Text),
        Some(other) => Err(other.to_owned()),
    }
}

fn tensor_kind(dtype: &str) -> Result<ColumnKind, String> {
    match dtype {
        "float64" | "float32" | "float16" => Ok(ColumnKind::Float),
        "int64" | "int32" | "int16" | "int8" | "uint64" | "uint32" | "uint16" | "uint8" => Ok(ColumnKind::Integer),
        "bool" => Ok(ColumnKind::Boolean),
        "object" | "str" => Ok(ColumnKind::Text),
        text if text.starts_with("<U") => Ok(ColumnKind::Text),
        other => Err(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_a_column() {
        let kind = |name: &str| {
            let json = format!(r#"[{{"type": "{name}", "name": "x", "required": false}}]"#);
            match inputs(&json).unwrap()? {
                Inputs::Columns(columns) => Ok(columns[0].kind),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((kind("double"), kind("float")), (Ok(ColumnKind::Float), Ok(ColumnKind::Float)));
        assert_eq!((kind("long"), kind("integer")), (Ok(ColumnKind::Integer), Ok(ColumnKind::Integer)));
        assert_eq!((kind("boolean"), kind("string")), (Ok(ColumnKind::Boolean), Ok(ColumnKind::Text)));
        for name in ["datetime", "binary", "array", "object", "map", "any"] {
            let expected = format!("column \"x\" has the type {name}, which is not supported");
            assert_eq!(kind(name), Err::<ColumnKind, _>(expected));
        }
    }

    #[test]
    fn every_type_of_a_tensor() {
        let tensor = |dtype: &str| {
            let spec = format!(r#"{{"dtype": "{dtype}", "shape": [-1, 2]}}"#);
            inputs(&format!(r#"[{{"type": "tensor", "tensor-spec": {spec}}}]"#)).unwrap()
        };
        let of = |kind| Ok(Inputs::Tensor { width: 2, kind });
        assert_eq!((tensor("float32"), tensor("int64")), (of(ColumnKind::Float), of(ColumnKind::Integer)));
        assert_eq!((tensor("bool"), tensor("object")), (of(ColumnKind::Boolean), of(ColumnKind::Text)));
        assert!(tensor("datetime64[ns]").unwrap_err().contains("datetime64[ns]"));
        assert_eq!(inputs(r#"[{"tensor-spec": {"dtype": "float64", "shape": [-1]}}]"#).unwrap(), Ok(Inputs::Unknown));
        assert!(inputs(r#"[{"tensor-spec": {"dtype": "float64"}}]"#).unwrap_err().contains("shape"));
        assert!(inputs("7").unwrap_err().contains("list"));
        let float32 = r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]"#;
        assert_eq!(singles(float32), [true]);
        assert_eq!(singles(r#"[{"type": "float", "name": "a"}, {"type": "double", "name": "b"}]"#), [true, false]);
        assert_eq!(singles(r#"[{"type": "double", "name": "b"}]"#), [false; 0]);
    }

    #[test]
    fn columns_may_be_optional_and_unnamed() {
        let json = r#"[{"type": "double", "name": "a", "required": true}, {"type": "double", "name": "b", "optional": true},
            {"type": "string", "name": "c", "required": false}, {"type": "double", "name": "d"}]"#;
        let Ok(Inputs::Columns(columns)) = inputs(json).unwrap() else { panic!() };
        assert_eq!(columns.iter().map(|column| column.optional).collect::<Vec<_>>(), [false, true, true, false]);
        assert_eq!(inputs(r#"[{"type": "double"}, {"type": "double"}]"#).unwrap(), Ok(Inputs::Unknown));
        assert!(inputs(r#"[{"type": "double"}, {"type": "binary"}]"#).unwrap().is_err());
    }

    #[test]
    fn outputs_have_names_when_there_are_several() {
        assert_eq!(output_names(r#"[{"type": "double", "name": "y"}]"#), ["y"]);
        assert_eq!(output_names(r#"[{"name": "b"}, {"name": "a"}]"#), ["b", "a"]);
        assert_eq!(output_names(r#"[{"name": "b"}, {"type": "double"}]"#), [""; 0]);
        let read = params(r#"[{"name": "t", "type": "double", "default": 0.5, "shape": null}]"#).unwrap();
        assert_eq!(read, [Param { name: "t".into(), default: 0.5.into() }]);
    }
}
