//! How the value of a record of the request topic is read, which the settings of `ingestion` decide.

use std::sync::Arc;

use forebay_bus::kafka::RawRecord;
use forebay_contract::{ErrorCode, Problem};

use crate::column_paths::ColumnPaths;
use crate::parse::{Rejected, RowLimit, parse_record_rows, recover_request_id};
use crate::request::ParsedRequest;
use crate::schemas::{Schemas, id_in_header};
use crate::settings::IngestionSettings;

/// Reads requests from values in JSON, and from those behind the id of a schema.
#[derive(Clone, Debug)]
pub struct RecordReader {
    schemas: Schemas,
    /// Where the columns stand in a record that has not the fields of a request.
    columns: ColumnPaths,
    /// The model of requests that name none; empty for the default model of the mesh.
    model: Arc<str>,
    limit: RowLimit,
}

impl Default for RecordReader {
    /// One row, in JSON.
    fn default() -> Self {
        Self { schemas: Schemas::default(), columns: ColumnPaths::default(), model: "".into(), limit: RowLimit::ONE }
    }
}

impl RecordReader {
    /// Reads records as the settings say, and values with one of these schemas.
    pub fn new(settings: &IngestionSettings, schemas: Schemas) -> Self {
        let limit = RowLimit { rows: settings.max_record_rows, setting: Some("ingestion.max_record_rows") };
        let columns = settings.record_columns.clone();
        Self { schemas, columns, model: settings.record_model.as_str().into(), limit }
    }

    /// Whether the topic has a model of its own.
    pub(crate) fn has_model(&self) -> bool {
        !self.model.is_empty()
    }

    /// Reads records of so many rows, in JSON.
    #[cfg(test)]
    pub(crate) fn of_rows(rows: usize) -> Self {
        Self { limit: RowLimit { rows, setting: None }, ..Self::default() }
    }

    /// Reads records of one row for a model, in JSON.
    #[cfg(test)]
    pub(crate) fn of_model(model: &str) -> Self {
        Self { model: model.into(), ..Self::default() }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// What is wrong and where, with the request id if it can be recovered.
    pub(crate) fn read(&self, record: &RawRecord) -> Result<ParsedRequest, Rejected> {
        let request = match self.schemas.json(record, !self.columns.is_empty()) {
            None => self.read_json(&record.payload).map_err(|rejected| match id_in_header(record) {
                Some(why) if rejected.undecodable && rejected.request_id.is_none() => undecodable(why, None),
                _ => rejected,
            }),
            Some(Ok(json)) => self.read_json(&json),
            Some(Err(why)) => Err(undecodable(why, None)),
        };
        request.map(|it| if it.model.is_empty() { ParsedRequest { model: self.model.to_string(), ..it } } else { it })
    }

    fn read_json(&self, json: &[u8]) -> Result<ParsedRequest, Rejected> {
        match self.columns.request(json) {
            None => parse_record_rows(json, self.limit),
            Some(Ok(request)) => parse_record_rows(&request, self.limit),
            Some(Err(why)) => Err(undecodable(why, recover_request_id(json))),
        }
    }
}

fn undecodable(why: String, request_id: Option<String>) -> Rejected {
    Rejected { problem: Problem::new(ErrorCode::InvalidRequest, why), request_id, undecodable: true }
}
