//! What becomes of one record of the request topic: an item, an error outcome or a dead letter.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use forebay_bus::kafka::{DeadLetter, RawRecord};
use forebay_bus::messaging::{self, MessagingOperation};
use forebay_contract::{ErrorCode, KafkaOrigin, Lane, Origin, Problem, RequestId, SplitKey};
use forebay_runtime::{SpanKind, StageSpan, StageTracer, TraceContext};

use crate::admission::{RequestAdmission, Timeouts};
use crate::inbound::Inbound;
use crate::model_rows::ModelRows;
use crate::parse::Rejected;
use crate::propagation::{PropagatedParts, Propagation};
use crate::record_reader::RecordReader;
use crate::request::{DEFAULT_PRIORITY, ParsedRequest};

/// Runs of 2^8 offsets share a results partition, so that a batch stays whole on its way back.
const NEIGHBOUR_BITS: u32 = 8;
/// The most bytes of all rows of a record.
const MAX_ROWS_BYTES: usize = 4 << 20;

/// Reads records of one topic.
#[derive(Clone, Debug)]
pub struct KafkaIngress {
    /// The request topic and its lanes, in the order of [`Lane::ALL`].
    pub topics: [Arc<str>; 3],
    /// The consumer group that reads it.
    pub group: Arc<str>,
    /// Number of partitions of the inner topics.
    pub partitions: u32,
    /// Timeouts of requests.
    pub timeouts: Timeouts,
    /// Whether the client's `request_id` identifies a request (`ingestion.request_id_is_identity`).
    pub request_id_is_identity: bool,
    /// What the results have of the records.
    pub propagation: Propagation,
    /// What rows models take.
    pub model_rows: ModelRows,
    /// Reads their values.
    pub reader: RecordReader,
    /// Makes the spans of this stage.
    pub tracer: StageTracer,
}

impl KafkaIngress {
    /// Reads one record, accepted at `accepted_us` after it has waited in the topic for `age`, which counts towards its
    /// timeout. One that has waited longer than that is answered with an error by the next stage.
    pub fn accept(&self, record: RawRecord, lane: Lane, accepted_us: u64, age: Duration) -> Inbound {
        let topic = &self.topics[lane.index()];
        let caller = record.header("traceparent").and_then(|header| std::str::from_utf8(header).ok());
        let root = self.tracer.sample_root(caller.and_then(TraceContext::from_traceparent));
        let parsed = self.reader.read(&record);
        let span = root.sampled().then(|| self.span(root, topic, &record, accepted_us));
        let trace = span.as_ref().map_or(root, StageSpan::context);
        let timeout = self.timeouts.effective(parsed.as_ref().ok().and_then(|request| request.timeout));
        let timeout = timeout.saturating_sub(age);
        let request_id = match &parsed {
            Ok(request) => request.request_id.as_deref(),
            Err(rejected) => rejected.request_id.as_deref(),
        };
        let (id, result_partition) = self.identity(topic, &record, request_id);
        let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
        let partition = lane.origin_partition(record.partition);
        let parts = self.propagation.of(&record);
        let parsed = parsed.and_then(|request| {
            let bytes = parts.as_ref().map(PropagatedParts::bytes).map_err(Problem::clone);
            match bytes.and_then(|bytes| check_size(&request, bytes)) {
                Ok(()) => Ok(request),
                Err(problem) => Err(Rejected { problem, request_id: request.request_id, undecodable: false }),
            }
        });
        let PropagatedParts { key, headers } = parts.unwrap_or_default();
        let origin = Origin::Kafka(KafkaOrigin { partition, offset, timestamp_ms, key, headers });
        let admission =
            RequestAdmission { id, result_partition, origin, accepted_us, timeout, trace, idempotent: None, caller: 0 };
        // a producer that keys its records has already said which requests belong together
        let parsed = parsed.map(|it| {
            let priority = if it.priority == DEFAULT_PRIORITY { lane.priority() } else { it.priority };
            ParsedRequest { key: it.key.or_else(|| record_key(&record)), priority, ..it }
        });
        let topic = Arc::clone(topic);
        Inbound::from_parsed(parsed, &self.model_rows, &admission, span, false, |code, message| DeadLetter {
            code,
            message,
            topic,
            record,
        })
    }

    /// Identity and results partition, both pure functions of the record. The source partition is left out of the latter
    /// on purpose: all source partitions advance together.
    fn identity(&self, topic: &str, record: &RawRecord, request_id: Option<&str>) -> (RequestId, u32) {
        let partitions = self.partitions.max(1);
        match request_id.filter(|_| self.request_id_is_identity) {
            Some(request_id) => {
                // ids of another topic are those of other clients; lanes are one topic
                let whole = &self.topics[Lane::Normal.index()];
                let caller: Cow<'_, str> =
                    if self.reader.has_model() { format!("kafka:{whole}").into() } else { "kafka".into() };
                let id = RequestId::of_key(&caller, request_id);
                (id, id.result_partition(partitions))
            }
            None => {
                let id = RequestId::of_record(topic, record.partition, record.offset, record.timestamp_ms);
                (id, ((record.offset >> NEIGHBOUR_BITS) % u64::from(partitions)) as u32)
            }
        }
    }

    fn span(&self, root: TraceContext, topic: &str, record: &RawRecord, start_us: u64) -> StageSpan {
        let mut span = self.tracer.start(format!("process {topic}"), SpanKind::Consumer, root, start_us);
        messaging::set_messaging(&mut span, messaging::KAFKA, MessagingOperation::Process, topic);
        messaging::set_consumer_group(&mut span, &self.group);
        messaging::set_partition(&mut span, record.partition);
        messaging::set_offset(&mut span, i64::try_from(record.offset).unwrap_or(i64::MAX));
        span
    }
}

/// Checks that the rows of a record are not much larger than the record: each has its parameters, and what its result
/// propagates.
fn check_size(request: &ParsedRequest, propagated: usize) -> Result<(), Problem> {
    if !request.features.many() {
        return Ok(());
    }
    let bytes: usize = request.row_weights().map(|row| row + propagated).sum();
    if bytes <= MAX_ROWS_BYTES {
        return Ok(());
    }
    let (rows, most) = (request.features.rows().len(), MAX_ROWS_BYTES >> 20);
    let text =
        format!("{rows} rows with their parameters and what is propagated are {bytes} bytes, at most {most} MiB");
    Err(Problem::new(ErrorCode::PayloadTooLarge, text))
}

fn record_key(record: &RawRecord) -> Option<SplitKey> {
    let key = record.key.as_ref().and_then(|key| std::str::from_utf8(key).ok());
    key.filter(|key| !key.is_empty()).map(SplitKey::of_text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use forebay_contract::{Item, Request};

    use super::*;

    fn ingress(request_id_is_identity: bool) -> KafkaIngress {
        KafkaIngress {
            topics: Lane::ALL.map(|lane| lane.topic("in").into()),
            group: "g".into(),
            partitions: 4,
            timeouts: Timeouts { default: Duration::from_secs(60), max: Duration::from_secs(300) },
            request_id_is_identity,
            propagation: Propagation::new(true, &["correlation".into()]),
            model_rows: ModelRows::new(forebay_bus::ModelDirectory::new("here"), "m", 0),
            reader: RecordReader::default(),
            tracer: StageTracer::disabled(),
        }
    }

    fn record(offset: u64, text: &str) -> RawRecord {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        RawRecord { payload, key: None, partition: 1, offset, timestamp_ms: 5, headers: vec![] }
    }

    fn accepted(taken: Inbound) -> Item<Request> {
        match taken {
            Inbound::Accepted(mut rows, _) if rows.len() == 1 => rows.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn key_and_headers_are_propagated_and_too_much_of_them_is_an_error() {
        let with = |bytes: usize| {
            let headers = vec![("correlation".to_owned(), Bytes::from(vec![7; bytes])), ("x".to_owned(), Bytes::new())];
            let record = RawRecord { key: Some("k".into()), headers, ..record(1, r#"{"features":[1]}"#) };
            ingress(false).accept(record, Lane::Normal, 0, Duration::ZERO)
        };
        let item = accepted(with(3));
        let Some(Origin::Kafka(origin)) = item.context.origin() else { panic!("{item:?}") };
        let names: Vec<&str> = origin.headers.iter().map(|header| header.name.as_str()).collect();
        assert_eq!((origin.key.as_deref(), names), (Some(&b"k"[..]), vec!["correlation"]));
        let Inbound::Rejected(item) = with(5000) else { panic!("accepted") };
        let Some(Origin::Kafka(origin)) = item.context.origin() else { panic!("{item:?}") };
        assert!(origin.key.is_none() && origin.headers.is_empty());
    }

    #[test]
    fn rows_that_share_large_parameters_are_bounded_together() {
        let reader = RecordReader::of_rows(4096);
        let take = |rows: usize, params: usize| {
            let param = |number| format!(r#""p{number}":"{}""#, "x".repeat(500));
            let params = (0..params).map(param).collect::<Vec<_>>().join(",");
            let json = format!(r#"{{"features":[{}],"params":{{{params}}}}}"#, vec!["[1]"; rows].join(","));
            KafkaIngress { reader: reader.clone(), ..ingress(false) }.accept(
                record(1, &json),
                Lane::Normal,
                0,
                Duration::ZERO,
            )
        };
        assert!(matches!(take(4096, 1), Inbound::Accepted(rows, _) if rows.len() == 4096));
        let Inbound::Rejected(item) = take(4096, 3) else { panic!("accepted") };
        assert_eq!(item.context.rows(), 1);
        assert!(matches!(take(100, 3), Inbound::Accepted(..)));
    }

    #[test]
    fn a_record_becomes_an_item_identified_by_its_position() {
        let text = r#"{"request_id":"load_test_0","features":[1,2],"model_version":"v1","timeout_ms":100}"#;
        let item = accepted(ingress(false).accept(record(700, text), Lane::Normal, 1_000, Duration::ZERO));
        assert_eq!(item.context.request_id(), RequestId::of_record("in", 1, 700, 5));
        assert_eq!((item.context.result_partition(), item.context.deadline_us()), (2, 101_000));
        assert_eq!(item.context.client_request_id(), Some("load_test_0"));
        let origin =
            Origin::Kafka(KafkaOrigin { partition: 1, offset: 700, timestamp_ms: 5, ..KafkaOrigin::default() });
        assert_eq!(item.context.origin(), Some(&origin));
        assert_eq!((item.payload.version.as_str(), item.payload.features.as_slice()), ("v1", &[1.0, 2.0][..]));
        let again = accepted(ingress(false).accept(record(701, text), Lane::Normal, 1_000, Duration::ZERO));
        assert_ne!(again.context.request_id(), item.context.request_id(), "clients reuse their request ids");
        assert_eq!(again.context.result_partition(), item.context.result_partition(), "neighbours stay together");
    }

    #[test]
    fn the_time_in_the_topic_counts_towards_the_timeout() {
        let deadline = |text: &str, age: u64| {
            accepted(ingress(false).accept(record(1, text), Lane::Normal, 1_000_000_000, Duration::from_secs(age)))
                .context
                .deadline_us()
                / 1_000_000
        };
        let (plain, own) = (r#"{"features":[1]}"#, r#"{"features":[1],"timeout_ms":5000}"#);
        assert_eq!([0, 20, 60, 3600].map(|age| deadline(plain, age)), [1060, 1040, 1000, 1000]);
        assert_eq!([0, 4, 3600].map(|age| deadline(own, age)), [1005, 1001, 1000]);
    }

    #[test]
    fn a_request_id_is_the_identity_only_if_settings_say_so() {
        let text = r#"{"request_id":"a","features":[1]}"#;
        let (one, two) = (
            accepted(ingress(true).accept(record(1, text), Lane::Normal, 0, Duration::ZERO)),
            accepted(ingress(true).accept(record(999, text), Lane::Normal, 0, Duration::ZERO)),
        );
        assert_eq!(one.context.request_id(), two.context.request_id());
        assert_eq!(one.context.result_partition(), two.context.result_partition());
        let nameless =
            accepted(ingress(true).accept(record(1, r#"{"features":[1]}"#), Lane::Normal, 0, Duration::ZERO));
        assert_eq!(nameless.context.request_id(), RequestId::of_record("in", 1, 1, 5));
    }

    #[test]
    fn a_request_id_is_one_in_all_lanes_and_another_on_a_topic_with_a_model_of_its_own() {
        let id = |topic: &str, lane: Lane| {
            let topics = Lane::ALL.map(|lane| lane.topic(topic).into());
            let ingress = KafkaIngress { topics, reader: RecordReader::of_model("m"), ..ingress(true) };
            let text = r#"{"request_id":"a","features":[1]}"#;
            accepted(ingress.accept(record(1, text), lane, 0, Duration::ZERO)).context.request_id()
        };
        assert_eq!(id("in", Lane::High), id("in", Lane::Low));
        assert_ne!(id("in", Lane::High), id("other", Lane::High));
    }

    #[test]
    fn a_client_stays_with_its_version_by_its_key_or_the_record_key() {
        let key = |text: &str, key: Option<&'static [u8]>| {
            let record = RawRecord { key: key.map(Bytes::from_static), ..record(1, text) };
            SplitKey::from_wire(
                accepted(ingress(false).accept(record, Lane::Normal, 0, Duration::ZERO)).payload.split_key,
            )
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
    fn a_lane_gives_its_priority_to_requests_that_name_none_and_its_records_an_identity_of_their_own() {
        let item = |text: &str, lane: Lane| accepted(ingress(false).accept(record(1, text), lane, 0, Duration::ZERO));
        let (plain, own) = (r#"{"features":[1]}"#, r#"{"features":[1],"priority":7}"#);
        assert_eq!(Lane::ALL.map(|lane| item(plain, lane).context.priority()), [0, 1, 2]);
        assert_eq!(Lane::ALL.map(|lane| item(own, lane).context.priority()), [7; 3]);
        let ids = Lane::ALL.map(|lane| item(plain, lane).context.request_id());
        assert_eq!(ids, ["in.high", "in", "in.low"].map(|topic| RequestId::of_record(topic, 1, 1, 5)));
        let partitions = Lane::ALL.map(|lane| match item(plain, lane).context.origin() {
            Some(Origin::Kafka(record)) => record.partition,
            other => panic!("{other:?}"),
        });
        assert_eq!(partitions, Lane::ALL.map(|lane| lane.origin_partition(1)));
    }

    #[test]
    fn the_trace_of_the_caller_is_continued() {
        let mut record = record(1, r#"{"features":[1]}"#);
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        record.headers.push(("traceparent".into(), Bytes::from_static(header.as_bytes())));
        let item = accepted(ingress(false).accept(record, Lane::Normal, 0, Duration::ZERO));
        assert!(item.context.sampled());
        assert_eq!(item.parent_span, 0xb7ad_6b71_6920_3331);
    }

    #[test]
    fn a_bad_request_is_answered_and_an_undecodable_record_is_a_dead_letter() {
        let rejected =
            ingress(false).accept(record(1, r#"{"request_id":"a","features":[[]]}"#), Lane::Normal, 0, Duration::ZERO);
        let Inbound::Rejected(item) = rejected else { panic!("{rejected:?}") };
        assert_eq!(item.context.client_request_id(), Some("a"));

        let dead =
            ingress(false).accept(record(1, r#"{"request_id":"a","features":[1"#), Lane::Normal, 0, Duration::ZERO);
        let Inbound::Undecodable(letter, Some(answer)) = dead else { panic!("{dead:?}") };
        assert_eq!((letter.code, &*letter.topic, letter.record.offset), ("invalid_request", "in", 1));
        assert_eq!(&letter.record.payload[..], br#"{"request_id":"a","features":[1"#);
        assert_eq!(answer.context.client_request_id(), Some("a"));

        let mut named = record(1, "\u{0}\u{0}\u{0}\u{0}\u{1}\u{2}");
        named.headers.push(("__value_schema_id".into(), Bytes::from_static(&[1; 17])));
        let dead = ingress(false).accept(named.clone(), Lane::Normal, 0, Duration::ZERO);
        let Inbound::Undecodable(letter, None) = dead else { panic!("{dead:?}") };
        assert!(letter.message.contains("the header __value_schema_id"), "{}", letter.message);
        named.payload = Bytes::from_static(br#"{"features":[1]}"#);
        accepted(ingress(false).accept(named, Lane::Normal, 0, Duration::ZERO));

        for anonymous in ["", "\u{0}\u{1}", "\u{0}\u{0}\u{0}\u{0}\u{1}{}", "[]"] {
            assert!(
                matches!(
                    ingress(false).accept(record(1, anonymous), Lane::Normal, 0, Duration::ZERO),
                    Inbound::Undecodable(_, None)
                ),
                "{anonymous:?}"
            );
        }
    }
}
