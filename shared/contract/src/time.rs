//! Unix time in microseconds, the unit of every instant on the wire.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is added to this machine's clock, in microseconds.
static CORRECTION_US: AtomicI64 = AtomicI64::new(0);
/// By how much tests let this machine's clock be wrong.
static SHIFT_US: AtomicI64 = AtomicI64::new(0);

/// Microseconds since the Unix epoch by the clock that the processes of the mesh share: this machine's, corrected by
/// [`correct_clock`] where it is known to be wrong.
pub fn now_us() -> u64 {
    machine_us().saturating_add_signed(CORRECTION_US.load(Ordering::Relaxed))
}

/// [`now_us`] in milliseconds, the unit of Kafka's record timestamps.
pub fn now_ms() -> i64 {
    i64::try_from(now_us() / 1000).unwrap_or(i64::MAX)
}

/// Microseconds since the Unix epoch by this machine's clock; 0 when it is before it.
pub fn machine_us() -> u64 {
    let us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    us.saturating_add_signed(SHIFT_US.load(Ordering::Relaxed))
}

/// Lets this machine's clock be wrong by `us` microseconds in this process, for tests.
pub fn shift_machine_clock(us: i64) {
    SHIFT_US.store(us, Ordering::Relaxed);
}

/// Adds `us` microseconds to this machine's clock from now on, in this process.
pub fn correct_clock(us: i64) {
    CORRECTION_US.store(us, Ordering::Relaxed);
}
