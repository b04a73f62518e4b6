//! Which settings exist: what the embedded `settings.toml` files hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::Value;

use super::value::flatten;
use super::{EnvironmentReader, SettingsError};

/// The `settings.toml` of one part of the program, compiled into the binary. It is the schema as well: a key that
/// stands in none of them does not exist.
#[derive(Debug, Clone, Copy)]
pub struct DefaultSettings {
    /// Folder name of the part, for error messages.
    pub name: &'static str,
    /// Text of the `settings.toml`, which has every key with its default.
    pub toml: &'static str,
    /// Reads the variables that the part knows besides the `FOREBAY__` ones.
    pub environment: Option<EnvironmentReader>,
}

impl DefaultSettings {
    /// A part that knows no other variables.
    pub const fn new(name: &'static str, toml: &'static str) -> Self {
        Self { name, toml, environment: None }
    }
}

/// Defaults of the sections that all services share.
pub const COMMON_DEFAULTS: DefaultSettings = DefaultSettings::new("runtime", include_str!("../../settings.toml"));

/// Sections of the Forebay binaries. One file or ConfigMap serves all of them, so each binary ignores sections of the
/// others.
const PROJECT_SECTIONS: &[&str] = &[
    "http",
    "grpc",
    "async",
    "repository",
    "schemas",
    "auth",
    "ingestion",
    "features",
    "preprocessing",
    "cache",
    "redis",
    "prediction",
    "publishing",
    "results",
    "kafka",
    "rabbitmq",
    "up",
];

/// Path of a setting: section, key, and further names inside tables. A name may contain dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(pub(super) Vec<String>);

impl KeyPath {
    /// A path of these parts.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(parts.into_iter().map(str::to_owned).collect())
    }

    /// The last part.
    pub(super) fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// The path without the section, as text.
    pub(super) fn within_section(&self) -> String {
        Self(self.0.iter().skip(1).cloned().collect()).to_string()
    }

    /// The section, which is the first part.
    pub(super) fn section(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            if part.contains('.') { write!(f, "{dot}\"{part}\"")? } else { write!(f, "{dot}{part}")? }
        }
        Ok(())
    }
}

/// Similarity (Jaro-Winkler) below which a name is not suggested.
const SUGGESTION_SIMILARITY: f64 = 0.7;

/// Keys with their defaults, and the free-form tables, which take any key.
#[derive(Debug, Clone, Default)]
pub(super) struct Schema {
    pub(super) defaults: BTreeMap<KeyPath, Value>,
    open: BTreeSet<KeyPath>,
    sections: BTreeSet<String>,
    pub(super) readers: Vec<EnvironmentReader>,
}

/// What a key is to this binary.
pub(super) enum KeyKind<'a> {
    /// A setting, with its default, which has its type.
    Known(&'a Value),
    /// An entry of a free-form table.
    Open,
    /// A setting of another Forebay binary.
    Foreign,
    /// Not a setting: the error message, with a suggestion if a name is similar.
    Unknown(String),
}

impl Schema {
    /// Reads the bundles.
    ///
    /// # Errors
    /// When one of them is not TOML, which a test of its crate should have found.
    pub(super) fn of(defaults: &[DefaultSettings]) -> Result<Self, SettingsError> {
        let mut schema = Self::default();
        for defaults in defaults {
            schema.readers.extend(defaults.environment);
            let broken = |text| SettingsError::broken(format!("settings.toml of {}", defaults.name), text);
            for leaf in flatten(defaults.toml).map_err(broken)? {
                schema.sections.insert(leaf.key.section().to_owned());
                if leaf.value.is_table() {
                    schema.open.insert(leaf.key);
                } else {
                    schema.defaults.insert(leaf.key, leaf.value);
                }
            }
        }
        Ok(schema)
    }

    /// The sections of this binary.
    pub(super) fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(String::as_str)
    }

    /// The free-form tables.
    pub(super) fn open_tables(&self) -> impl Iterator<Item = &KeyPath> {
        self.open.iter()
    }

    /// What `key` is.
    pub(super) fn kind(&self, key: &KeyPath) -> KeyKind<'_> {
        if let Some(default) = self.defaults.get(key) {
            return KeyKind::Known(default);
        }
        if self.open_prefix(key).is_some() {
            return KeyKind::Open;
        }
        let section = key.section();
        if !self.sections.contains(section) {
            if PROJECT_SECTIONS.contains(&section) {
                return KeyKind::Foreign;
            }
            let all = self.sections().chain(PROJECT_SECTIONS.iter().copied());
            return KeyKind::Unknown(unknown("section", section, all.map(|name| (name, name.to_owned()))));
        }
        // Names are compared without the section, or everything in it would look alike.
        let siblings = self.defaults.keys().chain(&self.open).filter(|known| known.section() == section);
        let siblings = siblings.filter_map(|known| Some((known.0.last()?.as_str(), known.to_string())));
        KeyKind::Unknown(unknown("key", key.name(), siblings))
    }

    /// The free-form table that `key` is an entry of.
    pub(super) fn open_prefix(&self, key: &KeyPath) -> Option<&KeyPath> {
        self.open.iter().find(|open| key.0.len() > open.0.len() && key.0.starts_with(&open.0))
    }

    /// The entry of a free-form table that a key sets, in whichever spelling of its name.
    pub(super) fn entry(&self, key: &KeyPath) -> Option<String> {
        let open = self.open_prefix(key)?;
        let name = key.0.iter().skip(open.0.len()).map(String::as_str).collect::<Vec<_>>().join(".");
        Some(format!("{open}.{}", name.replace('_', ".")))
    }

    /// The key that a flag names. Inside a free-form table the rest of the path is one name with its dots, as in
    /// `kafka.options.linger.ms`.
    pub(super) fn key_of_flag(&self, path: &str) -> KeyPath {
        let parts: Vec<&str> = path.split('.').collect();
        let open = (2..parts.len()).find(|&length| self.is_open(&KeyPath::of(parts[..length].iter().copied())));
        match open {
            Some(length) if !path.contains('"') => {
                let mut key = KeyPath::of(parts[..length].iter().copied());
                key.0.push(parts[length..].join("."));
                key
            }
            _ => KeyPath::of(parts.into_iter().map(|part| part.trim_matches('"'))),
        }
    }

    /// Whether `key` is itself a free-form table.
    pub(super) fn is_open(&self, key: &KeyPath) -> bool {
        self.open.contains(key)
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = (&'a str, String)>) -> String {
    let close = known
        .map(|(candidate, full)| (strsim::jaro_winkler(name, candidate), full))
        .filter(|(closeness, _)| *closeness >= SUGGESTION_SIMILARITY)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    match close {
        Some((_, full)) => format!("is not a known {what}; did you mean {full}?"),
        None => format!("is not a known {what}"),
    }
}
