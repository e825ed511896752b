//! `listeners`: where and how clients are accepted.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Names, World, passthrough, tls};
use crate::base::{Address, CidrSet};
use crate::config::{
    self, BindAddress, Bounded, Config, Finding, Gateway, HalfClose, HeadSize, Hsts, HttpVersion, Listener, Network,
    Object, ProxyProtocol, Spanned, Switched,
};
use crate::http::header::HeaderName;
use crate::observe::EscapedText;
use crate::policy::transform::HeaderEdits;
use crate::snapshot::passthrough::PassthroughPlan;
use crate::snapshot::tls::ServerTls;
use crate::snapshot::{ClientAddressPlan, Http2Plan, Limits, ListenerPlan, Timeouts};

pub(super) fn compile_all(
    config: &Config,
    names: &Names<'_>,
    world: &World<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<Arc<ListenerPlan>> {
    let default = Gateway::default();
    let gateway = config.gateway.value.as_ref().unwrap_or(&default);
    refuse_shared_addresses(config, findings);
    refuse_large_parts(config, findings);
    let mut listeners = Vec::with_capacity(config.listeners.len());
    for object in &config.listeners {
        let Some(model) = &object.value else { continue };
        let passthrough = passthrough::compile(config, object, model, names, findings);
        let certified = model.tls.as_ref().filter(|tls| !tls.certificates.is_empty());
        let tls = certified.map(|tls| tls::server(object, (model, tls), world, config.read_at, findings));
        // Without what was asked for there is no listener: never plain text instead.
        let Some(tls) = tls.map_or(Some(None), |tls| tls.map(Some)) else { continue };
        listeners.push(compile(object, model, gateway, world, (tls, passthrough)));
    }
    listeners
}

/// Two listeners cannot own one address.
fn refuse_shared_addresses(config: &Config, findings: &mut Vec<Finding>) {
    let mut owners: HashMap<&BindAddress, (&Object<Listener>, &Spanned<BindAddress>)> = HashMap::new();
    for object in &config.listeners {
        let Some(model) = object.judged() else { continue };
        for bind in model.bind.iter() {
            if let Some((owner, first)) = owners.insert(&bind.value, (object, bind)) {
                let problem = format!("`{}` is bound by listener `{}` already", bind.shown(), owner.name);
                findings.push(
                    object
                        .error("duplicate", bind.span, "bind", problem)
                        .hint("give each listener addresses of its own")
                        .related(first.span, "bound here first"),
                );
            }
        }
    }
}

/// A field or a target that may be larger than the head around it was meant otherwise.
fn refuse_large_parts(config: &Config, findings: &mut Vec<Finding>) {
    let Some(gateway) = config.gateway.value.as_ref().map(|gateway| &gateway.limits) else { return };
    let head = gateway.head.unwrap_or(config::Limits::default().head);
    let of_gateway = [("limits.field", &gateway.field), ("limits.target", &gateway.target)];
    findings.extend(of_gateway.into_iter().filter_map(|(key, part)| too_large(&config.gateway, key, part, head)));
    for object in &config.listeners {
        let Some(limits) = object.value.as_ref().map(|listener| &listener.limits) else { continue };
        let head = limits.head.unwrap_or(head);
        let of_listener = [("limits.field", &limits.field), ("limits.target", &limits.target)];
        findings.extend(of_listener.into_iter().filter_map(|(key, part)| too_large(object, key, part, head)));
    }
}

fn too_large<T>(object: &Object<T>, key: &str, part: &Option<Spanned<HeadSize>>, head: HeadSize) -> Option<Finding> {
    let part = part.as_ref().filter(|part| part.value > head)?;
    let finding = object.error("too-large", part.span, key, "a part of the head may be larger than the head");
    Some(finding.hint(format!("write at most {head}, which `limits.head` is here, or raise that")))
}

fn compile(
    object: &Object<Listener>,
    model: &Listener,
    gateway: &Gateway,
    world: &World<'_>,
    (tls, passthrough): (Option<Arc<ServerTls>>, Option<PassthroughPlan>),
) -> Arc<ListenerPlan> {
    let limits = config::Limits::on_listener(&gateway.limits, &model.limits);
    let timeouts = config::Timeouts::on_listener(&gateway.timeouts, &model.timeouts);
    let client_address = model.client_address.as_ref().or(gateway.client_address.as_ref());
    let plan = ListenerPlan {
        name: object.name.as_str().into(),
        label: EscapedText::new(&object.name),
        addresses: model.bind.iter().map(|bind| bind.value.address()).collect::<Vec<Address>>(),
        ipv6_only: model.ipv6_only,
        socket_mode: model.mode.as_ref().map(|mode| mode.get()),
        connections_max: limits.connections.limit().map_or(u32::MAX, |count| {
            // A share for each shard, rounded up.
            count.get().div_ceil(u32::try_from(world.registry.shards()).unwrap_or(u32::MAX).max(1))
        }),
        tls,
        passthrough,
        https_port: model.redirect_to_https.map(|port| port.get() as u16),
        hsts: model.tls.as_ref().and_then(|tls| tls.hsts.as_ref()).map(hsts),
        http1: model.speaks(HttpVersion::Http1),
        http2: model
            .speaks(HttpVersion::H2)
            .then(|| http2(&model.h2.as_ref().map_or_else(config::Http2::default, |h2| h2.value))),
        limits: numbers(&limits),
        timeouts: durations(&timeouts),
        proxy_protocol: (model.proxy_protocol == ProxyProtocol::Required)
            .then(|| networks(&model.proxy_protocol_from.0)),
        trusted: networks(model.trusted_proxies.as_deref().unwrap_or(&gateway.trusted_proxies)),
        client_address: client_address.and_then(|model| {
            let field = HeaderName::parse(model.header.as_str())?;
            Some(ClientAddressPlan { field, from: networks(&model.from.0) })
        }),
        serve_half_closed: model.half_close == HalfClose::Serve,
        default_host: model.default_host.as_ref().map(|host| host.as_str().to_ascii_lowercase().into()),
    };
    let before = world.previous.and_then(|previous| previous.listener_named(&plan.name));
    match before {
        Some(before) if **before == plan => before.clone(),
        _ => Arc::new(plan),
    }
}

fn http2(model: &config::Http2) -> Http2Plan {
    let bytes = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
    Http2Plan {
        streams: model.streams.get(),
        stream_window: bytes(model.stream_window.bytes()),
        connection_window: bytes(model.connection_window.bytes()),
    }
}

fn networks(list: &[Spanned<Network>]) -> CidrSet {
    list.iter().map(|network| network.value.get()).collect()
}

fn numbers(limits: &config::Limits) -> Limits {
    let bytes = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
    Limits {
        head_bytes: bytes(limits.head.bytes()),
        field_bytes: bytes(limits.field.bytes()),
        fields: limits.fields.get(),
        target_bytes: bytes(limits.target.bytes()),
        body_bytes: body_bytes(limits.body),
        body_rate_min: rate(limits.body_rate),
        body_grace: limits.body_rate_after.get(),
        requests_per_connection: limits.requests_per_connection.limit().map_or(u32::MAX, |count| count.get()),
        pipelined: limits.pipelined.get(),
        interim_responses: limits.interim_responses.get(),
    }
}

/// Octets of a body; an unlimited one is as long as can be counted.
pub(super) fn body_bytes<const MIN: u64, const MAX: u64>(limit: Bounded<config::Size<MIN, MAX>>) -> u64 {
    limit.limit().map_or(u64::MAX, |size| size.bytes())
}

/// Octets per second; 0 where none are demanded.
pub(super) fn rate(rate: Switched<config::Rate>) -> u64 {
    match rate {
        Switched::On(rate) => rate.bytes_per_second(),
        Switched::Off => 0,
    }
}

/// Strict-Transport-Security (RFC 6797, section 6.1), which replaces that of others.
fn hsts(model: &Hsts) -> HeaderEdits {
    let mut value = format!("max-age={}", model.max_age.get().as_secs());
    if model.subdomains {
        value.push_str("; includeSubDomains");
    }
    if model.preload {
        value.push_str("; preload");
    }
    let mut edits = HeaderEdits::default();
    let set = edits.set("strict-transport-security", &value);
    debug_assert!(set.is_ok(), "the name and the value are ours");
    edits
}

fn durations(timeouts: &config::Timeouts) -> Timeouts {
    Timeouts {
        handshake: timeouts.handshake.get(),
        head: timeouts.head.get(),
        keep_alive: timeouts.keep_alive.get(),
        idle: timeouts.idle.get(),
        exchange: timeouts.exchange.get(),
        total: unbounded(timeouts.total),
        lifetime: unbounded(timeouts.lifetime),
    }
}

/// An unlimited time is longer than any process runs.
pub(super) fn unbounded(timeout: Bounded<config::Timeout>) -> std::time::Duration {
    timeout.limit().map_or(std::time::Duration::MAX, |timeout| timeout.get())
}
