//! Figures with one writer and any number of readers.
//!
//! A writer loads and stores instead of adding atomically: with one writer nothing is lost, and the cost is that of a
//! plain addition. A reader on another thread may see a figure a moment late, never torn.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Reason;

/// A figure that only grows. One thread writes it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `amount`.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Counts one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// The figure as last written.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A figure that rises and falls. One thread writes it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the figure.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Keeps the larger of the figure and `value`.
    #[inline]
    pub fn raise(&self, value: u64) {
        self.set(self.value().max(value));
    }

    /// One more.
    #[inline]
    pub fn rise(&self) {
        self.set(self.value() + 1);
    }

    /// One less; stays at zero.
    #[inline]
    pub fn fall(&self) {
        debug_assert!(self.value() > 0, "every fall follows its rise");
        self.set(self.value().saturating_sub(1));
    }

    /// One more, until the guard is dropped.
    #[inline]
    pub fn raised(&self) -> Raised<'_> {
        self.rise();
        Raised(self)
    }

    /// The figure as last written.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One that a gauge counts; it falls with this, whatever became of who raised it.
#[derive(Debug)]
pub struct Raised<'a>(&'a Gauge);

impl Drop for Raised<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.fall();
    }
}

/// One counter for each [`Reason`].
#[derive(Debug)]
pub struct ByReason([Counter; Reason::COUNT]);

impl Default for ByReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl ByReason {
    /// Counts one.
    #[inline]
    pub fn increment(&self, reason: Reason) {
        self.0[reason.index()].increment();
    }

    /// The figure as last written.
    pub fn value(&self, reason: Reason) -> u64 {
        self.0[reason.index()].value()
    }
}

/// Different words one [`Words`] tells apart; the words of a parser are fewer.
pub const WORDS_MAX: usize = 48;

/// Counters by a word of the program's own text, such as what made a message malformed. The set is closed when the
/// program is built; should it outgrow [`WORDS_MAX`], the rest is counted as `other`.
#[derive(Debug)]
pub struct Words {
    slots: [(OnceLock<&'static str>, Counter); WORDS_MAX],
    other: Counter,
}

impl Default for Words {
    fn default() -> Self {
        Self { slots: std::array::from_fn(|_| Default::default()), other: Counter::default() }
    }
}

impl Words {
    /// Counts one. Searches, so it is for what is rare.
    pub fn increment(&self, word: &'static str) {
        let slot = self.slots.iter().find(|(name, _)| *name.get_or_init(|| word) == word);
        slot.map_or(&self.other, |(_, counter)| counter).increment();
    }

    /// Calls `visit` with every word that was counted.
    pub fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
        for (name, counter) in &self.slots {
            let Some(name) = name.get() else { break };
            visit(name, counter.value());
        }
        if self.other.value() > 0 {
            visit("other", self.other.value());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_apart_and_the_excess_as_other() {
        let words = Words::default();
        words.increment("bare-cr");
        words.increment("bare-lf");
        words.increment("bare-cr");
        for n in 0..WORDS_MAX {
            words.increment(Box::leak(format!("word-{n}").into_boxed_str()));
        }
        let mut seen = Vec::new();
        words.each(|word, count| seen.push((word, count)));
        assert_eq!(seen[..2], [("bare-cr", 2), ("bare-lf", 1)]);
        assert_eq!(seen.last(), Some(&("other", 2)));
        assert_eq!(seen.len(), WORDS_MAX + 1);
    }

    #[test]
    fn what_one_thread_counts_another_reads() {
        let counter = std::sync::Arc::new(Counter::default());
        let writer = counter.clone();
        std::thread::spawn(move || (0..1000).for_each(|_| writer.increment())).join().expect("the writer ends");
        assert_eq!(counter.value(), 1000);
    }
}
