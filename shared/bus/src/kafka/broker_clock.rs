//! Compares this machine's clock with the brokers' and corrects it where it is provably wrong, so that a deadline means
//! the same at every stage.
//!
//! The broker stamps each record of a topic that only the mesh writes. It does so between the moment when the record is
//! handed to the client and the arrival of its delivery report, so every report bounds the difference of the clocks
//! from both sides. Slow brokers and late reports widen the bounds, and never move them past the truth.

use std::time::{Duration, Instant};

use forebay_contract::{correct_clock, shift_machine_clock};
use parking_lot::Mutex;

/// How long reports are collected before they are judged; the first one is judged at once.
const WINDOW: Duration = Duration::from_secs(2);
/// Differences up to this are left alone: no deadline depends on them, and every correction is a step.
const TOLERANCE_US: i64 = 250_000;
/// A broker stamps in milliseconds, rounded down.
const RESOLUTION_US: i64 = 999;

/// The clock of the process: one for all its producers.
pub(crate) static BROKER_CLOCK: BrokerClock = BrokerClock(Mutex::new(Reports::NONE));

/// The variable by which tests let the clock of a process be wrong, in milliseconds.
const TEST_OFFSET: &str = "FOREBAY_TEST_CLOCK_OFFSET_MS";

/// Makes the clock of this process wrong if a test asks for it.
pub(crate) fn shift_for_test() {
    let offset = std::env::var_os(TEST_OFFSET);
    if let Some(ms) = offset.and_then(|text| text.to_str()?.parse::<i64>().ok()) {
        tracing::warn!(ms, "the clock of this process is wrong on purpose");
        shift_machine_clock(ms.saturating_mul(1000));
    }
}

/// What the delivery reports of the process prove about its clock.
#[derive(Debug)]
pub(crate) struct BrokerClock(Mutex<Reports>);

/// A record that a broker has stamped, in Unix microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StampedRecord {
    /// When it was handed to the client, by this machine's clock.
    pub(crate) sent_us: u64,
    /// The broker's stamp.
    pub(crate) appended_us: u64,
    /// When its delivery report came, by this machine's clock.
    pub(crate) reported_us: u64,
}

impl BrokerClock {
    /// Takes a delivery report into account, and corrects the clock of the process when that proves it wrong. Returns,
    /// once in a while, by how many seconds this machine's clock is at least behind the brokers' (negative: ahead).
    pub(crate) fn observe(&self, record: StampedRecord, now: Instant) -> Option<f64> {
        let Judgement { skew_us, correction_us } = self.0.lock().add(record, now)?;
        if let Some(correction_us) = correction_us {
            let seconds = correction_us as f64 / 1e6;
            tracing::warn!(seconds, "the clock of this machine is not that of the brokers, times are corrected");
            correct_clock(correction_us);
        }
        Some(skew_us as f64 / 1e6)
    }
}

/// The reports of the current window.
#[derive(Debug)]
struct Reports {
    /// When the next judgement is due; `None` before the first report.
    due: Option<Instant>,
    /// Bounds of what has to be added to this machine's clock.
    low_us: i64,
    high_us: i64,
    correction_us: i64,
    /// Whether the stamps of the last window contradicted each other.
    contradicted: bool,
}

#[derive(Debug, PartialEq)]
struct Judgement {
    /// The least difference that the reports allow.
    skew_us: i64,
    /// The correction, if it has changed.
    correction_us: Option<i64>,
}

impl Reports {
    const NONE: Self = Self { due: None, low_us: i64::MIN, high_us: i64::MAX, correction_us: 0, contradicted: false };

    fn add(&mut self, record: StampedRecord, now: Instant) -> Option<Judgement> {
        let since = |us: u64| signed(record.appended_us) - signed(us);
        self.low_us = self.low_us.max(since(record.reported_us));
        self.high_us = self.high_us.min(since(record.sent_us) + RESOLUTION_US);
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        let (low_us, high_us) = (self.low_us, self.high_us);
        (self.low_us, self.high_us, self.due) = (i64::MIN, i64::MAX, Some(now + WINDOW));
        // brokers that differ, or a clock that was set meanwhile
        let contradicted = low_us > high_us + TOLERANCE_US;
        if contradicted && !std::mem::replace(&mut self.contradicted, contradicted) {
            tracing::warn!("the brokers' clocks contradict each other, times are not corrected");
        }
        self.contradicted = contradicted;
        (!contradicted).then(|| self.judge(low_us, high_us))
    }

    fn judge(&mut self, low_us: i64, high_us: i64) -> Judgement {
        let skew_us = if low_us > 0 { low_us } else { high_us.min(0) };
        let wanted = if skew_us.abs() <= TOLERANCE_US { 0 } else { skew_us };
        // it stays as long as it is about right: each change is a step
        let right =
            if wanted == 0 { self.correction_us == 0 } else { (wanted - self.correction_us).abs() <= TOLERANCE_US };
        if !right {
            self.correction_us = wanted;
        }
        Judgement { skew_us, correction_us: (!right).then_some(wanted) }
    }
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// The broker's clock; this machine's is `skew_us` behind.
    struct Broker {
        now_us: i64,
        started: Instant,
    }

    impl Broker {
        /// A record that takes `there_us` to the broker and whose report takes `back_us`.
        fn stamp(&mut self, skew_us: i64, there_us: i64, back_us: i64) -> StampedRecord {
            let sent = self.now_us;
            let appended = sent + there_us;
            self.now_us = appended + back_us;
            let machine = |us: i64| u64::try_from(us - skew_us).unwrap();
            StampedRecord {
                sent_us: machine(sent),
                appended_us: u64::try_from(appended / 1000 * 1000).unwrap(),
                reported_us: machine(self.now_us),
            }
        }

        fn now(&self) -> Instant {
            self.started + Duration::from_micros(u64::try_from(self.now_us - 1_000 * SECOND).unwrap())
        }
    }

    fn broker() -> Broker {
        Broker { now_us: 1_000 * SECOND, started: Instant::now() }
    }

    fn judged(reports: &mut Reports, broker: &mut Broker, skew_us: i64, there_us: i64, back_us: i64) -> Judgement {
        loop {
            let record = broker.stamp(skew_us, there_us, back_us);
            if let Some(judgement) = reports.add(record, broker.now()) {
                return judgement;
            }
        }
    }

    #[test]
    fn a_right_clock_is_left_alone_however_slow_the_brokers_are() {
        for skew_us in [0, 100_000, -100_000] {
            let (mut reports, mut broker) = (Reports::NONE, broker());
            for (there, back) in [(2_000, 2_000), (5 * SECOND, 10), (10, 40 * SECOND), (30 * SECOND, 30 * SECOND)] {
                let judgement = judged(&mut reports, &mut broker, skew_us, there, back);
                assert_eq!(judgement.correction_us, None, "{skew_us} {there} {back}");
                assert!(judgement.skew_us.abs() <= skew_us.abs() + 1_000, "{judgement:?}");
            }
        }
    }

    #[test]
    fn the_first_report_of_a_wrong_clock_corrects_it_and_more_make_it_exact() {
        for skew_us in [61 * SECOND, -61 * SECOND] {
            let (mut reports, mut broker) = (Reports::NONE, broker());
            let first = broker.stamp(skew_us, 2 * SECOND, 3 * SECOND);
            let first = reports.add(first, broker.now()).unwrap().correction_us.unwrap();
            assert!((first - skew_us).abs() <= 3 * SECOND && first.signum() == skew_us.signum(), "{first}");
            judged(&mut reports, &mut broker, skew_us, 2_000, 3_000);
            judged(&mut reports, &mut broker, skew_us, 2_000, 3_000);
            assert!((reports.correction_us - skew_us).abs() < 5_000, "{}", reports.correction_us);
            let settled = judged(&mut reports, &mut broker, skew_us + 100_000, 2_000, 3_000);
            assert_eq!(settled.correction_us, None, "no step for what does not matter");
        }
    }

    #[test]
    fn a_clock_that_is_set_right_is_corrected_no_more() {
        let (mut reports, mut broker) = (Reports::NONE, broker());
        judged(&mut reports, &mut broker, 61 * SECOND, 2_000, 2_000);
        assert_ne!(reports.correction_us, 0);
        judged(&mut reports, &mut broker, 0, 2_000, 2_000);
        judged(&mut reports, &mut broker, 0, 2_000, 2_000);
        assert_eq!(reports.correction_us, 0);
    }

    #[test]
    fn brokers_that_contradict_each_other_correct_nothing() {
        let (mut reports, mut broker) = (Reports::NONE, broker());
        assert_eq!(judged(&mut reports, &mut broker, 0, 2_000, 2_000).correction_us, None);
        for _ in 0..4 * 2_000_000 / 8_000 {
            for skew_us in [0, 20 * SECOND] {
                let record = broker.stamp(skew_us, 2_000, 2_000);
                assert_eq!(reports.add(record, broker.now()), None);
            }
        }
        assert!(reports.contradicted);
    }
}
