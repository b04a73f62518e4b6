//! A numpy array: element type, shape, little-endian bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::graph::{Node, SHARED_BYTES};
use super::literal::Literal;
use crate::Label;

/// Largest number of nested record types and of fields; no scikit-learn artefact has more.
const MAX_FIELDS: usize = 64;

/// Element type of an [`Array`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dtype {
    F64,
    F32,
    Bool,
    Int(usize),
    Uint(usize),
    /// Unicode text of this many 4-byte characters.
    Text(usize),
    /// Byte strings of this length.
    Bytes(usize),
    Record {
        fields: Arc<[Field]>,
        size: usize,
    },
}

/// A field of a record type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub name: Arc<str>,
    pub dtype: Dtype,
    pub offset: usize,
}

impl Dtype {
    /// Parses numpy's short form (`<f8`, `|b1`, `<U5`, `f8`). Big-endian types and objects are rejected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let unknown = || format!("element type {text:?} is not supported");
        let body = text.strip_prefix(['<', '|', '=']).unwrap_or(text);
        let kind = body.chars().next().ok_or_else(unknown)?;
        let size: usize = body[kind.len_utf8()..].parse().map_err(|_| unknown())?;
        match (kind, size) {
            ('f', 8) => Ok(Self::F64),
            ('f', 4) => Ok(Self::F32),
            ('b', 1) => Ok(Self::Bool),
            ('i', 1 | 2 | 4 | 8) => Ok(Self::Int(size)),
            ('u', 1 | 2 | 4 | 8) => Ok(Self::Uint(size)),
            ('U', 0..=65_536) => Ok(Self::Text(size)),
            ('S', 0..=65_536) => Ok(Self::Bytes(size)),
            _ => Err(unknown()),
        }
    }

    /// Parses the `descr` of an npy header: text, or a list of `(name, type)` for records.
    pub(super) fn from_descr(descr: &Literal) -> Result<Self, String> {
        match descr {
            Literal::Str(text) => Self::parse(text),
            Literal::Seq(parts) if parts.len() <= MAX_FIELDS => {
                let mut fields = Vec::with_capacity(parts.len());
                let mut size = 0;
                for part in parts {
                    let Literal::Seq(pair) = part else { return Err("record field is not a pair".into()) };
                    let [Literal::Str(name), Literal::Str(of)] = pair.as_slice() else {
                        return Err("record field is not a (name, type) pair".into());
                    };
                    // numpy pads records with unnamed void fields
                    if name.is_empty()
                        && let Some(pad) = of.strip_prefix("|V").and_then(|n| n.parse::<usize>().ok())
                    {
                        size += pad.min(1 << 16);
                        continue;
                    }
                    let dtype = Self::parse(of)?;
                    let offset = size;
                    size += dtype.size();
                    fields.push(Field { name: name.as_str().into(), dtype, offset });
                }
                Ok(Self::Record { fields: fields.into(), size })
            }
            _ => Err("element type is neither text nor a list of fields".into()),
        }
    }

    /// Size of one element in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::Bool => 1,
            Self::Int(n) | Self::Uint(n) | Self::Bytes(n) => *n,
            Self::Text(n) => 4 * n,
            Self::Record { size, .. } => *size,
        }
    }

    /// Reads one number; `bytes` must have at least `size()` bytes.
    fn number(&self, bytes: &[u8]) -> Option<f64> {
        Some(match self {
            Self::F64 => f64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            Self::F32 => f64::from(f32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)),
            _ => self.integer(bytes)? as f64,
        })
    }

    fn integer(&self, bytes: &[u8]) -> Option<i64> {
        let (Self::Int(size) | Self::Uint(size)) = self else {
            return (*self == Self::Bool).then_some(i64::from(*bytes.first()? != 0));
        };
        let mut raw = [0u8; 8];
        raw[..*size].copy_from_slice(bytes.get(..*size)?);
        let value = i64::from_le_bytes(raw);
        let unused = 64 - 8 * size;
        Some(if matches!(self, Self::Int(_)) { (value << unused) >> unused } else { value })
    }
}

/// Elements in C order (row-major) unless `fortran`; `data.len() == product(shape) * dtype.size()`.
#[derive(Debug, Clone)]
pub struct Array {
    dtype: Dtype,
    pub shape: Vec<usize>,
    fortran: bool,
    /// A part of the file that the array is from, which stays in memory as long as the array.
    data: Bytes,
}

impl Array {
    /// Whether the elements are numbers in single precision.
    pub(super) fn is_single(&self) -> bool {
        self.dtype == Dtype::F32
    }

    /// The value of an array without axes, if it is a number or a truth value.
    pub(super) fn scalar(&self) -> Option<Node> {
        if !self.shape.is_empty() {
            return None;
        }
        match self.dtype {
            Dtype::Bool => Some(Node::Bool(self.data.first() != Some(&0))),
            Dtype::Int(_) | Dtype::Uint(1..=4) => self.dtype.integer(&self.data).map(Node::Int),
            Dtype::F64 | Dtype::F32 => self.dtype.number(&self.data).map(Node::Float),
            _ => None,
        }
    }

    /// Checks the bytes against type and shape.
    pub(super) fn new(dtype: Dtype, shape: Vec<usize>, fortran: bool, data: Bytes) -> Result<Self, String> {
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let expected = count.and_then(|n| n.checked_mul(dtype.size()));
        if expected != Some(data.len()) {
            return Err(format!("shape {shape:?} does not fit {} bytes", data.len()));
        }
        // any number of them would fit no bytes at all
        if dtype.size() == 0 && count != Some(0) {
            return Err(format!("shape {shape:?} has elements without a size"));
        }
        Ok(Self { dtype, shape, fortran, data })
    }

    /// Size of all elements in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Bytes of what reading the elements gives: numbers, texts, or some fields of records.
    pub(super) fn read_bytes(&self) -> usize {
        let element = match &self.dtype {
            Dtype::Text(_) | Dtype::Bytes(_) => 40 + self.dtype.size(),
            Dtype::Record { fields, .. } => 8 * fields.len().min(8),
            _ => 8,
        };
        self.len().saturating_mul(element)
    }

    /// Bytes of what [`Array::labels`] gives, besides what it reads.
    pub(super) fn label_bytes(&self) -> usize {
        let text = match &self.dtype {
            Dtype::Text(_) | Dtype::Bytes(_) => SHARED_BYTES + self.dtype.size(),
            _ => 0,
        };
        self.len().saturating_mul(size_of::<Label>() + text)
    }

    /// Bytes of what [`Array::texts`] gives, besides what it reads: numbers become texts of up to 24 characters.
    pub(super) fn text_bytes(&self) -> usize {
        match &self.dtype {
            Dtype::Text(_) | Dtype::Bytes(_) => 0,
            _ => self.len().saturating_mul(size_of::<String>() + SHARED_BYTES),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn elements(&self) -> std::slice::ChunksExact<'_, u8> {
        self.data.chunks_exact(self.dtype.size().max(1))
    }

    /// All elements as f64, in C order.
    pub fn numbers(&self) -> Result<Vec<f64>, String> {
        let read = match *self.shape.as_slice() {
            [rows, columns] if self.fortran => {
                let size = self.dtype.size();
                let element = |i: usize| self.data.get(((i % columns) * rows + i / columns) * size..);
                exactly(self.len(), (0..self.len()).map(|i| element(i).and_then(|bytes| self.dtype.number(bytes))))
            }
            [_, _, ..] if self.fortran => return Err("column-major order is read for matrices only".into()),
            _ => exactly(self.len(), self.elements().map(|bytes| self.dtype.number(bytes))),
        };
        read.ok_or_else(|| format!("{:?} elements are not numbers", self.dtype))
    }

    /// All elements as integers, in C order (vectors only).
    pub fn integers(&self) -> Result<Vec<i64>, String> {
        let read = exactly(self.len(), self.elements().map(|bytes| self.dtype.integer(bytes)));
        read.ok_or_else(|| format!("{:?} elements are not integers", self.dtype))
    }

    /// All elements as text: class labels, categories, feature names.
    pub fn texts(&self) -> Result<Vec<String>, String> {
        match &self.dtype {
            Dtype::Text(_) => Ok(self.elements().map(text_of).collect()),
            Dtype::Bytes(_) => {
                Ok(self.elements().map(|b| String::from_utf8_lossy(b).trim_end_matches('\0').to_owned()).collect())
            }
            Dtype::Bool => Ok(self.elements().map(|b| if b == [0] { "False" } else { "True" }.to_owned()).collect()),
            Dtype::Int(_) | Dtype::Uint(_) => Ok(self.integers()?.iter().map(i64::to_string).collect()),
            Dtype::F64 | Dtype::F32 => Ok(self.numbers()?.iter().map(|v| format!("{v:?}")).collect()),
            Dtype::Record { .. } => Err("records are not text".into()),
        }
    }

    /// All elements as class labels, which keep their type.
    pub fn labels(&self) -> Result<Vec<Label>, String> {
        match &self.dtype {
            Dtype::Bool => Ok(self.elements().map(|b| Label::Boolean(b != [0])).collect()),
            Dtype::Int(_) | Dtype::Uint(_) => Ok(self.integers()?.into_iter().map(Label::Integer).collect()),
            Dtype::F64 | Dtype::F32 => Ok(self.numbers()?.into_iter().map(Label::Float).collect()),
            Dtype::Text(_) | Dtype::Bytes(_) | Dtype::Record { .. } => {
                Ok(self.texts()?.iter().map(|text| Label::from(text.as_str())).collect())
            }
        }
    }

    /// Field `name` of every record, as integers; `None` when the record has no such field.
    pub fn field_integers(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        self.field(name, |dtype, bytes| dtype.integer(bytes))
    }

    /// Field `name` of every record, as f64; `None` when the record has no such field.
    pub fn field_numbers(&self, name: &str) -> Result<Option<Vec<f64>>, String> {
        self.field(name, |dtype, bytes| dtype.number(bytes))
    }

    fn field<T>(&self, name: &str, read: impl Fn(&Dtype, &[u8]) -> Option<T>) -> Result<Option<Vec<T>>, String> {
        let Dtype::Record { fields, .. } = &self.dtype else { return Err("array holds no records".into()) };
        let Some(field) = fields.iter().find(|f| &*f.name == name) else { return Ok(None) };
        let wrong = || format!("field {name} has type {:?}", field.dtype);
        let values = self.elements().map(|b| b.get(field.offset..).and_then(|b| read(&field.dtype, b)));
        exactly(self.len(), values).map(Some).ok_or_else(wrong)
    }
}

/// The values, which are `count`, in memory for as many: a vector that grows would take up to three times as much.
fn exactly<T>(count: usize, values: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut read = Vec::with_capacity(count);
    for value in values {
        read.push(value?);
    }
    Some(read)
}

fn text_of(bytes: &[u8]) -> String {
    let chars = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
    chars.take_while(|c| *c != 0).map(|c| char::from_u32(c).unwrap_or('\u{fffd}')).collect()
}
