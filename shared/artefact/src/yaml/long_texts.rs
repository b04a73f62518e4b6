//! Long texts of a document: the signature of a wide table is one of several hundred KiB. They are cut out before the
//! document is parsed, which costs many times its size, and put back afterwards, each once.

use serde_yaml_ng::Value;

/// Shorter ones stay where they are, in bytes.
const LONG: usize = 1 << 10;
/// What stands where one was, with its number behind.
const PLACEHOLDER: &str = "forebay long text ";

/// Texts that were cut out of a document.
#[derive(Debug, Default)]
pub(super) struct LongTexts(Vec<Option<String>>);

impl LongTexts {
    /// The document with a short text instead of each long one in single quotes that is the value of a plain key, as
    /// MLflow writes a signature.
    pub(super) fn cut(text: &str) -> (String, Self) {
        let (mut left, mut texts) = (String::new(), Self::default());
        let mut rest = text;
        while !rest.is_empty() {
            let line_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
            match quoted_value(&rest[..line_end])
                .and_then(|start| Some((start, start + closing_quote(&rest[start..])?)))
            {
                Some((start, end)) if end - start > LONG => {
                    left.push_str(&rest[..start]);
                    left.push_str(&placeholder(texts.0.len()));
                    texts.0.push(Some(unfolded(&rest[start..end])));
                    rest = &rest[end..];
                }
                _ => {
                    left.push_str(&rest[..line_end]);
                    rest = &rest[line_end..];
                }
            }
        }
        (left, texts)
    }

    /// Puts the texts back into a document.
    pub(super) fn restore(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let index = text.strip_prefix(PLACEHOLDER).and_then(|index| index.parse::<usize>().ok());
                if let Some(long) = index.and_then(|index| self.0.get_mut(index)?.take()) {
                    *text = long;
                }
            }
            Value::Sequence(values) => values.iter_mut().for_each(|value| self.restore(value)),
            Value::Mapping(entries) => entries.iter_mut().for_each(|(_, value)| self.restore(value)),
            _ => {}
        }
    }
}

fn placeholder(index: usize) -> String {
    format!("{PLACEHOLDER}{index}")
}

/// Where the value of a line begins, after its quote, if the line is a plain key with such a value.
fn quoted_value(line: &str) -> Option<usize> {
    let (key, value) = line.split_once(": '")?;
    let plain = !key.is_empty() && key.trim_start().chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then_some(line.len() - value.len())
}

/// Where the quote is that ends a text, if nothing follows it on its line.
fn closing_quote(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find('\'')?;
        let after = &text[at + 1..];
        if after.starts_with('\'') {
            from = at + 2;
            continue;
        }
        let line = after.split('\n').next().unwrap_or_default();
        return line.trim().is_empty().then_some(at);
    }
}

/// What a text in single quotes means: a line break is a space, one that is followed by empty lines these, and a quote is
/// written twice.
fn unfolded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.split('\n').peekable();
    let mut breaks = 0;
    while let Some(line) = lines.next() {
        let first = out.is_empty() && breaks == 0;
        let line = if first { line } else { line.trim_start_matches([' ', '\t']) };
        let line = if lines.peek().is_some() { line.trim_end_matches([' ', '\t', '\r']) } else { line };
        match breaks {
            0 => {}
            1 => out.push(' '),
            empty if !line.is_empty() || lines.peek().is_none() => out.extend(std::iter::repeat_n('\n', empty - 1)),
            _ => {}
        }
        if line.is_empty() && breaks > 0 && lines.peek().is_some() {
            if breaks == 1 {
                out.pop();
            }
            breaks += 1;
            continue;
        }
        out.push_str(&line.replace("''", "'"));
        breaks = 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_what_the_parser_makes_of_them() {
        let words = "it''s {\"a\": 1}, ".repeat(100);
        let folded = words.replace("1}, ", "1},\n    ");
        let gaps = words.replace("{\"a\"", "\n\n\n  {\"a\"");
        for value in [words.as_str(), &folded, &gaps, &format!("\n{words}\n"), &format!("{words}\n\n  ")] {
            let text = format!("before: 1\nsignature:\n  inputs: '{value}'\n  outputs: 'short'\nafter: {{x: 'y'}}\n");
            let whole: Value = serde_yaml_ng::from_str(&text).unwrap();
            let (left, mut texts) = LongTexts::cut(&text);
            assert!(left.len() < 200, "{left}");
            let mut value: Value = serde_yaml_ng::from_str(&left).unwrap();
            texts.restore(&mut value);
            assert_eq!(value, whole);
        }
    }

    #[test]
    fn a_text_is_put_back_once() {
        let text = format!(
            "a: '{}'\nb: forebay long text 0\nc: [forebay long text 0, forebay long text 1]\n",
            "x".repeat(2000)
        );
        let (left, mut texts) = LongTexts::cut(&text);
        let mut value: Value = serde_yaml_ng::from_str(&left).unwrap();
        texts.restore(&mut value);
        assert_eq!(value["a"].as_str().unwrap().len(), 2000);
        assert_eq!(
            (value["b"].as_str(), value["c"][1].as_str()),
            (Some("forebay long text 0"), Some("forebay long text 1"))
        );
        for text in ["a: 'x", "'a': 'x'\n", "a: 'x' # no\n", "- a: 'b'\n"] {
            assert_eq!(LongTexts::cut(text).0, text);
        }
    }
}
