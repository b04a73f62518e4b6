//! The one order in which the edges of a process end.

use std::time::Duration;

use forebay_runtime::Drain;
use futures_util::future::{LocalBoxFuture, join_all};

use crate::amqp::{AmqpSink, AmqpSource};
use crate::kafka::Edges;

/// Closes an endpoint within a limit.
pub(super) type Close = Box<dyn FnOnce(Duration) -> LocalBoxFuture<'static, ()>>;

/// Share of `delivery.drain` in which callers are still answered.
const CALLERS: f64 = 0.6;
/// Longest time for answers over RabbitMQ that are not confirmed when everything else has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The edges of one process, at work.
pub(super) struct Running {
    pub(super) endpoints: Vec<Close>,
    pub(super) messages: Option<AmqpSource>,
    pub(super) edges: Vec<Edges>,
    pub(super) replies: Option<AmqpSink>,
    /// `delivery.drain`.
    pub(super) limit: Duration,
}

impl Drain for Running {
    /// Intake stops everywhere at once. Return edges stay open until no caller waits and no permit is in use; then
    /// producers flush, offsets are committed and groups are left. RabbitMQ's answers end last, because everything
    /// before may have been answered over them.
    async fn drain(self) {
        // the edges of every stage stay open as long as callers wait
        let holds: Vec<_> = self.edges.iter().map(|edges| edges.permits().hold()).collect();
        let limit = self.limit.mul_f64(CALLERS);
        let callers = async move {
            let messages = async {
                if let Some(messages) = self.messages {
                    messages.drain(limit).await;
                }
            };
            let endpoints = join_all(self.endpoints.into_iter().map(|close| close(limit)));
            tokio::join!(endpoints, messages);
            drop(holds);
        };
        let edges = join_all(self.edges.into_iter().map(Drain::drain));
        tokio::join!(callers, edges);
        if let Some(replies) = self.replies {
            replies.close(LAST_ANSWERS).await;
        }
    }
}
