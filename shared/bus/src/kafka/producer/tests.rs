//! The order of retries, and what the broker would refuse at every attempt.

use forebay_runtime::Lifecycle;
use rdkafka::Timestamp;

use super::context::refusal;
use super::*;

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
