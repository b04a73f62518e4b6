//! Background work for the topics of a stage: creates them where settings say so, and keeps their partition counts
//! known.

use std::sync::Arc;
use std::time::Duration;

use forebay_contract::edges::EDGES;
use forebay_runtime::{Heartbeat, Host, Lifecycle, StartError, TopicSettings};
use parking_lot::Mutex;

use super::broker_contact::DeadClientCheck;
use super::client::{Client, spawn};
use super::foreign_topics::{DESCRIBE, ForeignTopics};
use super::producer::RecordSink;
use super::topics::{PlannedTopic, lane_topics, planned_topics, topic_name};
use crate::{BusSettings, EdgeEvents, EventHubs};

const METADATA: Duration = Duration::from_secs(2);
/// Longest time for listing the topics and creating those that are missing.
const CREATE: Duration = Duration::from_secs(60);
const REFRESH: Duration = Duration::from_secs(30);
/// Between attempts while a topic was never seen, and once all were.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_millis(500);
/// A component that was ready stays so until this many attempts in a row have failed: requests need no metadata, and a broker
/// that is busy for a moment is no reason to refuse them.
const ATTEMPTS: u32 = 3;
/// Interval between looks for edges that have opened, as long as a pause is younger than `SOON`.
const STEP: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(1);

/// The background thread of one stage's topics.
pub(crate) struct TopicMonitor {
    client: Client,
    sink: RecordSink,
    watched: Arc<Mutex<Vec<Arc<str>>>>,
    foreign: ForeignTopics,
    inner: Vec<String>,
    /// The topics that must fit into the Event Hubs namespace; `None` without Event Hubs, or once that was checked.
    hubs: Option<Vec<String>>,
    missing: Option<Vec<PlannedTopic>>,
    lifecycle: Lifecycle,
    /// Failed attempts since the last that succeeded.
    failed: u32,
}

impl TopicMonitor {
    pub(crate) fn new(
        host: &Host,
        settings: &BusSettings,
        client: Client,
        sink: RecordSink,
        watched: Arc<Mutex<Vec<Arc<str>>>>,
        foreign: ForeignTopics,
    ) -> Self {
        let topics = &host.settings().topics;
        let missing = settings.kafka.create_topics.then(|| planned_topics(topics, settings.kafka.lanes));
        let hubs = settings.event_hubs.enabled.then(|| topics.all().map(|(_, name)| name.to_owned()).into());
        let (inner, lifecycle) = (inner_topics(topics, settings.kafka.lanes), host.lifecycle().clone());
        Self { client, sink, watched, foreign, inner, hubs, missing, lifecycle, failed: 0 }
    }

    /// Runs until the process drains; ready once the broker has answered for every topic that the stage writes, and until it
    /// has failed to do so several times in a row.
    pub(crate) fn start(mut self, events: Arc<dyn EdgeEvents>, heartbeat: Heartbeat) -> Result<(), StartError> {
        let mut dead_client = DeadClientCheck::new(&self.client, self.inner.first().map_or("", String::as_str));
        spawn("kafka-topics", move || {
            while !self.lifecycle.is_draining() {
                heartbeat.beat();
                self.count_hubs();
                let made = {
                    let _waiting = heartbeat.waiting(CREATE);
                    self.make_missing(events.as_ref())
                };
                let known = made && self.refresh(events.as_ref(), &heartbeat);
                if known {
                    let _waiting = heartbeat.waiting(DESCRIBE * 3);
                    self.foreign.check(&self.client);
                }
                // edges that open during the pause are checked at once
                let pause = match (known, self.all_known()) {
                    (true, _) => REFRESH,
                    (false, true) => RETRY,
                    (false, false) => FIRST_RETRY,
                };
                self.rest(pause, || {
                    heartbeat.beat();
                    self.sink.replace_dead_client(&mut dead_client, &heartbeat);
                    known && (!self.all_known() || self.foreign.has_new())
                });
            }
        })
    }

    fn make_missing(&mut self, events: &dyn EdgeEvents) -> bool {
        let Some(topics) = &self.missing else { return true };
        let settings = self.client.settings();
        match super::create_topics(&self.client, topics, settings.partitions, settings.replication) {
            Ok(_) => self.missing = None,
            Err(error) => events.unready(&error.to_string()),
        }
        self.missing.is_none()
    }

    /// Logs once that a namespace has no room for the missing hubs. A missing hub itself makes the component unready.
    fn count_hubs(&mut self) {
        let Some(wanted) = &self.hubs else { return };
        let Ok(existing) = self.sink.topics(METADATA) else { return };
        if let Some(text) = no_room(wanted, &existing) {
            tracing::warn!(text, "event hubs namespace");
        }
        self.hubs = None;
    }

    fn refresh(&mut self, events: &dyn EdgeEvents, heartbeat: &Heartbeat) -> bool {
        let expected = self.client.settings().partitions.unsigned_abs();
        let topics = self.watched.lock().clone();
        for topic in &topics {
            heartbeat.beat();
            match self.sink.refresh(topic, METADATA) {
                Ok(found) if found != expected && self.inner.iter().any(|name| **name == **topic) => {
                    events.unready(&format!("topic {topic} has {found} partitions and kafka.partitions is {expected}"));
                    return false;
                }
                Ok(_) => {}
                Err(error) => {
                    let why = format!("topic {topic}: {}", self.sink.explain(&error));
                    // a topic that was never seen is missing, or not for this client
                    let known = self.sink.partitions(topic).is_some();
                    match still_ready(known, &mut self.failed) {
                        true => tracing::debug!(why, "metadata cannot be read, trying again"),
                        false => events.unready(&why),
                    }
                    return false;
                }
            }
        }
        self.failed = 0;
        events.ready();
        true
    }

    fn all_known(&self) -> bool {
        self.watched.lock().iter().all(|topic| self.sink.partitions(topic).is_some())
    }

    fn rest(&self, time: Duration, mut until: impl FnMut() -> bool) {
        let mut left = time;
        while !left.is_zero() && !self.lifecycle.is_draining() && !until() {
            // edges open at the start of the process: a little later it need not be looked for them as often
            let step = if time - left < SOON { STEP } else { STEP * 5 }.min(left);
            std::thread::sleep(step);
            left = left.saturating_sub(step);
        }
    }
}

/// Counts a failed attempt for a topic that was `known` before or not; whether the component is ready all the same.
fn still_ready(known: bool, failed: &mut u32) -> bool {
    *failed = failed.saturating_add(1);
    known && *failed < ATTEMPTS
}

/// The warning when the missing hubs do not fit beside the existing ones.
fn no_room(wanted: &[String], existing: &[String]) -> Option<String> {
    let missing: Vec<&str> = wanted.iter().filter(|name| !existing.contains(name)).map(String::as_str).collect();
    let (room, there) = (EventHubs::HUBS, existing.len());
    (!missing.is_empty() && there + missing.len() > room).then(|| {
        let missing = missing.join(", ");
        format!(
            "there are {there} hubs, these are missing: {missing}; a namespace of the Standard tier has room for {room}"
        )
    })
}

/// The topics whose number of partitions has to be `kafka.partitions`.
fn inner_topics(topics: &TopicSettings, lanes: bool) -> Vec<String> {
    let shared = EDGES.iter().filter(|edge| edge.shares_partition_count());
    shared.flat_map(|edge| lane_topics(topic_name(topics, edge), lanes && edge.has_lanes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ready_stays_so_for_two_failures_and_no_more() {
        assert!(!still_ready(false, &mut 0), "nothing is known of the topics yet");
        let mut failed = 0;
        assert_eq!([(); 4].map(|()| still_ready(true, &mut failed)), [true, true, false, false]);
    }

    #[test]
    fn a_namespace_without_room_is_reported_with_what_is_missing() {
        let names = |count: usize| (0..count).map(|i| format!("hub{i}")).collect::<Vec<_>>();
        assert_eq!(no_room(&names(10), &names(10)), None);
        assert_eq!(no_room(&names(10), &names(4)), None, "six are missing, and there is room for them");
        // a namespace of a larger tier, where nothing is missing
        assert_eq!(no_room(&names(10), &names(40)), None);
        let strangers: Vec<String> = names(8).into_iter().chain(["theirs".to_owned()]).collect();
        let message = no_room(&names(10), &strangers).unwrap();
        assert!(message.contains("9 hubs") && message.contains("hub8, hub9"), "{message}");
    }
}
