//! What is timed: a model that answers a batch of the common rows.

use std::path::Path;

use anyhow::{Context as _, Result};
use forebay_model::{LoadedVersion, Rows};
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

/// Values of a row.
const WIDTH: usize = 10;

/// The rows all engines see, longer than any cache of branches remembers, in the type each takes them in.
#[derive(Debug)]
pub(crate) struct Data {
    double: Vec<f64>,
    single: Vec<f32>,
}

impl Data {
    /// Reads row-major f64.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let once: Vec<f64> = bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        let double = once.repeat(4);
        Ok(Self { single: double.iter().map(|value| *value as f32).collect(), double })
    }

    pub(crate) fn rows(&self) -> usize {
        self.double.len() / WIDTH
    }
}

/// An engine with a model in it.
pub(crate) trait Engine {
    fn name(&self) -> &'static str;

    /// Where the model came from.
    fn file(&self) -> &str;

    /// Answers `batch` rows from row `at` on; gives the last answer.
    fn run(&mut self, data: &Data, at: usize, batch: usize) -> Result<f64>;
}

/// Forebay through its public API.
pub(crate) struct Forebay {
    file: String,
    loaded: LoadedVersion,
}

impl Forebay {
    pub(crate) fn new(file: &str, loaded: LoadedVersion) -> Self {
        Self { file: file.to_owned(), loaded }
    }
}

impl Engine for Forebay {
    fn name(&self) -> &'static str {
        "forebay"
    }

    fn file(&self) -> &str {
        &self.file
    }

    fn run(&mut self, data: &Data, at: usize, batch: usize) -> Result<f64> {
        let rows = Rows::new(WIDTH, &data.double[at * WIDTH..(at + batch) * WIDTH])?;
        let scores = self.loaded.model.predict(rows)?;
        scores.values.last().copied().context("an answer")
    }
}

/// onnxruntime on one thread.
pub(crate) struct Onnx {
    file: String,
    session: Session,
}

impl Onnx {
    pub(crate) fn new(environment: &Environment, path: &Path) -> Result<Self> {
        let session = session(environment, path)?;
        Ok(Self { file: path.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default(), session })
    }
}

/// Loads a model on one thread.
pub(crate) fn session(environment: &Environment, path: &Path) -> Result<Session> {
    let builder = Session::builder(environment)?;
    let builder = builder.with_intra_threads(1).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut builder = builder.with_inter_threads(1).map_err(|error| anyhow::anyhow!("{error}"))?;
    builder.commit_from_file(path).with_context(|| path.display().to_string())
}

impl Engine for Onnx {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn file(&self) -> &str {
        &self.file
    }

    fn run(&mut self, data: &Data, at: usize, batch: usize) -> Result<f64> {
        let rows = TensorRef::from_array_view(([batch, WIDTH], &data.single[at * WIDTH..(at + batch) * WIDTH]))?;
        let outputs = self.session.run(ort::inputs![rows])?;
        let (_, answers) = outputs[0].try_extract_tensor::<f32>()?;
        answers.last().map(|answer| f64::from(*answer)).context("an answer")
    }
}
