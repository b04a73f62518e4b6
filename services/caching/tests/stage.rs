//! The stage on probes: what goes where, who shares an inference, and that every delivery is acknowledged exactly when
//! all its items have left.
#![cfg(test)]

mod bench;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench::{Bench, Level, Says, failure, features, item, outcome, score};
use forebay_bus::AckOutcome;
use forebay_caching::{CacheEntry, CacheFuture, CacheWrite, RemoteCache, system};
use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{CacheKey, Outcome};
use forebay_testkit::wait_until_async;

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

fn cached(outcome: &Outcome) -> (f64, String, bool) {
    match outcome.result.as_ref().unwrap() {
        Answered::Answer(answer) => (answer.score.as_ref().unwrap().value, answer.label.clone(), answer.cached),
        Answered::Failure(failure) => panic!("{failure:?}"),
    }
}

fn code(outcome: &Outcome) -> String {
    match outcome.result.as_ref().unwrap() {
        Answered::Failure(failure) => failure.code.clone(),
        Answered::Answer(answer) => panic!("{answer:?}"),
    }
}

#[test]
fn a_cached_answer_carries_the_labels_of_the_new_request() {
    run(async {
        let mut bench = Bench::memory(&[]);
        let first = bench.submit(vec![item(features(1))]);
        bench.predicted().await.done();
        bench.land(1, score(4.5));
        first.expect(AckOutcome::Done).await;

        let mut again = features(1);
        again.label = "Production".into();
        again.fallback_from = "v9".into();
        let second = bench.submit(vec![item(again)]);
        let answers = bench.answered().await;
        assert_eq!(cached(&answers.batch.items[0].payload), (4.5, "Production".into(), true));
        let Some(Answered::Answer(answer)) = &answers.batch.items[0].payload.result else { panic!() };
        assert_eq!((answer.fallback_from.as_str(), answer.version), ("v9", 3));
        assert_eq!(answers.batch.batch_partition, 2);
        assert!(answers.batch.stages.iter().all(|stage| stage.left_us >= stage.entered_us && stage.left_us > 0));
        second.pending();
        answers.done();
        second.expect(AckOutcome::Done).await;
    });
}

#[test]
fn a_hundred_equal_requests_are_one_inference() {
    run(async {
        let mut bench = Bench::memory(&[]);
        let requests: Vec<_> = (0..100).map(|_| bench.submit(vec![item(features(1))])).collect();
        let predicted = bench.predicted().await;
        assert_eq!(predicted.batch.items.len(), 1);
        predicted.done();
        bench.land(1, score(7.0));
        for _ in 1..100 {
            let answers = bench.answered().await;
            assert_eq!(cached(&answers.batch.items[0].payload), (7.0, "v3".into(), true));
            answers.done();
        }
        for request in requests {
            request.expect(AckOutcome::Done).await;
        }
        bench.nothing_more();
        assert_eq!(bench.metric("forebay_cache_waited_total"), 99.0);
        assert_eq!(bench.metric("forebay_cache_misses_total"), 1.0);
    });
}

#[test]
fn duplicates_of_one_batch_share_and_its_ack_waits_for_both_ways() {
    run(async {
        let mut bench = Bench::memory(&[]);
        let mut items: Vec<_> = (0..10).map(|_| item(features(1))).collect();
        items.push(item(features(2)));
        let request = bench.submit(items);
        let predicted = bench.predicted().await;
        assert_eq!(predicted.batch.items.len(), 2);
        predicted.done();
        bench.land(1, score(1.0));
        let answers = bench.answered().await;
        assert_eq!(answers.batch.items.len(), 9, "one batch of answers for one batch of requests");
        request.pending();
        answers.done();
        request.expect(AckOutcome::Done).await;
    });
}

#[test]
fn a_nack_of_any_way_fails_the_delivery() {
    run(async {
        let mut bench = Bench::memory(&[]);
        let request = bench.submit(vec![item(features(1)), item(features(1))]);
        bench.predicted().await.done();
        bench.land(1, score(1.0));
        bench.answered().await.ack.nack();
        request.expect(AckOutcome::Failed).await;
    });
}

#[test]
fn a_batch_that_parts_is_done_when_both_parts_are() {
    run(async {
        for (results, expected) in [(true, AckOutcome::Done), (false, AckOutcome::Failed)] {
            let mut bench = Bench::memory(&[]);
            bench.land(1, score(1.0));
            let request = bench.submit(vec![item(features(1)), item(features(2))]);
            bench.predicted().await.done();
            let answers = bench.answered().await;
            request.pending();
            if results {
                answers.ack.ack()
            } else {
                answers.ack.nack()
            }
            request.expect(expected).await;
        }
    });
}

#[test]
fn a_failure_promotes_the_next_and_is_not_kept() {
    run(async {
        let mut bench = Bench::memory(&[]);
        let requests: Vec<_> = (0..3).map(|_| bench.submit(vec![item(features(1))])).collect();
        bench.predicted().await.done();
        bench.land(1, failure("model_unavailable"));
        let promoted = bench.predicted().await;
        assert_eq!(promoted.batch.items.len(), 1);
        promoted.done();
        requests[2].pending();
        bench.land(1, score(2.0));
        let answers = bench.answered().await;
        assert_eq!(cached(&answers.batch.items[0].payload).0, 2.0);
        answers.done();
        for request in requests {
            request.expect(AckOutcome::Done).await;
        }
    });
}

#[test]
fn another_versions_answer_serves_nobody_who_waits() {
    run(async {
        let mut bench = Bench::memory(&[]);
        let leader = bench.submit(vec![item(features(1))]);
        let waiter = bench.submit(vec![item(features(1))]);
        bench.predicted().await.done();
        bench.land_version(1, 1, score(2.0));
        bench.predicted().await.done();
        leader.expect(AckOutcome::Done).await;
        waiter.expect(AckOutcome::Done).await;
        bench.submit(vec![item(features(1))]);
        bench.predicted().await.done();
    });
}

#[test]
fn a_waiter_gives_up_and_goes_on_as_a_miss() {
    run(async {
        let mut bench = Bench::memory(&["cache.max_wait=50ms"]);
        let leader = bench.submit(vec![item(features(1))]);
        let waiter = bench.submit(vec![item(features(1))]);
        bench.predicted().await.done();
        leader.expect(AckOutcome::Done).await;
        waiter.pending();
        let late = bench.predicted().await;
        late.done();
        waiter.expect(AckOutcome::Done).await;
        assert_eq!(bench.metric("forebay_cache_gave_up_total"), 1.0);
        bench.land(1, score(1.0)); // too late for them, in time for the next
        bench.submit(vec![item(features(1))]);
        bench.answered().await.done();
    });
}

#[test]
fn a_waiter_is_answered_when_its_deadline_passes() {
    run(async {
        let mut bench = Bench::memory(&["cache.max_wait=10s"]);
        bench.submit(vec![item(features(1))]);
        bench.predicted().await.done();
        let since = std::time::Instant::now();
        let hurried = bench.submit(vec![bench::item_within(features(1), Duration::from_millis(60))]);
        let answers = bench.answered().await;
        assert!(since.elapsed() < Duration::from_secs(5), "not when its deadline passed: {:?}", since.elapsed());
        assert_eq!(code(&answers.batch.items[0].payload), "deadline_exceeded");
        answers.done();
        hurried.expect(AckOutcome::Done).await;
    });
}

#[test]
fn an_item_that_comes_too_late_is_answered_and_its_neighbours_go_on() {
    run(async {
        let mut bench = Bench::memory(&[]);
        let request = bench.submit(vec![bench::item_within(features(1), Duration::ZERO), item(features(2))]);
        let answers = bench.answered().await;
        assert_eq!(code(&answers.batch.items[0].payload), "deadline_exceeded");
        answers.done();
        request.pending();
        bench.predicted().await.done();
        request.expect(AckOutcome::Done).await;
    });
}

#[test]
fn off_shares_and_keeps_nothing() {
    run(async {
        let mut bench = Bench::memory(&["cache.models.m=off"]);
        bench.submit((0..5).map(|_| item(features(1))).collect());
        assert_eq!(bench.predicted().await.done(), 5);
        bench.land(1, score(1.0));
        bench.submit(vec![item(features(1))]);
        assert_eq!(bench.predicted().await.done(), 1);
    });
}

#[test]
fn a_key_of_another_length_is_served_and_shares_nothing() {
    run(async {
        let mut bench = Bench::memory(&[]);
        let mut odd = features(1);
        odd.key = bytes::Bytes::from_static(b"short");
        let request = bench.submit(vec![item(odd.clone()), item(odd)]);
        assert_eq!(bench.predicted().await.done(), 2);
        request.expect(AckOutcome::Done).await;
    });
}

#[test]
fn released_waiters_go_on_as_misses() {
    run(async {
        let mut bench = Bench::memory(&["cache.max_wait=10s"]);
        let requests: Vec<_> = (0..4).map(|_| bench.submit(vec![item(features(1))])).collect();
        bench.predicted().await.done();
        bench.inlets.release_all();
        for _ in 0..3 {
            bench.predicted().await.done();
        }
        for request in requests {
            request.expect(AckOutcome::Done).await;
        }
    });
}

#[test]
fn without_room_to_wait_requests_are_forwarded() {
    run(async {
        let mut bench = Bench::memory(&["cache.waiters=1"]);
        bench.submit((0..4).map(|_| item(features(1))).collect());
        assert_eq!(bench.predicted().await.done(), 3);
    });
}

#[test]
fn predictions_are_acked_at_once_and_dropped_when_too_many_wait() {
    run(async {
        let mut bench = Bench::memory(&["cache.pending_stores=0"]);
        bench.land(1, score(1.0)).expect(AckOutcome::Done).await;
        assert_eq!(bench.metric("forebay_cache_dropped_predictions_total"), 1.0);
        bench.submit(vec![item(features(1))]);
        bench.predicted().await.done();
    });
}

#[test]
fn a_score_that_is_not_finite_is_not_kept() {
    run(async {
        let mut bench = Bench::memory(&[]);
        bench.land(1, score(f64::NAN));
        bench.submit(vec![item(features(1))]);
        bench.predicted().await.done();
    });
}

#[test]
fn the_second_level_answers_once_and_then_memory_does() {
    run(async {
        let entry = CacheEntry { model: "m".into(), version: 3, score: bench::value(9.5) };
        let key = CacheKey([1; 32]);
        let level = Level::new(Says::Values(vec![(key, entry.encode(&key).unwrap())]));
        let mut bench = Bench::with(&level, &[]);
        let request = bench.submit(vec![item(features(1)), item(features(1)), item(features(2))]);
        let (mut hits, mut batches) = (0, Vec::new());
        while hits < 2 {
            let answers = bench.answered().await;
            hits += answers.batch.items.len();
            assert!(answers.batch.items.iter().all(|item| cached(&item.payload).0 == 9.5));
            batches.push(answers);
        }
        let predicted = bench.predicted().await;
        assert_eq!(predicted.batch.items.len(), 1);
        predicted.done();
        request.pending();
        batches.into_iter().for_each(|answers| _ = answers.done());
        request.expect(AckOutcome::Done).await;
        assert_eq!(level.looks(), [2], "one lookup for the batch, one key for equal requests");
        bench.submit(vec![item(features(1))]);
        bench.answered().await.done();
        assert_eq!(level.looks(), [2]);
    });
}

#[test]
fn predictions_go_to_the_second_level_but_failures_do_not() {
    run(async {
        let level = Level::new(Says::Values(Vec::new()));
        let bench = Bench::with(&level, &[]);
        bench.land(2, failure("internal"));
        bench.land(1, score(4.0));
        let writes = level.written().await;
        assert_eq!(writes.len(), 1);
        let key = CacheKey([1; 32]);
        assert_eq!(writes[0].key, key);
        assert!((3240..=3960).contains(&writes[0].ttl_s), "{}", writes[0].ttl_s);
        let entry = CacheEntry::decode(&key, &writes[0].bytes).unwrap();
        assert_eq!((entry.score.value, entry.version, entry.model.as_str()), (4.0, 3, "m"));
    });
}

#[test]
fn a_second_level_that_says_nothing_holds_up_nobody() {
    run(async {
        let level = Level::new(Says::Nothing);
        let mut bench = Bench::with(&level, &["redis.timeout=100ms"]);
        bench.land(7, score(1.0));
        let slow = bench.submit(vec![item(features(1))]);
        let quick = bench.submit(vec![item(features(7))]);
        bench.answered().await.done();
        quick.expect(AckOutcome::Done).await;
        slow.pending();
        bench.predicted().await.done();
        slow.expect(AckOutcome::Done).await;
    });
}

#[test]
fn a_broken_second_level_is_left_alone_and_tried_again() {
    run(async {
        let level = Level::new(Says::Error);
        let mut bench = Bench::with(&level, &["redis.breaker_failures=3", "redis.breaker_open=2s"]);
        for n in 0..20 {
            bench.submit(vec![item(features(n))]);
            bench.predicted().await.done();
        }
        assert_eq!(level.looks().len(), 3);
        assert_eq!(bench.metric("forebay_cache_redis_breaker"), 2.0);
        assert_eq!(bench.metric("forebay_cache_bypassed_total{reason=\"open\"}"), 17.0);
        level.says(Says::Values(Vec::new()));
        for n in 100.. {
            bench.submit(vec![item(features(n))]);
            bench.predicted().await.done();
            if level.looks().len() > 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(n < 200, "never tried again");
        }
        assert_eq!(level.renewals(), 1);
        assert_eq!(bench.metric("forebay_cache_redis_breaker"), 0.0);
    });
}

#[test]
fn corrupt_values_are_misses() {
    run(async {
        let (one, two) = (CacheKey([1; 32]), CacheKey([2; 32]));
        let entry = CacheEntry { model: "m".into(), version: 3, score: bench::value(1.0) };
        let old = CacheEntry { version: 2, ..entry.clone() };
        let moved = entry.encode(&two).unwrap();
        let values = vec![(one, moved), (two, old.encode(&two).unwrap()), (CacheKey([3; 32]), vec![0xff; 40])];
        let level = Level::new(Says::Values(values));
        let mut bench = Bench::with(&level, &[]);
        let request = bench.submit((1..=3).map(|n| item(features(n))).collect());
        assert_eq!(bench.predicted().await.done(), 3);
        request.expect(AckOutcome::Done).await;
        assert_eq!(bench.metric("forebay_cache_corrupt_total"), 3.0);
    });
}

#[test]
fn too_few_values_are_an_error_not_a_mix_up() {
    run(async {
        let level = Level::new(Says::TooFew);
        let mut bench = Bench::with(&level, &[]);
        bench.submit((1..=3).map(|n| item(features(n))).collect());
        assert_eq!(bench.predicted().await.done(), 3);
        assert_eq!(bench.metric("forebay_cache_redis_errors_total{reason=\"error\"}"), 1.0);
    });
}

#[test]
fn every_item_leaves_exactly_once_whatever_prediction_does() {
    run(async {
        let level = Level::new(Says::Values(Vec::new()));
        let mut bench = Bench::with(&level, &["cache.max_wait=40ms", "cache.waiters=50"]);
        let mut random = 0x9e37_79b9_u64;
        let mut next = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (mut requests, mut sent) = (Vec::new(), 0);
        let mut seen = std::collections::HashMap::new();
        for round in 0..200 {
            let items: Vec<_> = (0..=next(12)).map(|_| item(features(next(10) as u8))).collect();
            sent += items.len();
            requests.push(bench.submit(items));
            match next(4) {
                0 => _ = bench.land(next(10) as u8, failure("internal")),
                1 => _ = bench.land_version(next(10) as u8, 1 + next(3) as u32, score(1.0)),
                _ => {}
            }
            if round % 40 == 0 {
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        let mut left = 0;
        while left < sent {
            let ids = bench.anything().await;
            left += ids.len();
            ids.into_iter().for_each(|id| *seen.entry(id).or_insert(0) += 1);
        }
        assert!(seen.values().all(|times| *times == 1));
        assert_eq!(seen.len(), sent);
        for request in requests {
            request.expect(AckOutcome::Done).await;
        }
        bench.nothing_more();
    });
}

#[test]
fn outcomes_carry_their_own_context() {
    run(async {
        let mut bench = Bench::memory(&[]);
        bench.land(1, score(1.0));
        let items: Vec<_> = (0..3).map(|_| item(features(1))).collect();
        let ids: Vec<_> = items.iter().map(|item| item.context.item()).collect();
        bench.submit(items);
        let answers = bench.answered().await;
        assert_eq!(answers.batch.items.iter().map(|item| item.context.item()).collect::<Vec<_>>(), ids);
        assert_eq!(outcome(&answers.batch.items[0]).0, 1.0);
    });
}

/// How long the arbiter may stand still; idle, it beats once a second.
const STALL_AFTER: Duration = Duration::from_secs(3);

/// An L2 cache whose lookups block their caller until the gate is open.
struct Blocking(Mutex<Receiver<()>>);

impl RemoteCache for Blocking {
    fn get(&self, keys: Vec<CacheKey>) -> CacheFuture<Vec<Option<Vec<u8>>>> {
        _ = self.0.lock().unwrap().recv();
        Box::pin(async move { Ok(vec![None; keys.len()]) })
    }

    fn put(&self, _: Vec<CacheWrite>) -> CacheFuture<()> {
        Box::pin(async { Ok(()) })
    }

    fn reconnect(&self) {}
}

#[test]
fn a_handler_that_blocks_its_arbiter_fails_liveness_and_an_idle_one_does_not() {
    let (open, gate) = channel::<()>();
    let level: Arc<dyn RemoteCache> = Arc::new(Blocking(Mutex::new(gate)));
    run(async {
        let bench = Bench::build(&[], move |settings, host, arbiter, outlets| {
            system::stage_with(settings, host, &arbiter.handle(), outlets, move || Some(level))
        });
        let lifecycle = bench.host.lifecycle();
        lifecycle.watch_stalls(STALL_AFTER).unwrap();
        tokio::time::sleep(STALL_AFTER + STALL_AFTER / 2).await;
        assert_eq!(lifecycle.stalled(), [""; 0], "an idle stage turns");
        let _request = bench.submit(vec![item(features(1))]);
        wait_until_async(bench::LONG, "the stall", async || lifecycle.stalled() == ["cache"]).await;
        drop(open);
        wait_until_async(bench::LONG, "the recovery", async || lifecycle.is_alive()).await;
    });
}
