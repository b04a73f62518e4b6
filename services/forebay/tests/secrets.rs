//! The mesh as an operator runs it with every protection of the HTTP API on: `forebay keys`, `forebay predict` over
//! TLS, and no secret in any log line, error or `config show`.
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use forebay_testkit::wait_until;

const LIMIT: Duration = Duration::from_secs(60);
const ROW: [&str; 10] = ["0.038", "0.051", "0.062", "0.022", "-0.044", "-0.035", "-0.043", "-0.003", "0.02", "-0.018"];
/// Never to be seen anywhere; with their setting.
const SECRETS: [(&str, &str); 7] = [
    ("FOREBAY__KAFKA__OPTIONS__SASL_PASSWORD", "sikret-kafka"),
    ("FOREBAY__REDIS__URL", "redis://app:sikret-redis@127.0.0.1:1"),
    ("FOREBAY__MODELS__PASSWORD", "sikret-mlflow"),
    ("FOREBAY__MODELS__WEBHOOK_SECRET", "sikret-webhook"),
    ("FOREBAY__ASYNC__CALLBACK_SECRET", "sikret-callback"),
    ("FOREBAY__AUTH__JWT__JWKS", "https://u:sikret-issuer@127.0.0.1:1/keys"),
    ("FOREBAY__AUTH__JWT__CA_FILE", ""),
];

struct Folder(tempfile::TempDir);

impl Folder {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

fn forebay(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

#[track_caller]
fn done(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    text
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An authority, and a certificate of it for this machine.
fn certificates(folder: &Folder) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    folder.write("ca.pem", &authority.pem());
    folder.write("cert.pem", &params.signed_by(&key, &authority).unwrap().pem());
    folder.write("key.pem", &key.serialize_pem());
}

struct Mesh(Child);

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn settings(folder: &Folder, http: SocketAddr, admin: SocketAddr) -> Vec<(&'static str, String)> {
    let path = |name: &str| folder.path(name).display().to_string();
    let mut all = vec![
        ("FOREBAY__HTTP__LISTEN", http.to_string()),
        ("FOREBAY__ADMIN__LISTEN", admin.to_string()),
        ("FOREBAY__HTTP__TLS__CERT_FILE", path("cert.pem")),
        ("FOREBAY__HTTP__TLS__KEY_FILE", path("key.pem")),
        ("FOREBAY__HTTP__TLS__REFRESH", "100ms".to_owned()),
        ("FOREBAY__AUTH__KEYS_FILE", path("keys.txt")),
        ("FOREBAY__AUTH__REFRESH", "100ms".to_owned()),
        ("FOREBAY__AUTH__JWT__ISSUER", "i".to_owned()),
        ("FOREBAY__AUTH__JWT__AUDIENCE", "a".to_owned()),
        ("FOREBAY__MODELS__USERNAME", "reader".to_owned()),
        ("FOREBAY__LOG__LEVEL", "trace".to_owned()),
        ("FOREBAY__LOG__FORMAT", "json".to_owned()),
    ];
    all.extend(SECRETS.map(|(key, value)| (key, value.to_owned())));
    all
}

fn predict(folder: &Folder, url: &str, key: &str) -> Output {
    let (ca, key) = (folder.path("ca.pem"), folder.path(key));
    let mut all = vec!["predict", "--url", url, "--ca", ca.to_str().unwrap(), "--api-key-file", key.to_str().unwrap()];
    all.extend(ROW);
    forebay(&all).output().unwrap()
}

#[track_caller]
fn holds_none(text: &str, secrets: &[String], of: &str) {
    for secret in secrets {
        if let Some(at) = text.find(secret.as_str()) {
            let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
            panic!("{of} shows a secret: {}", &text[line..(at + secret.len()).min(text.len())]);
        }
    }
}

/// Two keys: one in the file of keys, one that is not in it.
fn make_keys(folder: &Folder) -> PathBuf {
    let keys = folder.path("keys.txt");
    let path = keys.to_str().unwrap();
    let made = forebay(&["keys", "new", "reports", "--expires", "90d", "--append", path]).output().unwrap();
    folder.write("reports.key", &done(&made));
    let shown = done(&forebay(&["keys", "new", "stranger"]).output().unwrap());
    folder.write("stranger.key", shown.split_whitespace().nth(1).unwrap());
    let listed = done(&forebay(&["keys", "check", path]).output().unwrap());
    assert!(listed.contains("reports") && listed.contains("1 keys, 1 of them count"), "{listed}");
    keys
}

/// Sends requests with good and bad credentials, and breaks the files of the running mesh; returns what the clients
/// printed.
fn use_it(folder: &Folder, url: &str) -> String {
    wait_until(LIMIT, "a prediction", || predict(folder, url, "reports.key").status.success());
    let refused = predict(folder, url, "stranger.key");
    let output = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && output.contains("unauthorized"), "{refused:?}");
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzaWtyZXQtdG9rZW4ifQ.c2lrcmV0LXNpZ25hdHVyZQ";
    folder.write("token", token);
    assert!(!predict(folder, url, "token").status.success(), "the issuer is away");
    let system = forebay(&[&["predict", "--url", url][..], &ROW].concat()).output().unwrap();
    assert!(!system.status.success(), "the usual authorities know nothing of ours");
    // an operator puts the key itself into the file of keys, and a half-written certificate beside it
    let line = folder.read("keys.txt");
    folder.write("keys.txt", &format!("{line}reports {}\n", folder.read("reports.key")));
    folder.write("key.pem", &folder.read("key.pem").replacen('A', "B", 1));
    let loud = |part: &str| folder.read("log.txt").contains(part);
    wait_until(LIMIT, "a broken file of keys", || loud("api keys cannot be read"));
    wait_until(LIMIT, "a broken certificate", || loud("tls certificates cannot be read"));
    assert!(predict(folder, url, "reports.key").status.success(), "the old ones stay in use");
    output
}

#[test]
fn no_secret_is_shown_anywhere() {
    let folder = Folder(tempfile::tempdir().unwrap());
    certificates(&folder);
    let keys = make_keys(&folder);
    let line = folder.read("keys.txt");
    let (http, admin) = (free(), free());
    let environment = settings(&folder, http, admin);
    let mut command = forebay(&["up"]);
    command.envs(environment.clone());
    let file = |name: &str| std::fs::File::create(folder.path(name)).unwrap();
    command.stdout(file("out.txt")).stderr(file("log.txt"));
    let mesh = Mesh(command.spawn().unwrap());
    let output = use_it(&folder, &format!("https://localhost:{}", http.port()));
    drop(mesh);

    let mut secrets: Vec<String> =
        ["reports.key", "stranger.key"].map(|name| folder.read(name).trim().to_owned()).into();
    secrets.extend(["sikret".to_owned(), "c2lrcmV0".to_owned()]);
    let pem = folder.read("key.pem");
    secrets.extend(pem.lines().filter(|line| line.len() > 30 && !line.starts_with('-')).map(str::to_owned));
    assert!(secrets.len() >= 5);
    let logged = folder.read("log.txt") + &folder.read("out.txt");
    assert!(logged.contains("request rejected"), "{logged}");
    holds_none(&logged, &secrets, "the log");
    holds_none(&output, &secrets, "predict");

    folder.write("keys.txt", &line);
    certificates(&folder);
    let shown = done(&forebay(&["config", "show"]).envs(environment.clone()).output().unwrap());
    assert!(shown.contains(&keys.display().to_string()) && shown.contains("***"), "{shown}");
    holds_none(&shown, &secrets, "config show");
    for (variable, setting, text) in [
        ("FOREBAY__AUTH__KEYS_FILE", "auth.keys_file", &secrets[0]),
        ("FOREBAY__HTTP__TLS__KEY_FILE", "http.tls.key_file", &pem),
    ] {
        let wrong = forebay(&["up"]).envs(environment.clone()).env(variable, text).output().unwrap();
        assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
        let output = String::from_utf8_lossy(&[wrong.stdout, wrong.stderr].concat()).into_owned();
        assert!(output.contains(setting), "{output}");
        holds_none(&output, &secrets, "the secret instead of its file");
    }
}
