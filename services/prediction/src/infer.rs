//! One group of rows, pinned to the same version, through the chain of versions that may answer it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{ErrorCode, Features, Problem, Score};
use forebay_model::Scores;

use crate::call::finite;
use crate::version::Version;
use crate::versions::Versions;

/// What became of a row.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Answered by this version.
    Answered {
        /// The pinned one, or one of its chain.
        version: Arc<Version>,
        /// Finite.
        score: Score,
    },
    /// Not answered by any.
    Failed(Problem),
}

/// Calls models. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inference {
    versions: Arc<Versions>,
    timeout: Duration,
}

/// The version that rows are pinned to.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// Its model.
    pub model: String,
    /// Its number.
    pub number: u32,
    /// The version, or why it cannot be used.
    pub version: Result<Arc<Version>, String>,
}

/// The group while it goes from version to version.
struct Round<'a> {
    rows: &'a [&'a Features],
    verdicts: Vec<Option<Verdict>>,
    /// Why each version of the chain did not answer, in order.
    reasons: Vec<String>,
    at: Instant,
}

impl Inference {
    /// A call that takes longer than `timeout` is a failure of its version.
    pub fn new(versions: Arc<Versions>, timeout: Duration) -> Self {
        Self { versions, timeout }
    }

    /// The longest call.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Answers every row, in order: the pinned version, then Production, then the one before it. Blocks for as long as
    /// the models compute.
    pub fn answer(&self, pinned: &Pinned, rows: &[&Features]) -> Vec<Verdict> {
        let at = Instant::now();
        let mut round = Round { rows, verdicts: rows.iter().map(|_| None).collect(), reasons: Vec::new(), at };
        match &pinned.version {
            Ok(version) => self.attempt(&mut round, version, true),
            Err(why) => round.reasons.push(format!("v{} {why}", pinned.number)),
        }
        if round.is_open() {
            for version in self.versions.chain(&pinned.model, pinned.number) {
                let fits = pinned.version.as_ref().map_or(true, |pinned| version.takes_rows_of(pinned));
                if fits && round.is_open() {
                    self.attempt(&mut round, &version, false);
                }
            }
        }
        round.finish(&pinned.model)
    }

    /// Gives the rows that are still open to one version.
    fn attempt(&self, round: &mut Round<'_>, version: &Arc<Version>, pinned: bool) {
        if let Err(why) = version.admit(round.at) {
            return round.reasons.push(format!("{} {why}", version.label()));
        }
        let (mut taken, mut matrix) = (Vec::with_capacity(round.rows.len()), Vec::new());
        let mut refused = None;
        for (index, row) in round.rows.iter().enumerate().filter(|(index, _)| round.verdicts[*index].is_none()) {
            match version.append(row, pinned, &mut matrix) {
                Ok(()) => taken.push(index),
                Err(why) => refused = Some(why),
            }
        }
        let failed = if taken.is_empty() { None } else { self.call(round, version, &taken, &matrix) };
        if let Some(why) = failed.or(refused) {
            round.reasons.push(format!("{} {why}", version.label()));
        }
    }

    /// One call for all rows; after an error one for each, so that a poisonous row does not condemn its neighbours.
    /// The breaker ends that when it is the version and not the row. Gives the last reason of a row without an answer.
    fn call(&self, round: &mut Round<'_>, version: &Arc<Version>, taken: &[usize], matrix: &[f64]) -> Option<String> {
        let started = Instant::now();
        let mut why = match version.predict(matrix) {
            Ok(scores) => return self.keep(round, version, taken, &scores, started),
            Err(why) => why,
        };
        if taken.len() == 1 {
            version.failed(round.at);
            return Some(why);
        }
        let width = matrix.len() / taken.len();
        let mut left = false;
        for (index, row) in taken.iter().zip(matrix.chunks_exact(width)) {
            let started = Instant::now();
            let failed = match version.predict(row) {
                Ok(scores) => self.keep(round, version, std::slice::from_ref(index), &scores, started),
                Err(error) => {
                    let open = version.failed(round.at);
                    why = error;
                    left = true;
                    if open {
                        break;
                    }
                    continue;
                }
            };
            if let Some(error) = failed {
                (why, left) = (error, true);
            }
        }
        (left || round.is_open()).then_some(why)
    }

    /// Gives out the finite answers. The call counts as a failure when there is none, or when it took too long.
    fn keep(
        &self,
        round: &mut Round<'_>,
        version: &Arc<Version>,
        taken: &[usize],
        scores: &Scores,
        started: Instant,
    ) -> Option<String> {
        let mut good = 0;
        for (row, &index) in taken.iter().enumerate().filter(|(row, _)| finite(scores, *row)) {
            let score = Score {
                value: scores.values[row],
                label: scores.label(row).map(str::to_owned),
                probabilities: scores.probabilities(row).to_vec(),
            };
            round.verdicts[index] = Some(Verdict::Answered { version: Arc::clone(version), score });
            good += 1;
        }
        if good > 0 && started.elapsed() <= self.timeout {
            version.succeeded();
        } else {
            version.failed(round.at);
        }
        version.metrics.rows.inc_by(good);
        (good < taken.len() as u64).then(|| "gave a result that is not finite".to_owned())
    }
}

impl Round<'_> {
    fn is_open(&self) -> bool {
        self.verdicts.iter().any(Option::is_none)
    }

    fn finish(self, model: &str) -> Vec<Verdict> {
        let Self { verdicts, reasons, .. } = self;
        let problem = || {
            let message = format!("no version of model {:?} can answer: {}", model, reasons.join("; "));
            Verdict::Failed(Problem::new(ErrorCode::ModelUnavailable, message))
        };
        verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(problem)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{Mood, POLICY, Stable, features, stable};
    use crate::versions::{Found, Wish};

    const TIMEOUT: Duration = Duration::from_secs(2);

    /// Versions 1, 2 and 3 (Production).
    fn three() -> Stable {
        stable(&[(1, 2), (2, 2), (3, 2)], 3)
    }

    /// Asks `version` for rows that begin with each of `firsts`; `Ok((answering version, value))`.
    fn ask(stable: &Stable, version: u32, firsts: &[f64]) -> Vec<Result<(u32, f64), String>> {
        let rows: Vec<Features> = firsts.iter().map(|first| features("m", version, &[*first, 0.5])).collect();
        let found = match stable.versions.find("m", version) {
            Found::Ready(version) => Ok(version),
            Found::Loading => Err("is still being loaded".to_owned()),
            Found::Failed(why) => Err(why),
        };
        let pinned = Pinned { model: "m".into(), number: version, version: found };
        let inference = Inference::new(Arc::clone(&stable.versions), TIMEOUT);
        let verdicts = inference.answer(&pinned, &rows.iter().collect::<Vec<_>>());
        let told = |verdict| match verdict {
            Verdict::Answered { version, score } => Ok((version.number(), score.value)),
            Verdict::Failed(problem) => {
                assert_eq!(problem.code, ErrorCode::ModelUnavailable);
                Err(problem.message)
            }
        };
        verdicts.into_iter().map(told).collect()
    }

    #[test]
    fn one_call_answers_a_group_in_order() {
        let stable = three();
        let before = stable.calls(1);
        assert_eq!(ask(&stable, 1, &[1.0, 2.0, 3.0]), [Ok((1, 11.5)), Ok((1, 12.5)), Ok((1, 13.5))]);
        assert_eq!(stable.calls(1) - before, 1);
    }

    #[test]
    fn the_chain_is_pinned_then_production_then_the_one_before() {
        let stable = three();
        stable.mood(1, Mood::Refuses);
        assert_eq!(ask(&stable, 1, &[1.0]), [Ok((3, 31.5))]);
        stable.mood(3, Mood::Panics);
        assert_eq!(ask(&stable, 1, &[1.0]), [Ok((2, 21.5))]);
        stable.mood(2, Mood::Nan);
        let told = ask(&stable, 1, &[1.0])[0].clone().unwrap_err();
        let expected = "no version of model \"m\" can answer: v1 the model cannot answer: told to; v3 panicked: told to; \
                        v2 gave a result that is not finite";
        assert_eq!(told, expected);
    }

    #[test]
    fn every_kind_of_failure_falls_back() {
        for mood in [Mood::Nan, Mood::Panics, Mood::Refuses, Mood::TooFew] {
            let stable = three();
            stable.mood(1, mood);
            assert_eq!(ask(&stable, 1, &[1.0, 2.0]), [Ok((3, 31.5)), Ok((3, 32.5))], "{mood:?}");
        }
    }

    #[test]
    fn a_poisonous_row_does_not_condemn_its_neighbours() {
        for mood in [Mood::PanicsAt(9.0), Mood::NanAt(9.0)] {
            let stable = three();
            stable.mood(1, mood);
            assert_eq!(ask(&stable, 1, &[1.0, 9.0, 2.0]), [Ok((1, 11.5)), Ok((3, 39.5)), Ok((1, 12.5))], "{mood:?}");
            assert_eq!(stable.versions.chain("m", 1).len(), 2);
            assert_eq!(ask(&stable, 1, &[1.0]), [Ok((1, 11.5))], "its breaker stays closed");
        }
    }

    #[test]
    fn five_failures_in_a_row_open_the_breaker_and_a_probe_closes_it() {
        let stable = three();
        stable.mood(1, Mood::Nan);
        (0..5).for_each(|_| assert_eq!(ask(&stable, 1, &[1.0]), [Ok((3, 31.5))]));
        let calls = stable.calls(1);
        assert_eq!(ask(&stable, 1, &[1.0]), [Ok((3, 31.5))]);
        assert_eq!(stable.calls(1), calls, "an open breaker keeps calls away");
        let Found::Ready(version) = stable.versions.find("m", 1) else { panic!("not ready") };
        assert_eq!((version.metrics.open.get(), version.metrics.failures.get()), (1, 5));
        let later = Instant::now() + POLICY.open;
        assert!(version.admit(later).unwrap_err().starts_with("probe failed"));
        stable.mood(1, Mood::Well);
        assert!(version.admit(later + POLICY.open / 2).unwrap_err().starts_with("breaker is open"));
        assert_eq!(version.admit(later + POLICY.open), Ok(()));
        assert_eq!(version.metrics.open.get(), 0);
        assert_eq!(ask(&stable, 1, &[1.0]), [Ok((1, 11.5))]);
    }

    #[test]
    fn every_kind_of_failure_opens_the_breaker() {
        for mood in [Mood::Nan, Mood::Panics, Mood::Refuses, Mood::TooFew, Mood::Sleeps(Duration::from_millis(5))] {
            let stable = three();
            stable.mood(1, mood);
            let Found::Ready(version) = stable.versions.find("m", 1) else { panic!("not ready") };
            let limit = if matches!(mood, Mood::Sleeps(_)) { Duration::from_millis(1) } else { TIMEOUT };
            let inference = Inference::new(Arc::clone(&stable.versions), limit);
            let pinned = Pinned { model: "m".into(), number: 1, version: Ok(Arc::clone(&version)) };
            let row = features("m", 1, &[1.0, 0.5]);
            for calls in 1..=5 {
                assert_eq!(version.metrics.open.get(), 0, "{mood:?} after {calls} calls");
                inference.answer(&pinned, &[&row]);
            }
            assert_eq!((version.metrics.open.get(), version.metrics.failures.get()), (1, 5), "{mood:?}");
        }
    }

    #[test]
    fn a_fallback_is_not_charged_for_the_time_of_the_version_before_it() {
        let stable = three();
        stable.mood(1, Mood::SleepsAndRefuses(Duration::from_millis(60)));
        let inference = Inference::new(Arc::clone(&stable.versions), Duration::from_millis(50));
        let Found::Ready(version) = stable.versions.find("m", 1) else { panic!("not ready") };
        let pinned = Pinned { model: "m".into(), number: 1, version: Ok(version) };
        let row = features("m", 1, &[1.0, 0.5]);
        inference.answer(&pinned, &[&row]);
        let Found::Ready(fallback) = stable.versions.find("m", 3) else { panic!("not ready") };
        assert_eq!((fallback.metrics.rows.get(), fallback.metrics.failures.get()), (1, 0));
    }

    #[test]
    fn a_batch_that_always_panics_costs_no_more_calls_than_the_breaker_allows() {
        let stable = three();
        stable.mood(1, Mood::Panics);
        let before = stable.calls(1);
        let rows: Vec<f64> = (0..100).map(f64::from).collect();
        assert!(ask(&stable, 1, &rows).iter().all(|answer| matches!(answer, Ok((3, _)))));
        assert_eq!(stable.calls(1) - before, 6);
    }

    #[test]
    fn with_every_breaker_open_the_message_says_so() {
        let stable = three();
        (1..=3).for_each(|version| stable.mood(version, Mood::Refuses));
        (0..5).for_each(|_| assert!(ask(&stable, 3, &[1.0])[0].is_err()));
        let told = ask(&stable, 3, &[1.0])[0].clone().unwrap_err();
        assert!(told.contains("v3 breaker is open for another") && told.contains("; v2 breaker is open"), "{told}");
    }

    #[test]
    fn a_version_that_is_not_there_is_replaced() {
        let stable = three();
        assert_eq!(ask(&stable, 8, &[1.0]), [Ok((3, 31.5))]);
        assert_eq!(stable.wanted.try_recv(), Ok(Wish::Version(("m".to_owned(), 8))), "and asked for");
        ask(&stable, 8, &[1.0]);
        assert!(stable.wanted.try_recv().is_err(), "once");
    }

    #[test]
    fn a_version_with_other_features_is_no_fallback() {
        let stable = stable(&[(1, 2), (2, 3), (3, 2)], 2);
        stable.mood(1, Mood::Refuses);
        assert_eq!(
            ask(&stable, 1, &[1.0]),
            [Err("no version of model \"m\" can answer: v1 the model cannot answer: told to".into())]
        );
    }

    #[test]
    fn a_slow_call_is_answered_and_counted_as_a_failure() {
        let stable = three();
        stable.mood(1, Mood::Sleeps(Duration::from_millis(5)));
        let Found::Ready(version) = stable.versions.find("m", 1) else { panic!("not ready") };
        let inference = Inference::new(Arc::clone(&stable.versions), Duration::from_millis(1));
        let pinned = Pinned { model: "m".into(), number: 1, version: Ok(Arc::clone(&version)) };
        let row = features("m", 1, &[1.0, 0.5]);
        for _ in 0..5 {
            assert!(
                matches!(&inference.answer(&pinned, &[&row])[0], Verdict::Answered { version, .. } if version.number() == 1)
            );
        }
        assert!(version.admit(Instant::now()).is_err());
    }
}
