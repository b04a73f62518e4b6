//! Rules from the settings, which hold for the rows of every version.

use std::collections::BTreeMap;

use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::family::Family;

use crate::settings::{ExtraColumns, MissingValues, Settings};

/// Rules from the settings, and the counters of what they let pass.
#[derive(Debug, Clone)]
pub struct RowRules {
    pub(super) missing: MissingValues,
    pub(super) extra: ExtraColumns,
    pub(super) ranges: BTreeMap<String, BTreeMap<String, (f64, f64)>>,
    /// Rows with columns that the model does not have, by model.
    extra_rows: Family<[(&'static str, String); 1], Counter>,
}

impl RowRules {
    /// Shows the counters among `metrics`.
    pub(crate) fn register(self, metrics: &Metrics) -> Self {
        metrics.register(
            "forebay_rows_with_extra_columns",
            "Rows with columns that the model does not have, which were ignored",
            self.extra_rows.clone(),
        );
        self
    }

    /// Whether a row with columns that the model does not have is refused.
    pub fn rejects_extra(&self) -> bool {
        self.extra == ExtraColumns::Reject
    }

    pub(super) fn extra_rows(&self, model: &str) -> Counter {
        self.extra_rows.get_or_create_owned(&[("model", model.to_owned())])
    }
}

impl From<&Settings> for RowRules {
    fn from(settings: &Settings) -> Self {
        let (section, extra) = (&settings.preprocessing, settings.features.extra);
        Self { missing: section.missing, extra, ranges: section.ranges.clone(), extra_rows: Family::default() }
    }
}
