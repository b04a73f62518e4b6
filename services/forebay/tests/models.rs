//! `forebay models` as a user runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use serde_json::Value;

fn models(args: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg("models").args(args);
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FOREBAY__") || key.starts_with("MLFLOW_")) {
        command.env_remove(key);
    }
    Ok(command.output()?)
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn the_sample_is_listed_shown_and_sound() -> Result<()> {
    let list = models(&["list"])?;
    ensure!(list.status.success(), "{}", err(&list));
    assert!(out(&list).starts_with("diabetes-rf-model\n  v1    sklearn      Archived\n"), "{}", out(&list));
    assert!(out(&list).contains("v3    burn         Production, champion"), "{}", out(&list));
    let json: Value = serde_json::from_slice(&models(&["list", "--json"])?.stdout)?;
    assert_eq!(json[0]["versions"][2]["default"], true);

    for model in [vec!["show", "diabetes-rf-model", "v1"], vec!["show", "models:/diabetes-rf-model/1"]] {
        let show = models(&model)?;
        assert!(show.status.success() && out(&show).contains("TreeEnsemble(100 trees"), "{}{}", out(&show), err(&show));
        assert!(out(&show).contains("-> 186.26"), "{}", out(&show));
    }
    let default: Value = serde_json::from_slice(&models(&["show", "diabetes-rf-model", "--json"])?.stdout)?;
    assert_eq!((&default["task"], &default["ok"]), (&Value::from("regression"), &Value::from(true)));

    let check = models(&["check"])?;
    assert!(check.status.success(), "{}", out(&check));
    assert!(
        line_of(&out(&check), "diabetes-rf-model v1: ").starts_with("equal ")
            && out(&check).contains("equal to the bit"),
        "{}",
        out(&check)
    );
    assert!(out(&check).ends_with("3 checked, 3 equal, 0 failed\n"), "{}", out(&check));
    Ok(())
}

/// The line of a table that has `text`.
fn line_of<'t>(table: &'t str, text: &str) -> &'t str {
    table.lines().find(|line| line.contains(text)).unwrap_or_default()
}

#[test]
fn each_version_of_a_registry_has_a_verdict_and_a_cost() -> Result<()> {
    let root = tempfile::tempdir()?;
    for version in ["m/1", "m/2", "m/3"] {
        copy(&root.path().join(version))?;
    }
    let answers = |version: &str| root.path().join(version).join("example_output.json");
    std::fs::remove_file(answers("m/2"))?;
    // rows that the file itself has: one of the example's, with its answer and with another
    let example: Value = serde_json::from_slice(&std::fs::read(root.path().join("m/1/input_example.json"))?)?;
    let row = example.get("data").unwrap_or(&example)[0].clone();
    let own: Vec<f64> = serde_json::from_slice(&std::fs::read(answers("m/1"))?)?;
    for (version, answer) in [("m/1", own[0]), ("m/3", own[0] + 1.0)] {
        let drawn = serde_json::json!({ "rows": [row], "predictions": [answer] });
        std::fs::write(answers(version), serde_json::json!({ "predictions": own, "drawn": drawn }).to_string())?;
    }
    let folder = root.path().display().to_string();
    let check = models(&["check", &folder])?;
    let text = out(&check);
    for (name, verdict) in [("m v1: ", "equal "), ("m v2: ", "runs, not compared "), ("m v3: ", "FAILED ")] {
        assert!(line_of(&text, name).starts_with(verdict), "{text}");
    }
    assert!(line_of(&text, "m v1: ").contains("1 of them drawn"), "{text}");
    assert!(line_of(&text, "m v3: ").contains("answers row 0 of those drawn"), "{text}");
    let json: Value = serde_json::from_slice(&models(&["check", "--json", &folder])?.stdout)?;
    for (version, verdict) in [(0, "equal"), (1, "runs, not compared"), (2, "FAILED")] {
        assert_eq!(json[version]["verdict"], verdict, "{json}");
    }
    assert!(json[0]["row_us"].as_f64().is_some_and(|us| us > 0.0), "{json}");
    assert!(
        json[0]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0) || cfg!(not(target_os = "linux")),
        "{json}"
    );
    assert!(json[2]["row_us"].is_null(), "{json}");
    Ok(())
}

/// A copy of the sample's forest in a folder of its own.
fn copy(to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for file in ["MLmodel", "model.skops", "input_example.json", "example_output.json"] {
        std::fs::copy(repository("shared/model/sample/diabetes-rf-model/1").join(file), to.join(file))?;
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_a_version_is_said_and_counts() -> Result<()> {
    let root = tempfile::tempdir()?;
    for version in ["m/1", "m/2", "m/3"] {
        copy(&root.path().join(version))?;
    }
    let whole = std::fs::read(root.path().join("m/2/model.skops"))?;
    std::fs::write(root.path().join("m/2/model.skops"), &whole[..whole.len() / 2])?;
    let answers: Vec<f64> = serde_json::from_slice(&std::fs::read(root.path().join("m/3/example_output.json"))?)?;
    let other: Vec<f64> = answers.iter().map(|v| v.next_up()).collect();
    std::fs::write(root.path().join("m/3/example_output.json"), serde_json::to_vec(&other)?)?;

    let folder = root.path().display().to_string();
    for args in [vec!["check", &folder], vec!["check", "--registry", &format!("file:{folder}")]] {
        let check = models(&args)?;
        assert_eq!(check.status.code(), Some(1));
        let text = out(&check);
        assert!(
            line_of(&text, "m v1: ").starts_with("equal ")
                && ["m v2: ", "m v3: "].iter().all(|name| line_of(&text, name).starts_with("FAILED ")),
            "{text}"
        );
        assert!(text.ends_with("3 checked, 1 equal, 2 failed\n"), "{text}");
    }
    let json: Value = serde_json::from_slice(&models(&["check", "--json", &folder])?.stdout)?;
    assert_eq!((&json[0]["ok"], &json[1]["ok"], &json[2]["ok"]), (&true.into(), &false.into(), &false.into()));
    assert!(json[1]["error"].as_str().is_some_and(|e| e.contains("model.skops")), "{json}");

    let mixed = models(&["check", &format!("{folder}/m/1"), "no/such/model"])?;
    assert!(
        mixed.status.code() == Some(1) && out(&mixed).ends_with("2 checked, 1 equal, 1 failed\n"),
        "{}",
        out(&mixed)
    );
    let show = models(&["show", &format!("{folder}/m/2")])?;
    assert!(show.status.code() == Some(1) && out(&show).contains("FAILED"), "{}", out(&show));
    Ok(())
}

#[test]
fn what_is_no_model_is_explained() -> Result<()> {
    let nonsense = models(&["list", "--registry", "nonsense"])?;
    assert_eq!(nonsense.status.code(), Some(2), "as for any setting");
    assert!(err(&nonsense).contains("is \"nonsense\", expected \"sample\""), "{}", err(&nonsense));
    let empty = tempfile::tempdir()?;
    let nothing = models(&["check", "--registry", &format!("file:{}", empty.path().display())])?;
    assert!(nothing.status.code() == Some(1) && err(&nothing).contains("no model to check"), "{}", err(&nothing));
    for (args, text) in [
        (vec!["show", "absent"], "has no model \"absent\""),
        (vec!["show", "no/such.onnx"], "no such file or folder"),
        (vec!["show", "diabetes-rf-model", "v9"], "no version, alias or stage \"v9\""),
        (vec!["show", "models:/diabetes-rf-model/1", "2"], "stands in the address already"),
        (vec!["list", "no/such/folder"], "no such file or folder"),
        (vec!["list", "--registry", "file:no/such"], "no such folder"),
    ] {
        let output = models(&args)?;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!((err(&output) + &out(&output)).contains(text), "{args:?}: {}{}", err(&output), out(&output));
    }
    Ok(())
}
