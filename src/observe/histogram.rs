//! How long things take: a fixed log-linear histogram with two buckets for each doubling.
//!
//! Bounds are 50 and 75 microseconds and their doublings, so that any value above the first bound is known within a
//! factor of 1.5, and the bucket of a value is a shift away.

use super::Counter;

/// Half of the first bound: bounds are multiples of it.
const UNIT_MICROS: u64 = 25;
/// Buckets with an upper bound: 50 µs, 75 µs, 100 µs … 52.4 s, 78.6 s.
pub(super) const BOUNDS: usize = 42;
/// All buckets, the unbounded last one included.
pub const BUCKETS: usize = BOUNDS + 1;

/// Counts of durations by size. One thread writes it.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_micros: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum_micros: Counter::default() }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&self, micros: u64) {
        self.buckets[bucket_of(micros)].increment();
        self.sum_micros.add(micros);
    }
}

/// The bucket of a duration; a bound belongs to the bucket below it, as `le` promises.
#[inline]
fn bucket_of(micros: u64) -> usize {
    let units = micros.saturating_sub(1) / UNIT_MICROS;
    // The lowest bit set is bit 1, so units 0 to 3 are told apart without a branch: 0 and 1 share the first bucket.
    let exponent = (units | 2).ilog2() - 1;
    let half = (units >> exponent) as usize;
    (2 * exponent as usize + half.saturating_sub(1)).min(BOUNDS)
}

/// The upper bound of a bounded bucket, in microseconds.
pub(super) fn bound_micros(bucket: usize) -> u64 {
    debug_assert!(bucket < BOUNDS, "the last bucket has no bound");
    (UNIT_MICROS * (2 + bucket as u64 % 2)) << (bucket / 2)
}

/// Histograms of several shards, added up.
pub(super) struct Sum {
    pub buckets: [u64; BUCKETS],
    pub micros: u64,
}

impl Sum {
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut sum = Self { buckets: [0; BUCKETS], micros: 0 };
        for histogram in histograms {
            sum.micros = sum.micros.wrapping_add(histogram.sum_micros.value());
            for (total, bucket) in sum.buckets.iter_mut().zip(&histogram.buckets) {
                *total += bucket.value();
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_every_second_bucket() {
        let first: Vec<_> = (0..6).map(bound_micros).collect();
        assert_eq!(first, [50, 75, 100, 150, 200, 300]);
        assert_eq!(bound_micros(BOUNDS - 1), 78_643_200);
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_next_microsecond_to_the_next() {
        for bucket in 0..BOUNDS {
            assert_eq!(bucket_of(bound_micros(bucket)), bucket);
            assert_eq!(bucket_of(bound_micros(bucket) + 1), bucket + 1);
        }
    }

    #[test]
    fn every_duration_has_a_bucket() {
        assert_eq!((bucket_of(0), bucket_of(1), bucket_of(u64::MAX)), (0, 0, BOUNDS));
    }

    #[test]
    fn shards_are_added_up() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.record(40);
        two.record(60);
        two.record(45);
        let sum = Sum::of([&one, &two].into_iter());
        assert_eq!((sum.buckets[0], sum.buckets[1], sum.micros), (2, 1, 145));
    }
}
