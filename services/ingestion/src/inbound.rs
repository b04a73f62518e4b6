//! What a Kafka record or a RabbitMQ message turns out to be, decided by the same rules for both.

use forebay_bus::kafka::DeadLetter;
use forebay_bus::messaging;
use forebay_contract::{ErrorCode, Item, Outcome, Problem, Request};
use forebay_runtime::StageSpan;

use crate::admission::RequestAdmission;
use crate::model_rows::ModelRows;
use crate::parse::Rejected;
use crate::request::ParsedRequest;

/// The result of reading one record or message.
#[derive(Debug)]
pub enum Inbound {
    /// The rows of a request for the mesh, and its span if the trace is sampled.
    Accepted(Vec<Item<Request>>, Option<StageSpan>),
    /// A request that is answered with an error.
    Rejected(Item<Outcome>),
    /// Bytes that are no request. The error outcome is present if the sender can be answered.
    Undecodable(DeadLetter, Option<Item<Outcome>>),
}

impl Inbound {
    /// Classifies a request that was parsed and admitted. `answerable` says that the sender can be answered even if no
    /// request id could be read; `dead_letter` makes one from the error's code and message.
    pub(crate) fn from_parsed(
        parsed: Result<ParsedRequest, Rejected>,
        model_rows: &ModelRows,
        admission: &RequestAdmission,
        mut span: Option<StageSpan>,
        answerable: bool,
        dead_letter: impl FnOnce(&'static str, String) -> DeadLetter,
    ) -> Self {
        let narrow = |request: ParsedRequest| match model_rows.check_width(&request) {
            Ok(()) => Ok(request),
            Err(problem) => Err(Rejected { problem, request_id: request.request_id, undecodable: false }),
        };
        let Rejected { problem, request_id, undecodable } = match parsed.and_then(narrow) {
            Ok(request) => {
                let exact = model_rows.contain_text(&request.model);
                let items = admission.items(request, exact);
                let Some(first) = items.first() else {
                    let problem = Problem::new(ErrorCode::Internal, "the request lost its rows");
                    return Self::Rejected(admission.rejection(None, problem));
                };
                if let Some(span) = &mut span {
                    messaging::set_conversation(span, first.context.client_request_id());
                }
                return Self::Accepted(items, span);
            }
            Err(rejected) => rejected,
        };
        if let Some(span) = &mut span {
            span.error(problem.code.as_str(), problem.message.clone());
        }
        if !undecodable {
            return Self::Rejected(admission.rejection(request_id, problem));
        }
        let dead_letter = dead_letter(problem.code.as_str(), problem.message.clone());
        let answerable = answerable || request_id.is_some();
        Self::Undecodable(dead_letter, answerable.then(|| admission.rejection(request_id, problem)))
    }
}
