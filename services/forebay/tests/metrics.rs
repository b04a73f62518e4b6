//! The table of metrics in `docs/metrics.md` against what the whole mesh in one process shows, in both directions.
#![cfg(test)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use forebay_testkit::metric_table::{documented, missing, scraped, strange};

const LIMIT: Duration = Duration::from_secs(30);

struct Mesh {
    child: Child,
    admin: SocketAddr,
    http: SocketAddr,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Mesh {
    /// `forebay up` with memory edges, and nothing of the caller's environment.
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(settings: &[(&str, &str)]) -> Self {
        // another program may take a free port before the process does
        (0..3).find_map(|_| Self::try_start(settings)).expect("it ended before it was ready, three times")
    }

    /// `None` if the process ends before it is ready.
    fn try_start(settings: &[(&str, &str)]) -> Option<Self> {
        let (admin, http) = (free(), free());
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.arg("up").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("FOREBAY__ADMIN__LISTEN", admin.to_string()).env("FOREBAY__HTTP__LISTEN", http.to_string());
        command.env("FOREBAY__PREDICTION__SHADOW", r#"["diabetes-rf-model/2"]"#);
        command.envs(settings.iter().copied());
        let mut mesh = Self { child: command.spawn().unwrap(), admin, http };
        let deadline = Instant::now() + LIMIT;
        while !call(admin, "GET /health/ready", "", "").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            if mesh.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < deadline, "not ready: {:?}", call(admin, "GET /health/ready", "", ""));
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(mesh)
    }

    #[track_caller]
    fn predict(&self, headers: &str, body: &str, status: u16) -> String {
        let answer = call(self.http, "POST /v1/predict", headers, body).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        answer
    }

    fn metrics(&self, accept: &str) -> String {
        let answer = call(self.admin, "GET /metrics", &format!("accept: {accept}\r\n"), "").unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

/// One request on a connection of its own, and the answer as it came.
fn call(address: SocketAddr, line: &str, headers: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

#[test]
fn the_table_of_metrics_is_what_a_mesh_shows() {
    let mesh = Mesh::start();
    let row = "[0.038,0.051,0.062,0.022,-0.044,-0.035,-0.043,-0.003,0.02,-0.018]";
    let trace = "0af7651916cd43dd8448eb211c80319c";
    mesh.predict(&format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\n"), &format!(r#"{{"features":{row}}}"#), 200);
    mesh.predict("", &format!(r#"{{"features":{row},"model_version":"v1","priority":0}}"#), 200);
    let refused = mesh.predict("", r#"{"features":[1,2,3]}"#, 400);
    assert!(refused.contains(r#""trace_id":""#), "an error names its trace: {refused}");
    let refused = mesh.predict("", "not json", 400);
    assert!(refused.contains(r#""trace_id":""#), "an error of the HTTP server as well: {refused}");

    let rows = documented(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let deadline = Instant::now() + LIMIT;
    loop {
        // a shadow answers when it has time
        let families = scraped(&mesh.metrics("*/*"));
        let wrong = [strange(&rows, &families), missing(&rows, &families, &["always"])].concat();
        if wrong.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{}", wrong.join("\n"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let families = scraped(&mesh.metrics("*/*"));
    assert!(!families["forebay_stage_failed_total"].labels.is_empty(), "two requests failed");
    let open = mesh.metrics("application/openmetrics-text; version=1.0.0");
    assert!(open.ends_with("# EOF\n") && open.contains(&format!("# {{trace_id=\"{trace}\"}}")), "{open}");
}

/// Names of callers are labels; what they show is not.
#[test]
fn callers_are_in_the_table_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, key) = (folder.path().join("keys"), forebay_ingestion::auth::ApiKey::generate().unwrap());
    std::fs::write(
        &keys,
        format!(
            "app {} daily_rows=1\nold {} expires=2020-01-01\n",
            key.hash(),
            forebay_ingestion::auth::KeyHash::of("x")
        ),
    )
    .unwrap();
    let jwks = folder.path().join("jwks.json");
    std::fs::write(&jwks, r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#).unwrap();
    let mesh = Mesh::start_with(&[
        ("FOREBAY__AUTH__KEYS_FILE", keys.to_str().unwrap()),
        ("FOREBAY__AUTH__JWT__JWKS", &format!("file:{}", jwks.display())),
        ("FOREBAY__AUTH__JWT__ISSUER", "i"),
        ("FOREBAY__AUTH__JWT__AUDIENCE", "a"),
    ]);
    let row = r#"{"features":[0.038,0.051,0.062,0.022,-0.044,-0.035,-0.043,-0.003,0.02,-0.018]}"#;
    let good = format!("x-api-key: {}\r\n", key.expose());
    mesh.predict(&good, row, 200);
    mesh.predict(&good, row, 429);
    mesh.predict("", row, 401);
    mesh.predict("x-api-key: x\r\n", row, 401);
    let rows = documented(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let text = mesh.metrics("*/*");
    let families = scraped(&text);
    assert_eq!(strange(&rows, &families), [""; 0]);
    for name in rows.keys().filter(|name| name.starts_with("forebay_caller_") || name.starts_with("forebay_auth_")) {
        assert!(families.contains_key(name), "{name}");
    }
    assert!(text.contains("forebay_caller_limited_total{caller=\"app\",limit=\"daily_rows\"} 1"), "{text}");
    assert!(text.contains("forebay_auth_refused_total{reason=\"expired\"} 1"), "{text}");
    assert!(!text.contains(key.expose()) && !text.contains(&key.hash().to_string()));
}

#[test]
fn a_difference_between_table_and_mesh_is_seen() {
    let rows = documented(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let text = "# HELP forebay_ready Wrong type.\n# TYPE forebay_ready counter\nforebay_ready{a=\"b\"} 1\n\
                # HELP forebay_new New.\n# TYPE forebay_new gauge\nforebay_new 1\n";
    let families = scraped(text);
    let found = strange(&rows, &families).join("\n");
    for word in ["forebay_new is not in", "forebay_ready is a counter", "forebay_ready has the labels {\"a\"}"] {
        assert!(found.contains(word), "{word}: {found}");
    }
    let lacking = missing(&rows, &families, &["always"]);
    assert!(lacking.iter().any(|it| it.starts_with("inference_requests_total is not there")), "{lacking:?}");
}
