//! Values of Avro as JSON.

use super::avro_schema::{AvroSchema, AvroType};
use super::byte_reader::ByteReader;
use super::json_text::{FEATURES, JsonText};

/// The request that a value makes, as JSON. A record with a field `features` has the fields of a request; the fields of
/// any other record are the columns of a row. `selective`: only some of the values are read later, see
/// [`JsonText::selective`].
///
/// # Errors
/// What does not fit the schema, and where.
pub(super) fn request(schema: &AvroSchema, bytes: &[u8], selective: bool) -> Result<Vec<u8>, String> {
    let AvroType::Record(fields) = schema.resolve(&schema.root) else {
        return Err("the schema is no record".to_owned());
    };
    let is_request = fields.iter().any(|(name, _)| name == FEATURES);
    let json = JsonText::of_record(is_request, bytes.len()).selective(selective);
    let mut value = ValueReader { schema, bytes: ByteReader::new(bytes), json };
    value.record(fields, is_request, 0)?;
    match value.bytes.rest().len() {
        0 => Ok(value.json.into_request()),
        left => Err(format!("{left} bytes are left over after the value")),
    }
}

struct ValueReader<'r> {
    schema: &'r AvroSchema,
    bytes: ByteReader<'r>,
    json: JsonText,
}

impl<'r> ValueReader<'r> {
    fn value(&mut self, of: &AvroType, depth: usize) -> Result<(), String> {
        self.json.room(depth)?;
        let schema = self.schema;
        match schema.resolve(of) {
            AvroType::Null => self.json.push(b"null"),
            AvroType::Boolean => match self.bytes.array()? {
                [byte @ (0 | 1)] => self.json.boolean(byte == 1),
                [other] => return Err(format!("the byte {other} is no boolean")),
            },
            AvroType::Int | AvroType::Long => {
                let integer = self.bytes.zigzag()?;
                self.json.integer(integer);
            }
            AvroType::Float => {
                let number = f32::from_le_bytes(self.bytes.array()?);
                self.json.number(f64::from(number))?;
            }
            AvroType::Double => {
                let number = f64::from_le_bytes(self.bytes.array()?);
                self.json.number(number)?;
            }
            AvroType::Text => {
                let bytes = self.counted()?;
                let text = std::str::from_utf8(bytes).map_err(|_| "a string is not valid UTF-8")?;
                self.json.text(text);
            }
            AvroType::Bytes(size) => {
                if let Some(size) = size {
                    self.bytes.take(*size)?
                } else {
                    self.counted()?
                };
                self.json.unreadable("bytes are no value of a row")?;
            }
            AvroType::Decimal { size, scale } => {
                let bytes = if let Some(size) = size { self.bytes.take(*size)? } else { self.counted()? };
                self.json.decimal(bytes, *scale)?;
            }
            AvroType::Enum(symbols) => {
                let index = self.index(symbols.len())?;
                self.json.text(&symbols[index]);
            }
            AvroType::Union(types) => {
                let index = self.index(types.len())?;
                self.value(&types[index], depth + 1)?;
            }
            AvroType::Array(items) => self.blocks(b"[]", depth, |it, depth| {
                it.json.separate();
                it.value(items, depth)
            })?,
            AvroType::Map(values) => self.blocks(b"{}", depth, |it, depth| {
                let name = std::str::from_utf8(it.counted()?).map_err(|_| "a key is not valid UTF-8")?;
                it.json.name(name);
                it.value(values, depth)
            })?,
            AvroType::Record(fields) => self.record(fields, false, depth)?,
            // names of names do not exist
            AvroType::Named(name) => return Err(format!("the schema has no type {name:?}")),
        }
        Ok(())
    }

    /// The fields of a record as an object; without those that are `null` if `present`.
    fn record(&mut self, fields: &[(String, AvroType)], present: bool, depth: usize) -> Result<(), String> {
        self.json.push(b"{");
        for (name, of) in fields {
            let before = self.json.len();
            self.json.name(name);
            let at = self.json.len();
            self.value(of, depth + 1).map_err(|why| format!("{name}: {why}"))?;
            if present && self.json.since(at) == b"null" {
                self.json.truncate(before);
            }
        }
        self.json.push(b"}");
        Ok(())
    }

    /// Blocks of items, each with its count; a negative one has the size of the block behind it.
    fn blocks(
        &mut self,
        brackets: &[u8; 2],
        depth: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), String>,
    ) -> Result<(), String> {
        self.json.push(&brackets[..1]);
        loop {
            let count = self.bytes.zigzag()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                self.bytes.zigzag()?;
            }
            for _ in 0..count.unsigned_abs() {
                item(self, depth + 1)?;
            }
        }
        self.json.push(&brackets[1..]);
        Ok(())
    }

    fn index(&mut self, count: usize) -> Result<usize, String> {
        let index = self.bytes.zigzag()?;
        let found = usize::try_from(index).ok().filter(|index| *index < count);
        found.ok_or_else(|| format!("the index {index} is none of {count}"))
    }

    fn counted(&mut self) -> Result<&'r [u8], String> {
        let count = self.bytes.zigzag()?;
        let count = usize::try_from(count).map_err(|_| format!("the length {count} is negative"))?;
        self.bytes.take(count)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn json(fields: &str, bytes: &[u8]) -> Result<String, String> {
        let schema = format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
        let schema = AvroSchema::parse(&schema, BTreeMap::new()).unwrap();
        request(&schema, bytes, false).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn what_no_row_can_have_is_an_object_where_only_some_values_are_read() {
        let fields = r#"{"name":"b","type":"bytes"},{"name":"f","type":{"type":"fixed","name":"F","size":2}},
            {"name":"d","type":"double"},{"name":"n","type":"int"}"#;
        let schema = format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
        let schema = AvroSchema::parse(&schema, Default::default()).unwrap();
        let mut value = vec![4, 1, 2, 3, 4];
        value.extend(f64::INFINITY.to_le_bytes());
        value.push(14);
        let json = String::from_utf8(request(&schema, &value, true).unwrap()).unwrap();
        assert_eq!(json, r#"{"features":{"b":{},"f":{},"d":{},"n":7}}"#);
        assert_eq!(request(&schema, &value, false).unwrap_err(), "b: bytes are no value of a row");
    }

    #[test]
    fn the_fields_of_a_record_are_the_columns_of_a_row() {
        let fields = r#"{"name":"age","type":"int"},{"name":"bmi","type":"double"},{"name":"city","type":["null","string"]},
            {"name":"new","type":"boolean"},{"name":"price","type":{"type":"bytes","logicalType":"decimal","scale":2}},
            {"name":"size","type":{"type":"enum","name":"S","symbols":["S","L"]}},{"name":"at","type":["null","long"]}"#;
        let bytes = [&[1][..], &1.5_f64.to_le_bytes(), b"\x02\x04a\"", &[1], &[4, 0xff, 0x85], &[2], &[0]].concat();
        let expected =
            r#"{"features":{"age":-1,"bmi":1.5,"city":"a\"","new":true,"price":-1.23,"size":"L","at":null}}"#;
        assert_eq!(json(fields, &bytes).unwrap(), expected);
        for end in 0..bytes.len() {
            assert!(json(fields, &bytes[..end]).is_err(), "{end}");
        }
        assert!(json(fields, &[&bytes[..], &[0]].concat()).unwrap_err().contains("1 bytes are left over"));
    }

    #[test]
    fn a_record_with_features_is_a_request() {
        let fields = r#"{"name":"request_id","type":["null","string"]},{"name":"model","type":["null","string"]},
            {"name":"features","type":{"type":"array","items":"float"}},{"name":"more","type":{"type":"map","values":"long"}}"#;
        let items = [0.5_f32.to_le_bytes(), f32::NAN.to_le_bytes(), 2.0_f32.to_le_bytes()].concat();
        // a block of two with its size, one of one
        let array = [&[3, 16][..], &items[..8], &[2], &items[8..], &[0]].concat();
        let bytes = [&[0, 2, 2, b'm'][..], &array, &[2, 2, b'k', 8, 0]].concat();
        assert_eq!(json(fields, &bytes).unwrap(), r#"{"model":"m","features":[0.5,null,2.0],"more":{"k":4}}"#);
    }

    #[test]
    fn what_no_row_holds_is_named() {
        let of = |kind: &str, bytes: &[u8]| json(&format!(r#"{{"name":"x","type":{kind}}}"#), bytes).unwrap_err();
        assert_eq!(of("\"double\"", &f64::INFINITY.to_le_bytes()), "x: is not finite");
        assert_eq!(of("\"bytes\"", &[0]), "x: bytes are no value of a row");
        assert_eq!(of(r#"["null","int"]"#, &[4]), "x: the index 2 is none of 2");
        assert_eq!(of("\"long\"", &[0xff; 10]), "x: a number has more than 64 bits");
        assert_eq!(of("\"string\"", &[2, 0xff]), "x: a string is not valid UTF-8");
        assert_eq!(of("\"boolean\"", &[7]), "x: the byte 7 is no boolean");
        let nulls =
            of(r#"{"type":"array","items":"null"}"#, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        assert!(nulls.contains("bytes as JSON"), "{nulls}");
        let endless = json(r#"{"name":"next","type":["null","R"]}"#, &[2; 200]).unwrap_err();
        assert!(endless.contains("nested deeper"), "{endless}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let fields = r#"{"name":"a","type":{"type":"array","items":["null","long","string","R"]}},
                {"name":"m","type":{"type":"map","values":{"type":"fixed","name":"F","size":3,"logicalType":"decimal","scale":1}}},
                {"name":"e","type":{"type":"enum","name":"E","symbols":["x"]}},{"name":"d","type":["double","float","boolean"]}"#;
            if let Ok(json) = json(fields, &bytes) {
                proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
            }
        }
    }
}
