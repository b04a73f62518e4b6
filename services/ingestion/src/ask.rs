//! What a client asks, whichever door it came through.

use std::time::Duration;

use forebay_contract::{Request, SplitKey};

/// Priority of a request that names none; lower numbers go first.
pub const DEFAULT_PRIORITY: i32 = 1;

/// A request as its door understood it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The client's label, echoed in the answer.
    pub request_id: Option<String>,
    /// Empty: the mesh's default model.
    pub model: String,
    /// As the client wrote it; empty: the default version.
    pub version: String,
    /// Lower number first.
    pub priority: i32,
    /// By which the client stays with one version of a weighted split.
    pub key: Option<SplitKey>,
    /// How long the client is willing to wait.
    pub timeout: Option<Duration>,
    /// What is to be scored.
    pub features: Features,
}

/// One row or many. An array that holds one row is still many: the answer then lists its one prediction.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// `[1, 2]` or `{"a": 1, "b": 2}`
    One(Row),
    /// An array of such rows.
    Many(Vec<Row>),
}

/// The values of one row; NaN stands for `null`, a missing value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// In the order in which the client wrote them.
    pub values: Vec<f64>,
    /// One name a value when the client sent named fields, else empty.
    pub names: Vec<String>,
}

impl Row {
    /// About how many bytes the row has on an edge.
    pub fn weight(&self) -> usize {
        self.values.len() * 8 + self.names.iter().map(|name| name.len() + 2).sum::<usize>()
    }
}

impl Features {
    /// The rows, however they were written.
    pub fn rows(&self) -> &[Row] {
        match self {
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }

    /// Whether the answer lists its predictions.
    pub fn many(&self) -> bool {
        matches!(self, Self::Many(_))
    }
}

impl Ask {
    /// First 16 bytes of the BLAKE3 of what decides the answer: model, version and the rows to the bit. The label,
    /// the key, the priority and the timeout are not part of it, so a retry may change them.
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

    /// One message a row, in order.
    pub fn into_requests(self) -> impl Iterator<Item = Request> {
        let Self { model, version, key, features, .. } = self;
        let split_key = key.map_or(0, SplitKey::to_wire);
        let (one, many) = match features {
            Features::One(row) => (Some(row), Vec::new()),
            Features::Many(rows) => (None, rows),
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

    fn ask(rows: &[&[f64]]) -> Ask {
        let rows = rows.iter().map(|values| Row { values: values.to_vec(), names: vec![] }).collect();
        Ask {
            request_id: None,
            model: String::new(),
            version: "v1".into(),
            priority: DEFAULT_PRIORITY,
            key: None,
            timeout: None,
            features: Features::Many(rows),
        }
    }

    #[test]
    fn the_digest_tells_payloads_apart_and_ignores_labels() {
        let base = ask(&[&[1.0, 2.0], &[3.0, 4.0]]);
        let key = Some(SplitKey::of_text("alice"));
        let labelled = Ask { request_id: Some("x".into()), priority: 7, key, ..base.clone() };
        assert_eq!(base.digest(), labelled.digest());
        assert_ne!(base.digest(), ask(&[&[1.0, 2.0, 3.0], &[4.0]]).digest());
        assert_ne!(base.digest(), ask(&[&[1.0, 2.0], &[3.0, -4.0]]).digest());
        assert_ne!(base.digest(), Ask { version: "v2".into(), ..base.clone() }.digest());
        assert_ne!(base.digest(), Ask { version: String::new(), model: "v1".into(), ..base.clone() }.digest());
    }

    #[test]
    fn every_row_becomes_a_request_in_order() {
        let requests: Vec<_> = ask(&[&[1.0], &[2.0]]).into_requests().collect();
        assert_eq!(requests.iter().map(|r| r.features[0]).collect::<Vec<_>>(), [1.0, 2.0]);
        assert!(requests.iter().all(|r| r.version == "v1" && r.split_key == 0));
        let key = SplitKey::of_text("alice");
        let keyed = Ask { key: Some(key), ..ask(&[&[1.0], &[2.0]]) };
        assert!(
            keyed.into_requests().all(|request| request.split_key == key.to_wire()),
            "a client's rows stay together"
        );
    }
}
