//! Which settings exist: what the embedded `settings.toml` files hold.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::defaults::{DefaultSettings, PROJECT_SECTIONS};
use super::text::{Key, flatten};

/// Names further apart than this are not suggested.
const CLOSE_ENOUGH: f64 = 0.7;

/// Keys with their defaults, and the tables that take any key.
#[derive(Debug, Clone, Default)]
pub(super) struct Schema {
    pub(super) defaults: BTreeMap<Key, Value>,
    open: BTreeSet<Key>,
    sections: BTreeSet<String>,
}

/// Where a key belongs.
pub(super) enum Place<'a> {
    /// Its default, which has its type.
    Known(&'a Value),
    /// In a table that takes any key.
    Open,
    /// In a section of another Forebay binary.
    Foreign,
    /// Nowhere: what is wrong, with a suggestion where there is one.
    Unknown(String),
}

impl Schema {
    /// Reads the bundles.
    ///
    /// # Errors
    /// When one of them is not TOML (a test of that crate should have found it), with its name.
    pub(super) fn of(defaults: &[DefaultSettings]) -> Result<Self, (&'static str, String)> {
        let mut schema = Self::default();
        for defaults in defaults {
            for flat in flatten(defaults.toml).map_err(|text| (defaults.name, text))? {
                schema.sections.insert(flat.key.section().to_owned());
                if flat.value.as_table().is_some() {
                    schema.open.insert(flat.key);
                } else {
                    schema.defaults.insert(flat.key, flat.value);
                }
            }
        }
        Ok(schema)
    }

    /// Sections of this binary.
    pub(super) fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(String::as_str)
    }

    /// Tables that take any key.
    pub(super) fn open_tables(&self) -> impl Iterator<Item = &Key> {
        self.open.iter()
    }

    /// Finds the place of `key`.
    pub(super) fn place(&self, key: &Key) -> Place<'_> {
        if let Some(default) = self.defaults.get(key) {
            return Place::Known(default);
        }
        if self.open_prefix(key).is_some() {
            return Place::Open;
        }
        let section = key.section();
        if !self.sections.contains(section) {
            if PROJECT_SECTIONS.contains(&section) {
                return Place::Foreign;
            }
            let all = self.sections().chain(PROJECT_SECTIONS.iter().copied());
            return Place::Unknown(unknown("section", section, all.map(|name| (name, name.to_owned()))));
        }
        // Names are compared without the section, or everything in it would look alike.
        let siblings = self.defaults.keys().chain(&self.open).filter(|known| known.section() == section);
        let siblings = siblings.filter_map(|known| Some((known.0.last()?.as_str(), known.to_string())));
        let name = key.0.last().map_or("", String::as_str);
        Place::Unknown(unknown("key", name, siblings))
    }

    /// The free-form table that `key` is in.
    pub(super) fn open_prefix(&self, key: &Key) -> Option<&Key> {
        self.open.iter().find(|open| key.0.len() > open.0.len() && key.0.starts_with(&open.0))
    }

    /// True when `key` is itself a free-form table.
    pub(super) fn is_open(&self, key: &Key) -> bool {
        self.open.contains(key)
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = (&'a str, String)>) -> String {
    let close = known
        .map(|(candidate, full)| (strsim::jaro_winkler(name, candidate), full))
        .filter(|(closeness, _)| *closeness >= CLOSE_ENOUGH)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    match close {
        Some((_, full)) => format!("is no {what} of Forebay; did you mean {full}?"),
        None => format!("is no {what} of Forebay"),
    }
}
