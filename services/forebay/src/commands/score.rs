//! `forebay score`: a file of rows through a model, without a mesh.

use std::fs::File;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::Problem;
use forebay_model::{LoadedVersion, Output};
use forebay_prediction::check_output;
use forebay_preprocessing::{AnswerRules, RowRules};
use forebay_runtime::SettingsArgs;

use super::{eprint, open_with};
use crate::columns::{Columns, name_list};
use crate::model_source::ModelSource;
use crate::score::{self, ColumnFile, Format, Framing, Input, RowCounts, RowSource, ScoreEnd, ScoreProgress, Scorer};

/// Answer a file of rows with a model, without a mesh: the same numbers, the same rules.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Score {
    /// A model folder, a model file (pickle, skops, ONNX, XGBoost, LightGBM, CatBoost, safetensors, .bpk), a version of the
    /// registry (models:/NAME/VERSION), or a model that is not registered (runs:/RUN/MODEL, models:/m-ID)
    #[arg(long, value_name = "FOLDER|FILE|models:/URI")]
    model: String,
    /// The rows; - is standard input
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    input: String,
    /// How the rows are written
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// What stands between the fields of CSV (\t for a tab)
    #[arg(long, value_parser = delimiter, default_value = ",")]
    delimiter: u8,
    /// Where the answers go; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: String,
    /// Rows a call of the model
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch: u32,
    /// Threads that score; all cores without
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// What the answers hold: predict, predict_proba, decision_function or score_samples. Without it the version's tag
    /// forebay.output says, else predict_fn in MLmodel, else predict; a row of JSON may say for itself
    #[arg(long, value_name = "METHOD")]
    method: Option<Output>,
    /// Take this for the version's tag forebay.output, whatever the registry has now; empty for no tag
    #[arg(long, value_name = "METHOD")]
    output_tag: Option<String>,
    /// Exit code 1 when any row could not be answered
    #[arg(long)]
    strict: bool,
    /// Registry of models:/ addresses, in place of the setting models.registry
    #[arg(long, value_name = "sample|file:PATH|URL")]
    registry: Option<String>,
}

const EXAMPLES: &str = r#"Rows come in as
  CSV          with a header line; columns are found by name, in any order, others are ignored. An empty cell is a missing value.
  JSON lines   {"features": [0.03, null, 0.06]}, {"features": {"age": 0.03, "bmi": 0.06}}, or what stands behind "features" by
               itself; null is a missing value. Blank lines are skipped. A line with "features" may have "output" and
               "params" as a request has them: {"features": [0.03], "output": "predict_proba", "params": {"threshold": 0.5}}
  Parquet      columns of integers, floats, booleans and text are found by name; null and NaN are missing values. A file, no pipe.
  Arrow        the same; its file format (Feather 2) from a file, its stream format from a pipe as well.

Answers go out as JSON lines, one a row, in the order of the rows:
  {"prediction": 151.0}
  {"prediction": "setosa", "probabilities": [0.9, 0.1, 0.0]}       in the order of the model's classes
  {"prediction": [1.5, 0.2]}                                       one for each of several outputs
  {"prediction": [0.9, 0.1], "probabilities": [0.9, 0.1], "classes": ["churn", "stay"]}       with --method predict_proba
  {"error": {"code": "invalid_features", "message": "feature bmi: \"x\" is not a number", "line": 7}}
In place of the line, Parquet and Arrow have the number of the row, from 1: "row": 7.
A row that cannot be answered does not stop the others. Numbers are written so that they read back as the same bits.

Examples:
  forebay score --model models:/diabetes-rf-model/1 --input patients.csv --output scores.jsonl
  forebay score --model models/churn --input customers.csv | jq -r .prediction
  forebay score --model models:/churn --input customers.csv --method predict_proba | jq '.prediction[0]'
  forebay score --model models:/churn --input customers.parquet --output scores.jsonl
  zcat rows.csv.gz | forebay score --model model.onnx --format csv
  echo '[0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.02, -0.018]' | forebay score --model models:/diabetes-rf-model
  forebay score --registry http://mlflow:5000 --model models:/churn@champion --input customers.csv --strict

Exit code: 0 when everything was read and written, 1 when the model, the input or the output could not be used (with --strict also when
a row failed), 2 for wrong arguments or settings."#;

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [one] if one.is_ascii() && !matches!(one, b'"' | b'\n' | b'\r') => Ok(*one),
        _ => Err("expected one ASCII character, no quote and no line end".to_owned()),
    }
}

pub(crate) fn run(args: &SettingsArgs, score: &Score) -> ExitCode {
    let opened = match open_with(args, score.registry.as_deref()) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let rules = RowRules::from(&opened.settings.preprocessing);
    let load = |source: ModelSource| source.load_tagged(opened.settings.models(), score.output_tag.as_deref());
    let (loaded, tag) = match score.model.parse().and_then(load) {
        Ok(loaded) => loaded,
        Err(error) => return eprint(&error, 1),
    };
    match score.all(loaded, tag.as_deref(), &rules) {
        Ok(code) => code,
        Err(error) => eprint(&error, 1),
    }
}

impl Score {
    fn all(&self, loaded: LoadedVersion, tag: Option<&str>, rules: &RowRules) -> Result<ExitCode, String> {
        let named = if self.input == "-" { "the input" } else { &self.input };
        let within = |error: String| format!("{named}: {error}");
        let mut source = RowSource::open(&self.input)?;
        let format = self.format.settle(&self.input, &mut source).map_err(|error| within(error.to_string()))?;
        let (mut input, header) = self.open_input(source, format).map_err(within)?;
        let columns = header.map(|header| Columns::find(&header, &loaded.columns)).transpose().map_err(within)?;
        if let Some(extra) = columns.as_ref().map(|columns| &columns.extra).filter(|extra| !extra.is_empty()) {
            if rules.rejects_extra() {
                return Err(within(format!("columns that are no feature of the model: {}", name_list(extra, ", "))));
            }
            warn(&format!("columns that are no feature of the model are ignored: {}", name_list(extra, ", ")));
        }
        if let (Input::Columns(file), Some(columns)) = (&mut input, &columns) {
            file.select(columns, self.batch as usize).map_err(within)?;
        }
        let unit = input.unit();
        let answers = self.answers(&loaded, tag, format)?;
        let output = self.open_output()?;
        let began = Instant::now();
        let progress = ScoreProgress::new(&input, self.shows_progress());
        let threads =
            self.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()), usize::from);
        let scorer = Arc::new(Scorer::new(loaded, columns, rules, answers));
        let end = score::run(input, &scorer, (self.batch as usize, threads), output, |counts| progress.show(counts));
        progress.finish();
        let counts = match &end {
            ScoreEnd::Unread => return Ok(ExitCode::SUCCESS),
            ScoreEnd::Done(counts) | ScoreEnd::Broken(counts, _) => counts,
        };
        warn(&summary(counts, began.elapsed(), unit));
        match &end {
            ScoreEnd::Broken(_, error) => Err(within(error.clone())),
            _ if self.strict && counts.failed > 0 => Ok(ExitCode::FAILURE),
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    /// Opens the rows, and reads the names of their columns if the format has any.
    fn open_input(&self, mut source: RowSource, format: Format) -> Result<(Input, Option<Vec<String>>), String> {
        if matches!(format, Format::Parquet | Format::Arrow) {
            let file = ColumnFile::open(&self.input, format, source)?;
            let header = file.header();
            return Ok((Input::Columns(Box::new(file)), Some(header)));
        }
        source.skip_mark()?;
        let mut framing = Framing::new(format, self.delimiter);
        let header = (format == Format::Csv).then(|| framing.header(&mut source)).transpose()?;
        Ok((Input::Text(Box::new(source), framing), header))
    }

    /// What a row may request, and what the answer to one that requests nothing holds.
    ///
    /// # Errors
    /// An output that the model does not have. Lines of JSON may each name another one than the version's, so that such a tag
    /// is a warning there, and an error of the rows that name none.
    fn answers(
        &self,
        loaded: &LoadedVersion,
        tag: Option<&str>,
        format: Format,
    ) -> Result<(AnswerRules, Result<Output, Problem>), String> {
        let own = Output::of_tag(tag, Ok(loaded.output));
        let rules = AnswerRules::new(&loaded.name, loaded.version, own, loaded.params.clone());
        let output = self.method.map_or_else(|| rules.output(""), Ok).and_then(|output| {
            let label = format_args!("v{}", loaded.version);
            check_output(output, loaded.model.outputs(), label, &loaded.name).map(|()| output)
        });
        if let Err(problem) = &output {
            if format != Format::Jsonl || self.method.is_some() {
                return Err(format!("{}: {}", self.model, problem.message));
            }
            warn(&format!("{}: {}; only rows that name another output are answered", self.model, problem.message));
        }
        Ok((rules, output))
    }

    fn open_output(&self) -> Result<Box<dyn Write>, String> {
        if self.output == "-" {
            return Ok(Box::new(std::io::stdout().lock()));
        }
        if let Ok(method) = self.output.parse::<Output>() {
            return Err(format!("--output names a file; --method {method} chooses what the answers hold"));
        }
        let path = PathBuf::from(&self.output);
        if same_file(&path, Path::new(&self.input)) {
            return Err(format!("{}: is the input as well", self.output));
        }
        let file = File::create(&path).map_err(|error| format!("{}: {error}", self.output))?;
        Ok(Box::new(file))
    }

    /// A bar and answers on the same terminal would be a mess.
    fn shows_progress(&self) -> bool {
        std::io::stderr().is_terminal() && (self.output != "-" || !std::io::stdout().is_terminal())
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    let [a, b] = [a, b].map(|path| path.canonicalize().ok());
    a.is_some() && a == b
}

/// Standard error may be closed; the answers do not depend on it.
fn warn(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn summary(counts: &RowCounts, took: Duration, unit: &str) -> String {
    let RowCounts { rows, failed, first } = counts;
    let pace = *rows as f64 / took.as_secs_f64().max(1e-9);
    let rows_are = if *rows == 1 { "row" } else { "rows" };
    let mut text = format!("{rows} {rows_are} in {:.2} s, {pace:.0} a second", took.as_secs_f64());
    if let Some((number, problem)) = first {
        text.push_str(&format!("; {failed} failed, the first on {unit} {number}: {}", problem.message));
    }
    text
}
