//! How long a record of the request topic has waited in Kafka: its timeout counts from its own time, not from ours.
//!
//! A record's timestamp is usually its client's clock, which may be wrong by minutes. It is trusted only while a backlog
//! is read, and never beyond the time for which this replica has been behind: a replica that keeps up takes every record
//! soon after it was written, whatever its timestamp says, and one that has just started knows which records were not
//! there yet.

use std::time::Duration;

use forebay_contract::MAX_BATCH_ITEMS;

/// Deliveries in a row that are not full, after which the source is taken to keep up. While a backlog is read, a single
/// one may be cut short between two fetches.
const PARTIAL: u32 = 3;

/// Tells the age of records. One per source.
#[derive(Debug, Default)]
pub(crate) struct RecordAge {
    /// Deliveries in a row that were not full.
    partial: u32,
    /// When the source last kept up, Unix microseconds; 0 if it never has.
    kept_up_us: u64,
    /// Since when the records of this delivery were written.
    written_since_us: u64,
}

impl RecordAge {
    /// A delivery of `records` has arrived, all of them written since this time; 0 if that is not known.
    pub(crate) fn delivered(&mut self, records: usize, since_us: u64, now_us: u64) {
        self.written_since_us = since_us;
        self.partial = if records < MAX_BATCH_ITEMS { (self.partial + 1).min(PARTIAL) } else { 0 };
        if self.partial == PARTIAL {
            self.kept_up_us = now_us;
        }
    }

    /// How long a record of this delivery has waited, of which the timestamp is `timestamp_ms` (-1 for none).
    pub(crate) fn of(&self, timestamp_ms: i64, now_us: u64) -> Duration {
        let written_us = u64::try_from(timestamp_ms).map_or(now_us, |it| it.saturating_mul(1000));
        // a record from the time before the source fell behind was written after it last kept up, or it had been taken
        let since_us = written_us.max(self.kept_up_us).max(self.written_since_us);
        Duration::from_micros(now_us.saturating_sub(since_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000;
    const HOUR_AGO_MS: i64 = (NOW / 1000) as i64 - 3_600_000;

    #[test]
    fn a_backlog_is_as_old_as_its_records_say() {
        let mut age = RecordAge::default();
        for records in [256, 10, 256, 3, 4] {
            age.delivered(records, 0, NOW);
            assert_eq!(age.of(HOUR_AGO_MS, NOW), Duration::from_secs(3600));
        }
        assert_eq!(age.of(-1, NOW), Duration::ZERO, "no timestamp");
        assert_eq!(age.of(HOUR_AGO_MS + 7_200_000, NOW), Duration::ZERO, "a clock that is ahead");
    }

    #[test]
    fn a_record_is_no_older_than_the_time_at_which_it_was_not_there() {
        let mut age = RecordAge::default();
        age.delivered(1, NOW - 2_000_000, NOW);
        assert_eq!(age.of(HOUR_AGO_MS, NOW), Duration::from_secs(2));
        age.delivered(1, 0, NOW);
        assert_eq!(age.of(HOUR_AGO_MS, NOW), Duration::from_secs(3600), "the next one has a backlog");
    }

    #[test]
    fn no_clock_of_a_client_matters_while_the_source_keeps_up() {
        let mut age = RecordAge::default();
        (0..3).for_each(|_| age.delivered(5, 0, NOW));
        assert_eq!(age.of(HOUR_AGO_MS, NOW), Duration::ZERO);
        // quiet for a minute, and kept up all the same
        let later = NOW + 60_000_000;
        age.delivered(1, 0, later);
        assert_eq!(age.of(HOUR_AGO_MS, later), Duration::ZERO);
    }

    #[test]
    fn a_source_that_falls_behind_bounds_the_age_by_the_time_since_then() {
        let mut age = RecordAge::default();
        (0..3).for_each(|_| age.delivered(5, 0, NOW));
        let later = NOW + 90_000_000;
        age.delivered(256, 0, later);
        assert_eq!(age.of(HOUR_AGO_MS, later), Duration::from_secs(90));
        assert_eq!(age.of(HOUR_AGO_MS + 3_600_000 + 80_000, later), Duration::from_secs(10), "its own time");
    }
}
