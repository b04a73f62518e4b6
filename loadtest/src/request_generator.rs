//! Generates requests. The body is a pure function of the request's number, so that any thread can write any request
//! and the judge can recompute what was sent.

use std::io::Write as _;

use crate::error::LoadtestError;
use crate::run::RunId;
use crate::workload_rows::WorkloadRows;

/// How many rows are "hot", that is, sent repeatedly when there is a repeat ratio.
const HOT_ROWS: u64 = 50;
/// Distance between two rows made from one table row, as in the legacy generator.
const STEP: f64 = 1e-9;
/// Distance between the rows of two runs, so that a second run does not meet the cache entries of the first.
const SALT_STEP: f64 = 1e-15;

/// Writes request bodies.
#[derive(Debug)]
pub struct RequestGenerator {
    rows: WorkloadRows,
    run: RunId,
    /// Rows per request.
    batch: usize,
    repeat_ratio: f64,
    /// `,"model_version":"v1"` and the like, put behind the features.
    suffix: String,
    single: bool,
}

/// What the requests of a run have in common.
#[derive(Debug, Clone, Default)]
pub struct RequestOptions {
    /// Rows per request; 0 writes one row as a flat array (the legacy form), 1 and more an array of rows.
    pub batch: usize,
    /// Share of rows, 0 to 1, that are taken from 50 rows that never change.
    pub repeat_ratio: f64,
    /// `model_version` of every request.
    pub model_version: Option<String>,
    /// `model` of every request.
    pub model: Option<String>,
}

impl RequestGenerator {
    /// Creates a generator that draws from `rows`; `run` gives the request ids and the salt.
    pub fn new(rows: WorkloadRows, run: RunId, options: &RequestOptions) -> Result<Self, LoadtestError> {
        if !(0.0..=1.0).contains(&options.repeat_ratio) {
            return Err(LoadtestError::Input(format!(
                "--repeat-ratio {} is not between 0 and 1",
                options.repeat_ratio
            )));
        }
        let mut suffix = String::new();
        for (name, value) in [("model", &options.model), ("model_version", &options.model_version)] {
            if let Some(value) = value {
                suffix.push_str(&format!(",\"{name}\":{}", serde_json::Value::from(value.as_str())));
            }
        }
        let single = options.batch == 0;
        Ok(Self { rows, run, batch: options.batch.max(1), repeat_ratio: options.repeat_ratio, suffix, single })
    }

    /// The run whose ids the requests carry.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Rows in each request.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Appends the JSON body of request `index` to `out`.
    pub fn write_body(&self, index: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"request_id\":\"");
        self.run.write_request_id(index, out);
        out.extend_from_slice(b"\",\"features\":");
        if self.single {
            self.write_row(index, out);
        } else {
            let first = index * self.batch as u64;
            for offset in 0..self.batch as u64 {
                out.push(if offset == 0 { b'[' } else { b',' });
                self.write_row(first + offset, out);
            }
            out.push(b']');
        }
        out.extend_from_slice(self.suffix.as_bytes());
        out.push(b'}');
    }

    /// Checksum of all features of request `index` and the version it names: equal content, equal checksum. FNV-1a over
    /// the bits.
    #[must_use]
    pub fn checksum(&self, index: u64) -> u64 {
        let first = index * self.batch as u64;
        let mut sum = fnv(0xcbf2_9ce4_8422_2325, self.suffix.as_bytes());
        for number in first..first + self.batch as u64 {
            let (row, value) = self.pick(number);
            for (at, feature) in self.rows.row(row).values.iter().enumerate() {
                let feature = if at == self.rows.varied() { value } else { *feature };
                sum = fnv(sum, &feature.to_bits().to_le_bytes());
            }
        }
        sum
    }

    /// The features of row `number`, for callers that want numbers and not JSON.
    #[must_use]
    pub fn features(&self, number: u64) -> Vec<f64> {
        let (row, value) = self.pick(number);
        let mut values = self.rows.row(row).values.clone();
        values[self.rows.varied()] = value;
        values
    }

    fn write_row(&self, number: u64, out: &mut Vec<u8>) {
        let (row, value) = self.pick(number);
        let row = self.rows.row(row);
        out.extend_from_slice(row.head.as_bytes());
        let _infallible = write!(out, "{value}");
        out.extend_from_slice(row.tail.as_bytes());
    }

    /// Table row and varied value of row `number`.
    fn pick(&self, number: u64) -> (usize, f64) {
        let varied = self.rows.varied();
        let dice = scatter(number);
        if self.repeat_ratio > 0.0 && (dice >> 11) as f64 / (1u64 << 53) as f64 <= self.repeat_ratio {
            let hot = (scatter(dice % HOT_ROWS) % self.rows.len() as u64) as usize;
            return (hot, self.rows.row(hot).values[varied]);
        }
        let row = (number % self.rows.len() as u64) as usize;
        let value = self.rows.row(row).values[varied] + STEP * number as f64 + SALT_STEP * f64::from(self.run.salt());
        (row, value)
    }
}

fn fnv(mut sum: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    sum
}

/// splitmix64 (Steele, Lea, Flood 2014): scatters consecutive numbers, without state that threads would have to share.
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn requests(options: &RequestOptions) -> RequestGenerator {
        RequestGenerator::new(WorkloadRows::scaled().unwrap(), RunId::parse("ab12cd34").unwrap(), options).unwrap()
    }

    #[test]
    fn a_body_is_the_legacy_json_and_carries_the_features_to_the_bit() {
        let requests = requests(&RequestOptions { model_version: Some("v1".into()), ..RequestOptions::default() });
        let mut body = Vec::new();
        requests.write_body(123_456, &mut body);
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["request_id"], "ab12cd34-123456");
        assert_eq!(value["model_version"], "v1");
        let features: Vec<f64> = serde_json::from_value(value["features"].clone()).unwrap();
        assert_eq!(features, requests.features(123_456));
    }

    #[test]
    fn rows_are_distinct_without_repeats_and_repeat_at_the_ratio() {
        let distinct = requests(&RequestOptions::default());
        let sums: HashSet<u64> = (0..100_000).map(|i| distinct.checksum(i)).collect();
        assert_eq!(sums.len(), 100_000);

        let repeating = requests(&RequestOptions { repeat_ratio: 0.7, ..RequestOptions::default() });
        let sums: HashSet<u64> = (0..100_000).map(|i| repeating.checksum(i)).collect();
        assert!((29_000..=31_500).contains(&sums.len()), "{} distinct rows of 100,000 at 70 % repeats", sums.len());
    }

    #[test]
    fn two_runs_do_not_share_rows() {
        let (one, other) = (RunId::parse("00000001").unwrap(), RunId::parse("00000002").unwrap());
        let one = RequestGenerator::new(WorkloadRows::scaled().unwrap(), one, &RequestOptions::default()).unwrap();
        let other = RequestGenerator::new(WorkloadRows::scaled().unwrap(), other, &RequestOptions::default()).unwrap();
        let sums: HashSet<u64> = (0..10_000).map(|i| one.checksum(i)).collect();
        assert!((0..10_000).all(|i| !sums.contains(&other.checksum(i))));
    }

    #[test]
    fn several_rows_make_an_array_of_rows() {
        let requests = requests(&RequestOptions { batch: 3, ..RequestOptions::default() });
        let mut body = Vec::new();
        requests.write_body(7, &mut body);
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let rows: Vec<Vec<f64>> = serde_json::from_value(value["features"].clone()).unwrap();
        assert_eq!(rows, vec![requests.features(21), requests.features(22), requests.features(23)]);
    }

    #[test]
    fn a_repeat_ratio_outside_its_range_is_refused() {
        let options = RequestOptions { repeat_ratio: 1.5, ..RequestOptions::default() };
        let run = RunId::parse("ab12cd34").unwrap();
        assert!(RequestGenerator::new(WorkloadRows::scaled().unwrap(), run, &options).is_err());
    }
}
