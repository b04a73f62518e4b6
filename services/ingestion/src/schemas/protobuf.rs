//! Values of Protobuf as JSON.
//!
//! # Layout
//! - `source`: what a registry has, compiled; `schema`: the tables that the reader needs
//! - `wire`: values without their types; `scalar`: those that are no messages

mod scalar;
mod schema;
mod source;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;

use super::byte_reader::ByteReader;
use super::json_text::{FEATURES, JsonText};
use scalar::{NO_BYTES, decimal, map_key, microseconds, packed, part, scalar};
pub(super) use schema::ProtobufSchema;
use schema::{Absent, FieldType, Meaning, MessageType, Shape, ValueType};
pub(super) use source::compile;
use wire::WireValue;

/// The most indexes that lead to a message.
const MAX_INDEXES: usize = 32;
/// The most values that one record may have, not counting those in a run of packed numbers.
const MAX_VALUES: usize = 1 << 17;

/// The request that a value makes, as JSON: the indexes of its message, then the message. One with a field `features` has
/// the fields of a request; the fields of any other are the columns of a row. `selective`: only some of the values are read
/// later, see [`JsonText::selective`].
///
/// # Errors
/// What does not fit the schema, and where.
pub(super) fn request(schema: &ProtobufSchema, value: &[u8], selective: bool) -> Result<Vec<u8>, String> {
    let mut bytes = ByteReader::new(value);
    let of = message(schema, &mut bytes)?;
    let json = JsonText::of_record(of.has_features, value.len()).selective(selective);
    let mut reader = MessageReader { schema, json, left: MAX_VALUES };
    let found = reader.found(of, &[bytes.rest()])?;
    reader.object(of, &found, of.has_features, 0)?;
    Ok(reader.json.into_request())
}

/// The message to which the indexes before a value lead: none stands for the first of the file.
fn message<'s>(schema: &'s ProtobufSchema, bytes: &mut ByteReader<'_>) -> Result<&'s MessageType, String> {
    let count = bytes.zigzag()?;
    let path = match usize::try_from(count) {
        Ok(0) => vec![0],
        Ok(count @ ..=MAX_INDEXES) => (0..count).map(|_| index(bytes)).collect::<Result<_, _>>()?,
        _ => return Err(format!("{count} message indexes, expected at most {MAX_INDEXES}")),
    };
    let at = schema.roots.get(&path).ok_or_else(|| format!("the schema has no message {path:?}"))?;
    Ok(&schema.messages[*at])
}

fn index(bytes: &mut ByteReader<'_>) -> Result<usize, String> {
    let index = bytes.zigzag()?;
    usize::try_from(index).map_err(|_| format!("the message index {index} is negative"))
}

/// The position of a field, and a value of it.
type Found<'r> = (usize, WireValue<'r>);

struct MessageReader<'s> {
    schema: &'s ProtobufSchema,
    json: JsonText,
    /// How many more values the record may have.
    left: usize,
}

impl<'s> MessageReader<'s> {
    /// The values of a message by their fields, each field's in their order. A message in several parts is what they are
    /// together.
    fn found<'r>(&mut self, of: &MessageType, parts: &[&'r [u8]]) -> Result<Vec<Found<'r>>, String> {
        let mut found = Vec::new();
        for part in parts {
            let mut bytes = ByteReader::new(part);
            while let Some((number, wire_type)) = wire::key(&mut bytes)? {
                let field = of.fields.binary_search_by_key(&number, |field| field.number);
                let value = wire::value(&mut bytes, number, wire_type);
                let Ok(field) = field else {
                    value.map_err(|why| format!("the unknown field {number}: {why}"))?;
                    continue;
                };
                let value = value.map_err(|why| format!("{}: {why}", of.fields[field].name))?;
                self.left = self.left.checked_sub(1).ok_or_else(|| format!("more than {MAX_VALUES} values"))?;
                found.push((field, value));
            }
        }
        if of.has_oneofs {
            keep_last_members(of, &mut found);
        }
        found.sort_by_key(|(field, _)| *field);
        Ok(found)
    }

    /// A message as an object of its fields; of a request without those that are not set.
    fn object(&mut self, of: &MessageType, found: &[Found<'_>], is_request: bool, depth: usize) -> Result<(), String> {
        self.json.push(b"{");
        let mut rest = found;
        for (at, field) in of.fields.iter().enumerate() {
            let (own, others) = rest.split_at(rest.iter().take_while(|(field, _)| *field == at).count());
            rest = others;
            let before = self.json.len();
            self.json.name(&field.name);
            let value = self.json.len();
            // a list of features that is empty is one all the same
            let optional = is_request && field.name != FEATURES;
            let unset = optional && own.is_empty() && matches!(field.absent, Absent::Implicit(_));
            if !unset {
                self.field(field, own, depth + 1).map_err(|why| format!("{}: {why}", field.name))?;
            }
            let written = self.json.since(value);
            let default = matches!(&field.absent, Absent::Implicit(default) if default == written);
            if unset || optional && default || is_request && written == b"null" {
                self.json.truncate(before);
            }
        }
        self.json.push(b"}");
        Ok(())
    }

    fn field(&mut self, field: &FieldType, found: &[Found<'_>], depth: usize) -> Result<(), String> {
        self.json.room(depth)?;
        match (field.shape, found) {
            (_, []) => match (&field.absent, &field.kind) {
                (Absent::Missing, _) => self.json.push(b"null"),
                (Absent::Refused, _) => return Err("is required and not set".to_owned()),
                (_, ValueType::Bytes) if field.shape == Shape::One => self.json.unreadable(NO_BYTES)?,
                (Absent::Default(json) | Absent::Implicit(json), _) => self.json.push(json),
            },
            (Shape::One, found) => self.one(&field.kind, found, depth)?,
            (Shape::List, found) => self.list(&field.kind, found, depth)?,
            (Shape::Map, found) => self.map(&field.kind, found, depth)?,
        }
        Ok(())
    }

    /// The last of the values; those of a message are its parts.
    fn one(&mut self, kind: &ValueType, found: &[Found<'_>], depth: usize) -> Result<(), String> {
        match (kind, found) {
            (ValueType::Message(at), found) => {
                let parts: Result<Vec<_>, _> = found.iter().map(|(_, value)| part(value)).collect();
                self.message(*at, &parts?, depth)
            }
            (kind, [.., (_, value)]) => scalar(&mut self.json, kind, *value),
            (_, []) => Ok(()),
        }
    }

    fn list(&mut self, kind: &ValueType, found: &[Found<'_>], depth: usize) -> Result<(), String> {
        self.json.push(b"[");
        for value in found {
            match (packed(kind), value.1) {
                (Some(wire_type), WireValue::Bytes(bytes)) => {
                    let mut bytes = ByteReader::new(bytes);
                    while !bytes.rest().is_empty() {
                        self.json.room(depth)?;
                        self.json.separate();
                        let value = wire::value(&mut bytes, 0, wire_type)?;
                        scalar(&mut self.json, kind, value)?;
                    }
                }
                _ => {
                    self.json.room(depth)?;
                    self.json.separate();
                    self.one(kind, std::slice::from_ref(value), depth + 1)?;
                }
            }
        }
        self.json.push(b"]");
        Ok(())
    }

    /// The entries of a map as an object. Of a key that stands there twice the last value counts.
    fn map(&mut self, kind: &ValueType, found: &[Found<'_>], depth: usize) -> Result<(), String> {
        let ValueType::Message(entry) = kind else { return Ok(()) };
        let entry = &self.schema.messages[*entry];
        let [key_type, value_type] = entry.fields.as_slice() else {
            return Err("has entries without a key".to_owned());
        };
        let mut entries = BTreeMap::new();
        for (_, value) in found {
            let inner = self.found(entry, &[part(value)?])?;
            let (keys, values) = inner.split_at(inner.iter().take_while(|(field, _)| *field == 0).count());
            entries.insert(map_key(key_type, keys)?, values.to_vec());
        }
        self.json.push(b"{");
        for (key, values) in entries {
            self.json.name(&key);
            match (&value_type.kind, values.as_slice()) {
                (ValueType::Message(at), []) => self.message(*at, &[], depth + 1),
                (_, values) => self.field(value_type, values, depth + 1),
            }
            .map_err(|why| format!("{key}: {why}"))?;
        }
        self.json.push(b"}");
        Ok(())
    }

    fn message(&mut self, at: usize, parts: &[&[u8]], depth: usize) -> Result<(), String> {
        self.json.room(depth)?;
        let of = &self.schema.messages[at];
        let found = self.found(of, parts)?;
        match of.meaning {
            Meaning::Object => self.object(of, &found, false, depth),
            Meaning::Field => {
                let at = found.first().map_or(0, |(field, _)| *field);
                let field = of.fields.get(at).ok_or("has no value")?;
                self.field(field, &found, depth + 1)
            }
            Meaning::Time => microseconds(&mut self.json, &found),
            Meaning::Decimal => decimal(&mut self.json, &found),
        }
    }
}

/// Removes the values of all members of a oneof but the one that was set last.
fn keep_last_members(of: &MessageType, found: &mut Vec<Found<'_>>) {
    let mut last = BTreeMap::new();
    found.reverse();
    found.retain(|(field, _)| {
        let Some(oneof) = of.fields[*field].oneof else { return true };
        let (member, open) = last.entry(oneof).or_insert((*field, true));
        // what stands before another member was forgotten when that was set
        *open &= *member == *field;
        *open
    });
    found.reverse();
}
