//! A report on a model version: whether it loads, what it needs, what it costs, and whether it predicts what its input
//! example expects.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use forebay_model::{Label, LoadedVersion, Output, Task, TypedRows, Value};
use forebay_runtime::resident_memory;
use serde::Serialize;

use crate::columns::name_list;

/// How long rows are predicted to learn what one costs.
const TIMED: Duration = Duration::from_millis(20);

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Verdict {
    /// Its predictions are those of the library that it is from.
    #[serde(rename = "equal")]
    Equal,
    /// It predicts; nothing says what its library predicts.
    #[serde(rename = "runs, not compared")]
    Runs,
    /// It does not load, or predicts something else.
    #[serde(rename = "FAILED")]
    Failed,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Runs => "runs, not compared",
            Self::Failed => "FAILED",
        }
    }
}

/// The report on one version.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    /// `NAME vN`, or the path.
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    /// Whether it loads, and answers its example as it should.
    pub(crate) ok: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(flatten)]
    about: Option<About>,
}

/// What is known once the version is loaded.
#[derive(Debug, Serialize)]
struct About {
    task: &'static str,
    features: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Label>,
    missing_values: &'static str,
    preprocessing: Vec<String>,
    operations: Vec<String>,
    digest: String,
    load_ms: f64,
    /// By how many bytes loading it has enlarged the process; `None` where the system does not say.
    memory_bytes: Option<u64>,
    /// Microseconds to predict a row by itself: of the example, else one of zeros.
    row_us: Option<f64>,
    example: Option<String>,
    /// First row of the example and its answer.
    answer: Option<(Vec<Value>, String)>,
}

impl Inspection {
    /// Loads a version and lets it answer its input example.
    pub(crate) fn of(name: &str, load: impl FnOnce() -> Result<LoadedVersion, String>) -> Self {
        let (began, before) = (Instant::now(), resident());
        let loaded =
            match catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| Err("reading it panicked".to_owned())) {
                Ok(loaded) => loaded,
                Err(error) => {
                    let (name, error) = (name.to_owned(), Some(error));
                    return Self { name, verdict: Verdict::Failed, ok: false, error, about: None };
                }
            };
        let load_ms = began.elapsed().as_secs_f64() * 1e3;
        let memory_bytes = before.zip(resident()).map(|(before, after)| after.saturating_sub(before));
        let checked = catch_unwind(AssertUnwindSafe(|| loaded.check_answers().map_err(|error| error.to_string())));
        let checked = checked.unwrap_or_else(|_| Err("answering its example panicked".to_owned()));
        let (example, verdict, error) = match checked {
            Ok(check) if check.parity.is_some() => (Some(check.to_string()), Verdict::Equal, None),
            Ok(check) => {
                let unread = loaded.unread_example.as_ref().map(|reason| format!("input example not used: {reason}"));
                (Some(unread.unwrap_or_else(|| check.to_string())), Verdict::Runs, None)
            }
            Err(error) => (None, Verdict::Failed, Some(error)),
        };
        let answer = if error.is_none() { first_answer(&loaded) } else { None };
        let signature = &loaded.signature;
        let about = About {
            task: match signature.task {
                Task::Regression => "regression",
                Task::Classification => "classification",
            },
            features: signature.features.clone(),
            labels: signature.labels.clone(),
            missing_values: if loaded.accepts_missing { "handled" } else { "refused" },
            preprocessing: loaded.preprocessing.as_ref().map(|it| it.ops()).unwrap_or_default(),
            operations: loaded.model.ops(),
            digest: forebay_model::hex(&loaded.digest)[..16].to_owned(),
            load_ms,
            memory_bytes,
            row_us: if error.is_none() { row_cost(&loaded) } else { None },
            example,
            answer,
        };
        Self { name: name.to_owned(), verdict, ok: error.is_none(), error, about: Some(about) }
    }

    /// The names of the columns of [`Inspection::line`].
    pub(crate) fn heading() -> String {
        row("", "us a row", "memory", "model")
    }

    /// The report as a line of a table.
    pub(crate) fn line(&self) -> String {
        let about = self.about.as_ref();
        let cost = about.and_then(|about| about.row_us).map_or_else(|| "-".to_owned(), |us| format!("{us:.1}"));
        let memory = about.and_then(|about| about.memory_bytes);
        let memory = memory.map_or_else(|| "-".to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
        let what = match (&self.error, about.and_then(|about| about.example.as_deref())) {
            (Some(error), _) => format!("{}: {error}", self.name),
            (None, Some(example)) => format!("{}: {example}", self.name),
            (None, None) => self.name.clone(),
        };
        row(self.verdict.as_str(), &cost, &memory, &what)
    }

    /// The full report as text.
    pub(crate) fn page(&self) -> String {
        let mut text = format!("{}\n", self.name);
        // writing to a string cannot fail
        if let Some(about) = &self.about {
            let _ = writeln!(text, "  task           {}", about.task);
            let _ = writeln!(text, "  features       {}: {}", about.features.len(), name_list(&about.features, ", "));
            if !about.labels.is_empty() {
                let labels: Vec<String> = about.labels.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "  classes        {}: {}", about.labels.len(), name_list(&labels, ", "));
            }
            let _ = writeln!(text, "  missing values {}", about.missing_values);
            let steps =
                if about.preprocessing.is_empty() { "none".to_owned() } else { about.preprocessing.join(" -> ") };
            let _ = writeln!(text, "  preprocessing  {steps}");
            let _ = writeln!(text, "  operations     {}", about.operations.join(" -> "));
            let _ = writeln!(text, "  digest         {}...", about.digest);
            let _ = writeln!(text, "  loads in       {:.1} ms", about.load_ms);
            if let Some(us) = about.row_us {
                let _ = writeln!(text, "  a row takes    {us:.1} us");
            }
            if let Some(example) = &about.example {
                let _ = writeln!(text, "  example        {example}");
            }
            if let Some((row, answer)) = &about.answer {
                let row: Vec<String> = row.iter().map(json).collect();
                let _ = writeln!(text, "                 [{}] -> {answer}", row.join(", "));
            }
        }
        if let Some(error) = &self.error {
            let _ = writeln!(text, "  FAILED         {error}");
        }
        text
    }
}

/// A line of the table.
fn row(verdict: &str, cost: &str, memory: &str, what: &str) -> String {
    format!("{verdict:<18}  {cost:>9}  {memory:>9}  {what}\n")
}

/// The resident memory of this process in bytes, where it can be read.
fn resident() -> Option<u64> {
    Some(resident_memory()).filter(|bytes| *bytes > 0)
}

/// Microseconds to predict one row; the rows of the example in turn, without one a row of zeros.
fn row_cost(loaded: &LoadedVersion) -> Option<f64> {
    let rows = loaded.example_rows();
    let predict = |row: &[Value]| loaded.predict_values(TypedRows::new(row.len(), row).ok()?, Output::Predict).ok();
    let timed = || {
        predict(&rows[0])?;
        let (began, mut count) = (Instant::now(), 0_u32);
        for row in rows.iter().cycle() {
            predict(row)?;
            count += 1;
            if began.elapsed() >= TIMED {
                break;
            }
        }
        Some(began.elapsed().as_secs_f64() * 1e6 / f64::from(count))
    };
    catch_unwind(AssertUnwindSafe(timed)).ok()?
}

fn first_answer(loaded: &LoadedVersion) -> Option<(Vec<Value>, String)> {
    let row = loaded.input_example.as_ref()?.first()?;
    let scores = loaded.predict_values(TypedRows::new(row.len(), row).ok()?, Output::Predict).ok()?;
    let one = |output| scores.label_of(0, output).map_or_else(|| scores.row(0)[output].to_string(), json);
    let answers: Vec<String> = (0..scores.outputs).map(one).collect();
    let answer = if let [only] = answers.as_slice() { only.clone() } else { format!("[{}]", answers.join(", ")) };
    Some((row.clone(), answer))
}

/// A value or a label as JSON, which both can always be written as.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
