//! Which endpoint is next, among those that are up and were not tried yet in this exchange.

mod least_request;
mod round_robin;
mod schedule;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use arrayvec::ArrayVec;

use self::round_robin::RoundRobin;
use self::schedule::Schedule;
use super::health::{EndpointHealth, Standing};
use super::plan::Balance;
use crate::base::{EndpointId, Timestamp};

/// Endpoints one exchange remembers to have tried; there are never more attempts.
pub const TRIED_MAX: usize = 8;
/// Up to so many endpoints, looking at each of them is as fast as keeping them in order.
const ROUND_ROBIN_ENDPOINTS_MAX: usize = 16;

/// What balancing knows of one endpoint.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its share relative to the others, at least 1.
    pub weight: u32,
    /// Shared by all shards.
    pub health: Arc<EndpointHealth>,
    /// Attempts under way on this shard.
    pub in_flight: Rc<Cell<u32>>,
}

/// The endpoints that one exchange tried, once per try.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    ids: ArrayVec<EndpointId, TRIED_MAX>,
}

impl Tried {
    /// Remembers a try.
    pub fn add(&mut self, id: EndpointId) {
        let remembered = self.ids.try_push(id);
        debug_assert!(remembered.is_ok(), "there are never more than TRIED_MAX attempts");
    }

    /// Whether `id` was tried.
    #[inline]
    pub fn contains(&self, id: EndpointId) -> bool {
        self.ids.contains(&id)
    }

    /// Number of tries.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing was tried.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// One shard's place in the order of an upstream's endpoints.
#[derive(Debug)]
pub enum Balancer {
    RoundRobin(RoundRobin),
    Schedule(Schedule),
    LeastRequest,
}

impl Balancer {
    /// A balancer for endpoints of these weights; `random` decides where it begins, so that shards differ.
    pub fn new(balance: Balance, weights: &[u32], random: u64) -> Self {
        match balance {
            Balance::LeastRequest => Self::LeastRequest,
            Balance::RoundRobin if weights.len() > ROUND_ROBIN_ENDPOINTS_MAX => {
                Self::Schedule(Schedule::new(weights, random))
            }
            Balance::RoundRobin => Self::RoundRobin(RoundRobin::new(weights, random)),
        }
    }

    /// The next endpoint that is up, or due for a trial, and untried; none when there is no such. `candidates` has as
    /// many entries as there were weights.
    #[inline]
    pub fn pick(&mut self, candidates: &[Candidate], tried: &Tried, now: Timestamp, random: u64) -> Option<EndpointId> {
        let usable = |index: usize| is_usable(candidates, index, tried, now);
        let index = match self {
            Self::RoundRobin(order) => order.pick(candidates, usable),
            Self::Schedule(order) => order.pick(candidates, usable),
            Self::LeastRequest => least_request::pick(candidates, usable, random),
        };
        index.map(EndpointId::at)
    }
}

/// The untried endpoint that failed, or was tried while down, the longest time ago: for when none is up.
///
/// Better a request that fails than one that is refused because of what was true some seconds ago. Callers report the
/// choice with [`EndpointHealth::tried_while_down`], so that the endpoints take turns.
pub fn least_recently_tried(candidates: &[Candidate], tried: &Tried) -> Option<EndpointId> {
    let untried = (0..candidates.len()).map(EndpointId::at).filter(|id| !tried.contains(*id));
    untried.min_by_key(|id| candidates[id.index()].health.last_tried())
}

#[inline]
fn is_usable(candidates: &[Candidate], index: usize, tried: &Tried, now: Timestamp) -> bool {
    candidates[index].health.standing(now) != Standing::Down && !tried.contains(EndpointId::at(index))
}

/// Uniform numbers from one random word (splitmix64).
struct Draws(u64);

impl Draws {
    /// A number below `bound`.
    #[inline]
    fn below(&mut self, bound: usize) -> usize {
        scaled(self.word(), bound)
    }

    /// Two different numbers below `bound`, which is at least 2 and fits 32 bits.
    #[inline]
    fn pair_below(&mut self, bound: usize) -> (usize, usize) {
        let word = self.word();
        let first = scaled(word, bound);
        let other = scaled(word << 32, bound - 1);
        (first, other + usize::from(other >= first))
    }

    #[inline]
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// A random word as a number below `bound`.
#[inline]
fn scaled(word: u64, bound: usize) -> usize {
    ((u128::from(word) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::upstream::MarkDown;

    pub const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

    pub fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let candidate = |&weight| Candidate { weight, health: Arc::default(), in_flight: Rc::default() };
        weights.iter().map(candidate).collect()
    }

    pub fn mark_down(candidate: &Candidate) {
        candidate.health.failed(&MarkDown::default(), NOW, 0);
    }

    pub fn tried(ids: &[u32]) -> Tried {
        let mut tried = Tried::default();
        ids.iter().for_each(|id| tried.add(EndpointId(*id)));
        tried
    }

    /// How often each endpoint is picked when nothing stays in flight.
    pub fn shares(balancer: &mut Balancer, candidates: &[Candidate], tried: &Tried, picks: u64) -> Vec<u32> {
        let mut shares = vec![0; candidates.len()];
        for random in 0..picks {
            let id = balancer.pick(candidates, tried, NOW, random).expect("some endpoint is usable");
            shares[id.index()] += 1;
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use proptest::prelude::*;

    fn all(weights: &[u32], random: u64) -> [Balancer; 3] {
        [
            Balancer::RoundRobin(RoundRobin::new(weights, random)),
            Balancer::Schedule(Schedule::new(weights, random)),
            Balancer::LeastRequest,
        ]
    }

    proptest! {
        #[test]
        fn every_balancer_picks_an_endpoint_that_is_up_and_untried_whenever_there_is_one(
            weights in proptest::collection::vec(1u32..1000, 1..40),
            down in proptest::collection::vec(0usize..40, 0..40),
            used in proptest::collection::vec(0u32..40, 0..8),
            seed: u64,
        ) {
            let candidates = candidates(&weights);
            down.iter().filter_map(|index| candidates.get(*index)).for_each(mark_down);
            let tried = tried(&used);
            let usable: Vec<_> = (0..weights.len()).filter(|i| is_usable(&candidates, *i, &tried, NOW)).collect();
            for mut balancer in all(&weights, seed) {
                for step in 0..20 {
                    let picked = balancer.pick(&candidates, &tried, NOW, seed ^ step);
                    prop_assert_eq!(picked.is_some(), !usable.is_empty());
                    prop_assert!(picked.is_none_or(|id| usable.contains(&id.index())));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_pair_is_two_different_numbers_below_the_bound(seed: u64, bound in 2usize..2000) {
            let (first, second) = Draws(seed).pair_below(bound);
            prop_assert!(first < bound && second < bound && first != second);
        }
    }

    #[test]
    fn a_pair_is_any_with_the_same_chance() {
        let mut counts = [[0u32; 4]; 4];
        let mut draws = Draws(1);
        for _ in 0..12_000 {
            let (first, second) = draws.pair_below(4);
            counts[first][second] += 1;
        }
        let pairs = counts.iter().flatten().filter(|count| **count > 0);
        assert!(pairs.clone().count() == 12 && pairs.clone().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn no_balancer_picks_from_nothing() {
        for mut balancer in all(&[], 7) {
            assert_eq!(balancer.pick(&[], &Tried::default(), NOW, 1), None);
        }
        assert_eq!(least_recently_tried(&[], &Tried::default()), None);
    }

    #[test]
    fn when_all_are_down_they_take_turns() {
        let candidates = candidates(&[1, 1, 1]);
        candidates.iter().for_each(mark_down);
        let mut order = Vec::new();
        for step in 1..7 {
            let id = least_recently_tried(&candidates, &Tried::default()).unwrap();
            candidates[id.index()].health.tried_while_down(NOW.plus(std::time::Duration::from_millis(step)));
            order.push(id.0);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }
}
