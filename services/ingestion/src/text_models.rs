//! Which models tell `1` from `1.0`: those with a column of text.

use std::sync::Arc;

use forebay_bus::ModelDirectory;

/// Asks the model directory. Clones share it.
#[derive(Clone, Debug)]
pub struct TextModels {
    directory: ModelDirectory,
    /// The model of requests that name none.
    default_model: Arc<str>,
}

impl TextModels {
    /// Models of `directory`; `default_model` answers requests that name none.
    pub fn new(directory: ModelDirectory, default_model: &str) -> Self {
        Self { directory, default_model: default_model.into() }
    }

    /// Whether a version of the model has a column of text; an empty name is the default model.
    pub(crate) fn contain(&self, model: &str) -> bool {
        self.directory.takes_text(if model.is_empty() { &self.default_model } else { model })
    }
}
