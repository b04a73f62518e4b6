//! The body of an answer, piece by piece.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::web::Bytes;
use forebay_bus::Permit;
use http_body::{Body, Frame, SizeHint};

use crate::in_work::{Counted, Pieces};

/// The body of an answer as hyper sends it.
pub(super) struct AnswerBody {
    body: Pin<Box<BoxBody>>,
    pieces: Pieces,
    head_only: bool,
    _permit: Option<Permit>,
}

impl AnswerBody {
    /// `body`, or nothing of it if `head_only`. Permit and count are held until the last piece has been taken.
    pub(super) fn new(body: BoxBody, head_only: bool, permit: Option<Permit>, counted: Counted) -> Self {
        let body = if head_only { BoxBody::new(()) } else { body };
        Self { body: Box::pin(body), pieces: Pieces::new(counted, false), head_only, _permit: permit }
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
        let Self { body, pieces, .. } = this;
        let framed = |data: Result<Bytes, Box<dyn Error>>| match data {
            Ok(data) => Ok(Frame::data(data)),
            Err(error) => Err(io::Error::other(error.to_string()).into()),
        };
        pieces.poll(|| body.as_mut().poll_next(cx).map(|data| data.map(framed)))
    }

    fn is_end_stream(&self) -> bool {
        self.head_only || (self.pieces.is_empty() && self.body.size().is_eof())
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
