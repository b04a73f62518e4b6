//! `forebay score` with files of columns, as pandas and pyarrow write them (`columnar/make.py`): the answers are those to the
//! same rows as CSV, and those of the model's origin.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const WIDE: &str = "shared/model/tests/golden/wide";
const FOREST: &str = "models:/diabetes-rf-model/1";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/columnar").join(name).display().to_string()
}

fn model(name: &str) -> String {
    repository(&format!("{WIDE}/{name}")).display().to_string()
}

fn score(args: &[&str], input: &[u8]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg("score").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FOREBAY__") || key.starts_with("MLFLOW_")) {
        command.env_remove(key);
    }
    let mut child = command.spawn()?;
    // small enough for the pipe; a run that refuses its input reads nothing
    let _ = child.stdin.take().context("stdin")?.write_all(input);
    Ok(child.wait_with_output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn answers(model: &str, file: &str, args: &[&str]) -> Result<String> {
    let file = fixture(file);
    let output = score(&[&["--model", model, "--input", &file], args].concat(), b"")?;
    ensure!(output.status.success(), "{file}: {}", said(&output));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn files_of_pandas_and_pyarrow_get_the_answers_of_csv() -> Result<()> {
    for (name, at_least) in [("missing_categories", 14), ("columns_text", 1)] {
        let csv = answers(&model(name), &format!("{name}.csv"), &[])?;
        let golden: Value =
            serde_json::from_slice(&std::fs::read(repository(&format!("{WIDE}/{name}.expected.json")))?)?;
        let expected = golden["predict"].as_array().context("predict")?;
        ensure!(csv.lines().count() == expected.len());
        for (line, expected) in csv.lines().zip(expected) {
            let answer: Value = serde_json::from_str(line)?;
            let same = match (answer["prediction"].as_f64(), expected.as_f64()) {
                (Some(got), Some(expected)) => (got - expected).abs() <= 1e-9 * (1.0 + expected.abs()),
                _ => answer["prediction"] == *expected,
            };
            ensure!(same, "{name}: {line}, expected {expected}");
        }
        let mut files = 0;
        for entry in std::fs::read_dir(fixture(""))? {
            let file = entry?.file_name().into_string().map_err(|name| anyhow::anyhow!("{name:?}"))?;
            if file.starts_with(name) && !file.ends_with(".csv") {
                for batch in ["1", "3", "1024"] {
                    let got = answers(&model(name), &file, &["--batch", batch])?;
                    ensure!(got == csv, "{file}, batches of {batch}: {got} is not {csv}");
                }
                files += 1;
            }
        }
        ensure!(files >= at_least, "{files} files of {name}");
    }
    Ok(())
}

#[test]
fn every_type_of_number_is_the_number_that_it_is() -> Result<()> {
    let csv = answers(FOREST, "types.csv", &[])?;
    ensure!(csv.lines().count() == 9 && !csv.contains("error"), "{csv}");
    ensure!(answers(FOREST, "types.numbers.parquet", &[])? == csv);
    Ok(())
}

#[test]
fn a_stream_comes_from_a_pipe_and_a_file_does_not() -> Result<()> {
    let model = model("missing_categories");
    let expected = answers(&model, "missing_categories.csv", &[])?;
    let stream = std::fs::read(fixture("missing_categories.arrows"))?;
    let output = score(&["--model", &model], &stream)?;
    ensure!(output.status.success() && output.stdout == expected.as_bytes(), "{}", said(&output));
    for (file, what) in
        [("missing_categories.zstd.parquet", "is Parquet"), ("missing_categories.arrow", "is an Arrow file")]
    {
        let output = score(&["--model", &model], &std::fs::read(fixture(file))?)?;
        ensure!(output.status.code() == Some(1) && said(&output).contains(what), "{}", said(&output));
        ensure!(said(&output).contains("cannot come from a pipe"), "{}", said(&output));
    }
    Ok(())
}

#[test]
fn what_is_not_read_is_refused_with_its_name() -> Result<()> {
    let model = model("missing_categories");
    for (file, args, why) in [
        ("refused.timestamp.parquet", &[][..], "column age is of type Timestamp"),
        ("refused.list.parquet", &[], "column city is of type List"),
        ("refused.brotli.parquet", &[], "is compressed with BROTLI"),
        ("missing_categories.zstd.parquet", &["--format", "csv"], "looks like Parquet"),
        ("missing_categories.arrow", &["--format", "jsonl"], "looks like Arrow"),
        ("missing_categories.csv", &["--format", "parquet"], "is not Parquet"),
        ("missing_categories.csv", &["--format", "arrow"], "is neither Arrow's file format nor its stream format"),
        ("types.numbers.parquet", &[], "the header lacks city, plan, ratio"),
    ] {
        let path = fixture(file);
        let output = score(&[&["--model", &model, "--input", &path], args].concat(), b"")?;
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{file}: {}", said(&output));
        ensure!(said(&output).contains(why) && said(&output).contains(&path), "{file}: {}", said(&output));
    }
    Ok(())
}

#[test]
fn a_row_that_cannot_be_answered_is_named_by_its_number() -> Result<()> {
    let file = fixture("missing_categories.zstd.parquet");
    let output = score(&["--model", &model("onehot_logreg"), "--input", &file, "--batch", "3"], b"")?;
    ensure!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout.clone())?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let failed: Vec<u64> = lines.iter().filter_map(|line| line["error"]["row"].as_u64()).collect();
    ensure!(lines.len() == 12 && failed.contains(&7) && !failed.contains(&1), "{text}");
    ensure!(said(&output).contains("the first on row 2"), "{}", said(&output));
    ensure!(said(&output).contains("ignored: grade, ratio"), "{}", said(&output));
    Ok(())
}
