//! The location of a model's artifacts, and the calls that list and read them.

use super::address::{encode, encode_path, with_query};
use super::client::MlflowClient;
use super::logged::logged_by;
use super::responses::{DownloadUri, FileList, LoggedModelResponse, RunResponse};
use super::unity_catalog;
use crate::uri::is_logged_model;
use crate::{ModelUri, RegistryError};

pub(super) const API: &str = "/api/2.0/mlflow";
const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";
/// Longest chain of URIs that refer to other URIs; one step is usual, two are possible.
const MAX_STEPS: usize = 4;

/// A folder of artefacts. The server reads the store, of whatever kind; no store is contacted directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ArtifactLocation {
    /// A path behind the server's artefact proxy.
    Proxy(String),
    /// A logged model (3.x) in a store that only the server reads.
    LoggedModel(String),
    /// A folder among a run's artefacts (2.x), in a store that only the server reads.
    Run { run: String, path: String },
    /// A folder in the Files API of a Databricks workspace.
    Workspace(String),
    /// A version that the server can only find by model and number; it cannot be listed.
    Version { name: String, version: u32 },
}

impl ArtifactLocation {
    /// Locates the files of a registered version.
    pub(super) fn of_version(client: &MlflowClient, name: &str, version: u32) -> Result<Self, RegistryError> {
        if client.is_catalog() {
            return unity_catalog::folder(name, version).map(Self::Workspace);
        }
        let number = version.to_string();
        let query = [("name", name), ("version", number.as_str())];
        let path = with_query(&format!("{API}/model-versions/get-download-uri"), &query);
        let uri = client.get::<DownloadUri>(&path)?.artifact_uri;
        Ok(Self::of_uri(client, &uri)?.unwrap_or(Self::Version { name: name.to_owned(), version }))
    }

    /// Resolves `uri`: `mlflow-artifacts:`, `runs:/`, `models:/`, or the server's own address. `None` for a store that
    /// only the server can read.
    pub(super) fn of_uri(client: &MlflowClient, uri: &str) -> Result<Option<Self>, RegistryError> {
        if client.is_catalog() {
            return match uri.parse() {
                Ok(ModelUri::Version { name, version }) => Self::of_version(client, &name, version).map(Some),
                _ => {
                    let reason = "cannot be read from Unity Catalog, expected models:/CATALOG.SCHEMA.MODEL/VERSION";
                    Err(RegistryError::Uri { uri: uri.chars().take(200).collect(), reason: reason.to_owned() })
                }
            };
        }
        let mut fallback = None;
        let mut uri = uri.to_owned();
        for _ in 0..MAX_STEPS {
            if let Some(path) = proxied(client, &uri) {
                return Ok(Some(Self::Proxy(checked(&uri, &path)?)));
            }
            if let Some(rest) = uri.strip_prefix("runs:/") {
                let (run, path) = rest.trim_start_matches('/').split_once('/').unwrap_or((rest, ""));
                let (run, path) = (id(&uri, run)?, checked(&uri, path)?);
                let query = with_query(&format!("{API}/runs/get"), &[("run_id", run.as_str())]);
                let root = client.get::<RunResponse>(&query)?.run.info;
                if let Some(model) = logged_by(client, &root.experiment_id, &run, &path)? {
                    uri = model.artifact_uri;
                    fallback = Some(Self::LoggedModel(model.model_id));
                    continue;
                }
                uri = format!("{}/{path}", root.artifact_uri.trim_end_matches('/'));
                fallback = Some(Self::Run { run, path });
            } else if uri.starts_with("models:") {
                match uri.parse()? {
                    ModelUri::LoggedModel { id } => {
                        let path = format!("{API}/logged-models/{}", encode(&id));
                        uri = client.get::<LoggedModelResponse>(&path)?.model.info.artifact_uri;
                        fallback = Some(Self::LoggedModel(id));
                    }
                    ModelUri::Version { name, version } => return Self::of_version(client, &name, version).map(Some),
                    _ => {
                        let reason = "may name another version tomorrow, expected a version number or models:/m-ID";
                        return Err(RegistryError::Uri { uri, reason: reason.to_owned() });
                    }
                }
            } else {
                return Ok(fallback);
            }
        }
        Err(RegistryError::Uri { uri, reason: "leads from one URI to the next".to_owned() })
    }

    /// Lists the folder `dir` below this location. Paths are relative to this location. `None` where the server offers
    /// no listing.
    pub(super) fn list(&self, client: &MlflowClient, dir: &str) -> Result<Option<Vec<ArtifactEntry>>, RegistryError> {
        let mut found = Vec::new();
        let mut token = String::new();
        // a page has hundreds of entries
        for _ in 0..16 {
            let Some(path) = self.listing(dir, &token) else { return Ok(None) };
            let page = client.get::<FileList>(&path)?;
            for file in page.files {
                // the proxy returns names, the other calls return paths from the root
                let name = file.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                let path = checked(&file.path, &below(dir, name))?;
                let size = (file.file_size > 0).then_some(file.file_size);
                found.push(ArtifactEntry { path, is_dir: file.is_dir, size });
            }
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Ok(Some(found))
    }

    fn listing(&self, dir: &str, token: &str) -> Option<String> {
        let (path, name, value) = match self {
            Self::Proxy(root) => (PROXY.to_owned(), "path", below(root, dir)),
            Self::LoggedModel(id) => (
                format!("{API}/logged-models/{}/artifacts/directories", encode(id)),
                "artifact_directory_path",
                dir.to_owned(),
            ),
            Self::Run { path, .. } => (format!("{API}/artifacts/list"), "path", below(path, dir)),
            Self::Workspace(root) => {
                (format!("{}/{}", unity_catalog::DIRECTORIES, encode_path(&below(root, dir))), "", String::new())
            }
            Self::Version { .. } => return None,
        };
        let mut query = Vec::new();
        if let Self::Run { run, .. } = self {
            query.push(("run_id", run.as_str()));
        }
        if !value.is_empty() {
            query.push((name, value.as_str()));
        }
        if !token.is_empty() {
            query.push(("page_token", token));
        }
        Some(with_query(&path, &query))
    }

    /// The call that reads `file`, a path relative to this location.
    pub(super) fn file(&self, file: &str) -> String {
        match self {
            Self::Proxy(root) => format!("{PROXY}/{}", encode_path(&below(root, file))),
            Self::Workspace(root) => format!("{}/{}", unity_catalog::FILES, encode_path(&below(root, file))),
            Self::LoggedModel(id) => {
                let path = format!("/ajax-api/2.0/mlflow/logged-models/{}/artifacts/files", encode(id));
                with_query(&path, &[("artifact_file_path", file)])
            }
            Self::Run { run, path } => {
                with_query("/get-artifact", &[("path", below(path, file).as_str()), ("run_uuid", run.as_str())])
            }
            Self::Version { name, version } => {
                let number = version.to_string();
                let query = [("path", file), ("name", name.as_str()), ("version", number.as_str())];
                with_query("/model-versions/get-artifact", &query)
            }
        }
    }

    /// Splits this location into its parent folder and its last segment, for artefacts that are a single file.
    pub(super) fn split(&self) -> Option<(Self, String)> {
        let parted = |path: &str| match path.rsplit_once('/') {
            Some((folder, file)) => Some((folder.to_owned(), file.to_owned())),
            None => (!path.is_empty()).then(|| (String::new(), path.to_owned())),
        };
        match self {
            Self::Proxy(path) => parted(path).map(|(folder, file)| (Self::Proxy(folder), file)),
            Self::Run { run, path } => {
                parted(path).map(|(folder, file)| (Self::Run { run: run.clone(), path: folder }, file))
            }
            Self::LoggedModel(_) | Self::Version { .. } | Self::Workspace(_) => None,
        }
    }
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArtifactEntry {
    pub path: String,
    pub is_dir: bool,
    pub size: Option<u64>,
}

/// The path behind the artefact proxy that `uri` names. Only this server is contacted, whatever host the URI names.
fn proxied(client: &MlflowClient, uri: &str) -> Option<String> {
    if let Some(rest) = uri.strip_prefix("mlflow-artifacts:") {
        let path = match rest.strip_prefix("//") {
            Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
            None => rest,
        };
        return Some(path.trim_matches('/').to_owned());
    }
    let path = uri.strip_prefix(client.base())?.strip_prefix(PROXY)?;
    Some(path.trim_matches('/').to_owned())
}

fn below(folder: &str, path: &str) -> String {
    match (folder.is_empty(), path.is_empty()) {
        (true, _) => path.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!("{folder}/{path}"),
    }
}

/// Checks that a path stays inside: no `..`, no empty segment, no control characters.
pub(super) fn checked(uri: &str, path: &str) -> Result<String, RegistryError> {
    let path = path.trim_matches('/');
    let plain = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && part.len() <= 255 && !part.contains(['\\', ':', '?', '#'])
    };
    let parts = path.split('/');
    if path.is_empty() || (path.len() <= 1024 && parts.clone().all(plain) && !path.contains(char::is_control)) {
        return Ok(path.to_owned());
    }
    let reason = "its path is not inside the artefacts".to_owned();
    Err(RegistryError::Uri { uri: uri.chars().take(200).collect(), reason })
}

/// Checks the ID of a run or of a logged model.
fn id(uri: &str, id: &str) -> Result<String, RegistryError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if is_logged_model(id) || ((1..=64).contains(&id.len()) && id.bytes().all(legal)) {
        return Ok(id.to_owned());
    }
    Err(RegistryError::Uri { uri: uri.chars().take(200).collect(), reason: "names no run".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegistryOptions;

    fn client() -> MlflowClient {
        MlflowClient::new(&RegistryOptions::new("http://mlflow:5000/x")).unwrap()
    }

    fn proxy(uri: &str) -> String {
        match ArtifactLocation::of_uri(&client(), uri).unwrap() {
            Some(ArtifactLocation::Proxy(path)) => path,
            other => panic!("{uri}: {other:?}"),
        }
    }

    #[test]
    fn the_proxy_is_this_server_whatever_the_uri_says() {
        assert_eq!(proxy("mlflow-artifacts:/1/models/m-1/artifacts"), "1/models/m-1/artifacts");
        assert_eq!(proxy("mlflow-artifacts://elsewhere:80/1/r/artifacts/model/"), "1/r/artifacts/model");
        assert_eq!(proxy("http://mlflow:5000/x/api/2.0/mlflow-artifacts/artifacts/1/a"), "1/a");
        for store in
            ["s3://bucket/1", "file:///var/lib/mlruns/1", "http://elsewhere/api/2.0/mlflow-artifacts/artifacts/1"]
        {
            assert_eq!(ArtifactLocation::of_uri(&client(), store).unwrap(), None, "{store}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for uri in
            ["mlflow-artifacts:/1/../2", "mlflow-artifacts:/1//2", "mlflow-artifacts:/a\\b", "runs:/../x", "runs://x"]
        {
            assert!(matches!(ArtifactLocation::of_uri(&client(), uri), Err(RegistryError::Uri { .. })), "{uri}");
        }
        assert!(
            ArtifactLocation::of_uri(&client(), "models:/n@champion").unwrap_err().to_string().contains("tomorrow")
        );
    }

    #[test]
    fn each_place_has_its_calls() {
        let place = ArtifactLocation::Proxy("1/a b".into());
        assert_eq!(place.file("dir/model.pkl"), "/api/2.0/mlflow-artifacts/artifacts/1/a%20b/dir/model.pkl");
        let run = ArtifactLocation::Run { run: "r1".into(), path: "model".into() };
        assert_eq!(run.listing("x", "").unwrap(), "/api/2.0/mlflow/artifacts/list?run_id=r1&path=model%2Fx");
        assert_eq!(run.file("MLmodel"), "/get-artifact?path=model%2FMLmodel&run_uuid=r1");
        let version = ArtifactLocation::Version { name: "n m".into(), version: 3 };
        assert_eq!(version.listing("", ""), None);
        assert_eq!(version.file("MLmodel"), "/model-versions/get-artifact?path=MLmodel&name=n%20m&version=3");
        let single = ArtifactLocation::Run { run: "r1".into(), path: "scaler.pkl".into() };
        let (folder, file) = single.split().unwrap();
        assert_eq!(
            (folder, file.as_str()),
            (ArtifactLocation::Run { run: "r1".into(), path: String::new() }, "scaler.pkl")
        );
    }
}
