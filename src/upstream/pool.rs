//! The idle keep-alive connections of one shard to one endpoint, last in first out.
//!
//! The newest connection is the likeliest to be alive, and using it lets the others age away when load falls. The
//! pool opens nothing and waits for nothing. It closes a connection by dropping it; such a drop must not reach back
//! into the pool.

use std::collections::VecDeque;
use std::time::Duration;

use super::carriers::Carrier;
use crate::base::Timestamp;

/// Parked connections one [`Pool::sweep`] looks at.
pub const SWEEP_STEPS_MAX: usize = 32;

/// A connection that waits for its next request.
pub trait Parked {
    /// What carries many of its like at once, where the protocol allows it.
    type Carrier: Carrier;

    /// Whether the server closed it, or sent what nobody asked for: polls the parked read.
    fn has_ended(&mut self) -> bool;

    /// When it was opened.
    fn opened(&self) -> Timestamp;

    /// How many requests it has carried.
    fn requests(&self) -> u32;
}

/// When a connection is no longer worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Idle connections kept per endpoint on one shard; beyond it the one that idled longest is closed.
    pub idle_max: usize,
    /// A connection that idled so long is closed; keep it below the server's own keep-alive timeout.
    pub idle_age_max: Duration,
    /// A connection so old takes no further request.
    pub lifetime_max: Option<Duration>,
    /// A connection that carried so many requests takes no further one.
    pub requests_max: Option<u32>,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { idle_max: 256, idle_age_max: Duration::from_secs(50), lifetime_max: None, requests_max: None }
    }
}

/// Why a connection was closed instead of kept or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The server closed it, or sent unsolicited bytes.
    Ended,
    /// It idled longer than [`PoolLimits::idle_age_max`].
    IdleAge,
    /// It got older than [`PoolLimits::lifetime_max`].
    Lifetime,
    /// It carried [`PoolLimits::requests_max`] requests.
    Requests,
    /// It made room: for a newer idle one, or for a fresh connection under the cap.
    Room,
}

impl Discard {
    /// Every reason, in the order of [`PoolCounts::discarded`].
    pub const ALL: [Self; 5] = [Self::Ended, Self::IdleAge, Self::Lifetime, Self::Requests, Self::Room];

    /// The reason as a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::IdleAge => "idle_age",
            Self::Lifetime => "lifetime",
            Self::Requests => "requests",
            Self::Room => "room",
        }
    }
}

/// What a pool has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Connections handed out again.
    pub reused: u64,
    /// Times the pool had none to hand out.
    pub missed: u64,
    /// Connections closed, by reason, in the order of [`Discard::ALL`].
    pub discarded: [u64; Discard::ALL.len()],
}

impl PoolCounts {
    /// Connections closed for `reason`.
    pub fn discarded(&self, reason: Discard) -> u64 {
        self.discarded[reason as usize]
    }

    /// Adds another pool's counts to these.
    pub fn add(&mut self, other: &Self) {
        self.reused += other.reused;
        self.missed += other.missed;
        for (mine, theirs) in self.discarded.iter_mut().zip(other.discarded) {
            *mine += theirs;
        }
    }
}

/// The idle connections of one shard to one endpoint.
#[derive(Debug)]
pub struct Pool<C> {
    /// The longest idle stands in front.
    idle: VecDeque<Idle<C>>,
    limits: PoolLimits,
    counts: PoolCounts,
    /// Of [`PoolCounts::discarded`], those that were idle and are not reported yet.
    evicted: u64,
    /// Where the next sweep goes on looking.
    cursor: usize,
}

#[derive(Debug)]
struct Idle<C> {
    connection: C,
    since: Timestamp,
}

impl<C: Parked> Pool<C> {
    /// An empty pool.
    pub fn new(limits: PoolLimits) -> Self {
        Self { idle: VecDeque::new(), limits, counts: PoolCounts::default(), evicted: 0, cursor: 0 }
    }

    /// The newest connection that can take a request; those found unfit on the way are closed and counted.
    pub fn take(&mut self, now: Timestamp) -> Option<C> {
        while let Some(mut idle) = self.idle.pop_back() {
            match self.limits.unfit(&mut idle, now) {
                Some(reason) => self.evict(reason),
                None => {
                    self.counts.reused += 1;
                    return Some(idle.connection);
                }
            }
        }
        self.counts.missed += 1;
        None
    }

    /// The newest connection that can take a request and that `serves` it; of those that serve it, the ones found unfit on
    /// the way are closed and counted.
    pub fn take_own(&mut self, now: Timestamp, serves: impl Fn(&C) -> bool) -> Option<C> {
        while let Some(at) = self.idle.iter().rposition(|idle| serves(&idle.connection)) {
            let mut idle = self.idle.remove(at)?;
            match self.limits.unfit(&mut idle, now) {
                Some(reason) => self.evict(reason),
                None => {
                    self.counts.reused += 1;
                    return Some(idle.connection);
                }
            }
        }
        self.counts.missed += 1;
        None
    }

    /// Keeps a connection for later, or closes it at once when it is used up.
    pub fn put(&mut self, connection: C, now: Timestamp) {
        if let Some(connection) = self.admit(connection, now) {
            self.keep(connection, now);
        }
    }

    /// Keeps a connection that was just admitted. A full pool closes the longest idle one.
    pub fn keep(&mut self, connection: C, now: Timestamp) {
        if self.limits.idle_max == 0 {
            return self.count(Discard::Room);
        }
        while self.idle.len() >= self.limits.idle_max {
            self.discard_oldest();
        }
        self.idle.push_back(Idle { connection, since: now });
    }

    /// Gives the connection back if it may carry another request; closes and counts it otherwise.
    pub fn admit(&mut self, connection: C, now: Timestamp) -> Option<C> {
        if let Some(reason) = self.limits.used_up(&connection, now) {
            self.count(reason);
            return None;
        }
        Some(connection)
    }

    /// Closes ended and aged connections, looking at no more than [`SWEEP_STEPS_MAX`]; repeated calls reach them all.
    pub fn sweep(&mut self, now: Timestamp) {
        let steps = self.idle.len().min(SWEEP_STEPS_MAX);
        for _ in 0..steps {
            if self.cursor >= self.idle.len() {
                self.cursor = 0;
            }
            self.sweep_one(now);
        }
    }

    /// Closes the connection that idled longest, to make room; false when there is none.
    pub fn discard_oldest(&mut self) -> bool {
        let Some(oldest) = self.idle.pop_front() else { return false };
        self.evict(Discard::Room);
        drop(oldest);
        true
    }

    /// When a connection is no longer worth keeping.
    pub fn limits(&self) -> &PoolLimits {
        &self.limits
    }

    /// Adopts new limits; connections beyond them go as they are met.
    pub fn set_limits(&mut self, limits: PoolLimits) {
        self.limits = limits;
    }

    /// Takes out everything, longest idle first: for an endpoint that is no longer used.
    pub fn drain(&mut self) -> impl Iterator<Item = C> + '_ {
        self.idle.drain(..).map(|idle| idle.connection)
    }

    /// Number of idle connections, unnoticed ended ones included.
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    /// Whether no connection is idle.
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    /// Connections closed while idle since the last call.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// What the pool has done so far.
    pub fn counts(&self) -> &PoolCounts {
        &self.counts
    }

    fn sweep_one(&mut self, now: Timestamp) {
        let Some(idle) = self.idle.get_mut(self.cursor) else { return };
        match self.limits.unfit(idle, now) {
            None => self.cursor += 1,
            Some(reason) => {
                self.idle.remove(self.cursor);
                self.evict(reason);
            }
        }
    }

    fn evict(&mut self, reason: Discard) {
        self.count(reason);
        self.evicted += 1;
    }

    fn count(&mut self, reason: Discard) {
        self.counts.discarded[reason as usize] += 1;
    }
}

impl PoolLimits {
    fn unfit<C: Parked>(&self, idle: &mut Idle<C>, now: Timestamp) -> Option<Discard> {
        if idle.since.plus(self.idle_age_max) <= now {
            return Some(Discard::IdleAge);
        }
        // It was not used up when it was put, but it aged since, and a reload may have lowered a limit.
        self.used_up(&idle.connection, now).or_else(|| idle.connection.has_ended().then_some(Discard::Ended))
    }

    fn used_up<C: Parked>(&self, connection: &C, now: Timestamp) -> Option<Discard> {
        if self.lifetime_max.is_some_and(|max| now.since(connection.opened()) >= max) {
            return Some(Discard::Lifetime);
        }
        self.requests_max.is_some_and(|max| connection.requests() >= max).then_some(Discard::Requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::collections::HashSet;
    use std::rc::Rc;

    /// The servers' side: which connections they closed.
    type Closed = Rc<RefCell<HashSet<u32>>>;

    #[derive(Debug)]
    struct Fake {
        name: u32,
        opened: Timestamp,
        requests: u32,
        closed: Closed,
    }

    impl Parked for Fake {
        type Carrier = crate::upstream::Never;

        fn has_ended(&mut self) -> bool {
            self.closed.borrow().contains(&self.name)
        }

        fn opened(&self) -> Timestamp {
            self.opened
        }

        fn requests(&self) -> u32 {
            self.requests
        }
    }

    fn fake(name: u32, closed: &Closed) -> Fake {
        Fake { name, opened: at(0), requests: 1, closed: closed.clone() }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn limits(idle_max: usize, idle_age_seconds: u64) -> PoolLimits {
        PoolLimits { idle_max, idle_age_max: Duration::from_secs(idle_age_seconds), ..PoolLimits::default() }
    }

    fn filled(limits: PoolLimits, names: std::ops::Range<u32>) -> (Pool<Fake>, Closed) {
        let closed = Closed::default();
        let mut pool = Pool::new(limits);
        for name in names {
            pool.put(fake(name, &closed), at(0));
        }
        (pool, closed)
    }

    #[test]
    fn the_newest_connection_is_used_first() {
        let (mut pool, _closed) = filled(limits(8, 60), 1..4);
        let order: Vec<u32> = std::iter::from_fn(|| pool.take(at(1))).map(|c| c.name).collect();
        assert_eq!(order, [3, 2, 1]);
        assert_eq!((pool.counts().reused, pool.counts().missed), (3, 1));
    }

    #[test]
    fn a_connection_the_server_closed_is_never_handed_out() {
        let (mut pool, closed) = filled(limits(8, 60), 1..4);
        closed.borrow_mut().extend([2, 3]);
        assert_eq!(pool.take(at(1)).map(|c| c.name), Some(1));
        assert_eq!(pool.counts().discarded(Discard::Ended), 2);
        assert_eq!((pool.take_evicted(), pool.take_evicted()), (2, 0), "each is reported once");
    }

    #[test]
    fn a_connection_that_idled_too_long_is_never_handed_out() {
        let (mut pool, _closed) = filled(limits(8, 60), 1..3);
        assert!(pool.take(at(60)).is_none());
        assert_eq!(pool.counts().discarded(Discard::IdleAge), 2);
    }

    #[test]
    fn a_connection_of_ones_own_is_found_among_those_of_others() {
        let (mut pool, closed) = filled(limits(8, 60), 1..6);
        closed.borrow_mut().extend([4]);
        assert_eq!(pool.take_own(at(1), |c| c.name % 2 == 0).map(|c| c.name), Some(2), "4 has ended");
        assert!(pool.take_own(at(1), |c| c.name % 2 == 0).is_none());
        let order: Vec<u32> = std::iter::from_fn(|| pool.take(at(1))).map(|c| c.name).collect();
        assert_eq!(order, [5, 3, 1], "the others stay as they were");
        assert_eq!((pool.counts().reused, pool.counts().discarded(Discard::Ended)), (4, 1));
    }

    #[test]
    fn a_full_pool_closes_the_longest_idle_connection() {
        let (mut pool, _closed) = filled(limits(2, 60), 1..4);
        assert_eq!(pool.counts().discarded(Discard::Room), 1);
        let order: Vec<u32> = std::iter::from_fn(|| pool.take(at(1))).map(|c| c.name).collect();
        assert_eq!(order, [3, 2]);
    }

    #[test]
    fn a_pool_without_room_keeps_nothing() {
        let (mut pool, _closed) = filled(limits(0, 60), 1..3);
        assert!(pool.take(at(0)).is_none());
        assert_eq!(pool.counts().discarded(Discard::Room), 2);
    }

    #[test]
    fn a_connection_at_the_end_of_its_life_is_not_kept() {
        let old = PoolLimits { lifetime_max: Some(Duration::from_secs(10)), ..PoolLimits::default() };
        let (mut pool, closed) = filled(old, 1..2);
        pool.put(fake(2, &closed), at(10));
        assert!(pool.take(at(10)).is_none(), "both are ten seconds old");
        assert_eq!(pool.counts().discarded(Discard::Lifetime), 2);
    }

    #[test]
    fn a_connection_that_carried_enough_requests_is_not_kept() {
        let few = PoolLimits { requests_max: Some(1), ..PoolLimits::default() };
        let (pool, _closed) = filled(few, 1..2);
        assert!(pool.is_empty());
        assert_eq!(pool.counts().discarded(Discard::Requests), 1);
    }

    #[test]
    fn a_sweep_looks_at_a_bounded_number_and_goes_on_later() {
        let count = 3 * SWEEP_STEPS_MAX as u32;
        let (mut pool, closed) = filled(limits(1000, 60), 0..count);
        closed.borrow_mut().extend(0..count);
        pool.sweep(at(1));
        assert_eq!(pool.len(), 2 * SWEEP_STEPS_MAX);
        pool.sweep(at(1));
        pool.sweep(at(1));
        assert!(pool.is_empty());
    }

    #[test]
    fn a_sweep_keeps_the_order() {
        let (mut pool, closed) = filled(limits(8, 60), 1..6);
        closed.borrow_mut().extend([1, 3]);
        pool.sweep(at(1));
        let order: Vec<u32> = std::iter::from_fn(|| pool.take(at(1))).map(|c| c.name).collect();
        assert_eq!(order, [5, 4, 2]);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Put { requests: u32 },
        Take,
        Sweep,
        ServerCloses(u32),
        Wait(u64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            4 => (0u32..6).prop_map(|requests| Operation::Put { requests }),
            4 => Just(Operation::Take),
            1 => Just(Operation::Sweep),
            1 => (0u32..64).prop_map(Operation::ServerCloses),
            2 => (0u64..8).prop_map(Operation::Wait),
        ]
    }

    /// The plain truth: what a pool holds, longest idle first, as (name, since).
    #[derive(Default)]
    struct Model {
        kept: Vec<(u32, Timestamp)>,
    }

    impl Model {
        fn fit(&self, closed: &Closed, now: Timestamp, limits: PoolLimits) -> Vec<(u32, Timestamp)> {
            let lifetime_max = limits.lifetime_max.unwrap_or(Duration::MAX);
            let age_max = limits.idle_age_max.min(lifetime_max);
            let fit = |kept: &&(u32, Timestamp)| now.since(kept.1) < age_max && !closed.borrow().contains(&kept.0);
            self.kept.iter().filter(fit).copied().collect()
        }

        fn put(&mut self, name: u32, now: Timestamp, limits: PoolLimits) {
            if self.kept.len() == limits.idle_max {
                self.kept.remove(0);
            }
            self.kept.push((name, now));
        }

        /// What a take must return; everything newer was found unfit and is gone.
        fn take(&mut self, closed: &Closed, now: Timestamp, limits: PoolLimits) -> Option<u32> {
            let newest = self.fit(closed, now, limits).last().copied();
            let left = self.kept.iter().position(|kept| Some(*kept) == newest).unwrap_or(0);
            self.kept.truncate(left);
            newest.map(|kept| kept.0)
        }
    }

    proptest! {
        #[test]
        fn a_pool_agrees_with_its_model(operations in proptest::collection::vec(operation(), 0..200)) {
            let age = Duration::from_secs(10);
            let limits = PoolLimits { idle_max: 4, idle_age_max: age, requests_max: Some(5), lifetime_max: None };
            let (mut pool, closed) = filled(limits, 0..0);
            let (mut model, mut now, mut name) = (Model::default(), at(1), 0);
            for operation in operations {
                match operation {
                    Operation::Put { requests } => {
                        name += 1;
                        pool.put(Fake { name, opened: now, requests, closed: closed.clone() }, now);
                        if requests < 5 {
                            model.put(name, now, limits);
                        }
                    }
                    Operation::Take => {
                        let taken = pool.take(now).map(|connection| connection.name);
                        prop_assert_eq!(taken, model.take(&closed, now, limits));
                    }
                    Operation::Sweep => {
                        pool.sweep(now);
                        model.kept = model.fit(&closed, now, limits);
                    }
                    Operation::ServerCloses(name) => { closed.borrow_mut().insert(name); }
                    Operation::Wait(seconds) => now = now.plus(Duration::from_secs(seconds)),
                }
                let held: Vec<_> = pool.idle.iter().map(|idle| (idle.connection.name, idle.since)).collect();
                prop_assert_eq!(&held, &model.kept);
                prop_assert!(pool.len() <= limits.idle_max);
            }
        }
    }
}
