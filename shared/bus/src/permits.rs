//! Bounds on unfinished work. A source takes permits before it takes a record, and the ack of the work returns them, so
//! the mailboxes behind it are bounded by construction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{Lane, MAX_BATCH_ITEMS};
use parking_lot::{Condvar, Mutex};

/// A pool of permits, one per item of unfinished work, and of the bytes that the items have. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    limit: usize,
    bytes: u64,
    free: Mutex<Free>,
    returned: Condvar,
}

#[derive(Debug)]
struct Free {
    items: usize,
    /// Negative while the last items that were taken are larger than what was left.
    bytes: i64,
    /// Those who need the pool without having work in it.
    holds: usize,
}

impl Free {
    /// Whether `items` more may be taken, whose size is not known yet.
    fn has(&self, items: usize) -> bool {
        self.items >= items && self.bytes > 0
    }
}

impl Permits {
    /// A pool of `limit` permits, however large the items are.
    pub fn new(limit: usize) -> Self {
        Self::with_bytes(limit, i64::MAX.unsigned_abs())
    }

    /// A pool of `limit` permits, none of which is given while items of `bytes` are unfinished.
    pub fn with_bytes(limit: usize, bytes: u64) -> Self {
        let bytes = bytes.min(i64::MAX.unsigned_abs());
        let free = Free { items: limit, bytes: bytes.cast_signed(), holds: 0 };
        Self(Arc::new(Pool { limit, bytes, free: Mutex::new(free), returned: Condvar::new() }))
    }

    /// `n` permits at once, or none of them.
    pub fn try_take(&self, n: usize) -> Option<Permit> {
        let mut free = self.0.free.lock();
        if !free.has(n) {
            return None;
        }
        free.items -= n;
        Some(Permit { pool: Arc::clone(&self.0), held: n, bytes: 0 })
    }

    /// Waits up to `limit` for `n` permits. Blocks the thread: for source threads, not for actors.
    pub fn take_within(&self, n: usize, limit: Duration) -> Option<Permit> {
        let deadline = Instant::now() + limit;
        let mut free = self.0.free.lock();
        while !free.has(n) {
            if self.0.returned.wait_until(&mut free, deadline).timed_out() && !free.has(n) {
                return None;
            }
        }
        free.items -= n;
        Some(Permit { pool: Arc::clone(&self.0), held: n, bytes: 0 })
    }

    /// Permits in use: the items of unfinished work.
    pub fn in_use(&self) -> usize {
        self.0.limit.saturating_sub(self.0.free.lock().items)
    }

    /// Bytes of the items of unfinished work.
    pub fn bytes_in_use(&self) -> u64 {
        let free = self.0.free.lock().bytes;
        self.0.bytes.cast_signed().saturating_sub(free).unsigned_abs()
    }

    /// How many permits there are.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Keeps the pool from being idle, also while all permits are in use.
    pub(crate) fn hold(&self) -> PermitHold {
        self.0.free.lock().holds += 1;
        PermitHold(Arc::clone(&self.0))
    }

    /// Waits until no permit is in use and nothing holds the pool: everything taken is finished. `false` when `limit` passed
    /// first.
    pub fn wait_idle(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut free = self.0.free.lock();
        let idle = |free: &Free| free.items >= self.0.limit && free.holds == 0;
        while !idle(&free) {
            if self.0.returned.wait_until(&mut free, deadline).timed_out() {
                return idle(&free);
            }
        }
        true
    }
}

/// Ends when it is dropped; see [`Permits::hold`].
#[derive(Debug)]
pub(crate) struct PermitHold(Arc<Pool>);

impl Drop for PermitHold {
    fn drop(&mut self) {
        self.0.free.lock().holds -= 1;
        self.0.returned.notify_all();
    }
}

/// The permits of a stage: one pool, or one for each lane, so that work of a lower priority never holds those of a higher
/// one. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct StagePermits(Arc<[Permits]>);

impl StagePermits {
    /// One pool of `limit` permits and `bytes`.
    pub(crate) fn whole(limit: usize, bytes: u64) -> Self {
        Self([Permits::with_bytes(limit, bytes)].into())
    }

    /// Half of `limit` and of `bytes` for the normal lane, a quarter for each other one; at least a full batch for each.
    pub(crate) fn by_lane(limit: usize, bytes: u64) -> Self {
        let quarter = || Permits::with_bytes((limit / 4).max(MAX_BATCH_ITEMS), bytes / 4);
        let half = Permits::with_bytes((limit - limit / 4 * 2).max(MAX_BATCH_ITEMS), bytes / 2);
        Self([quarter(), half, quarter()].into())
    }

    /// The pool of a lane.
    pub(crate) fn of(&self, lane: Lane) -> &Permits {
        self.0.get(lane.index()).unwrap_or(&self.0[0])
    }

    /// Permits in use, of all pools.
    pub(crate) fn in_use(&self) -> usize {
        self.0.iter().map(Permits::in_use).sum()
    }

    /// Bytes in use, of all pools.
    pub(crate) fn bytes_in_use(&self) -> u64 {
        self.0.iter().map(Permits::bytes_in_use).sum()
    }

    /// Waits until everything taken is finished. `false` when `limit` passed first.
    pub(crate) fn wait_idle(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        self.0.iter().all(|pool| pool.wait_idle(deadline.saturating_duration_since(Instant::now())))
    }
}

impl From<Permits> for StagePermits {
    fn from(pool: Permits) -> Self {
        Self([pool].into())
    }
}

/// Permits in use, and the bytes of their items. Dropping it returns them.
#[derive(Debug)]
pub struct Permit {
    pool: Arc<Pool>,
    held: usize,
    bytes: u64,
}

impl Permit {
    /// Keeps `n` of the permits and returns the rest: the maximum was reserved before the size was known.
    pub fn keep(&mut self, n: usize) {
        self.keep_with_bytes(n, 0);
    }

    /// As [`Permit::keep`]; the items have `bytes`, which the pool need not have left.
    pub fn keep_with_bytes(&mut self, n: usize, bytes: u64) {
        let bytes = bytes.min(u64::from(u32::MAX));
        let rest = self.held.saturating_sub(n);
        if rest == 0 && bytes == 0 {
            return;
        }
        self.held -= rest;
        self.bytes += bytes;
        let mut free = self.pool.free.lock();
        free.items += rest;
        free.bytes -= bytes.cast_signed();
        drop(free);
        if rest > 0 {
            self.pool.returned.notify_all();
        }
    }

    /// Adds the permits of `other`, which come from the same pool.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.pool, &other.pool), "permits go back to their own pool");
        self.held += std::mem::take(&mut other.held);
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.held == 0 && self.bytes == 0 {
            return;
        }
        let mut free = self.pool.free.lock();
        free.items += self.held;
        free.bytes += self.bytes.cast_signed();
        drop(free);
        self.pool.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_come_back() {
        let permits = Permits::new(10);
        let mut some = permits.try_take(8).unwrap();
        assert!(permits.try_take(3).is_none());
        some.keep(1);
        assert_eq!(permits.in_use(), 1);
        assert!(!permits.wait_idle(Duration::ZERO));
        drop(some);
        assert!(permits.wait_idle(Duration::ZERO));
    }

    #[test]
    fn a_hold_needs_no_permit_and_keeps_the_pool_from_being_idle() {
        let permits = Permits::new(4);
        let all = permits.try_take(4).unwrap();
        let hold = permits.hold();
        drop(all);
        assert!(!permits.wait_idle(Duration::ZERO) && permits.try_take(4).is_some());
        drop(hold);
        assert!(permits.wait_idle(Duration::ZERO));
    }

    #[test]
    fn a_lane_cannot_hold_the_permits_of_another() {
        let permits = StagePermits::by_lane(16_384, 4000);
        let sizes = Lane::ALL.map(|lane| permits.of(lane).limit());
        assert_eq!((sizes, sizes.iter().sum()), ([4096, 8192, 4096], 16_384));
        let low = permits.of(Lane::Low).try_take(4096).unwrap();
        assert!(permits.of(Lane::Low).try_take(1).is_none() && permits.of(Lane::High).try_take(256).is_some());
        assert_eq!((permits.in_use(), permits.wait_idle(Duration::ZERO)), (4096, false));
        drop(low);
        assert!(permits.wait_idle(Duration::ZERO));
        assert_eq!(Lane::ALL.map(|lane| StagePermits::by_lane(512, 400).of(lane).limit()), [256; 3]);
        let whole = StagePermits::whole(512, u64::MAX);
        let _all = whole.of(Lane::Low).try_take(512).unwrap();
        assert!(whole.of(Lane::High).try_take(1).is_none());
    }

    #[test]
    fn merged_permits_come_back_together() {
        let permits = Permits::new(10);
        let mut held = permits.try_take(4).unwrap();
        held.merge(permits.try_take(5).unwrap());
        assert!(permits.try_take(2).is_none());
        held.merge(permits.try_take(1).unwrap());
        assert!(permits.try_take(1).is_none() && permits.try_take(usize::MAX).is_none());
        assert!(permits.try_take(0).is_some());
        drop(held);
        assert!(permits.try_take(10).is_some());
        assert!(Permits::new(usize::MAX).try_take(1).is_some());
    }

    #[test]
    fn no_permit_is_given_while_the_items_have_too_many_bytes() {
        let permits = Permits::with_bytes(1000, 100);
        let mut small = permits.try_take(256).unwrap();
        small.keep_with_bytes(2, 60);
        let mut large = permits.try_take(256).unwrap();
        // it was read before its size was known
        large.keep_with_bytes(1, 1000);
        assert_eq!((permits.in_use(), permits.bytes_in_use()), (3, 1060));
        assert!(permits.try_take(1).is_none() && permits.take_within(1, Duration::from_millis(1)).is_none());
        let waiter = std::thread::spawn({
            let permits = permits.clone();
            move || permits.take_within(256, Duration::from_secs(10)).is_some()
        });
        small.merge(large);
        drop(small);
        assert!(waiter.join().unwrap() && permits.wait_idle(Duration::ZERO));
        assert_eq!(permits.bytes_in_use(), 0);
        let lanes = StagePermits::by_lane(1024, 100);
        let mut low = lanes.of(Lane::Low).try_take(1).unwrap();
        low.keep_with_bytes(1, 25);
        assert!(lanes.of(Lane::Low).try_take(1).is_none() && lanes.of(Lane::High).try_take(256).is_some());
        assert_eq!(lanes.bytes_in_use(), 25);
    }

    #[test]
    fn a_waiter_is_woken() {
        let permits = Permits::new(1);
        let held = permits.try_take(1).unwrap();
        let waiter = std::thread::spawn({
            let permits = permits.clone();
            move || permits.take_within(1, Duration::from_secs(10)).is_some()
        });
        drop(held);
        assert!(waiter.join().unwrap());
    }
}
