//! The requests of a connection of HTTP/2: when it is idle, when its client takes no answer, and answers piece by piece.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;

/// Most bytes of an answer that are given away at once: what is behind them stays here until there is room.
const PIECE: usize = 16 << 10;

/// Shortest pause between two looks at the requests of a connection.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);

/// The requests of one connection. Clones share the count.
#[derive(Clone, Debug)]
pub(crate) struct InWork(Arc<Mutex<Count>>);

#[derive(Debug)]
struct Count {
    now: usize,
    any_yet: bool,
    /// When the last one began or ended.
    changed: Instant,
    /// Answers of which there is a piece to take, those of them that are streams, and when a piece of any was last taken.
    offered: usize,
    offered_streams: usize,
    taken: Instant,
}

impl Default for InWork {
    fn default() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Count {
            now: 0,
            any_yet: false,
            changed: now,
            offered: 0,
            offered_streams: 0,
            taken: now,
        })))
    }
}

impl InWork {
    pub(crate) fn begin(&self) -> Counted {
        let counted = self.begin_unknown();
        counted.accept();
        counted
    }

    /// Begins a request whose caller is not known yet. It does not count as the first one of the connection before
    /// [`Counted::accept`].
    pub(crate) fn begin_unknown(&self) -> Counted {
        let mut count = self.0.lock();
        (count.now, count.changed) = (count.now + 1, Instant::now());
        Counted(self.clone())
    }

    /// Waits until there has been no request for `first`, or for `next` after the first one.
    pub(crate) async fn idle_for(&self, (first, next): (Duration, Duration)) {
        loop {
            let (now, limit, since) = {
                let count = self.0.lock();
                (count.now, if count.any_yet { next } else { first }, count.changed.elapsed())
            };
            match now {
                0 if since >= limit => return,
                0 => tokio::time::sleep(limit - since).await,
                // it is looked again when one may have ended long enough ago
                _ => tokio::time::sleep(limit.max(SHORTEST_LOOK)).await,
            }
        }
    }

    /// Waits until no piece of any answer was taken for as long as the first time of `longest`, while there was one to take;
    /// the second one where there are pieces of streams alone, whose readers may pause.
    pub(crate) async fn stalled_for(&self, longest: (Duration, Duration)) {
        loop {
            let (offered, longest, since) = {
                let count = self.0.lock();
                let streams_alone = count.offered > 0 && count.offered == count.offered_streams;
                let longest = if streams_alone { longest.1 } else { longest.0 };
                (count.offered, longest, count.taken.elapsed())
            };
            if offered == 0 {
                tokio::time::sleep(longest).await;
            } else if since >= longest {
                return;
            } else {
                tokio::time::sleep(longest - since).await;
            }
        }
    }

    fn offer(&self, stream: bool) {
        let mut count = self.0.lock();
        if count.offered == 0 {
            count.taken = Instant::now();
        }
        count.offered += 1;
        count.offered_streams += usize::from(stream);
    }

    fn withdraw(&self, stream: bool) {
        let mut count = self.0.lock();
        count.offered = count.offered.saturating_sub(1);
        count.offered_streams = count.offered_streams.saturating_sub(usize::from(stream));
    }
}

/// A request in work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(InWork);

impl Counted {
    /// The caller may make the request.
    pub(crate) fn accept(&self) {
        self.0.0.lock().any_yet = true;
    }

    /// The answer to the request, which may be a `stream`, is being sent until what is returned is dropped.
    fn begin_sending(&self, stream: bool) -> Sending {
        self.0.offer(stream);
        Sending { in_work: self.0.clone(), stream, offered: true }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut count = self.0.0.lock();
        (count.now, count.changed) = (count.now.saturating_sub(1), Instant::now());
    }
}

/// An answer that is being sent, until it is dropped.
#[derive(Debug)]
struct Sending {
    in_work: InWork,
    stream: bool,
    /// Whether there is a piece to take.
    offered: bool,
}

impl Sending {
    /// The client has taken what there was; there is another piece, or there will be later.
    fn taken(&mut self, another: bool) {
        let before = std::mem::replace(&mut self.offered, another);
        if before {
            self.in_work.0.lock().taken = Instant::now();
        }
        match (before, another) {
            (false, true) => self.in_work.offer(self.stream),
            (true, false) => self.in_work.withdraw(self.stream),
            (false, false) | (true, true) => {}
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.offered {
            self.in_work.withdraw(self.stream);
        }
    }
}

/// The data of an answer, given away in pieces as its client takes them. Its request is in work until it is dropped.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// What was read of the body and is still to be sent.
    rest: Bytes,
    sending: Sending,
    _counted: Counted,
}

impl Pieces {
    /// Those of the answer to a request, which may be a `stream`.
    pub(crate) fn new(counted: Counted, stream: bool) -> Self {
        Self { rest: Bytes::new(), sending: counted.begin_sending(stream), _counted: counted }
    }

    /// Whether nothing that was read is still to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next piece, which the client has room for; `read` asks the body for more.
    pub(crate) fn poll<E>(
        &mut self,
        read: impl FnOnce() -> Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        if self.rest.is_empty() {
            let polled = read();
            self.sending.taken(polled.is_ready());
            match std::task::ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        } else {
            self.sending.taken(true);
        }
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(self.rest.len().min(PIECE))))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    #[actix_rt::test]
    async fn a_client_stalls_only_while_there_is_a_piece_that_it_does_not_take() {
        let in_work = InWork::default();
        let counted = in_work.begin();
        let stalls = || async { tokio::time::timeout(4 * SHORT, in_work.stalled_for((SHORT, LONG))).await.is_ok() };
        assert!(!stalls().await, "there is no answer yet");
        let mut sending = counted.begin_sending(false);
        assert!(stalls().await);
        sending.taken(false);
        assert!(!stalls().await, "the next piece is not there yet");
        sending.taken(true);
        assert!(
            tokio::time::timeout(SHORT / 2, in_work.stalled_for((SHORT, LONG))).await.is_err(),
            "its time begins now"
        );
        assert!(stalls().await);
        let mut stream = counted.begin_sending(true);
        drop(sending);
        assert!(!stalls().await, "the reader of a stream may pause");
        let paused = counted.begin_sending(false);
        for _ in 0..8 {
            // another answer is taken piece by piece
            stream.taken(false);
            stream.taken(true);
            assert!(tokio::time::timeout(SHORT / 2, in_work.stalled_for((SHORT, LONG))).await.is_err());
        }
        drop((stream, paused));
        assert!(!stalls().await);
    }

    #[actix_rt::test]
    async fn a_connection_is_idle_while_nothing_is_in_work() {
        let in_work = InWork::default();
        let idle = |first, next| tokio::time::timeout(4 * SHORT, in_work.idle_for((first, next)));
        assert!(idle(SHORT, LONG).await.is_ok() && idle(LONG, SHORT).await.is_err());
        let counted = in_work.begin();
        assert!(idle(SHORT, SHORT).await.is_err());
        drop(counted);
        assert!(idle(LONG, SHORT).await.is_ok(), "there has been a request");
    }
}
