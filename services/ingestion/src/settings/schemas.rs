//! The section `[schemas]`: where the schemas of records are.

use forebay_runtime::Problems;
use serde::Deserialize;

/// `[schemas]`. The address may hold a password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaSettings {
    /// Address of the registry; empty for none.
    pub registry: String,
    /// Login; empty for none.
    pub username: String,
    pub password: String,
}

impl SchemaSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        let known = self.registry.starts_with("http://") || self.registry.starts_with("https://");
        if !self.registry.is_empty() && !known {
            problems.add("schemas.registry", "is no address, expected http:// or https://");
        }
    }
}
