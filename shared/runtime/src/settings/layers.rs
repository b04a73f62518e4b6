//! Lays the sources of settings over each other and hands out sections.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Value;

use super::mask::shown;
use super::schema::Schema;
use super::text::Key;
use super::{DefaultSettings, EventHubs, Origin, Problem, Problems, SettingsError};
use crate::cli::SettingsArgs;

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// All settings of this binary with their origins. What could not be read is kept for [`Layers::problems`].
#[derive(Debug, Clone)]
pub struct Layers {
    pub(super) schema: Schema,
    pub(super) values: BTreeMap<Key, Entry>,
    pub(super) problems: Problems,
    pub(super) warnings: Vec<String>,
    pub(super) event_hubs: EventHubs,
    /// Defaults that take effect when all layers are read.
    pub(super) broker_defaults: Vec<(Key, Value)>,
}

impl Layers {
    /// Reads the file that `args` or `FOREBAY_CONFIG` names and the process environment.
    ///
    /// # Errors
    /// Only when an embedded default is broken, which is a bug. What a person got wrong is in [`Layers::problems`],
    /// so that it can be reported together with what the sections find.
    pub fn load(defaults: &[DefaultSettings], args: &SettingsArgs) -> Result<Self, SettingsError> {
        // A variable that is not Unicode cannot be one of ours, except by mistake: then its value is refused as text.
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        let mut layers = Self::defaults(defaults)?;
        if let Some(path) = args.config.as_deref().filter(|path| !path.as_os_str().is_empty()) {
            match std::fs::read_to_string(path) {
                Ok(text) => layers.add_file(path, &text),
                Err(error) => {
                    layers.problems.push(path.display().to_string(), None, format!("cannot be read: {error}"));
                }
            }
        }
        layers.add_environment(environment.collect());
        layers.add_flags(&args.set);
        Ok(layers.finish())
    }

    /// The same from given parts: the text of a file, variables and `section.key=value` flags. For tests.
    ///
    /// # Errors
    /// As [`Layers::load`].
    pub fn from_parts(
        defaults: &[DefaultSettings],
        file: &str,
        environment: &[(&str, &str)],
        flags: &[&str],
    ) -> Result<Self, SettingsError> {
        let mut layers = Self::defaults(defaults)?;
        layers.add_file(Path::new("settings.toml"), file);
        layers.add_environment(environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
        layers.add_flags(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        Ok(layers.finish())
    }

    fn defaults(defaults: &[DefaultSettings]) -> Result<Self, SettingsError> {
        let schema = Schema::of(defaults).map_err(|(name, text)| {
            let problem = Problem { key: format!("settings.toml of {name}"), origin: Some(Origin::Default), text };
            SettingsError { problems: vec![problem] }
        })?;
        let entry = |value: &Value| Entry { value: value.clone(), origin: Origin::Default };
        let values = schema.defaults.iter().map(|(key, value)| (key.clone(), entry(value))).collect();
        let (problems, warnings) = (Problems::default(), Vec::new());
        let (event_hubs, broker_defaults) = (EventHubs::default(), Vec::new());
        Ok(Self { schema, values, problems, warnings, event_hubs, broker_defaults })
    }

    fn finish(mut self) -> Self {
        self.add_broker_defaults();
        let origins = self.values.iter().map(|(key, entry)| (key.to_string(), entry.origin.clone())).collect();
        let found = self.problems.iter().cloned().collect();
        self.problems = Problems::with_origins(found, origins);
        self
    }

    /// A collector that starts with everything that was wrong with the sources themselves.
    pub fn problems(&self) -> Problems {
        self.problems.clone()
    }

    /// What deserves a line in the log at start, such as an ignored legacy variable.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The Event Hubs variables.
    pub fn event_hubs(&self) -> &EventHubs {
        &self.event_hubs
    }

    /// Where the value of `key` (dotted) came from.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.values.iter().find(|(known, _)| known.to_string() == key).map(|(_, entry)| &entry.origin)
    }

    /// Reads a section into `T`. Reports every value of it that does not fit, then returns nothing.
    pub fn section<T: DeserializeOwned>(&self, name: &str, problems: &mut Problems) -> Option<T> {
        let whole = match T::deserialize(self.table(name, |_| true)) {
            Ok(section) => return Some(section),
            Err(error) => error,
        };
        // serde stops at its first error. The defaults fit, so each changed value is tried alone on top of them.
        let mut found = false;
        for changed in self.changed(name) {
            if let Err(error) = T::deserialize(self.table(name, |key| key.0.starts_with(&changed.0))) {
                problems.add(changed.to_string(), self.told(&changed, &error));
                found = true;
            }
        }
        if !found {
            problems.add(name, first_line(&whole));
        }
        None
    }

    /// The section as TOML: defaults, overlaid with the changed values that `wanted` accepts.
    fn table(&self, section: &str, wanted: impl Fn(&Key) -> bool) -> Value {
        let mut root = toml::Table::new();
        for open in self.schema.open_tables().filter(|open| open.section() == section) {
            insert(&mut root, &open.0, Value::Table(toml::Table::new()));
        }
        for (key, entry) in self.values.iter().filter(|(key, _)| key.section() == section) {
            let value = if entry.origin == Origin::Default || wanted(key) {
                Some(&entry.value)
            } else {
                self.schema.defaults.get(key)
            };
            if let Some(value) = value {
                insert(&mut root, &key.0, value.clone());
            }
        }
        root.remove(section).unwrap_or_else(|| Value::Table(toml::Table::new()))
    }

    /// What was changed in a section; an entry of a free-form table counts as one, however deep it is.
    fn changed(&self, section: &str) -> BTreeSet<Key> {
        let changed =
            self.values.iter().filter(|(key, entry)| key.section() == section && entry.origin != Origin::Default);
        changed
            .map(|(key, _)| match self.schema.open_prefix(key) {
                Some(open) => Key(key.0.iter().take(open.0.len() + 1).cloned().collect()),
                None => key.clone(),
            })
            .collect()
    }

    fn told(&self, key: &Key, error: &toml::de::Error) -> String {
        let text = first_line(error);
        match self.values.get(key) {
            // A secret must not leave through an error message that quotes it.
            Some(entry) => match entry.value.as_str() {
                Some(value) if !value.is_empty() => text.replace(value, &shown(&key.to_string(), value)),
                _ => text,
            },
            None => text,
        }
    }
}

fn first_line(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
}

fn insert(table: &mut toml::Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => {
            table.insert(name.clone(), value);
        }
        [name, rest @ ..] => {
            let inner = table.entry(name.clone()).or_insert_with(|| Value::Table(toml::Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
