//! A JSON reader that does not copy.

use std::borrow::Cow;

use forebay_artefact::Allowance;

use super::{MAX_DEPTH, Value};

/// Bytes of a text that is a copy, besides its content.
const TEXT_BYTES: usize = 16;

/// Reads one document.
pub(super) fn read<'a>(text: &'a str, allowance: &Allowance) -> Result<Value<'a>, String> {
    let counts = counts(text.as_bytes(), allowance)?;
    let mut reader = Reader { text, at: 0, counts: counts.into_iter(), allowance };
    let value = reader.value(0).and_then(|value| match reader.peek() {
        None => Ok(value),
        Some(_) => Err("continues after its end".to_owned()),
    });
    value.map_err(|reason| format!("byte {}: {reason}", reader.at))
}

/// A list or map that has begun.
struct Open {
    /// Its place among the counts.
    at: usize,
    is_map: bool,
    /// Whether it is a list that has only numbers and booleans so far, which stay text.
    is_plain: bool,
}

impl Open {
    /// Accounts for the items, and tells how many there is to be room for. A list without an end is read item by item,
    /// whatever it holds.
    fn close(&self, count: &mut u32, has_end: bool, allowance: &Allowance) -> Result<(), String> {
        let item = if self.is_map { size_of::<(Cow<'_, str>, Value<'_>)>() } else { size_of::<Value<'_>>() };
        if self.is_plain && has_end {
            *count = 0;
        }
        Ok(allowance.spend((*count as usize).saturating_mul(item))?)
    }
}

/// The number of items of every list and map, in the order in which they begin, so that each takes what it needs and is
/// accounted for. A text that is no JSON has some numbers as well.
fn counts(text: &[u8], allowance: &Allowance) -> Result<Vec<u32>, String> {
    let (mut counts, mut open): (Vec<u32>, Vec<Open>) = (Vec::new(), Vec::new());
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        if escaped || (quoted && *byte != b'"') {
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        let inner = open.last_mut().map(|open| {
            open.is_plain &= is_scalar(*byte) || *byte == b']';
            open.at
        });
        match byte {
            b'"' => quoted = !quoted,
            b'[' | b'{' if open.len() > MAX_DEPTH => return Err("is nested too deep".to_owned()),
            b'[' | b'{' => {
                // the counts grow as well
                allowance.spend(3 * size_of::<u32>())?;
                open.push(Open { at: counts.len(), is_map: *byte == b'{', is_plain: *byte == b'[' });
                counts.push(1);
            }
            b',' => inner.into_iter().for_each(|at| counts[at] = counts[at].saturating_add(1)),
            b']' | b'}' => {
                if let Some(open) = open.pop() {
                    open.close(&mut counts[open.at], *byte == b']', allowance)?;
                }
            }
            _ => {}
        }
    }
    open.into_iter().try_for_each(|open| open.close(&mut counts[open.at], false, allowance))?;
    Ok(counts)
}

/// Whether a byte may be part of a list that has only numbers and booleans.
fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_digit() || b" \t\r\n,+-.eEtrufalsNIinty".contains(&byte)
}

struct Reader<'a, 'b> {
    text: &'a str,
    at: usize,
    counts: std::vec::IntoIter<u32>,
    allowance: &'b Allowance,
}

impl<'a> Reader<'a, '_> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(rest.len());
        self.at += blank;
        rest.get(blank).copied()
    }

    fn take(&mut self, byte: u8) -> Result<(), String> {
        match self.peek() {
            Some(b) if b == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err(format!("expected {:?}", char::from(byte))),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, String> {
        if depth > MAX_DEPTH {
            return Err("is nested too deep".to_owned());
        }
        match self.peek().ok_or("ends early")? {
            b'{' => self.map(depth),
            b'[' => self.list(depth),
            b'"' => self.string().map(Value::Text),
            _ => self.scalar(),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value<'a>, String> {
        self.take(b'{')?;
        let count = self.count();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(Box::default()));
        }
        let mut pairs = Vec::with_capacity(count);
        loop {
            self.peek();
            let key = self.string()?;
            self.take(b':')?;
            pairs.push((key, self.value(depth + 1)?));
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.take(b'}')?;
        Ok(Value::Map(pairs.into()))
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, String> {
        self.take(b'[')?;
        let count = self.count();
        if let Some(numbers) = self.numbers() {
            return Ok(numbers);
        }
        let mut items = Vec::with_capacity(count);
        loop {
            items.push(self.value(depth + 1)?);
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.take(b']')?;
        Ok(Value::List(items.into()))
    }

    /// The number of items of the list or map that begins.
    fn count(&mut self) -> usize {
        self.counts.next().unwrap_or(0) as usize
    }

    /// The rest of a list, if it has only numbers and booleans.
    fn numbers(&mut self) -> Option<Value<'a>> {
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|b| !is_scalar(b))?;
        if rest.as_bytes()[end] != b']' {
            return None;
        }
        self.at += end + 1;
        let inner = rest[..end].trim();
        Some(if inner.is_empty() { Value::List(Box::default()) } else { Value::Numbers(inner) })
    }

    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        if self.text.as_bytes().get(self.at) != Some(&b'"') {
            return Err("expected text".to_owned());
        }
        let start = self.at;
        let mut escaped = false;
        let rest = self.text.as_bytes().get(start + 1..).unwrap_or_default();
        let mut end = None;
        for (i, byte) in rest.iter().enumerate() {
            match byte {
                b'"' if !escaped => {
                    end = Some(i);
                    break;
                }
                b'\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        let end = start + 1 + end.ok_or("text has no end")?;
        self.at = end + 1;
        let inner = &self.text[start + 1..end];
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        self.allowance.spend(TEXT_BYTES + inner.len())?;
        serde_json::from_str::<String>(&self.text[start..=end]).map(Cow::Owned).map_err(|e| e.to_string())
    }

    fn scalar(&mut self) -> Result<Value<'a>, String> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        match word {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ if word.parse::<f64>().is_ok() => Ok(Value::Literal(word)),
            _ => Err("is not JSON".to_owned()),
        }
    }
}
