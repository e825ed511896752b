//! Smooth weighted round robin, as nginx does it, for upstreams of few endpoints.
//!
//! Each pick raises every endpoint's credit by its weight and takes the sum from the one with the most. Over as many
//! picks as the weights add up to, each endpoint is picked exactly its weight's number of times, spread out evenly.

use super::Candidate;

/// The credit of every endpoint.
#[derive(Debug)]
pub struct RoundRobin {
    credits: Vec<i64>,
}

impl RoundRobin {
    /// Begins at a random place of the cycle.
    pub fn new(weights: &[u32], random: u64) -> Self {
        let mut order = Self { credits: vec![0; weights.len()] };
        // Any state that picks lead to keeps the cycle exact; invented credits would not.
        let steps = random.checked_rem(weights.len() as u64).unwrap_or(0);
        for _ in 0..steps {
            order.advance(|index| i64::from(weights[index]), |_| true);
        }
        order
    }

    /// The next usable endpoint. Credits of the others stand still.
    #[inline]
    pub fn pick(&mut self, candidates: &[Candidate], usable: impl Fn(usize) -> bool) -> Option<usize> {
        self.advance(|index| i64::from(candidates[index].weight), usable)
    }

    #[inline]
    fn advance(&mut self, weight: impl Fn(usize) -> i64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut sum = 0;
        let mut best: Option<(i64, usize)> = None;
        for (index, credit) in self.credits.iter_mut().enumerate() {
            if !usable(index) {
                continue;
            }
            *credit += weight(index);
            sum += weight(index);
            if best.is_none_or(|(most, _)| *credit > most) {
                best = Some((*credit, index));
            }
        }
        let (_, index) = best?;
        self.credits[index] -= sum;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Balancer, Tried};
    use super::*;
    use proptest::prelude::*;

    fn sequence(weights: &[u32], picks: usize) -> Vec<usize> {
        let candidates = candidates(weights);
        let mut order = RoundRobin::new(weights, 0);
        (0..picks).map(|_| order.pick(&candidates, |_| true).unwrap()).collect()
    }

    #[test]
    fn a_heavy_endpoint_is_not_picked_in_a_burst() {
        assert_eq!(sequence(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn equal_endpoints_take_turns() {
        assert_eq!(sequence(&[3, 3, 3], 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn shards_begin_at_different_endpoints() {
        let weights = [1, 1, 1];
        let candidates = candidates(&weights);
        let mut starts: Vec<_> =
            (0..3).map(|random| RoundRobin::new(&weights, random).pick(&candidates, |_| true)).collect();
        starts.sort();
        assert_eq!(starts, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn an_endpoint_that_returns_gets_its_share_and_no_burst() {
        let candidates = candidates(&[1, 1]);
        let mut order = RoundRobin::new(&[1, 1], 0);
        (0..1000).for_each(|_| assert_eq!(order.pick(&candidates, |index| index == 1), Some(1)));
        let picked: usize = (0..10).filter_map(|_| order.pick(&candidates, |_| true)).sum();
        assert_eq!(picked, 5, "half of ten picks went to the second");
    }

    proptest! {
        #[test]
        fn a_cycle_gives_each_endpoint_exactly_its_weight(
            weights in proptest::collection::vec(1u32..50, 1..20),
            random: u64,
        ) {
            let candidates = candidates(&weights);
            let mut balancer = Balancer::RoundRobin(RoundRobin::new(&weights, random));
            let cycle = weights.iter().map(|weight| u64::from(*weight)).sum();
            prop_assert_eq!(shares(&mut balancer, &candidates, &Tried::default(), cycle), weights);
        }
    }
}
