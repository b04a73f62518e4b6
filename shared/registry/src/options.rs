//! Options for opening a registry: its location, the models to serve, authentication, and the cache on disk.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_artefact::LoadBudget;

/// What loading a version may take in any case, in bytes: a process that has less left cannot do its work.
#[cfg(feature = "service")]
const MIN_LOAD: u64 = 16 << 20;
/// How many of the newest versions of a model on an MLflow server are listed, besides those with a stage or an alias.
const NEWEST_VERSIONS: usize = 50;

/// The options of [`crate::Registry::open_with`]. All but the location and the limit apply to MLflow servers only.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// `sample` (embedded), `file:PATH`, the `http(s)://` address of an MLflow server, which may contain name and password, or
    /// `databricks-uc:` and the address of a Databricks workspace.
    pub location: String,
    /// Names of the models served; `None` means every model of the server.
    pub models: Option<Vec<String>>,
    /// How many of the newest versions of a model are listed, besides those with a stage or an alias.
    pub versions: usize,
    /// Longest duration of a call, including retries; a file has one more second for every MiB.
    pub timeout: Duration,
    /// Folder of cached files and listings, shared by any number of processes; `None` caches nothing.
    pub cache_dir: Option<PathBuf>,
    /// Size limit of the cache in bytes; above it, the least recently used files are removed.
    pub cache_size: u64,
    /// The most bytes that the files of one version may have, after decompression; `None` is a quarter of the memory that the
    /// process has left when it loads the version (less for a version without stage and alias).
    pub load_limit: Option<u64>,
    /// How to authenticate.
    pub credentials: RegistryCredentials,
    /// Which certificates to trust and to present.
    pub tls: TlsOptions,
    /// Called before every call and for every part of a response, so that a slow server is not taken for a thread that hangs.
    pub on_progress: OnProgress,
}

/// Called when a call to an MLflow server gets on; does nothing by default.
#[derive(Clone)]
pub struct OnProgress(Arc<dyn Fn() + Send + Sync>);

impl OnProgress {
    /// Calls `callback`, which must not block.
    pub fn new(callback: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    pub(crate) fn notify(&self) {
        (self.0)();
    }
}

impl Default for OnProgress {
    fn default() -> Self {
        Self::new(|| {})
    }
}

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnProgress")
    }
}

/// What loading a version may take now, in bytes.
#[cfg(feature = "service")]
fn limit_of_process(named: bool) -> u64 {
    use forebay_runtime::{memory_budget, memory_left, resident_memory};
    match named {
        true => (memory_left() / 4).max(MIN_LOAD),
        false => (memory_budget() / 5 * 3).saturating_sub(resident_memory()) / 4,
    }
}

/// What loading a version may take in bytes, in a command without callers.
#[cfg(not(feature = "service"))]
fn limit_of_process(_named: bool) -> u64 {
    1 << 30
}

/// Authentication towards an MLflow server. `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum RegistryCredentials {
    /// Anonymous, unless the address contains name and password.
    #[default]
    None,
    /// Basic authentication.
    Basic { username: String, password: String },
    /// A bearer token.
    Bearer(String),
}

/// Certificates, as PEM files.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Certificate authorities to trust instead of the default ones.
    pub server_cert: Option<PathBuf>,
    /// The client's own certificates and key, in one file.
    pub client_cert: Option<PathBuf>,
    /// Do not check the certificate of the server.
    pub insecure: bool,
}

impl RegistryOptions {
    /// The budget for loading one version now. A version that has no stage and no alias (`named`) may use only what leaves
    /// two fifths of the process's memory to those that have.
    pub(crate) fn load_budget(limit: Option<u64>, named: bool) -> LoadBudget {
        LoadBudget::new(limit.unwrap_or_else(|| limit_of_process(named)))
    }

    /// Everything at `location`, anonymously, with nothing cached on disk.
    pub fn new(location: impl Into<String>) -> Self {
        Self {
            location: location.into(),
            models: None,
            versions: NEWEST_VERSIONS,
            timeout: Duration::from_secs(10),
            cache_dir: None,
            cache_size: 5 << 30,
            load_limit: None,
            credentials: RegistryCredentials::None,
            tls: TlsOptions::default(),
            on_progress: OnProgress::default(),
        }
    }
}

impl RegistryCredentials {
    /// Builds it from settings in which an empty text means not set; a token takes precedence over a name.
    pub fn of(username: &str, password: &str, token: &str) -> Self {
        match (username, token) {
            (_, token) if !token.is_empty() => Self::Bearer(token.to_owned()),
            ("", _) => Self::None,
            (username, _) => Self::Basic { username: username.to_owned(), password: password.to_owned() },
        }
    }
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Basic { username, .. } => f.debug_struct("Basic").field("username", username).finish_non_exhaustive(),
            Self::Bearer(_) => f.write_str("Bearer(***)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show_and_a_token_comes_first() {
        let basic = RegistryCredentials::of("reader", "hidden", "");
        assert_eq!(basic, RegistryCredentials::Basic { username: "reader".into(), password: "hidden".into() });
        assert_eq!(RegistryCredentials::of("", "", ""), RegistryCredentials::None);
        let bearer = RegistryCredentials::of("reader", "hidden", "hidden-too");
        assert_eq!(bearer, RegistryCredentials::Bearer("hidden-too".into()));
        assert!(!format!("{basic:?}{bearer:?}").contains("hidden"));
    }
}
