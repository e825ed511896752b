//! How many requests of an upstream may be made again: a share of those of the last seconds.
//!
//! The budget belongs to the upstream; each shard holds a share. The proportional part needs no agreement: every
//! shard's fifth adds up to a fifth of all. The guaranteed minimum is split evenly and rounded up, so that the shards
//! together exceed it by less than one replay per shard and window.

use std::time::Duration;

use crate::base::Timestamp;

/// Length of the window, in slots.
const WINDOW_SLOTS: usize = 10;
/// Length of a slot: what is forgotten at once.
const SLOT: Duration = Duration::from_secs(1);

/// How many requests may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetPlan {
    /// Percent of the requests of the last ten seconds.
    pub percent: u32,
    /// So many per second in any case, over all shards.
    pub per_second_min: u32,
}

impl Default for BudgetPlan {
    fn default() -> Self {
        Self { percent: 20, per_second_min: 10 }
    }
}

/// One shard's share of an upstream's budget.
#[derive(Debug)]
pub struct Budget {
    percent: u64,
    /// Replays of one window that are always allowed.
    guaranteed: u64,
    slots: [Counts; WINDOW_SLOTS],
    sum: Counts,
    /// Number of the newest slot, counted from the clock's origin.
    newest: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    replays: u64,
}

impl Budget {
    /// The share of one of `shards` shards.
    pub fn new(plan: BudgetPlan, shards: u32) -> Self {
        let mut budget =
            Self { percent: 0, guaranteed: 0, slots: Default::default(), sum: Counts::default(), newest: 0 };
        budget.set_plan(plan, shards);
        budget
    }

    /// Adopts a new plan; what was counted stays.
    pub fn set_plan(&mut self, plan: BudgetPlan, shards: u32) {
        let window = u64::from(plan.per_second_min) * WINDOW_SLOTS as u64;
        self.percent = u64::from(plan.percent);
        self.guaranteed = window.div_ceil(u64::from(shards.max(1)));
    }

    /// Counts a request, once, however often it is then tried.
    #[inline]
    pub fn count_request(&mut self, now: Timestamp) {
        self.advance(now);
        self.slots[self.slot()].requests += 1;
        self.sum.requests += 1;
    }

    /// Whether a replay may be scheduled.
    pub fn has_room(&mut self, now: Timestamp) -> bool {
        self.advance(now);
        self.sum.replays < (self.sum.requests * self.percent / 100).max(self.guaranteed)
    }

    /// Charges a replay that is being scheduled, or refuses it.
    pub fn charge(&mut self, now: Timestamp) -> bool {
        let allowed = self.has_room(now);
        self.slots[self.slot()].replays += u64::from(allowed);
        self.sum.replays += u64::from(allowed);
        allowed
    }

    fn slot(&self) -> usize {
        (self.newest % WINDOW_SLOTS as u64) as usize
    }

    /// Forgets the slots that fell out of the window: at most all of them, however long nothing happened.
    #[inline]
    fn advance(&mut self, now: Timestamp) {
        let current = now.as_nanos() / SLOT.as_nanos() as u64;
        if current > self.newest {
            self.forget(current);
        }
    }

    fn forget(&mut self, current: u64) {
        let passed = (current - self.newest).min(WINDOW_SLOTS as u64);
        self.newest = current;
        for back in 0..passed {
            let slot = ((current - back) % WINDOW_SLOTS as u64) as usize;
            self.sum.requests -= self.slots[slot].requests;
            self.sum.replays -= self.slots[slot].replays;
            self.slots[slot] = Counts::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn charged(budget: &mut Budget, now: Timestamp) -> u32 {
        (0..10_000).map(|_| u32::from(budget.charge(now))).sum()
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_made_again() {
        let mut budget = Budget::new(BudgetPlan { per_second_min: 0, ..BudgetPlan::default() }, 1);
        (0..1000).for_each(|_| budget.count_request(at(100)));
        assert_eq!(charged(&mut budget, at(100)), 200);
        assert_eq!(charged(&mut budget, at(109)), 0, "the window still holds them");
    }

    #[test]
    fn a_quiet_upstream_has_ten_replays_per_second() {
        let mut budget = Budget::new(BudgetPlan::default(), 1);
        assert_eq!(charged(&mut budget, at(100)), 100);
        assert_eq!(charged(&mut budget, at(110)), 100, "the next window");
    }

    #[test]
    fn shards_share_the_guaranteed_minimum() {
        let mut shares: Vec<Budget> = (0..8).map(|_| Budget::new(BudgetPlan::default(), 8)).collect();
        let total: u32 = shares.iter_mut().map(|budget| charged(budget, at(5))).sum();
        assert!((100..108).contains(&total), "less than one more per shard: {total}");
    }

    #[test]
    fn requests_leave_the_window_after_ten_seconds() {
        let mut budget = Budget::new(BudgetPlan { per_second_min: 0, ..BudgetPlan::default() }, 1);
        (0..10).for_each(|second| (0..50).for_each(|_| budget.count_request(at(second))));
        assert_eq!(charged(&mut budget, at(14)), 50, "half of the 500 requests are older than the window");
        assert_eq!(charged(&mut budget, at(1_000_000)), 0);
    }

    #[test]
    fn a_plan_of_nothing_allows_nothing() {
        let mut budget = Budget::new(BudgetPlan { percent: 0, per_second_min: 0 }, 4);
        budget.count_request(at(1));
        assert!(!budget.charge(at(1)));
    }
}
