//! The sources that lie over the defaults: a file, the environment, flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Value;

use super::layers::Entry;
use super::schema::Place;
use super::text::{Key, fit, flatten, guessed, typed};
use super::{Layers, Origin, event_hubs, legacy};

const PREFIX: &str = "FOREBAY__";
const FILE_SUFFIX: &str = "_FILE";

impl Layers {
    pub(super) fn add_file(&mut self, path: &Path, text: &str) {
        let leaves = match flatten(text) {
            Ok(leaves) => leaves,
            Err(text) => return self.problems.push(path.display().to_string(), None, format!("is not TOML: {text}")),
        };
        for leaf in leaves {
            let origin = Origin::File { path: path.to_owned(), line: leaf.line };
            self.place(leaf.key, origin, |default| match default {
                Some(default) => fit(leaf.value, default),
                None => Ok(leaf.value),
            });
        }
    }

    pub(super) fn add_environment(&mut self, environment: BTreeMap<String, String>) {
        let profile = event_hubs::read(&environment, &mut self.problems);
        let mut modern = Vec::new();
        for (variable, value) in &environment {
            if let Some(path) = variable.strip_prefix(PREFIX) {
                self.read_variable(variable, path, value, &mut modern);
            }
        }
        let stated = profile.stated.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>();
        // the manifests of old set both brokers always, and used Event Hubs when it had a connection
        let legacy = legacy::settings(&environment).into_iter().filter(|(key, ..)| !stated.contains(key));
        for (key, value, origin) in legacy.chain(profile.stated) {
            match modern.iter().find(|(other, ..)| *other == key) {
                Some((_, other, _)) if *other == value => {}
                Some((.., newer)) => self.warnings.push(format!("{origin} is ignored, {newer} sets {key} differently")),
                None => self.set_text(key, &value, origin),
            }
        }
        for (key, value, origin) in modern {
            self.set_text(key, &value, origin);
        }
        (self.event_hubs, self.broker_defaults) = (profile.hubs, profile.defaults);
        self.warnings.extend(profile.warnings);
    }

    /// Defaults of the kind of broker, wherever nobody has said anything else.
    pub(super) fn add_broker_defaults(&mut self) {
        for (key, value) in std::mem::take(&mut self.broker_defaults) {
            let name = key.property();
            let said = |(known, entry): (&Key, &Entry)| {
                entry.origin != Origin::Default && (*known == key || name.is_some() && known.property() == name)
            };
            if !self.values.iter().any(said) {
                self.values.insert(key, Entry { value, origin: Origin::EventHubs });
            }
        }
    }

    /// Turns one `FOREBAY__` variable into a setting. A known key that ends in `_file` wins over the `_FILE` form.
    fn read_variable(&mut self, variable: &str, path: &str, value: &str, found: &mut Vec<(Key, String, Origin)>) {
        let key = self.key_of_variable(path);
        let known = matches!(self.schema.place(&key), Place::Known(_));
        let Some(path) = path.strip_suffix(FILE_SUFFIX).filter(|_| !known) else {
            found.push((key, value.to_owned(), Origin::Environment(variable.to_owned())));
            return;
        };
        let key = self.key_of_variable(path);
        let origin = Origin::SecretFile { variable: variable.to_owned(), path: PathBuf::from(value) };
        if matches!(self.schema.place(&key), Place::Foreign) {
            return;
        }
        if found.iter().any(|(other, ..)| *other == key) {
            self.problems.push(key.to_string(), Some(origin), "is set twice, by the variable and by its _FILE form");
            return;
        }
        match std::fs::read_to_string(value) {
            Ok(text) => found.push((key, text.trim_end_matches(['\n', '\r']).to_owned(), origin)),
            Err(error) => self.problems.push(key.to_string(), Some(origin), format!("cannot be read: {error}")),
        }
    }

    fn key_of_variable(&self, path: &str) -> Key {
        Key(path.split("__").map(str::to_ascii_lowercase).collect())
    }

    pub(super) fn add_flags(&mut self, flags: &[String]) {
        for flag in flags {
            let Some((path, value)) = flag.split_once('=') else {
                let text = "has no value, expected section.key=value";
                self.problems.push(flag.clone(), Some(Origin::Flag), text);
                continue;
            };
            let key = self.key_of_flag(path.trim());
            self.set_text(key, value, Origin::Flag);
        }
    }

    /// Inside a free-form table the rest of the path is one name, dots and all: `kafka.options.linger.ms`.
    fn key_of_flag(&self, path: &str) -> Key {
        let parts: Vec<&str> = path.split('.').collect();
        let open = (2..parts.len()).find(|&length| self.schema.is_open(&Key::of(parts[..length].iter().copied())));
        match open {
            Some(length) if !path.contains('"') => {
                let mut key = Key::of(parts[..length].iter().copied());
                key.0.push(parts[length..].join("."));
                key
            }
            _ => Key::of(parts.into_iter().map(|part| part.trim_matches('"'))),
        }
    }

    fn set_text(&mut self, key: Key, text: &str, origin: Origin) {
        self.place(key, origin, |default| match default {
            Some(default) => typed(text, default),
            None => Ok(guessed(text)),
        });
    }

    fn place(&mut self, key: Key, origin: Origin, read: impl FnOnce(Option<&Value>) -> Result<Value, String>) {
        let value = match self.schema.place(&key) {
            Place::Foreign => return,
            Place::Unknown(text) if !self.schema.is_open(&key) => Err(text),
            Place::Unknown(_) => return, // an empty free-form table
            Place::Known(default) => read(Some(default)),
            Place::Open => read(None),
        };
        match value {
            Ok(value) => {
                self.values.insert(key, Entry { value, origin });
            }
            Err(text) => self.problems.push(key.to_string(), Some(origin), text),
        }
    }
}
