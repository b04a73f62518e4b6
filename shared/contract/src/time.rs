//! Unix time in microseconds, the unit of every instant on the wire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch; 0 when the clock is before it.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// The instant `us` microseconds after the Unix epoch.
pub fn us_to_system_time(us: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(us)
}
