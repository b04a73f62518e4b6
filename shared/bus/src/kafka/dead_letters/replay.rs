//! Sends the original records of dead letters to their topics again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::stored::StoredDeadLetter;
use crate::kafka::client::{self, Client};

/// Longest time for one record.
const RECORD: &str = "15000";
const ALL: Duration = Duration::from_secs(120);

/// Partition and offset of a record that was sent again, or why it was not written.
pub type Replayed = Result<(i32, i64), String>;

/// What became of each record, by its number.
#[derive(Default)]
struct Reports(Mutex<Vec<(usize, Replayed)>>);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        client::log(level, facility, text);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, report: &DeliveryResult<'_>, number: Box<usize>) {
        let end = match report {
            Ok(record) if record.offset() < 0 => {
                Err("it may be written or not: it is reported without an offset".to_owned())
            }
            Ok(record) => Ok((record.partition(), record.offset())),
            Err((error, _)) => Err(error.to_string()),
        };
        self.0.lock().push((*number, end));
    }
}

/// Sends the original record of each letter to its topic and partition: the bytes, the key and the headers, without
/// those of the letter. Returns what became of each.
///
/// # Errors
/// When the client refuses the settings.
pub fn replay_letters(client: &Client, letters: &[StoredDeadLetter]) -> Result<Vec<Replayed>, KafkaError> {
    let mut config = client.producer();
    config.set("message.timeout.ms", RECORD);
    let producer: BaseProducer<Reports> = config.create_with_context(Reports::default())?;
    let deadline = Instant::now() + ALL;
    let mut ends = vec![Err("no report came in time".to_owned()); letters.len()];
    for (number, letter) in letters.iter().enumerate() {
        let topic = letter.topic();
        let headers = letter.original_headers().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_ref()) })
        });
        let mut record = BaseRecord::with_opaque_to(&topic, Box::new(number));
        record = record.payload(letter.payload().as_ref()).headers(headers);
        record.partition = letter.partition();
        record.key = letter.key().map(AsRef::as_ref);
        while let Err((error, refused)) = producer.send::<[u8], [u8]>(record) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) && Instant::now() < deadline;
            if !full {
                ends[number] = Err(error.to_string());
                break;
            }
            producer.poll(Duration::from_millis(100));
            record = refused;
        }
    }
    // what has no report yet keeps the error that it began with
    let _ = producer.flush(deadline.saturating_duration_since(Instant::now()));
    for (number, end) in producer.context().0.lock().drain(..) {
        ends[number] = end;
    }
    Ok(ends)
}
