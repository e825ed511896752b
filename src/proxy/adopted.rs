//! A snapshot as one shard has adopted it: the shared plan, and this shard's state beside each upstream of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ahash::AHashMap;

use super::lease::UpstreamConnection;
use super::net::Net;
use crate::base::{Address, EndpointId, RouteId, UpstreamId};
use crate::observe::{EndpointBlock, RouteBlock, UpstreamBlock};
use crate::route::Scratch;
use crate::snapshot::tls::PeerName;
use crate::snapshot::{Snapshot, UpstreamEntry};
use crate::upstream::UpstreamState;

type State<N> = UpstreamState<UpstreamConnection<N>>;

/// One generation on one shard. Exchanges hold it until they end.
pub(super) struct Adopted<N: Net> {
    pub snapshot: Arc<Snapshot>,
    /// Working memory of route look-ups.
    pub scratch: RefCell<Scratch>,
    upstreams: Vec<Rc<State<N>>>,
}

impl<N: Net> Adopted<N> {
    /// The snapshot beside the state that carries over from `previous`: that of an unchanged upstream as it is, that of
    /// a changed one endpoint by endpoint.
    pub fn new(snapshot: Arc<Snapshot>, previous: Option<&Self>, shards: u32, random: &mut fastrand::Rng) -> Self {
        let before = previous.map_or(&[][..], |previous| &previous.upstreams);
        let mut known: AHashMap<&str, &Rc<State<N>>> =
            before.iter().map(|state| (&*state.plan().name, state)).collect();
        let carry = |entry: &UpstreamEntry| match known.remove(&*entry.plan.name) {
            Some(state) if Arc::ptr_eq(state.plan(), &entry.plan) => Rc::clone(state),
            // Kept connections speak what they spoke.
            Some(state) if !previous.is_some_and(|previous| previous.speaks_alike(entry)) => {
                drop(state.retire());
                Rc::new(UpstreamState::new(entry.plan.clone(), shards, random.u64(..)))
            }
            Some(state) => Rc::new(UpstreamState::adopt(state, entry.plan.clone(), random.u64(..)).0),
            None => Rc::new(UpstreamState::new(entry.plan.clone(), shards, random.u64(..))),
        };
        let upstreams = snapshot.upstreams.iter().map(carry).collect();
        for gone in known.into_values() {
            drop(gone.retire());
        }
        Self { scratch: RefCell::new(snapshot.table.scratch()), snapshot, upstreams }
    }

    /// Whether connections to the upstream of this name may be kept: the same PROXY header, version and TLS, and for each
    /// endpoint the same name.
    fn speaks_alike(&self, entry: &UpstreamEntry) -> bool {
        let Some(before) = self.snapshot.upstream_named(&entry.plan.name) else { return true };
        if before.plan.proxy_protocol != entry.plan.proxy_protocol {
            return false;
        }
        let peers = |entry: &'_ UpstreamEntry| -> AHashMap<Address, Option<PeerName>> {
            let addresses = entry.plan.endpoints.iter().map(|endpoint| endpoint.address.clone());
            addresses.zip(entry.peers().cloned()).collect()
        };
        let known = peers(before);
        let same = |(address, peer): (Address, _)| known.get(&address).is_none_or(|before| *before == peer);
        before.tls.as_ref().map(Arc::as_ptr) == entry.tls.as_ref().map(Arc::as_ptr)
            && (before.plan.speaks, before.plan.sharing) == (entry.plan.speaks, entry.plan.sharing)
            && peers(entry).into_iter().all(same)
    }

    /// This shard's state of an upstream.
    pub fn upstream(&self, id: UpstreamId) -> &State<N> {
        &self.upstreams[id.index()]
    }

    /// Every upstream's state.
    pub fn upstreams(&self) -> &[Rc<State<N>>] {
        &self.upstreams
    }

    /// Publishes what the pools hold, of every upstream that was used on this shard.
    pub fn publish_connections(&self, shard: usize) {
        for (entry, state) in self.snapshot.upstreams.iter().zip(&self.upstreams) {
            if let Some(block) = entry.metrics.used_at(shard) {
                let held = state.connections();
                block.connections_open.set(held.open);
                block.pool_idle.set(held.idle);
                block.waiting.set(held.waiting);
                block.pool_evicted.add(held.evicted);
            }
        }
    }

    /// Publishes that nothing is held any more: for the upstreams that a newer snapshot lacks.
    pub fn retract_connections(&self, shard: usize) {
        for block in self.snapshot.upstreams.iter().filter_map(|entry| entry.metrics.used_at(shard)) {
            [&block.connections_open, &block.pool_idle, &block.waiting].iter().for_each(|gauge| gauge.set(0));
        }
    }

    pub fn upstream_block(&self, id: UpstreamId, shard: usize) -> &UpstreamBlock {
        self.snapshot.upstreams[id.index()].metrics.at(shard)
    }

    pub fn endpoint_block(&self, id: UpstreamId, endpoint: EndpointId, shard: usize) -> &EndpointBlock {
        self.snapshot.upstreams[id.index()].endpoints[endpoint.index()].metrics.at(shard)
    }

    pub fn route_block(&self, id: RouteId, shard: usize) -> &RouteBlock {
        self.snapshot.route(id).metrics.at(shard)
    }
}
