//! Rows of one group through the chain of versions, with models that fail on purpose.

use super::*;
use crate::fakes::{Behavior, FakeVersions, POLICY, fake_versions, features};
use crate::loader_commands::LoaderCommand;
use crate::versions::VersionLookup;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Versions 1, 2 and 3 (Production).
fn three() -> FakeVersions {
    fake_versions(&[(1, 2), (2, 2), (3, 2)], 3)
}

/// What `version` answers to rows that begin with each of `firsts`: `Ok((answering version, value))`.
fn answers(fake_versions: &FakeVersions, version: u32, firsts: &[f64]) -> Vec<Result<(u32, f64), String>> {
    let rows: Vec<Features> = firsts.iter().map(|first| features("m", version, &[*first, 0.5])).collect();
    let found = match fake_versions.versions.find("m", version) {
        VersionLookup::Ready(version) => Ok(version),
        VersionLookup::Loading => Err("is still being loaded".to_owned()),
        VersionLookup::Failed(why) => Err(why),
    };
    let pinned = PinnedVersion { model: "m".into(), number: version, version: found };
    let inference = Inference::new(Arc::clone(&fake_versions.versions), TIMEOUT);
    let results = inference.answer(&pinned, &rows.iter().collect::<Vec<_>>());
    let answered = |result| match result {
        RowResult::Answered { version, score } => Ok((version.number(), score.value)),
        RowResult::Failed(problem) => {
            assert_eq!(problem.code, ErrorCode::ModelUnavailable);
            Err(problem.message)
        }
    };
    results.into_iter().map(answered).collect()
}

#[test]
fn missing_values_that_no_version_fills_in_are_the_clients_mistake() {
    let fake_versions = three();
    let VersionLookup::Ready(version) = fake_versions.versions.find("m", 1) else { panic!("not ready") };
    let pinned = PinnedVersion { model: "m".into(), number: 1, version: Ok(version) };
    let inference = Inference::new(Arc::clone(&fake_versions.versions), TIMEOUT);
    let rows = [features("m", 1, &[f64::NAN, 0.5]), features("m", 1, &[1.0, 0.5]), features("m", 1, &[f64::NAN; 2])];
    let results = inference.answer(&pinned, &rows.iter().collect::<Vec<_>>());
    let message = |result: &RowResult| match result {
        RowResult::Failed(problem) => (problem.code, problem.message.clone()),
        RowResult::Answered { .. } => panic!("answered"),
    };
    let missing = "feature f0 is missing and cannot be filled in";
    assert_eq!(message(&results[0]), (ErrorCode::InvalidFeatures, missing.to_owned()));
    assert!(matches!(&results[1], RowResult::Answered { version, .. } if version.number() == 1));
    let missing = "features f0, f1 are missing and cannot be filled in";
    assert_eq!(message(&results[2]), (ErrorCode::InvalidFeatures, missing.to_owned()));
}

#[test]
fn one_call_answers_a_group_in_order() {
    let fake_versions = three();
    let before = fake_versions.calls(1);
    assert_eq!(answers(&fake_versions, 1, &[1.0, 2.0, 3.0]), [Ok((1, 11.5)), Ok((1, 12.5)), Ok((1, 13.5))]);
    assert_eq!(fake_versions.calls(1) - before, 1);
}

#[test]
fn the_chain_is_pinned_then_production_then_the_one_before() {
    let fake_versions = three();
    fake_versions.set_behavior(1, Behavior::Fails);
    assert_eq!(answers(&fake_versions, 1, &[1.0]), [Ok((3, 31.5))]);
    fake_versions.set_behavior(3, Behavior::Panics);
    assert_eq!(answers(&fake_versions, 1, &[1.0]), [Ok((2, 21.5))]);
    fake_versions.set_behavior(2, Behavior::Nan);
    let refused = answers(&fake_versions, 1, &[1.0])[0].clone().unwrap_err();
    let expected = "no version of model \"m\" can answer: v1 the model cannot answer: on purpose; v3 panicked: on purpose; \
                    v2 gave a result that is not finite";
    assert_eq!(refused, expected);
}

#[test]
fn a_row_to_which_a_model_has_no_answer_is_no_failure_of_its_version() {
    let fake_versions = three();
    fake_versions.set_behavior(1, Behavior::PartialAt(7.0));
    let VersionLookup::Ready(version) = fake_versions.versions.find("m", 1) else { panic!("not ready") };
    let pinned = PinnedVersion { model: "m".into(), number: 1, version: Ok(version) };
    let inference = Inference::new(Arc::clone(&fake_versions.versions), TIMEOUT);
    let outside = features("m", 1, &[7.0, 0.5]);
    for _ in 0..20 {
        let RowResult::Failed(problem) = &inference.answer(&pinned, &[&outside])[0] else { panic!("answered") };
        assert_eq!(problem.code, ErrorCode::InvalidFeatures);
        assert!(problem.message.starts_with("v1 has no answer to this row"), "{problem}");
    }
    let results = inference.answer(&pinned, &[&outside, &features("m", 1, &[1.0, 0.5])]);
    assert!(matches!(&results[0], RowResult::Failed(_)), "no other version answers it");
    assert!(
        matches!(&results[1], RowResult::Answered { version, .. } if version.number() == 1),
        "its breaker is closed"
    );
}

#[test]
fn a_row_that_the_version_refuses_is_the_clients_mistake_and_nobody_elses() {
    let fake_versions = three();
    fake_versions.set_behavior(1, Behavior::RefusesAt(7.0));
    let VersionLookup::Ready(version) = fake_versions.versions.find("m", 1) else { panic!("not ready") };
    let pinned = PinnedVersion { model: "m".into(), number: 1, version: Ok(Arc::clone(&version)) };
    let inference = Inference::new(Arc::clone(&fake_versions.versions), TIMEOUT);
    let refused = features("m", 1, &[7.0, 0.5]);
    let others = (fake_versions.calls(2), fake_versions.calls(3));
    for _ in 0..20 {
        let RowResult::Failed(problem) = &inference.answer(&pinned, &[&refused])[0] else { panic!("answered") };
        let expected = "invalid_features: v1 has no answer to this row: feature f0 has something unknown";
        assert_eq!(problem.to_string(), expected);
    }
    let before = fake_versions.calls(1);
    let good = features("m", 1, &[1.0, 0.5]);
    let rows: Vec<&Features> = (0..64).map(|index| if index == 37 { &refused } else { &good }).collect();
    for (index, result) in inference.answer(&pinned, &rows).iter().enumerate() {
        match result {
            RowResult::Answered { version, score } => assert_eq!((version.number(), score.value), (1, 11.5)),
            RowResult::Failed(problem) => assert_eq!((index, problem.code), (37, ErrorCode::InvalidFeatures)),
        }
    }
    assert_eq!(fake_versions.calls(1) - before, 13, "one call, then two for each time the rows are halved");
    assert_eq!((version.metrics.open.get(), version.metrics.failures.get(), version.metrics.rows.get()), (0, 0, 63));
    assert_eq!((fake_versions.calls(2), fake_versions.calls(3)), others, "no other version was asked");
}

#[test]
fn a_row_that_only_a_fallback_refuses_may_be_tried_again() {
    let fake_versions = three();
    fake_versions.set_behavior(1, Behavior::Fails);
    fake_versions.set_behavior(3, Behavior::RefusesAt(7.0));
    fake_versions.set_behavior(2, Behavior::PartialAt(7.0));
    let answers = answers(&fake_versions, 1, &[7.0, 1.0]);
    assert!(answers[0].as_ref().unwrap_err().contains("v3 feature f0 has something unknown; v2"), "{answers:?}");
    assert_eq!(answers[1], Ok((3, 31.5)));
    for number in [2, 3] {
        let VersionLookup::Ready(version) = fake_versions.versions.find("m", number) else { panic!("not ready") };
        assert_eq!(version.metrics.failures.get(), 0, "v{number}");
    }
}

#[test]
fn every_kind_of_failure_falls_back() {
    for behavior in [Behavior::Nan, Behavior::Panics, Behavior::Fails, Behavior::TooFew] {
        let fake_versions = three();
        fake_versions.set_behavior(1, behavior);
        assert_eq!(answers(&fake_versions, 1, &[1.0, 2.0]), [Ok((3, 31.5)), Ok((3, 32.5))], "{behavior:?}");
    }
}

#[test]
fn a_poisonous_row_does_not_condemn_its_neighbours() {
    for behavior in [Behavior::PanicsAt(9.0), Behavior::NanAt(9.0)] {
        let fake_versions = three();
        fake_versions.set_behavior(1, behavior);
        assert_eq!(
            answers(&fake_versions, 1, &[1.0, 9.0, 2.0]),
            [Ok((1, 11.5)), Ok((3, 39.5)), Ok((1, 12.5))],
            "{behavior:?}"
        );
        assert_eq!(fake_versions.versions.chain("m", 1).len(), 2);
        assert_eq!(answers(&fake_versions, 1, &[1.0]), [Ok((1, 11.5))], "its breaker stays closed");
    }
}

#[test]
fn a_row_that_makes_a_model_overflow_does_not_condemn_its_version() {
    let fake_versions = three();
    fake_versions.set_behavior(1, Behavior::NanAt(9.0));
    (0..20)
        .for_each(|_| assert_eq!(answers(&fake_versions, 1, &[9.0]), [Ok((3, 39.5))], "another version has a number"));
    assert_eq!(answers(&fake_versions, 1, &[1.0]), [Ok((1, 11.5))], "its breaker is closed");
    let VersionLookup::Ready(version) = fake_versions.versions.find("m", 1) else { panic!("not ready") };
    assert_eq!(version.metrics.failures.get(), 0);
}

#[test]
fn a_row_that_makes_every_version_overflow_is_the_clients_mistake() {
    let fake_versions = three();
    (1..=3).for_each(|version| fake_versions.set_behavior(version, Behavior::NanAt(9.0)));
    let VersionLookup::Ready(version) = fake_versions.versions.find("m", 1) else { panic!("not ready") };
    let pinned = PinnedVersion { model: "m".into(), number: 1, version: Ok(Arc::clone(&version)) };
    let rows = [features("m", 1, &[9.0, 0.5]), features("m", 1, &[1.0, 0.5])];
    let inference = Inference::new(Arc::clone(&fake_versions.versions), TIMEOUT);
    let results = inference.answer(&pinned, &rows.iter().collect::<Vec<_>>());
    let RowResult::Failed(problem) = &results[0] else { panic!("answered") };
    assert!(problem.is_not_finite(), "{problem}");
    assert!(matches!(&results[1], RowResult::Answered { version, .. } if version.number() == 1));
    assert_eq!(version.metrics.failures.get(), 0);
}

#[test]
fn five_failures_in_a_row_open_the_breaker_and_a_probe_closes_it() {
    let fake_versions = three();
    fake_versions.set_behavior(1, Behavior::Nan);
    (0..5).for_each(|_| assert_eq!(answers(&fake_versions, 1, &[1.0]), [Ok((3, 31.5))]));
    let calls = fake_versions.calls(1);
    assert_eq!(answers(&fake_versions, 1, &[1.0]), [Ok((3, 31.5))]);
    assert_eq!(fake_versions.calls(1), calls, "an open breaker keeps calls away");
    let VersionLookup::Ready(version) = fake_versions.versions.find("m", 1) else { panic!("not ready") };
    assert_eq!((version.metrics.open.get(), version.metrics.failures.get()), (1, 5));
    let later = Instant::now() + POLICY.open;
    assert!(version.admit(later).unwrap_err().starts_with("probe failed"));
    fake_versions.set_behavior(1, Behavior::Correct);
    assert!(version.admit(later + POLICY.open / 2).unwrap_err().starts_with("breaker is open"));
    assert_eq!(version.admit(later + POLICY.open), Ok(()));
    assert_eq!(version.metrics.open.get(), 0);
    assert_eq!(answers(&fake_versions, 1, &[1.0]), [Ok((1, 11.5))]);
}

#[test]
fn every_kind_of_failure_opens_the_breaker() {
    for behavior in
        [Behavior::Nan, Behavior::Panics, Behavior::Fails, Behavior::TooFew, Behavior::Sleeps(Duration::from_millis(5))]
    {
        let fake_versions = three();
        fake_versions.set_behavior(1, behavior);
        let VersionLookup::Ready(version) = fake_versions.versions.find("m", 1) else { panic!("not ready") };
        let limit = if matches!(behavior, Behavior::Sleeps(_)) { Duration::from_millis(1) } else { TIMEOUT };
        let inference = Inference::new(Arc::clone(&fake_versions.versions), limit);
        let pinned = PinnedVersion { model: "m".into(), number: 1, version: Ok(Arc::clone(&version)) };
        let row = features("m", 1, &[1.0, 0.5]);
        for calls in 1..=5 {
            assert_eq!(version.metrics.open.get(), 0, "{behavior:?} after {calls} calls");
            inference.answer(&pinned, &[&row]);
        }
        assert_eq!((version.metrics.open.get(), version.metrics.failures.get()), (1, 5), "{behavior:?}");
    }
}

#[test]
fn a_fallback_is_not_charged_for_the_time_of_the_version_before_it() {
    let fake_versions = three();
    fake_versions.set_behavior(1, Behavior::SleepsAndFails(Duration::from_millis(60)));
    let inference = Inference::new(Arc::clone(&fake_versions.versions), Duration::from_millis(50));
    let VersionLookup::Ready(version) = fake_versions.versions.find("m", 1) else { panic!("not ready") };
    let pinned = PinnedVersion { model: "m".into(), number: 1, version: Ok(version) };
    let row = features("m", 1, &[1.0, 0.5]);
    inference.answer(&pinned, &[&row]);
    let VersionLookup::Ready(fallback) = fake_versions.versions.find("m", 3) else { panic!("not ready") };
    assert_eq!((fallback.metrics.rows.get(), fallback.metrics.failures.get()), (1, 0));
}

#[test]
fn a_batch_that_always_panics_costs_no_more_calls_than_the_breaker_allows() {
    let fake_versions = three();
    fake_versions.set_behavior(1, Behavior::Panics);
    let before = fake_versions.calls(1);
    let rows: Vec<f64> = (0..100).map(f64::from).collect();
    assert!(answers(&fake_versions, 1, &rows).iter().all(|answer| matches!(answer, Ok((3, _)))));
    assert_eq!(fake_versions.calls(1) - before, 6);
}

#[test]
fn with_every_breaker_open_the_message_says_so() {
    let fake_versions = three();
    (1..=3).for_each(|version| fake_versions.set_behavior(version, Behavior::Fails));
    (0..5).for_each(|_| assert!(answers(&fake_versions, 3, &[1.0])[0].is_err()));
    let refused = answers(&fake_versions, 3, &[1.0])[0].clone().unwrap_err();
    assert!(
        refused.contains("v3 breaker is open for another") && refused.contains("; v2 breaker is open"),
        "{refused}"
    );
}

#[test]
fn a_version_that_is_not_there_is_replaced() {
    let fake_versions = three();
    assert_eq!(answers(&fake_versions, 8, &[1.0]), [Ok((3, 31.5))]);
    assert_eq!(fake_versions.wanted.try_recv(), Ok(LoaderCommand::Load(("m".to_owned(), 8))), "and requested");
    answers(&fake_versions, 8, &[1.0]);
    assert!(fake_versions.wanted.try_recv().is_err(), "once");
}

#[test]
fn a_version_with_other_features_is_no_fallback() {
    let fake_versions = fake_versions(&[(1, 2), (2, 3), (3, 2)], 2);
    fake_versions.set_behavior(1, Behavior::Fails);
    assert_eq!(
        answers(&fake_versions, 1, &[1.0]),
        [Err("no version of model \"m\" can answer: v1 the model cannot answer: on purpose".into())]
    );
}

#[test]
fn a_slow_call_is_answered_and_counted_as_a_failure() {
    let fake_versions = three();
    fake_versions.set_behavior(1, Behavior::Sleeps(Duration::from_millis(5)));
    let VersionLookup::Ready(version) = fake_versions.versions.find("m", 1) else { panic!("not ready") };
    let inference = Inference::new(Arc::clone(&fake_versions.versions), Duration::from_millis(1));
    let pinned = PinnedVersion { model: "m".into(), number: 1, version: Ok(Arc::clone(&version)) };
    let row = features("m", 1, &[1.0, 0.5]);
    for _ in 0..5 {
        assert!(
            matches!(&inference.answer(&pinned, &[&row])[0], RowResult::Answered { version, .. } if version.number() == 1)
        );
    }
    assert!(version.admit(Instant::now()).is_err());
}
