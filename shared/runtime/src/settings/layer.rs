//! One layer of settings, as a source of the `config` crate.

use std::path::Path;

use config::{ConfigError, Map, Source};
use toml::Value;

use super::schema::{KeyKind, KeyPath, Schema};
use super::value::{fit, flatten, guessed, stored, typed};
use super::{Problems, SettingOrigin};

/// The value that a layer gives to a setting.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) key: KeyPath,
    pub(super) value: Value,
    pub(super) origin: SettingOrigin,
}

/// Settings of one source, already of the types of the schema, and the problems of those that could not be read. Of two values for
/// the same key the later one wins.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    pub(super) settings: Vec<Setting>,
    pub(super) problems: Problems,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    /// A table for each section, with its settings by their whole names: the crate would split a name such as
    /// `linger.ms` at the dot, and replaces a setting as a whole this way.
    fn collect(&self) -> Result<Map<String, config::Value>, ConfigError> {
        let mut sections = Map::<String, Map<String, config::Value>>::new();
        for Setting { key, value, origin } in &self.settings {
            let section = sections.entry(key.section().to_owned()).or_default();
            section.insert(key.within_section(), stored(value, &origin.to_string()));
        }
        Ok(sections.into_iter().map(|(name, settings)| (name, config::Value::new(None, settings))).collect())
    }
}

impl Layer {
    /// Settings of one origin that need no check.
    pub(super) fn of(settings: impl IntoIterator<Item = (KeyPath, Value)>, origin: &SettingOrigin) -> Self {
        let settings = settings.into_iter().map(|(key, value)| Setting { key, value, origin: origin.clone() });
        Self { settings: settings.collect(), problems: Problems::default() }
    }

    /// The settings of a file.
    pub(super) fn file(schema: &Schema, path: &Path, text: &str) -> Self {
        let mut layer = Self::default();
        match flatten(text) {
            Ok(leaves) => {
                for leaf in leaves {
                    let origin = SettingOrigin::File { path: path.to_owned(), line: leaf.line };
                    layer.add(schema, leaf.key, origin, |default| match default {
                        Some(default) => fit(leaf.value, default),
                        None => Ok(leaf.value),
                    });
                }
            }
            Err(text) => layer.problems.push(path.display().to_string(), None, format!("is not TOML: {text}")),
        }
        layer
    }

    /// The settings of `section.key=value` flags.
    pub(super) fn flags(schema: &Schema, flags: &[String]) -> Self {
        let mut layer = Self::default();
        for flag in flags {
            match flag.split_once('=') {
                Some((path, value)) => {
                    layer.add_text(schema, schema.key_of_flag(path.trim()), value, SettingOrigin::Flag)
                }
                None => {
                    let text = "has no value, expected section.key=value";
                    layer.problems.push(flag.clone(), Some(SettingOrigin::Flag), text);
                }
            }
        }
        layer
    }

    /// Adds a value that was given as text.
    pub(super) fn add_text(&mut self, schema: &Schema, key: KeyPath, text: &str, origin: SettingOrigin) {
        self.add(schema, key, origin, |default| match default {
            Some(default) => typed(text, default),
            None => Ok(guessed(text)),
        });
    }

    fn add(
        &mut self,
        schema: &Schema,
        key: KeyPath,
        origin: SettingOrigin,
        read: impl FnOnce(Option<&Value>) -> Result<Value, String>,
    ) {
        let value = match schema.kind(&key) {
            KeyKind::Foreign => return,
            KeyKind::Unknown(text) if !schema.is_open(&key) => Err(text),
            KeyKind::Unknown(_) => return, // an empty free-form table
            KeyKind::Known(default) => read(Some(default)),
            KeyKind::Open => read(None).and_then(|value| match value {
                Value::Datetime(_) => Err(format!("{} is not text, a number or a flag", key.name())),
                value => Ok(value),
            }),
        };
        match value {
            Ok(value) => self.settings.push(Setting { key, value, origin }),
            Err(text) => self.problems.push(key.to_string(), Some(origin), text),
        }
    }
}
