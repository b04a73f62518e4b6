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
        (vec!["--model", FOREST, "--registry", "nonsense"], String::new(), 1, "nonsense"),
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
