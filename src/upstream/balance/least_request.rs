//! The less busy of two endpoints chosen at random, for any number of endpoints at the same price.
//!
//! Two choices keep the busiest endpoint close to the average, and unlike always choosing the least busy one they do
//! not send everybody there at once. Busy is the number of attempts under way, this one included, by weight; so an
//! upstream with nothing to do prefers the heavier of the two.

use super::{Candidate, Draws};

/// Draws before a pick looks at all endpoints, because most of them are down or tried.
const DRAWS_MAX: usize = 8;

/// The less busy of two usable endpoints.
#[inline]
pub fn pick(candidates: &[Candidate], usable: impl Fn(usize) -> bool, random: u64) -> Option<usize> {
    let mut draws = Draws(random);
    if candidates.len() > 2 {
        let (first, second) = draws.pair_below(candidates.len());
        if usable(first) && usable(second) {
            return Some(less_busy(candidates, first, second));
        }
        let pair = pair_among_unusable(candidates.len(), &usable, &mut draws);
        if let Some((first, second)) = pair {
            return Some(less_busy(candidates, first, second));
        }
    }
    least_busy(candidates, usable, draws.below(candidates.len()))
}

/// Two usable endpoints where not all are, if a few draws find them.
#[cold]
fn pair_among_unusable(count: usize, usable: &impl Fn(usize) -> bool, draws: &mut Draws) -> Option<(usize, usize)> {
    let mut first = None;
    for _ in 0..DRAWS_MAX {
        let index = draws.below(count);
        if first == Some(index) || !usable(index) {
            continue;
        }
        match first {
            None => first = Some(index),
            Some(first) => return Some((first, index)),
        }
    }
    None
}

/// The least busy of all; equally busy ones in the order that begins at `start`.
fn least_busy(candidates: &[Candidate], usable: impl Fn(usize) -> bool, start: usize) -> Option<usize> {
    let order = (start..candidates.len()).chain(0..start);
    order.filter(|index| usable(*index)).reduce(|best, index| less_busy(candidates, best, index))
}

#[inline]
fn less_busy(candidates: &[Candidate], first: usize, second: usize) -> usize {
    let busy = |index: usize| u64::from(candidates[index].in_flight.get()) + 1;
    let weight = |index: usize| u64::from(candidates[index].weight);
    if busy(first) * weight(second) <= busy(second) * weight(first) { first } else { second }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Balancer, Tried};
    use super::*;

    fn enter(candidate: &Candidate) {
        candidate.in_flight.set(candidate.in_flight.get() + 1);
    }

    #[test]
    fn of_two_endpoints_the_less_busy_is_picked() {
        let candidates = candidates(&[1, 1]);
        enter(&candidates[0]);
        for random in 0..100 {
            assert_eq!(pick(&candidates, |_| true, random), Some(1));
        }
    }

    #[test]
    fn an_endpoint_of_twice_the_weight_carries_twice_the_load() {
        let candidates = candidates(&[1, 2]);
        for random in 0..300 {
            enter(&candidates[pick(&candidates, |_| true, random).unwrap()]);
        }
        assert_eq!([candidates[0].in_flight.get(), candidates[1].in_flight.get()], [100, 200]);
    }

    #[test]
    fn idle_equal_endpoints_share_evenly() {
        let weights = [1; 10];
        let candidates = candidates(&weights);
        let shares = shares(&mut Balancer::LeastRequest, &candidates, &Tried::default(), 10_000);
        assert!(shares.iter().all(|share| (850..1150).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_busiest_of_a_thousand_stays_close_to_the_average() {
        let candidates = candidates(&[1; 1000]);
        for random in 0..10_000 {
            enter(&candidates[pick(&candidates, |_| true, random).unwrap()]);
        }
        let busiest = candidates.iter().map(|candidate| candidate.in_flight.get()).max();
        assert!(busiest <= Some(14), "average 10, busiest {busiest:?}");
    }
}
