//! What becomes of each item: answered from memory, waiting for an equal one, looked up in the second level, or sent on
//! to prediction. Plain state with the clock passed in; the actor around it only carries messages and runs I/O.

mod consult;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_bus::{Ack, Delivery, StageScope};
use forebay_contract::{Batch, CacheKey, ErrorCode, Features, Item, Prediction, Problem, now_us};

use crate::breaker::Breaker;
use crate::entry::Entry;
use crate::flight::{Flights, Turn};
use crate::journey::{Departures, Journey, Parcel, Waiter};
use crate::memory_level::MemoryLevel;
use crate::metrics::CacheMetrics;
use crate::outlets::Outlets;
use crate::patience::Patience;
use crate::policy::{Policies, Policy};
use crate::second_level::{Lifetime, Write};
use crate::settings::Settings;

pub(crate) use consult::Question;

/// The cache of one replica.
#[derive(Debug)]
pub(crate) struct Keeper {
    policies: Policies,
    memory: MemoryLevel,
    flights: Flights<Waiter>,
    patience: Patience,
    breaker: Breaker,
    lifetime: Lifetime,
    metrics: CacheMetrics,
    scope: Rc<StageScope>,
    outlets: Outlets,
}

impl Keeper {
    pub(crate) fn new(
        settings: &Settings,
        has_second: bool,
        scope: StageScope,
        metrics: CacheMetrics,
        outlets: Outlets,
    ) -> Self {
        let (cache, redis) = (&settings.cache, &settings.redis);
        Self {
            policies: Policies::new(cache.policy, &cache.models, has_second),
            memory: MemoryLevel::new(cache.capacity, cache.ttl),
            flights: Flights::new(cache.waiters, cache.max_wait),
            patience: Patience::new(cache.max_wait),
            breaker: Breaker::new(redis.breaker_failures, redis.breaker_open),
            lifetime: Lifetime::new(cache.ttl, cache.ttl_jitter),
            metrics,
            scope: Rc::new(scope),
            outlets,
        }
    }

    /// Takes a batch in. What it returns is to be asked of the second level and handed to [`Keeper::hear`].
    pub(crate) fn admit(&mut self, delivery: Delivery<Batch<Features>>, now: Instant) -> Option<Question> {
        let Delivery { payload, ack } = delivery;
        let (journey, items, expired) = Journey::begin(&self.scope, self.scope.enter(payload));
        let mut leaders = Vec::new();
        let mut parcel = Parcel::new(Rc::clone(&journey), ack.share()).with_answers(expired);
        let (mut hits, now_us) = (0, now_us());
        for item in items {
            let policy = self.policies.of(&item.payload.model);
            // A key of another length is not from this mesh: such an item is served, and shares nothing.
            let key = CacheKey::from_slice(&item.payload.key).filter(|_| policy != Policy::Off);
            let Some(key) = key else {
                parcel.miss(item);
                continue;
            };
            if let Some(entry) = self.memory.get(&key).filter(|entry| entry.answers(&item.payload)) {
                hits += 1;
                parcel.answer(item, &entry, "hit");
                continue;
            }
            match self.flights.ask(key, now, self.patience.wait()) {
                Turn::Lead if policy == Policy::Redis => leaders.push((key, item)),
                Turn::Lead => parcel.miss(item),
                Turn::Full => {
                    self.metrics.crowded.inc();
                    parcel.miss(item);
                }
                Turn::Wait => self.wait(key, item, &journey, &ack, (now, now_us), &mut parcel),
            }
        }
        self.metrics.hits_memory.inc_by(hits);
        let question = self.question(leaders, &journey, ack, now, &mut parcel);
        self.metrics.misses.inc_by(parcel.misses() as u64);
        parcel.send(&self.outlets);
        question
    }

    fn wait(
        &mut self,
        key: CacheKey,
        item: Item<Features>,
        journey: &Rc<Journey>,
        ack: &Ack,
        (now, now_us): (Instant, u64),
        parcel: &mut Parcel,
    ) {
        let left = Duration::from_micros(item.context.deadline_us().saturating_sub(now_us));
        let until = now + self.patience.wait().min(left);
        let waiter = Waiter { item, journey: Rc::clone(journey), ack: ack.share() };
        if let Err(Waiter { item, ack, .. }) = self.flights.wait(key, until, waiter) {
            parcel.miss(item);
            ack.ack(); // it leaves under the share of the parcel
        }
    }

    /// Predictions arrived: stores them, serves who waits for them, promotes waiters of failures. Returns what the second
    /// level is to keep.
    pub(crate) fn land(&mut self, predictions: Vec<Item<Prediction>>, now: Instant) -> Vec<Write> {
        let mut departures = Departures::default();
        let mut writes = Vec::new();
        let now_us = now_us();
        for Prediction { key, version, score, failure, model } in predictions.into_iter().map(|item| item.payload) {
            let Some(key) = CacheKey::from_slice(&key) else { continue };
            let entry = score.filter(|_| failure.is_none()).map(|score| Entry { model, version, score });
            let Some(entry) = entry.filter(Entry::finite) else {
                self.promote(&key, now, now_us, &mut departures);
                continue;
            };
            let entry = Arc::new(entry);
            let policy = self.policies.of(&entry.model);
            if policy == Policy::Off {
                continue;
            }
            self.memory.insert(key, Arc::clone(&entry));
            self.metrics.stored_memory.inc();
            if policy == Policy::Redis && self.breaker.closed() {
                let ttl_s = self.lifetime.draw_s();
                writes.extend(entry.encode(&key).map(|bytes| Write { key, bytes, ttl_s }));
            }
            if let Some(landed) = self.flights.land(&key, now) {
                self.patience.learn(landed.took);
                self.serve(landed.waiters, &entry, &mut departures);
            }
        }
        self.metrics.entries.set(i64::try_from(self.memory.entries()).unwrap_or(i64::MAX));
        self.depart(departures);
        writes
    }

    fn promote(&mut self, key: &CacheKey, now: Instant, now_us: u64, departures: &mut Departures) {
        loop {
            let next = self.flights.fail(key, now);
            let (mut late, mut asked) = (false, 0);
            for waiter in next {
                if waiter.item.context.expired(now_us) {
                    late = true;
                    expire(waiter, departures);
                } else {
                    asked += 1;
                    let (item, parcel) = departures.board(waiter);
                    parcel.miss(item);
                }
            }
            self.metrics.promoted.inc_by(asked);
            if asked > 0 || !late {
                return;
            }
        }
    }

    fn serve(&self, waiters: Vec<Waiter>, entry: &Entry, departures: &mut Departures) {
        for waiter in waiters {
            let (item, parcel) = departures.board(waiter);
            if entry.answers(&item.payload) {
                self.metrics.waited.inc();
                parcel.answer(item, entry, "waited");
            } else {
                parcel.miss(item);
            }
        }
    }

    /// Time passed: waiters give up, and flights whose answer never came are forgotten.
    pub(crate) fn tick(&mut self, now: Instant) {
        let mut departures = Departures::default();
        let now_us = now_us();
        let leaving = self.flights.give_up(now);
        self.metrics.gave_up.inc_by(leaving.len() as u64);
        for waiter in leaving {
            if waiter.item.context.expired(now_us) {
                expire(waiter, &mut departures);
            } else {
                let (item, parcel) = departures.board(waiter);
                parcel.miss(item);
            }
        }
        for _ in 0..self.flights.forget(now) {
            self.patience.learn(self.patience.most());
        }
        self.depart(departures);
    }

    /// Every waiter goes on as a miss: the answers will come to another replica.
    pub(crate) fn release_all(&mut self) {
        let mut departures = Departures::default();
        for waiter in self.flights.release_all() {
            let (item, parcel) = departures.board(waiter);
            parcel.miss(item);
        }
        self.depart(departures);
    }

    /// When [`Keeper::tick`] has something to do next.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        self.metrics.waiting.set(i64::try_from(self.flights.waiting()).unwrap_or(i64::MAX));
        self.flights.next_due()
    }

    fn depart(&self, departures: Departures) {
        self.metrics.misses.inc_by(departures.misses() as u64);
        departures.send(&self.outlets);
    }
}

fn expire(waiter: Waiter, departures: &mut Departures) {
    let (item, parcel) = departures.board(waiter);
    let message = "the deadline passed while the request waited for an equal one";
    parcel.fail(item, Problem::new(ErrorCode::DeadlineExceeded, message));
}
