//! Which threads answer the rows of a version, and the groups of rows for calls on other threads than the arbiter's.

use std::time::{Duration, Instant};

use forebay_contract::{BreakerState, Features, now_us};

use super::Work;
use crate::infer::PinnedVersion;
use crate::loader_commands::VersionName;
use crate::queue::RowGroup;
use crate::slow_queue::SlowQueue;

/// About how long one call on a separate thread may take by its version's cost: rows of a higher priority and of other
/// models wait for the call that has begun.
const SLOW_CALL: Duration = Duration::from_millis(10);
/// A version whose calls take longer, because one row does, has a thread of its own: on the threads that versions share every
/// other one would wait for it.
const LONGEST_SHARED: Duration = Duration::from_millis(20);

/// Which threads answer the rows of a version, by its cost of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The arbiter.
    Inline,
    /// Those that versions take turns on.
    Shared,
    /// One of its own.
    Alone,
}

impl Work {
    /// The pace of the versions that may answer the group.
    pub(super) fn pace(&self, group: &RowGroup) -> Pace {
        match self.row_cost(&group.pinned) {
            cost if cost <= self.inline_row => Pace::Inline,
            cost if cost <= LONGEST_SHARED => Pace::Shared,
            _ => Pace::Alone,
        }
    }

    /// The time that a row takes: the most of all versions that may answer in place of one that is not there, or whose
    /// breaker may refuse the call.
    fn row_cost(&self, PinnedVersion { model, number, version }: &PinnedVersion) -> Duration {
        let chain = || self.versions.chain(model, *number).iter().map(|it| it.row_cost()).max().unwrap_or_default();
        match version {
            Ok(version) if version.breaker_state(Instant::now()) == BreakerState::Closed => version.row_cost(),
            Ok(version) => version.row_cost().max(chain()),
            Err(_) => chain(),
        }
    }

    /// The next group for the threads that versions share, if one waits.
    pub(crate) fn next_slow(&mut self) -> Option<RowGroup> {
        self.next_group(|work| &mut work.slow, &[])
    }

    /// The next group of a version that has a thread of its own, if one waits whose thread is not `busy`.
    pub(crate) fn next_alone(&mut self, busy: &[VersionName]) -> Option<RowGroup> {
        self.next_group(|work| &mut work.alone, busy)
    }

    fn next_group(&mut self, queue: fn(&mut Self) -> &mut SlowQueue, busy: &[VersionName]) -> Option<RowGroup> {
        let now = Instant::now();
        let (first, pinned, row_cost) = loop {
            let row = queue(self).pop(now, busy)?;
            let Features { model, version: number, .. } = &row.item.payload;
            let version = self.versions.find(model, *number).version();
            let pinned = PinnedVersion { model: model.clone(), number: *number, version };
            let row_cost = self.row_cost(&pinned);
            match self.expire(row, now_us(), row_cost) {
                Some(row) => break (row, pinned, row_cost),
                None => self.flush(),
            }
        };
        let room = self.batch.min(rows_within(SLOW_CALL, row_cost)) - 1;
        let more = queue(self).take(&pinned.model, pinned.number, now, room);
        let (now_us, taken) = (now_us(), more.len());
        let live: Vec<_> = more.into_iter().filter_map(|row| self.expire(row, now_us, row_cost)).collect();
        if live.len() < taken {
            self.flush();
        }
        let rows = std::iter::once(first).chain(live).collect();
        Some(RowGroup { pinned, rows })
    }
}

/// How many rows fit into `time`, at least one.
fn rows_within(time: Duration, row_cost: Duration) -> usize {
    let rows = time.as_nanos() / row_cost.as_nanos().max(1);
    usize::try_from(rows).unwrap_or(usize::MAX).max(1)
}
