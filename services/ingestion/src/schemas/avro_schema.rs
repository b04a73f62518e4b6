//! Schemas of Avro.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

/// Schemas nested deeper than this are refused.
const MAX_DEPTH: usize = 64;

/// A schema whose names are in a table of their own, so that a record may hold itself.
#[derive(Debug)]
pub(super) struct AvroSchema {
    pub root: AvroType,
    pub named: BTreeMap<String, AvroType>,
}

/// One type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AvroType {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    /// Bytes without a meaning of their own; `None` for any number of them.
    Bytes(Option<usize>),
    /// A decimal number in big-endian two's complement, with digits behind the point.
    Decimal {
        size: Option<usize>,
        scale: u32,
    },
    Enum(Arc<[String]>),
    Array(Arc<AvroType>),
    Map(Arc<AvroType>),
    Union(Arc<[AvroType]>),
    Record(Arc<[(String, AvroType)]>),
    /// A type of the table.
    Named(String),
}

impl AvroSchema {
    /// Reads a schema; `before` are the types that the schemas define to which it refers.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(json: &str, before: BTreeMap<String, AvroType>) -> Result<Self, String> {
        let json: Value = match serde_json::from_str(json) {
            Ok(json) => json,
            // a registry gives the name of a primitive type without quotes
            Err(_) if json.chars().all(char::is_alphabetic) => Value::String(json.to_owned()),
            Err(error) => return Err(format!("is no JSON: {error}")),
        };
        let mut reader = Reader { named: before };
        let root = reader.read(&json, "", 0)?;
        let schema = Self { root, named: reader.named };
        schema.check(&schema.root)?;
        schema.named.values().try_for_each(|named| schema.check(named))?;
        Ok(schema)
    }

    /// The type that a name stands for.
    pub(super) fn resolve<'s>(&'s self, of: &'s AvroType) -> &'s AvroType {
        match of {
            AvroType::Named(name) => self.named.get(name).unwrap_or(&AvroType::Null),
            other => other,
        }
    }

    /// Checks that every name has a type.
    fn check(&self, of: &AvroType) -> Result<(), String> {
        match of {
            AvroType::Named(name) if !self.named.contains_key(name) => Err(format!("has no type {name:?}")),
            AvroType::Array(items) | AvroType::Map(items) => self.check(items),
            AvroType::Union(types) => types.iter().try_for_each(|it| self.check(it)),
            AvroType::Record(fields) => fields.iter().try_for_each(|(_, it)| self.check(it)),
            _ => Ok(()),
        }
    }
}

struct Reader {
    named: BTreeMap<String, AvroType>,
}

impl Reader {
    fn read(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<AvroType, String> {
        if depth > MAX_DEPTH {
            return Err(format!("is nested deeper than {MAX_DEPTH} types"));
        }
        match json {
            Value::String(name) => Ok(primitive(name).unwrap_or_else(|| AvroType::Named(full_name(name, namespace)))),
            Value::Array(types) => {
                let types: Result<Vec<_>, _> = types.iter().map(|it| self.read(it, namespace, depth + 1)).collect();
                Ok(AvroType::Union(types?.into()))
            }
            Value::Object(object) => self.object(object, namespace, depth),
            _ => Err("has a type that is no name, object or array".to_owned()),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str, depth: usize) -> Result<AvroType, String> {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let part = |key: &str| object.get(key).ok_or_else(|| format!("has a type without {key}"));
        let scale = object.get("scale").and_then(Value::as_u64).and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
        let decimal = text("logicalType") == Some("decimal");
        let kind = match part("type")? {
            Value::String(kind) => kind.as_str(),
            // {"type": {"type": ...}}
            nested => return self.read(nested, namespace, depth + 1),
        };
        match kind {
            "array" => Ok(AvroType::Array(Arc::new(self.read(part("items")?, namespace, depth + 1)?))),
            "map" => Ok(AvroType::Map(Arc::new(self.read(part("values")?, namespace, depth + 1)?))),
            "bytes" if decimal => Ok(AvroType::Decimal { size: None, scale }),
            "record" | "error" | "enum" | "fixed" => {
                let name =
                    full_name(text("name").ok_or("has a type without name")?, text("namespace").unwrap_or(namespace));
                let inside = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
                let made = match kind {
                    "enum" => {
                        let symbols = part("symbols")?.as_array().into_iter().flatten();
                        AvroType::Enum(symbols.filter_map(Value::as_str).map(str::to_owned).collect())
                    }
                    "fixed" => {
                        let size = part("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                        let size = Some(size.ok_or("has a fixed type without a size")?);
                        if decimal { AvroType::Decimal { size, scale } } else { AvroType::Bytes(size) }
                    }
                    _ => {
                        let fields = part("fields")?.as_array().into_iter().flatten();
                        let field = |field: &Value| {
                            let name = field.get("name").and_then(Value::as_str).ok_or("has a field without name")?;
                            let of = field.get("type").ok_or_else(|| format!("has no type of field {name:?}"))?;
                            Ok::<_, String>((name.to_owned(), self.read(of, &inside, depth + 1)?))
                        };
                        AvroType::Record(fields.map(field).collect::<Result<_, _>>()?)
                    }
                };
                self.named.insert(name.clone(), made);
                Ok(AvroType::Named(name))
            }
            other => self.read(&Value::String(other.to_owned()), namespace, depth + 1),
        }
    }
}

fn primitive(name: &str) -> Option<AvroType> {
    Some(match name {
        "null" => AvroType::Null,
        "boolean" => AvroType::Boolean,
        "int" => AvroType::Int,
        "long" => AvroType::Long,
        "float" => AvroType::Float,
        "double" => AvroType::Double,
        "string" => AvroType::Text,
        "bytes" => AvroType::Bytes(None),
        _ => return None,
    })
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_their_full_names() {
        let json = r#"{"type":"record","name":"Row","namespace":"shop","fields":[
            {"name":"size","type":{"type":"enum","name":"Size","symbols":["S","L"]}},
            {"name":"other","type":["null","Size"]},
            {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
            {"name":"next","type":["null","shop.Row"]}]}"#;
        let schema = AvroSchema::parse(json, BTreeMap::new()).unwrap();
        let AvroType::Record(fields) = schema.resolve(&schema.root) else { panic!("{schema:?}") };
        let union = |name: &str| AvroType::Union(vec![AvroType::Null, AvroType::Named(name.into())].into());
        assert_eq!(fields[1].1, union("shop.Size"));
        assert_eq!(fields[2].1, AvroType::Decimal { size: None, scale: 2 });
        assert_eq!(fields[3].1, union("shop.Row"));
        assert_eq!(AvroSchema::parse("\"long\"", BTreeMap::new()).unwrap().root, AvroType::Long);
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(100), "}".repeat(100));
        for (json, why) in [
            ("{", "is no JSON"),
            ("5", "no name"),
            (r#"{"name":"x"}"#, "without type"),
            (r#""shop.Row""#, "has no type \"shop.Row\""),
            (r#"{"type":"record","name":"R","fields":[{"name":"a"}]}"#, "no type of field \"a\""),
            (deep.as_str(), "nested deeper"),
        ] {
            let error = AvroSchema::parse(json, BTreeMap::new()).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
