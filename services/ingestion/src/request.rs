//! A request as the client meant it, independent of how it arrived.

use std::time::Duration;

use forebay_contract::{Request, SplitKey};

/// Priority of a request that names none; lower numbers go first.
pub const DEFAULT_PRIORITY: i32 = 1;

/// A request after parsing. One with several rows becomes several [`Request`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedRequest {
    /// The id that the client chose, echoed in the answer.
    pub request_id: Option<String>,
    /// Name of the model; empty for the default model of the mesh.
    pub model: String,
    /// Version as the client wrote it; empty for the default version.
    pub version: String,
    /// Lower numbers go first.
    pub priority: i32,
    /// Equal keys get the same version of a weighted split.
    pub key: Option<SplitKey>,
    /// How long the client is willing to wait.
    pub timeout: Option<Duration>,
    /// The rows to score.
    pub features: FeatureRows,
}

/// One row or many. An array with a single row counts as many: its answer is a list with one prediction.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureRows {
    /// `[1, 2]` or `{"a": 1, "b": 2}`
    One(Row),
    /// An array of such rows.
    Many(Vec<Row>),
}

/// The values of one row; NaN represents `null`, a missing value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Values in the order in which the client wrote them.
    pub values: Vec<f64>,
    /// One name for each value if the client sent named fields, else empty.
    pub names: Vec<String>,
}

impl Row {
    /// Approximate encoded size of the row on an edge, in bytes.
    pub fn weight(&self) -> usize {
        self.values.len() * 8 + self.names.iter().map(|name| name.len() + 2).sum::<usize>()
    }
}

impl FeatureRows {
    /// The rows, whichever form the client used.
    pub fn rows(&self) -> &[Row] {
        match self {
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }

    /// Whether the answer is a list of predictions.
    pub fn many(&self) -> bool {
        matches!(self, Self::Many(_))
    }
}

impl ParsedRequest {
    /// First 16 bytes of the BLAKE3 hash of what determines the answer: model, version and the exact bits of the rows. The
    /// request id, key, priority and timeout are not part of it, so a retry may change them.
    pub fn digest(&self) -> [u8; 16] {
        let mut hash = blake3::Hasher::new_derive_key("forebay 2026 payload of ask");
        let mut text = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        };
        text(&self.model);
        text(&self.version);
        hash.update(&(self.features.rows().len() as u64).to_le_bytes());
        for row in self.features.rows() {
            hash.update(&(row.values.len() as u64).to_le_bytes());
            for value in &row.values {
                hash.update(&value.to_bits().to_le_bytes());
            }
            hash.update(&(row.names.len() as u64).to_le_bytes());
            for name in &row.names {
                hash.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            }
        }
        let mut digest = [0; 16];
        hash.finalize_xof().fill(&mut digest);
        digest
    }

    /// One wire message for each row, in order.
    pub fn into_requests(self) -> impl Iterator<Item = Request> {
        let Self { model, version, key, features, .. } = self;
        let split_key = key.map_or(0, SplitKey::to_wire);
        let (one, many) = match features {
            FeatureRows::One(row) => (Some(row), Vec::new()),
            FeatureRows::Many(rows) => (None, rows),
        };
        let request = move |row: Row| Request {
            model: model.clone(),
            version: version.clone(),
            features: row.values,
            names: row.names,
            split_key,
        };
        one.into_iter().chain(many).map(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(rows: &[&[f64]]) -> ParsedRequest {
        let rows = rows.iter().map(|values| Row { values: values.to_vec(), names: vec![] }).collect();
        ParsedRequest {
            request_id: None,
            model: String::new(),
            version: "v1".into(),
            priority: DEFAULT_PRIORITY,
            key: None,
            timeout: None,
            features: FeatureRows::Many(rows),
        }
    }

    #[test]
    fn the_digest_covers_the_payload_and_ignores_labels() {
        let base = request(&[&[1.0, 2.0], &[3.0, 4.0]]);
        let key = Some(SplitKey::of_text("alice"));
        let labelled = ParsedRequest { request_id: Some("x".into()), priority: 7, key, ..base.clone() };
        assert_eq!(base.digest(), labelled.digest());
        assert_ne!(base.digest(), request(&[&[1.0, 2.0, 3.0], &[4.0]]).digest());
        assert_ne!(base.digest(), request(&[&[1.0, 2.0], &[3.0, -4.0]]).digest());
        assert_ne!(base.digest(), ParsedRequest { version: "v2".into(), ..base.clone() }.digest());
        assert_ne!(
            base.digest(),
            ParsedRequest { version: String::new(), model: "v1".into(), ..base.clone() }.digest()
        );
    }

    #[test]
    fn every_row_becomes_a_request_in_order() {
        let requests: Vec<_> = request(&[&[1.0], &[2.0]]).into_requests().collect();
        assert_eq!(requests.iter().map(|r| r.features[0]).collect::<Vec<_>>(), [1.0, 2.0]);
        assert!(requests.iter().all(|r| r.version == "v1" && r.split_key == 0));
        let key = SplitKey::of_text("alice");
        let keyed = ParsedRequest { key: Some(key), ..request(&[&[1.0], &[2.0]]) };
        assert!(keyed.into_requests().all(|it| it.split_key == key.to_wire()), "rows with one key stay together");
    }
}
