//! Which threads answer the rows of a version, and the groups of rows for calls on other threads than the arbiter's.

use std::time::{Duration, Instant};

use forebay_contract::{Features, now_us};

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
    /// The pace of the version that would answer the group first.
    pub(super) fn pace(&self, group: &RowGroup) -> Pace {
        let PinnedVersion { model, number, version } = &group.pinned;
        let cost = match version {
            Ok(version) => version.row_cost(),
            Err(_) => self.versions.chain(model, *number).first().map_or(Duration::ZERO, |it| it.row_cost()),
        };
        match cost {
            cost if cost <= self.inline_row => Pace::Inline,
            cost if cost <= LONGEST_SHARED => Pace::Shared,
            _ => Pace::Alone,
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
            let (number, version) = (*number, self.versions.find(model, *number).version());
            let row_cost = version.as_ref().map_or(Duration::ZERO, |version| version.row_cost());
            match self.expire(row, now_us(), row_cost) {
                Some(row) => {
                    let model = row.item.payload.model.clone();
                    break (row, PinnedVersion { model, number, version }, row_cost);
                }
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
