//! Sends the rows of a request into the mesh and waits for their outcomes, whatever protocol they came with.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_bus::{Ack, AckOutcome};
use forebay_contract::{ErrorCode, Lane, Origin, Problem, RequestId, now_us};
use forebay_runtime::TraceContext;

use super::limits::RowPermits;
use super::state::HttpState;
use super::wait_estimates::WaitingRows;
use crate::admission::RequestAdmission;
use crate::auth::Caller;
use crate::batching::PendingItems;
use crate::parse::MAX_ROW_BYTES;
use crate::pending::{CallerReply, RowOutcomes};
use crate::rejection::HttpRejection;
use crate::request::ParsedRequest;

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'r> {
    /// `None` if no credentials are needed.
    pub caller: Option<&'r Caller>,
    pub idempotency_key: Option<&'r str>,
    /// The span of the entry point.
    pub trace: TraceContext,
    /// When it arrived, Unix microseconds.
    pub arrived_us: u64,
}

/// A request that has what it needs to enter the mesh. Dropping it gives that back.
pub(crate) struct AdmittedRequest {
    parsed: ParsedRequest,
    admission: RequestAdmission,
    row_permits: Arc<RowPermits>,
    waiting: WaitingRows,
}

/// One outcome for each row.
///
/// # Errors
/// If the request does not enter the mesh: a limit is reached, the caller may not use the model, or its
/// `Idempotency-Key` is in use for another payload.
pub(crate) async fn submit(
    state: &HttpState,
    parsed: ParsedRequest,
    arrival: Arrival<'_>,
) -> Result<RowOutcomes, HttpRejection> {
    let owner = arrival.caller.map_or("", Caller::identity);
    Ok(admit(state, parsed, arrival, owner, CallerWaits::OnConnection)?.outcomes(state).await?)
}

/// How the caller of a request waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerWaits {
    /// On its connection, so that it is refused what would take too long.
    OnConnection,
    /// It comes back for the answer.
    Elsewhere,
}

/// Checks a request against every limit. `owner` is the identity of the caller, to whom its `Idempotency-Key` belongs.
///
/// # Errors
/// As [`submit`], but for keys in use.
pub(crate) fn admit(
    state: &HttpState,
    parsed: ParsedRequest,
    Arrival { caller, idempotency_key, trace, arrived_us }: Arrival<'_>,
    owner: &str,
    waits: CallerWaits,
) -> Result<AdmittedRequest, HttpRejection> {
    let parsed = ParsedRequest { cache_scope: state.cache_scopes.of(owner), ..parsed };
    let key = idempotency_key.map(|key| (owner, key));
    let rows = parsed.features.rows().len();
    let model = if parsed.model.is_empty() { &state.default_model } else { parsed.model.as_str() };
    if let Some(caller) = caller {
        // before anything is said of the model
        caller.check_model(model)?;
    }
    state.model_rows.check_loaded(&parsed.model)?;
    state.model_rows.check_width(&parsed)?;
    let weights = parsed.row_weights();
    if let Some(row) = weights.clone().position(|weight| weight > MAX_ROW_BYTES) {
        let text = format!("row {row}: one row holds at most {} KiB", MAX_ROW_BYTES / 1024);
        return Err(HttpRejection::new(ErrorCode::PayloadTooLarge, text));
    }
    let bytes = weights.sum();
    let row_permits = Arc::new(state.limits.acquire_rows(model, rows, bytes, caller)?);
    if let Some(caller) = caller {
        caller.count_rows(rows, arrived_us / 1_000_000)?;
    }
    let timeout = state.timeouts.effective(parsed.timeout);
    let longest = (waits == CallerWaits::OnConnection).then_some(timeout);
    let waiting = state.limits.wait(model, Lane::of_priority(parsed.priority), rows, longest)?;
    let admission = admission(state, &parsed, key, timeout, trace, arrived_us);
    Ok(AdmittedRequest { parsed, admission, row_permits, waiting })
}

impl AdmittedRequest {
    /// One outcome for each row.
    ///
    /// # Errors
    /// If the `Idempotency-Key` is in use for another payload.
    pub(crate) async fn outcomes(self, state: &HttpState) -> Result<RowOutcomes, Problem> {
        let Self { parsed, admission, row_permits, waiting } = self;
        let outcomes = send_and_wait(state, &admission, parsed, &row_permits).await?;
        waiting.answered();
        drop(row_permits);
        Ok(outcomes)
    }
}

/// Sends the items unless another caller of the same `Idempotency-Key` has sent them, and waits for their outcomes.
async fn send_and_wait(
    state: &HttpState,
    admission: &RequestAdmission,
    parsed: ParsedRequest,
    row_permits: &Arc<RowPermits>,
) -> Result<RowOutcomes, Problem> {
    let rows = parsed.features.rows().len();
    let mut unsent = Some(parsed);
    loop {
        let registered = state.pending.register(admission.id, rows, admission.idempotent, admission.deadline_us());
        let (caller, new) = registered.map_err(|_| payload_conflict())?;
        if new && let Some(parsed) = unsent.take() {
            let ack = ack(state, admission.id, caller.number(), Arc::clone(row_permits));
            let exact = state.model_rows.contain_text(&parsed.model);
            (state.batcher)(PendingItems { items: admission.items(parsed, exact), ack, spans: Vec::new() });
        }
        let left = Duration::from_micros(admission.deadline_us().saturating_sub(now_us()));
        match caller.reply(left).await {
            CallerReply::Rows(outcomes) => return Ok(outcomes),
            // what another caller sent had less time than this one has
            CallerReply::Expired => {}
        }
    }
}

/// Decides identity, partition and digest. `key` is the caller's identity and its `Idempotency-Key`.
fn admission(
    state: &HttpState,
    request: &ParsedRequest,
    key: Option<(&str, &str)>,
    timeout: Duration,
    trace: TraceContext,
    accepted_us: u64,
) -> RequestAdmission {
    let (id, result_partition) = match key {
        Some((caller, key)) => {
            let id = RequestId::of_key(caller, key);
            (id, id.result_partition(state.partitions))
        }
        None => (RequestId::random(), state.batch_partition.load(Ordering::Relaxed)),
    };
    let idempotent = key.map(|_| request.digest());
    let caller = key.map_or(0, |(caller, _)| caller_number(caller));
    RequestAdmission {
        id,
        result_partition,
        origin: Origin::Http(state.origin),
        accepted_us,
        timeout,
        trace,
        idempotent,
        caller,
    }
}

/// Tells callers apart, by the first bytes of a hash; 0 for callers without credentials.
fn caller_number(identity: &str) -> u32 {
    if identity.is_empty() {
        return 0;
    }
    let [a, b, c, d, ..] = *blake3::hash(identity.as_bytes()).as_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

/// Releases the row permits once both the caller and the mesh are done with the request. If the mesh cannot take the items,
/// the caller is answered at once.
fn ack(state: &HttpState, id: RequestId, sent_by: u64, row_permits: Arc<RowPermits>) -> Ack {
    let pending = state.pending.clone();
    Ack::new(move |outcome| {
        if outcome == AckOutcome::Failed {
            pending.fail(id, sent_by, &Problem::new(ErrorCode::Unavailable, "the mesh cannot accept this request now"));
        }
        drop(row_permits);
    })
}

fn payload_conflict() -> Problem {
    Problem::new(ErrorCode::IdempotencyConflict, "this Idempotency-Key is in use for a different payload")
}
