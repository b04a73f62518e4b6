//! What rows models take, as far as the model directory knows: which tell `1` from `1.0`, and how wide their rows are.

use std::sync::Arc;

use forebay_bus::ModelDirectory;
use forebay_contract::{ErrorCode, Problem};

use crate::request::{ParsedRequest, Row};

/// Values that a row may have in any case, unless a setting says less.
const USUAL_VALUES: usize = 4096;

/// Asks the model directory. Clones share it.
#[derive(Clone, Debug)]
pub struct ModelRows {
    directory: ModelDirectory,
    /// The model of requests that name none.
    default_model: Arc<str>,
    /// `ingestion.max_row_values`; 0 if the models say it.
    max_values: usize,
}

impl ModelRows {
    /// Models of `directory`; `default_model` answers requests that name none. A row has at most `max_values`; 0 means 4,096,
    /// or as many as the widest version of its model has.
    pub fn new(directory: ModelDirectory, default_model: &str, max_values: usize) -> Self {
        Self { directory, default_model: default_model.into(), max_values }
    }

    /// Whether a version of the model has a column of text; an empty name is the default model.
    pub(crate) fn contain_text(&self, model: &str) -> bool {
        self.directory.takes_text(self.named(model))
    }

    /// Checks that no request unloaded the model.
    ///
    /// # Errors
    /// `unknown_model` if one did.
    pub(crate) fn check_loaded(&self, model: &str) -> Result<(), Problem> {
        let model = self.named(model);
        if self.directory.is_unloaded(model) { Err(Problem::unloaded(model)) } else { Ok(()) }
    }

    /// Checks the width of the rows, which costs a comparison for each that is not very wide.
    ///
    /// # Errors
    /// `payload_too_large` for a row that is wider than its model takes.
    pub(crate) fn check_width(&self, request: &ParsedRequest) -> Result<(), Problem> {
        let usual = if self.max_values > 0 { self.max_values } else { USUAL_VALUES };
        let wide = |(_, row): &(usize, &Row)| row.len() > usual;
        let Some((at, row)) = request.features.rows().iter().enumerate().filter(wide).max_by_key(|(_, row)| row.len())
        else {
            return Ok(());
        };
        let model = self.named(&request.model);
        let limit = if self.max_values > 0 { Some(self.max_values) } else { self.widest(model) };
        match limit {
            Some(limit) if row.len() > limit => {
                let text = format!(
                    "row {at}: has {} values, and rows of model {model:?} have at most {limit} (ingestion.max_row_values)",
                    row.len()
                );
                Err(Problem::new(ErrorCode::PayloadTooLarge, text))
            }
            _ => Ok(()),
        }
    }

    /// The most values that rows of the model may have; `None` as long as that is not known.
    fn widest(&self, model: &str) -> Option<usize> {
        match self.directory.view(model) {
            Some(_) => self.directory.widest_row(model).map(|widest| widest.max(USUAL_VALUES)),
            None => (!self.directory.views().is_empty()).then_some(USUAL_VALUES),
        }
    }

    fn named<'m>(&'m self, model: &'m str) -> &'m str {
        if model.is_empty() { &self.default_model } else { model }
    }
}

#[cfg(test)]
mod tests {
    use forebay_contract::{ModelView, RowFormat, VersionState, ViewVersion};

    use super::*;

    fn request(model: &str, values: usize) -> ParsedRequest {
        ParsedRequest::of_rows(
            model,
            None,
            vec![Row::of_numbers(vec![0.0], vec![]), Row::of_numbers(vec![0.0; values], vec![])],
        )
    }

    fn loaded(directory: &ModelDirectory, model: &str, columns: usize) {
        let features = (0..columns).map(|column| column.to_string()).collect();
        directory.describe(model, 1, RowFormat { features, ..RowFormat::default() });
        directory.report(model, Some(1), vec![VersionState { version: 1, ..VersionState::default() }]);
    }

    #[test]
    fn a_row_is_as_wide_as_its_model_takes() {
        let directory = ModelDirectory::new("here");
        let rows = ModelRows::new(directory.clone(), "m", 0);
        rows.check_width(&request("", 60_000)).unwrap();
        for model in ["m", "wide", "not loaded"] {
            let versions = vec![ViewVersion { version: 1, ..ViewVersion::default() }];
            directory.publish_view(ModelView { model: model.into(), versions, ..ModelView::default() });
        }
        loaded(&directory, "m", 10);
        loaded(&directory, "wide", 5000);
        for (model, values) in [("", 4096), ("m", 4096), ("wide", 5000), ("not loaded", 60_000), ("other", 4096)] {
            rows.check_width(&request(model, values)).unwrap();
        }
        for (model, values, limit) in
            [("", 4097, 4096), ("m", 60_000, 4096), ("wide", 5001, 5000), ("other", 4097, 4096)]
        {
            let problem = rows.check_width(&request(model, values)).unwrap_err();
            assert_eq!(problem.code, ErrorCode::PayloadTooLarge);
            let expected = format!("row 1: has {values} values");
            assert!(
                problem.message.contains(&expected) && problem.message.contains(&limit.to_string()),
                "{}",
                problem.message
            );
        }
    }

    #[test]
    fn a_setting_says_it_for_all_models() {
        let directory = ModelDirectory::new("here");
        loaded(&directory, "wide", 5000);
        let rows = ModelRows::new(directory, "m", 20);
        rows.check_width(&request("wide", 20)).unwrap();
        assert!(rows.check_width(&request("wide", 21)).is_err());
    }
}
