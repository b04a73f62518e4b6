//! `forebay up --model`: model files are answered by the request that the banner shows, and a file that changes is
//! served again.
#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const ROW: [&str; 10] = ["0.038", "0.051", "0.062", "0.022", "-0.044", "-0.035", "-0.043", "-0.003", "0.02", "-0.018"];

struct Mesh {
    process: Child,
    url: String,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn forebay(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// Starts `up` with these arguments, and reads its banner up to the address.
fn up(args: &[&str]) -> Mesh {
    let free = ["--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", "--set"];
    let mut command = forebay(&["up"]);
    command.args(free).arg("models.refresh=200ms").args(args).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let shown: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.starts_with("  health")).collect();
    let url = shown.iter().find_map(|line| line.trim().strip_prefix("http     ")?.split("/v1/").next());
    let url = url.unwrap_or_else(|| panic!("{shown:#?}")).to_owned();
    Mesh { process, url }
}

impl Mesh {
    fn predict(&self, more: &[&str]) -> Output {
        forebay(&["predict", "--url", &self.url]).args(more).args(ROW).output().unwrap()
    }

    /// Waits until the answer contains `part`.
    fn answers(&self, more: &[&str], part: &str) {
        let begin = Instant::now();
        loop {
            let output = self.predict(more);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && said.contains(part) {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "no {part}: {said} {}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn sample(path: &str) -> String {
    format!("{}/../../shared/model/sample/diabetes-rf-model/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Copies the files of a version of the sample into a folder, in this order.
fn copy(version: u32, files: &[&str], to: &Path) {
    for file in files {
        std::fs::copy(sample(&format!("{version}/{file}")), to.join(file)).unwrap();
    }
}

#[test]
fn files_and_folders_are_served_under_their_names() {
    let folder = tempfile::tempdir().unwrap();
    copy(1, &["model.skops"], folder.path());
    let file = folder.path().join("model.skops");
    let mesh = up(&["--model", file.to_str().unwrap(), "--model", &sample("2"), "--name", "one", "--name", "two"]);
    mesh.answers(&[], r#""prediction":186.26"#);
    mesh.answers(&["--model", "two"], r#""prediction":208.0"#);
    mesh.answers(&["--model", "one"], r#""model":"one""#);
}

#[test]
fn what_changes_is_served_once_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    copy(1, &["MLmodel", "model.skops", "input_example.json", "example_output.json"], folder.path());
    let mesh = up(&["--model", folder.path().to_str().unwrap(), "--name", "changing"]);
    mesh.answers(&[], r#""prediction":186.26"#);
    // the writer is slow, and stops in the middle for longer than a file has to stand still
    let (whole, file) = (std::fs::read(sample("2/model.onnx")).unwrap(), folder.path().join("model.onnx"));
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    copy(2, &["input_example.json", "example_output.json", "MLmodel"], folder.path());
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2_500) {
        let said = String::from_utf8_lossy(&mesh.predict(&[]).stdout).into_owned();
        assert!(said.contains(r#""prediction":186.26"#), "the old model answers: {said}");
    }
    std::fs::write(&file, &whole).unwrap();
    mesh.answers(&[], r#""prediction":208.0"#);
    // a file that is taken away is no reason to forget what was read of it
    std::fs::remove_dir_all(folder.path()).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1_500) {
        let said = String::from_utf8_lossy(&mesh.predict(&[]).stdout).into_owned();
        assert!(said.contains(r#""prediction":208.0"#), "what was read answers: {said}");
    }
}

#[test]
fn the_only_model_of_a_registry_is_the_default_one() {
    let folder = tempfile::tempdir().unwrap();
    let version = folder.path().join("forest/1");
    std::fs::create_dir_all(&version).unwrap();
    for file in ["MLmodel", "model.skops", "input_example.json"] {
        std::fs::copy(sample(&format!("1/{file}")), version.join(file)).unwrap();
    }
    let registry = format!("models.registry=file:{}", folder.path().display());
    up(&["--set", &registry]).answers(&[], r#""model":"forest""#);
}

#[test]
fn what_cannot_be_served_ends_the_start_with_its_reason() {
    let output = forebay(&["up", "--model", "no/such.pkl"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no/such.pkl: no such file or folder"), "{said}");
    for (model, reason) in [
        ("models:/diabetes-rf-model/9", "has no version, alias or stage \"9\""),
        ("models:/diabetes-rf-model@nope", "has no version, alias or stage \"nope\""),
        ("models:/absent", "has no model \"absent\""),
    ] {
        let output = forebay(&["up", "--model", model]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(reason), "{model}: {said}");
    }
}
