//! A request as the client meant it, independent of how it arrived.

mod row;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use forebay_contract::{Request, SplitKey, Value};
use prost::Message as _;

pub(crate) use row::JsonValue;
pub use row::Row;

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
    /// What the answer holds, as the client wrote it; empty for what the version says.
    pub output: String,
    /// Parameters of the model's signature.
    pub params: BTreeMap<String, Value>,
    /// With whom the request shares cached answers; empty for all who have no scope of their own.
    pub cache_scope: Bytes,
    /// Where the answer is posted as well, as the client wrote it.
    pub callback_url: Option<String>,
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
    /// Rows for a version of a model, with nothing else said.
    pub fn of_rows(model: &str, version: Option<&str>, rows: Vec<Row>) -> Self {
        Self {
            request_id: None,
            model: model.to_owned(),
            version: version.unwrap_or_default().to_owned(),
            priority: DEFAULT_PRIORITY,
            key: None,
            timeout: None,
            output: String::new(),
            params: BTreeMap::new(),
            cache_scope: Bytes::new(),
            callback_url: None,
            features: FeatureRows::Many(rows),
        }
    }

    /// First 16 bytes of the BLAKE3 hash of what determines the answer: model, version and the exact bits of the rows. The
    /// request id, key, priority, timeout and callback are not part of it, so a retry may change them.
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
            if !row.mixed.is_empty() {
                messages(&mut hash, &row.mixed);
            }
            hash.update(&(row.names.len() as u64).to_le_bytes());
            for name in &row.names {
                hash.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            }
        }
        if !self.output.is_empty() || !self.params.is_empty() {
            hash.update(b"output").update(&(self.output.len() as u64).to_le_bytes()).update(self.output.as_bytes());
            for (name, value) in &self.params {
                hash.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
                messages(&mut hash, std::slice::from_ref(value));
            }
        }
        let mut digest = [0; 16];
        hash.finalize_xof().fill(&mut digest);
        digest
    }

    /// Approximate encoded size of each row on an edge, in bytes, with the parameters, which go with each.
    pub fn row_weights(&self) -> impl Iterator<Item = usize> + Clone {
        let params = params_weight(&self.params);
        self.features.rows().iter().map(move |row| row.weight() + params)
    }

    /// One wire message for each row, in order. With `exact`, numbers keep how they were written; see [`Row`].
    pub fn into_requests(self, exact: bool) -> impl Iterator<Item = Request> {
        let Self { model, version, key, output, params, cache_scope, features, .. } = self;
        let split_key = key.map_or(0, SplitKey::to_wire);
        let (one, many) = match features {
            FeatureRows::One(row) => (Some(row), Vec::new()),
            FeatureRows::Many(rows) => (None, rows),
        };
        let request = move |row: Row| {
            let (model, version, output) = (model.clone(), version.clone(), output.clone());
            let (params, cache_scope) = (params.clone(), cache_scope.clone());
            let mut request = Request { model, version, split_key, output, params, cache_scope, ..Request::default() };
            row.fill(exact, &mut request);
            request
        };
        one.into_iter().chain(many).map(request)
    }
}

/// Approximate encoded size of parameters, in bytes.
pub(crate) fn params_weight<'p>(params: impl IntoIterator<Item = (&'p String, &'p Value)>) -> usize {
    params.into_iter().map(|(name, value)| name.len() + value.weight() + 8).sum()
}

/// Hashes values by their encoding, each with its length.
fn messages(hash: &mut blake3::Hasher, values: &[Value]) {
    hash.update(b"values");
    for value in values {
        let bytes = value.encode_length_delimited_to_vec();
        hash.update(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(rows: &[&[f64]]) -> ParsedRequest {
        let rows = rows.iter().map(|values| Row::of_numbers(values.to_vec(), vec![])).collect();
        ParsedRequest::of_rows("", Some("v1"), rows)
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
        assert_ne!(base.digest(), ParsedRequest { output: "predict_proba".into(), ..base.clone() }.digest());
        let texts = |texts: &[&str]| {
            let row = Row::of_values(texts.iter().map(|text| Value::text(*text)).collect(), vec![]);
            ParsedRequest { features: FeatureRows::One(row), ..base.clone() }.digest()
        };
        assert_ne!(texts(&["a", "b"]), texts(&["ab", ""]));
        assert_ne!(
            base.digest(),
            ParsedRequest { version: String::new(), model: "v1".into(), ..base.clone() }.digest()
        );
    }

    #[test]
    fn every_row_becomes_a_request_in_order() {
        let requests: Vec<_> = request(&[&[1.0], &[2.0]]).into_requests(false).collect();
        assert_eq!(requests.iter().map(|r| r.features[0]).collect::<Vec<_>>(), [1.0, 2.0]);
        assert!(requests.iter().all(|r| r.version == "v1" && r.split_key == 0));
        let key = SplitKey::of_text("alice");
        let keyed = ParsedRequest { key: Some(key), ..request(&[&[1.0], &[2.0]]) };
        assert!(keyed.into_requests(false).all(|it| it.split_key == key.to_wire()), "rows with one key stay together");
    }

    /// What the build before typed rows sent for this body.
    #[test]
    fn a_row_of_numbers_has_the_bytes_that_it_always_had() {
        let body = br#"{"model":"m","model_version":"v1","features":{"a":0.5,"b":1.0,"c":59,"d":null}}"#;
        let recorded = "0a016d120276311a20000000000000e03f000000000000f03f0000000000804d40000000000000f87f220161220162220163220164";
        let request = crate::parse::parse_http(body, 1).unwrap();
        let bytes = request.into_requests(false).next().unwrap().encode_to_vec();
        assert_eq!(forebay_contract::Hex(&bytes).to_string(), recorded);
    }
}
