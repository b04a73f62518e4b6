//! The Kafka door's work on one record: an item, an error outcome, or a dead letter.

use std::sync::Arc;

use forebay_bus::kafka::{DeadLetter, RawRecord};
use forebay_contract::{ErrorCode, Item, KafkaOrigin, Origin, Outcome, Problem, Request, RequestId, SplitKey};
use forebay_runtime::{SpanKind, StageSpan, StageTracer, TraceContext};

use crate::admission::{Admission, Timeouts};
use crate::ask::Ask;
use crate::parse::{Rejected, parse_record};

/// Neighbouring offsets share a result partition, so that packs stay whole on their way back.
const NEIGHBOURS: u32 = 8;

/// What the door knows of its topic.
#[derive(Clone, Debug)]
pub struct RecordDoor {
    /// The outside topic.
    pub topic: Arc<str>,
    /// The group that reads it.
    pub group: Arc<str>,
    /// Of the inner topics.
    pub partitions: u32,
    /// Of requests.
    pub timeouts: Timeouts,
    /// Whether the client's label names the request.
    pub label_is_identity: bool,
    /// The stage's spans.
    pub tracer: StageTracer,
}

/// What became of a record.
#[derive(Debug)]
pub enum Taken {
    /// It goes on.
    Asked(Item<Request>, Option<StageSpan>),
    /// It is answered with an error.
    Refused(Item<Outcome>),
    /// It is no request; whoever sent it is told if their name could be read.
    Dead(DeadLetter, Option<Item<Outcome>>),
}

impl Taken {
    /// What becomes of one row that a door has read and admitted. Where `answerable`, somebody can be told even if no name
    /// could be read; `letter` is made of an error's code and text for what is no request.
    pub(crate) fn decided(
        parsed: Result<Ask, Rejected>,
        admission: &Admission,
        mut span: Option<StageSpan>,
        answerable: bool,
        letter: impl FnOnce(&'static str, String) -> DeadLetter,
    ) -> Self {
        let Rejected { problem, request_id, undecodable } = match parsed {
            Ok(ask) => {
                let Some(item) = admission.items(ask).pop() else {
                    let problem = Problem::new(ErrorCode::Internal, "the request lost its row");
                    return Self::Refused(admission.refusal(None, problem));
                };
                if let (Some(span), Some(label)) = (&mut span, item.context.client_request_id()) {
                    span.set("messaging.message.conversation_id", label.to_owned());
                }
                return Self::Asked(item, span);
            }
            Err(rejected) => rejected,
        };
        if let Some(span) = &mut span {
            span.error(problem.code.as_str(), problem.message.clone());
        }
        if !undecodable {
            return Self::Refused(admission.refusal(request_id, problem));
        }
        let letter = letter(problem.code.as_str(), problem.message.clone());
        let known = answerable || request_id.is_some();
        Self::Dead(letter, known.then(|| admission.refusal(request_id, problem)))
    }
}

impl RecordDoor {
    /// Reads one record, accepted at `accepted_us`. A record's age is no reason to refuse it: its time counts from here.
    pub fn take(&self, record: RawRecord, accepted_us: u64) -> Taken {
        let caller = record.header("traceparent").and_then(|header| std::str::from_utf8(header).ok());
        let root = self.tracer.sample_root(caller.and_then(TraceContext::from_traceparent));
        let parsed = parse_record(&record.payload);
        let span = root.sampled().then(|| self.span(root, &record, accepted_us));
        let trace = span.as_ref().map_or(root, StageSpan::context);
        let timeout = self.timeouts.of(parsed.as_ref().ok().and_then(|ask| ask.timeout));
        let label = match &parsed {
            Ok(ask) => ask.request_id.as_deref(),
            Err(rejected) => rejected.request_id.as_deref(),
        };
        let (ask, result_partition) = self.identity(&record, label);
        let (partition, offset, timestamp_ms) = (record.partition, record.offset, record.timestamp_ms);
        let origin = Origin::Kafka(KafkaOrigin { partition, offset, timestamp_ms });
        let admission = Admission { ask, result_partition, origin, accepted_us, timeout, trace, idempotent: None };
        // who writes the records keyed by user has said what to stay by
        let parsed = parsed.map(|ask| Ask { key: ask.key.or_else(|| record_key(&record)), ..ask });
        let topic = Arc::clone(&self.topic);
        Taken::decided(parsed, &admission, span, false, |code, message| DeadLetter { code, message, topic, record })
    }

    /// Identity and home, both pure functions of the record. The source partition is left out of the home on purpose:
    /// all source partitions advance together.
    fn identity(&self, record: &RawRecord, label: Option<&str>) -> (RequestId, u32) {
        let partitions = self.partitions.max(1);
        match label.filter(|_| self.label_is_identity) {
            Some(label) => {
                let ask = RequestId::of_key("kafka", label);
                (ask, ask.result_partition(partitions))
            }
            None => {
                let ask = RequestId::of_record(&self.topic, record.partition, record.offset, record.timestamp_ms);
                (ask, ((record.offset >> NEIGHBOURS) % u64::from(partitions)) as u32)
            }
        }
    }

    fn span(&self, root: TraceContext, record: &RawRecord, start_us: u64) -> StageSpan {
        let mut span = self.tracer.start(format!("process {}", self.topic), SpanKind::Consumer, root, start_us);
        span.set("messaging.system", "kafka");
        span.set("messaging.operation.name", "process");
        span.set("messaging.operation.type", "process");
        span.set("messaging.destination.name", self.topic.to_string());
        span.set("messaging.consumer.group.name", self.group.to_string());
        span.set("messaging.destination.partition.id", record.partition.to_string());
        span.set("messaging.kafka.offset", i64::try_from(record.offset).unwrap_or(i64::MAX));
        span
    }
}

fn record_key(record: &RawRecord) -> Option<SplitKey> {
    let key = record.key.as_ref().and_then(|key| std::str::from_utf8(key).ok());
    key.filter(|key| !key.is_empty()).map(SplitKey::of_text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn door(label_is_identity: bool) -> RecordDoor {
        RecordDoor {
            topic: "in".into(),
            group: "g".into(),
            partitions: 4,
            timeouts: Timeouts { default: Duration::from_secs(60), most: Duration::from_secs(300) },
            label_is_identity,
            tracer: StageTracer::disabled(),
        }
    }

    fn record(offset: u64, text: &str) -> RawRecord {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        RawRecord { payload, key: None, partition: 1, offset, timestamp_ms: 5, headers: vec![] }
    }

    fn asked(taken: Taken) -> Item<Request> {
        match taken {
            Taken::Asked(item, _) => item,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_becomes_an_item_whose_identity_is_its_place() {
        let text = r#"{"request_id":"load_test_0","features":[1,2],"model_version":"v1","timeout_ms":100}"#;
        let item = asked(door(false).take(record(700, text), 1_000));
        assert_eq!(item.context.request_id(), RequestId::of_record("in", 1, 700, 5));
        assert_eq!((item.context.result_partition(), item.context.deadline_us()), (2, 101_000));
        assert_eq!(item.context.client_request_id(), Some("load_test_0"));
        let origin = Origin::Kafka(KafkaOrigin { partition: 1, offset: 700, timestamp_ms: 5 });
        assert_eq!(item.context.origin(), Some(&origin));
        assert_eq!((item.payload.version.as_str(), item.payload.features.as_slice()), ("v1", &[1.0, 2.0][..]));
        let again = asked(door(false).take(record(701, text), 1_000));
        assert_ne!(again.context.request_id(), item.context.request_id(), "clients reuse their labels");
        assert_eq!(again.context.result_partition(), item.context.result_partition(), "neighbours stay together");
    }

    #[test]
    fn a_label_is_the_identity_only_where_settings_say_so() {
        let text = r#"{"request_id":"a","features":[1]}"#;
        let (one, two) = (asked(door(true).take(record(1, text), 0)), asked(door(true).take(record(999, text), 0)));
        assert_eq!(one.context.request_id(), two.context.request_id());
        assert_eq!(one.context.result_partition(), two.context.result_partition());
        let nameless = asked(door(true).take(record(1, r#"{"features":[1]}"#), 0));
        assert_eq!(nameless.context.request_id(), RequestId::of_record("in", 1, 1, 5));
    }

    #[test]
    fn a_client_stays_with_its_version_by_its_key_or_that_of_its_records() {
        let key = |text: &str, key: Option<&'static [u8]>| {
            let record = RawRecord { key: key.map(Bytes::from_static), ..record(1, text) };
            SplitKey::from_wire(asked(door(false).take(record, 0)).payload.split_key)
        };
        let (alice, bob) = (Some(SplitKey::of_text("alice")), Some(SplitKey::of_text("bob")));
        let (with, without) = (r#"{"features":[1],"key":"alice"}"#, r#"{"features":[1]}"#);
        assert_eq!(key(with, Some(b"bob")), alice);
        assert_eq!(key(without, Some(b"bob")), bob);
        for none in [None, Some(&b""[..]), Some(b"\xff")] {
            assert_eq!(key(without, none), None);
        }
    }

    #[test]
    fn the_caller_s_trace_goes_on() {
        let mut record = record(1, r#"{"features":[1]}"#);
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        record.headers.push(("traceparent".into(), Bytes::from_static(header.as_bytes())));
        let item = asked(door(false).take(record, 0));
        assert!(item.context.sampled());
        assert_eq!(item.parent_span, 0xb7ad_6b71_6920_3331);
    }

    #[test]
    fn what_is_understood_is_answered_and_what_is_not_is_kept() {
        let refused = door(false).take(record(1, r#"{"request_id":"a","features":["x"]}"#), 0);
        let Taken::Refused(item) = refused else { panic!("{refused:?}") };
        assert_eq!(item.context.client_request_id(), Some("a"));

        let dead = door(false).take(record(1, r#"{"request_id":"a","features":[1"#), 0);
        let Taken::Dead(letter, Some(told)) = dead else { panic!("{dead:?}") };
        assert_eq!((letter.code, &*letter.topic, letter.record.offset), ("invalid_request", "in", 1));
        assert_eq!(&letter.record.payload[..], br#"{"request_id":"a","features":[1"#);
        assert_eq!(told.context.client_request_id(), Some("a"));

        for nobody in ["", "\u{0}\u{1}", "[]"] {
            assert!(matches!(door(false).take(record(1, nobody), 0), Taken::Dead(_, None)), "{nobody:?}");
        }
    }
}
