//! Objects of JSON alone: a structure of serde reads an array as well, field by field.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A structure that comes as an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Pair {
        a: u8,
        #[serde(default)]
        b: Option<Object<Inner>>,
    }

    #[derive(Clone, Debug, Default, Deserialize, PartialEq)]
    struct Inner {
        c: Vec<u8>,
    }

    #[test]
    fn an_array_is_no_object() {
        let read = |json| serde_json::from_str::<Object<Pair>>(json).map(|read| read.0).map_err(|e| e.to_string());
        let inner = Object(Inner { c: vec![2] });
        assert_eq!(read(r#"{"a":1,"b":{"c":[2]},"d":3}"#), Ok(Pair { a: 1, b: Some(inner) }));
        assert_eq!(read(r#"{"a":1,"b":null}"#), Ok(Pair { a: 1, b: None }));
        for json in ["[1,null]", r#"{"a":1,"b":[[2]]}"#] {
            assert!(read(json).unwrap_err().starts_with("invalid type: sequence, expected an object"), "{json}");
        }
        assert!(read(r#"{"b":null}"#).unwrap_err().starts_with("missing field `a`"));
    }
}
