//! The body of a request, within the limits of size, time and memory.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut, Payload};
use forebay_contract::{ErrorCode, Problem};
use futures_util::StreamExt as _;

use crate::bound::{Bound, Held};
use crate::settings::Http;

/// What is taken in at once, over all requests.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    requests: Bound,
    memory: Bound,
    max_body: usize,
    time: Duration,
}

impl Intake {
    pub(crate) fn new(http: &Http) -> Self {
        let (requests, memory) = (Bound::new(http.max_requests), Bound::new(http.body_memory));
        Self { requests, memory, max_body: http.max_body, time: http.body_timeout }
    }

    /// A place for one request, until it is answered.
    pub(super) fn enter(&self) -> Result<Held, Problem> {
        self.requests.take(1).ok_or_else(|| {
            let message = format!("{} requests are at work here, the limit (http.max_requests)", self.requests.limit());
            Problem::new(ErrorCode::Overloaded, message)
        })
    }

    /// Reads the body. The memory it takes is held with it.
    pub(super) async fn body(&self, request: &HttpRequest, payload: Payload) -> Result<(Bytes, Held), Problem> {
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.max_body as u64) {
            return Err(self.too_large());
        }
        match tokio::time::timeout(self.time, self.collect(payload)).await {
            Ok(read) => read,
            Err(_) => Err(invalid(format!("the body did not arrive within {} ms", self.time.as_millis()))),
        }
    }

    /// A body that comes in one piece, as most do, is not copied.
    async fn collect(&self, mut payload: Payload) -> Result<(Bytes, Held), Problem> {
        let mut held = self.memory.take(0).ok_or_else(|| self.full())?;
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| invalid(format!("the body cannot be read: {error}")))?;
            if first.len() + whole.len() + chunk.len() > self.max_body {
                return Err(self.too_large());
            }
            if !held.grow(chunk.len()) {
                return Err(self.full());
            }
            if first.is_empty() && whole.is_empty() {
                first = chunk;
            } else {
                whole.extend_from_slice(&std::mem::take(&mut first));
                whole.extend_from_slice(&chunk);
            }
        }
        Ok((if whole.is_empty() { first } else { whole.freeze() }, held))
    }

    fn full(&self) -> Problem {
        let message =
            format!("bodies that are being read take {} bytes, the limit (http.body_memory)", self.memory.limit());
        Problem::new(ErrorCode::Overloaded, message)
    }

    fn too_large(&self) -> Problem {
        let message =
            format!("the body is larger than {} bytes, the limit of one request (http.max_body)", self.max_body);
        Problem::new(ErrorCode::PayloadTooLarge, message)
    }
}

fn invalid(message: String) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, message)
}
