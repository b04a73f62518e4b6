//! The body of an answer, piece by piece.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::web::Bytes;
use forebay_bus::Permit;
use http_body::{Body, Frame, SizeHint};

use crate::in_work::{Counted, Sending};

/// Most bytes of an answer that are given away at once: what is behind them stays here until there is room.
const PIECE: usize = 16 << 10;

/// The body of an answer as hyper sends it.
pub(super) struct AnswerBody {
    body: Pin<Box<BoxBody>>,
    /// What was read of it and is still to be sent.
    rest: Bytes,
    head_only: bool,
    sending: Sending,
    _permit: Option<Permit>,
    _counted: Counted,
}

impl AnswerBody {
    /// `body`, or nothing of it if `head_only`. Permit and count are held until the last piece has been taken.
    pub(super) fn new(body: BoxBody, head_only: bool, permit: Option<Permit>, counted: Counted) -> Self {
        let body = if head_only { BoxBody::new(()) } else { body };
        let sending = counted.begin_sending(false);
        Self { body: Box::pin(body), rest: Bytes::new(), head_only, sending, _permit: permit, _counted: counted }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.head_only {
            return Poll::Ready(None);
        }
        if this.rest.is_empty() {
            let polled = this.body.as_mut().poll_next(cx);
            this.sending.taken(polled.is_ready());
            match std::task::ready!(polled) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error.to_string()).into()))),
                Some(Ok(data)) => this.rest = data,
            }
        } else {
            this.sending.taken(true);
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.head_only || (self.rest.is_empty() && self.body.size().is_eof())
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.size() {
            _ if self.head_only => SizeHint::default(),
            BodySize::None => SizeHint::with_exact(0),
            BodySize::Sized(length) => SizeHint::with_exact(length),
            BodySize::Stream => SizeHint::default(),
        }
    }
}
