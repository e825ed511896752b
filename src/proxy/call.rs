//! Calls of gRPC: what makes an exchange one, until when it may last, and what it ended with.
//!
//! A request for `application/grpc` is a call wherever it goes; one of gRPC-Web where its route bridges it. To a caller a
//! refusal is a status of gRPC, and an answer is over when its trailers have said one.

use std::cell::RefCell;
use std::time::Duration;

use super::bridge::{Answer, Codec};
use super::exchange::Exchange;
use super::failure::Failure;
use super::net::{Net, Reader, Writer};
use crate::base::{Buffer, Timestamp};
use crate::http::grpc::{self, Code, Family, Media};
use crate::http::h1::write_field;
use crate::http::header::{Fields, KnownName};
use crate::http::{Body, Method, Span, Version};
use crate::observe::Reason;
use crate::snapshot::RoutePlan;

/// What an exchange has of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// What the request is written in.
    family: Family,
    /// What its answer is to be written in.
    answers_in: Family,
    /// Whether the caller is answered as one: not known of a browser before its route is.
    is_spoken: bool,
    /// When the caller stops to wait, where it has said so.
    until: Timestamp,
    /// Whether an answer was begun that trailers can end.
    pub is_open: bool,
}

impl Call {
    /// Whether the caller is answered as one.
    pub fn is_spoken(&self) -> bool {
        self.is_spoken
    }

    /// Whether gRPC-Web is spoken on one side and gRPC on the other.
    fn is_bridged(&self) -> bool {
        self.family != Family::Grpc
    }

    /// What has to be done to the content of the request.
    pub fn request_codec(&self) -> Option<Box<Codec>> {
        (self.family == Family::WebText).then(|| Box::new(Codec::Decode(grpc::Base64Decoder::default())))
    }

    /// Whether the content of the request goes on in another length.
    pub fn is_recoded(&self) -> bool {
        self.family == Family::WebText
    }
}

/// Notes that the request is a call, if it is one.
#[inline(never)]
pub(super) fn recognise<N: Net>(x: &mut Exchange<'_, N>) {
    let head = &x.memory.request;
    let is_one = head.method == Method::Post && head.fields.repeated() & KnownName::ContentType.bit() == 0;
    let Some(media) = x.field(KnownName::ContentType).and_then(Media::of).filter(|_| is_one) else { return };
    x.call = Some(Call {
        family: media.family,
        answers_in: media.family,
        is_spoken: media.family == Family::Grpc,
        until: Timestamp::NEVER,
        is_open: false,
    });
}

/// Takes up the call on its route, or lets an exchange be one that it does not bridge.
#[inline(never)]
pub(super) fn begin<N: Net>(x: &mut Exchange<'_, N>, mut call: Call, route: &RoutePlan) -> Result<(), Failure> {
    if call.is_bridged() && !route.grpc_web {
        x.call = None;
        return Ok(());
    }
    call.is_spoken = true;
    if call.is_bridged() {
        call.answers_in = wished(x).unwrap_or(call.family);
    }
    x.call = Some(call);
    // Trailers, and messages both ways at once, take HTTP/2; the bridge makes do with chunks.
    let is_old = if call.is_bridged() { x.memory.request.version == Version::Http10 } else { !x.is_stream() };
    if is_old {
        return Err(Failure::malformed(505, "grpc-version"));
    }
    let timeout = timeout(&x.memory.request.fields, x.buffer.filled());
    let timeout = timeout.map_err(|error| Failure::malformed(400, error.reason()))?;
    if let Some(timeout) = timeout {
        x.call = Some(Call { until: x.cx.started.plus(timeout), ..call });
    }
    Ok(())
}

/// The form of gRPC-Web that the caller asks for.
fn wished<N: Net>(x: &Exchange<'_, N>) -> Option<Family> {
    let accepts = x.field(KnownName::Accept)?;
    let mut families = accepts.split(|octet| *octet == b',').filter_map(|range| Media::of(range.trim_ascii()));
    families.find(|media| media.family != Family::Grpc).map(|media| media.family)
}

fn timeout(fields: &Fields, bytes: &[u8]) -> Result<Option<Duration>, grpc::InvalidTimeout> {
    let mut values = values(fields, bytes, grpc::TIMEOUT);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => grpc::parse_timeout(value).map(Some),
        (Some(_), Some(_)) => Err(grpc::InvalidTimeout),
    }
}

/// The values of a field that has no number.
fn values<'b>(fields: &Fields, bytes: &'b [u8], name: &str) -> impl Iterator<Item = &'b [u8]> {
    let named = |name: Span| name.of(bytes);
    let fields = fields.as_slice().iter().filter(|field| field.known.is_none());
    fields
        .filter(move |field| named(field.name).eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| field.value.of(bytes))
}

/// The code in a head or in trailers.
pub(super) fn code_in(fields: &Fields, bytes: &[u8]) -> Option<Code> {
    values(fields, bytes, grpc::STATUS).next().map(Code::of_text)
}

impl<N: Net> Exchange<'_, N> {
    /// When the caller stops to wait; never, where it has not said so.
    #[inline]
    pub fn caller_waits_until(&self) -> Timestamp {
        self.call.as_ref().map_or(Timestamp::NEVER, |call| call.until)
    }

    /// The end of it all.
    #[inline]
    pub fn ends_by(&self) -> Timestamp {
        self.cx.started.plus(self.terms.total()).min(self.caller_waits_until())
    }
}

/// Bounds the wait for an answer by the caller's time, whatever else is on its way; when that is over.
#[inline]
pub(super) fn bound<N: Net>(x: &Exchange<'_, N>, answer: &RefCell<N::Reader>) -> Timestamp {
    let until = x.caller_waits_until();
    if until != Timestamp::NEVER {
        answer.borrow_mut().set_read_deadline(until);
    }
    until
}

/// What the head of a request says of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallParts<'a> {
    /// What is left of the time that the caller waits, where it has said so.
    left: Option<Duration>,
    /// The type to name instead, where the call is bridged.
    bridged: Option<Media<'a>>,
    /// Whether the content goes on in another length.
    is_recoded: bool,
}

impl CallParts<'_> {
    /// Whether a field ends here.
    pub fn drops(&self, name: &[u8]) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        is(grpc::TIMEOUT) || (self.bridged.is_some() && is(grpc::X_GRPC_WEB))
    }

    /// The known names that are dropped.
    pub fn drops_known(&self) -> u128 {
        // What a browser accepts is not what the server answers.
        if self.bridged.is_some() { KnownName::ContentType.bit() | KnownName::Accept.bit() } else { 0 }
    }

    /// How the content is framed.
    pub fn framing(&self, body: Body) -> Body {
        if self.is_recoded { Body::Chunked } else { body }
    }

    /// Appends the fields in their stead.
    pub fn append(&self, out: &mut Vec<u8>) {
        if let Some(media) = self.bridged {
            out.extend_from_slice(b"content-type: ");
            media.write_as(Family::Grpc, out);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(left) = self.left {
            out.extend_from_slice(b"grpc-timeout: ");
            grpc::write_timeout(left, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// What the head of the next attempt says of the call, if there is one and time is left for it.
pub(super) fn parts<'p, N: Net>(x: &'p Exchange<'_, N>) -> Result<Option<CallParts<'p>>, Failure> {
    let Some(call) = x.call.as_ref() else { return Ok(None) };
    let now = x.shard.net.now();
    let ends_by = x.ends_by();
    if now >= ends_by {
        return Err(Failure::of(if now >= call.until { Reason::CallerTimeout } else { Reason::TotalTimeout }));
    }
    let media = || x.field(KnownName::ContentType).and_then(Media::of);
    Ok(Some(CallParts {
        left: (call.until != Timestamp::NEVER).then(|| ends_by.since(now)),
        bridged: if call.is_bridged() { media() } else { None },
        is_recoded: call.is_recoded(),
    }))
}

/// Fails for an upstream to which there is no way for a call.
pub(super) fn needs_http2<N: Net>(x: &Exchange<'_, N>, speaks_http2: bool) -> Result<(), Failure> {
    if x.call.is_some() && !speaks_http2 { Err(Failure::of(Reason::UpstreamVersion)) } else { Ok(()) }
}

/// The same failure, or that the caller's time was over.
pub(super) fn judged<N: Net>(x: &Exchange<'_, N>, failure: Failure) -> Failure {
    let waited = failure.reason.is_timeout() || failure.reason == Reason::PoolExhausted;
    if waited && x.shard.net.now() >= x.caller_waits_until() { Failure::of(Reason::CallerTimeout) } else { failure }
}

/// What a failure is to a caller.
pub(super) fn code_of(failure: &Failure) -> Code {
    match (failure.reason, failure.status) {
        // That no connection came about in time says nothing of how long the call took.
        (Reason::ConnectTimeout, _) => Code::Unavailable,
        (Reason::UpstreamMalformed | Reason::UpstreamHeadTooLarge | Reason::UpstreamTruncated, _) => Code::Internal,
        (Reason::UpstreamVersion, _) => Code::Internal,
        (Reason::UpstreamReset, _) => code_of_reset(failure.detail),
        (Reason::ClientClosed | Reason::ClientStalled | Reason::Flood | Reason::ProtocolError, _) => Code::Cancelled,
        (reason, _) if reason.is_timeout() => Code::DeadlineExceeded,
        (_, 401) => Code::Unauthenticated,
        (_, 403) => Code::PermissionDenied,
        (_, 404 | 405) => Code::Unimplemented,
        (_, 413 | 414 | 429 | 431) => Code::ResourceExhausted,
        (_, 421 | 502 | 503 | 504) => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// What a reset by the upstream, told by the word for its code, is to a caller: as its own library would have read it.
fn code_of_reset(word: &str) -> Code {
    match word {
        "cancel" => Code::Cancelled,
        "enhance-your-calm" => Code::ResourceExhausted,
        "inadequate-security" => Code::PermissionDenied,
        "no-error" | "protocol-error" | "internal-error" | "flow-control-error" | "settings-timeout"
        | "frame-size-error" | "compression-error" | "connect-error" => Code::Internal,
        _ => Code::Unavailable,
    }
}

/// Whether an answer that was begun ends with a status: where time was over, and where the upstream has reset its stream, whose code would be
/// lost else.
fn is_told(failure: &Failure) -> bool {
    code_of(failure) == Code::DeadlineExceeded
        || (failure.reason == Reason::UpstreamReset && !failure.detail.is_empty())
}

/// What the caller reads from a failure: an answer that was begun can mostly be reset alone.
pub(super) fn code_seen<N: Net>(x: &Exchange<'_, N>, failure: &Failure) -> Code {
    let code = code_of(failure);
    let is_cut = x.connection.responding.get() && !is_told(failure) && code != Code::Cancelled;
    if is_cut { Code::Internal } else { code }
}

/// Appends the fields that make the head of a refusal one of Trailers-Only.
pub(super) fn append_refusal<N: Net>(x: &Exchange<'_, N>, failure: &Failure, out: &mut Vec<u8>) {
    let Some(call) = &x.call else { return };
    if let Some(media) = x.field(KnownName::ContentType).and_then(Media::of) {
        out.extend_from_slice(b"content-type: ");
        media.write_as(call.answers_in, out);
        out.extend_from_slice(b"\r\n");
    }
    append_status(code_of(failure), failure.reason.title(), out);
}

/// Appends a status and what there is to say about it.
pub(super) fn append_status(code: Code, message: &str, out: &mut Vec<u8>) {
    write_field(out, grpc::STATUS.as_bytes(), code.text().as_bytes());
    out.extend_from_slice(b"grpc-message: ");
    grpc::write_message(message, out);
    out.extend_from_slice(b"\r\n");
}

/// The end of an answer that was begun, where nothing is on its way: nobody else would say what has become of it.
pub(super) fn last_words<N: Net>(x: &Exchange<'_, N>, failure: &Failure) -> Option<Buffer> {
    let call = x.call.as_ref().filter(|call| call.is_open)?;
    if !is_told(failure) || x.connection.writer.borrow().is_writing() {
        return None;
    }
    let mut out = x.shard.buffers.small();
    Answer::new(call.answers_in).end_with(code_of(failure), failure.reason.title(), out.vec());
    Some(out)
}

/// The type that an answer of gRPC is given for a browser.
pub(super) fn answer_media<'r, N: Net>(x: &Exchange<'_, N>, received: &'r Buffer) -> Option<(Media<'r>, Family)> {
    let call = x.call.as_ref().filter(|call| call.is_bridged())?;
    let media = media_of_answer(x, received)?;
    Some((media, call.answers_in))
}

/// The type of an answer that is one of gRPC.
fn media_of_answer<'r, N: Net>(x: &Exchange<'_, N>, received: &'r Buffer) -> Option<Media<'r>> {
    let head = &x.memory.response;
    let value = head.fields.first(KnownName::ContentType, received.filled()).filter(|_| head.status == 200)?;
    Media::of(value).filter(|media| media.family == Family::Grpc)
}

/// Looks at the head of a call's answer, which stands in the memory: what it says is noted, and where trailers are to say it, or it
/// is to be said for them, how to relay the content.
pub(super) fn answer<N: Net>(x: &mut Exchange<'_, N>, received: &Buffer) -> Option<Box<Codec>> {
    let call = x.call.as_ref().filter(|call| call.is_spoken)?;
    let answers_in = call.answers_in;
    let head = &x.memory.response;
    if media_of_answer(x, received).is_none() {
        // Clients read it as what its status says.
        x.tally.grpc = Some(Code::of_http(head.status));
        return None;
    }
    let code = code_in(&head.fields, received.filled());
    let is_empty = matches!(head.body, Body::Empty | Body::Length(0));
    if is_empty && code.is_some() {
        x.tally.grpc = code;
        return None;
    }
    if let Some(call) = &mut x.call {
        call.is_open = true;
    }
    Some(Box::new(Codec::Answer(Answer::new(answers_in))))
}

/// Notes what an answer has ended with.
pub(super) fn ended<N: Net>(x: &mut Exchange<'_, N>, codec: &Codec) {
    let Codec::Answer(answer) = codec else { return };
    if let Some(call) = &mut x.call {
        call.is_open = false;
    }
    x.tally.grpc = Some(answer.code().unwrap_or(Code::Internal));
    if answer.code().is_none() {
        // Complete as HTTP has it, and yet no answer to a call.
        x.tally.reason = Reason::UpstreamMalformed;
        x.tally.detail = NO_STATUS;
        x.shard.metrics.malformed_responses.increment(NO_STATUS);
        if let (Some(upstream), Some(endpoint)) = (x.tally.upstream, x.tally.endpoint) {
            x.adopted.endpoint_block(upstream, endpoint, x.shard.number).failed(Reason::UpstreamMalformed);
        }
    }
}

/// The word for an answer that ended without a status.
const NO_STATUS: &str = "no-grpc-status";
