//! Values of Avro as JSON.

use super::avro_schema::{AvroSchema, AvroType};

/// Values nested deeper than this are refused: a record may hold itself.
const MAX_DEPTH: usize = 32;
/// The most JSON that one record may become, in bytes. Values without bytes of their own cannot fill the memory.
const MAX_JSON: usize = 4 << 20;

/// The request that a value makes, as JSON. A record with a field `features` has the fields of a request; the fields of
/// any other record are the columns of a row.
///
/// # Errors
/// What does not fit the schema, and where.
pub(super) fn request(schema: &AvroSchema, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let AvroType::Record(fields) = schema.resolve(&schema.root) else {
        return Err("the schema is no record".to_owned());
    };
    let mut value = ValueReader { schema, rest: bytes, json: Vec::with_capacity(bytes.len() * 3) };
    let is_request = fields.iter().any(|(name, _)| name == "features");
    if !is_request {
        value.json.extend_from_slice(br#"{"features":"#);
    }
    value.record(fields, is_request, 0)?;
    if !is_request {
        value.json.push(b'}');
    }
    match value.rest.len() {
        0 => Ok(value.json),
        left => Err(format!("{left} bytes are left over after the value")),
    }
}

struct ValueReader<'r> {
    schema: &'r AvroSchema,
    rest: &'r [u8],
    json: Vec<u8>,
}

impl<'r> ValueReader<'r> {
    fn value(&mut self, of: &AvroType, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} values"));
        }
        if self.json.len() > MAX_JSON {
            return Err(format!("more than {MAX_JSON} bytes as JSON"));
        }
        let schema = self.schema;
        match schema.resolve(of) {
            AvroType::Null => self.json.extend_from_slice(b"null"),
            AvroType::Boolean => match self.take(1)? {
                [0] => self.json.extend_from_slice(b"false"),
                [1] => self.json.extend_from_slice(b"true"),
                other => return Err(format!("the byte {} is no boolean", other[0])),
            },
            AvroType::Int | AvroType::Long => {
                let integer = self.long()?;
                self.json.extend_from_slice(integer.to_string().as_bytes());
            }
            AvroType::Float => {
                let number = f32::from_le_bytes(self.array()?);
                self.number(f64::from(number))?;
            }
            AvroType::Double => {
                let number = f64::from_le_bytes(self.array()?);
                self.number(number)?;
            }
            AvroType::Text => {
                let bytes = self.counted()?;
                let text = std::str::from_utf8(bytes).map_err(|_| "a string is not valid UTF-8")?;
                self.text(text);
            }
            AvroType::Bytes(_) => return Err("bytes are no value of a row".to_owned()),
            AvroType::Decimal { size, scale } => {
                let bytes = if let Some(size) = size { self.take(*size)? } else { self.counted()? };
                let text = decimal(bytes, *scale).ok_or("a decimal has more than 128 bits")?;
                self.json.extend_from_slice(text.as_bytes());
            }
            AvroType::Enum(symbols) => {
                let index = self.index(symbols.len())?;
                self.text(&symbols[index]);
            }
            AvroType::Union(types) => {
                let index = self.index(types.len())?;
                self.value(&types[index], depth + 1)?;
            }
            AvroType::Array(items) => self.blocks(b"[]", depth, |it, depth| it.value(items, depth))?,
            AvroType::Map(values) => self.blocks(b"{}", depth, |it, depth| {
                let name = std::str::from_utf8(it.counted()?).map_err(|_| "a key is not valid UTF-8")?;
                it.text(name);
                it.json.push(b':');
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
        self.json.push(b'{');
        let mut first = true;
        for (name, of) in fields {
            let before = self.json.len();
            if !first {
                self.json.push(b',');
            }
            self.text(name);
            self.json.push(b':');
            let at = self.json.len();
            self.value(of, depth + 1).map_err(|why| format!("{name}: {why}"))?;
            if present && &self.json[at..] == b"null" {
                self.json.truncate(before);
            } else {
                first = false;
            }
        }
        self.json.push(b'}');
        Ok(())
    }

    /// Blocks of items, each with its count; a negative one has the size of the block behind it.
    fn blocks(
        &mut self,
        brackets: &[u8; 2],
        depth: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), String>,
    ) -> Result<(), String> {
        self.json.push(brackets[0]);
        let mut first = true;
        loop {
            let count = self.long()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                if !std::mem::replace(&mut first, false) {
                    self.json.push(b',');
                }
                item(self, depth + 1)?;
            }
        }
        self.json.push(brackets[1]);
        Ok(())
    }

    /// NaN is a missing value.
    fn number(&mut self, number: f64) -> Result<(), String> {
        if number.is_infinite() {
            return Err("is not finite".to_owned());
        }
        // a number or `null` cannot fail to serialise
        self.json.extend_from_slice(serde_json::to_string(&number).unwrap_or_default().as_bytes());
        Ok(())
    }

    fn text(&mut self, text: &str) {
        // a text cannot fail to serialise
        self.json.extend_from_slice(serde_json::to_string(text).unwrap_or_default().as_bytes());
    }

    fn index(&mut self, count: usize) -> Result<usize, String> {
        let index = self.long()?;
        let found = usize::try_from(index).ok().filter(|index| *index < count);
        found.ok_or_else(|| format!("the index {index} is none of {count}"))
    }

    fn counted(&mut self) -> Result<&'r [u8], String> {
        let count = self.long()?;
        let count = usize::try_from(count).map_err(|_| format!("the length {count} is negative"))?;
        self.take(count)
    }

    fn take(&mut self, count: usize) -> Result<&'r [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("the record ends inside a value")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("the record ends inside a value")?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A number in zig-zag form, seven bits in a byte.
    fn long(&mut self) -> Result<i64, String> {
        let mut zigzag = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }
}

/// The number as text; `None` if it has more than 128 bits.
fn decimal(bytes: &[u8], scale: u32) -> Option<String> {
    if bytes.len() > 16 || scale > 64 {
        return None;
    }
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let unscaled = bytes.iter().fold(if negative { -1_i128 } else { 0 }, |sum, byte| sum << 8 | i128::from(*byte));
    let (sign, scale) = (if negative { "-" } else { "" }, scale as usize);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn json(fields: &str, bytes: &[u8]) -> Result<String, String> {
        let schema = format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
        let schema = AvroSchema::parse(&schema, BTreeMap::new()).unwrap();
        request(&schema, bytes).map(|json| String::from_utf8(json).unwrap())
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

    #[test]
    fn decimals_have_their_point() {
        for (bytes, scale, text) in
            [(&[0, 123][..], 2, "1.23"), (&[5], 3, "0.005"), (&[0xff], 0, "-1"), (&[], 1, "0.0")]
        {
            assert_eq!(decimal(bytes, scale).as_deref(), Some(text));
        }
        assert_eq!(decimal(&[1; 17], 2), None);
    }
}
