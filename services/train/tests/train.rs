//! The trainer as people run it: files in, a model folder out that the serving crate reads.
#![cfg(test)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use forebay_model::{Label, Rows, Task, load_folder};
use forebay_registry::Registry;
use serde_json::Value;

const QUICK: [&str; 6] = ["--epochs", "4", "--hidden", "8", "--folds", "3"];

fn trainer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay-train"));
    for name in ["MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"] {
        command.env_remove(name);
    }
    command
}

fn train(arguments: &[&str]) -> Output {
    trainer().args(arguments).output().unwrap()
}

fn good(arguments: &[&str]) -> String {
    let out = train(arguments);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Exit code and standard error.
fn bad(arguments: &[&str]) -> (i32, String) {
    let out = train(arguments);
    (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_bundled_data_becomes_a_model_as_good_as_ridge() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let printed = good(&["--output", text(&folder)]);
    assert!(printed.contains("MLP 64-64") && printed.contains("ridge (alpha 1)"), "{printed}");
    let metrics = json(&folder.join("metrics.json"));
    let r2 = |who: &str| metrics["evaluation"][who]["r2"]["mean"].as_f64().unwrap();
    assert!((0.45..0.56).contains(&r2("mlp")), "{printed}");
    assert!((0.46..0.52).contains(&r2("ridge")), "{printed}");
    assert!(r2("mean") < 0.0, "{printed}");
    assert_eq!(metrics["epochs"].as_array().unwrap().len(), 30);
    let loaded = load_folder(&folder).unwrap();
    assert_eq!(loaded.model.ops(), ["Scale", "Linear(10x64)", "Relu", "Linear(64x64)", "Relu", "Linear(64x1)"]);
    assert!(!loaded.accepts_missing, "the data has no missing values");
    let examples: Vec<f64> = loaded.numeric_example().unwrap().concat();
    let scores = loaded.predict_raw(Rows::new(10, &examples).unwrap()).unwrap();
    let expected = json(&folder.join("example_output.json"));
    for (got, want) in scores.values.iter().zip(expected.as_array().unwrap()) {
        let want = want.as_f64().unwrap();
        assert!((got - want).abs() <= 1e-5 * want.abs() + 1e-5, "{got} {want}");
    }
    assert_eq!(scores.len(), 5);
}

#[test]
fn the_same_seed_gives_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str, seed: &str| {
        let folder = dir.path().join(name);
        good(&[&QUICK[..], &["--seed", seed, "--output", text(&folder)]].concat());
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files.iter().map(|f| (f.file_name().unwrap().to_owned(), std::fs::read(f).unwrap())).collect::<Vec<_>>()
    };
    let (first, again, other) = (made("a", "7"), made("b", "7"), made("c", "8"));
    assert_eq!(first, again);
    assert_eq!(first.len(), 6);
    let net = |files: &[(std::ffi::OsString, Vec<u8>)]| files.iter().find(|f| f.0 == "model.bpk").unwrap().1.clone();
    assert_ne!(net(&first), net(&other));
}

/// `y = 3 a - 2 b + 100`, with a hole in every fifth `a`.
fn holes() -> String {
    let mut csv = "a,b,price\n".to_owned();
    for i in 0..60 {
        let (a, b) = (f64::from(i % 12), f64::from(i * 7 % 13));
        let hole = if i % 5 == 0 { String::new() } else { a.to_string() };
        let _ = writeln!(csv, "{hole},{b},{}", 3.0 * a - 2.0 * b + 100.0);
    }
    csv
}

#[test]
fn empty_cells_are_filled_by_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let (data, folder) = (dir.path().join("holes.csv"), dir.path().join("model"));
    std::fs::write(&data, holes()).unwrap();
    good(&[&QUICK[..], &["--data", text(&data), "--save", "ridge", "--output", text(&folder)]].concat());
    let loaded = load_folder(&folder).unwrap();
    assert!(loaded.accepts_missing);
    assert_eq!(loaded.model.ops(), ["Impute", "Scale", "Linear(2x1)"]);
    let answer = |a: f64, b: f64| loaded.predict_raw(Rows::new(2, &[a, b]).unwrap()).unwrap().values[0];
    let mean: Vec<f64> = (0..60).filter(|i| i % 5 != 0).map(|i| f64::from(i % 12)).collect();
    let mean = mean.iter().sum::<f64>() / mean.len() as f64;
    assert!((answer(f64::NAN, 4.0) - answer(mean, 4.0)).abs() < 1e-4);
    assert!(answer(10.0, 1.0) > answer(1.0, 10.0) + 30.0);
    let example = json(&folder.join("input_example.json"));
    assert_eq!(example["columns"], serde_json::json!(["a", "b"]));
    assert_eq!(json(&folder.join("training.json"))["data"]["missing_values"], true);
}

/// Three clouds in the plane.
fn clouds(classes: usize) -> String {
    let mut csv = "x,y,kind\n".to_owned();
    for i in 0..90 {
        let class = i % classes;
        let turn = f64::from(i as u32) * 2.4;
        let (cx, cy) = [(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)][class];
        let _ = writeln!(csv, "{},{},{}", cx + turn.sin(), cy + turn.cos(), ["ant", "bee", "cow"][class]);
    }
    csv
}

#[test]
fn classes_are_learnt_with_probabilities() {
    let dir = tempfile::tempdir().unwrap();
    for (classes, save) in [(2, "mlp"), (3, "mlp"), (3, "ridge"), (2, "best")] {
        let (data, folder) = (dir.path().join("clouds.csv"), dir.path().join(format!("{classes}{save}")));
        std::fs::write(&data, clouds(classes)).unwrap();
        let fit = ["--epochs", "30", "--hidden", "16", "--folds", "3", "--learning-rate", "0.01"];
        let rest = ["--data", text(&data), "--target", "kind", "--save", save, "--output", text(&folder)];
        let printed = good(&[&fit[..], &rest].concat());
        assert!(printed.contains("accuracy") && printed.contains("logistic"), "{printed}");
        let loaded = load_folder(&folder).unwrap();
        let signature = loaded.model.signature();
        assert_eq!((signature.task, signature.labels.len()), (Task::Classification, classes));
        for (label, row) in [("ant", [0.1, 0.2]), ("bee", [4.1, 0.1]), ("cow", [0.2, 4.3])].iter().take(classes) {
            let score = loaded.predict_raw(Rows::new(2, row).unwrap()).unwrap().score(0);
            assert_eq!(score.label.as_ref().and_then(Label::as_text), Some(*label), "{printed}");
            assert!((score.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6);
            assert!(score.probabilities.iter().any(|p| *p > 0.6), "{:?}", score.probabilities);
        }
        let expected = json(&folder.join("example_output.json"));
        assert_eq!(expected["predictions"][0], "ant");
        assert_eq!(expected["probabilities"][0].as_array().unwrap().len(), classes);
    }
}

#[test]
fn a_folder_registry_gets_the_next_version() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("registry");
    for _ in 0..2 {
        let place = ["--output", text(&root), "--register", "diabetes", "--alias", "champion", "--stage", "Production"];
        good(&[&QUICK[..], &place].concat());
    }
    let registry = Registry::open(&format!("file:{}", root.display())).unwrap();
    let view = registry.model("diabetes").unwrap();
    assert_eq!(view.versions.iter().map(|v| v.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((view.aliases["champion"], view.resolve(None).unwrap().version), (2, 2));
    assert_eq!(view.version(1).unwrap().stage.as_deref(), Some("Archived"));
    assert_eq!(registry.load("diabetes", 2, forebay_model::open).unwrap().signature.features[2], "bmi");
}

#[test]
fn mistakes_are_reported_before_any_training() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("bad.csv");
    let case = |csv: &str, more: &[&str]| {
        std::fs::write(&data, csv).unwrap();
        bad(&[&["--data", text(&data)], more].concat())
    };
    for (csv, what) in [
        ("a,b\n1,2\nred,4\n", "bad.csv: line 3, column \"a\": \"red\" is not a number"),
        ("a,b\n1,2\n3\n", "line 3: has 1 values"),
        ("a,b\n1,2\n3,4\n", "has 2 rows, 5 folds need at least 10"),
        ("", "0 column"),
    ] {
        let (code, error) = case(csv, &[]);
        assert!(code == 2 && error.contains(what), "{csv:?}: {code} {error}");
    }
    let constant = "a,y\n".to_owned() + &"1,2\n".repeat(20);
    assert!(case(&constant, &[]).1.contains("nothing to learn"));
    let names = "a,y\n".to_owned() + &"1,x\n2,z\n".repeat(20);
    assert!(case(&names, &["--task", "regression"]).1.contains("line 2, column \"y\": \"x\" is no finite number"));
    assert!(bad(&["--data", "no/such.csv"]).1.contains("no/such.csv"));
    assert!(bad(&["--register", "m"]).1.contains("--register needs"));
    assert!(bad(&["--register", "m", "--registry", "ftp://x"]).1.contains("ftp://x"));
    let taken = dir.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("notes.txt"), "precious").unwrap();
    assert!(bad(&["--output", text(&taken)]).1.contains("--force"));
    assert!(bad(&["--output", text(&taken), "--force"]).1.contains("no model folder"));
    assert!(taken.join("notes.txt").exists());
    let (code, error) = bad(&["--epochs", "20", "--learning-rate", "1e30", "--hidden", "8", "--folds", "2"]);
    assert!(code == 1 && error.contains("diverged"), "{code} {error}");
}

#[test]
fn force_replaces_a_model_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    good(&[&QUICK[..], &["--output", text(&folder)]].concat());
    let before = std::fs::read(folder.join("model.bpk")).unwrap();
    good(&[&QUICK[..], &["--seed", "9", "--output", text(&folder), "--force"]].concat());
    assert_ne!(std::fs::read(folder.join("model.bpk")).unwrap(), before);
    assert_eq!(dir.path().read_dir().unwrap().count(), 1, "nothing is left over");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_training_and_leaves_nothing() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let mut command = trainer();
    command.args(["--epochs", "100000", "--output", text(&folder)]).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("training on 442 rows"));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let patience = Instant::now() + Duration::from_secs(30);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > patience {
            child.kill().unwrap();
            panic!("still running");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(130));
    assert!(lines.any(|l| l.unwrap().contains("nothing was kept")));
    assert!(dir.path().read_dir().unwrap().next().is_none());
}
