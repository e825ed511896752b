//! What one worker counts, for the metrics: written by its thread alone, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer. Adding is a load and a store, without a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`; only the owning thread may.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Keeps the larger of the old value and `value`; only the owning thread may.
    #[inline]
    pub fn raise(&self, value: u64) {
        if value > self.0.load(Ordering::Relaxed) {
            self.0.store(value, Ordering::Relaxed);
        }
    }

    /// The value as last stored.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The figures of one worker, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStats {
    /// Connections accepted and handed to the shard.
    pub accepted: Counter,
    /// Accepts that failed, whatever the cause.
    pub accept_errors: Counter,
    /// Connections taken from a queue and closed at once, because no descriptor was left.
    pub accept_shed: Counter,
    /// Times a listener stopped accepting because its connections were at their maximum.
    pub accept_pauses: Counter,
    /// Tasks that ended in a panic.
    pub panics: Counter,
    /// Reads, writes and waits that their deadline ended.
    pub deadlines_passed: Counter,
    /// Turns of the deadline wheel.
    pub ticks: Counter,
    /// By how much those turns were late, altogether: the loop's lag.
    pub lag_nanos: Counter,
    /// By how much the latest of them was.
    pub lag_nanos_max: Counter,
}
