//! A small MLflow server: answers as a 3.17 server does, out of memory, and misbehaves on demand.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response, Server};

/// What a call gets instead of its answer.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Status(u16, &'static str),
    /// 200 with this body.
    Body(Vec<u8>),
    /// Says so many bytes and sends fewer.
    Truncated,
    /// Never ends.
    Endless,
    /// Does not answer until the server stops.
    Silence,
}

/// One version.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub stage: &'static str,
    pub status: &'static str,
    /// What `get-download-uri` says.
    pub uri: String,
    pub source: String,
    pub run_id: String,
    pub tags: Vec<(&'static str, String)>,
    pub updated: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Content {
    pub models: BTreeMap<String, BTreeMap<u32, Version>>,
    pub aliases: BTreeMap<String, BTreeMap<String, u32>>,
    /// Artefact URI of runs and logged models by id.
    pub uris: BTreeMap<String, String>,
    /// Run, name and ID of logged models.
    pub logged: Vec<(String, String, String)>,
    /// Files by path behind the proxy, or in the store.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The one `Authorization` that is accepted.
    pub authorization: Option<String>,
    /// First match of `needle in URL` that has uses left.
    pub faults: Vec<(&'static str, usize, Fault)>,
    /// URLs parameter for, in order.
    pub seen: Vec<String>,
}

/// Stops when it is dropped.
pub(crate) struct Fake {
    port: u16,
    content: Arc<Mutex<Content>>,
    running: Option<(Arc<Server>, Vec<JoinHandle<()>>)>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut fake = Self { port, content: Arc::default(), running: None };
        fake.listen(listener);
        fake
    }

    fn listen(&mut self, listener: TcpListener) {
        let server = Arc::new(Server::from_listener(listener, None).unwrap());
        let serve = || {
            let (server, content) = (Arc::clone(&server), Arc::clone(&self.content));
            std::thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    answer(&content, request);
                }
            })
        };
        let threads = (0..4).map(|_| serve()).collect();
        self.running = Some((server, threads));
    }

    pub(crate) fn stop(&mut self) {
        let Some((server, threads)) = self.running.take() else { return };
        for _ in &threads {
            server.unblock();
        }
        drop(server);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    /// On the same port.
    pub(crate) fn start_again(&mut self) {
        self.listen(TcpListener::bind(("127.0.0.1", self.port)).unwrap());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    pub(crate) fn fault(&self, needle: &'static str, uses: usize, fault: Fault) {
        self.content().faults.push((needle, uses, fault));
    }

    /// How many calls so far had `needle` in their URL.
    pub(crate) fn calls(&self, needle: &str) -> usize {
        self.content().seen.iter().filter(|url| url.contains(needle)).count()
    }

    pub(crate) fn alias(&self, model: &str, alias: &str, version: u32) {
        self.content().aliases.entry(model.to_owned()).or_default().insert(alias.to_owned(), version);
    }

    pub(crate) fn stage(&self, model: &str, version: u32, stage: &'static str) {
        let mut content = self.content();
        let version = content.models.get_mut(model).unwrap().get_mut(&version).unwrap();
        (version.stage, version.updated) = (stage, version.updated + 1);
    }

    /// Puts files below `root`.
    pub(crate) fn put(&self, root: &str, files: &[(&str, Vec<u8>)]) {
        let files = files.iter().map(|(path, bytes)| (format!("{root}/{path}"), bytes.clone()));
        self.content().files.extend(files);
    }

    /// A version as MLflow 3 registers it: a logged model behind the artefact proxy.
    pub(crate) fn register(&self, model: &str, number: u32, files: &[(&str, Vec<u8>)]) -> String {
        let id = format!("m-{:032x}", blake3_like(model, number));
        let root = format!("1/models/{id}/artifacts");
        self.put(&root, files);
        let uri = format!("mlflow-artifacts:/{root}");
        self.content().uris.insert(id.clone(), uri.clone());
        let version = Version::new(&uri, &format!("models:/{id}"));
        self.version(model, number, version);
        id
    }

    pub(crate) fn version(&self, model: &str, number: u32, version: Version) {
        self.content().models.entry(model.to_owned()).or_default().insert(number, version);
    }
}

impl Version {
    pub(crate) fn new(uri: &str, source: &str) -> Self {
        Self {
            stage: "None",
            status: "READY",
            uri: uri.to_owned(),
            source: source.to_owned(),
            run_id: "431269cc9b564778bb2e9f83ff7d57a1".to_owned(),
            tags: Vec::new(),
            updated: 1_795_424_318_688,
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Different numbers for different versions.
fn blake3_like(model: &str, number: u32) -> u64 {
    model.bytes().fold(u64::from(number), |hash, byte| hash.wrapping_mul(1_099_511_628_211) ^ u64::from(byte))
}

pub(crate) type Answer = (u16, Vec<u8>);

fn answer(content: &Mutex<Content>, mut request: Request) {
    let url = request.url().to_owned();
    let mut body = Vec::new();
    request.as_reader().take(1 << 20).read_to_end(&mut body).unwrap();
    let mut held = content.lock().unwrap();
    held.seen.push(format!("{} {url}", request.method()));
    let given =
        request.headers().iter().find(|header| header.field.equiv("authorization")).map(|h| h.value.to_string());
    if held.authorization.is_some() && held.authorization != given {
        drop(held);
        let text = "You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth/index.html";
        respond(request, (401, text.as_bytes().to_vec()));
        return;
    }
    let fault = held.faults.iter_mut().find(|(needle, uses, _)| *uses > 0 && url.contains(needle));
    let fault = fault.map(|(_, uses, fault)| {
        *uses -= 1;
        fault.clone()
    });
    match fault {
        None => {
            let answer = held.route(request.method(), &url, &body);
            drop(held);
            respond(request, answer);
        }
        Some(fault) => {
            drop(held);
            misbehave(request, fault);
        }
    }
}

fn respond(request: Request, (status, body): Answer) {
    let json = Header::from_bytes("Content-Type", "application/json").unwrap();
    let _ = request.respond(Response::from_data(body).with_status_code(status).with_header(json));
}

fn misbehave(request: Request, fault: Fault) {
    match fault {
        Fault::Status(status, text) => respond(request, (status, text.into())),
        Fault::Body(body) => respond(request, (200, body)),
        Fault::Truncated => {
            let head = Response::new(200.into(), Vec::new(), Cursor::new(b"{\"files\": ["), Some(4096), None);
            let _ = request.respond(head);
        }
        Fault::Endless => {
            let _ = request.respond(Response::new(200.into(), Vec::new(), std::io::repeat(b' '), None, None));
        }
        // longer than any time-out of the tests, short enough for them to end
        Fault::Silence => {
            std::thread::sleep(std::time::Duration::from_secs(10));
            respond(request, (200, b"{}".to_vec()));
        }
    }
}

pub(crate) fn complaint(status: u16, code: &str, message: &str) -> Answer {
    (status, json!({ "error_code": code, "message": message, "sqlstate": "KAM00" }).to_string().into_bytes())
}

pub(crate) fn missing(what: &str) -> Answer {
    complaint(404, "RESOURCE_DOES_NOT_EXIST", what)
}

pub(crate) fn ok(value: &Value) -> Answer {
    (200, value.to_string().into_bytes())
}

/// Query of a URL, decoded.
fn query(url: &str) -> BTreeMap<String, String> {
    let pairs = url.split_once('?').map_or("", |(_, query)| query).split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}

pub(crate) fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

impl Content {
    fn route(&self, method: &Method, url: &str, body: &[u8]) -> Answer {
        let path = url.split('?').next().unwrap();
        let query = query(url);
        let parameter = |name: &str| query.get(name).cloned().unwrap_or_default();
        let number = parameter("version").parse().unwrap_or(0);
        if let Some(answer) = self.catalog(path, &query) {
            return answer;
        }
        if path == "/api/2.0/mlflow/logged-models/search" {
            return self.logged_models(body);
        }
        if *method != Method::Get {
            return ok(&json!({ "echo": String::from_utf8_lossy(body), "method": method.to_string() }));
        }
        match path.strip_prefix("/api/2.0/mlflow/").unwrap_or(path) {
            "registered-models/get" => self.model(&parameter("name")),
            "registered-models/search" => {
                let models: Vec<Value> = self.models.keys().map(|name| json!({ "name": name })).collect();
                page(&query, "registered_models", &models)
            }
            "model-versions/search" => self.versions(&query),
            "model-versions/get" => match self.found(&parameter("name"), number) {
                Some(version) => ok(&json!({ "model_version": version.json(&parameter("name"), number) })),
                None => missing(&format!("Model Version (name={}, version={number}) not found", parameter("name"))),
            },
            "model-versions/get-download-uri" => match self.found(&parameter("name"), number) {
                Some(version) => ok(&json!({ "artifact_uri": version.uri })),
                None => missing("Model Version not found"),
            },
            "runs/get" => match self.uris.get(&parameter("run_id")) {
                Some(uri) => ok(&json!({ "run": { "info": { "artifact_uri": uri, "experiment_id": "1" } } })),
                None => missing("Run not found"),
            },
            "artifacts/list" => self.folder(&self.stored(&parameter("run_id")), &parameter("path"), true),
            "/api/2.0/mlflow-artifacts/artifacts" => self.folder("", &parameter("path"), false),
            "/get-artifact" => self.file(&format!("{}{}", self.stored(&parameter("run_uuid")), parameter("path"))),
            "/model-versions/get-artifact" => match self.found(&parameter("name"), number) {
                Some(version) => self.file(&format!("{}/{}", root(&version.uri), parameter("path"))),
                None => missing("Model Version not found"),
            },
            other => self.more(other, &parameter),
        }
    }

    /// Models of the experiment by name, one a page.
    fn logged_models(&self, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body["experiment_ids"], json!(["1"]));
        let named = |name: &str| body["filter"] == format!("name = '{name}'");
        let found: Vec<_> = self.logged.iter().filter(|(_, name, _)| named(name)).collect();
        let at: usize = body["page_token"].as_str().map_or(0, |token| token.parse().unwrap());
        let model = |(run, name, id): &(String, String, String)| {
            let info = json!({ "model_id": id, "name": name, "source_run_id": run, "artifact_uri": self.uris[id] });
            json!({ "info": info })
        };
        let models: Vec<Value> = found.get(at).map(|logged| model(logged)).into_iter().collect();
        let next = if at + 1 < found.len() { (at + 1).to_string() } else { String::new() };
        ok(&json!({ "models": models, "next_page_token": next }))
    }

    fn more(&self, path: &str, parameter: &dyn Fn(&str) -> String) -> Answer {
        if let Some(file) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/") {
            return self.file(&decoded(file));
        }
        let logged = path.strip_prefix("/ajax-api/2.0/mlflow/").unwrap_or(path).strip_prefix("logged-models/");
        let Some(rest) = logged else { return missing(path) };
        let (id, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let Some(uri) = self.uris.get(id) else { return missing("Logged model not found") };
        match rest {
            "" => ok(&json!({ "model": { "info": { "model_id": id, "artifact_uri": uri } } })),
            "artifacts/directories" => self.folder(&self.stored(id), &parameter("artifact_directory_path"), true),
            "artifacts/files" => self.file(&format!("{}{}", self.stored(id), parameter("artifact_file_path"))),
            _ => missing(path),
        }
    }

    /// Root of a run's or logged model's files, with a slash.
    fn stored(&self, id: &str) -> String {
        self.uris.get(id).map(|uri| format!("{}/", root(uri))).unwrap_or_default()
    }

    fn found(&self, model: &str, number: u32) -> Option<&Version> {
        self.models.get(model)?.get(&number)
    }

    fn model(&self, name: &str) -> Answer {
        let Some(versions) = self.models.get(name) else {
            return missing(&format!("Registered Model with name={name} not found"));
        };
        let mut latest: BTreeMap<&str, (u32, &Version)> = BTreeMap::new();
        for (number, version) in versions {
            latest.insert(version.stage, (*number, version));
        }
        let latest: Vec<Value> = latest.values().map(|(number, version)| version.json(name, *number)).collect();
        let aliases = self.aliases.get(name).into_iter().flatten();
        let aliases: Vec<Value> =
            aliases.map(|(alias, version)| json!({ "alias": alias, "version": version.to_string() })).collect();
        ok(&json!({ "registered_model": {
            "name": name, "creation_timestamp": 1_795_424_297_778_u64, "last_updated_timestamp": 1_795_424_318_688_u64,
            "latest_versions": latest, "aliases": aliases,
        } }))
    }

    fn versions(&self, query: &BTreeMap<String, String>) -> Answer {
        let name = query["filter"].strip_prefix("name=").unwrap().trim_matches(['\'', '"']);
        assert_eq!(query["order_by"], "version_number DESC");
        let versions = self.models.get(name).into_iter().flatten().rev();
        let versions: Vec<Value> = versions.map(|(number, version)| version.json(name, *number)).collect();
        page(query, "model_versions", &versions)
    }

    /// The entries of a folder. The proxy returns names, the other listings return paths.
    fn folder(&self, root: &str, path: &str, paths: bool) -> Answer {
        let path = path.trim_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut entries = BTreeMap::new();
        for (file, bytes) in &self.files {
            let Some(rest) = file.strip_prefix(root).and_then(|file| file.strip_prefix(&prefix)) else { continue };
            let (name, size) = match rest.split_once('/') {
                Some((folder, _)) => (folder, None),
                None => (rest, Some(bytes.len())),
            };
            let shown = if paths { format!("{prefix}{name}") } else { name.to_owned() };
            let entry = match size {
                Some(size) => json!({ "path": shown, "is_dir": false, "file_size": size }),
                None => json!({ "path": shown, "is_dir": true }),
            };
            entries.insert(name.to_owned(), entry);
        }
        ok(&json!({ "files": entries.values().collect::<Vec<_>>() }))
    }

    fn file(&self, path: &str) -> Answer {
        match self.files.get(path) {
            Some(bytes) => (200, bytes.clone()),
            None => missing(&format!("No such artifact: '{path}'")),
        }
    }
}

/// Where the files of an artefact URI are in the fake, whatever its scheme.
fn root(uri: &str) -> &str {
    uri.split_once(":/").map_or(uri, |(_, path)| path.trim_matches('/'))
}

fn page(query: &BTreeMap<String, String>, field: &str, all: &[Value]) -> Answer {
    let size: usize = query["max_results"].parse().unwrap();
    let start: usize = query.get("page_token").map_or(0, |token| token.parse().unwrap());
    let end = all.len().min(start + size);
    let token = if end < all.len() { end.to_string() } else { String::new() };
    ok(&json!({ field: &all[start..end], "next_page_token": token }))
}

impl Version {
    fn json(&self, name: &str, number: u32) -> Value {
        let tags: Vec<Value> = self.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        json!({
            "name": name, "version": number.to_string(), "creation_timestamp": 1_795_424_297_778_u64,
            "last_updated_timestamp": self.updated, "current_stage": self.stage, "description": "",
            "source": self.source, "run_id": self.run_id, "status": self.status, "tags": tags, "run_link": "",
        })
    }
}
