//! Merges the layers of settings and hands out sections.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use config::{Config, ValueKind};
use serde::de::DeserializeOwned;
use toml::Value;

use super::environment::{self, Environment};
use super::implied::Extensions;
use super::layer::{Layer, Setting};
use super::schema::{KeyPath, Schema};
use super::secret::{MASK, shown};
use super::value::restored;
use super::{DefaultSettings, Problems, SettingOrigin, SettingsError};
use crate::cli::SettingsArgs;

/// All settings of this binary with their origins. Values that could not be read are kept for [`Layers::problems`].
///
/// The `config` crate merges the layers and holds the result. Its getters are not used, because they accept "yes" for 1
/// and round 1.5: every value has the type of its default before it gets there.
#[derive(Debug, Clone)]
pub struct Layers {
    schema: Schema,
    store: Config,
    /// Keys by their text, which is what the store has of them.
    keys: BTreeMap<String, KeyPath>,
    /// Origins by their text, which is what the store has of them.
    origins: BTreeMap<String, SettingOrigin>,
    /// Origins of values that are tables: the store loses those when it merges tables.
    tables: BTreeMap<KeyPath, SettingOrigin>,
    problems: Problems,
    warnings: Vec<String>,
    extensions: Extensions,
}

impl Layers {
    /// Reads the file that `args` or `FOREBAY_CONFIG` names and the process environment.
    ///
    /// # Errors
    /// Only when an embedded default is broken, which is a bug. Mistakes of an operator are in [`Layers::problems`], so
    /// that they can be reported together with those that the sections find.
    pub fn load(defaults: &[DefaultSettings], args: &SettingsArgs) -> Result<Self, SettingsError> {
        // A variable that is not Unicode cannot be one of ours, except by mistake: then its value is refused as text.
        let variables = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        let schema = Schema::of(defaults)?;
        let mut file = Layer::default();
        if let Some(path) = args.config.as_deref().filter(|path| !path.as_os_str().is_empty()) {
            match std::fs::read_to_string(path) {
                Ok(text) => file = Layer::file(&schema, path, &text),
                Err(error) => {
                    file.problems.push(path.display().to_string(), None, format!("cannot be read: {error}"));
                }
            }
        }
        Self::merge(schema, file, &variables.collect(), &args.set)
    }

    /// Reads the text of a file, variables and `section.key=value` flags, for tests.
    ///
    /// # Errors
    /// As [`Layers::load`].
    pub fn from_parts(
        defaults: &[DefaultSettings],
        file: &str,
        environment: &[(&str, &str)],
        flags: &[&str],
    ) -> Result<Self, SettingsError> {
        let schema = Schema::of(defaults)?;
        let file = Layer::file(&schema, Path::new("settings.toml"), file);
        let variables = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
        Self::merge(schema, file, &variables, &flags)
    }

    fn merge(
        schema: Schema,
        file: Layer,
        variables: &BTreeMap<String, String>,
        flags: &[String],
    ) -> Result<Self, SettingsError> {
        let defaults = schema.defaults.iter().map(|(key, value)| (key.clone(), value.clone()));
        let defaults = Layer::of(defaults, &SettingOrigin::Default);
        let Environment { layer: environment, implied, warnings } = environment::read(&schema, variables);
        let flags = Layer::flags(&schema, flags);
        // An entry of a free-form table has several spellings; one that is set in any of them needs no default.
        let given = [&file, &environment, &flags].into_iter().flat_map(|layer| &layer.settings);
        let given: BTreeSet<String> = given.filter_map(|setting| schema.entry(&setting.key)).collect();
        let unset = |it: &Setting| schema.entry(&it.key).is_none_or(|entry| !given.contains(&entry));
        let settings = implied.defaults.into_iter().filter(unset).collect();
        let implied_defaults = Layer { settings, problems: Problems::default() };

        let mut layers = [defaults, implied_defaults, file, environment, flags];
        replace_tables(&mut layers);
        let all = || layers.iter().flat_map(|layer| &layer.settings);
        let keys = all().map(|it| (it.key.to_string(), it.key.clone())).collect();
        let origins = all().map(|it| (it.origin.to_string(), it.origin.clone())).collect();
        let tables = all().filter(|it| it.value.is_table()).map(|it| (it.key.clone(), it.origin.clone())).collect();
        let problems = layers.iter().flat_map(|layer| layer.problems.iter().cloned()).collect();
        let store = layers.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(layer)).build();
        let store = store.map_err(|error| SettingsError::broken("the settings", error.to_string()))?;
        let extensions = implied.extensions;
        let mut merged =
            Self { schema, store, keys, origins, tables, problems: Problems::default(), warnings, extensions };
        let origins = merged.settings().into_iter().map(|it| (it.key.to_string(), it.origin)).collect();
        merged.problems = Problems::with_origins(problems, origins);
        Ok(merged)
    }

    /// A collector that starts with the problems of the sources themselves.
    pub fn problems(&self) -> Problems {
        self.problems.clone()
    }

    /// Messages to log at start, such as about an ignored legacy variable.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What an [`EnvironmentReader`](super::EnvironmentReader) has kept.
    pub fn extension<T: Any>(&self) -> Option<&T> {
        self.extensions.iter().find_map(|value| value.downcast_ref())
    }

    /// The layer that gave `key` (dotted) its value.
    pub fn origin(&self, key: &str) -> Option<&SettingOrigin> {
        let setting = self.settings().into_iter().find(|setting| setting.key.to_string() == key)?;
        self.origins.get(&setting.origin.to_string())
    }

    /// Whether something other than the built-in default gave `key` its value.
    pub fn is_set(&self, key: &str) -> bool {
        self.origin(key).is_some_and(|origin| *origin != SettingOrigin::Default)
    }

    /// Reads a section into `T`. On failure it reports every value of the section that does not fit and returns
    /// nothing.
    pub fn section<T: DeserializeOwned>(&self, name: &str, problems: &mut Problems) -> Option<T> {
        let settings: Vec<Setting> = self.settings().into_iter().filter(|it| it.key.section() == name).collect();
        let first = match T::deserialize(self.table(name, &settings, |_| true)) {
            Ok(section) => return Some(section),
            Err(error) => error,
        };
        // serde stops at its first error. The defaults fit, so each changed value is tried alone on top of them.
        let mut found = false;
        for changed in self.changed(&settings) {
            let alone = self.table(name, &settings, |key| key.0.starts_with(&changed.0));
            if let Err(error) = T::deserialize(alone) {
                let value = settings.iter().find(|it| it.key == changed).and_then(|it| it.value.as_str());
                problems.add(changed.to_string(), message(&changed, value, &error));
                found = true;
            }
        }
        if !found {
            problems.add(name, first_line(&first));
        }
        None
    }

    /// Every setting, sorted by key.
    fn settings(&self) -> Vec<Setting> {
        let mut found = Vec::new();
        for (section, settings) in entries(&self.store.cache) {
            for (name, value) in entries(settings) {
                let Some(key) = self.keys.get(&format!("{section}.{name}")) else { continue };
                let table = self.tables.get(key).filter(|_| matches!(value.kind, ValueKind::Table(_)));
                let origin =
                    table.or_else(|| self.origins.get(value.origin()?)).cloned().unwrap_or(SettingOrigin::Default);
                found.push(Setting { key: key.clone(), value: restored(value), origin });
            }
        }
        found.sort_by(|left, right| left.key.cmp(&right.key));
        found
    }

    /// The section as TOML: the defaults, overlaid with the changed values that `wanted` accepts.
    fn table(&self, section: &str, settings: &[Setting], wanted: impl Fn(&KeyPath) -> bool) -> Value {
        let mut root = toml::Table::new();
        for open in self.schema.open_tables().filter(|open| open.section() == section) {
            insert(&mut root, &open.0, Value::Table(toml::Table::new()));
        }
        for Setting { key, value, origin } in settings {
            let kept = *origin == SettingOrigin::Default || wanted(key);
            if let Some(value) = if kept { Some(value) } else { self.schema.defaults.get(key) } {
                insert(&mut root, &key.0, value.clone());
            }
        }
        root.remove(section).unwrap_or_else(|| Value::Table(toml::Table::new()))
    }

    /// The keys whose values are not defaults; an entry of a free-form table counts as one, however deep it is.
    fn changed(&self, settings: &[Setting]) -> BTreeSet<KeyPath> {
        let entry = |key: &KeyPath| match self.schema.open_prefix(key) {
            Some(open) => KeyPath(key.0.iter().take(open.0.len() + 1).cloned().collect()),
            None => key.clone(),
        };
        settings.iter().filter(|it| it.origin != SettingOrigin::Default).map(|it| entry(&it.key)).collect()
    }

    /// The effective settings for `config show`: TOML that could be pasted into a file, one line a key, the origin
    /// behind it as a comment, secrets masked.
    pub fn show(&self) -> String {
        let (mut text, mut section) = (String::new(), None);
        for Setting { key, value, origin } in self.settings() {
            if section.as_deref() != Some(key.section()) {
                let gap = if section.is_some() { "\n" } else { "" };
                section = Some(key.section().to_owned());
                let _infallible = writeln!(text, "{gap}[{}]", key.section());
            }
            let value = match origin {
                SettingOrigin::SecretFile { .. } => Value::String(MASK.into()),
                _ => masked(&key.to_string(), &value),
            };
            let line = format!("{} = {value}", key.within_section());
            let _infallible = writeln!(text, "{line:<48} # {origin}");
        }
        text
    }
}

/// Removes values that a later layer replaces with a table. The store would merge tables, but a setting is replaced as a whole.
fn replace_tables(layers: &mut [Layer]) {
    let mut replaced = BTreeSet::new();
    for layer in layers.iter_mut().rev() {
        layer.settings.retain(|setting| !replaced.contains(&setting.key));
        replaced.extend(layer.settings.iter().filter(|it| it.value.is_table()).map(|it| it.key.clone()));
    }
}

/// The entries of a table; nothing for other values.
fn entries(value: &config::Value) -> impl Iterator<Item = (&String, &config::Value)> {
    let table = match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    };
    table.into_iter().flatten()
}

/// The error of a value, without the value where it may be a secret.
fn message(key: &KeyPath, value: Option<&str>, error: &toml::de::Error) -> String {
    let text = first_line(error);
    match value {
        Some(value) if !value.is_empty() => text.replace(value, &shown(&key.to_string(), value)),
        _ => text,
    }
}

fn first_line(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
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
