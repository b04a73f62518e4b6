//! What `forebay keys init` writes opens an endpoint for its key, over TLS, and without the key it stays closed.
#![cfg(test)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const ROW: [&str; 10] = ["0.038", "0.051", "0.062", "0.022", "-0.044", "-0.035", "-0.043", "-0.003", "0.02", "-0.018"];

struct Mesh(Child);

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn forebay(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn predict(url: &str, folder: &Path, with_key: bool) -> Output {
    let (ca, key) = (folder.join("ca.crt"), folder.join("api-key"));
    let mut command = forebay(&["predict", "--url", url, "--ca", ca.to_str().unwrap()]);
    if with_key {
        command.arg("--api-key-file").arg(key);
    }
    command.args(ROW).output().unwrap()
}

#[test]
fn an_endpoint_that_others_can_reach_starts_with_what_init_made_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        forebay(&["keys", "init", folder.path().to_str().unwrap(), "--host", "ingestion.example"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let key = std::fs::read_to_string(folder.path().join("api-key")).unwrap();
    assert!(!String::from_utf8_lossy(&made.stdout).contains(key.trim()), "the key is in its file alone");

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let set = [
        format!("http.listen=0.0.0.0:{port}"),
        "admin.listen=127.0.0.1:0".to_owned(),
        format!("auth.keys_file={}", folder.path().join("keys").display()),
        format!("http.tls.cert_file={}", folder.path().join("tls.crt").display()),
        format!("http.tls.key_file={}", folder.path().join("tls.key").display()),
    ];
    let refused = forebay(&["up", "--set", &set[0], "--set", &set[1]]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("forebay keys init") && said.contains("auth.anonymous=true"), "{said}");

    let mut up = forebay(&["up"]);
    for value in &set {
        up.args(["--set", value]);
    }
    let _mesh = Mesh(up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let (url, deadline) = (format!("https://localhost:{port}"), Instant::now() + LIMIT);
    loop {
        let answer = predict(&url, folder.path(), true);
        if answer.status.success() {
            break;
        }
        assert!(Instant::now() < deadline, "{}", String::from_utf8_lossy(&answer.stderr));
        std::thread::sleep(Duration::from_millis(50));
    }
    let stranger = predict(&url, folder.path(), false);
    assert!(
        !stranger.status.success() && String::from_utf8_lossy(&stranger.stderr).contains("API key"),
        "{stranger:?}"
    );
}
