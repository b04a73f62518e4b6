//! The keeper's conversation with the second level: whether to ask, what to make of the reply.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use forebay_bus::Ack;
use forebay_contract::{CacheKey, Features, Item, now_us};
use forebay_runtime::{SpanKind, StageSpan};

use super::Keeper;
use crate::breaker::Permission;
use crate::entry::Entry;
use crate::journey::{Departures, Journey, Parcel};
use crate::second_level::Trouble;

/// Leaders whose keys the second level is asked for, all of one batch.
#[derive(Debug)]
pub(crate) struct Question {
    leaders: Vec<(CacheKey, Item<Features>)>,
    journey: Rc<Journey>,
    ack: Ack,
    spans: Vec<StageSpan>,
    /// Asked after a pause: begin with a new connection.
    pub(crate) probe: bool,
}

impl Question {
    pub(crate) fn keys(&self) -> Vec<CacheKey> {
        self.leaders.iter().map(|(key, _)| *key).collect()
    }
}

/// What the second level said, in the order of the keys.
pub(crate) type Found = Result<Vec<Option<Vec<u8>>>, Trouble>;

impl Keeper {
    /// Asks for the leaders, unless the second level is left alone: then they are misses.
    pub(super) fn question(
        &mut self,
        leaders: Vec<(CacheKey, Item<Features>)>,
        journey: &Rc<Journey>,
        ack: Ack,
        now: Instant,
        parcel: &mut Parcel,
    ) -> Option<Question> {
        if leaders.is_empty() {
            ack.ack();
            return None;
        }
        let permission = self.breaker.permission(now);
        self.metrics.breaker.set(self.breaker.gauge());
        if permission == Permission::Leave {
            self.metrics.bypassed("open", leaders.len());
            leaders.into_iter().for_each(|(_, item)| parcel.miss(item));
            ack.ack();
            return None;
        }
        let spans = leaders.iter().filter_map(|(_, item)| journey.trace(item));
        let spans = spans.map(|trace| {
            let mut span = self.scope.tracer().start("redis", SpanKind::Client, trace, now_us());
            span.set("db.system.name", "redis");
            span.set("db.operation.name", "MGET");
            span.set("db.operation.batch.size", i64::try_from(leaders.len()).unwrap_or(i64::MAX));
            span
        });
        let spans = spans.collect();
        let probe = permission == Permission::Probe;
        Some(Question { leaders, journey: Rc::clone(journey), ack, spans, probe })
    }

    /// The second level replied, or did not: what it has is an answer, the rest goes on to prediction.
    pub(crate) fn hear(&mut self, question: Question, found: Found, now: Instant) {
        let Question { leaders, journey, ack, mut spans, .. } = question;
        let found = found.and_then(|found| match found.len() == leaders.len() {
            true => Ok(found),
            false => Err(Trouble::Failed(format!("{} values for {} keys", found.len(), leaders.len()))),
        });
        self.heard(found.as_ref().err(), now);
        let found = found.unwrap_or_else(|trouble| {
            self.metrics.bypassed(trouble.reason(), leaders.len());
            spans.iter_mut().for_each(|span| span.error(trouble.reason(), trouble.to_string()));
            vec![None; leaders.len()]
        });
        drop(spans);
        let mut parcel = Parcel::new(journey, ack);
        let mut departures = Departures::default();
        for ((key, item), bytes) in leaders.into_iter().zip(found) {
            match bytes.and_then(|bytes| self.trusted(&key, &bytes, &item.payload)) {
                Some(entry) => {
                    self.metrics.hits_redis.inc();
                    self.memory.insert(key, Arc::clone(&entry));
                    parcel.answer(item, &entry, "hit_l2");
                    if let Some(landed) = self.flights.land(&key, now) {
                        self.serve(landed.waiters, &entry, &mut departures);
                    }
                }
                None => parcel.miss(item),
            }
        }
        self.metrics.misses.inc_by(parcel.misses() as u64);
        parcel.send(&self.outlets);
        self.depart(departures);
    }

    /// Notes how the second level did.
    pub(crate) fn heard(&mut self, trouble: Option<&Trouble>, now: Instant) {
        match trouble {
            None => {
                if self.breaker.succeeded() {
                    tracing::info!("the second level answers again");
                }
            }
            Some(trouble) => {
                self.metrics.redis_error(trouble.reason());
                if self.breaker.failed(now) {
                    tracing::warn!(error = %trouble, "the second level is left alone for a while");
                }
            }
        }
        self.metrics.breaker.set(self.breaker.gauge());
    }

    /// The entry in `bytes`, if it is one, for this key, and by the version that is asked for.
    fn trusted(&self, key: &CacheKey, bytes: &[u8], features: &Features) -> Option<Arc<Entry>> {
        match Entry::decode(key, bytes) {
            Ok(entry) if entry.answers(features) => Some(Arc::new(entry)),
            refused => {
                self.metrics.corrupt.inc();
                let why = refused.err().map_or("another version's answer".to_owned(), |error| error.to_string());
                tracing::debug!(why, "a value of the second level is not used");
                None
            }
        }
    }

    /// The second level keeps `items` answers, or not.
    pub(crate) fn stored(&mut self, items: usize, reply: Result<(), Trouble>, now: Instant) {
        self.heard(reply.as_ref().err(), now);
        if reply.is_ok() {
            self.metrics.stored_redis.inc_by(items as u64);
        }
    }
}
