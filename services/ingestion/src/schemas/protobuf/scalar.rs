//! Values of Protobuf that are no messages, and messages that stand for one.

use super::super::byte_reader::signed;
use super::super::json_text::JsonText;
use super::Found;
use super::schema::{Absent, FieldType, ValueType};
use super::wire::{WireType, WireValue};

pub(super) const NO_BYTES: &str = "bytes are no value of a row";

/// The bytes of a message.
pub(super) fn part<'r>(value: &WireValue<'r>) -> Result<&'r [u8], String> {
    match value {
        WireValue::Bytes(bytes) | WireValue::Group(bytes) => Ok(bytes),
        other => Err(format!("is written as {}, which is no message", other.name())),
    }
}

pub(super) fn map_key(of: &FieldType, keys: &[Found<'_>]) -> Result<String, String> {
    let mut json = JsonText::of_record(true, 0);
    match (keys.last(), &of.absent) {
        (Some((_, value)), _) => scalar(&mut json, &of.kind, *value).map_err(|why| format!("a key {why}"))?,
        (None, Absent::Default(default) | Absent::Implicit(default)) => json.push(default),
        (None, _) => return Err("has an entry without a key".to_owned()),
    }
    let json = json.into_request();
    // a text is one already, a number or a boolean becomes one
    Ok(serde_json::from_slice(&json).unwrap_or_else(|_| String::from_utf8_lossy(&json).into_owned()))
}

/// A time of Google's: seconds and billionths of one.
pub(super) fn microseconds(json: &mut JsonText, found: &[Found<'_>]) -> Result<(), String> {
    const MOST_SECONDS: i64 = 315_576_000_000;
    let (seconds, nanoseconds) = (last_varint(found, 0)? as i64, last_varint(found, 1)? as i32);
    if !(-MOST_SECONDS..=MOST_SECONDS).contains(&seconds) || nanoseconds.unsigned_abs() >= 1_000_000_000 {
        return Err("is no time".to_owned());
    }
    json.integer(seconds * 1_000_000 + i64::from(nanoseconds.div_euclid(1_000)));
    Ok(())
}

/// A number of Confluent's: its digits in two's complement, a precision, and how many digits stand behind the point.
pub(super) fn decimal(json: &mut JsonText, found: &[Found<'_>]) -> Result<(), String> {
    let digits = match last(found, 0) {
        None => &[],
        Some(WireValue::Bytes(digits)) => digits,
        Some(other) => return Err(format!("is written as {}, which is no decimal", other.name())),
    };
    let scale = last_varint(found, 2)? as i32;
    json.decimal(digits, u32::try_from(scale).map_err(|_| "a decimal has a negative scale")?)
}

fn last<'r>(found: &[Found<'r>], at: usize) -> Option<WireValue<'r>> {
    found.iter().rev().find(|(field, _)| *field == at).map(|(_, value)| *value)
}

fn last_varint(found: &[Found<'_>], at: usize) -> Result<u64, String> {
    match last(found, at) {
        None => Ok(0),
        Some(WireValue::Varint(number)) => Ok(number),
        Some(other) => Err(format!("is written as {}, which is no number", other.name())),
    }
}

/// How the values of a type are written in one run; `None` for those that never are.
pub(super) fn packed(kind: &ValueType) -> Option<WireType> {
    match kind {
        ValueType::Text | ValueType::Bytes | ValueType::Message(_) => None,
        ValueType::Double | ValueType::Fixed64 | ValueType::Sfixed64 => Some(WireType::Fixed64),
        ValueType::Float | ValueType::Fixed32 | ValueType::Sfixed32 => Some(WireType::Fixed32),
        _ => Some(WireType::Varint),
    }
}

/// A value that is no message. Of numbers that are longer than their type the lowest bits count.
pub(super) fn scalar(json: &mut JsonText, kind: &ValueType, value: WireValue<'_>) -> Result<(), String> {
    match (kind, value) {
        (ValueType::Double, WireValue::Fixed64(bytes)) => json.number(f64::from_le_bytes(bytes))?,
        (ValueType::Float, WireValue::Fixed32(bytes)) => json.number(f32::from_le_bytes(bytes).into())?,
        (ValueType::Int32, WireValue::Varint(number)) => json.integer(number as i32),
        (ValueType::Int64, WireValue::Varint(number)) => json.integer(number as i64),
        (ValueType::Uint32, WireValue::Varint(number)) => json.integer(number as u32),
        (ValueType::Uint64, WireValue::Varint(number)) => json.integer(number),
        (ValueType::Sint32, WireValue::Varint(number)) => json.integer(signed(u64::from(number as u32))),
        (ValueType::Sint64, WireValue::Varint(number)) => json.integer(signed(number)),
        (ValueType::Fixed32, WireValue::Fixed32(bytes)) => json.integer(u32::from_le_bytes(bytes)),
        (ValueType::Fixed64, WireValue::Fixed64(bytes)) => json.integer(u64::from_le_bytes(bytes)),
        (ValueType::Sfixed32, WireValue::Fixed32(bytes)) => json.integer(i32::from_le_bytes(bytes)),
        (ValueType::Sfixed64, WireValue::Fixed64(bytes)) => json.integer(i64::from_le_bytes(bytes)),
        (ValueType::Bool, WireValue::Varint(number)) => json.boolean(number != 0),
        (ValueType::Null, WireValue::Varint(_)) => json.push(b"null"),
        (ValueType::Text, WireValue::Bytes(bytes)) => {
            json.text(std::str::from_utf8(bytes).map_err(|_| "a string is not valid UTF-8")?);
        }
        (ValueType::Bytes, _) => json.unreadable(NO_BYTES)?,
        (ValueType::Enum(names), WireValue::Varint(number)) => {
            let number = number as i32;
            let at = names.binary_search_by_key(&number, |(number, _)| *number);
            json.text(&names[at.map_err(|_| format!("{number} is none of its names"))?].1);
        }
        (kind, value) => return Err(format!("is written as {}, which is no {}", value.name(), kind.name())),
    }
    Ok(())
}
