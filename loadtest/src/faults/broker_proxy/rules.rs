//! What the proxy does to the bytes that pass it.

/// Everything at once; the default passes all.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProxyRules {
    pub(crate) cut: Option<NetworkCut>,
    /// Every so many answers to produce requests end their connection instead, which leaves the client without a word
    /// about records that are written.
    pub(crate) drop_produce_answers: Option<u64>,
    pub(crate) injection: Option<ErrorInjection>,
    /// Counts up: every connection that is open is reset.
    pub(crate) resets: u64,
}

/// Bytes of some processes do not pass and nothing tells them.
#[derive(Debug, Clone)]
pub(crate) struct NetworkCut {
    pub(crate) pids: Vec<u32>,
    pub(crate) kind: CutKind,
}

/// Which bytes do not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutKind {
    Both,
    /// Answers do not reach the client.
    ToClient,
    /// Requests do not reach the broker.
    ToBroker,
    /// The broker's end is closed, the client's stays open for good.
    HalfOpen,
}

/// Answers that carry an error code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorInjection {
    pub(crate) apis: &'static [i16],
    pub(crate) code: i16,
    /// One of so many answers.
    pub(crate) every: u64,
    /// The broker has done what it was asked for, and its answer says something else. Otherwise it is not asked at all,
    /// which is possible for produce requests alone.
    pub(crate) done: bool,
}
