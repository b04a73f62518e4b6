//! What `config show` prints: settings that could be pasted into a file, each with its origin, secrets masked.

use std::fmt::Write as _;

use toml::Value;

use super::mask::shown;
use super::secret::MASK;
use super::text::Key;
use super::{Layers, Origin};

impl Layers {
    /// Effective settings as TOML, one line a key, the origin behind it as a comment.
    pub fn show(&self) -> String {
        let mut text = String::new();
        let mut section = None;
        for (key, entry) in &self.values {
            if section != Some(key.section()) {
                let gap = if section.is_some() { "\n" } else { "" };
                section = Some(key.section());
                let _infallible = writeln!(text, "{gap}[{}]", key.section());
            }
            let name = Key(key.0.iter().skip(1).cloned().collect());
            let value = match (&entry.origin, &entry.value) {
                (Origin::SecretFile { .. }, _) => Value::String(MASK.into()),
                (_, value) => masked(&key.to_string(), value),
            };
            let line = format!("{name} = {value}");
            let _infallible = writeln!(text, "{line:<48} # {}", entry.origin);
        }
        text
    }
}

fn masked(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(shown(key, text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| masked(key, item)).collect()),
        Value::Table(table) => Value::Table(
            table.iter().map(|(name, item)| (name.clone(), masked(&format!("{key}.{name}"), item))).collect(),
        ),
        other => other.clone(),
    }
}
