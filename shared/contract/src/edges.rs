//! The topology of the mesh: every edge, in the order in which a request meets them. The wiring, `forebay topics
//! create`, the tables in the documentation and the rights of the Kafka users all follow this list.

use std::marker::PhantomData;

use crate::{Features, Outcome, Prediction, Request, Stage};

/// How long the broker keeps a topic's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Records are deleted after this many milliseconds.
    Millis(u64),
    /// The last record of every key is kept.
    Compacted,
}

/// A topic as `forebay topics create` creates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Key of the setting that names it, in section `topics`.
    pub setting: &'static str,
    /// Default name.
    pub name: &'static str,
    /// How long records are kept.
    pub retention: Retention,
}

/// One end of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A stage of the mesh.
    Stage(Stage),
    /// Programs outside the mesh.
    Clients,
    /// People, with `forebay dead-letters`.
    Operators,
}

/// Which partition of its topic a record goes to, always modulo the topic's number of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioning {
    /// Whichever the client's producer chooses.
    Client,
    /// The partition chosen for the batch by ingestion. A batch stays whole and keeps it on every edge.
    Batch,
    /// A pure function of the request, so that one publishing replica sees every copy of its results.
    Result,
    /// The partition that the ingestion replica with the waiting caller reads.
    Reply,
    /// The partition of the record that could not be processed.
    Source,
    /// By the hash of the record's key.
    Key,
}

/// What a lost record costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work: consumed under an acknowledgement, never lost.
    Work,
    /// Advice: saves work where it arrives, and may be dropped.
    Advisory,
}

/// When an edge needs no topic, because both its ends run in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InMemory {
    /// Never: one end is outside the mesh, or every process takes part.
    Never,
    /// When its two stages run in the same process.
    BothEnds,
    /// Only when all five stages do: otherwise two publishing replicas could each see a copy of a request.
    WholeMesh,
}

/// An edge without the type of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeSpec {
    /// The topic behind it.
    pub topic: Topic,
    /// Who writes.
    pub from: &'static [Peer],
    /// Who reads.
    pub to: &'static [Peer],
    /// Which partition a record goes to.
    pub partitioning: Partitioning,
    /// What a lost record costs.
    pub kind: Kind,
    /// When it is an edge in memory.
    pub in_memory: InMemory,
    /// What a record holds, for the documentation.
    pub carries: &'static str,
}

impl EdgeSpec {
    /// Whether `stage` writes to it.
    pub fn is_written_by(&self, stage: Stage) -> bool {
        self.from.contains(&Peer::Stage(stage))
    }

    /// Whether `stage` reads from it.
    pub fn is_read_by(&self, stage: Stage) -> bool {
        self.to.contains(&Peer::Stage(stage))
    }

    /// Whether the broker stamps the records of its topic. On a topic of the clients the timestamp is theirs.
    pub fn has_broker_time(&self) -> bool {
        !self.from.contains(&Peer::Clients)
    }

    /// Whether the broker keeps the records of its topic uncompressed: those of clients could grow without bound where they
    /// are read.
    pub fn is_uncompressed(&self) -> bool {
        self.from.contains(&Peer::Clients)
    }

    /// Whether it has a topic for each [`crate::Lane`] where `kafka.lanes` is on.
    pub fn has_lanes(&self) -> bool {
        self.kind == Kind::Work && matches!(self.partitioning, Partitioning::Client | Partitioning::Batch)
    }

    /// Whether its topic must have exactly `kafka.partitions` partitions: a batch keeps its partition, and a result its
    /// own, on every topic between two stages.
    pub fn shares_partition_count(&self) -> bool {
        let kept = matches!(self.partitioning, Partitioning::Batch | Partitioning::Result);
        kept && self.in_memory != InMemory::Never
    }
}

/// An edge between two stages; its records are batches of `P`.
#[derive(Debug)]
pub struct Edge<P> {
    spec: EdgeSpec,
    payload: PhantomData<fn() -> P>,
}

impl<P> Edge<P> {
    const fn new(spec: EdgeSpec) -> Self {
        Self { spec, payload: PhantomData }
    }

    /// The edge without the type of its payload.
    pub const fn spec(&self) -> &EdgeSpec {
        &self.spec
    }
}

const HOUR: u64 = 3_600_000;

const fn topic(setting: &'static str, name: &'static str, retention_ms: u64) -> Topic {
    Topic { setting, name, retention: Retention::Millis(retention_ms) }
}

const INGESTION: Peer = Peer::Stage(Stage::Ingestion);
const PREPROCESSING: Peer = Peer::Stage(Stage::Preprocessing);
const CACHING: Peer = Peer::Stage(Stage::Caching);
const PREDICTION: Peer = Peer::Stage(Stage::Prediction);
const PUBLISHING: Peer = Peer::Stage(Stage::Publishing);

/// Requests of clients that use Kafka.
pub const REQUESTS_IN: EdgeSpec = EdgeSpec {
    topic: topic("requests_in", "inference-requests", 24 * HOUR),
    from: &[Peer::Clients],
    to: &[INGESTION],
    partitioning: Partitioning::Client,
    kind: Kind::Work,
    in_memory: InMemory::Never,
    carries: "JSON request",
};

/// Accepted requests.
pub const REQUESTS: Edge<Request> = Edge::new(EdgeSpec {
    topic: topic("requests", "forebay.requests", HOUR),
    from: &[INGESTION],
    to: &[PREPROCESSING],
    partitioning: Partitioning::Batch,
    kind: Kind::Work,
    in_memory: InMemory::BothEnds,
    carries: "`Request`",
});

/// Rows that are valid and prepared for the version that will answer them.
pub const FEATURES: Edge<Features> = Edge::new(EdgeSpec {
    topic: topic("features", "forebay.features", HOUR),
    from: &[PREPROCESSING],
    to: &[CACHING],
    partitioning: Partitioning::Batch,
    kind: Kind::Work,
    in_memory: InMemory::BothEnds,
    carries: "`Features`: raw row, prepared row, pinned version, cache key",
});

/// Rows that no cache level answers.
pub const PREDICT: Edge<Features> = Edge::new(EdgeSpec {
    topic: topic("predict", "forebay.predict", HOUR),
    from: &[CACHING],
    to: &[PREDICTION],
    partitioning: Partitioning::Batch,
    kind: Kind::Work,
    in_memory: InMemory::BothEnds,
    carries: "`Features`, on a miss",
});

/// Predictions for the cache and for requests that wait for an equal one.
pub const PREDICTIONS: Edge<Prediction> = Edge::new(EdgeSpec {
    topic: topic("predictions", "forebay.predictions", HOUR),
    from: &[PREDICTION],
    to: &[CACHING],
    partitioning: Partitioning::Batch,
    kind: Kind::Advisory,
    in_memory: InMemory::BothEnds,
    carries: "`Prediction`: stored, and given to waiting requests",
});

/// The outcome of every row: predictions, cache hits and errors.
pub const RESULTS: Edge<Outcome> = Edge::new(EdgeSpec {
    topic: topic("results", "forebay.results", HOUR),
    from: &[INGESTION, PREPROCESSING, CACHING, PREDICTION],
    to: &[PUBLISHING],
    partitioning: Partitioning::Result,
    kind: Kind::Work,
    in_memory: InMemory::WholeMesh,
    carries: "`Outcome`: hits from caching, scores from prediction, errors from any stage",
});

/// Outcomes for callers that wait.
pub const REPLIES: Edge<Outcome> = Edge::new(EdgeSpec {
    topic: topic("replies", "forebay.replies", HOUR / 12),
    from: &[PUBLISHING],
    to: &[INGESTION],
    partitioning: Partitioning::Reply,
    kind: Kind::Work,
    in_memory: InMemory::WholeMesh,
    carries: "`Outcome`, for callers over HTTP",
});

/// Results for clients that use Kafka. Publishing reads it again after a rebalance, to learn what was answered before.
pub const RESULTS_OUT: EdgeSpec = EdgeSpec {
    topic: topic("results_out", "inference-results", 24 * HOUR),
    from: &[PUBLISHING],
    to: &[Peer::Clients, PUBLISHING],
    partitioning: Partitioning::Result,
    kind: Kind::Work,
    in_memory: InMemory::Never,
    carries: "result, JSON unless it has a schema; request id in a header",
};

/// Records that could not be processed.
pub const DEAD_LETTERS: EdgeSpec = EdgeSpec {
    topic: topic("dead_letters", "forebay.dead-letters", 14 * 24 * HOUR),
    from: &[INGESTION, PREPROCESSING, CACHING, PREDICTION, PUBLISHING],
    to: &[Peer::Operators],
    partitioning: Partitioning::Source,
    kind: Kind::Work,
    in_memory: InMemory::Never,
    carries: "original bytes and why",
};

/// What the registry lists, what each prediction replica has loaded, and the models that requests loaded or unloaded.
pub const MODELS: EdgeSpec = EdgeSpec {
    topic: Topic { setting: "models", name: "forebay.models", retention: Retention::Compacted },
    from: &[INGESTION, PREDICTION],
    to: &[INGESTION, PREPROCESSING, PREDICTION],
    partitioning: Partitioning::Key,
    kind: Kind::Advisory,
    in_memory: InMemory::Never,
    carries: "registry views, replica states, overrides by requests; compacted",
};

/// Every edge, in the order in which a request meets them.
pub const EDGES: [EdgeSpec; 10] = [
    REQUESTS_IN,
    REQUESTS.spec,
    FEATURES.spec,
    PREDICT.spec,
    PREDICTIONS.spec,
    RESULTS.spec,
    REPLIES.spec,
    RESULTS_OUT,
    DEAD_LETTERS,
    MODELS,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn carries<P>(edge: &Edge<P>) -> bool {
        let name = std::any::type_name::<P>().rsplit("::").next().unwrap();
        edge.spec.carries.starts_with(&format!("`{name}`"))
    }

    #[test]
    fn the_documented_payload_is_the_type() {
        assert!(carries(&REQUESTS) && carries(&FEATURES) && carries(&PREDICT));
        assert!(carries(&PREDICTIONS) && carries(&RESULTS) && carries(&REPLIES));
    }

    #[test]
    fn lanes_are_beside_the_topics_up_to_the_models() {
        let named: Vec<&str> = EDGES.iter().filter(|edge| edge.has_lanes()).map(|edge| edge.topic.setting).collect();
        assert_eq!(named, ["requests_in", "requests", "features", "predict"]);
    }

    #[test]
    fn topics_are_named_once() {
        for (place, edge) in EDGES.iter().enumerate() {
            let same =
                |other: &EdgeSpec| other.topic.name == edge.topic.name || other.topic.setting == edge.topic.setting;
            assert!(!EDGES[place + 1..].iter().any(same), "{edge:?}");
        }
    }

    #[test]
    fn an_edge_in_memory_has_one_reader_and_stages_at_both_ends() {
        for edge in EDGES.iter().filter(|edge| edge.in_memory != InMemory::Never) {
            let stages = |peers: &[Peer]| peers.iter().all(|peer| matches!(peer, Peer::Stage(_)));
            assert!(stages(edge.from) && stages(edge.to) && edge.to.len() == 1, "{edge:?}");
        }
    }
}
