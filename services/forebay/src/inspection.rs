//! A report on a model version: whether it loads, what it needs, and whether it predicts what its input example
//! expects.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use forebay_model::{Label, LoadedVersion, Output, Task, TypedRows, Value};
use serde::Serialize;

use crate::columns::name_list;

/// The report on one version.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    /// `NAME vN`, or the path.
    pub(crate) name: String,
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
    example: Option<String>,
    /// First row of the example and its answer.
    answer: Option<(Vec<Value>, String)>,
}

impl Inspection {
    /// Loads a version and lets it answer its input example.
    pub(crate) fn of(name: &str, load: impl FnOnce() -> Result<LoadedVersion, String>) -> Self {
        let began = Instant::now();
        let loaded =
            match catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| Err("reading it panicked".to_owned())) {
                Ok(loaded) => loaded,
                Err(error) => return Self { name: name.to_owned(), ok: false, error: Some(error), about: None },
            };
        let load_ms = began.elapsed().as_secs_f64() * 1e3;
        let checked = catch_unwind(AssertUnwindSafe(|| loaded.check_example().map_err(|error| error.to_string())));
        let checked = checked.unwrap_or_else(|_| Err("answering its example panicked".to_owned()));
        let (example, error) = match checked {
            Ok(check) => (Some(check.to_string()), None),
            Err(error) => (None, Some(format!("input example: {error}"))),
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
            example,
            answer,
        };
        Self { name: name.to_owned(), ok: error.is_none(), error, about: Some(about) }
    }

    /// The report as one line.
    pub(crate) fn line(&self) -> String {
        match (&self.error, &self.about) {
            (Some(error), _) => format!("FAILED  {}: {error}\n", self.name),
            (None, Some(about)) => {
                let example = about.example.as_deref().unwrap_or("");
                format!("ok      {}: loaded in {:.0} ms, {example}\n", self.name, about.load_ms)
            }
            (None, None) => format!("ok      {}\n", self.name),
        }
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
