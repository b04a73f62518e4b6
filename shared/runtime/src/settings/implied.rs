//! Settings that the variables of a deployment imply, such as the connection string of a broker.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Value;

use super::environment::TextSetting;
use super::layer::Setting;
use super::schema::KeyPath;
use super::{Problems, SettingOrigin};

/// Reads the variables that one part of the program knows besides the `FOREBAY__` ones.
pub type EnvironmentReader = fn(&BTreeMap<String, String>, &mut ImpliedSettings, &mut Problems);

/// What such variables stand for.
#[derive(Debug, Default)]
pub struct ImpliedSettings {
    pub(super) settings: Vec<TextSetting>,
    pub(super) defaults: Vec<Setting>,
    pub(super) warnings: Vec<String>,
    pub(super) extensions: Extensions,
}

/// Values by their types, for the parts that read them.
pub(super) type Extensions = Vec<Arc<dyn Any + Send + Sync>>;

impl ImpliedSettings {
    /// Gives a setting a value, as `variable` does. It ranks as one of the environment, below a `FOREBAY__` variable.
    pub fn set(&mut self, key: &[&str], value: impl Into<String>, variable: &str) {
        let key = KeyPath::of(key.iter().copied());
        self.settings.push((key, value.into(), SettingOrigin::Legacy(variable.to_owned())));
    }

    /// Gives a setting another default in this `deployment`.
    pub fn set_default(&mut self, key: &[&str], value: impl Into<Value>, deployment: &'static str) {
        let key = KeyPath::of(key.iter().copied());
        self.defaults.push(Setting { key, value: value.into(), origin: SettingOrigin::DefaultFor(deployment) });
    }

    /// Adds a message to log at start.
    pub fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// Keeps a value for [`Layers::extension`](super::Layers::extension).
    pub fn keep(&mut self, value: impl Any + Send + Sync) {
        self.extensions.push(Arc::new(value));
    }
}
