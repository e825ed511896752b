//! Passive health: endpoints that refuse connections are left alone for a while.
//!
//! Shared by all shards, without locks: one word holds the whole state. It is about *connecting*: a connect that fails
//! counts against the endpoint, a connect that succeeds clears it; what an established connection does is no evidence.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::base::Timestamp;

/// When an endpoint is marked down, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkDown {
    /// Connect failures in a row that mark it down; 0 never does.
    pub failures: u32,
    /// How long nobody tries it. Up to a tenth is added at random, so that shards and gateways do not return at once.
    pub period: Duration,
}

impl Default for MarkDown {
    fn default() -> Self {
        Self { failures: 1, period: Duration::from_secs(10) }
    }
}

/// What may be asked of an endpoint now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Requests.
    Up,
    /// Nothing yet.
    Down,
    /// One request, by whoever claims the trial first.
    TrialDue,
}

/// The health of one endpoint, shared by all shards and carried over reloads.
// One cache line each: a failing endpoint does not slow down the reads of its neighbours.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct EndpointHealth {
    /// [`State`] in one word.
    state: AtomicU64,
    /// When it last failed, or was last tried while down; orders the endpoints when all are down.
    tried: AtomicU64,
}

/// ```text
///   failed, fewer than `failures` in a row
///          ┌────┐
///          ▼    │
///        ┌────────┐  failed, `failures` in a row   ┌────────────────┐
///   ───▶ │   Up   │ ─────────────────────────────▶ │ Down { until } │ ◀─┐ failed: until is put off
///        └────────┘ ◀───────────────────────────── └────────────────┘ ──┘ until is over, claimed: one trial,
///                              connected                                   until is put off
/// ```
///
/// A trial is not a state of its own: who claims it puts `until` off, so that a trial whose request vanishes without
/// an outcome holds nothing up for longer than one more period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up { failures: u32 },
    Down { until: u64 },
}

#[derive(Clone, Copy)]
enum Event {
    Connected,
    Failed { limit: u32, until: u64 },
    Claimed { now: u64, until: u64 },
}

impl State {
    /// Set in the word of an endpoint that is down; a timestamp of 63 bits lasts for 292 years.
    const DOWN: u64 = 1 << 63;

    fn of(word: u64) -> Self {
        match word & Self::DOWN {
            0 => Self::Up { failures: word as u32 },
            _ => Self::Down { until: word & !Self::DOWN },
        }
    }

    fn word(self) -> u64 {
        match self {
            Self::Up { failures } => u64::from(failures),
            Self::Down { until } => until.min(!Self::DOWN) | Self::DOWN,
        }
    }

    /// The state after `event`, or nothing when the event does not apply.
    fn after(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Up { failures: 0 }, Event::Connected) => None,
            (_, Event::Connected) => Some(Self::Up { failures: 0 }),
            (_, Event::Failed { limit: 0, .. }) => None,
            (Self::Up { failures }, Event::Failed { limit, .. }) if failures.saturating_add(1) < limit => {
                Some(Self::Up { failures: failures + 1 })
            }
            (_, Event::Failed { until, .. }) => Some(Self::Down { until }),
            (Self::Down { until: due }, Event::Claimed { now, until }) if due <= now => Some(Self::Down { until }),
            (_, Event::Claimed { .. }) => None,
        }
    }
}

impl EndpointHealth {
    /// What may be asked of the endpoint now: one relaxed read.
    #[inline]
    pub fn standing(&self, now: Timestamp) -> Standing {
        let word = self.state.load(Relaxed);
        if word & State::DOWN == 0 {
            return Standing::Up;
        }
        match State::of(word) {
            State::Up { .. } => Standing::Up,
            State::Down { until } if until <= now.as_nanos() => Standing::TrialDue,
            State::Down { .. } => Standing::Down,
        }
    }

    /// Claims the trial that is due; of several who claim it at once, one wins.
    pub fn claim_trial(&self, rule: &MarkDown, now: Timestamp) -> bool {
        let until = now.plus(rule.period).as_nanos();
        self.apply(Event::Claimed { now: now.as_nanos(), until }).is_some()
    }

    /// A connection was established. Writes only when there is something to clear; true when that ended a mark.
    #[inline]
    pub fn connected(&self) -> bool {
        if self.state.load(Relaxed) == 0 {
            return false;
        }
        matches!(self.apply(Event::Connected), Some((State::Down { .. }, _)))
    }

    /// A connect was refused, found no way or timed out; true when that marked the endpoint down.
    pub fn failed(&self, rule: &MarkDown, now: Timestamp, random: u64) -> bool {
        self.tried.store(now.as_nanos(), Relaxed);
        let until = now.plus(rule.period).plus(jitter(rule.period, random)).as_nanos();
        let change = self.apply(Event::Failed { limit: rule.failures, until });
        matches!(change, Some((State::Up { .. }, State::Down { .. })))
    }

    /// It is tried although it is down, because all are.
    pub fn tried_while_down(&self, now: Timestamp) {
        self.tried.store(now.as_nanos(), Relaxed);
    }

    /// When it last failed, or was last tried while down.
    #[inline]
    pub fn last_tried(&self) -> Timestamp {
        Timestamp::from_nanos(self.tried.load(Relaxed))
    }

    /// Moves on by `event`, if it applies; then the states before and after. Lock-free: somebody always gets through.
    fn apply(&self, event: Event) -> Option<(State, State)> {
        let next = |word| State::of(word).after(event).map(State::word);
        let before = State::of(self.state.fetch_update(Relaxed, Relaxed, next).ok()?);
        Some((before, before.after(event)?))
    }
}

/// Up to a tenth of `period`.
fn jitter(period: Duration, random: u64) -> Duration {
    let tenth = u64::try_from(period.as_nanos() / 10).unwrap_or(u64::MAX);
    Duration::from_nanos(if tenth == 0 { 0 } else { random % tenth })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    const RULE: MarkDown = MarkDown { failures: 1, period: Duration::from_secs(10) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_refused_connect_marks_the_endpoint_down_for_the_period() {
        let health = EndpointHealth::default();
        assert!(health.failed(&RULE, at(100), 0));
        assert_eq!(health.standing(at(109)), Standing::Down);
        assert_eq!(health.standing(at(110)), Standing::TrialDue);
    }

    #[test]
    fn fewer_failures_than_asked_for_change_nothing() {
        let health = EndpointHealth::default();
        let patient = MarkDown { failures: 3, ..RULE };
        assert!(!health.failed(&patient, at(1), 0));
        assert!(!health.failed(&patient, at(1), 0));
        health.connected();
        assert!(!health.failed(&patient, at(1), 0), "only failures in a row count");
        assert_eq!(health.standing(at(1)), Standing::Up);
        assert!(!health.failed(&patient, at(1), 0));
        assert!(health.failed(&patient, at(1), 0));
    }

    #[test]
    fn a_rule_of_zero_failures_never_marks() {
        let health = EndpointHealth::default();
        assert!(!health.failed(&MarkDown { failures: 0, ..RULE }, at(1), 0));
        assert_eq!(health.standing(at(1)), Standing::Up);
    }

    #[test]
    fn a_successful_trial_brings_the_endpoint_back() {
        let health = EndpointHealth::default();
        health.failed(&RULE, at(0), 0);
        assert!(!health.claim_trial(&RULE, at(9)), "not due yet");
        assert!(health.claim_trial(&RULE, at(10)));
        assert!(!health.claim_trial(&RULE, at(10)), "one trial at a time");
        assert!(health.connected());
        assert_eq!(health.standing(at(10)), Standing::Up);
    }

    #[test]
    fn a_failed_trial_puts_the_next_one_off() {
        let health = EndpointHealth::default();
        health.failed(&RULE, at(0), 0);
        assert!(health.claim_trial(&RULE, at(10)));
        assert!(!health.failed(&RULE, at(12), 0), "it was down before");
        assert_eq!(health.standing(at(21)), Standing::Down);
        assert_eq!(health.standing(at(22)), Standing::TrialDue);
    }

    #[test]
    fn a_trial_that_vanishes_is_followed_by_another() {
        let health = EndpointHealth::default();
        health.failed(&RULE, at(0), 0);
        assert!(health.claim_trial(&RULE, at(10)));
        assert_eq!(health.standing(at(20)), Standing::TrialDue);
    }

    #[test]
    fn the_random_part_is_at_most_a_tenth_of_the_period() {
        for random in [0, 1, 999_999_999, u64::MAX] {
            let health = EndpointHealth::default();
            health.failed(&RULE, at(0), random);
            assert_eq!(health.standing(at(10).plus(Duration::from_secs(1))), Standing::TrialDue);
            assert_eq!(health.standing(Timestamp::from_nanos(9_999_999_999)), Standing::Down);
        }
    }

    #[test]
    fn of_many_threads_one_wins_each_trial() {
        const THREADS: u32 = 8;
        const ROUNDS: u64 = 500;
        let health = EndpointHealth::default();
        health.failed(&RULE, at(0), 0);
        let winners: Vec<AtomicU32> = (0..=ROUNDS).map(|_| AtomicU32::new(0)).collect();
        let start = std::sync::Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for round in 1..=ROUNDS {
                        start.wait();
                        let won = health.claim_trial(&RULE, at(10 * round));
                        winners[round as usize].fetch_add(u32::from(won), Relaxed);
                    }
                });
            }
        });
        assert!(winners[1..].iter().all(|count| count.load(Relaxed) == 1));
    }

    #[test]
    fn failures_of_all_shards_count_together() {
        const THREADS: u32 = 8;
        const EACH: u32 = 1000;
        let health = EndpointHealth::default();
        let rule = MarkDown { failures: THREADS * EACH, ..RULE };
        let marked = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        marked.fetch_add(u32::from(health.failed(&rule, at(1), 0)), Relaxed);
                    }
                });
            }
        });
        assert_eq!(health.standing(at(1)), Standing::Down);
        assert_eq!(marked.load(Relaxed), 1, "one of them is told");
    }
}
