//! Who asks for what: everything about a request that routing, policies and the log need to know, checked once.

use std::net::IpAddr;

use super::exchange::Exchange;
use super::failure::Failure;
use super::net::Net;
use super::{encode, upgrade};
use crate::context::RequestId;
use crate::http::authority::Authority;
use crate::http::forwarded::{self, Family};
use crate::http::header::KnownName;
use crate::http::target::{Canonical, Form, Target};
use crate::http::trace_context::{Trace, Traceparent};
use crate::http::{Method, Span, Version, request_id};
use crate::observe::Reason;

/// Fills the context from the head, or says what is wrong with the request.
pub(super) fn identify<N: Net>(x: &mut Exchange<'_, N>) -> Result<(), Failure> {
    name_the_exchange(x);
    let head = &x.memory.request;
    if matches!(head.method, Method::Trace | Method::Connect) {
        return Err(refused_method(x));
    }
    let hop = x.hop.read_request(x.buffer.filled(), head);
    hop.map_err(|error| Failure::malformed(400, error.reason()))?;
    x.persistent = x.hop.persistent;
    check_target(x)?;
    check_authority(x)?;
    check_direction(x)?;
    check_loop(x)?;
    check_expectation(x)?;
    Ok(())
}

/// A protocol that is asked for and not spoken is told apart from a method (RFC 9220, section 3).
#[cold]
fn refused_method<N: Net>(x: &Exchange<'_, N>) -> Failure {
    match x.connection.connect {
        Some(_) => upgrade::not_offered("unknown-protocol"),
        None => Failure::of(Reason::MethodRefused),
    }
}

/// Whether the request asks about this hop itself: one that may go no further (RFC 9110, section 7.6.2), or one about the
/// server as a whole (section 9.3.7), which is none of the upstreams.
pub(super) fn ends_here<N: Net>(x: &Exchange<'_, N>) -> bool {
    let head = &x.memory.request;
    let about_us = |target: &Target| target.form == Form::Asterisk;
    head.method == Method::Options
        && (x.cx.target.as_ref().is_some_and(about_us) || encode::max_forwards(head, x.buffer.filled()) == Some(0))
}

/// The client's address, the request id and the trace: known before anything is judged, so that a refusal can be found.
fn name_the_exchange<N: Net>(x: &mut Exchange<'_, N>) {
    let bytes = x.buffer.filled();
    let fields = &x.memory.request.fields;
    x.cx.peer_is_trusted = !x.listener.trusted.is_empty() && x.listener.trusts(&x.connection.peer);
    x.cx.client = match x.connection.peer.ip() {
        // Taken whole, as nearly always: one that went through other hands would come octet by octet.
        Some(peer @ IpAddr::V4(_)) if !x.cx.peer_is_trusted && x.listener.client_address.is_none() => Some(peer),
        _ => client_address(x),
    };
    let plan = &x.adopted.snapshot.gateway;
    let random = &mut *x.shard.random.borrow_mut();
    if let Some(name) = &plan.request_id {
        let believed = x.cx.peer_is_trusted && plan.request_id_from_trusted;
        let received = believed.then(|| fields.named(name, bytes).next().map(|field| field.value.of(bytes))).flatten();
        match received.filter(|id| request_id::is_acceptable(id)) {
            Some(id) => x.cx.request_id = RequestId::taken(id),
            None => x.cx.request_id.renew(&request_id::generate(x.wall, [random.u64(..), random.u64(..)])),
        }
    }
    let caller = match fields.has(KnownName::Traceparent) {
        true => Traceparent::of(fields.all(KnownName::Traceparent).map(|field| field.value.of(bytes))),
        false => None,
    };
    // Nothing is exported yet, so nothing is sampled.
    match caller {
        None => x.cx.trace = Some(Trace::restarted(None, false, [random.u64(..), random.u64(..)])),
        Some(caller) if x.cx.peer_is_trusted => x.cx.trace = Some(Trace::continued(caller)),
        caller => x.cx.trace = Some(Trace::restarted(caller, false, [random.u64(..), random.u64(..)])),
    }
}

/// Names an exchange whose head could not be read, so that its answer and its line in the log can be found: by an id of
/// ours and by the peer's address, since nothing that such a head says is believed.
#[cold]
pub(super) fn name_refused<N: Net>(x: &mut Exchange<'_, N>) {
    x.cx.client = x.connection.peer.ip().map(|ip| ip.to_canonical());
    if x.adopted.snapshot.gateway.request_id.is_some() {
        let random = &mut *x.shard.random.borrow_mut();
        x.cx.request_id.renew(&request_id::generate(x.wall, [random.u64(..), random.u64(..)]));
    }
}

/// A listed content delivery network names the client in one field; else trusted proxies are walked from the right;
/// else the peer is the client.
#[inline(never)]
fn client_address<N: Net>(x: &Exchange<'_, N>) -> Option<IpAddr> {
    let peer = x.connection.peer.ip()?.to_canonical();
    let (fields, bytes) = (&x.memory.request.fields, x.buffer.filled());
    if let Some(plan) = &x.listener.client_address
        && plan.from.contains(peer)
    {
        let values = fields.named(&plan.field, bytes).map(|field| field.value.of(bytes));
        return Some(forwarded::client_address_of_network(peer, &plan.from, values));
    }
    if !x.cx.peer_is_trusted {
        return Some(peer);
    }
    let family = x.adopted.snapshot.gateway.forwarded.read;
    let name = match family {
        Family::XForwardedFor => KnownName::XForwardedFor,
        Family::Forwarded => KnownName::Forwarded,
    };
    let lines = fields.as_slice().iter().rev().filter(|field| field.known == Some(name));
    let lines = lines.map(|field| field.value.of(bytes));
    Some(forwarded::client_address(peer, &x.listener.trusted, family, lines))
}

fn check_target<N: Net>(x: &mut Exchange<'_, N>) -> Result<(), Failure> {
    let (head, bytes) = (&x.memory.request, x.buffer.filled());
    if let Some(target) = Target::plain_at(head.method, bytes, head.target) {
        x.cx.target = Some(target);
        return Ok(());
    }
    let target = Target::parse(head.method, head.target.of(bytes), &mut x.memory.written);
    let target = target.map_err(|error| Failure::of(Reason::TargetRefused).detail(error.reason()))?;
    x.cx.target = Some(target);
    Ok(())
}

/// The authority of an absolute-form replaces that of Host (RFC 9112, section 3.2.2), which must be valid all the same.
fn check_authority<N: Net>(x: &mut Exchange<'_, N>) -> Result<(), Failure> {
    let (head, bytes) = (&x.memory.request, x.buffer.filled());
    let target = x.cx.target.as_ref();
    let port = target.and_then(|target| target.scheme).unwrap_or(x.connection.scheme()).default_port();
    let mut check = |text: Span| {
        let authority = Authority::parse(text.of(bytes), port, &mut x.memory.written);
        authority.map_err(|error| Failure::malformed(400, error.reason()))
    };
    if let Some(host) = head.fields.all(KnownName::Host).next().map(|field| field.value) {
        x.cx.authority = match Authority::plain_at(bytes, host) {
            Some(authority) => Some(authority),
            None => Some(check(host)?),
        };
        x.cx.authority_text = host;
    }
    if let Some(span) = target.and_then(|target| target.authority) {
        let start = head.target.start;
        let text = Span { start: start + span.start, end: start + span.end };
        x.cx.authority = Some(check(text)?);
        x.cx.authority_text = text;
    }
    if x.cx.authority.is_none() {
        take_default_host(x);
    }
    Ok(())
}

/// Over TLS only what the certificate of this connection stands for is served (RFC 9110, section 15.5.20): a client that
/// asks for another is sent to a connection of its own.
fn check_direction<N: Net>(x: &Exchange<'_, N>) -> Result<(), Failure> {
    let Some(secured) = x.connection.secured.get() else { return Ok(()) };
    let host = std::str::from_utf8(x.cx.host(x.buffer.filled(), &x.memory.written)).unwrap_or_default();
    if secured.stands_for(host) { Ok(()) } else { Err(Failure::of(Reason::Misdirected)) }
}

/// HTTP/1.0 without Host, where the listener names a default: the default is matched and sent.
fn take_default_host<N: Net>(x: &mut Exchange<'_, N>) {
    x.cx.default_host = true;
    let host = x.listener.default_host.as_deref().unwrap_or_default();
    let written = &mut x.memory.written;
    let start = written.len();
    written.extend_from_slice(host.as_bytes());
    let host = Canonical::Written(Span::new(start, written.len()));
    x.cx.authority = Some(Authority { host, port: None });
}

fn check_loop<N: Net>(x: &Exchange<'_, N>) -> Result<(), Failure> {
    let plan = &x.adopted.snapshot.gateway;
    let fields = &x.memory.request.fields;
    let Some(pseudonym) = plan.via.as_ref().filter(|_| fields.has(KnownName::Via)) else { return Ok(()) };
    let bytes = x.buffer.filled();
    let values = fields.all(KnownName::Via).map(|field| field.value.of(bytes));
    pseudonym.check(values, plan.via_hops).map_err(|_| Failure::of(Reason::Loop))
}

/// Only `100-continue` can be met, and only HTTP/1.1 knows it (RFC 9110, section 10.1.1).
fn check_expectation<N: Net>(x: &Exchange<'_, N>) -> Result<(), Failure> {
    let head = &x.memory.request;
    if head.version == Version::Http10 || !head.fields.has(KnownName::Expect) {
        return Ok(());
    }
    let bytes = x.buffer.filled();
    let met = |field: &crate::http::header::Field| field.value.of(bytes).eq_ignore_ascii_case(b"100-continue");
    if head.fields.all(KnownName::Expect).all(met) { Ok(()) } else { Err(Failure::of(Reason::ExpectationFailed)) }
}

const _: () = assert!(request_id::REQUEST_ID_BYTES <= request_id::REQUEST_ID_BYTES_MAX);
