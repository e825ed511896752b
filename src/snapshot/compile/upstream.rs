//! `upstreams`: where requests go.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{World, tls};
use crate::base::Address;
use crate::config::{
    self, AttemptTimeouts, Config, EndpointAddress, Finding, Gateway, Object, SentProxyProtocol, Upstream,
    UpstreamHttp2, UpstreamProtocol,
};
use crate::http::proxy_protocol;
use crate::observe::{EscapedText, Registration};
use crate::snapshot::tls::{ClientTls, PeerName};
use crate::snapshot::{EndpointEntry, Snapshot, UpstreamEntry};
use crate::upstream::{Balance, EndpointPlan, MarkDown, PoolLimits, Sharing, Speaks, Timeouts, UpstreamPlan};

/// Endpoints that one host name may stand for.
const ADDRESSES_PER_NAME_MAX: usize = 64;

pub(super) fn compile_all(config: &Config, world: &World<'_>, findings: &mut Vec<Finding>) -> Vec<UpstreamEntry> {
    let default = Gateway::default();
    let gateway = config.gateway.value.as_ref().unwrap_or(&default);
    let mut registration = world.registry.register();
    let mut compile = |object: &Object<Upstream>| {
        let model = object.value.as_ref()?;
        let tls = match &model.tls {
            // Without what was asked for there is no upstream: never plain text instead.
            Some(tls) => Some(tls::client(object, tls, world, config.read_at, findings)?),
            None => None,
        };
        let (plan, peers) = plan(&object.name, model, gateway, world);
        Some(entry(plan, tls.map(|tls| (tls, peers)), world.previous, &mut registration))
    };
    config.upstreams.iter().filter_map(&mut compile).collect()
}

/// The plan, and for each endpoint the name it must prove where TLS is spoken.
fn plan(name: &str, model: &Upstream, gateway: &Gateway, world: &World<'_>) -> (UpstreamPlan, Vec<Option<PeerName>>) {
    let server_name = model.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
    let (mut endpoints, mut peers) = (Vec::new(), Vec::new());
    for endpoint in model.endpoints.iter() {
        expand(&endpoint.address.value, endpoint.weight.get(), world, &mut endpoints);
        let peer = match (server_name, &endpoint.address.value) {
            (Some(name), _) => PeerName::new(name),
            (None, EndpointAddress::Name { host, .. }) => PeerName::new(host),
            (None, EndpointAddress::Ip(address)) => PeerName::new(&address.ip().to_string()),
            (None, EndpointAddress::Unix(_)) => None,
        };
        peers.resize(endpoints.len(), peer);
    }
    let timeouts = AttemptTimeouts::on_upstream(&gateway.timeouts, &model.timeouts);
    let mut plan = UpstreamPlan::new(name.into(), endpoints);
    plan.balance = match model.balance {
        config::Balance::RoundRobin => Balance::RoundRobin,
        config::Balance::LeastRequest => Balance::LeastRequest,
    };
    plan.proxy_protocol = match model.proxy_protocol {
        SentProxyProtocol::Off => None,
        SentProxyProtocol::V1 => Some(proxy_protocol::Version::V1),
        SentProxyProtocol::V2 => Some(proxy_protocol::Version::V2),
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
    plan.speaks = match (model.protocol, &model.tls) {
        (UpstreamProtocol::Http1, _) | (UpstreamProtocol::Auto, None) => Speaks::Http1,
        (UpstreamProtocol::H2, _) => Speaks::Http2,
        (UpstreamProtocol::Auto, Some(_)) => Speaks::Either,
    };
    plan.sharing = sharing(&model.h2.as_ref().map_or_else(UpstreamHttp2::default, |h2| h2.value));
    plan.forwards_trailers = model.trailers == config::Trailers::Forward;
    (plan, peers)
}

fn sharing(model: &UpstreamHttp2) -> Sharing {
    let bytes = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
    Sharing {
        streams: model.streams.get(),
        stream_window: bytes(model.stream_window.bytes()),
        connection_window: bytes(model.connection_window.bytes()),
        ping: model.ping.limit().map(|period| period.get()),
    }
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
fn entry(
    mut plan: UpstreamPlan,
    tls: Option<(Arc<ClientTls>, Vec<Option<PeerName>>)>,
    previous: Option<&Snapshot>,
    names: &mut Registration<'_>,
) -> UpstreamEntry {
    let (tls, peers) = tls.unzip();
    let before = previous.and_then(|previous| previous.upstream_named(&plan.name));
    if let Some(before) = before {
        plan.inherit_health(&before.plan);
        let same_tls = before.tls.as_ref().map(Arc::as_ptr) == tls.as_ref().map(Arc::as_ptr);
        let same_peers = peers.as_ref().is_none_or(|peers| before.peers().eq(peers));
        if *before.plan == plan && same_tls && same_peers {
            return before.clone();
        }
    }
    let mut peers = peers.unwrap_or_default().into_iter();
    let endpoint = |endpoint: &EndpointPlan| EndpointEntry {
        label: EscapedText::new(&endpoint.name),
        peer: peers.next().flatten(),
        metrics: names.endpoint(&plan.name, &endpoint.name),
    };
    let endpoints = plan.endpoints.iter().map(endpoint).collect();
    UpstreamEntry {
        label: EscapedText::new(&plan.name),
        tls,
        metrics: names.upstream(&plan.name),
        endpoints,
        plan: Arc::new(plan),
    }
}
