//! A request for inference: authenticated, admitted, traced, scored and answered like one over HTTP.

use std::sync::Arc;
use std::time::Duration;

use forebay_contract::{ErrorCode, Problem, now_us};
use forebay_runtime::{SpanKind, StageSpan, TraceContext};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::arrival::Arrival as CallArrival;
use super::proto::{ModelInferRequest, ModelInferResponse};
use super::service::Inference;
use super::{answer, caller, request, status};
use crate::auth::Caller;
use crate::http::{Arrival, HttpState, ServedModel, submit};
use crate::open_inference::{self, InferRequest};
use crate::rejection::HttpRejection;
use crate::request::ParsedRequest;

const ROUTE: &str = "/inference.GRPCInferenceService/ModelInfer";

/// A request that has no answer.
enum Failed {
    /// It did not enter the mesh.
    Rejected(HttpRejection),
    /// The mesh could not answer it.
    Unanswered(Problem),
}

impl<R: Into<HttpRejection>> From<R> for Failed {
    fn from(rejection: R) -> Self {
        Self::Rejected(rejection.into())
    }
}

/// Answers one request, which came as a call or as a message of a stream.
pub(super) async fn infer(
    service: &Inference,
    metadata: &MetadataMap,
    arrival: &CallArrival,
    message: ModelInferRequest,
) -> Result<ModelInferResponse, Status> {
    let arrived_us = now_us();
    let state = &*service.state;
    let root = state.tracer.sample_root(caller::trace(metadata));
    let span = root.sampled().then(|| {
        let mut span = state.tracer.start(ROUTE[1..].to_owned(), SpanKind::Server, root, arrived_us);
        span.set("rpc.system", "grpc");
        span.set("rpc.service", "inference.GRPCInferenceService");
        span.set("rpc.method", "ModelInfer");
        span
    });
    let trace = span.as_ref().map_or(root, StageSpan::context);
    let mut call = Call { service, metadata, trace, arrived_us, caller: None, model: None };
    let answered = call.answer(message, arrival).await;
    let took = Duration::from_micros(now_us().saturating_sub(arrived_us));
    let answered = answered.map_err(|failed| call.refuse(failed, took));
    if let Some(mut span) = span {
        if let Err(Refused { problem, recorded, .. }) = &answered {
            if !recorded {
                span.discard();
                return answered.map_err(|refused| refused.status);
            }
            match problem.code.status() < 500 {
                true => span.set("error.type", problem.code.as_str()),
                false => span.error(problem.code.as_str(), problem.code.as_str()),
            }
        }
        span.end_at(now_us());
    }
    answered.map_err(|refused| refused.status)
}

/// What is said of a request that has no answer.
struct Refused {
    problem: Problem,
    status: Status,
    /// Whether its span is recorded.
    recorded: bool,
}

/// One request while it is answered.
struct Call<'s> {
    service: &'s Inference,
    metadata: &'s MetadataMap,
    trace: TraceContext,
    arrived_us: u64,
    /// Once they are known.
    caller: Option<Arc<Caller>>,
    model: Option<ServedModel>,
}

impl Call<'_> {
    fn state(&self) -> &HttpState {
        &self.service.state
    }

    async fn answer(
        &mut self,
        message: ModelInferRequest,
        arrival: &CallArrival,
    ) -> Result<ModelInferResponse, Failed> {
        let service = self.service;
        let state = &*service.state;
        let mut permit = arrival.take();
        let _request = match permit.as_mut().and_then(|permit| permit.request.take()) {
            Some(request) => request,
            None => state.limits.acquire_request()?,
        };
        self.caller = match arrival.caller() {
            Some(caller) => caller.clone(),
            None => match caller::authenticate(state, self.metadata).await {
                Ok(caller) => caller,
                Err((rejection, caller)) => {
                    self.caller = caller;
                    return Err(Failed::Rejected(rejection));
                }
            },
        };
        state.check_available()?;
        let version = Some(message.model_version.clone()).filter(|version| !version.is_empty());
        let caller = self.caller.as_deref();
        let model = self.model.insert(service.models.served_to(caller, &message.model_name, version.as_deref())?);
        let InferRequest { id, parameters, inputs, outputs } = request::read(message)?;
        let rows = open_inference::rows(inputs, model.columns(), state.http.max_rows)?;
        drop(permit);
        let left = caller::timeout(self.metadata).map(|given| arrival.left(given));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Problem::new(ErrorCode::DeadlineExceeded, "the time of the call is over").into());
        }
        let timeout = [parameters.timeout, left].into_iter().flatten().min();
        let parsed = ParsedRequest {
            request_id: id.clone(),
            priority: parameters.priority,
            key: caller::split_key(self.metadata)?,
            timeout,
            params: parameters.of_model(model.params()),
            output: open_inference::model_output(&outputs)?.to_owned(),
            ..ParsedRequest::of_rows(model.name(), version.as_deref(), rows)
        };
        let idempotency_key = caller::idempotency_key(self.metadata)?;
        let arrival =
            Arrival { caller: self.caller.as_deref(), idempotency_key, trace: self.trace, arrived_us: self.arrived_us };
        let outcomes = submit(state, parsed, arrival).await.map_err(Failed::Rejected)?;
        let own = self.model.as_ref().map_or("", ServedModel::output_name);
        let answered = open_inference::answer(outcomes, &outputs, own).map_err(Failed::Unanswered)?;
        let took = Duration::from_micros(now_us().saturating_sub(self.arrived_us));
        state.statistics.succeeded(&answered, took);
        Ok(answer::message(answered, id, &parameters))
    }

    /// Counts and reports a request that has no answer.
    fn refuse(&self, failed: Failed, took: Duration) -> Refused {
        let state = self.state();
        if let Some(model) = &self.model {
            state.statistics.failed(model.name(), model.version, took);
        }
        match failed {
            Failed::Unanswered(problem) => {
                let status = status::status(&problem);
                Refused { problem, status, recorded: true }
            }
            Failed::Rejected(rejection) => {
                if !rejection.limit_exceeded {
                    state.count_rejection(&rejection.problem);
                }
                let caller = self.caller.as_deref().map(Caller::name);
                let (problem, arrived_us) = (&rejection.problem, self.arrived_us);
                let recorded = state.rejections.report(self.trace, ROUTE, caller, problem, arrived_us, now_us());
                let status = status::rejected(&rejection);
                Refused { problem: rejection.problem, status, recorded }
            }
        }
    }
}
