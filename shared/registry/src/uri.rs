//! `models:/...` and `runs:/...`, MLflow's URIs of a model, in every form that its client accepts.

use std::fmt;
use std::str::FromStr;

use super::RegistryError;

/// A parsed model URI. The host of `models://host/...` is ignored, as MLflow does without Databricks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelUri {
    /// `models:/NAME/2`
    Version { name: String, version: u32 },
    /// `models:/NAME@champion`
    Alias { name: String, alias: String },
    /// `models:/NAME/latest`: the highest version.
    Latest { name: String },
    /// `models:/NAME/Production`, in upper or lower case.
    Stage { name: String, stage: String },
    /// `models:/m-0123abcd`: a model logged by a run, registered or not.
    LoggedModel { id: String },
    /// `runs:/6245f0d1/model`: a model that a run has logged, by its name or its path among the run's artefacts.
    Run { run: String, path: String },
}

/// Why a text is not a model URI.
fn refused(uri: &str, reason: &str) -> RegistryError {
    RegistryError::Uri { uri: uri.chars().take(200).collect(), reason: reason.to_owned() }
}

impl FromStr for ModelUri {
    type Err = RegistryError;

    /// The grammar of `_parse_model_uri` in MLflow's `store/artifact/utils/models.py`.
    fn from_str(uri: &str) -> Result<Self, RegistryError> {
        const FORMS: &str =
            "expected models:/NAME/VERSION, /NAME/STAGE, /NAME/latest, /NAME@ALIAS, models:/m-ID or runs:/RUN/MODEL";
        if let Some(rest) = uri.strip_prefix("runs:/") {
            return match rest.trim_matches('/').split_once('/') {
                Some((run, path)) if !run.is_empty() && !path.trim_matches('/').is_empty() => {
                    Ok(Self::Run { run: run.to_owned(), path: path.trim_matches('/').to_owned() })
                }
                _ => Err(refused(uri, "names no model of a run, expected runs:/RUN/MODEL")),
            };
        }
        let path = uri.strip_prefix("models:").ok_or_else(|| refused(uri, FORMS))?;
        let path = match path.strip_prefix("//") {
            Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
            None => path.strip_prefix('/').unwrap_or(""),
        };
        let path = path.trim_start_matches('/');
        match path.split('/').collect::<Vec<_>>().as_slice() {
            [name, suffix] if !name.trim().is_empty() && !suffix.trim().is_empty() => Self::suffixed(uri, name, suffix),
            [single] if !single.trim().is_empty() => match single.rsplit_once('@') {
                Some((name, alias)) if !name.is_empty() && !alias.trim().is_empty() => {
                    Ok(Self::Alias { name: name.to_owned(), alias: alias.to_owned() })
                }
                Some(_) => Err(refused(uri, FORMS)),
                None if is_logged_model(single) => Ok(Self::LoggedModel { id: (*single).to_owned() }),
                None => Err(refused(uri, "names no version, stage or alias")),
            },
            _ => Err(refused(uri, FORMS)),
        }
    }
}

impl ModelUri {
    fn suffixed(uri: &str, name: &str, suffix: &str) -> Result<Self, RegistryError> {
        let name = name.to_owned();
        if suffix.bytes().all(|b| b.is_ascii_digit()) {
            let version = suffix.parse().map_err(|_| refused(uri, "the version is too large"))?;
            return Ok(Self::Version { name, version });
        }
        if suffix.eq_ignore_ascii_case("latest") {
            return Ok(Self::Latest { name });
        }
        Ok(Self::Stage { name, stage: suffix.to_owned() })
    }

    /// The version, alias or stage, as a request names it; `None` for a model that need not be registered.
    pub fn requested(&self) -> Option<String> {
        match self {
            Self::Version { version, .. } => Some(version.to_string()),
            Self::Alias { alias, .. } => Some(alias.clone()),
            Self::Latest { .. } => Some("latest".to_owned()),
            Self::Stage { stage, .. } => Some(stage.clone()),
            Self::LoggedModel { .. } | Self::Run { .. } => None,
        }
    }

    /// The registered model's name; `None` for a model that need not be registered.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Version { name, .. }
            | Self::Alias { name, .. }
            | Self::Latest { name }
            | Self::Stage { name, .. } => Some(name),
            Self::LoggedModel { .. } | Self::Run { .. } => None,
        }
    }

    /// What a model that need not be registered is called: its ID, or the last part of its path.
    pub fn unregistered_name(&self) -> Option<&str> {
        match self {
            Self::LoggedModel { id } => Some(id),
            Self::Run { path, .. } => path.rsplit('/').next(),
            _ => None,
        }
    }
}

impl fmt::Display for ModelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { name, version } => write!(f, "models:/{name}/{version}"),
            Self::Alias { name, alias } => write!(f, "models:/{name}@{alias}"),
            Self::Latest { name } => write!(f, "models:/{name}/latest"),
            Self::Stage { name, stage } => write!(f, "models:/{name}/{stage}"),
            Self::LoggedModel { id } => write!(f, "models:/{id}"),
            Self::Run { run, path } => write!(f, "runs:/{run}/{path}"),
        }
    }
}

/// `m-` and hexadecimal digits, so that the ID is safe in a path.
pub(super) fn is_logged_model(id: &str) -> bool {
    id.strip_prefix("m-").is_some_and(is_hex)
}

/// The characters of MLflow's IDs.
pub(super) fn is_hex(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_mlflow() {
        let named = |n: &str| n.to_owned();
        for (text, uri) in [
            ("models:/N/2", ModelUri::Version { name: named("N"), version: 2 }),
            ("models:/N@champion", ModelUri::Alias { name: named("N"), alias: named("champion") }),
            ("models:/a@b@champion", ModelUri::Alias { name: named("a@b"), alias: named("champion") }),
            ("models:/N/latest", ModelUri::Latest { name: named("N") }),
            ("models:/N/Production", ModelUri::Stage { name: named("N"), stage: named("Production") }),
            ("models:/m-8c4b", ModelUri::LoggedModel { id: named("m-8c4b") }),
            ("runs:/62ab/model", ModelUri::Run { run: named("62ab"), path: named("model") }),
            ("runs:/62ab/a/b", ModelUri::Run { run: named("62ab"), path: named("a/b") }),
        ] {
            assert_eq!(text.parse::<ModelUri>().unwrap(), uri, "{text}");
            assert_eq!(uri.to_string(), text);
        }
        let host = "models://host:5000/N/1".parse::<ModelUri>().unwrap();
        assert_eq!(host, ModelUri::Version { name: named("N"), version: 1 });
        let latest = "models:/N/LATEST".parse::<ModelUri>().unwrap();
        assert_eq!(latest, ModelUri::Latest { name: named("N") });
    }

    #[test]
    fn invalid_uris_are_rejected() {
        for text in [
            "",
            "models",
            "models:",
            "models:/",
            "models:/ /1",
            "models:/N",
            "models:/N/",
            "models:/N/1/2",
            "models:/@a",
            "models:/N@",
            "runs:/",
            "runs:/1",
            "runs:/1/",
            "runs://1",
            "models:/N/99999999999",
            "models:/m-..",
            "models:/m-xyz",
        ] {
            assert!(matches!(text.parse::<ModelUri>(), Err(RegistryError::Uri { .. })), "{text}");
        }
    }
}
