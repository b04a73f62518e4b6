//! What a token says, after its signature was verified.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The claims that count.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub sub: String,
    /// Seconds since 1970.
    pub exp: f64,
    pub scope: Option<NameList>,
    pub scp: Option<NameList>,
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// Names separated by spaces, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum NameList {
    Text(String),
    List(Vec<String>),
}

impl NameList {
    pub(super) fn contains(&self, required: &str) -> bool {
        match self {
            Self::Text(text) => text.split(' ').any(|name| name == required),
            Self::List(list) => list.iter().any(|name| name == required),
        }
    }

    pub(super) fn into_names(self) -> Vec<String> {
        match self {
            Self::Text(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            Self::List(list) => list,
        }
    }
}
