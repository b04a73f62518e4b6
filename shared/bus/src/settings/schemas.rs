//! The section `[schemas]`: where the schemas of records are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forebay_runtime::{Layers, Problems};
use serde::Deserialize;

/// `[schemas]`. The address may hold a password.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaSettings {
    /// Address of the registry; empty for none.
    pub registry: String,
    /// Login; empty for none.
    pub username: String,
    pub password: String,
}

impl SchemaSettings {
    /// Reads and checks the section; adds what is wrong to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let schemas = layers.section::<Self>("schemas", problems)?;
        let known = schemas.registry.starts_with("http://") || schemas.registry.starts_with("https://");
        if !schemas.registry.is_empty() && !known {
            problems.add("schemas.registry", "is no address, expected http:// or https://");
        }
        Some(schemas)
    }

    /// The address of a call of the registry.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.registry.trim_end_matches('/'))
    }

    /// The value of the header `Authorization`; `None` without a login.
    pub fn authorization(&self) -> Option<String> {
        let login = || STANDARD.encode(format!("{}:{}", self.username, self.password));
        (!self.username.is_empty()).then(|| format!("Basic {}", login()))
    }
}
