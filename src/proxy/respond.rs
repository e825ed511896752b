//! The one place where a refusal or a failure becomes a response, and where the gateway answers by itself.

use std::io;
use std::rc::Rc;

use super::body::{BodyReader, SinkFraming};
use super::call::{self, Call};
use super::connection::Connection;
use super::downstream::write_all;
use super::encode::{self, LocationParts};
use super::exchange::{Exchange, Next};
use super::failure::Failure;
use super::identify;
use super::net::{self, Net, Writer};
use super::shard::Shard;
use super::upgrade;
use crate::base::{Buffer, SMALL_BUFFER_BYTES};
use crate::http::accept::prefers_html;
use crate::http::h1::{write_content_length, write_date, write_field, write_status_line};
use crate::http::header::KnownName;
use crate::http::problem::{HTML_TYPE, JSON_TYPE, Problem};
use crate::http::{Body, Method};
use crate::observe::Reason;
use crate::policy::transform::HeaderEdits;
use crate::snapshot::{FixedResponse, Location, Redirect, RoutePlan};

/// An unread body of at most so many octets is read and forgotten, so that the connection can be used again; a larger
/// one costs the client its connection.
const DISCARD_BYTES_MAX: u64 = 64 * 1024;
/// Methods that are refused everywhere leave these.
const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// What a 426 asks for (RFC 9110, section 15.5.22; RFC 6455, section 4.2.2).
const UPGRADE_REQUIRED: &[u8] = b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n";
/// Retry-After of a refusal that time will heal, in seconds.
const RETRY_AFTER: &str = "1";
/// Room for the head of a local reply beside its body.
const HEAD_ROOM: usize = 2048;

/// Answers for a failure; cuts the connection where a response was begun, and is silent where nobody listens.
pub(super) async fn fail<N: Net>(x: &mut Exchange<'_, N>, failure: Failure) {
    if x.cx.trace.is_none() {
        identify::name_refused(x);
    }
    x.tally.reason = lost_with_its_carrier(x, failure.reason).unwrap_or(failure.reason);
    x.tally.detail = failure.detail;
    count(x, &failure);
    let is_call = x.call.as_ref().is_some_and(Call::is_spoken);
    if is_call {
        x.tally.grpc = Some(call::code_seen(x, &failure));
        if let Some(out) = call::last_words(x, &failure) {
            return end_begun(x, out).await;
        }
    }
    if failure.status == 0 || x.connection.responding.get() {
        x.next = Next::Close;
        // A response that ends with its connection would look complete.
        if x.close_delimited {
            x.connection.writer.borrow_mut().reset();
        } else {
            x.connection.writer.borrow_mut().abort();
        }
        return;
    }
    if is_call {
        return refuse_call(x, &failure).await;
    }
    let mut out = x.shard.buffers.small();
    let (mut body, content_type) = error_body(x, &failure);
    let fields = FailureFields { failure: &failure, content_type };
    if breaks_the_protocol(x, &failure) {
        // Who breaks the rules of the protocol may have sent anything behind it.
        x.persistent = false;
    }
    settle_persistence(x);
    head(x, failure.status, body.filled().len(), |out| fields.append(out), out.vec());
    out = with_body(x, out, body.filled());
    body.clear();
    x.shard.buffers.give(body);
    send(x, failure.status, out).await;
}

/// Answers a call: to its caller a refusal is a status of gRPC, whatever it is to others.
#[cold]
async fn refuse_call<N: Net>(x: &mut Exchange<'_, N>, failure: &Failure) {
    settle_persistence(x);
    let mut out = x.shard.buffers.holding(x.memory.request.length + HEAD_ROOM);
    head(x, 200, 0, |out| call::append_refusal(x, failure, out), out.vec());
    send(x, 200, out).await;
}

/// Sends the end of an answer that was begun.
#[cold]
async fn end_begun<N: Net>(x: &mut Exchange<'_, N>, out: Buffer) {
    x.stop_watching().await;
    x.tally.bytes_out += out.filled().len() as u64;
    let sent = write_all(x.shard, x.connection, out, x.terms.idle()).await;
    x.next = if sent.is_ok() { Next::Linger } else { Next::Close };
}

/// Why a stream's client has gone, where its connection knows better.
pub(super) fn lost_with_its_carrier<N: Net>(x: &Exchange<'_, N>, reason: Reason) -> Option<Reason> {
    let carrier = x.connection.carrier.as_ref().filter(|_| reason == Reason::ClientClosed)?;
    let ended = carrier.ended.get();
    matches!(ended, Reason::Flood | Reason::ProtocolError).then_some(ended)
}

/// Whether the request could be read in more than one way, or not at all.
fn breaks_the_protocol<N: Net>(x: &Exchange<'_, N>, failure: &Failure) -> bool {
    x.cx.target.is_none() || failure.reason == Reason::Malformed
}

fn count<N: Net>(x: &Exchange<'_, N>, failure: &Failure) {
    let metrics = &x.shard.metrics;
    if failure.status != 0 && !x.connection.responding.get() {
        metrics.local_replies.increment(failure.reason);
    }
    if failure.reason.is_timeout() {
        metrics.timeouts.increment(failure.reason);
    }
    if breaks_the_protocol(x, failure) && !failure.detail.is_empty() {
        metrics.malformed_requests.increment(failure.detail);
    }
}

/// The operator's body for this status, or a problem document; HTML where the client prefers it.
fn error_body<N: Net>(x: &Exchange<'_, N>, failure: &Failure) -> (Buffer, &'static str) {
    let mut body = x.shard.buffers.small();
    let bytes = x.buffer.filled();
    let accepts = x.memory.request.fields.all(KnownName::Accept).map(|field| field.value.of(bytes));
    let html = prefers_html(accepts);
    let snapshot = &x.adopted.snapshot;
    let content_type = if html { HTML_TYPE } else { JSON_TYPE };
    let of_route = x.cx.route.and_then(|id| snapshot.route(id).errors.of(failure.status));
    let overriding = of_route.into_iter().chain(snapshot.gateway.errors.of(failure.status));
    if let Some(text) = overriding.filter_map(|body| body.variant(html)).next() {
        body.vec().extend_from_slice(text);
        return (body, content_type);
    }
    let problem = Problem {
        reason: failure.reason.word(),
        title: failure.reason.title(),
        status: failure.status,
        detail: None,
        instance: x.cx.request_id.as_bytes(),
    };
    if html {
        problem.append_html(body.vec());
    } else {
        problem.append_json(body.vec());
    }
    (body, content_type)
}

struct FailureFields<'f> {
    failure: &'f Failure,
    content_type: &'static str,
}

impl FailureFields<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        write_field(out, b"content-type", self.content_type.as_bytes());
        write_field(out, b"cache-control", b"no-store");
        match self.failure.status {
            405 => write_field(out, b"allow", ALLOW.as_bytes()),
            426 => out.extend_from_slice(UPGRADE_REQUIRED),
            503 => write_field(out, b"retry-after", RETRY_AFTER.as_bytes()),
            _ => {}
        }
    }
}

/// Answers with what the route says.
pub(super) async fn fixed<N: Net>(
    x: &mut Exchange<'_, N>,
    route: &RoutePlan,
    plan: &FixedResponse,
) -> Result<(), Failure> {
    if x.connection.connect.is_some() && matches!(plan.status, 200..=299) {
        // Who waits for a tunnel would take it for one.
        return Err(upgrade::not_offered("not-offered"));
    }
    x.tally.reason = Reason::LocalAnswer;
    settle_persistence(x);
    let mut out = x.shard.buffers.small();
    let fields = |out: &mut Vec<u8>| {
        for (name, value) in &plan.headers {
            write_field(out, name.text().as_bytes(), value.as_bytes());
        }
        apply_edits(route, out);
    };
    head(x, plan.status, plan.body.len(), fields, out.vec());
    let out = with_body(x, out, &plan.body);
    send(x, plan.status, out).await;
    Ok(())
}

/// Answers an OPTIONS that is meant for this hop: what every route could take (RFC 9110, section 9.3.7).
pub(super) async fn options<N: Net>(x: &mut Exchange<'_, N>) -> Result<(), Failure> {
    x.tally.reason = Reason::LocalAnswer;
    settle_persistence(x);
    let mut out = x.shard.buffers.small();
    head(x, 204, 0, |out| write_field(out, b"allow", ALLOW.as_bytes()), out.vec());
    send(x, 204, out).await;
    Ok(())
}

/// Sends the client elsewhere.
pub(super) async fn redirect<N: Net>(
    x: &mut Exchange<'_, N>,
    route: Option<&RoutePlan>,
    plan: &Redirect,
) -> Result<(), Failure> {
    x.tally.reason = Reason::LocalAnswer;
    let mut location = x.shard.buffers.large();
    let written = write_location(x, &plan.location, location.vec());
    if let Err(failure) = written {
        x.shard.buffers.give(location);
        return Err(failure);
    }
    settle_persistence(x);
    let mut out = x.shard.buffers.large();
    let fields = |out: &mut Vec<u8>| {
        write_field(out, b"location", location.filled());
        if let Some(route) = route {
            apply_edits(route, out);
        }
    };
    head(x, plan.status, 0, fields, out.vec());
    x.shard.buffers.give(location);
    send(x, plan.status, out).await;
    Ok(())
}

/// Sends the client to the same URL by https, where the listener serves nothing else.
pub(super) async fn to_https<N: Net>(x: &mut Exchange<'_, N>) -> Result<(), Failure> {
    match x.listener.redirect() {
        Some(plan) => redirect(x, None, &plan).await,
        None => Err(Failure::of(Reason::NoRoute)),
    }
}

fn apply_edits(route: &RoutePlan, out: &mut Vec<u8>) {
    apply(route.policies.response_headers.as_ref(), out);
}

/// Applies the edits to the fields behind the status line.
fn apply(edits: Option<&HeaderEdits>, out: &mut Vec<u8>) {
    if let Some(edits) = edits {
        let fields = out.iter().position(|octet| *octet == b'\n').map_or(out.len(), |end| end + 1);
        edits.apply(fields, out);
    }
}

/// Appends where a redirect leads (RFC 9110, section 10.2.2).
fn write_location<N: Net>(x: &Exchange<'_, N>, location: &Location, out: &mut Vec<u8>) -> Result<(), Failure> {
    let parts = LocationParts {
        head: &x.memory.request,
        bytes: x.buffer.filled(),
        written: &x.memory.written,
        cx: x.cx,
        captures: &x.memory.captures,
        scheme: x.connection.scheme(),
    };
    encode::location(location, &parts, out).map_err(|_| Failure::of(Reason::TargetRefused).detail("rendered-target"))
}

/// Decides whether the connection may go on, before the head says so: a body that was not read is discarded if it is
/// small, else it ends the connection.
fn settle_persistence<N: Net>(x: &mut Exchange<'_, N>) {
    if x.body_read || !x.persistent {
        return;
    }
    let declared = match x.memory.request.body {
        Body::Length(length) => Some(length),
        _ => None,
    };
    let waits = x.memory.request.fields.has(KnownName::Expect);
    x.persistent = !waits && declared.is_some_and(|length| length <= DISCARD_BYTES_MAX);
}

/// Appends the head of a local reply.
fn head<N: Net>(x: &Exchange<'_, N>, status: u16, length: usize, fields: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    write_status_line(out, status);
    write_date(out, &x.shard.date());
    let gateway = &x.adopted.snapshot.gateway;
    if let crate::snapshot::ServerField::Set(server) = &gateway.server {
        write_field(out, b"server", server.as_bytes());
    }
    if let Some(name) = &gateway.request_id
        && !x.cx.request_id.is_empty()
    {
        write_field(out, name.text().as_bytes(), x.cx.request_id.as_bytes());
    }
    fields(out);
    apply(x.hsts(), out);
    if status != 204 && status != 304 {
        write_content_length(out, length as u64);
    }
    if !x.keeps_alive() {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// The head and its body in one buffer; no body for HEAD, and for statuses that have none.
fn with_body<N: Net>(x: &Exchange<'_, N>, mut out: Buffer, body: &[u8]) -> Buffer {
    let status_has_body = !out.filled().starts_with(b"HTTP/1.1 204") && !out.filled().starts_with(b"HTTP/1.1 304");
    if x.memory.request.method == Method::Head || !status_has_body || body.is_empty() {
        return out;
    }
    if body.len() > out.room() {
        let mut larger = x.shard.buffers.holding(out.filled().len() + body.len());
        larger.vec().extend_from_slice(out.filled());
        x.shard.buffers.give(std::mem::replace(&mut out, larger));
    }
    out.vec().extend_from_slice(body);
    out
}

/// Writes the reply, then discards a small body that was not read.
async fn send<N: Net>(x: &mut Exchange<'_, N>, status: u16, out: Buffer) {
    x.stop_watching().await;
    x.persistent = x.keeps_alive();
    x.tally.status = status;
    x.tally.bytes_out += out.filled().len() as u64;
    let sent = write_all(x.shard, x.connection, out, x.terms.idle()).await;
    let usable = sent.is_ok() && (!x.persistent || x.body_read || discard(x).await.is_ok());
    if !usable {
        x.next = Next::Close;
    }
}

/// Reads the rest of a small body and forgets it.
async fn discard<N: Net>(x: &mut Exchange<'_, N>) -> io::Result<()> {
    let mut reader = BodyReader::new();
    reader.expect(x.memory.request.body, DISCARD_BYTES_MAX, &x.terms);
    let mut nowhere = x.shard.buffers.large();
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    let arrived = &x.buffer.filled()[x.memory.request.length..];
    let used = reader.take(arrived, SinkFraming::Plain, nowhere.vec()).map_err(invalid)?;
    x.consumed = x.memory.request.length + used;
    let deadline = x.shard.net.now().plus(x.terms.head());
    while !reader.is_done() {
        nowhere.clear();
        net::readable(&x.connection.reader, deadline).await?;
        let (result, buffer) = net::read(&x.connection.reader, x.shard.buffers.small(), deadline).await;
        if result? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let used = reader.take(buffer.filled(), SinkFraming::Plain, nowhere.vec()).map_err(invalid)?;
        x.tally.bytes_in += used as u64;
        x.connection.keep_ahead(&buffer.filled()[used..], || x.shard.buffers.small());
        x.shard.buffers.give(buffer);
    }
    x.shard.buffers.give(nowhere);
    x.body_read = true;
    Ok(())
}

/// Answers 500 after a panic, if nothing was sent yet; the connection is closed in any case.
pub(super) async fn after_panic<N: Net>(shard: &Rc<Shard<N>>, connection: &Connection<N>) {
    let writing = connection.writer.try_borrow().map_or(true, |writer| writer.is_writing());
    if connection.responding.get() || writing {
        return;
    }
    shard.metrics.local_replies.increment(Reason::Panic);
    let mut out = shard.buffers.small();
    write_status_line(out.vec(), 500);
    out.vec().extend_from_slice(b"content-length: 0\r\ncache-control: no-store\r\nconnection: close\r\n\r\n");
    let idle = connection.listener.borrow().timeouts.idle;
    // Nobody is left to tell if this fails.
    let _ = write_all(shard, connection, out, idle).await;
}

/// Answers 400 by plain text where TLS is spoken; nothing of what the client has sent is looked at.
pub(super) async fn plain_text<N: Net>(shard: &Shard<N>, connection: &Connection<N>) {
    let reason = Reason::PlainText;
    shard.metrics.local_replies.increment(reason);
    let mut body = shard.buffers.small();
    Problem { reason: reason.word(), title: reason.title(), status: 400, detail: None, instance: b"" }
        .append_json(body.vec());
    let mut out = shard.buffers.small();
    write_status_line(out.vec(), 400);
    write_date(out.vec(), &shard.date());
    write_field(out.vec(), b"content-type", JSON_TYPE.as_bytes());
    write_content_length(out.vec(), body.filled().len() as u64);
    out.vec().extend_from_slice(b"cache-control: no-store\r\nconnection: close\r\n\r\n");
    out.vec().extend_from_slice(body.filled());
    shard.buffers.give(body);
    let patience = connection.listener.borrow().timeouts.handshake;
    // Nobody is left to tell if this fails.
    let _ = write_all(shard, connection, out, patience).await;
}

const _: () = assert!(SMALL_BUFFER_BYTES > 2 * HEAD_ROOM, "the head of a local reply fits any buffer");
