//! The section `[repository]`: whether requests load and unload models.

use forebay_runtime::Problems;
use serde::Deserialize;

use super::AuthSettings;

/// `[repository]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositorySettings {
    /// Whether requests with an admin's key load and unload models.
    pub writable: bool,
}

impl RepositorySettings {
    pub(super) fn check(self, auth: &AuthSettings, problems: &mut Problems) {
        if self.writable && !auth.has_keys() {
            let text = "needs auth.keys_file: models are loaded and unloaded by callers whose key has admin=true";
            problems.add("repository.writable", text);
        }
    }
}
