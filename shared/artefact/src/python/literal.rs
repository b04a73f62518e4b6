//! The Python literals that occur in numpy headers.

/// A parsed literal; tuples and lists are both `Seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Str(String),
    Int(u64),
    Bool(bool),
    Seq(Vec<Literal>),
    Dict(Vec<(String, Literal)>),
}

/// Largest nesting depth; headers need a list of tuples in a dict.
const MAX_DEPTH: usize = 8;

impl Literal {
    /// Parses one literal; trailing blanks are allowed, anything else is an error.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text };
        let value = reader.value(0)?;
        reader.blank();
        if reader.rest.is_empty() { Ok(value) } else { Err(format!("unexpected {:?}", clip(reader.rest))) }
    }

    /// The value of `key` in a dict.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dict(pairs) = self else { return None };
        pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

struct Reader<'t> {
    rest: &'t str,
}

fn clip(text: &str) -> String {
    text.chars().take(20).collect()
}

impl Reader<'_> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: char) -> bool {
        self.blank();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Literal, String> {
        if depth > MAX_DEPTH {
            return Err("nested too deep".into());
        }
        self.blank();
        let first = self.rest.chars().next().ok_or("ends early")?;
        match first {
            '\'' | '"' => self.text(first).map(Literal::Str),
            '(' | '[' => self.sequence(depth, if first == '(' { ')' } else { ']' }),
            '{' => self.dict(depth),
            '0'..='9' => {
                let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
                let (digits, rest) = self.rest.split_at(end);
                self.rest = rest.strip_prefix('L').unwrap_or(rest);
                digits.parse().map(Literal::Int).map_err(|e| e.to_string())
            }
            _ => {
                for (word, value) in [("True", true), ("False", false)] {
                    if let Some(rest) = self.rest.strip_prefix(word) {
                        self.rest = rest;
                        return Ok(Literal::Bool(value));
                    }
                }
                Err(format!("unexpected {:?}", clip(self.rest)))
            }
        }
    }

    fn text(&mut self, quote: char) -> Result<String, String> {
        let body = &self.rest[1..];
        let end = body.find(quote).ok_or("text is not closed")?;
        let text = &body[..end];
        if text.contains('\\') {
            return Err("escapes are not supported".into());
        }
        self.rest = &body[end + 1..];
        Ok(text.to_owned())
    }

    fn sequence(&mut self, depth: usize, close: char) -> Result<Literal, String> {
        self.rest = &self.rest[1..];
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.value(depth + 1)?);
            if !self.eat(',') {
                return if self.eat(close) { Ok(Literal::Seq(items)) } else { Err("sequence is not closed".into()) };
            }
        }
        Ok(Literal::Seq(items))
    }

    fn dict(&mut self, depth: usize) -> Result<Literal, String> {
        self.rest = &self.rest[1..];
        let mut pairs = Vec::new();
        while !self.eat('}') {
            let Literal::Str(key) = self.value(depth + 1)? else { return Err("key is not text".into()) };
            if !self.eat(':') {
                return Err(format!("no value for {key:?}"));
            }
            pairs.push((key, self.value(depth + 1)?));
            if !self.eat(',') {
                return if self.eat('}') { Ok(Literal::Dict(pairs)) } else { Err("dict is not closed".into()) };
            }
        }
        Ok(Literal::Dict(pairs))
    }
}
