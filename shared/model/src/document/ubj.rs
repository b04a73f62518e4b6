//! A UBJSON reader (draft 12, as XGBoost writes it) that does not copy.

use std::borrow::Cow;

use forebay_artefact::Allowance;

use super::{Kind, MAX_DEPTH, Typed, Value};

/// Reads one document.
pub(super) fn read<'a>(bytes: &'a [u8], allowance: &Allowance) -> Result<Value<'a>, String> {
    let mut reader = Reader { bytes, at: 0, allowance };
    reader.value(0).map_err(|reason| format!("byte {}: {reason}", reader.at))
}

struct Reader<'a, 'b> {
    bytes: &'a [u8],
    at: usize,
    allowance: &'b Allowance,
}

impl<'a> Reader<'a, '_> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len()).ok_or("ends early")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.take(1).map(|b| b[0])
    }

    /// The next byte that is not a no-op.
    fn peek(&mut self) -> Result<u8, String> {
        while self.bytes.get(self.at) == Some(&b'N') {
            self.at += 1;
        }
        self.bytes.get(self.at).copied().ok_or_else(|| "ends early".to_owned())
    }

    fn scalar(&mut self, kind: Kind) -> Result<Value<'a>, String> {
        self.take(kind.size()).map(|bytes| kind.element(bytes))
    }

    /// A length: a marker and an integer.
    fn length(&mut self) -> Result<usize, String> {
        let kind = kind(self.byte()?).ok_or("length has no type")?;
        self.scalar(kind)?.count(self.bytes.len()).map_err(|e| format!("length {e}"))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map(Cow::Borrowed).map_err(|e| e.to_string())
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, String> {
        if depth > MAX_DEPTH {
            return Err("is nested too deep".to_owned());
        }
        self.peek()?;
        match self.byte()? {
            b'{' => self.map(depth),
            b'[' => self.list(depth),
            b'Z' => Ok(Value::Null),
            b'T' => Ok(Value::Bool(true)),
            b'F' => Ok(Value::Bool(false)),
            b'S' => self.string().map(Value::Text),
            b'C' => self.scalar(Kind::I8),
            marker => match kind(marker) {
                Some(kind) => self.scalar(kind),
                None => Err(format!("has an unknown marker {marker:#04x}")),
            },
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value<'a>, String> {
        let mut pairs = Vec::new();
        while self.peek()? != b'}' {
            let key = self.string()?;
            let value = self.value(depth + 1)?;
            self.allowance.push(&mut pairs, (key, value))?;
        }
        self.at += 1;
        Ok(Value::Map(self.allowance.boxed(pairs)))
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, String> {
        let mut items = Vec::new();
        match self.peek()? {
            b'$' => {
                self.at += 1;
                let marker = self.byte()?;
                let kind = kind(marker).ok_or_else(|| format!("array of an unknown type {marker:#04x}"))?;
                if self.byte()? != b'#' {
                    return Err("typed array has no length".to_owned());
                }
                let length = self.length()?;
                let bytes = self.take(length.checked_mul(kind.size()).ok_or("ends early")?)?;
                self.allowance.spend(size_of::<Typed<'_>>())?;
                return Ok(Value::Typed(Box::new(Typed { kind, bytes })));
            }
            b'#' => {
                self.at += 1;
                // the allowance, not the claimed length, bounds the list
                for _ in 0..self.length()? {
                    let item = self.value(depth + 1)?;
                    self.allowance.push(&mut items, item)?;
                }
            }
            _ => {
                while self.peek()? != b']' {
                    let item = self.value(depth + 1)?;
                    self.allowance.push(&mut items, item)?;
                }
                self.at += 1;
            }
        }
        Ok(Value::List(self.allowance.boxed(items)))
    }
}

fn kind(marker: u8) -> Option<Kind> {
    Some(match marker {
        b'i' => Kind::I8,
        b'U' => Kind::U8,
        b'I' => Kind::I16,
        b'l' => Kind::I32,
        b'L' => Kind::I64,
        b'd' => Kind::F32,
        b'D' => Kind::F64,
        _ => return None,
    })
}
