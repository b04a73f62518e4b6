//! Calls that are waited for no longer than their time, even if the client never returns from them.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

type Call<C> = Box<dyn FnOnce(&C) + Send>;

/// The thread on which one client is called. It ends with its last call after this is dropped, and with it its handle on the
/// client.
pub(super) struct BoundedCalls<C>(Sender<Call<C>>);

impl<C: Send + Sync + 'static> BoundedCalls<C> {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start(client: Arc<C>) -> std::io::Result<Self> {
        let (calls, next) = channel::<Call<C>>();
        let run = move || next.iter().for_each(|call| call(&client));
        std::thread::Builder::new().name("kafka-txn-calls".into()).spawn(run)?;
        Ok(Self(calls))
    }

    /// Makes one call and waits for its result for at most `limit`; `None` if there is none by then. The client is of no more
    /// use after that: further calls wait for this one.
    pub(super) fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        call: impl FnOnce(&C) -> T + Send + 'static,
    ) -> Option<T> {
        let (end, ended) = channel();
        let run = move |client: &C| drop(end.send(call(client)));
        self.0.send(Box::new(run)).ok()?;
        ended.recv_timeout(limit).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_call_that_does_not_return_is_left_behind() {
        let calls = BoundedCalls::start(Arc::new(7)).unwrap();
        assert_eq!(calls.call(Duration::from_secs(10), |client| *client + 1), Some(8));
        let (release, released) = channel::<()>();
        let began = Instant::now();
        let hung = move |_: &i32| released.recv().is_ok();
        assert_eq!(calls.call(Duration::from_millis(50), hung), None);
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(calls.call(Duration::from_millis(50), |client| *client), None, "it waits for the one before");
        drop(release);
    }
}
