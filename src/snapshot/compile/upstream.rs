//! `upstreams`: where requests go.

use std::net::SocketAddr;
use std::sync::Arc;

use super::World;
use crate::base::Address;
use crate::config::{self, AttemptTimeouts, Config, EndpointAddress, Finding, Gateway, Object, Upstream};
use crate::observe::{EscapedText, Registration};
use crate::snapshot::{EndpointEntry, Snapshot, UpstreamEntry};
use crate::upstream::{Balance, EndpointPlan, MarkDown, PoolLimits, Timeouts, UpstreamPlan};

/// Endpoints that one host name may stand for.
const ADDRESSES_PER_NAME_MAX: usize = 64;

pub(super) fn compile_all(config: &Config, world: &World<'_>, _findings: &mut Vec<Finding>) -> Vec<UpstreamEntry> {
    let default = Gateway::default();
    let gateway = config.gateway.value.as_ref().unwrap_or(&default);
    let mut registration = world.registry.register();
    let compile = |object: &Object<Upstream>| {
        let plan = plan(&object.name, object.value.as_ref()?, gateway, world);
        Some(entry(plan, world.previous, &mut registration))
    };
    config.upstreams.iter().filter_map(compile).collect()
}

fn plan(name: &str, model: &Upstream, gateway: &Gateway, world: &World<'_>) -> UpstreamPlan {
    let mut endpoints = Vec::new();
    for endpoint in model.endpoints.iter() {
        expand(&endpoint.address.value, endpoint.weight.get(), world, &mut endpoints);
    }
    let timeouts = AttemptTimeouts::on_upstream(&gateway.timeouts, &model.timeouts);
    let mut plan = UpstreamPlan::new(name.into(), endpoints);
    plan.balance = match model.balance {
        config::Balance::RoundRobin => Balance::RoundRobin,
        config::Balance::LeastRequest => Balance::LeastRequest,
    };
    plan.pool = PoolLimits {
        idle_max: model.pool.max_idle.get() as usize,
        idle_age_max: model.pool.idle.get(),
        lifetime_max: model.pool.max_age.limit().map(|age| age.get()),
        requests_max: None,
    };
    plan.connections_max = model.pool.max_connections.limit().map_or(u32::MAX, |count| count.get());
    plan.mark_down = MarkDown { failures: model.mark_down.failures.get(), period: model.mark_down.period.get() };
    plan.timeouts = Timeouts {
        connect: timeouts.connect.get(),
        response_head: timeouts.response_head.get(),
        ..Timeouts::default()
    };
    plan
}

/// One endpoint for an address, one for each address of a name.
fn expand(address: &EndpointAddress, weight: u32, world: &World<'_>, endpoints: &mut Vec<EndpointPlan>) {
    if let Some(address) = address.address() {
        return endpoints.push(EndpointPlan::new(address, weight));
    }
    let EndpointAddress::Name { host, port } = address else { return };
    let known = world.resolved.get(host).map_or(&[][..], Vec::as_slice);
    for ip in known.iter().take(ADDRESSES_PER_NAME_MAX) {
        let address = Address::Ip(SocketAddr::new(*ip, *port));
        if endpoints.iter().all(|endpoint| endpoint.address != address) {
            endpoints.push(EndpointPlan::new(address, weight));
        }
    }
}

/// The entry of the snapshot before where nothing has changed; else a new one that inherits the endpoints' health.
fn entry(mut plan: UpstreamPlan, previous: Option<&Snapshot>, names: &mut Registration<'_>) -> UpstreamEntry {
    let before = previous.and_then(|previous| previous.upstream_named(&plan.name));
    if let Some(before) = before {
        plan.inherit_health(&before.plan);
        if *before.plan == plan {
            return before.clone();
        }
    }
    let endpoint = |endpoint: &EndpointPlan| EndpointEntry {
        label: EscapedText::new(&endpoint.name),
        metrics: names.endpoint(&plan.name, &endpoint.name),
    };
    let endpoints = plan.endpoints.iter().map(endpoint).collect();
    UpstreamEntry {
        label: EscapedText::new(&plan.name),
        metrics: names.upstream(&plan.name),
        endpoints,
        plan: Arc::new(plan),
    }
}
