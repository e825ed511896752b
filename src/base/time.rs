//! Points in time as plain numbers. Who reads a clock is `runtime/` alone; everybody else is told.

use std::time::Duration;

/// A point on the process's monotonic clock, in nanoseconds since an arbitrary origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Later than everything: a deadline that never fires.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `duration` later; saturates at [`Self::NEVER`].
    #[inline]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    #[inline]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds, for what every exchange asks: to make a duration is a division.
    #[inline]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Wall-clock time, in nanoseconds since the Unix epoch, for dates and logs only: it may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The time `nanos` nanoseconds after the epoch.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `duration` later; saturates at the end of time.
    #[inline]
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_nanos(nanos(duration))
    }

    /// So many nanoseconds later; saturates at the end of time.
    #[inline]
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Whole seconds since the epoch.
    #[inline]
    pub const fn as_seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

/// The nanoseconds of a duration, as many as fit.
#[inline]
const fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_to_a_timestamp_saturates_at_never() {
        assert_eq!(Timestamp::from_nanos(5).plus(Duration::MAX), Timestamp::NEVER);
    }

    #[test]
    fn time_since_a_later_point_is_zero() {
        let early = Timestamp::from_nanos(1);
        assert_eq!(early.since(Timestamp::from_nanos(2)), Duration::ZERO);
    }
}
