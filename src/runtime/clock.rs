//! The two clocks. Everybody else is told the time.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::{Timestamp, UnixTime};

/// The origin of every [`Timestamp`] of this process.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The monotonic clock, the same for all threads.
#[inline]
pub fn now() -> Timestamp {
    Timestamp::default().plus(ORIGIN.elapsed())
}

/// The wall clock; a time before 1970 reads as 1970.
#[inline]
pub fn unix_time() -> UnixTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let first = now();
        assert!(now() >= first);
    }
}
