//! The order of retries, and what the broker would refuse at every attempt.

use std::sync::atomic::{AtomicU32, Ordering};

use forebay_runtime::Lifecycle;
use rdkafka::Timestamp;

use super::context::{Context, refusal};
use super::*;
use crate::AckOutcome;

fn sent(items: u64, attempts: u32) -> Box<Sent> {
    let once = Sent::once(Ack::none(), Counter::default(), Arc::new(|_| ()));
    Box::new(Sent { items, attempts, ..once })
}

#[test]
fn only_what_stays_refused_is_given_up() {
    use RDKafkaErrorCode::*;
    let why = |code, rejection, sent: Box<Sent>| refusal(&KafkaError::MessageProduction(code), rejection, &sent);
    for code in [MessageSizeTooLarge, MessageBatchTooLarge] {
        assert_eq!(why(code, Rejection::AtOnce, sent(1, 0)), Some(Reason::TooLarge));
        assert_eq!(why(code, Rejection::ByReport, sent(2, 0)), Some(Reason::TooLarge));
        assert_eq!(why(code, Rejection::ByReport, sent(1, 0)), None, "others may have been in the same batch");
        assert_eq!(why(code, Rejection::ByReport, sent(1, 100)), Some(Reason::TooLarge));
    }
    for code in [InvalidMessage, InvalidMessageSize, InvalidRecord] {
        assert_eq!(why(code, Rejection::ByReport, sent(1, 0)), Some(Reason::Invalid));
    }
    for code in [
        UnknownPartition,
        UnknownTopic,
        UnknownTopicOrPartition,
        TopicAuthorizationFailed,
        MessageTimedOut,
        QueueFull,
        NotLeaderForPartition,
        BrokerTransportFailure,
    ] {
        assert_eq!(why(code, Rejection::AtOnce, sent(1, 100)), None, "{code:?}");
        assert_eq!(why(code, Rejection::ByReport, sent(2, 100)), None, "{code:?}");
    }
}

/// Counts failures for good.
#[derive(Default)]
struct Failures(AtomicU32);

impl EdgeEvents for Failures {
    fn fail(&self, _: &str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_client_that_has_failed_for_good_ends_the_process_once_and_its_records_are_read_again() {
    let (retries, due) = channel();
    let failures = Arc::new(Failures::default());
    let context = Context::new(retries, Arc::clone(&failures) as Arc<dyn EdgeEvents>);
    let (ends, end) = channel();
    for _ in 0..3 {
        let (ends, record) =
            (ends.clone(), OwnedMessage::new(None, None, String::new(), Timestamp::NotAvailable, 0, 0, None));
        let ack = Ack::new(move |outcome| ends.send(outcome).unwrap());
        let sent = Box::new(Sent::once(ack, Counter::default(), Arc::new(|_| ())));
        context.failed(&KafkaError::MessageProduction(RDKafkaErrorCode::Fatal), Rejection::ByReport, record, sent);
        assert_eq!(end.recv().unwrap(), AckOutcome::Failed);
    }
    assert_eq!(failures.0.load(Ordering::Relaxed), 1);
    assert!(due.try_recv().is_err(), "nothing is sent again");
}

#[test]
fn records_are_resent_when_they_are_due() {
    let (retries, due) = channel();
    let now = Instant::now();
    for delay in [60, 20, 40, 0] {
        let record = OwnedMessage::new(None, None, String::new(), Timestamp::NotAvailable, 0, delay, None);
        let due = now + Duration::from_millis(delay.unsigned_abs());
        retries.send(Retry { due, record, sent: sent(1, 0) }).unwrap();
    }
    let (taken, order) = channel();
    let loops = std::thread::spawn(move || {
        resend_loop(&due, &Lifecycle::new().heartbeat("test"), &|retry| {
            assert!(retry.due <= Instant::now());
            taken.send(retry.record.offset()).unwrap();
        });
    });
    let order: Vec<i64> = (0..4).map(|_| order.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    assert_eq!(order, [0, 20, 40, 60]);
    drop(retries);
    loops.join().unwrap();
}
