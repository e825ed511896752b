//! What has happened at the endpoints of an upstream, on one shard: connections, attempts under way, whose turn it is.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::balance::{Balancer, Candidate, Tried, least_recently_tried};
use super::budget::Budget;
use super::carriers::{Carrier, Carriers, Joined, Place};
use super::health::Standing;
use super::permit::{Permit, Permits, Turn, Waiting};
use super::plan::{EndpointPlan, Speaks, UpstreamPlan};
use super::pool::{Parked, Pool, PoolCounts, PoolLimits};
use super::replay::GiveUp;
use crate::base::{Address, EndpointId, Timestamp};

/// Endpoints that one [`UpstreamState::sweep`] looks at.
const SWEEP_ENDPOINTS_MAX: usize = 64;
/// Lost races for a trial after which a pick no longer looks for an endpoint that is up.
const CLAIMS_MAX: usize = 4;

/// One shard's state of one upstream.
#[derive(Debug)]
pub struct UpstreamState<C: Parked> {
    plan: Arc<UpstreamPlan>,
    shards: u32,
    /// In the order of their ids, like `candidates`.
    endpoints: Vec<Rc<Endpoint<C>>>,
    candidates: Vec<Candidate>,
    balancer: Rc<RefCell<Balancer>>,
    budget: Rc<RefCell<Budget>>,
    sweep_cursor: Cell<usize>,
}

/// One shard's state of one endpoint. It outlives a reload, and its removal for as long as attempts are under way.
#[derive(Debug)]
pub struct Endpoint<C: Parked> {
    address: Address,
    in_flight: Rc<Cell<u32>>,
    pool: RefCell<Pool<C>>,
    permits: Permits<C>,
    carriers: Rc<Carriers<C::Carrier>>,
    speaks: Cell<Speaks>,
    retired: Cell<bool>,
}

/// What [`UpstreamState::connections`] sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// In use and idle.
    pub open: u64,
    pub idle: u64,
    /// Requests in line for one.
    pub waiting: u64,
    /// Closed while idle since the call before.
    pub evicted: u64,
}

/// The endpoint of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    pub endpoint: EndpointId,
    /// Whether a fresh connection must be opened: a trial is about connecting, and where one pooled connection just
    /// failed the others may have too.
    pub fresh: bool,
}

/// The attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    pub endpoint: EndpointId,
    /// Whether its connection had carried a request before.
    pub reused: bool,
}

/// How an attempt comes to its connection.
#[derive(Debug)]
pub enum Acquired<C: Parked> {
    /// An idle one.
    Reuse(C),
    /// A place on one that carries others too.
    Share(Rc<C::Carrier>),
    /// One is being opened that will have a place; wait, then ask again.
    Join(Joined<<C::Carrier as Carrier>::Failure>),
    /// Leave to open one.
    Open(Permit<C>),
    /// All are busy; wait, until a deadline of the caller's.
    Wait(Waiting<C>),
    /// All are busy and too many wait already.
    Full,
}

/// An attempt under way at an endpoint; dropping it ends it.
#[derive(Debug)]
pub struct InFlight<'a, C: Parked> {
    endpoint: &'a Endpoint<C>,
}

impl<C: Parked> UpstreamState<C> {
    /// The state of an upstream where nothing has happened yet, on one of `shards` shards.
    pub fn new(plan: Arc<UpstreamPlan>, shards: u32, random: u64) -> Self {
        let endpoints = plan.endpoints.iter().map(|endpoint| Rc::new(Endpoint::new(&plan, endpoint))).collect();
        let balancer = Rc::new(RefCell::new(Balancer::new(plan.balance, &weights(&plan), random)));
        let budget = Rc::new(RefCell::new(Budget::new(plan.budget, shards)));
        Self::assemble(plan, shards, endpoints, balancer, budget)
    }

    /// The state under a new plan of the same upstream, and the idle connections of endpoints that are gone, to be
    /// closed. Endpoints of the same address keep their connections, counters and waiters; exchanges that began under
    /// the old state finish with it. The plan must have inherited its health ([`UpstreamPlan::inherit_health`]).
    pub fn adopt(old: &Self, plan: Arc<UpstreamPlan>, random: u64) -> (Self, Vec<C>) {
        let mut known: ahash::HashMap<&Address, &Rc<Endpoint<C>>> =
            old.endpoints.iter().map(|endpoint| (&endpoint.address, endpoint)).collect();
        let mut keep = |endpoint: &EndpointPlan| match known.remove(&endpoint.address) {
            Some(state) => state.adopt(&plan),
            None => Rc::new(Endpoint::new(&plan, endpoint)),
        };
        let endpoints = plan.endpoints.iter().map(&mut keep).collect();
        let closing = known.into_values().flat_map(|endpoint| endpoint.retire()).collect();
        let balancer = match same_order(&old.plan, &plan) {
            true => Rc::clone(&old.balancer),
            false => Rc::new(RefCell::new(Balancer::new(plan.balance, &weights(&plan), random))),
        };
        old.budget.borrow_mut().set_plan(plan.budget, old.shards);
        let budget = Rc::clone(&old.budget);
        (Self::assemble(plan, old.shards, endpoints, balancer, budget), closing)
    }

    /// The idle connections of an upstream that is gone, to be closed; what is under way finishes.
    pub fn retire(&self) -> Vec<C> {
        self.endpoints.iter().flat_map(|endpoint| endpoint.retire()).collect()
    }

    fn assemble(
        plan: Arc<UpstreamPlan>,
        shards: u32,
        endpoints: Vec<Rc<Endpoint<C>>>,
        balancer: Rc<RefCell<Balancer>>,
        budget: Rc<RefCell<Budget>>,
    ) -> Self {
        let candidate = |(plan, state): (&EndpointPlan, &Rc<Endpoint<C>>)| Candidate {
            weight: plan.weight,
            health: Arc::clone(&plan.health),
            in_flight: Rc::clone(&state.in_flight),
        };
        let candidates = plan.endpoints.iter().zip(&endpoints).map(candidate).collect();
        Self { plan, shards, endpoints, candidates, balancer, budget, sweep_cursor: Cell::new(0) }
    }

    /// The plan this state belongs to.
    #[inline]
    pub fn plan(&self) -> &Arc<UpstreamPlan> {
        &self.plan
    }

    /// The state of one endpoint.
    #[inline]
    pub fn endpoint(&self, id: EndpointId) -> &Rc<Endpoint<C>> {
        &self.endpoints[id.index()]
    }

    /// Counts a request, once, whatever becomes of it: the budget is a share of these.
    #[inline]
    pub fn count_request(&self, now: Timestamp) {
        self.budget.borrow_mut().count_request(now);
    }

    /// The endpoint for the next attempt, among those not tried yet: one that is up, or one that is due for a trial,
    /// or, when all are down, the one that failed least recently. None when all were tried.
    #[inline]
    pub fn pick(&self, tried: &Tried, now: Timestamp, random: u64) -> Option<Pick> {
        self.pick_usable(tried, now, random).or_else(|| self.pick_down(tried, now))
    }

    /// The endpoint for making a failed attempt again, always over a fresh connection, and charges the budget.
    ///
    /// Another endpoint that is up; else the same, when it was a pooled connection that failed or it is the only
    /// endpoint; else another although it is down. Nothing once all were tried. [`super::Tries::again`] says before
    /// whether the request may be made again at all.
    pub fn pick_again(
        &self,
        failed: FailedAttempt,
        tried: &Tried,
        now: Timestamp,
        random: u64,
    ) -> Result<Pick, GiveUp> {
        if !self.budget.borrow_mut().has_room(now) {
            return Err(GiveUp::Budget);
        }
        let pick = self
            .pick_usable(tried, now, random)
            .or_else(|| self.same_again(failed, tried, now))
            .or_else(|| self.pick_down(tried, now))
            .ok_or(GiveUp::Endpoints)?;
        self.budget.borrow_mut().charge(now);
        Ok(Pick { fresh: true, ..pick })
    }

    /// Begins an attempt at an endpoint.
    #[inline]
    pub fn enter(&self, id: EndpointId) -> InFlight<'_, C> {
        let endpoint = self.endpoint(id);
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        InFlight { endpoint }
    }

    /// A connection to the endpoint was established; true when that ended its mark.
    #[inline]
    pub fn connected(&self, id: EndpointId) -> bool {
        self.plan.endpoint(id).health.connected()
    }

    /// A connect to the endpoint failed; true when that marked it down.
    pub fn connect_failed(&self, id: EndpointId, now: Timestamp, random: u64) -> bool {
        self.plan.endpoint(id).health.failed(&self.plan.mark_down, now, random)
    }

    /// Has the connections that carry many requests looked at.
    pub fn wake_carriers(&self) {
        self.endpoints.iter().for_each(|endpoint| endpoint.carriers.wake());
    }

    /// The connections of all endpoints, as of now.
    pub fn connections(&self) -> Connections {
        let mut sum = Connections::default();
        for endpoint in &self.endpoints {
            let mut pool = endpoint.pool.borrow_mut();
            sum.open += u64::from(endpoint.permits.open_count());
            sum.idle += (pool.len() + endpoint.carriers.idle_count()) as u64;
            sum.waiting += endpoint.permits.waiting_count() as u64;
            sum.evicted += pool.take_evicted();
        }
        sum
    }

    /// Closes ended and aged idle connections: a bounded number per call, all of them over repeated calls.
    pub fn sweep(&self, now: Timestamp) {
        let count = self.endpoints.len();
        for _ in 0..count.min(SWEEP_ENDPOINTS_MAX) {
            let index = self.sweep_cursor.get() % count;
            self.endpoints[index].pool.borrow_mut().sweep(now);
            self.sweep_cursor.set(index + 1);
        }
    }

    fn pick_usable(&self, tried: &Tried, now: Timestamp, random: u64) -> Option<Pick> {
        let mut balancer = self.balancer.borrow_mut();
        for claim in 0..CLAIMS_MAX {
            let endpoint = balancer.pick(&self.candidates, tried, now, random.wrapping_add(claim as u64))?;
            let health = &self.candidates[endpoint.index()].health;
            match health.standing(now) {
                Standing::Up => return Some(Pick { endpoint, fresh: false }),
                Standing::TrialDue if health.claim_trial(&self.plan.mark_down, now) => {
                    return Some(Pick { endpoint, fresh: true });
                }
                // Another shard was faster, or it just went down.
                Standing::TrialDue | Standing::Down => {}
            }
        }
        None
    }

    fn same_again(&self, failed: FailedAttempt, tried: &Tried, now: Timestamp) -> Option<Pick> {
        let only = self.endpoints.len() == 1 && tried.len() <= 1;
        let up = self.candidates[failed.endpoint.index()].health.standing(now) == Standing::Up;
        (only || failed.reused && up).then_some(Pick { endpoint: failed.endpoint, fresh: true })
    }

    fn pick_down(&self, tried: &Tried, now: Timestamp) -> Option<Pick> {
        let endpoint = least_recently_tried(&self.candidates, tried)?;
        self.candidates[endpoint.index()].health.tried_while_down(now);
        Some(Pick { endpoint, fresh: false })
    }
}

impl<C: Parked> Endpoint<C> {
    fn new(upstream: &UpstreamPlan, plan: &EndpointPlan) -> Self {
        Self {
            address: plan.address.clone(),
            in_flight: Rc::default(),
            pool: RefCell::new(Pool::new(upstream.pool)),
            permits: Permits::new(upstream.connections_max, upstream.waiters_max),
            carriers: Rc::default(),
            speaks: Cell::new(upstream.speaks),
            retired: Cell::new(false),
        }
    }

    fn adopt(self: &Rc<Self>, upstream: &UpstreamPlan) -> Rc<Self> {
        self.pool.borrow_mut().set_limits(upstream.pool);
        self.permits.set_bounds(upstream.connections_max, upstream.waiters_max);
        Rc::clone(self)
    }

    fn retire(&self) -> Vec<C> {
        self.retired.set(true);
        self.carriers.retire();
        self.pool.borrow_mut().drain().collect()
    }

    /// Its connections on this shard that carry many requests.
    pub fn carriers(&self) -> &Rc<Carriers<C::Carrier>> {
        &self.carriers
    }

    /// How long a connection may be idle, and how old it may become.
    pub fn limits(&self) -> PoolLimits {
        *self.pool.borrow().limits()
    }

    /// Whether it is no longer part of the configuration.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Whether requests share connections here, as far as is known.
    #[inline]
    pub fn shares(&self) -> bool {
        self.speaks.get() != Speaks::Http1 && self.may_share()
    }

    fn may_share(&self) -> bool {
        self.speaks.get() == Speaks::Http2 || self.carriers.shares() != Some(false)
    }

    /// A place for an attempt on a connection that carries others too, or leave to open one, or a place in line. `again`
    /// after another attempt failed; a connection carries `streams` at most.
    pub fn acquire_place(&self, again: bool, streams: u32) -> Acquired<C> {
        match self.carriers.find(again, streams) {
            Place::Room(carrier) => Acquired::Share(carrier),
            Place::Opening(joined) => Acquired::Join(joined),
            Place::None => self.open_or_wait(),
            Place::Stopped => self.permits.wait().map_or(Acquired::Full, Acquired::Wait),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Attempts under way on this shard.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Idle connections on this shard.
    pub fn idle_count(&self) -> usize {
        self.pool.borrow().len()
    }

    /// What its pool has done so far.
    pub fn pool_counts(&self) -> PoolCounts {
        *self.pool.borrow().counts()
    }

    /// Its open connections on this shard, and who waits for one.
    pub fn permits(&self) -> &Permits<C> {
        &self.permits
    }

    /// A connection for an attempt: an idle one, or leave to open one, or a place in line.
    pub fn acquire(&self, now: Timestamp) -> Acquired<C> {
        let idle = self.pool.borrow_mut().take(now);
        match idle {
            Some(connection) => Acquired::Reuse(connection),
            None => self.open_or_wait(),
        }
    }

    /// A connection for an attempt that not every connection serves: an idle one that does, or what
    /// [`Self::acquire_fresh`] brings.
    pub fn acquire_own(&self, now: Timestamp, serves: impl Fn(&C) -> bool) -> Acquired<C> {
        let idle = self.pool.borrow_mut().take_own(now, serves);
        match idle {
            Some(connection) => Acquired::Reuse(connection),
            None => self.acquire_fresh(),
        }
    }

    /// Leave to open a fresh connection, closing an idle one where that makes room; or a place in line, which may yet
    /// lead to a connection that just served somebody else.
    pub fn acquire_fresh(&self) -> Acquired<C> {
        if let Some(permit) = self.permits.open() {
            return Acquired::Open(permit);
        }
        self.pool.borrow_mut().discard_oldest();
        self.open_or_wait()
    }

    /// Keeps a connection whose exchange ended cleanly: for the first in line, or in the pool.
    pub fn give_back(&self, connection: C, now: Timestamp) {
        if self.retired.get() {
            return drop(connection);
        }
        let Some(connection) = self.pool.borrow_mut().admit(connection, now) else { return };
        if let Some(connection) = self.permits.offer(connection) {
            self.pool.borrow_mut().keep(connection, now);
        }
    }

    fn open_or_wait(&self) -> Acquired<C> {
        if let Some(permit) = self.permits.open() {
            return Acquired::Open(permit);
        }
        self.permits.wait().map_or(Acquired::Full, Acquired::Wait)
    }
}

impl<C: Parked> From<Turn<C>> for Acquired<C> {
    fn from(turn: Turn<C>) -> Self {
        match turn {
            Turn::Reuse(connection) => Self::Reuse(connection),
            Turn::Open(permit) => Self::Open(permit),
        }
    }
}

impl<C: Parked> Deref for InFlight<'_, C> {
    type Target = Endpoint<C>;

    #[inline]
    fn deref(&self) -> &Endpoint<C> {
        self.endpoint
    }
}

impl<C: Parked> Drop for InFlight<'_, C> {
    fn drop(&mut self) {
        let count = &self.endpoint.in_flight;
        debug_assert!(count.get() > 0, "every guard was counted in `enter`");
        count.set(count.get().saturating_sub(1));
    }
}

fn weights(plan: &UpstreamPlan) -> Vec<u32> {
    plan.endpoints.iter().map(|endpoint| endpoint.weight).collect()
}

/// Whether a balancer of one plan fits the other.
fn same_order(old: &UpstreamPlan, new: &UpstreamPlan) -> bool {
    let mut pairs = old.endpoints.iter().zip(&new.endpoints);
    old.balance == new.balance
        && old.endpoints.len() == new.endpoints.len()
        && pairs.all(|(old, new)| old.weight == new.weight && old.address == new.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Balance, Discard};
    use std::time::Duration;

    #[derive(Debug)]
    struct Fake {
        name: &'static str,
        _permit: Option<Permit<Fake>>,
    }

    impl Parked for Fake {
        type Carrier = crate::upstream::Never;

        fn has_ended(&mut self) -> bool {
            false
        }

        fn opened(&self) -> Timestamp {
            Timestamp::default()
        }

        fn requests(&self) -> u32 {
            1
        }
    }

    fn fake(name: &'static str) -> Fake {
        Fake { name, _permit: None }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn plan(ports: &[u16]) -> UpstreamPlan {
        let endpoint = |port: &u16| EndpointPlan::new(Address::Ip(([10, 0, 0, 1], *port).into()), 1);
        UpstreamPlan::new("orders".into(), ports.iter().map(endpoint).collect())
    }

    fn state(ports: &[u16]) -> UpstreamState<Fake> {
        UpstreamState::new(Arc::new(plan(ports)), 1, 0)
    }

    fn tried(ids: &[u32]) -> Tried {
        let mut tried = Tried::default();
        ids.iter().for_each(|id| tried.add(EndpointId(*id)));
        tried
    }

    const FIRST: EndpointId = EndpointId(0);
    const SECOND: EndpointId = EndpointId(1);

    fn failed(reused: bool) -> FailedAttempt {
        FailedAttempt { endpoint: FIRST, reused }
    }

    #[test]
    fn an_attempt_is_in_flight_until_its_guard_is_dropped() {
        let state = state(&[1]);
        let guard = state.enter(FIRST);
        assert_eq!(guard.in_flight(), 1);
        drop(guard);
        assert_eq!(state.endpoint(FIRST).in_flight(), 0);
    }

    #[test]
    fn an_endpoint_that_is_down_is_not_picked() {
        let state = state(&[1, 2]);
        assert!(state.connect_failed(FIRST, at(1), 0));
        for random in 0..10 {
            let pick = state.pick(&Tried::default(), at(2), random);
            assert_eq!(pick, Some(Pick { endpoint: SECOND, fresh: false }));
        }
    }

    #[test]
    fn one_request_tries_an_endpoint_whose_time_is_over_with_a_fresh_connection() {
        let state = state(&[1, 2]);
        state.connect_failed(FIRST, at(1), 0);
        let picks: Vec<_> = (0..10).filter_map(|random| state.pick(&Tried::default(), at(11), random)).collect();
        let trials: Vec<_> = picks.iter().filter(|pick| pick.endpoint == FIRST).collect();
        assert_eq!(trials, [&Pick { endpoint: FIRST, fresh: true }]);
        assert_eq!(picks.len(), 10);
    }

    #[test]
    fn when_all_are_down_they_are_tried_anyway_the_least_recently_failed_first() {
        let state = state(&[1, 2]);
        state.connect_failed(FIRST, at(2), 0);
        state.connect_failed(SECOND, at(1), 0);
        let order: Vec<_> = (3..6).filter_map(|s| state.pick(&Tried::default(), at(s), 0)).collect();
        assert_eq!(order.iter().map(|pick| pick.endpoint.0).collect::<Vec<_>>(), [1, 0, 1]);
    }

    #[test]
    fn a_failed_attempt_is_made_again_at_another_endpoint_over_a_fresh_connection() {
        let state = state(&[1, 2]);
        let again = state.pick_again(failed(true), &tried(&[0]), at(1), 0);
        assert_eq!(again, Ok(Pick { endpoint: SECOND, fresh: true }));
    }

    #[test]
    fn the_only_endpoint_is_tried_again_once() {
        let state = state(&[1]);
        state.connect_failed(FIRST, at(1), 0);
        let again = state.pick_again(failed(false), &tried(&[0]), at(1), 0);
        assert_eq!(again, Ok(Pick { endpoint: FIRST, fresh: true }));
        assert_eq!(state.pick_again(failed(false), &tried(&[0, 0]), at(1), 0), Err(GiveUp::Endpoints));
    }

    #[test]
    fn a_pooled_connection_that_failed_is_replaced_rather_than_a_dead_endpoint_tried() {
        let state = state(&[1, 2]);
        state.connect_failed(SECOND, at(1), 0);
        let again = state.pick_again(failed(true), &tried(&[0]), at(1), 0);
        assert_eq!(again, Ok(Pick { endpoint: FIRST, fresh: true }));
    }

    #[test]
    fn nothing_is_made_again_when_the_budget_is_spent() {
        let state = state(&[1, 2]);
        let granted = (0..1000).filter(|_| state.pick_again(failed(true), &tried(&[0]), at(1), 0).is_ok()).count();
        assert_eq!(granted, 100, "ten per second over ten seconds");
        assert_eq!(state.pick_again(failed(true), &tried(&[0]), at(1), 0), Err(GiveUp::Budget));
    }

    #[test]
    fn a_reload_keeps_the_connections_of_unchanged_endpoints_and_returns_the_others() {
        let old = state(&[1, 2]);
        old.endpoint(FIRST).give_back(fake("goes"), at(0));
        old.endpoint(SECOND).give_back(fake("stays"), at(0));
        let busy = old.enter(SECOND);
        let (new, closing) = UpstreamState::adopt(&old, Arc::new(plan(&[2, 3])), 0);
        assert_eq!(closing.iter().map(|connection| connection.name).collect::<Vec<_>>(), ["goes"]);
        assert_eq!(new.endpoint(FIRST).in_flight(), 1);
        drop(busy);
        assert_eq!(new.endpoint(FIRST).in_flight(), 0);
        assert!(matches!(new.endpoint(FIRST).acquire(at(1)), Acquired::Reuse(Fake { name: "stays", .. })));
    }

    #[test]
    fn a_connection_that_returns_to_a_removed_endpoint_is_closed() {
        let old = state(&[1]);
        let exchange = old.enter(FIRST);
        let _new = UpstreamState::adopt(&old, Arc::new(plan(&[2])), 0);
        exchange.give_back(fake("late"), at(1));
        assert_eq!(exchange.idle_count(), 0);
    }

    #[test]
    fn a_reload_that_changes_no_endpoint_keeps_the_turn() {
        let old = state(&[1, 2, 3]);
        let first = old.pick(&Tried::default(), at(1), 0).map(|pick| pick.endpoint.0);
        let (new, _closing) = UpstreamState::adopt(&old, Arc::new(plan(&[1, 2, 3])), 0);
        let second = new.pick(&Tried::default(), at(1), 0).map(|pick| pick.endpoint.0);
        assert_eq!((first, second), (Some(0), Some(1)));
    }

    #[test]
    fn a_fresh_connection_takes_the_place_of_an_idle_one_under_the_cap() {
        let mut plan = plan(&[1]);
        plan.connections_max = 1;
        let state = UpstreamState::new(Arc::new(plan), 1, 0);
        let endpoint = state.endpoint(FIRST);
        let Acquired::Open(permit) = endpoint.acquire(at(0)) else { panic!("nothing is open yet") };
        endpoint.give_back(Fake { name: "idle", _permit: Some(permit) }, at(0));
        assert!(matches!(endpoint.acquire_fresh(), Acquired::Open(_)));
        assert_eq!(endpoint.pool_counts().discarded(Discard::Room), 1);
    }

    #[test]
    fn a_returned_connection_goes_to_who_waits_instead_of_the_pool() {
        let mut plan = plan(&[1]);
        (plan.connections_max, plan.waiters_max) = (1, 1);
        let state = UpstreamState::new(Arc::new(plan), 1, 0);
        let endpoint = state.endpoint(FIRST);
        let Acquired::Open(permit) = endpoint.acquire(at(0)) else { panic!("nothing is open yet") };
        let Acquired::Wait(mut waiting) = endpoint.acquire(at(0)) else { panic!("one is open") };
        assert!(matches!(endpoint.acquire(at(0)), Acquired::Full));
        endpoint.give_back(Fake { name: "busy", _permit: Some(permit) }, at(0));
        assert_eq!(endpoint.idle_count(), 0);
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        let turn = std::pin::Pin::new(&mut waiting).poll(cx);
        assert!(matches!(turn, std::task::Poll::Ready(Turn::Reuse(Fake { name: "busy", .. }))));
    }

    #[test]
    fn a_sweep_reaches_every_endpoint_over_repeated_calls() {
        let ports: Vec<u16> = (1..=3 * SWEEP_ENDPOINTS_MAX as u16).collect();
        let mut plan = plan(&ports);
        plan.pool.idle_age_max = Duration::from_secs(5);
        plan.balance = Balance::LeastRequest;
        let state = UpstreamState::new(Arc::new(plan), 1, 0);
        state.endpoints.iter().for_each(|endpoint| endpoint.give_back(fake("old"), at(0)));
        let idle = || state.endpoints.iter().map(|endpoint| endpoint.idle_count()).sum::<usize>();
        state.sweep(at(5));
        assert_eq!(idle(), 2 * SWEEP_ENDPOINTS_MAX);
        state.sweep(at(5));
        state.sweep(at(5));
        assert_eq!(idle(), 0);
    }
}
