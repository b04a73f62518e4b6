//! The encoding of Protobuf: values by the numbers of their fields.

use super::super::byte_reader::ByteReader;

/// Groups nested deeper than this are refused.
const MAX_DEPTH: usize = 32;

/// A value without its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WireValue<'r> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'r [u8]),
    /// The fields between the two ends of a group.
    Group(&'r [u8]),
}

impl WireValue<'_> {
    /// What errors call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Varint(_) => "a varint",
            Self::Fixed64(_) => "64 bits",
            Self::Fixed32(_) => "32 bits",
            Self::Bytes(_) => "bytes of a length",
            Self::Group(_) => "a group",
        }
    }
}

/// How a value is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WireType {
    Varint,
    Fixed64,
    Bytes,
    StartGroup,
    EndGroup,
    Fixed32,
}

/// The number of the next field and how its value is encoded; `None` at the end.
pub(super) fn key(bytes: &mut ByteReader<'_>) -> Result<Option<(u32, WireType)>, String> {
    if bytes.rest().is_empty() {
        return Ok(None);
    }
    let key = bytes.varint()?;
    let wire_type = match key & 7 {
        0 => WireType::Varint,
        1 => WireType::Fixed64,
        2 => WireType::Bytes,
        3 => WireType::StartGroup,
        4 => WireType::EndGroup,
        5 => WireType::Fixed32,
        other => return Err(format!("there is no wire type {other}")),
    };
    match u32::try_from(key) {
        Ok(key) if key >> 3 > 0 => Ok(Some((key >> 3, wire_type))),
        _ => Err(format!("no field has the number {}", key >> 3)),
    }
}

/// The value of field `number`, of which a group repeats it at its end.
pub(super) fn value<'r>(bytes: &mut ByteReader<'r>, number: u32, wire_type: WireType) -> Result<WireValue<'r>, String> {
    nested_value(bytes, number, wire_type, 0)
}

fn nested_value<'r>(
    bytes: &mut ByteReader<'r>,
    number: u32,
    wire_type: WireType,
    depth: usize,
) -> Result<WireValue<'r>, String> {
    Ok(match wire_type {
        WireType::Varint => WireValue::Varint(bytes.varint()?),
        WireType::Fixed64 => WireValue::Fixed64(bytes.array()?),
        WireType::Fixed32 => WireValue::Fixed32(bytes.array()?),
        WireType::Bytes => {
            let length = usize::try_from(bytes.varint()?).map_err(|_| "the record ends inside a value")?;
            WireValue::Bytes(bytes.take(length)?)
        }
        WireType::StartGroup => WireValue::Group(group(bytes, number, depth)?),
        WireType::EndGroup => return Err(format!("the group {number} ends before it begins")),
    })
}

/// The fields of a group up to its end, which is read as well.
fn group<'r>(bytes: &mut ByteReader<'r>, number: u32, depth: usize) -> Result<&'r [u8], String> {
    if depth >= MAX_DEPTH {
        return Err(format!("groups nested deeper than {MAX_DEPTH}"));
    }
    let whole = bytes.rest();
    loop {
        let left = bytes.rest().len();
        match key(bytes)?.ok_or("the record ends inside a group")? {
            (end, WireType::EndGroup) if end == number => {
                return Ok(whole.get(..whole.len() - left).unwrap_or_default());
            }
            (inner, wire_type) => drop(nested_value(bytes, inner, wire_type, depth + 1)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<(u32, WireValue<'_>), String> {
        let mut bytes = ByteReader::new(bytes);
        let (number, wire_type) = key(&mut bytes)?.unwrap();
        Ok((number, value(&mut bytes, number, wire_type)?))
    }

    #[test]
    fn every_encoding_is_read() {
        assert_eq!(first(&[0x08, 0x96, 0x01]), Ok((1, WireValue::Varint(150))));
        assert_eq!(first(b"\x12\x07testing"), Ok((2, WireValue::Bytes(b"testing"))));
        assert_eq!(first(&[0x1d, 1, 2, 3, 4]), Ok((3, WireValue::Fixed32([1, 2, 3, 4]))));
        assert_eq!(first(&[0x21, 1, 2, 3, 4, 5, 6, 7, 8]), Ok((4, WireValue::Fixed64([1, 2, 3, 4, 5, 6, 7, 8]))));
        // a group 5 that holds a varint and a group 1
        assert_eq!(first(&[0x2b, 8, 1, 0x0b, 0x0c, 0x2c]), Ok((5, WireValue::Group(&[8, 1, 0x0b, 0x0c]))));
        assert_eq!(key(&mut ByteReader::new(&[])), Ok(None));
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let refused = |bytes: &[u8], why: &str| {
            let error = first(bytes).unwrap_err();
            assert!(error.contains(why), "{bytes:?}: {error}");
        };
        refused(&[0x12, 5, 1], "ends inside a value");
        refused(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "ends inside a value");
        refused(&[0x2b, 8, 1], "ends inside a group");
        refused(&[0x2b, 0x34], "the group 6 ends before it begins");
        refused(&[0x2c], "the group 5 ends before it begins");
        refused(&[0x2b; 40], "groups nested deeper");
        refused(&[0x0e, 1], "no wire type 6");
        refused(&[0x00, 1], "no field has the number 0");
        refused(&[0xf8, 0xff, 0xff, 0xff, 0xff, 1], "no field has the number");
    }
}
