//! A JSON reader that does not copy.

use std::borrow::Cow;

use super::{Budget, MAX_DEPTH, Value};

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Value<'_>, String> {
    let mut reader = Reader { text, at: 0, budget: Budget::of_file(text.len()) };
    let value = reader.value(0).and_then(|value| match reader.peek() {
        None => Ok(value),
        Some(_) => Err("continues after its end".to_owned()),
    });
    value.map_err(|reason| format!("byte {}: {reason}", reader.at))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    budget: Budget,
}

impl<'a> Reader<'a> {
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
        self.budget.spend()?;
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
        let mut pairs = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(pairs));
        }
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
        Ok(Value::Map(pairs))
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, String> {
        self.take(b'[')?;
        if let Some(numbers) = self.numbers() {
            return Ok(numbers);
        }
        let mut items = Vec::new();
        loop {
            items.push(self.value(depth + 1)?);
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.take(b']')?;
        Ok(Value::List(items))
    }

    /// The rest of a list, if it has only numbers and booleans.
    fn numbers(&mut self) -> Option<Value<'a>> {
        let rest = &self.text[self.at..];
        let scalar = |b: u8| b.is_ascii_digit() || b" \t\r\n,+-.eEtrufalsNIinty".contains(&b);
        let end = rest.bytes().position(|b| !scalar(b))?;
        if rest.as_bytes()[end] != b']' {
            return None;
        }
        self.at += end + 1;
        let inner = rest[..end].trim();
        Some(if inner.is_empty() { Value::List(Vec::new()) } else { Value::Numbers(inner) })
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
