//! The topics, in the order a request meets them. The names are defaults: settings may change each one.
//!
//! | topic | partition | from | to |
//! |---|---|---|---|
//! | `inference-requests` (outside) | theirs | clients | ingestion |
//! | `forebay.requests` | travel | ingestion | preprocessing |
//! | `forebay.features` | travel | preprocessing | caching |
//! | `forebay.predict` | travel | caching, on a miss | prediction |
//! | `forebay.predictions` | travel | prediction | caching, advisory |
//! | `forebay.results` | home | caching, prediction, any stage on an error | publishing |
//! | `forebay.replies` | of the waiting replica | publishing | ingestion |
//! | `inference-results` (outside) | home modulo theirs | publishing | clients |
//! | `forebay.dead-letters` | home | any | people |
//! | `forebay.models` (compacted) | by key | prediction | preprocessing, caching, ingestion |

/// How long the broker keeps a topic's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Deleted after so many milliseconds.
    Millis(u64),
    /// The last record of every key is kept.
    Compacted,
}

/// An inner topic as `forebay topics create` makes it.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Key of the setting that names it, in section `topics`.
    pub setting: &'static str,
    /// Default name.
    pub name: &'static str,
    /// How long records are kept.
    pub retention: Retention,
}

const HOUR: u64 = 3_600_000;

/// Every topic of the mesh in data-path order. The outside topics are made as well when they are missing.
pub const ALL: [Topic; 10] = [
    Topic { setting: "requests_in", name: "inference-requests", retention: Retention::Millis(24 * HOUR) },
    Topic { setting: "requests", name: "forebay.requests", retention: Retention::Millis(HOUR) },
    Topic { setting: "features", name: "forebay.features", retention: Retention::Millis(HOUR) },
    Topic { setting: "predict", name: "forebay.predict", retention: Retention::Millis(HOUR) },
    Topic { setting: "predictions", name: "forebay.predictions", retention: Retention::Millis(HOUR) },
    Topic { setting: "results", name: "forebay.results", retention: Retention::Millis(HOUR) },
    Topic { setting: "replies", name: "forebay.replies", retention: Retention::Millis(HOUR / 12) },
    Topic { setting: "results_out", name: "inference-results", retention: Retention::Millis(24 * HOUR) },
    Topic { setting: "dead_letters", name: "forebay.dead-letters", retention: Retention::Millis(14 * 24 * HOUR) },
    Topic { setting: "models", name: "forebay.models", retention: Retention::Compacted },
];
