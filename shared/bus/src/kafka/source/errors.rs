//! What a source does about the errors that its client reports.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Intake;
use super::member::Member;
use super::unreadable::is_unreadable;

/// Interval between retries after an authorization failure.
const RETRY_ACCESS: Duration = Duration::from_secs(1);

impl<I: Intake> Member<I> {
    pub(super) fn note(&mut self, error: &KafkaError) {
        use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed};
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                let topics = self.topics.names().join(" or ");
                let why = format!("topic {topics} does not exist; `forebay topics create` makes it");
                self.events.unready(&why);
            }
            Some(code @ (TopicAuthorizationFailed | GroupAuthorizationFailed)) => {
                self.forbidden.get_or_insert_with(Instant::now);
                let topics = self.topics.names().join(" or ");
                self.events.unready(&format!("no right to read topic {topics} in this group: {code}"));
            }
            Some(RDKafkaErrorCode::AutoOffsetReset) => self.position_lost = true,
            code if is_unreadable(code) => self.suspect_unreadable(),
            Some(RDKafkaErrorCode::PollExceeded) => {
                self.events.unready("this member was too slow and lost its partitions")
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                self.events.fail(&format!("consumer of {}: {error}", self.topic));
            }
            _ => tracing::debug!(topic = &*self.topic, %error, "consumer reports an error"),
        }
    }

    /// A member without access checks its topic only every 30 s; a request for the metadata of all topics makes it
    /// check at once.
    pub(super) fn refresh_metadata(&mut self) {
        let Some(last_try) = &mut self.forbidden else { return };
        if last_try.elapsed() > RETRY_ACCESS && self.offsets.assigned().is_empty() {
            *last_try = Instant::now();
            if let Err(error) = self.consumer.fetch_metadata(None, RETRY_ACCESS) {
                tracing::debug!(topic = &*self.topic, %error, "topics cannot be listed");
            }
        }
    }
}
