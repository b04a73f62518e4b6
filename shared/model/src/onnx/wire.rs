//! What decoding an ONNX file will allocate, counted on the wire before anything is decoded: a message of two bytes in the
//! file is a structure of hundreds of bytes in memory.

use forebay_artefact::Allowance;

use super::proto::{
    AttributeProto, Dimension, GraphProto, NodeProto, OperatorSet, TensorProto, TensorShape, TensorType, TypeProto,
    ValueInfo,
};

/// The most messages inside of each other in what is decoded here.
const MAX_DEPTH: usize = 12;
/// Bytes that decoding may allocate for each byte of the file: a large ensemble of trees needs nearly as many, mostly for
/// integers of one or two bytes in the file and eight in memory, in vectors that double as they grow.
pub(super) const FACTOR: usize = 7;
/// Elements that a vector has room for as it grows, old and new, for each that it holds.
const GROWTH: usize = 3;
/// Bytes of a text or byte string besides its content.
const TEXT: usize = GROWTH * size_of::<String>() + 16;

/// What a field holds.
#[derive(Clone, Copy)]
enum Field {
    Message(Kind),
    /// A repeated field of numbers that take this many bytes; in the file they are varints.
    Varints(usize),
    /// A repeated field of numbers that take this many bytes; in the file they have at least four.
    Fixed(usize),
    /// Text or bytes.
    Text,
    /// The data of a tensor, which is decoded and then converted to f64.
    Data,
}

/// The messages of `proto.rs`.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    OperatorSet,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Dimension,
}

impl Kind {
    /// Bytes of the structure.
    fn size(self) -> usize {
        match self {
            Self::Model => 0,
            Self::OperatorSet => size_of::<OperatorSet>(),
            Self::Graph => size_of::<GraphProto>(),
            Self::Node => size_of::<NodeProto>(),
            Self::Attribute => size_of::<AttributeProto>(),
            Self::Tensor => size_of::<TensorProto>(),
            Self::ValueInfo => size_of::<ValueInfo>(),
            Self::Type => size_of::<TypeProto>(),
            Self::TensorType => size_of::<TensorType>(),
            Self::Shape => size_of::<TensorShape>(),
            Self::Dimension => size_of::<Dimension>(),
        }
    }

    /// The field with this tag, if it is decoded and is not a single number.
    fn field(self, tag: u64) -> Option<Field> {
        use Field::{Data, Fixed, Message, Text, Varints};
        Some(match (self, tag) {
            (Self::Model, 7) => Message(Self::Graph),
            (Self::Model, 8) => Message(Self::OperatorSet),
            (Self::Graph, 1) => Message(Self::Node),
            (Self::Graph, 5) | (Self::Attribute, 5) => Message(Self::Tensor),
            (Self::Graph, 11 | 12) => Message(Self::ValueInfo),
            (Self::Node, 5) => Message(Self::Attribute),
            (Self::ValueInfo, 2) => Message(Self::Type),
            (Self::Type, 1) => Message(Self::TensorType),
            (Self::TensorType, 2) => Message(Self::Shape),
            (Self::Shape, 1) => Message(Self::Dimension),
            (Self::OperatorSet | Self::ValueInfo, 1) => Text,
            (Self::Node, 1 | 2 | 4 | 7) | (Self::Attribute, 1 | 4 | 9) => Text,
            (Self::Attribute, 7) => Fixed(GROWTH * 4),
            (Self::Attribute, 8) => Varints(GROWTH * 8),
            (Self::Tensor, 1) => Varints(GROWTH * 8),
            (Self::Tensor, 4) => Fixed(GROWTH * 4 + 8),
            (Self::Tensor, 5) => Varints(GROWTH * 4 + 8),
            (Self::Tensor, 7) => Varints(GROWTH * 8 + 8),
            (Self::Tensor, 10) => Fixed(GROWTH * 8 + 8),
            (Self::Tensor, 6 | 8) => Text,
            (Self::Tensor, 9) => Data,
            _ => return None,
        })
    }
}

/// Accounts for what decoding `bytes` allocates. A file that is malformed is accounted for up to that place, and refused by the
/// decoder.
///
/// # Errors
/// A text that names the allowance when it is exceeded.
pub(super) fn account(bytes: &[u8], allowance: &Allowance) -> Result<(), String> {
    message(bytes, Kind::Model, 0, allowance)
}

fn message(mut bytes: &[u8], kind: Kind, depth: usize, allowance: &Allowance) -> Result<(), String> {
    // what lies deeper cannot be reached: no message of these contains itself
    if depth > MAX_DEPTH {
        return Ok(());
    }
    while let Some(key) = varint(&mut bytes) {
        let (field, wire) = (kind.field(key >> 3), key & 7);
        let content = match wire {
            0 => varint(&mut bytes).map(|_| &bytes[..0]),
            1 => split(&mut bytes, 8),
            2 => varint(&mut bytes).and_then(|n| split(&mut bytes, usize::try_from(n).unwrap_or(usize::MAX))),
            5 => split(&mut bytes, 4),
            // the decoder refuses groups inside of these messages
            _ => None,
        };
        let Some(content) = content else { return Ok(()) };
        let spend = |n: usize| allowance.spend(n).map_err(String::from);
        match (field, wire) {
            (Some(Field::Message(inner)), 2) => {
                spend(inner.size().saturating_mul(GROWTH))?;
                message(content, inner, depth + 1, allowance)?;
            }
            (Some(Field::Text), 2) => spend(TEXT.saturating_add(content.len()))?,
            (Some(Field::Data), 2) => spend(content.len().saturating_mul(3))?,
            (Some(Field::Varints(size)), 2) => spend(values(content).saturating_mul(size))?,
            (Some(Field::Fixed(size)), 2) => spend((content.len() / 4).saturating_mul(size))?,
            (Some(Field::Varints(size) | Field::Fixed(size)), 0 | 1 | 5) => spend(size)?,
            _ => {}
        }
    }
    Ok(())
}

/// The number of varints: of bytes that end one.
fn values(packed: &[u8]) -> usize {
    packed.iter().filter(|byte| **byte < 0x80).count()
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32).unwrap_or(0);
        if *byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

fn split<'b>(bytes: &mut &'b [u8], n: usize) -> Option<&'b [u8]> {
    let (content, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(content)
}
