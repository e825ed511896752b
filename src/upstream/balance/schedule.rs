//! Weighted round robin for upstreams of many endpoints: each is due again after a span inverse to its weight, and the
//! one that is due first is next. Logarithmic in their number, where the smooth variant looks at each of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Candidate, Draws};

/// The span of an endpoint of weight 1; weights are at most 65,535, so the smallest span is still exact to 1/65,536.
const SPAN: u64 = 1 << 32;
/// Dues this far on are all set back, long before they could overflow.
const REBASE_AT: u64 = 1 << 62;
/// Unusable endpoints that a pick passes over in order, before it looks for any usable one.
const SKIPS_MAX: usize = 32;

/// When each endpoint is due next, in virtual time.
#[derive(Debug)]
pub struct Schedule {
    due: BinaryHeap<Reverse<(u64, u32)>>,
    /// Where the last search in the order of the ids ended.
    cursor: usize,
}

impl Schedule {
    /// Begins at a random place: who is first due within its span is drawn for each.
    pub fn new(weights: &[u32], random: u64) -> Self {
        let mut draws = Draws(random);
        let mut first_due = |(index, weight): (usize, &u32)| {
            let offset = draws.below(span(*weight) as usize) as u64;
            Reverse((offset, index as u32))
        };
        let due = weights.iter().enumerate().map(&mut first_due).collect();
        Self { due, cursor: draws.below(weights.len().max(1)) }
    }

    /// The next usable endpoint. One that is passed over loses its turn, so that it does not return with a burst.
    #[inline]
    pub fn pick(&mut self, candidates: &[Candidate], usable: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..SKIPS_MAX {
            let index = self.advance(candidates)?;
            if usable(index) {
                return Some(index);
            }
        }
        self.search(candidates.len(), usable)
    }

    fn advance(&mut self, candidates: &[Candidate]) -> Option<usize> {
        let mut first = self.due.peek_mut()?;
        let Reverse((due, index)) = *first;
        let next = due + span(candidates[index as usize].weight);
        *first = Reverse((next, index));
        drop(first);
        if due >= REBASE_AT {
            self.rebase(due);
        }
        Some(index as usize)
    }

    fn search(&mut self, count: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let found = (1..=count).map(|step| (self.cursor + step) % count).find(|index| usable(*index))?;
        self.cursor = found;
        Some(found)
    }

    fn rebase(&mut self, origin: u64) {
        let mut entries = std::mem::take(&mut self.due).into_vec();
        for Reverse((due, _)) in &mut entries {
            *due -= (*due).min(origin);
        }
        self.due = entries.into();
    }
}

fn span(weight: u32) -> u64 {
    SPAN / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Balancer, Tried};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_endpoints_take_turns() {
        let weights = [1; 100];
        let candidates = candidates(&weights);
        let mut balancer = Balancer::Schedule(Schedule::new(&weights, 3));
        assert_eq!(shares(&mut balancer, &candidates, &Tried::default(), 500), [5; 100]);
    }

    #[test]
    fn one_that_is_up_is_found_behind_many_that_are_down() {
        let weights: Vec<u32> = (0..1000).map(|index| if index == 777 { 1 } else { 1000 }).collect();
        let candidates = candidates(&weights);
        let mut order = Schedule::new(&weights, 9);
        (0..5).for_each(|_| assert_eq!(order.pick(&candidates, |index| index == 777), Some(777)));
    }

    #[test]
    fn the_order_survives_the_end_of_virtual_time() {
        let weights = [1, 1, 1];
        let candidates = candidates(&weights);
        let mut order = Schedule::new(&weights, 0);
        let late = order.due.drain().map(|Reverse((due, index))| Reverse((due + REBASE_AT, index)));
        order.due = late.collect::<Vec<_>>().into();
        let mut balancer = Balancer::Schedule(order);
        assert_eq!(shares(&mut balancer, &candidates, &Tried::default(), 300), [100; 3]);
    }

    proptest! {
        #[test]
        fn shares_follow_the_weights_to_within_one_pick(
            weights in proptest::collection::vec(1u32..50, 1..100),
            random: u64,
        ) {
            let candidates = candidates(&weights);
            let mut balancer = Balancer::Schedule(Schedule::new(&weights, random));
            let cycle: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            let shares = shares(&mut balancer, &candidates, &Tried::default(), cycle);
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!(share.abs_diff(*weight) <= 1, "{share} picks for weight {weight}");
            }
        }
    }
}
