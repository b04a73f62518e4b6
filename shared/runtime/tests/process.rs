//! Whole processes: exit codes, signals, deadlines. The test binary starts itself as the service under test.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue stops")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use forebay_bus::BusSettings;
use forebay_runtime::{
    Component, DefaultSettings, Drain, Fence, Host, Layers, Problems, ServiceSpec, StartError, check_health,
    service_from,
};
use forebay_testkit::collector;

const LIMIT: Duration = Duration::from_secs(20);
const ARGUMENTS: &str = "RUNTIME_TEST_ARGUMENTS";

const SPEC: ServiceSpec = ServiceSpec {
    name: "caching",
    about: "does nothing, for tests",
    defaults: &[forebay_bus::DEFAULTS, DefaultSettings::new("caching", "[cache]\nmode = \"idle\"\n")],
};

#[derive(serde::Deserialize)]
struct Cache {
    mode: String,
}

fn read(layers: &Layers, problems: &mut Problems) -> Option<Cache> {
    layers.section("cache", problems)
}

fn finish(mode: String, worker: Option<Component>, fence: Option<Fence>) -> impl Drain {
    move || async move {
        match mode.as_str() {
            "slow" => std::future::pending::<()>().await,
            "stuck" => std::thread::sleep(Duration::from_secs(600)),
            _ => {}
        }
        tracing::info!("drained");
        worker.into_iter().for_each(Component::finished);
        drop(fence);
    }
}

async fn idle((_, settings): (BusSettings, Cache), host: Host) -> Result<impl Drain, StartError> {
    let worker = host.lifecycle().register("worker");
    worker.ready();
    let mut fence = None;
    match settings.mode.as_str() {
        "taken" => return Err(StartError::setting("cache.mode", "is taken")),
        "broken" => return Err(StartError::failed("no reason")),
        "hangs" => std::future::pending::<()>().await,
        "fenced" => fence = Some(Fence::arm(Duration::from_secs(1))),
        "traced" => tracing::info_span!(target: "forebay_caching", "load model", name = "m")
            .in_scope(|| tracing::info!("loaded")),
        "dies" => {
            actix_rt::spawn(async move {
                let _held = worker;
                panic!("on purpose");
            });
            return Ok(finish(settings.mode, None, None));
        }
        _ => {}
    }
    Ok(finish(settings.mode, Some(worker), fence))
}

/// The process that the other tests start. It does nothing when the test runner starts it.
#[test]
fn child() {
    let Some((_, arguments)) = std::env::vars().find(|(name, _)| name == ARGUMENTS) else { return };
    let arguments = std::iter::once("forebay-caching").chain(arguments.split_whitespace()).map(Into::into);
    let code = service_from(arguments, SPEC, BusSettings::with(read), idle);
    let known = (0..=255).find(|known| ExitCode::from(*known) == code);
    std::process::exit(known.unwrap().into());
}

struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

fn spawn(arguments: &str) -> Running {
    spawn_with(arguments, &[])
}

fn spawn_with(arguments: &str, environment: &[(&str, &str)]) -> Running {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env_clear() // whatever FOREBAY__ or OTEL_ variables the developer's shell has
        .envs(environment.iter().copied())
        .env(ARGUMENTS, format!("--set admin.listen=127.0.0.1:0 {arguments}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (line, lines) = channel();
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
    Running { child, lines, seen: Vec::new() }
}

impl Running {
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("{text:?} did not come ({error}): {:#?}", self.seen),
            }
        }
    }

    fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Exit code and standard output.
    fn end(&mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut text = String::new();
                self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
                self.seen.extend(self.lines.iter());
                return (status.code(), text);
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10)); // std cannot wait for a child with a timeout
        }
    }

    fn admin(&mut self) -> std::net::SocketAddr {
        let line: serde_json::Value = serde_json::from_str(&self.wait_for("\"started\"")).unwrap();
        line["admin"].as_str().unwrap().parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn sigterm_drains_and_ends_well() {
    for signal in ["TERM", "INT"] {
        let mut service = spawn("run");
        let admin = service.admin();
        let deadline = Instant::now() + LIMIT;
        while check_health(admin).is_err() {
            assert!(Instant::now() < deadline, "never ready");
        }
        service.signal(signal);
        service.wait_for("\"drained\"");
        assert_eq!(service.end().0, Some(0), "{:#?}", service.seen);
    }
}

#[test]
fn a_dead_component_ends_the_process_with_1_and_says_so() {
    let mut service = spawn("--set cache.mode=dies");
    service.wait_for("on purpose");
    let line = service.wait_for("shutting down because of a failure");
    assert!(line.contains("worker panicked"), "{line}");
    assert_eq!(service.end().0, Some(1));
}

#[test]
fn a_drain_that_takes_too_long_ends_with_1() {
    let mut service = spawn("--set cache.mode=slow --set delivery.drain=100ms");
    service.admin();
    service.signal("TERM");
    service.wait_for("the drain took too long");
    assert_eq!(service.end().0, Some(1));
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut service = spawn("--set cache.mode=slow --set delivery.drain=10m");
    service.admin();
    service.signal("TERM");
    service.wait_for("SIGTERM");
    service.signal("INT");
    service.wait_for("a second signal");
    assert_eq!(service.end().0, Some(1));
}

#[test]
#[ignore = "takes the grace of 8 s"]
fn a_blocked_main_thread_does_not_outlive_the_deadline() {
    let mut service = spawn("--set cache.mode=stuck --set delivery.drain=100ms");
    service.admin();
    service.signal("TERM");
    service.wait_for("the main thread did not exit in time");
    assert_eq!(service.end().0, Some(1));
}

#[test]
fn a_start_that_waits_can_be_stopped() {
    let mut service = spawn("--set cache.mode=hangs");
    let line: serde_json::Value = serde_json::from_str(&service.wait_for("\"starting\"")).unwrap();
    let admin = line["admin"].as_str().unwrap().parse().unwrap();
    assert!(check_health(admin).unwrap_err().contains("system"), "not ready before everything is wired");
    service.signal("TERM");
    assert_eq!(service.end().0, Some(0), "{:#?}", service.seen);
}

#[test]
fn a_paused_process_fences_itself() {
    let mut service = spawn("--set cache.mode=fenced");
    service.admin();
    service.signal("STOP");
    std::thread::sleep(Duration::from_millis(1200)); // the pause itself is what is tested
    service.signal("CONT");
    let line = service.wait_for("paused for too long");
    let gap = serde_json::from_str::<serde_json::Value>(&line).unwrap()["gap_ms"].as_u64().unwrap();
    assert!(gap > 500, "{gap}");
    assert_eq!(service.end().0, Some(70));
}

#[test]
fn settings_that_cannot_be_used_end_with_2() {
    let mut service = spawn("--set cache.mod=x --set kafka.partitions=0");
    assert_eq!(service.end().0, Some(2));
    let text = service.seen.join("\n");
    assert!(text.contains("cache.mod (--set): is not a known key; did you mean cache.mode?"), "{text}");
    assert!(text.contains("kafka.partitions (--set): is 0, expected at least 1"), "{text}");

    let mut service = spawn("--set cache.mode=taken");
    assert_eq!(service.end().0, Some(2));
    assert!(service.seen.iter().any(|line| line == "cache.mode (--set): is taken"), "{:#?}", service.seen);
}

#[test]
fn a_taken_admin_port_ends_with_2_and_names_the_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut service = spawn(&format!("--set admin.listen={}", taken.local_addr().unwrap()));
    assert_eq!(service.end().0, Some(2));
    let text = service.seen.join("\n");
    assert!(text.contains("admin.listen (--set): ") && text.contains("FOREBAY__ADMIN__LISTEN"), "{text}");
}

#[test]
fn a_start_that_fails_ends_with_1() {
    let mut service = spawn("--set cache.mode=broken");
    assert_eq!(service.end().0, Some(1));
    let text = service.seen.join("\n");
    assert!(text.contains("no reason"), "{text}");
    let errors: Vec<_> = service.seen.iter().filter(|line| line.contains("\"ERROR\"")).collect();
    assert!(errors.len() == 1 && errors[0].contains("no reason"), "the cause must not be hidden: {errors:#?}");
}

#[test]
fn the_other_commands_answer_and_end() {
    let mut version = spawn("version");
    let (code, text) = version.end();
    assert!(code == Some(0) && text.contains(&format!("forebay-caching {}\n", env!("CARGO_PKG_VERSION"))), "{text}");

    let (code, text) = spawn("config show").end();
    assert!(code == Some(0) && text.contains("[cache]\nmode = \"idle\" "), "{text}");

    let both = [("KAFKA_BROKER", "old:1"), ("FOREBAY__KAFKA__BROKERS", "new:1")];
    let (code, text) = spawn_with("config check", &both).end();
    assert!(code == Some(0) && text.contains("the settings are in order"), "{text}");
    assert!(text.contains("warning: legacy variable KAFKA_BROKER is ignored"), "{text}");
    assert!(text.contains("memory of this process: "), "{text}");

    let mut service = spawn("");
    let admin = service.admin();
    let (code, text) = spawn(&format!("health --set admin.listen={admin}")).end();
    assert!(code == Some(0) && text.contains("\"status\":\"ready\""), "{text}");
    service.signal("TERM");
    assert_eq!(service.end().0, Some(0));
    let mut unanswered = spawn(&format!("health --set admin.listen={admin}"));
    assert_eq!(unanswered.end().0, Some(1));
    assert!(unanswered.seen.iter().any(|line| line.contains("does not answer")), "{:#?}", unanswered.seen);
}

#[test]
fn control_plane_spans_arrive_before_the_process_ends() {
    let (address, requests) = collector::grpc();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let mut service = spawn_with("--set cache.mode=traced", &environment);
    service.admin();
    service.signal("TERM");
    assert_eq!(service.end().0, Some(0), "{:#?}", service.seen);
    let spans = collector::spans(&requests);
    let names: Vec<_> = spans.iter().map(|(service, span)| (service.as_str(), span.name.as_str())).collect();
    assert_eq!(names, [("forebay-caching", "load model")]);
}

#[test]
fn an_endpoint_that_cannot_work_ends_with_2() {
    let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317");
    for (more, expected) in [
        (
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            "OTEL_EXPORTER_OTLP_ENDPOINT: uses https with http/protobuf",
        ),
        (
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/ca.pem"),
            "OTEL_EXPORTER_OTLP_CERTIFICATE: names /no/ca.pem, which cannot",
        ),
    ] {
        let mut service = spawn_with("run", &[https, more]);
        assert_eq!(service.end().0, Some(2));
        let text = service.seen.join("\n");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_file_is_named_by_flag_or_variable_and_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forebay.toml");
    std::fs::write(&path, "[cache]\nmode = \"from the file\"\n[http]\nlisten = \"0.0.0.0:8080\"\n").unwrap();
    let path = path.to_str().unwrap();
    for mut run in [
        spawn(&format!("config show --config {path}")),
        spawn_with("config show", &[("FOREBAY_CONFIG", path)]),
        spawn_with("config show", &[("FOREBAY__CACHE__MODE", "from the file")]),
    ] {
        let (code, text) = run.end();
        assert!(code == Some(0) && text.contains("mode = \"from the file\""), "{text}");
    }
    let mut missing = spawn("config check --config /does/not/exist.toml");
    assert_eq!(missing.end().0, Some(2));
    assert!(
        missing.seen.iter().any(|line| line.contains("/does/not/exist.toml: cannot be read")),
        "{:#?}",
        missing.seen
    );
}
