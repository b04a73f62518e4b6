//! A table of settings in layers: each case of `settings_table/cases.toml` has a file, variables and flags, and the expected
//! values that are not defaults with their origins, problems and warnings.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue stops")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use forebay_runtime::{DefaultSettings, Layers, Secret, duration, size};
use serde::Deserialize;

/// Sections that only this test has, so that the table depends on the layering and not on the settings that exist.
const DEFAULTS: DefaultSettings = DefaultSettings::new("test", include_str!("settings_table/settings.toml"));

/// Every section with the types that its values have to fit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for the checks, and shown by Layers::show")]
struct Cache {
    enabled: bool,
    capacity: u16,
    #[serde(with = "duration")]
    ttl: Duration,
    #[serde(with = "size")]
    max_body: u32,
    ratio: f64,
    kinds: Vec<String>,
    extra: Vec<String>,
    ports: Vec<u16>,
    mode: Mode,
    key_file: String,
    limits: Limits,
    models: BTreeMap<String, Model>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Off,
    Memory,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for the checks, and shown by Layers::show")]
struct Limits {
    rows: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "shown by Debug")]
struct Model {
    policy: Mode,
    weight: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for the checks, and shown by Layers::show")]
struct Redis {
    url: Secret,
    password: Secret,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for the checks, and shown by Layers::show")]
struct Kafka {
    brokers: String,
    consumer_group: String,
    create_topics: bool,
    partitions: i32,
    #[serde(with = "duration")]
    session_timeout: Duration,
    #[serde(with = "duration")]
    commit_interval: Duration,
    security_protocol: String,
    sasl_mechanism: String,
    username: String,
    password: Secret,
    options: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for the checks, and shown by Layers::show")]
struct Topics {
    requests_in: String,
    results_out: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for the checks, and shown by Layers::show")]
struct Models {
    registry: String,
    name: String,
    stage: String,
    username: String,
    password: Secret,
    token: Secret,
    server_cert: String,
    client_cert: String,
    insecure_tls: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for the checks, and shown by Layers::show")]
struct Admin {
    #[serde(with = "forebay_runtime::address")]
    listen: std::net::SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    file: String,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    expected: String,
}

#[derive(Debug, Deserialize)]
struct Table {
    case: Vec<Case>,
}

/// The result of a case: `key = value # origin` of what is not a default, `option` and `model` of what the sections
/// made of free-form tables, `!` a problem, `~` a warning. `DIR` stands for the folder of the files.
fn result(case: &Case, folder: &Path) -> String {
    let folder = folder.to_str().unwrap();
    let environment: Vec<_> =
        case.environment.iter().map(|(name, value)| (name.as_str(), value.replace("DIR", folder))).collect();
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let flags: Vec<_> = case.flags.iter().map(String::as_str).collect();
    let defaults = DefaultSettings { environment: forebay_bus::DEFAULTS.environment, ..DEFAULTS };
    let layers = Layers::from_parts(&[defaults], &case.file, &environment, &flags).unwrap();
    let mut problems = layers.problems();
    let cache = layers.section::<Cache>("cache", &mut problems);
    let kafka = layers.section::<Kafka>("kafka", &mut problems);
    layers.section::<Redis>("redis", &mut problems);
    layers.section::<Topics>("topics", &mut problems);
    layers.section::<Models>("models", &mut problems);
    layers.section::<Admin>("admin", &mut problems);
    if cache.as_ref().is_some_and(|cache| cache.capacity == 0) {
        problems.add("cache.capacity", "is 0, expected at least 1");
    }

    let (mut text, mut section, mut setting) = (String::new(), String::new(), String::new());
    for line in layers.show().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            continue;
        }
        setting.push_str(line); // text of several lines is shown as such
        let Some((assignment, origin)) = setting.rsplit_once(" # ") else { continue };
        if origin != "default" {
            writeln!(text, "{section}.{} # {origin}", assignment.trim_end()).unwrap();
        }
        setting.clear();
    }
    for (name, value) in kafka.iter().flat_map(|kafka| &kafka.options) {
        writeln!(text, "option {name} = {value}").unwrap();
    }
    for (name, model) in cache.iter().flat_map(|cache| &cache.models) {
        writeln!(text, "model {name} = {model:?}").unwrap();
    }
    for problem in problems.iter() {
        let origin = problem.origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
        writeln!(text, "! {}{origin}: {}", problem.key, problem.text).unwrap();
    }
    for warning in layers.warnings() {
        writeln!(text, "~ {warning}").unwrap();
    }
    text.replace(folder, "DIR")
}

#[test]
fn every_case_comes_to_what_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("password", "hunter2\n"),
        ("number", "7\r\n\n"),
        ("lines", "one\ntwo\n"),
        ("empty", ""),
        ("event_hub", "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=abc\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let table: Table = toml::from_str(include_str!("settings_table/cases.toml")).unwrap();
    let mut wrong = String::new();
    for case in &table.case {
        let result = result(case, folder.path());
        if result != case.expected {
            writeln!(wrong, "=== {}\n--- expected\n{}--- result\n{result}", case.name, case.expected).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(table.case.len() >= 80, "{} cases", table.case.len());
}
