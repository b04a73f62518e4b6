//! `forebay score` as a user runs it: files and pipes in, JSON lines out, exit codes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

const NAMES: [&str; 10] = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"];

fn forebay(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg("score").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FOREBAY__") || key.starts_with("MLFLOW_")) {
        command.env_remove(key);
    }
    command
}

/// Runs it to the end with `input` on standard input.
fn run(args: &[&str], input: &[u8]) -> Result<Output> {
    let mut child = forebay(args).spawn()?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    // a run that stops early does not read everything
    let _ = writer.join();
    Ok(output)
}

fn lines(output: &Output) -> Result<Vec<Value>> {
    let text = std::str::from_utf8(&output.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn json(path: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(repository(path))?)?)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

/// The sample's rows, and what version `version` must answer.
fn sample(version: &str) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
    let golden = json("shared/model/sample/diabetes-rf-model/expected.json")?;
    let rows = golden["rows"].as_array().context("rows")?.iter().map(numbers).collect();
    Ok((rows, numbers(&golden["versions"][version]["predict"])))
}

/// A table with the columns turned around, one that is no feature among them.
fn table(rows: &[Vec<f64>], end: &str) -> String {
    let mut text = NAMES.iter().rev().fold("patient".to_owned(), |text, name| format!("{text},{name}")) + end;
    for (index, row) in rows.iter().enumerate() {
        text += &format!("\"P, {index}\"");
        text = row.iter().rev().fold(text, |text, value| format!("{text},{value}")) + end;
    }
    text
}

fn predictions(output: &Output) -> Result<Vec<f64>> {
    Ok(lines(output)?.iter().map(|line| line["prediction"].as_f64().unwrap_or(f64::NAN)).collect())
}

const FOREST: &str = "models:/diabetes-rf-model/1";
/// The mesh's own rule; the forest could route missing values.
const REJECT: &str = "preprocessing.missing=reject";

#[test]
fn a_table_and_json_lines_give_the_bits_of_python() -> Result<()> {
    let (rows, expected) = sample("1")?;
    let csv = format!("\u{feff}{}", table(&rows, "\r\n"));
    let wrapped: String = rows.iter().map(|row| format!("{{\"features\": {row:?}}}\n\n")).collect();
    let bare: String = rows.iter().map(|row| format!("{row:?}\n")).collect();
    let named = rows.iter().map(|row| {
        let fields: Vec<String> =
            NAMES.iter().zip(row).rev().map(|(name, value)| format!("\"{name}\":{value:?}")).collect();
        format!("{{{}}}\n", fields.join(","))
    });
    for (form, input) in [("csv", csv), ("wrapped", wrapped), ("bare", bare), ("named", named.collect::<String>())] {
        for batch in ["1", "5", "1024"] {
            let output = run(&["--model", FOREST, "--batch", batch], input.as_bytes())?;
            ensure!(output.status.success(), "{form}: {}", said(&output));
            assert_eq!(predictions(&output)?, expected, "{form}, batches of {batch}");
            assert_eq!(said(&output).contains("ignored: patient"), form == "csv", "{}", said(&output));
        }
    }
    Ok(())
}

#[test]
fn every_kind_of_model_and_address() -> Result<()> {
    let sample_folder = repository("shared/model/sample");
    let at = |path: &str| sample_folder.join(path).display().to_string();
    let registry = format!("file:{}", sample_folder.display());
    for (version, model) in [
        ("1", at("diabetes-rf-model/1")),
        ("1", at("diabetes-rf-model/1/model.skops")),
        ("2", at("diabetes-rf-model/2/model.onnx")),
        ("2", "models:/diabetes-rf-model/staging".to_owned()),
        ("3", at("diabetes-rf-model/3")),
        ("3", "models:/diabetes-rf-model@champion".to_owned()),
        ("3", "models:/diabetes-rf-model".to_owned()),
    ] {
        let (rows, expected) = sample(version)?;
        // a model file by itself may know no names; columns then count by position, so no extra ones and in order
        let mut csv = NAMES.join(",") + "\n";
        csv.extend(rows.iter().map(|row| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",") + "\n"));
        let output = run(&["--model", &model, "--registry", &registry], csv.as_bytes())?;
        ensure!(output.status.success(), "{model}: {}", said(&output));
        let got = predictions(&output)?;
        assert_eq!(got.len(), expected.len());
        let tolerance = if version == "1" { 0.0 } else { 2e-6 };
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * (1.0 + b.abs());
        assert!(got.iter().zip(&expected).all(close), "{model}: {got:?} {expected:?}");
    }
    Ok(())
}

#[test]
fn classes_are_what_they_are_in_the_model() -> Result<()> {
    for (case, numeric) in [("tree_clf_named", false), ("gb_clf_multi", true)] {
        let golden = json(&format!("shared/model/tests/golden/classes/{case}.expected.json"))?;
        let model = repository(&format!("shared/model/tests/golden/classes/{case}")).display().to_string();
        let rows = golden["rows"].as_array().context("rows")?;
        let input: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let output = run(&["--model", &model, "--format", "jsonl"], input.as_bytes())?;
        ensure!(output.status.success(), "{case}: {}", said(&output));
        let answers = lines(&output)?;
        let expected = golden["predict"].as_array().context("predict")?;
        assert_eq!(answers.len(), expected.len());
        for (answer, expected) in answers.iter().zip(expected) {
            let prediction = &answer["prediction"];
            assert!(if numeric { prediction.is_i64() } else { prediction.is_string() }, "{case}: {answer}");
            assert_eq!(prediction, expected, "{case}");
            let sum: f64 = numbers(&answer["probabilities"]).iter().sum();
            assert!((sum - 1.0).abs() < 1e-9, "{case}: {answer}");
        }
    }
    Ok(())
}

#[test]
fn a_row_that_cannot_be_answered_does_not_stop_the_others() -> Result<()> {
    let (rows, expected) = sample("1")?;
    let good = |row: &[f64]| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
    let csv = [
        NAMES.join(","),
        good(&rows[0]),
        format!("{},abc", good(&rows[1][..9])),
        format!("{},", good(&rows[1][..9])),
        String::new(),
        good(&rows[1][..9]),
        format!("{},NaN", good(&rows[1][..9])),
        format!("{},1e999", good(&rows[1][..9])),
        good(&rows[1]),
    ]
    .join("\n");
    let output = run(&["--model", FOREST, "--set", REJECT], csv.as_bytes())?;
    ensure!(output.status.success(), "{}", said(&output));
    let answers = lines(&output)?;
    let errors: Vec<(u64, &str, &str)> = answers
        .iter()
        .filter_map(|line| line.get("error"))
        .map(|e| {
            (e["line"].as_u64().unwrap_or(0), e["code"].as_str().unwrap_or(""), e["message"].as_str().unwrap_or(""))
        })
        .collect();
    let code = "invalid_features";
    let finite = "is not a finite number; an empty cell stands for a missing value";
    assert_eq!(
        errors,
        [
            (3, code, "feature s6: \"abc\" is not a number"),
            (4, code, "feature s6 is missing and cannot be filled in"),
            (6, code, "9 fields, the header has 10"),
            (7, code, format!("feature s6: \"NaN\" {finite}").as_str()),
            (8, code, format!("feature s6: \"1e999\" {finite}").as_str()),
        ]
    );
    assert_eq!((answers.len(), &answers[0]["prediction"]), (7, &Value::from(expected[0])));
    assert_eq!(answers[6]["prediction"], Value::from(expected[1]));
    assert!(
        said(&output).contains("7 rows in") && said(&output).contains("5 failed, the first on line 3"),
        "{}",
        said(&output)
    );
    assert_eq!(run(&["--model", FOREST, "--set", REJECT, "--strict"], csv.as_bytes())?.status.code(), Some(1));
    Ok(())
}

#[test]
fn json_lines_that_are_no_rows_are_named() -> Result<()> {
    let input = "[1, 2]\nhello\n{\"features\": [1,2,3,4,5,6,7,8,9,null]}\n{\"age\": 1}\n[[1],[2]]\n\n{\"colour\": 1}";
    let output = run(&["--model", FOREST, "--format", "jsonl", "--set", REJECT], input.as_bytes())?;
    ensure!(output.status.success(), "{}", said(&output));
    let answers = lines(&output)?;
    let error_of = |index: usize| {
        let error = &answers[index]["error"];
        format!(
            "{} {} {}",
            error["line"],
            error["code"].as_str().unwrap_or(""),
            error["message"].as_str().unwrap_or("")
        )
    };
    assert!(error_of(0).starts_with("1 invalid_features expected 10 features"), "{}", error_of(0));
    assert!(error_of(1).starts_with("2 invalid_request not JSON"), "{}", error_of(1));
    assert!(error_of(2).starts_with("3 invalid_features feature s6 is missing"), "{}", error_of(2));
    assert!(error_of(3).starts_with("4 invalid_features features sex, bmi"), "{}", error_of(3));
    assert!(error_of(4).starts_with("5 payload_too_large features: more than one row"), "{}", error_of(4));
    assert!(error_of(5).starts_with("7 invalid_features unknown feature \"colour\""), "{}", error_of(5));
    assert_eq!(answers.len(), 6);
    Ok(())
}

#[test]
fn a_missing_value_is_filled_in_where_the_model_says_how() -> Result<()> {
    let golden = json("shared/model/tests/golden/mlflow/imputer_scaler_ridge.skops.expected.json")?;
    let rows = golden["rows"].as_array().context("rows")?;
    let model = repository("shared/model/tests/golden/mlflow/imputer_scaler_ridge.skops").display().to_string();
    let gap = rows.iter().position(|row| row.as_array().into_iter().flatten().any(Value::is_null)).context("a gap")?;
    let width = rows[gap].as_array().context("row")?.len();
    let input: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let output = run(&["--model", &model], input.as_bytes())?;
    let from_json = predictions(&output)?;
    assert_eq!(from_json.len(), rows.len());
    for (got, expected) in from_json.iter().zip(numbers(&golden["predict"])) {
        assert!((got - expected).abs() <= 1e-9 * (1.0 + expected.abs()), "{got} {expected}");
    }
    // the same gap as an empty cell
    let show = forebay_model::load_folder(Path::new(&model))?;
    assert_eq!(show.signature.width(), width);
    let cell = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
    let row: Vec<String> = rows[gap].as_array().context("row")?.iter().map(cell).collect();
    let csv = format!("{}\n{}\n", show.signature.features.join(","), row.join(","));
    assert_eq!(predictions(&run(&["--model", &model], csv.as_bytes())?)?, [from_json[gap]]);
    Ok(())
}

#[test]
fn what_cannot_be_used_is_said_before_the_first_row() -> Result<()> {
    let (rows, _) = sample("1")?;
    let values: Vec<String> = rows[0].iter().map(f64::to_string).collect();
    for (args, input, code, text) in [
        (vec!["--model", FOREST], "age,sex\n1,2\n".to_owned(), 1, "the input: the header lacks bmi, bp"),
        (vec!["--model", FOREST], format!("{}\n", values.join(",")), 1, "holds numbers, not names"),
        (vec!["--model", FOREST, "--format", "csv"], String::new(), 1, "no header line"),
        (vec!["--model", FOREST], NAMES.join(";"), 1, "--delimiter"),
        (vec!["--model", FOREST, "--input", "no/such.csv"], String::new(), 1, "no/such.csv: No such file"),
        (vec!["--model", "no/such/model"], String::new(), 1, "no such file or folder"),
        (vec!["--model", "models:/absent/1"], String::new(), 1, "absent"),
        (vec!["--model", "models:/diabetes-rf-model/9"], String::new(), 1, "no version 9"),
        (vec!["--model", FOREST, "--registry", "nonsense"], String::new(), 2, "is \"nonsense\", expected"),
        (vec!["--model", FOREST, "--batch", "0"], String::new(), 2, "--batch"),
        (vec!["--model", FOREST, "--format", "xml"], String::new(), 2, "possible values"),
    ] {
        let output = run(&args, input.as_bytes())?;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(text), "{args:?}: {}", said(&output));
        assert!(output.stdout.is_empty());
    }
    let utf16 = run(&["--model", FOREST], b"\xff\xfea\0,\0")?;
    assert!(said(&utf16).contains("UTF-16"), "{}", said(&utf16));
    Ok(())
}

#[test]
fn files_in_and_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (rows, expected) = sample("1")?;
    let input = folder.path().join("rows.csv");
    std::fs::write(&input, table(&rows, "\n"))?;
    let (input, output) = (input.display().to_string(), folder.path().join("answers.jsonl").display().to_string());
    let run_with = |output: &str| run(&["--model", FOREST, "--input", &input, "--output", output], b"");
    let done = run_with(&output)?;
    ensure!(done.status.success() && done.stdout.is_empty(), "{}", said(&done));
    let written = std::fs::read_to_string(&output)?;
    let first: Value = serde_json::from_str(written.lines().next().context("a line")?)?;
    assert_eq!((written.lines().count(), first["prediction"].as_f64()), (rows.len(), Some(expected[0])));
    let itself = run_with(&input)?;
    assert!(!itself.status.success() && said(&itself).contains("is the input as well"), "{}", said(&itself));
    assert_eq!(std::fs::read_to_string(&input)?, table(&rows, "\n"));
    Ok(())
}

/// Ends a child that a failed test leaves behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ends_within(child: &mut Child, limit: Duration) -> Result<std::process::ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if began.elapsed() > limit {
            bail!("did not end within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_first_line_that_is_shorter_than_the_mark_of_any_format_is_answered() -> Result<()> {
    for flags in [&["--model", FOREST][..], &["--model", FOREST, "--format", "jsonl"]] {
        let mut child = Running(forebay(flags).spawn()?);
        let mut stdin = child.0.stdin.take().context("stdin")?;
        let stdout = child.0.stdout.take().context("stdout")?;
        let (sender, answers) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(BufReader::new(stdout).lines().next()));
        writeln!(stdin, "[1]")?;
        stdin.flush()?;
        // one value is too few for this model, which is an answer as well
        let line =
            answers.recv_timeout(Duration::from_secs(30)).context("an answer before the end")?.context("a line")??;
        assert!(serde_json::from_str::<Value>(&line)?["error"].is_object(), "{line}");
        drop(stdin);
        ends_within(&mut child.0, Duration::from_secs(30))?;
    }
    Ok(())
}

#[test]
fn a_slow_pipe_is_answered_row_by_row() -> Result<()> {
    let (rows, expected) = sample("1")?;
    let mut child = Running(forebay(&["--model", FOREST]).spawn()?);
    let mut stdin = child.0.stdin.take().context("stdin")?;
    let stdout = child.0.stdout.take().context("stdout")?;
    let (sender, answers) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let _ = sender.send(line);
        }
    });
    for (row, expected) in rows.iter().zip(&expected).take(3) {
        writeln!(stdin, "{row:?}")?;
        stdin.flush()?;
        let line = answers.recv_timeout(Duration::from_secs(30)).context("an answer before the next row")??;
        assert_eq!(serde_json::from_str::<Value>(&line)?["prediction"].as_f64(), Some(*expected));
    }
    drop(stdin);
    assert!(ends_within(&mut child.0, Duration::from_secs(30))?.success());
    Ok(())
}

#[test]
fn absent_reads_on_is_no_error_and_no_noise() -> Result<()> {
    let (rows, _) = sample("1")?;
    let mut child = Running(forebay(&["--model", FOREST, "--batch", "1"]).spawn()?);
    let mut stdin = child.0.stdin.take().context("stdin")?;
    // the pipe in stays open: the end must not wait for it
    writeln!(stdin, "{:?}", rows[0])?;
    let mut stdout = BufReader::new(child.0.stdout.take().context("stdout")?);
    stdout.read_line(&mut String::new())?;
    drop(stdout);
    writeln!(stdin, "{:?}", rows[1])?;
    let status = ends_within(&mut child.0, Duration::from_secs(30))?;
    let mut noise = String::new();
    child.0.stderr.take().context("stderr")?.read_to_string(&mut noise)?;
    assert!(status.success() && noise.is_empty(), "{status}: {noise}");
    Ok(())
}

#[test]
fn many_rows_stay_in_order() -> Result<()> {
    let (rows, expected) = sample("1")?;
    let input: String = (0..20_000).map(|index| format!("{:?}\n", rows[index % rows.len()])).collect();
    let output = run(&["--model", FOREST, "--threads", "4", "--batch", "100"], input.as_bytes())?;
    let got = predictions(&output)?;
    assert_eq!(got.len(), 20_000);
    assert!(got.iter().enumerate().all(|(index, value)| *value == expected[index % rows.len()]));
    Ok(())
}

fn wide(case: &str) -> Result<(String, Value)> {
    let golden = "shared/model/tests/golden/wide";
    Ok((
        repository(&format!("{golden}/{case}")).display().to_string(),
        json(&format!("{golden}/{case}.expected.json"))?,
    ))
}

/// Numbers that scikit-learn itself gave; a list of one is a number.
fn close(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (Value::Number(got), Value::Number(want)) => {
            let (got, want) = (got.as_f64().unwrap_or(f64::NAN), want.as_f64().unwrap_or(f64::NAN));
            (got - want).abs() <= 1e-9 + 1e-9 * want.abs()
        }
        (Value::Array(got), Value::Array(want)) => {
            got.len() == want.len() && got.iter().zip(want).all(|(got, want)| close(got, want))
        }
        (got, Value::Array(want)) if want.len() == 1 => close(got, &want[0]),
        (got, want) => got == want,
    }
}

#[test]
fn answers_hold_the_output_that_is_named() -> Result<()> {
    for (case, method, golden) in [
        ("onehot_logreg", "predict_proba", "predict_proba"),
        ("onehot_logreg", "predict", "predict"),
        ("columns_text", "predict_proba", "predict_proba"),
        ("columns_text", "decision_function", "decision"),
        ("onevsoneclassifier_4", "decision_function", "decision"),
        ("localoutlierfactor", "decision_function", "decision"),
        ("multi_linear", "predict", "predict"),
        ("labels_classifierchain", "predict", "predict"),
        ("labels_classifierchain", "predict_proba", "predict_proba"),
    ] {
        let (model, expected) = wide(case)?;
        let rows = expected["rows"].as_array().context("rows")?;
        let input: String = rows.iter().map(|row| format!("{{\"features\":{row}}}\n")).collect();
        let named: String =
            rows.iter().map(|row| format!("{{\"features\":{row},\"output\":\"{method}\"}}\n")).collect();
        let by_flag = run(&["--model", &model, "--format", "jsonl", "--method", method], input.as_bytes())?;
        let by_row = run(&["--model", &model, "--format", "jsonl"], named.as_bytes())?;
        for output in [by_flag, by_row] {
            ensure!(output.status.success(), "{case} {method}: {}", said(&output));
            let got = lines(&output)?;
            let wanted = expected[golden].as_array().context("expected")?;
            assert_eq!(got.len(), wanted.len(), "{case} {method}");
            for (got, want) in got.iter().zip(wanted) {
                assert!(close(&got["prediction"], want), "{case} {method}: {got} {want}");
                assert_eq!(got["classes"].is_array(), method == "predict_proba", "{case} {method}: {got}");
            }
        }
    }
    Ok(())
}

#[test]
fn rows_of_one_batch_may_name_different_outputs() -> Result<()> {
    let (model, expected) = wide("onehot_logreg")?;
    let rows = expected["rows"].as_array().context("rows")?;
    let named = ["predict_proba", "", "score_samples", "predict", "probs", "decision_function"];
    let line = |(index, row): (usize, &Value)| match named[index % named.len()] {
        "" => format!("{{\"features\":{row}}}\n"),
        output => format!("{{\"output\":\"{output}\",\"features\":{row}}}\n"),
    };
    let input: String = rows.iter().enumerate().map(line).collect();
    for batch in ["1", "1024"] {
        let output = run(&["--model", &model, "--format", "jsonl", "--batch", batch], input.as_bytes())?;
        let got = lines(&output)?;
        assert_eq!(got.len(), rows.len());
        for (index, got) in got.iter().enumerate() {
            let error = got["error"]["message"].as_str().unwrap_or_default();
            let good = match named[index % named.len()] {
                "predict_proba" => close(&got["prediction"], &expected["predict_proba"][index]),
                "" | "predict" => got["prediction"] == expected["predict"][index] && got["classes"].is_null(),
                "score_samples" => {
                    error.ends_with("has no score_samples; it has predict, predict_proba, decision_function")
                }
                "probs" => error.starts_with("output: \"probs\" is not an output; outputs are predict, predict_proba,"),
                _ => got["prediction"].is_f64(),
            };
            assert!(good, "{batch} {index}: {got}");
        }
    }
    Ok(())
}

/// A registry with a model `churn`: the golden classifier in four versions, whose tags and files say other outputs.
fn churn() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("churn");
    let (golden, _) = wide("onehot_logreg")?;
    for version in 1..=4 {
        let to = model.join(version.to_string());
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(&golden)? {
            let entry = entry?;
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    let mlmodel = model.join("3/MLmodel");
    let text = std::fs::read_to_string(&mlmodel)?.replace("predict_fn: predict", "predict_fn: predict_proba");
    let params = r#"params: '[{"name": "threshold", "type": "double", "default": 0.5, "shape": null}]'"#;
    std::fs::write(&mlmodel, text.replace("params: null", params))?;
    let tags = "tags:\n  2: {forebay.output: predict_proba}\n  4: {forebay.output: score_samples}\n";
    std::fs::write(model.join("registered_model.yaml"), tags)?;
    Ok(folder)
}

#[test]
fn without_a_method_the_tag_and_then_the_files_of_the_version_say() -> Result<()> {
    let folder = churn()?;
    let registry = format!("file:{}", folder.path().display());
    let (_, expected) = wide("onehot_logreg")?;
    let input = format!("{{\"features\":{}}}\n", expected["rows"][0]);
    let first = |model: &str, more: &[&str]| -> Result<Value> {
        let args = [&["--registry", &registry, "--model", model, "--format", "jsonl"], more].concat();
        let output = run(&args, input.as_bytes())?;
        ensure!(output.status.success(), "{model} {more:?}: {}", said(&output));
        Ok(lines(&output)?.remove(0)["prediction"].take())
    };
    let (label, probabilities) = (&expected["predict"][0], &expected["predict_proba"][0]);
    for (model, more, want) in [
        ("models:/churn/1", &[][..], label),
        ("models:/churn/2", &[], probabilities),
        ("models:/churn/v2", &[], probabilities),
        ("models:/churn/2", &["--method", "predict"], label),
        ("models:/churn/2", &["--output-tag="], label),
        ("models:/churn/1", &["--output-tag=predict_proba"], probabilities),
        ("models:/churn/3", &[], probabilities),
        ("models:/churn/3", &["--output-tag", "predict"], label),
    ] {
        let got = first(model, more)?;
        assert!(close(&got, want), "{model} {more:?}: {got} {want}");
    }
    Ok(())
}

#[test]
fn an_output_that_the_model_lacks_is_said_before_the_first_row() -> Result<()> {
    let folder = churn()?;
    let registry = format!("file:{}", folder.path().display());
    let (_, expected) = wide("onehot_logreg")?;
    let lacks = "of model \"churn\" has no score_samples; it has predict, predict_proba, decision_function";
    let header = "age,income,city,plan,active\n";
    let jsonl = format!("{{\"features\":{}}}\n", expected["rows"][0]);
    for (model, args, input, code, text) in [
        ("models:/churn/1", &["--method", "score_samples"][..], jsonl.as_str(), 1, lacks),
        ("models:/churn/1", &["--method", "score_samples", "--format", "csv"], header, 1, lacks),
        ("models:/churn/4", &["--format", "csv"], header, 1, lacks),
        (
            "models:/churn/1",
            &["--format", "csv", "--output-tag=probs"],
            header,
            1,
            "tag forebay.output: \"probs\" is not an",
        ),
        ("models:/churn/1", &["--method", "probs"], header, 2, "outputs are predict, predict_proba"),
        (
            "models:/churn/1",
            &["--output", "predict_proba"],
            header,
            1,
            "--method predict_proba chooses what the answers",
        ),
    ] {
        let args = [&["--registry", &registry, "--model", model], args].concat();
        let output = run(&args, input.as_bytes())?;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(text), "{args:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    // a line of JSON may name another output than the tag, so that only those that do not fail
    let lines_in = jsonl.clone() + &jsonl.replacen('{', "{\"output\":\"predict\",", 1);
    let output =
        run(&["--registry", &registry, "--model", "models:/churn/4", "--format", "jsonl"], lines_in.as_bytes())?;
    let got = lines(&output)?;
    assert!(
        output.status.success() && said(&output).contains("only rows that name another output"),
        "{}",
        said(&output)
    );
    assert_eq!((&got[0]["error"]["code"], &got[1]["prediction"]), (&"invalid_request".into(), &expected["predict"][0]));
    Ok(())
}

#[test]
fn parameters_of_a_row_are_those_of_the_signature() -> Result<()> {
    let folder = churn()?;
    let registry = format!("file:{}", folder.path().display());
    let (_, expected) = wide("onehot_logreg")?;
    let params = ["{\"threshold\":0.5}", "{\"threshold\":0.6}", "{\"top_k\":1}", "{}", "null"];
    let row = &expected["rows"][0];
    let input: String = params.iter().map(|params| format!("{{\"features\":{row},\"params\":{params}}}\n")).collect();
    let output = run(&["--registry", &registry, "--model", "models:/churn/3", "--format", "jsonl"], input.as_bytes())?;
    let answers = lines(&output)?;
    let messages = answers.iter().map(|line| line["error"]["message"].as_str().unwrap_or_default());
    let wanted = [
        "",
        "params: \"threshold\" is 0.5 in churn v3, and no other value can be given",
        "params: unknown parameter \"top_k\"; churn v3 has threshold",
        "",
        "",
    ];
    assert_eq!(messages.collect::<Vec<_>>(), wanted);
    Ok(())
}
