//! The arguments that say what requests hold, the same for every command that sends some.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::error::LoadtestError;
use crate::oracle::Oracle;
use crate::request_generator::{RequestGenerator, RequestOptions};
use crate::run::RunId;
use crate::workload_rows::WorkloadRows;

/// What the requests of a run hold.
#[derive(Debug, Clone, Args)]
pub struct WorkloadArgs {
    /// `scaled` (the 442 scaled diabetes rows, varied so that no two are equal) or a CSV file with a header line
    #[arg(long, default_value = "scaled", value_name = "scaled|FILE")]
    pub(crate) data: String,
    /// Share of rows, 0 to 1, that repeat one of 50 rows: what a cache can answer
    #[arg(long, default_value_t = 0.0)]
    pub(crate) repeat_ratio: f64,
    /// Send this model_version
    #[arg(long)]
    pub(crate) model_version: Option<String>,
    /// Send this model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Run id, eight hexadecimal digits; random if absent
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Append what was sent and accepted to this file, for `judge`
    #[arg(long, value_name = "FILE")]
    pub(crate) oracle: Option<PathBuf>,
}

impl WorkloadArgs {
    /// A generator of requests with `batch` rows each; 0 writes one row as a flat array, the legacy form.
    pub(crate) fn generator(&self, batch: usize) -> Result<Arc<RequestGenerator>, LoadtestError> {
        let run = self.run.as_deref().map_or_else(|| Ok(RunId::random()), RunId::parse)?;
        let options = RequestOptions {
            batch,
            repeat_ratio: self.repeat_ratio,
            model_version: self.model_version.clone(),
            model: self.model.clone(),
        };
        RequestGenerator::new(WorkloadRows::open(&self.data)?, run, &options).map(Arc::new)
    }

    /// Opens the oracle's file, if one is wanted.
    pub(crate) fn oracle(&self) -> Result<Option<Oracle>, LoadtestError> {
        self.oracle.as_deref().map(Oracle::append).transpose()
    }
}
