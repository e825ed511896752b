//! Relays a response to the client: the head in our words, the content as it comes.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use super::body::{BodyError, BodyReader, Pace, Progress, Relay, SinkFraming};
use super::call;
use super::encode::{self, ConnectionOption, OWN_FIELDS_BYTES, ResponseFraming, ResponseParts};
use super::exchange::{Exchange, Next};
use super::failure::Failure;
use super::forward::{Failed, malformed_response, upload_failure};
use super::h2::Broken;
use super::lease::Halves;
use super::net::Net;
use super::transfer::Transfer;
use crate::base::{Buffer, Timestamp};
use crate::http::h1::Hop;
use crate::http::header::KnownName;
use crate::http::{Body, Method, Version};
use crate::observe::Reason;
use crate::policy::Policies;
use crate::snapshot::RoutePlan;

/// Relays the final response whose head stands in the memory and whose octets begin in `received`, while the upload goes
/// on and the client is watched. Says whether the upstream's connection may be used again.
pub(super) async fn response<N: Net, F: Future<Output = Result<(), BodyError>>>(
    x: &mut Exchange<'_, N>,
    route: &RoutePlan,
    upstream: &Halves<N>,
    received: Buffer,
    upload: &mut Transfer<'_, N, F>,
    heard: &Cell<Timestamp>,
) -> Result<bool, Failed> {
    let mut body = BodyReader::new();
    body.expect(x.memory.response.body, u64::MAX, &x.terms);
    let begun = begin(x, route, &received, &mut body, upload.was_sent())?;
    upstream.keep_buffer(received, x.shard);
    let (shard, connection) = (x.shard, x.connection);
    connection.responding.set(true);
    let heard = x.call.is_some().then_some(heard);
    if let Some(heard) = heard {
        heard.set(shard.net.now());
    }
    let relay = Relay::<N> {
        net: &shard.net,
        buffers: &shard.buffers,
        source: &upstream.reader,
        sink: &connection.writer,
        framing: begun.sink,
        pace: begun.pace,
        heard,
    };
    let progress = Progress::default();
    let (gate, beyond) = (Cell::new(true), Cell::new(false));
    relay.begin(begun.out, &body, &progress);
    let event = {
        let mark = |bytes: &[u8]| beyond.set(beyond.get() || !bytes.is_empty());
        let mut rest = pin!((!body.is_done()).then(|| relay.rest(&mut body, &progress, &gate, mark)));
        let mut download = Transfer::new(&relay, &progress, rest.as_mut());
        poll_fn(|cx| {
            if let Poll::Ready(result) = download.poll(cx) {
                return Poll::Ready(Event::Relayed(result));
            }
            match upload.poll(cx) {
                Poll::Ready(Ok(())) => x.watch_client(),
                Poll::Ready(Err(error)) if is_lost(&error) => return Poll::Ready(Event::ClientGone),
                // A call may not lose what its client says later.
                Poll::Ready(Err(error)) if x.call.is_some() && !matches!(error, BodyError::Sink(_)) => {
                    return Poll::Ready(Event::Unsaid(error));
                }
                // Another failed upload shows in what the upstream answers; here it only ends.
                Poll::Ready(Err(_)) | Poll::Pending => {}
            }
            x.poll_client(cx).map(|_| Event::ClientGone)
        })
        .await
    };
    x.tally.bytes_out += progress.written.get();
    match event {
        Event::Relayed(Ok(())) => {
            if let Some(codec) = &body.codec {
                call::ended(x, codec);
            }
            Ok(begun.reusable && !beyond.get())
        }
        Event::Relayed(Err(error)) => Err(Failed::for_good(cut(x, &error, begun.pace.until))),
        Event::Unsaid(error) => Err(Failed::for_good(unsaid(x, &error, begun.pace.until))),
        Event::ClientGone => {
            x.next = Next::Close;
            Err(Failed::for_good(Failure::client_closed()))
        }
    }
}

/// Whether an upload has failed since the client was lost.
fn is_lost(error: &BodyError) -> bool {
    matches!(error, BodyError::Source(error) if error.kind() != io::ErrorKind::TimedOut)
}

enum Event {
    Relayed(Result<(), BodyError>),
    /// The client of a call was heard no further.
    Unsaid(BodyError),
    ClientGone,
}

/// How a response begins.
struct Begun {
    /// Its head, and what has arrived of its content.
    out: Buffer,
    sink: SinkFraming,
    pace: Pace,
    /// Whether the upstream's connection may be used again, if all goes well.
    reusable: bool,
}

/// Writes the head in our words and takes what has arrived behind the one received; what the head will say of the
/// connection is what becomes of it.
fn begin<N: Net>(
    x: &mut Exchange<'_, N>,
    route: &RoutePlan,
    received: &Buffer,
    body: &mut BodyReader,
    uploaded: bool,
) -> Result<Begun, Failed> {
    x.tally.timing.first_byte = Some(x.shard.net.now());
    let mut hop = Hop::default();
    hop.read_response(received.filled(), &x.memory.response).map_err(|error| refused(x, error.reason()))?;
    if x.call.is_some() {
        body.codec = call::answer(x, received);
    }
    let framing = if body.codec.is_some() { ResponseFraming::Chunked } else { client_framing(x) };
    let sink = if framing == ResponseFraming::Chunked { SinkFraming::Chunked } else { SinkFraming::Plain };
    // An answer before the end of the request's content ends the connection too: what is left of that will not be
    // waited for.
    if framing == ResponseFraming::Close || !(x.body_read || uploaded) || !x.keeps_alive() {
        x.persistent = false;
        x.close_delimited = true;
    }
    body.forwards_trailers = x.hop.te_trailers;
    let head = &x.memory.response;
    let mut out = room_for(x, route, received.filled().len());
    encode::response(&response_parts(x, &route.policies, &hop, framing, received), out.vec());
    let arrived = &received.filled()[head.length..];
    if body.is_done() {
        body.end_empty(sink, out.vec()).map_err(|error| refused(x, word_of(&error)))?;
    }
    let used = body.take(arrived, sink, out.vec()).map_err(|error| refused(x, word_of(&error)))?;
    let reusable = used == arrived.len() && hop.persistent && head.body != Body::UntilClose;
    let pace = pace_of(x, received, body.is_done());
    x.tally.status = head.status;
    Ok(Begun { out, sink, pace, reusable })
}

fn refused<N: Net>(x: &Exchange<'_, N>, word: &'static str) -> Failed {
    Failed::for_good(malformed_response(x, word))
}

fn word_of(error: &BodyError) -> &'static str {
    match error {
        BodyError::Malformed(error) => error.reason(),
        BodyError::Text(error) => error.reason(),
        _ => "truncated",
    }
}

/// How this client learns where the content ends (RFC 9112, section 6.3).
fn client_framing<N: Net>(x: &Exchange<'_, N>) -> ResponseFraming {
    let (request, head) = (&x.memory.request, &x.memory.response);
    match head.body {
        Body::Length(length) => ResponseFraming::Length(length),
        Body::Chunked | Body::UntilClose if request.version == Version::Http10 => ResponseFraming::Close,
        Body::Chunked | Body::UntilClose => ResponseFraming::Chunked,
        Body::Empty if request.method == Method::Head || head.status == 304 => ResponseFraming::None,
        Body::Empty if head.status == 204 => ResponseFraming::Bare,
        Body::Empty => ResponseFraming::Length(0),
    }
}

fn room_for<N: Net>(x: &Exchange<'_, N>, route: &RoutePlan, received: usize) -> Buffer {
    x.shard.buffers.holding(received + OWN_FIELDS_BYTES + route.policies.response_bytes())
}

fn response_parts<'p, N: Net>(
    x: &'p Exchange<'_, N>,
    policies: &'p Policies,
    hop: &'p Hop,
    framing: ResponseFraming,
    received: &'p Buffer,
) -> ResponseParts<'p> {
    let connection = match x.memory.response.status {
        101 => ConnectionOption::Upgrade,
        200.. if !x.persistent => ConnectionOption::Close,
        _ => ConnectionOption::Silent,
    };
    ResponseParts {
        head: &x.memory.response,
        bytes: received.filled(),
        hop,
        gateway: &x.adopted.snapshot.gateway,
        policies,
        hsts: x.hsts(),
        request_id: x.cx.request_id.as_bytes(),
        date: (!x.memory.response.fields.has(KnownName::Date)).then(|| x.shard.date()),
        framing,
        media: if x.call.is_some() { call::answer_media(x, received) } else { None },
        connection,
    }
}

/// An interim response as the client gets it.
pub(super) fn interim<N: Net>(x: &Exchange<'_, N>, received: &Buffer) -> Buffer {
    let policies = Policies::default();
    let hop = Hop::default();
    let mut out = x.shard.buffers.large();
    encode::response(&response_parts(x, &policies, &hop, ResponseFraming::Bare, received), out.vec());
    out
}

/// The head of a 101 as the client gets it.
pub(super) fn switching<N: Net>(x: &Exchange<'_, N>, route: &RoutePlan, hop: &Hop, received: &Buffer) -> Buffer {
    let mut out = room_for(x, route, received.filled().len());
    encode::response(&response_parts(x, &route.policies, hop, ResponseFraming::Bare, received), out.vec());
    out
}

/// Bodies are bound by the exchange's whole time; event streams, which are meant to last, by their lifetime.
fn pace_of<N: Net>(x: &Exchange<'_, N>, received: &Buffer, whole: bool) -> Pace {
    let content_type = || x.memory.response.fields.first(KnownName::ContentType, received.filled());
    let streams = !whole
        && content_type().is_some_and(|value| {
            value.get(..EVENT_STREAM.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
        });
    let until = if streams { x.cx.started.plus(x.terms.lifetime()) } else { x.ends_by() };
    Pace { idle: x.terms.idle(), until, rate_min: 0, grace: x.terms.idle() }
}

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// The client of a call has stopped to say what it has to, or may not say it.
fn unsaid<N: Net>(x: &mut Exchange<'_, N>, error: &BodyError, until: Timestamp) -> Failure {
    if let BodyError::Source(_) = error {
        return cut(x, error, until);
    }
    x.next = Next::Close;
    upload_failure(error)
}

/// The response was begun and cannot be ended: cut, so that a truncated body never looks complete.
fn cut<N: Net>(x: &mut Exchange<'_, N>, error: &BodyError, until: Timestamp) -> Failure {
    x.next = Next::Close;
    if let (BodyError::Sink(_), Some(call)) = (error, &mut x.call) {
        // What was taken of the last write may end anywhere: no last word can stand behind it.
        call.is_open = false;
    }
    let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    let late = x.shard.net.now() >= until;
    match error {
        BodyError::Source(error) | BodyError::Sink(error) if timed_out(error) && late => {
            if until == x.caller_waits_until() {
                return Failure::of(Reason::CallerTimeout);
            }
            let total = x.cx.started.plus(x.terms.total());
            Failure::of(if until == total { Reason::TotalTimeout } else { Reason::Lifetime })
        }
        BodyError::Source(error) if timed_out(error) => Failure::of(Reason::IdleTimeout),
        // TLS tells an end that was announced from one that was not.
        BodyError::Source(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::of(Reason::UpstreamTruncated)
        }
        BodyError::Source(error) if error.kind() == io::ErrorKind::InvalidData => {
            malformed_response(x, Broken::word_of(error))
        }
        BodyError::Source(error) => Failure::of(Reason::UpstreamReset).detail(Broken::word_of(error)),
        BodyError::Truncated | BodyError::TooLarge | BodyError::Text(_) => Failure::of(Reason::UpstreamTruncated),
        BodyError::Malformed(error) => malformed_response(x, error.reason()),
        BodyError::Sink(error) if timed_out(error) => Failure::of(Reason::ClientStalled),
        BodyError::Sink(_) => Failure::client_closed(),
    }
}
