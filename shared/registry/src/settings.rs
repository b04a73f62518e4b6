//! The section `[models]`: the registry, and the models that are served from it.

use std::path::PathBuf;
use std::time::Duration;

use forebay_runtime::{Layers, Problems, Secret, duration, size, without_password};
use serde::Deserialize;

use crate::location::{UNITY_CATALOG, check_form, is_server, workspace};
use crate::{RegistryCredentials, RegistryOptions, TlsOptions};

/// The settings of `[models]`, shared by preprocessing and prediction.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// `sample`, `file:/path`, `paths:{...}`, or an MLflow address, which may contain a password: log [`ModelSettings::shown`]
    /// instead.
    pub registry: String,
    /// Model that answers requests without a model name.
    pub name: String,
    /// Stage or alias whose version answers requests that name no version.
    pub stage: String,
    /// Models of an MLflow server that are served besides `name`; `*` means all.
    pub serve: Vec<String>,
    /// Time between two reads of the registry, before jitter.
    #[serde(with = "duration")]
    pub refresh: Duration,
    /// Longest duration of a call to an MLflow server.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Folder of cached files, `auto` or `off`; see [`ModelSettings::cache_folder`].
    pub cache_dir: String,
    /// Approximate size limit of that folder, in bytes.
    #[serde(with = "size")]
    pub cache_size: u64,
    /// Name for basic authentication.
    pub username: String,
    /// Password for basic authentication.
    pub password: Secret,
    /// Bearer token.
    pub token: Secret,
    /// Address of the Databricks workspace, with or without `https://`, for the registry `databricks-uc`.
    pub databricks_host: String,
    /// Token of the workspace; sent nowhere else.
    pub databricks_token: Secret,
    /// PEM file of trusted authorities; empty for Mozilla's.
    pub server_cert: String,
    /// PEM file with a client's certificate and key; empty for none.
    pub client_cert: String,
    /// Do not check the certificate of the server.
    pub insecure_tls: bool,
    /// Key of the webhook's signature; when empty, unsigned notifications are accepted, unless other machines reach the admin port.
    pub webhook_secret: Secret,
}

impl ModelSettings {
    /// Reads and checks the section; errors are added to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let models = layers.section::<Self>("models", problems)?;
        models.check(problems);
        Some(models)
    }

    /// The options for opening the registry.
    pub fn registry_options(&self) -> RegistryOptions {
        let path = |text: &str| (!text.is_empty()).then(|| text.into());
        RegistryOptions {
            models: self.served(),
            timeout: self.timeout,
            cache_dir: self.cache_folder(),
            cache_size: self.cache_size,
            credentials: match self.is_in_catalog() {
                true => RegistryCredentials::of("", "", self.databricks_token.expose()),
                false => RegistryCredentials::of(&self.username, self.password.expose(), self.token.expose()),
            },
            tls: TlsOptions {
                server_cert: path(&self.server_cert),
                client_cert: path(&self.client_cert),
                insecure: self.insecure_tls,
            },
            ..RegistryOptions::new(self.location())
        }
    }

    /// The registry's location, with the address of the workspace where it is in Databricks.
    fn location(&self) -> String {
        let host = self.databricks_host.trim();
        match self.registry.trim() {
            UNITY_CATALOG if host.contains("://") => format!("{UNITY_CATALOG}:{host}"),
            UNITY_CATALOG if !host.is_empty() => format!("{UNITY_CATALOG}:https://{host}"),
            _ => self.registry.clone(),
        }
    }

    /// Whether models are in Unity Catalog on Databricks.
    fn is_in_catalog(&self) -> bool {
        self.registry.trim().starts_with(UNITY_CATALOG)
    }

    /// Names of the models to serve from an MLflow server: the default one and those in `serve`, without duplicates;
    /// `None` for all models.
    pub fn served(&self) -> Option<Vec<String>> {
        if self.serve.iter().any(|name| name == "*") {
            return None;
        }
        let mut names = vec![self.name.clone()];
        names.extend(self.serve.iter().cloned());
        names.sort();
        names.dedup();
        Some(names)
    }

    /// The folder that `cache_dir` denotes; `None` when it is off, or the user has no cache folder.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        self.cache_folder_of(variable)
    }

    fn cache_folder_of(&self, variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
        match self.cache_dir.trim() {
            "" | "off" => None,
            "auto" => {
                let user = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
                user.map(|folder| folder.join("forebay").join("models"))
            }
            path => Some(PathBuf::from(path)),
        }
    }

    /// Longest time for which a thread that reads the registry or loads a version does not beat: in a call every step
    /// has `timeout`, with redirects and TLS, and a version is read, checked and warmed up in one.
    pub fn longest_wait(&self) -> Duration {
        const STEPS: u32 = 32;
        const CHECK: Duration = Duration::from_secs(600);
        self.timeout.saturating_mul(STEPS).max(CHECK)
    }

    /// Whether the registry is an MLflow server, which may be slow to respond.
    pub fn is_on_server(&self) -> bool {
        is_server(self.registry.trim())
    }

    /// The registry's address without its password, for logs.
    pub fn shown(&self) -> String {
        without_password(&self.registry)
    }

    fn check(&self, problems: &mut Problems) {
        if self.name.trim().is_empty() {
            problems.add("models.name", "is empty, expected a model");
        }
        if let Err(expected) = check_form(self.registry.trim()) {
            problems.add("models.registry", format!("is {:?}, {expected}", without_password(&self.registry)));
        }
        if self.refresh < Duration::from_millis(100) {
            problems.add("models.refresh", "is under 100ms, expected at least that");
        }
        if self.timeout < Duration::from_millis(100) {
            problems.add("models.timeout", "is under 100ms, expected at least that");
        }
        if self.is_in_catalog() {
            if let Some(Err(reason)) = workspace(&self.location()) {
                problems.add("models.registry", format!("is {:?}: {reason}", self.registry));
            }
            if self.databricks_token.is_empty() {
                problems.add("models.databricks_token", "is empty, and Unity Catalog needs one: DATABRICKS_TOKEN");
            }
        }
        if !self.token.is_empty() && !self.username.is_empty() {
            problems.add("models.token", "is set beside models.username, expected one of them");
        }
        if self.username.is_empty() && !self.password.is_empty() {
            problems.add("models.password", "is set without models.username");
        }
        if self.username.contains(':') {
            problems.add("models.username", "contains a colon, which basic authentication cannot express");
        }
        for (key, path) in [("models.server_cert", &self.server_cert), ("models.client_cert", &self.client_cert)] {
            if !path.is_empty() && !std::path::Path::new(path).is_file() {
                problems.add(key, format!("is {path:?}, which is not a file"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_runtime::COMMON_DEFAULTS;

    fn read(environment: &[(&str, &str)], flags: &[&str]) -> (Option<ModelSettings>, Vec<String>) {
        let layers = Layers::from_parts(&[COMMON_DEFAULTS], "", environment, flags).unwrap();
        let mut problems = layers.problems();
        let models = ModelSettings::read(&layers, &mut problems);
        (models, problems.iter().map(|p| format!("{}: {}", p.key, p.text)).collect())
    }

    #[test]
    fn the_variables_of_mlflow_are_read_and_secrets_do_not_show() {
        let (models, problems) = read(
            &[
                ("MLFLOW_TRACKING_URI", "https://u:hidden@mlflow"),
                ("MLFLOW_TRACKING_USERNAME", "reader"),
                ("MLFLOW_TRACKING_PASSWORD", "hidden"),
                ("MLFLOW_TRACKING_INSECURE_TLS", "true"),
            ],
            &["models.webhook_secret=hidden", "models.serve=a, b"],
        );
        assert_eq!(problems, [""; 0]);
        let models = models.unwrap();
        assert_eq!((models.username.as_str(), models.password.expose()), ("reader", "hidden"));
        assert!(models.insecure_tls);
        assert_eq!(models.shown(), "https://u:***@mlflow");
        assert_eq!(models.served().unwrap(), ["a", "b", "diabetes-rf-model"]);
        let secrets = format!("{:?}{:?}{:?}", models.password, models.token, models.webhook_secret);
        assert!(!secrets.contains("hidden"), "{secrets}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (_, problems) = read(
            &[("MLFLOW_TRACKING_TOKEN", "t"), ("MLFLOW_TRACKING_USERNAME", "a:b")],
            &["models.refresh=1ms", "models.server_cert=no/such.pem", "models.timeout=0s"],
        );
        let keys: Vec<_> = problems.iter().filter_map(|p| p.split_once(": ").map(|(key, _)| key)).collect();
        let expected = ["models.refresh", "models.timeout", "models.token", "models.username", "models.server_cert"];
        assert_eq!(keys, expected, "{problems:?}");
    }

    #[test]
    fn unity_catalog_has_a_workspace_and_a_token_of_its_own() {
        let environment = [
            ("MLFLOW_TRACKING_URI", "databricks"),
            ("MLFLOW_REGISTRY_URI", "databricks-uc"),
            ("MLFLOW_TRACKING_TOKEN", "of another server"),
            ("DATABRICKS_HOST", "adb-1.2.azuredatabricks.net"),
            ("DATABRICKS_TOKEN", "dapi-hidden"),
        ];
        let (models, problems) = read(&environment, &[]);
        assert_eq!(problems, [""; 0]);
        let models = models.unwrap();
        let options = models.registry_options();
        assert_eq!(options.location, "databricks-uc:https://adb-1.2.azuredatabricks.net");
        assert_eq!(options.credentials, RegistryCredentials::Bearer("dapi-hidden".into()));
        assert!(models.is_on_server() && !format!("{models:?}").contains("hidden"));
        let elsewhere =
            read(&[("DATABRICKS_TOKEN", "dapi-hidden")], &["models.registry=http://mlflow:5000"]).0.unwrap();
        assert_eq!(elsewhere.registry_options().credentials, RegistryCredentials::None);
        let whole = read(&environment[3..], &["models.registry=databricks-uc:http://127.0.0.1:1"]).0.unwrap();
        assert_eq!(whole.registry_options().location, "databricks-uc:http://127.0.0.1:1");
        let (_, problems) = read(&[], &["models.registry=databricks-uc"]);
        assert!(
            problems[0].starts_with("models.registry: ") && problems[0].contains("DATABRICKS_HOST"),
            "{problems:?}"
        );
        assert!(problems[1].starts_with("models.databricks_token: "), "{problems:?}");
        for wrong in ["sampel", "ftp://x", "/models", ""] {
            let (_, problems) = read(&[], &[&format!("models.registry={wrong}")]);
            assert!(problems[0].contains("expected \"sample\", file:FOLDER"), "{problems:?}");
        }
    }

    #[test]
    fn the_cache_folder() {
        let of = |cache_dir: &str, xdg: Option<&str>, home: Option<&str>| {
            let flag = format!("models.cache_dir={cache_dir}");
            let (models, _) = read(&[], &[&flag]);
            let variable = |name: &str| if name == "HOME" { home } else { xdg }.map(PathBuf::from);
            models.unwrap().cache_folder_of(variable).map(|path| path.display().to_string())
        };
        assert_eq!(of("auto", Some("/c"), Some("/h")).as_deref(), Some("/c/forebay/models"));
        assert_eq!(of("auto", None, Some("/h")).as_deref(), Some("/h/.cache/forebay/models"));
        assert_eq!(of("auto", None, None), None);
        assert_eq!(of("off", Some("/c"), None), None);
        assert_eq!(of("/data", None, None).as_deref(), Some("/data"));
        let (models, _) = read(&[], &["models.serve=*"]);
        assert_eq!(models.unwrap().served(), None);
    }
}
