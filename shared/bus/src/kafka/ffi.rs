//! The calls to librdkafka for which its Rust wrapper has no safe form. No other file of the bus holds `unsafe` code.
#![allow(unsafe_code, reason = "each block says why it is sound")]

use std::ffi::{CStr, CString, c_char};
use std::ptr::{null, null_mut};
use std::time::Duration;

use rdkafka::bindings::{
    rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
    rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_error, rd_kafka_TopicDescription_name,
    rd_kafka_TopicDescription_topic_id, rd_kafka_Uuid_least_significant_bits, rd_kafka_Uuid_most_significant_bits,
    rd_kafka_commit_queue, rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
    rd_kafka_consumer_group_metadata_member_id, rd_kafka_error_code, rd_kafka_event_DescribeTopics_result,
    rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_event_t, rd_kafka_header_get_all, rd_kafka_message_headers,
    rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll,
};
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr::{RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR_NO_ERROR};
use rdkafka::{ClientContext, TopicPartitionList};

use super::topic_id::TopicId;

/// Calls `see` with the name and the value of every header, in the order of the record. A name is any bytes: the wrapper
/// panics at one that is not UTF-8, and clients in other languages write such names.
pub(super) fn for_each_header(message: &BorrowedMessage<'_>, mut see: impl FnMut(&[u8], &[u8])) {
    let mut headers = null_mut();
    // SAFETY: the message is valid for as long as it is borrowed, and `headers` is a place to write a pointer to.
    let found = unsafe { rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if found != RD_KAFKA_RESP_ERR_NO_ERROR {
        return; // the record has none
    }
    for index in 0.. {
        let (mut name, mut value, mut size) = (null(), null(), 0);
        // SAFETY: librdkafka has just returned `headers`, which the borrowed message owns; an index past the end is an error.
        let found = unsafe { rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size) };
        if found != RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        // SAFETY: without an error `name` is a string of the message that ends with a zero byte.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        let value = if value.is_null() {
            &[]
        } else {
            // SAFETY: without an error `value` is null or has `size` bytes that live as long as the message.
            unsafe { std::slice::from_raw_parts(value.cast::<u8>(), size) }
        };
        see(name, value);
    }
}

/// The id under which the group knows this consumer; `None` while it is no member.
pub(super) fn member_id<C: ClientContext>(consumer: &Client<C>) -> Option<String> {
    // SAFETY: the client lives for as long as it is borrowed; the answer is null or ours to destroy.
    let metadata = unsafe { rd_kafka_consumer_group_metadata(consumer.native_ptr()) };
    if metadata.is_null() {
        return None;
    }
    // SAFETY: `metadata` is valid, and its member id is null or a string that lives as long.
    let id = unsafe {
        let id = rd_kafka_consumer_group_metadata_member_id(metadata);
        if id.is_null() { String::new() } else { CStr::from_ptr(id).to_string_lossy().into_owned() }
    };
    // SAFETY: it is destroyed once, and `id` is a copy.
    unsafe { rd_kafka_consumer_group_metadata_destroy(metadata) };
    Some(id).filter(|id| !id.is_empty())
}

/// Commits `offsets`, or what is stored in the client, and waits for the broker's answer for at most `longest`: the
/// wrapper's synchronous commit waits for as long as a broker hangs. After a time-out the commit may still take place.
///
/// # Errors
/// The broker's or the client's error; `OperationTimedOut` when there is no answer.
pub(super) fn commit_within<C: ClientContext>(
    consumer: &Client<C>,
    offsets: Option<&TopicPartitionList>,
    longest: Duration,
) -> KafkaResult<()> {
    let client = consumer.native_ptr();
    let offsets = offsets.map_or_else(null, |list| list.ptr().cast_const());
    let longest = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives for as long as it is borrowed. The queue is ours to destroy, once; what arrives in it later
    // is dropped by librdkafka. The list is null or borrowed, and librdkafka copies it. Without a callback the answer is an
    // event, which is null after the time or ours to destroy.
    let code = unsafe {
        let queue = rd_kafka_queue_new(client);
        let mut code = rd_kafka_commit_queue(client, offsets, queue, None, null_mut());
        if code == RD_KAFKA_RESP_ERR_NO_ERROR {
            let answer = rd_kafka_queue_poll(queue, longest);
            code = if answer.is_null() { RD_KAFKA_RESP_ERR__TIMED_OUT } else { rd_kafka_event_error(answer) };
            rd_kafka_event_destroy(answer);
        }
        rd_kafka_queue_destroy(queue);
        code
    };
    match code {
        RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::from(code))),
    }
}

/// The ids of the topics with these names; `None` for one that does not exist, and where the broker does not tell ids.
///
/// # Errors
/// The broker's or the client's error; `OperationTimedOut` when there is no answer within `longest`.
pub(super) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    longest: Duration,
) -> KafkaResult<Vec<Option<TopicId>>> {
    // no topic has a name with a zero byte
    let texts: Vec<CString> = names.iter().map(|name| CString::new(*name).unwrap_or_default()).collect();
    let mut pointers: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    let longest = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives for as long as it is borrowed, and librdkafka copies the names. Collection and queue are ours
    // to destroy, once; what arrives in the queue later is dropped by librdkafka. The answer is null after the time or ours
    // to destroy, and `described` copies what it reads.
    let described = unsafe {
        let queue = rd_kafka_queue_new(client.native_ptr());
        let collection = rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        rd_kafka_DescribeTopics(client.native_ptr(), collection, null(), queue);
        rd_kafka_TopicCollection_destroy(collection);
        let answer = rd_kafka_queue_poll(queue, longest);
        let code = if answer.is_null() { RD_KAFKA_RESP_ERR__TIMED_OUT } else { rd_kafka_event_error(answer) };
        let described = if code == RD_KAFKA_RESP_ERR_NO_ERROR { Ok(described(answer)) } else { Err(code) };
        rd_kafka_event_destroy(answer);
        rd_kafka_queue_destroy(queue);
        described
    };
    let described = described.map_err(|code| KafkaError::MetadataFetch(RDKafkaErrorCode::from(code)))?;
    let id = |text: &CString| described.iter().find(|(name, _)| name == text).and_then(|(_, id)| *id);
    Ok(texts.iter().map(id).collect())
}

/// Names and ids in an answer.
///
/// # Safety
/// `answer` is the event of a description of topics without an error.
unsafe fn described(answer: *mut rd_kafka_event_t) -> Vec<(CString, Option<TopicId>)> {
    let mut count = 0;
    // SAFETY: as the caller promises; `topics` has `count` pointers to descriptions, all of which live as long as the event,
    // and so do their names, errors and ids.
    unsafe {
        let topics =
            rd_kafka_DescribeTopics_result_topics(rd_kafka_event_DescribeTopics_result(answer), &raw mut count);
        let topics = if topics.is_null() { &[] } else { std::slice::from_raw_parts(topics, count) };
        let describe = |topic: &*const _| {
            let name = CStr::from_ptr(rd_kafka_TopicDescription_name(*topic)).to_owned();
            let known = rd_kafka_error_code(rd_kafka_TopicDescription_error(*topic)) == RD_KAFKA_RESP_ERR_NO_ERROR;
            let id = known.then(|| rd_kafka_TopicDescription_topic_id(*topic)).filter(|id| !id.is_null());
            let bits = |id| (rd_kafka_Uuid_most_significant_bits(id), rd_kafka_Uuid_least_significant_bits(id));
            (name, id.and_then(|id| TopicId::of_bits(bits(id))))
        };
        topics.iter().map(describe).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rdkafka::Offset;
    use rdkafka::bindings::{
        rd_kafka_header_add, rd_kafka_headers_new, rd_kafka_produceva, rd_kafka_vtype_t, rd_kafka_vu_s__bindgen_ty_1,
        rd_kafka_vu_t,
    };
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer as _};

    use crate::kafka::record::copy_record;

    /// Writes a record with these headers to partition 0 of `topic`.
    fn produce(producer: &BaseProducer, topic: &CStr, headers: &[(&[u8], &[u8])]) {
        // SAFETY: every pointer is to data that lives until the call returns; librdkafka copies names and values, and owns the
        // headers after it.
        unsafe {
            let list = rd_kafka_headers_new(headers.len());
            for (name, value) in headers {
                let (name_size, size) = (name.len() as isize, value.len() as isize);
                rd_kafka_header_add(list, name.as_ptr().cast(), name_size, value.as_ptr().cast(), size);
            }
            let parts = [
                rd_kafka_vu_t {
                    vtype: rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
                    u: rd_kafka_vu_s__bindgen_ty_1 { cstr: topic.as_ptr() },
                },
                rd_kafka_vu_t {
                    vtype: rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
                    u: rd_kafka_vu_s__bindgen_ty_1 { i32_: 0 },
                },
                rd_kafka_vu_t {
                    vtype: rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
                    u: rd_kafka_vu_s__bindgen_ty_1 { headers: list },
                },
            ];
            let error = rd_kafka_produceva(producer.client().native_ptr(), parts.as_ptr(), parts.len());
            assert!(error.is_null());
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    use super::*;

    #[test]
    fn a_header_name_may_be_any_bytes() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("requests", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "reader");
        let producer: BaseProducer = config.create().unwrap();
        produce(&producer, c"requests", &[(b"plain", b"1"), (b"caf\xe9", b"2"), (b"", b"")]);
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("requests", 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let message = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
        let record = copy_record(&message, &mut BytesMut::new());
        let headers: Vec<(&str, &[u8])> = record.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected: [(&str, &[u8]); 4] =
            [("plain", b"1"), ("caf\u{fffd}", b"2"), ("forebay-header-name", b"caf\xe9"), ("", b"")];
        assert_eq!(headers, expected);
    }

    #[test]
    fn topic_ids_are_waited_for_no_longer_than_they_may() {
        // its mock has no controller, which is who is asked
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("requests", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "reader");
        let consumer: BaseConsumer = config.create().unwrap();
        let late = topic_ids(consumer.client(), &["requests"], Duration::from_millis(100));
        assert_eq!(late, Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut)));
    }

    #[test]
    fn a_commit_waits_for_the_broker_and_no_longer_than_it_may() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("requests", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "reader");
        let consumer: BaseConsumer = config.create().unwrap();
        let commit = |offset, longest| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset("requests", 0, Offset::Offset(offset)).unwrap();
            commit_within(consumer.client(), Some(&list), longest)
        };
        let committed = || {
            let mut list = TopicPartitionList::new();
            list.add_partition("requests", 0);
            let list = consumer.committed_offsets(list, Duration::from_secs(20)).unwrap();
            list.find_partition("requests", 0).unwrap().offset()
        };
        commit(3, Duration::from_secs(20)).unwrap();
        assert_eq!(committed(), Offset::Offset(3));
        let stored = commit_within(consumer.client(), None, Duration::from_secs(20));
        assert_eq!(stored, Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)), "nothing is stored");
        cluster.broker_round_trip_time(1, Duration::from_secs(3)).unwrap();
        let hung = std::time::Instant::now();
        let late = commit(4, Duration::from_millis(300));
        assert_eq!(late, Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut)));
        assert!(hung.elapsed() < Duration::from_secs(2), "{:?}", hung.elapsed());
        cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(committed(), Offset::Offset(4), "it takes place later");
    }
}
