//! Errors as gRPC has them.

use forebay_contract::{ErrorCode, Problem};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::rejection::HttpRejection;

/// The status of an error.
pub(super) fn status(problem: &Problem) -> Status {
    let code = match problem.code {
        ErrorCode::InvalidRequest | ErrorCode::InvalidFeatures => Code::InvalidArgument,
        ErrorCode::Unauthorized => Code::Unauthenticated,
        ErrorCode::Forbidden => Code::PermissionDenied,
        ErrorCode::UnknownModel => Code::NotFound,
        ErrorCode::IdempotencyConflict => Code::Aborted,
        ErrorCode::PayloadTooLarge | ErrorCode::Overloaded => Code::ResourceExhausted,
        ErrorCode::UnsupportedMediaType => Code::Unimplemented,
        ErrorCode::Unavailable | ErrorCode::ModelUnavailable => Code::Unavailable,
        ErrorCode::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorCode::Internal => Code::Internal,
    };
    Status::new(code, problem.message.clone())
}

/// The status of a request that did not enter the mesh, with `retry-after` in seconds if it may be sent again.
pub(super) fn rejected(rejection: &HttpRejection) -> Status {
    let mut status = status(&rejection.problem);
    if matches!(rejection.problem.code.status(), 429 | 503) {
        status.metadata_mut().insert("retry-after", MetadataValue::from(rejection.retry_seconds()));
    }
    status
}
