//! Partitions that have been read to their end and still show lag: what is behind their last record are the marks of a
//! transactional producer, which the client never hands out. The position is committed behind them, so that the group's
//! lag is 0.

use std::sync::mpsc::{Receiver, TryRecvError, channel};

use rdkafka::consumer::Consumer;
use rustc_hash::FxHashMap;

use super::Intake;
use super::member::Member;
use super::unreadable::BatchReader;
use crate::kafka::client::spawn;

/// A partition without open work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Idle {
    /// Its key.
    key: i32,
    generation: u64,
    position: i64,
}

/// What is known of partitions with lag and without work.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Where they were at the last report of lag.
    idle: FxHashMap<i32, Idle>,
    /// The check that runs, and what it finds: a partition and its end.
    check: Option<Receiver<(Idle, i64)>>,
}

impl<I: Intake> Member<I> {
    /// Moves watermarks over what is no record. Partitions that had lag at two reports, and no work in between, are read
    /// once more by a client of their own: it reaches the end without meeting a record.
    pub(super) fn settle_ends(&mut self) {
        if let Some(check) = &self.ends.check {
            match check.try_recv() {
                Ok((Idle { key, generation, position }, end)) => {
                    self.offsets.skip(key, generation, position, end);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.ends.check = None,
            }
        }
        let Some(lagging) = self.consumer.context().take_lagging() else { return };
        let next: FxHashMap<i32, i64> = self.positions.next_of(&lagging).into_iter().collect();
        let idle = |key: &i32| {
            let (generation, watermark) = self.offsets.idle(*key)?;
            let position = watermark.or_else(|| next.get(key).copied())?;
            Some(Idle { key: *key, generation, position })
        };
        let idle: FxHashMap<i32, Idle> = lagging.iter().filter_map(|key| Some((*key, idle(key)?))).collect();
        let stays: Vec<Idle> = idle.values().filter(|it| self.ends.idle.get(&it.key) == Some(it)).copied().collect();
        self.ends.idle = idle;
        if self.ends.check.is_none() && !stays.is_empty() {
            self.check_ends(stays);
        }
    }

    fn check_ends(&mut self, partitions: Vec<Idle>) {
        let (found, check) = channel();
        let (config, topics) = (self.config.clone(), self.topics.clone());
        let started = spawn("kafka-ends", move || {
            for idle in partitions {
                let reader = BatchReader::new(&config, topics.topic(idle.key), topics.of(idle.key).1);
                let end = reader.end_without_records(idle.position);
                if end.is_some_and(|end| found.send((idle, end)).is_err()) {
                    return;
                }
            }
        });
        if started.is_ok() {
            self.ends.check = Some(check);
        }
    }
}
