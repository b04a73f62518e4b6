//! The body of a request, piece by piece.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::Stream;
use http_body::Body as _;
use hyper::body::Incoming;

/// How much of a body is read after its answer, and for how long.
const MAX_DRAINED: usize = 4 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a request as the application reads it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct RequestBody(Rc<RefCell<Incoming>>);

impl RequestBody {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Rc::new(RefCell::new(body)))
    }

    /// Whether nothing of it is left.
    pub(super) fn is_read(&self) -> bool {
        self.0.borrow().is_end_stream()
    }

    /// Reads what the application has left, within bounds, while the answer is sent. A stream that ends before its body
    /// does is reset, and many clients lose an answer that comes with a reset (curl 7.88, httpx), though RFC 9113 (8.1)
    /// forbids it.
    pub(super) async fn drain(self) {
        let rest = async {
            let mut left = MAX_DRAINED;
            while let Some(Ok(data)) = poll_fn(|cx| self.poll_data(cx)).await {
                match left.checked_sub(data.len()) {
                    Some(after) => left = after,
                    None => return,
                }
            }
        };
        drop(tokio::time::timeout(DRAIN_TIMEOUT, rest).await);
    }

    fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        let mut body = self.0.borrow_mut();
        loop {
            match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => {
                    // trailers say nothing here
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let data = self.poll_data(cx);
        data.map(|data| data.map(|data| data.map_err(|error| PayloadError::Io(io::Error::other(error)))))
    }
}
