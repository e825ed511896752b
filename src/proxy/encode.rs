//! The heads we write: parsed in, serialised out. Nothing received goes on unless it is byte for byte what we would
//! have written; what names a hop, frames the message or speaks for the client is always ours.

use std::net::IpAddr;

use super::call::CallParts;
use super::secured::Secured;
use crate::base::CidrSet;
use crate::context::RequestContext;
use crate::http::client_cert;
use crate::http::date::IMF_FIXDATE_BYTES;
use crate::http::forwarded::{self, Chain, Family};
use crate::http::grpc;
use crate::http::h1::{
    Hop, copy_fields_without, write_chunked, write_connection_close, write_content_length, write_date, write_field,
    write_status_line,
};
use crate::http::header::{Field, HeaderName, KnownName};
use crate::http::request_id::REQUEST_ID_BYTES;
use crate::http::target::{Scheme, Target};
use crate::http::trace_context::{TRACEPARENT_BYTES, append_tracestate, span_id};
use crate::http::{Body, Method, Protocol, RequestHead, ResponseHead, Span, Version};
use crate::policy::Policies;
use crate::policy::transform::HeaderEdits;
use crate::route::{Captures, RenderError};
use crate::snapshot::{Forward, GatewayPlan, Location, ServerField};

/// Room to keep beyond what was received: our own fields and their names.
pub(super) const OWN_FIELDS_BYTES: usize = 2048;

const _: () = assert!(KnownName::ALL.len() <= 64, "a set of known names is one word");

/// Fields of a request that are never passed on as they came: written anew, or not at all.
const REQUEST_OWNED: u128 = bits(&[
    KnownName::Host,
    KnownName::ContentLength,
    KnownName::TransferEncoding,
    KnownName::Connection,
    KnownName::ProxyConnection,
    KnownName::KeepAlive,
    KnownName::Te,
    KnownName::Upgrade,
    KnownName::Expect,
    KnownName::ProxyAuthorization,
    KnownName::ProxyAuthenticate,
    KnownName::Http2Settings,
    KnownName::Via,
    KnownName::MaxForwards,
    KnownName::Traceparent,
    KnownName::Tracestate,
    KnownName::Forwarded,
    KnownName::XForwardedFor,
    KnownName::XForwardedProto,
    KnownName::XForwardedHost,
    KnownName::XForwardedPort,
    KnownName::XRealIp,
    KnownName::ClientCert,
    KnownName::ClientCertChain,
    KnownName::Trailer,
]);

/// Fields of a response that are never passed on as they came.
const RESPONSE_OWNED: u128 = bits(&[
    KnownName::ContentLength,
    KnownName::TransferEncoding,
    KnownName::Connection,
    KnownName::ProxyConnection,
    KnownName::KeepAlive,
    KnownName::Te,
    KnownName::Upgrade,
    KnownName::ProxyAuthenticate,
    KnownName::ProxyAuthorization,
    KnownName::Trailer,
]);

/// Fields that we write ourselves and that edits may replace or remove: they have the last word, but for `Via` and the
/// framing.
const OWN: u128 = bits(&[
    KnownName::XForwardedFor,
    KnownName::XForwardedProto,
    KnownName::XForwardedHost,
    KnownName::Forwarded,
    KnownName::XRequestId,
    KnownName::Traceparent,
    KnownName::Tracestate,
    KnownName::Date,
    KnownName::Server,
    KnownName::ClientCert,
    KnownName::ClientCertChain,
]);

const fn bits(names: &[KnownName]) -> u128 {
    let (mut set, mut at) = (0, 0);
    while at < names.len() {
        set |= 1 << (names[at] as u8);
        at += 1;
    }
    set
}

/// Everything a forwarded request head is made of.
pub struct RequestParts<'a> {
    pub head: &'a RequestHead,
    /// The buffer the head was parsed from.
    pub bytes: &'a [u8],
    /// Canonical forms that differ from what was received.
    pub written: &'a [u8],
    pub cx: &'a RequestContext,
    pub hop: &'a Hop,
    pub gateway: &'a GatewayPlan,
    pub forward: &'a Forward,
    pub policies: &'a Policies,
    pub captures: &'a Captures,
    pub protocol: Protocol,
    pub scheme: Scheme,
    /// The transport peer and its text; none on Unix sockets.
    pub peer: Option<(IpAddr, &'a str)>,
    /// Whose forwarding fields are believed.
    pub trusted: &'a CidrSet,
    /// Names this attempt in the trace; random.
    pub span: u64,
    /// The protocol the request is to be upgraded to.
    pub upgrade: Option<&'a str>,
    /// What is said of a call of gRPC.
    pub call: Option<&'a CallParts<'a>>,
    /// The host that stands in for a missing one.
    pub default_host: Option<&'a str>,
    /// What the client's connection is secured by, where it is.
    pub(super) secured: Option<&'a Secured>,
}

impl RequestParts<'_> {
    /// Host and port as received, or the listener's default.
    fn host_text(&self) -> &[u8] {
        match self.default_host.filter(|_| self.cx.default_host) {
            Some(host) => host.as_bytes(),
            None => self.cx.authority_text.of(self.bytes),
        }
    }
}

/// Appends the head of the request as it goes upstream.
// Not inlined: what it keeps in registers must not compete with the exchange's own.
#[inline(never)]
pub fn request(parts: &RequestParts<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
    let bytes = parts.bytes;
    method_and_target(parts, out)?;
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    host(parts, out)?;
    out.extend_from_slice(b"\r\n");
    let edits = parts.policies.request_headers.as_ref();
    let request_id = parts.gateway.request_id.as_ref();
    let of_call = parts.call.map_or(0, CallParts::drops_known);
    let dropped = REQUEST_OWNED | parts.hop.strip() | known_bits(request_id, edits) | of_call;
    let any_drops = names_unknown(parts.hop, request_id, edits) || parts.call.is_some();
    copy_fields_without(out, bytes, &parts.head.fields, dropped, |field| {
        (any_drops || is_suspect(field, bytes)) && drops_unknown_field(field, parts, request_id, edits)
    });
    append_edits(edits, out);
    let own = out.len();
    about_the_client(parts, out);
    about_the_exchange(parts, request_id, out);
    if parts.policies.tells_certificate {
        about_the_certificate(parts, out);
    }
    drop_own(edits, request_id, own, out);
    request_framing(parts, out);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The known names that the request id and the edits drop.
fn known_bits(request_id: Option<&HeaderName>, edits: Option<&HeaderEdits>) -> u128 {
    let id = match request_id {
        Some(HeaderName::Known(name)) => name.bit(),
        _ => 0,
    };
    id | edits.map_or(0, HeaderEdits::dropped_known)
}

/// Whether anything may name a field without a number that is to be dropped.
#[inline]
fn names_unknown(hop: &Hop, request_id: Option<&HeaderName>, edits: Option<&HeaderEdits>) -> bool {
    hop.lists_any() || edits.is_some_and(HeaderEdits::drops_others) || matches!(request_id, Some(HeaderName::Other(_)))
}

fn method_and_target(parts: &RequestParts<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
    let (method, received) = (parts.head.method_text, parts.head.target);
    let goes_on = parts.forward.path.is_none() && parts.cx.target.as_ref().is_some_and(Target::is_canonical);
    if goes_on && received.start == method.end + 1 {
        // The space between them included.
        out.extend_from_slice(Span { start: method.start, end: received.end }.of(parts.bytes));
        return Ok(());
    }
    out.extend_from_slice(method.of(parts.bytes));
    out.push(b' ');
    target(parts, out)
}

fn target(parts: &RequestParts<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
    let path = parts.cx.path(parts.head, parts.bytes, parts.written);
    let own_query = match &parts.forward.path {
        Some(template) => {
            template.render(parts.captures, path, out)?;
            template.has_query()
        }
        None => {
            out.extend_from_slice(path);
            false
        }
    };
    if !own_query && let Some(query) = parts.cx.query(parts.head, parts.bytes) {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    Ok(())
}

fn host(parts: &RequestParts<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
    match &parts.forward.host {
        Some(template) => {
            let path = parts.cx.path(parts.head, parts.bytes, parts.written);
            template.render(parts.captures, path, out)
        }
        None => {
            out.extend_from_slice(parts.host_text());
            Ok(())
        }
    }
}

/// A field we have no number for goes on unless it was listed in `Connection`, or claims to speak for a proxy, or is
/// an alias of an owned one: CGI-style servers read `_` in a name as `-`.
// Apart, since few names are looked at so closely.
#[inline(never)]
fn drops_unknown_field(
    field: &Field,
    parts: &RequestParts<'_>,
    request_id: Option<&HeaderName>,
    edits: Option<&HeaderEdits>,
) -> bool {
    let name = field.name.of(parts.bytes);
    if parts.hop.drops(field, parts.bytes) || edits.is_some_and(|edits| edits.drops(field, parts.bytes)) {
        return true;
    }
    if matches!(request_id, Some(HeaderName::Other(own)) if name.eq_ignore_ascii_case(own.as_bytes())) {
        return true;
    }
    if parts.call.is_some_and(|call| call.drops(name)) {
        return true;
    }
    if speaks_for_a_proxy(name) {
        return !parts.cx.peer_is_trusted;
    }
    has_underscore(name) && is_alias_of_owned(name)
}

/// Whether a name may be one of those that are dropped unasked. Most names are told apart by their first octet.
#[inline(always)]
fn is_suspect(field: &Field, bytes: &[u8]) -> bool {
    !field.plain_name || matches!(bytes.get(field.name.start as usize), Some(b'x' | b'X'))
}

const FORWARDED_PREFIX: &[u8] = b"x-forwarded-";

#[inline]
fn speaks_for_a_proxy(name: &[u8]) -> bool {
    let starts = |start: &[u8]| start.eq_ignore_ascii_case(FORWARDED_PREFIX);
    name.len() > FORWARDED_PREFIX.len() && name.get(..FORWARDED_PREFIX.len()).is_some_and(starts)
}

/// No owned name is longer.
const ALIAS_BYTES_MAX: usize = 32;

/// Eight octets at a time, since many fields have names without a number.
#[inline]
fn has_underscore(name: &[u8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let found = |octets: &[u8; 8]| {
        let others = u64::from_ne_bytes(*octets) ^ (b'_' as u64 * EACH);
        others.wrapping_sub(EACH) & !others & (0x80 * EACH) != 0
    };
    match name.last_chunk() {
        Some(last) => name.as_chunks().0.iter().any(found) || found(last),
        None => name.contains(&b'_'),
    }
}

fn is_alias_of_owned(name: &[u8]) -> bool {
    let mut plain = [0; ALIAS_BYTES_MAX];
    let Some(plain) = plain.get_mut(..name.len()) else { return false };
    plain.copy_from_slice(name);
    for octet in plain.iter_mut().filter(|octet| **octet == b'_') {
        *octet = b'-';
    }
    KnownName::of(plain).is_some_and(|known| REQUEST_OWNED & known.bit() != 0)
}

fn append_edits(edits: Option<&HeaderEdits>, out: &mut Vec<u8>) {
    if let Some(edits) = edits {
        out.extend_from_slice(edits.lines());
    }
}

/// Removes what we have written from `start` on as far as the edits drop it.
#[inline]
fn drop_own(edits: Option<&HeaderEdits>, request_id: Option<&HeaderName>, start: usize, out: &mut Vec<u8>) {
    let Some(edits) = edits else { return };
    if edits.dropped_known() & OWN != 0 || matches!(request_id, Some(HeaderName::Other(_))) {
        edits.drop_lines(start, out);
    }
}

/// `X-Forwarded-*` and `Forwarded`: extended for trusted peers, begun anew for all others (RFC 7239).
fn about_the_client(parts: &RequestParts<'_>, out: &mut Vec<u8>) {
    let plan = &parts.gateway.forwarded;
    if plan.write_x_forwarded {
        x_forwarded(parts, out);
    }
    let Some((peer, _)) = parts.peer.filter(|_| plan.write_forwarded) else { return };
    let element = forwarded::Element { peer, host: parts.host_text(), proto: parts.scheme.text() };
    out.extend_from_slice(b"forwarded: ");
    if plan.read == Family::Forwarded {
        forwarded::append_forwarded(parts.believed(KnownName::Forwarded), element, out);
    } else {
        forwarded::append_forwarded_chain(&parts.chain(peer), element, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// `Client-Cert`, and `Client-Cert-Chain` where there is one and it is wished for (RFC 9440).
#[cold]
fn about_the_certificate(parts: &RequestParts<'_>, out: &mut Vec<u8>) {
    let told = parts.secured.zip(parts.forward.client_certificate);
    if let Some([leaf, others @ ..]) = told.and_then(|(secured, wish)| secured.told(wish)) {
        client_cert::append_fields(leaf, others, out);
    }
}

fn x_forwarded(parts: &RequestParts<'_>, out: &mut Vec<u8>) {
    if !parts.cx.peer_is_trusted {
        // The peer is the client.
        if let Some((_, text)) = parts.peer {
            own_line("x-forwarded-for: ", text.as_bytes(), out);
        }
        return match parts.scheme {
            Scheme::Http => own_line("x-forwarded-proto: http\r\nx-forwarded-host: ", parts.host_text(), out),
            Scheme::Https => own_line("x-forwarded-proto: https\r\nx-forwarded-host: ", parts.host_text(), out),
        };
    }
    if let Some((peer, _)) = parts.peer {
        out.extend_from_slice(b"x-forwarded-for: ");
        if parts.gateway.forwarded.read == Family::XForwardedFor {
            forwarded::append_x_forwarded_for(parts.believed(KnownName::XForwardedFor), peer, out);
        } else {
            forwarded::append_x_forwarded_for_chain(&parts.chain(peer), out);
        }
        out.extend_from_slice(b"\r\n");
    }
    // The nearest trusted proxy knows what the client asked of it.
    let believed = |name| parts.believed(name).next();
    let proto = believed(KnownName::XForwardedProto).unwrap_or(parts.scheme.text().as_bytes());
    own_line("x-forwarded-proto: ", proto, out);
    own_line("x-forwarded-host: ", believed(KnownName::XForwardedHost).unwrap_or(parts.host_text()), out);
}

/// Appends a line that most heads have; `start` is its name, colon and space, and whole lines before it. Inlined, so that a start, and a value of
/// fixed length, are stored rather than copied by a call.
#[inline(always)]
fn own_line(start: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(start.as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

impl<'a> RequestParts<'a> {
    /// The values of a forwarding field, if the peer's are believed.
    fn believed(&self, name: KnownName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (fields, bytes) = (&self.head.fields, self.bytes);
        let believed = self.cx.peer_is_trusted;
        fields.all(name).filter(move |_| believed).map(move |field| field.value.of(bytes))
    }

    /// The proxies that the authoritative field names.
    fn chain(&self, peer: IpAddr) -> Chain {
        let family = self.gateway.forwarded.read;
        let name = match family {
            Family::XForwardedFor => KnownName::XForwardedFor,
            Family::Forwarded => KnownName::Forwarded,
        };
        let lines = self.head.fields.as_slice().iter().rev().filter(|field| field.known == Some(name));
        Chain::walk(peer, self.trusted, family, lines.map(|field| field.value.of(self.bytes)))
    }
}

fn about_the_exchange(parts: &RequestParts<'_>, request_id: Option<&HeaderName>, out: &mut Vec<u8>) {
    via(parts, out);
    if let Some(name) = request_id {
        request_id_line(name, parts.cx.request_id.as_bytes(), out);
    }
    if let Some(trace) = &parts.cx.trace {
        traceparent(&trace.traceparent(span_id(parts.span)), out);
        if trace.is_continued() {
            tracestate(parts, out);
        }
    }
    if parts.head.method == Method::Options
        && let Some(left) = max_forwards(parts.head, parts.bytes)
    {
        write_field(out, b"max-forwards", itoa::Buffer::new().format(left.saturating_sub(1)).as_bytes());
    }
}

#[inline(always)]
fn traceparent(value: &[u8; TRACEPARENT_BYTES], out: &mut Vec<u8>) {
    const NAME: &[u8] = b"traceparent: ";
    let mut line = *b"traceparent: .......................................................\r\n";
    line[NAME.len()..][..TRACEPARENT_BYTES].copy_from_slice(value);
    out.extend_from_slice(&line);
}

#[inline(always)]
fn request_id_line(name: &HeaderName, id: &[u8], out: &mut Vec<u8>) {
    match (name, <&[u8; REQUEST_ID_BYTES]>::try_from(id)) {
        // The usual name and an id of ours.
        (HeaderName::Known(KnownName::XRequestId), Ok(id)) => {
            const NAME: &[u8] = b"x-request-id: ";
            let mut line = *b"x-request-id: ................................\r\n";
            line[NAME.len()..][..REQUEST_ID_BYTES].copy_from_slice(id);
            out.extend_from_slice(&line);
        }
        _ => write_field(out, name.text().as_bytes(), id),
    }
}

/// Members of earlier hops first, ours last (RFC 9110, section 7.6.3).
fn via(parts: &RequestParts<'_>, out: &mut Vec<u8>) {
    if parts.head.fields.has(KnownName::Via) {
        for field in parts.head.fields.all(KnownName::Via) {
            write_field(out, b"via", field.value.of(parts.bytes));
        }
    }
    if let Some(pseudonym) = &parts.gateway.via {
        pseudonym.append_line(parts.protocol, out);
    }
}

fn tracestate(parts: &RequestParts<'_>, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(b"tracestate: ");
    let lines = parts.head.fields.all(KnownName::Tracestate).map(|field| field.value.of(parts.bytes));
    if append_tracestate(lines, out) {
        out.extend_from_slice(b"\r\n");
    } else {
        out.truncate(begin);
    }
}

/// The hops an OPTIONS request may still make (RFC 9110, section 7.6.2).
pub(super) fn max_forwards(head: &RequestHead, bytes: &[u8]) -> Option<u64> {
    let value = head.fields.first(KnownName::MaxForwards, bytes)?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn request_framing(parts: &RequestParts<'_>, out: &mut Vec<u8>) {
    let body = parts.call.map_or(parts.head.body, |call| call.framing(parts.head.body));
    match body {
        Body::Chunked => write_chunked(out),
        Body::Length(length) => write_content_length(out, length),
        Body::Empty | Body::UntilClose => {}
    }
    if let Some(call) = parts.call {
        call.append(out);
    }
    if parts.head.version == Version::Http11 && parts.head.fields.has(KnownName::Expect) {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    if let Some(protocol) = parts.upgrade {
        write_field(out, b"upgrade", protocol.as_bytes());
        out.extend_from_slice(b"connection: upgrade\r\n");
    } else if parts.hop.te_trailers || parts.call.is_some() {
        // RFC 9110, section 10.1.4: TE is for one hop, and says so.
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
}

/// Everything a relayed response head is made of.
pub struct ResponseParts<'a> {
    pub head: &'a ResponseHead,
    /// The buffer the head was parsed from.
    pub bytes: &'a [u8],
    pub hop: &'a Hop,
    pub gateway: &'a GatewayPlan,
    pub policies: &'a Policies,
    /// What is said to every client of the listener.
    pub hsts: Option<&'a HeaderEdits>,
    pub request_id: &'a [u8],
    /// The `Date` to add, where the upstream sent none (RFC 9110, section 6.6.1).
    pub date: Option<[u8; IMF_FIXDATE_BYTES]>,
    pub framing: ResponseFraming,
    /// The type to name instead: of an answer to a call, for a browser.
    pub media: Option<(grpc::Media<'a>, grpc::Family)>,
    /// What `Connection` says to the client.
    pub connection: ConnectionOption,
}

/// How the client learns where the content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// The response has no content; a length it carries says what a GET would have got.
    None,
    Length(u64),
    Chunked,
    /// The connection's close: for HTTP/1.0 clients.
    Close,
    /// An interim response, or one that cannot have a length.
    Bare,
}

/// What the response says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionOption {
    /// Nothing: it stays open.
    Silent,
    Close,
    Upgrade,
}

/// Appends the head of the response as the client gets it.
pub fn response(parts: &ResponseParts<'_>, out: &mut Vec<u8>) {
    let (head, bytes) = (parts.head, parts.bytes);
    write_status_line(out, head.status);
    let start = out.len();
    let edits = parts.policies.response_headers.as_ref();
    let drops_server = !matches!(parts.gateway.server, ServerField::Pass);
    let request_id = parts.gateway.request_id.as_ref();
    let server = if drops_server { KnownName::Server.bit() } else { 0 };
    let server = parts.media.map_or(server, |_| server | KnownName::ContentType.bit());
    let dropped = RESPONSE_OWNED | parts.hop.strip() | server | known_bits(request_id, edits);
    let any_drops = names_unknown(parts.hop, request_id, edits);
    copy_fields_without(out, bytes, &head.fields, dropped, |field| {
        any_drops && drops_unknown_response_field(field, parts, request_id, edits)
    });
    let own = out.len();
    if head.status >= 200 || head.status == 101 {
        own_response_fields(parts, request_id, out);
    }
    drop_own(edits, request_id, own, out);
    append_edits(edits, out);
    if parts.policies.tells_certificate {
        vary_by_everything(parts, start, out);
    }
    if let Some(hsts) = parts.hsts
        && head.status >= 200
    {
        hsts.apply(start, out);
    }
    if let Some((media, family)) = parts.media {
        out.extend_from_slice(b"content-type: ");
        media.write_as(family, out);
        out.extend_from_slice(b"\r\n");
    }
    response_framing(parts, out);
    out.extend_from_slice(b"\r\n");
}

/// An answer that varies by a certificate varies by what nobody in front of us can see (RFC 9440, section 2.4).
#[cold]
fn vary_by_everything(parts: &ResponseParts<'_>, start: usize, out: &mut Vec<u8>) {
    let by_certificate = |field: &Field| client_cert::is_varied_by(field.value.of(parts.bytes));
    if parts.head.fields.all(KnownName::Vary).any(by_certificate) {
        let mut edits = HeaderEdits::default();
        // The name and the value are ours.
        let _ = edits.set("vary", "*");
        edits.apply(start, out);
    }
}

#[inline(never)]
fn drops_unknown_response_field(
    field: &Field,
    parts: &ResponseParts<'_>,
    request_id: Option<&HeaderName>,
    edits: Option<&HeaderEdits>,
) -> bool {
    parts.hop.drops(field, parts.bytes)
        || edits.is_some_and(|edits| edits.drops(field, parts.bytes))
        || matches!(request_id, Some(HeaderName::Other(own)) if field.name.of(parts.bytes).eq_ignore_ascii_case(own.as_bytes()))
}

fn own_response_fields(parts: &ResponseParts<'_>, request_id: Option<&HeaderName>, out: &mut Vec<u8>) {
    if let Some(date) = &parts.date {
        write_date(out, date);
    }
    if let ServerField::Set(server) = &parts.gateway.server {
        write_field(out, b"server", server.as_bytes());
    }
    if let Some(name) = request_id {
        request_id_line(name, parts.request_id, out);
    }
}

fn response_framing(parts: &ResponseParts<'_>, out: &mut Vec<u8>) {
    match parts.framing {
        ResponseFraming::Length(length) => write_content_length(out, length),
        ResponseFraming::Chunked => write_chunked(out),
        ResponseFraming::None => {
            if let Some(length) = parts.head.fields.first(KnownName::ContentLength, parts.bytes) {
                write_field(out, b"content-length", length);
            }
        }
        ResponseFraming::Close | ResponseFraming::Bare => {}
    }
    match parts.connection {
        ConnectionOption::Silent => {}
        ConnectionOption::Close => write_connection_close(out),
        ConnectionOption::Upgrade => {
            if let Some(protocol) = parts.head.fields.first(KnownName::Upgrade, parts.bytes) {
                write_field(out, b"upgrade", protocol);
            }
            out.extend_from_slice(b"connection: upgrade\r\n");
        }
    }
}

/// What a redirect's target is made of.
pub struct LocationParts<'a> {
    pub head: &'a RequestHead,
    /// The buffer the head was parsed from.
    pub bytes: &'a [u8],
    /// Canonical forms that differ from what was received.
    pub written: &'a [u8],
    pub cx: &'a RequestContext,
    pub captures: &'a Captures,
    pub scheme: Scheme,
}

/// Appends where a redirect leads (RFC 9110, section 10.2.2).
pub fn location(location: &Location, parts: &LocationParts<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
    let path = parts.cx.path(parts.head, parts.bytes, parts.written);
    let Location::Parts { scheme, host, port, path: new_path } = location else {
        let Location::To(template) = location else { return Ok(()) };
        return template.render(parts.captures, path, out);
    };
    out.extend_from_slice(scheme.unwrap_or(parts.scheme.text()).as_bytes());
    out.extend_from_slice(b"://");
    match host {
        Some(template) => template.render(parts.captures, path, out)?,
        None => out.extend_from_slice(parts.cx.host(parts.bytes, parts.written)),
    }
    let received = parts.cx.authority.as_ref().and_then(|authority| authority.port);
    if let Some(port) = port.or(received.filter(|_| scheme.is_none() && host.is_none())) {
        out.push(b':');
        out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
    let own_query = match new_path {
        Some(template) => {
            template.render(parts.captures, path, out)?;
            template.has_query()
        }
        None => {
            out.extend_from_slice(path);
            false
        }
    };
    if !own_query && let Some(query) = parts.cx.query(parts.head, parts.bytes) {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_underscore_is_found_wherever_it_stands() {
        for length in 0..40 {
            let plain = vec![b'a' ^ 0x80; length];
            assert!(!has_underscore(&plain));
            for at in 0..length {
                let mut name = vec![b'^'; length];
                name[at] = b'_';
                assert!(has_underscore(&name), "at {at} of {length}");
            }
        }
    }
}
