//! What `/status` tells: this process, this generation, in effect.

use serde_json::{Value, json};

use super::shared::Shared;
use crate::base::{Address, Timestamp};
use crate::snapshot::{ListenerPlan, Snapshot, UpstreamEntry};
use crate::upstream::{EndpointPlan, Standing};

/// Upstreams that are listed; a longer list is cut, and says so.
const UPSTREAMS_MAX: usize = 1_000;
/// Endpoints of one upstream that are listed.
const ENDPOINTS_MAX: usize = 256;

/// The status as JSON.
pub(super) fn status(shared: &Shared) -> Value {
    let snapshot = shared.current();
    let now = (shared.fleet.now)();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "phase": shared.phase(),
        "generation": snapshot.generation,
        "uptime_seconds": now.since(shared.started).as_secs(),
        "driver": shared.fleet.facts.driver,
        "driver_reason": shared.fleet.facts.driver_reason,
        "shards": shards(shared),
        "descriptors_max": shared.fleet.facts.descriptors_max,
        "connections_open": connections_open(shared),
        "admin": shared.admin(),
        "listeners": listeners(shared, &snapshot),
        "routes": snapshot.routes.len(),
        "upstreams": snapshot.upstreams.iter().take(UPSTREAMS_MAX).map(|entry| upstream(entry, now)).collect::<Vec<_>>(),
        "upstreams_total": snapshot.upstreams.len(),
        "last_reload": shared.last_reload().as_deref(),
    })
}

fn shards(shared: &Shared) -> Vec<Value> {
    let one = |(number, cpu): (usize, &usize)| {
        let metrics = shared.registry.shard(number);
        json!({
            "number": number,
            "cpu": cpu,
            "generation": metrics.generation.value(),
            "connections_open": metrics.connections_open.value(),
        })
    };
    shared.fleet.facts.cpus.iter().enumerate().map(one).collect()
}

fn connections_open(shared: &Shared) -> u64 {
    (0..shared.fleet.facts.cpus.len()).map(|number| shared.registry.shard(number).connections_open.value()).sum()
}

fn listeners(shared: &Shared, snapshot: &Snapshot) -> Vec<Value> {
    let one = |plan: &ListenerPlan| {
        let addresses: Vec<String> = listening(shared, plan).iter().map(Address::to_string).collect();
        json!({ "name": &*plan.name, "addresses": addresses })
    };
    snapshot.listeners.iter().map(|plan| one(plan)).collect()
}

/// Where a listener really listens.
pub(super) fn listening(shared: &Shared, plan: &ListenerPlan) -> Vec<Address> {
    let local = |address: &Address| (shared.fleet.local)(address, plan.ipv6_only).unwrap_or_else(|| address.clone());
    plan.addresses.iter().map(local).collect()
}

fn upstream(entry: &UpstreamEntry, now: Timestamp) -> Value {
    let endpoints = &entry.plan.endpoints;
    json!({
        "name": &*entry.plan.name,
        "endpoints": endpoints.iter().take(ENDPOINTS_MAX).map(|plan| endpoint(plan, now)).collect::<Vec<_>>(),
        "endpoints_total": endpoints.len(),
    })
}

fn endpoint(plan: &EndpointPlan, now: Timestamp) -> Value {
    let health = match plan.health.standing(now) {
        Standing::Up => "up",
        Standing::Down => "down",
        Standing::TrialDue => "trial_due",
    };
    json!({ "name": &*plan.name, "weight": plan.weight, "health": health })
}
