//! Sends a request to an endpoint of its upstream and relays the answer: attempt by attempt, until one brings a
//! response, or none may follow.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::body::{BodyError, BodyReader, Pace, Progress, Relay, SinkFraming};
use super::encode::{self, OWN_FIELDS_BYTES, RequestParts};
use super::exchange::Exchange;
use super::failure::Failure;
use super::h2::Broken;
use super::lease::{self, Found, Halves};
use super::net::{Net, Patience, Reader};
use super::transfer::Transfer;
use super::{call, head, relay, upgrade};
use crate::base::{Buffer, Timestamp};
use crate::config::CertificateForward;
use crate::http::client_cert;
use crate::http::h1::{HeadScanner, Progress as HeadProgress};
use crate::http::header::KnownName;
use crate::http::{Body, Version};
use crate::observe::Reason;
use crate::snapshot::{Forward, RoutePlan};
use crate::upstream::{AttemptFailure, Repeatable, Speaks, Tries};

/// How long an upstream may keep us waiting for its 100 before the body is sent anyway.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
/// After an upstream stopped taking the body: how long its answer may still take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Forwards the request and relays the response.
pub(super) async fn send<N: Net>(x: &mut Exchange<'_, N>, route: &RoutePlan, plan: &Forward) -> Result<(), Failure> {
    let upgrade = upgrade::wanted(x, plan)?;
    if x.call.is_some() {
        call::needs_http2(x, x.adopted.upstream(plan.upstream).plan().speaks != Speaks::Http1)?;
    }
    let mut repeatable = Repeatable::of(x.memory.request.method, x.memory.request.body);
    let deadline = x.cx.started.plus(x.terms.exchange()).min(x.caller_waits_until());
    let mut tries = Tries::default();
    let mut choice = lease::Choice::new(x, plan);
    let mut now = x.tally.timing.routed.unwrap_or(x.cx.started);
    loop {
        tries.begin();
        x.tally.attempts += 1;
        let lease = match lease::acquire(x, &mut choice, now) {
            Ok(Found::Idle(lease)) => Ok(lease),
            // Boxed: rare next to reuse, and larger.
            Ok(Found::Wanted(wanted)) => Box::pin(wanted.get(x, &mut choice, now, deadline)).await,
            Err(failed) => Err(failed),
        };
        let failed = match lease {
            Ok(lease) => {
                let outcome = attempt(x, route, plan, &lease.connection.halves, upgrade, deadline).await;
                lease.end(x, outcome.as_ref().copied().map_err(|failed| failed.failure.reason));
                match outcome {
                    Ok(_) => return Ok(()),
                    Err(failed) => failed,
                }
            }
            Err(failed) => failed,
        };
        repeatable.body_at_hand = !x.body_gone;
        now = x.shard.net.now();
        let again = tries.again(failed.attempt, repeatable, plan.retry.as_ref(), now, deadline);
        if again.is_err() || !choice.another(x, tries.is_replay(), now) {
            return Err(call::judged(x, failed.failure));
        }
    }
}

/// An attempt that brought no response to the client.
pub(super) struct Failed {
    pub failure: Failure,
    /// How far it went, for the question whether another may follow.
    pub attempt: AttemptFailure,
}

impl Failed {
    /// Nothing may follow.
    pub fn for_good(failure: Failure) -> Self {
        Self { failure, attempt: AttemptFailure::Final }
    }

    /// The connection ended before any octet of a response.
    fn before_response(reason: Reason) -> Self {
        Self { failure: Failure::of(reason), attempt: AttemptFailure::BeforeResponse }
    }
}

/// One try on one connection. Says whether the connection may be used again.
async fn attempt<N: Net>(
    x: &mut Exchange<'_, N>,
    route: &RoutePlan,
    plan: &Forward,
    halves: &Halves<N>,
    upgrade: Option<&str>,
    deadline: Timestamp,
) -> Result<bool, Failed> {
    let mut body = BodyReader::new();
    expect(&mut body, x, plan, halves)?;
    let out = first_write(x, route, plan, upgrade, &mut body).map_err(Failed::for_good)?;
    let at_hand = body.content;
    let progress = Progress::default();
    let waits = waits_for_continue(x, &body);
    let (gate, heard) = (Cell::new(!waits), Cell::new(x.cx.started));
    let (shard, connection) = (x.shard, x.connection);
    let (outcome, sent) = {
        let relay = Relay::<N> {
            net: &shard.net,
            buffers: &shard.buffers,
            source: &connection.reader,
            sink: &halves.writer,
            framing: sink_framing(x),
            pace: upload_pace(x),
            heard: x.call.is_some().then_some(&heard),
        };
        relay.begin(out, &body, &progress);
        let beyond = |bytes: &[u8]| connection.keep_ahead(bytes, || shard.buffers.small());
        let mut rest = pin!((!body.is_done()).then(|| relay.rest(&mut body, &progress, &gate, beyond)));
        let mut upload = Transfer::new(&relay, &progress, rest.as_mut());
        let continue_at = waits.then(|| shard.net.now().plus(CONTINUE_WAIT));
        let mut waiting = Waiting {
            gate: &gate,
            deadline,
            head_deadline: Timestamp::NEVER,
            caller_waits_until: call::bound(x, &halves.reader),
            continue_at,
        };
        let mut answer = response_head(x, &halves.reader, &mut upload, &mut waiting, upgrade.is_some()).await;
        if upgrade.is_some() {
            answer = answer.and_then(|received| upgrade::judge(x, received, upload.was_sent()));
        }
        let outcome = match answer {
            Ok(received) if x.memory.response.status == 101 => {
                // Boxed: rare, and larger than all the rest.
                Box::pin(upgrade::tunnel(x, route, plan, halves, received)).await.map(|()| false)
            }
            Ok(received) => relay::response(x, route, halves, received, &mut upload, &heard).await,
            Err(failed) => Err(failed),
        };
        (outcome, upload.was_sent())
    };
    let streamed = body.content - at_hand;
    x.tally.bytes_in += streamed;
    x.body_gone |= progress.has_read.get();
    x.body_read = body.is_done();
    x.stop_watching().await;
    if !body.is_done() {
        x.persistent = false;
    }
    // A response may end before its request does: what was not sent whole leaves a connection in no known state.
    outcome.map(|reusable| reusable && sent && body.is_done())
}

/// Prepares for the request's content, as it is to be read for this upstream.
fn expect<N: Net>(
    body: &mut BodyReader,
    x: &Exchange<'_, N>,
    plan: &Forward,
    halves: &Halves<N>,
) -> Result<(), Failed> {
    body.expect(x.memory.request.body, x.terms.body_bytes(), &x.terms);
    if x.memory.request.body == Body::Chunked {
        body.forwards_trailers = halves.takes_trailers || x.adopted.upstream(plan.upstream).plan().forwards_trailers;
    }
    let Some(call) = &x.call else { return Ok(()) };
    body.codec = call.request_codec();
    call::needs_http2(x, halves.takes_trailers).map_err(Failed::for_good)
}

/// The request head, and what of the body has arrived with it.
fn first_write<N: Net>(
    x: &mut Exchange<'_, N>,
    route: &RoutePlan,
    plan: &Forward,
    upgrade: Option<&str>,
    body: &mut BodyReader,
) -> Result<Buffer, Failure> {
    let received = x.buffer.filled().len();
    let mut needed = received + OWN_FIELDS_BYTES + route.policies.request_bytes();
    if let Some(wish) = plan.client_certificate {
        needed += certificate_bytes(x, wish)?;
    }
    let mut out = x.shard.buffers.holding(needed);
    let written = match x.call {
        None => write_head(x, route, plan, upgrade, None, &mut out),
        Some(_) => write_head_of_call(x, route, plan, upgrade, &mut out),
    };
    if let Err(failure) = written {
        x.shard.buffers.give(out);
        return Err(failure);
    }
    let length = x.memory.request.length;
    if !body.is_done() {
        let arrived = &x.buffer.filled()[length..];
        let used = body.take(arrived, sink_framing(x), out.vec());
        match used {
            Ok(used) => x.consumed = length + used,
            Err(error) => {
                x.shard.buffers.give(out);
                return Err(upload_failure(&error));
            }
        }
    }
    Ok(out)
}

fn write_head<N: Net>(
    x: &Exchange<'_, N>,
    route: &RoutePlan,
    plan: &Forward,
    upgrade: Option<&str>,
    call: Option<&call::CallParts<'_>>,
    out: &mut Buffer,
) -> Result<(), Failure> {
    let parts = request_parts(x, route, plan, upgrade, call);
    encode::request(&parts, out.vec()).map_err(|_| Failure::of(Reason::TargetRefused).detail("rendered-target"))
}

#[cold]
fn write_head_of_call<N: Net>(
    x: &Exchange<'_, N>,
    route: &RoutePlan,
    plan: &Forward,
    upgrade: Option<&str>,
    out: &mut Buffer,
) -> Result<(), Failure> {
    let call = call::parts(x)?;
    write_head(x, route, plan, upgrade, call.as_ref(), out)
}

fn request_parts<'p, N: Net>(
    x: &'p Exchange<'_, N>,
    route: &'p RoutePlan,
    plan: &'p Forward,
    upgrade: Option<&'p str>,
    call: Option<&'p call::CallParts<'p>>,
) -> RequestParts<'p> {
    RequestParts {
        head: &x.memory.request,
        bytes: x.buffer.filled(),
        written: &x.memory.written,
        cx: x.cx,
        hop: &x.hop,
        gateway: &x.adopted.snapshot.gateway,
        forward: plan,
        policies: &route.policies,
        captures: &x.memory.captures,
        protocol: x.protocol(),
        scheme: x.connection.scheme(),
        peer: x.connection.peer.ip().map(|ip| (ip, x.connection.peer_text.as_str())),
        trusted: &x.listener.trusted,
        span: x.shard.random.borrow_mut().u64(..),
        upgrade,
        call,
        default_host: x.listener.default_host.as_deref(),
        secured: x.connection.secured.get().map(|secured| &**secured),
    }
}

/// Octets that tell the upstream of the client's certificate: they count like what came in the head, since the upstream
/// must have room for both.
#[cold]
fn certificate_bytes<N: Net>(x: &Exchange<'_, N>, wish: CertificateForward) -> Result<usize, Failure> {
    let told = x.connection.secured.get().and_then(|secured| secured.told(wish));
    let Some([leaf, others @ ..]) = told else { return Ok(0) };
    let bytes = client_cert::fields_bytes(leaf, others);
    let room = x.terms.head_limits().head_bytes_max.saturating_sub(x.memory.request.length);
    if bytes > room { Err(Failure::of(Reason::HeadTooLarge).detail("client-certificate")) } else { Ok(bytes) }
}

fn sink_framing<N: Net>(x: &Exchange<'_, N>) -> SinkFraming {
    let is_recoded = x.call.as_ref().is_some_and(call::Call::is_recoded);
    if is_recoded || x.memory.request.body == Body::Chunked { SinkFraming::Chunked } else { SinkFraming::Plain }
}

fn upload_pace<N: Net>(x: &Exchange<'_, N>) -> Pace {
    // A caller may have nothing to say for as long as its call lives.
    let rate_min = if x.call.is_some() { 0 } else { x.terms.body_rate_min() };
    Pace { idle: x.terms.idle(), until: x.ends_by(), rate_min, grace: x.terms.body_grace() }
}

/// Whether the client asked for a 100 before it sends its body, and has not begun to send it.
fn waits_for_continue<N: Net>(x: &Exchange<'_, N>, body: &BodyReader) -> bool {
    let head = &x.memory.request;
    !body.is_done()
        && head.version == Version::Http11
        && head.fields.has(KnownName::Expect)
        && x.consumed == head.length
}

/// What a failed upload means for the client.
pub(super) fn upload_failure(error: &BodyError) -> Failure {
    match error {
        BodyError::Source(error) if error.kind() == io::ErrorKind::TimedOut => Failure::of(Reason::BodyTimeout),
        BodyError::Source(_) | BodyError::Truncated => Failure::client_closed(),
        BodyError::Malformed(error) => Failure::malformed(error.status(), error.reason()),
        BodyError::Text(error) => Failure::malformed(400, error.reason()),
        BodyError::TooLarge => Failure::of(Reason::BodyTooLarge).detail("counted"),
        BodyError::Sink(error) if error.kind() == io::ErrorKind::TimedOut => Failure::of(Reason::IdleTimeout),
        BodyError::Sink(_) => Failure::of(Reason::UpstreamReset),
    }
}

/// What the wait for a response head is bound by.
struct Waiting<'w> {
    /// Opened when the body may be sent.
    gate: &'w Cell<bool>,
    /// Of the exchange.
    deadline: Timestamp,
    /// Of this attempt; it begins when the request was sent.
    head_deadline: Timestamp,
    /// When the caller of gRPC stops to wait, whatever is on its way.
    caller_waits_until: Timestamp,
    /// When the body is sent without the upstream's 100.
    continue_at: Option<Timestamp>,
}

impl Waiting<'_> {
    /// None while the request is on its way: until then the upload's own limits hold.
    fn read_deadline(&self) -> Timestamp {
        if self.head_deadline == Timestamp::NEVER {
            self.caller_waits_until
        } else {
            self.head_deadline.min(self.deadline)
        }
    }
}

enum Event {
    Uploaded(Result<(), BodyError>),
    Received(io::Result<usize>, Buffer),
    ClientGone,
    ContinueAnyway,
}

/// Waits for the final response head, which then stands in the memory; returns the buffer it was parsed from.
async fn response_head<N: Net, F: Future<Output = Result<(), BodyError>>>(
    x: &mut Exchange<'_, N>,
    reader: &RefCell<N::Reader>,
    upload: &mut Transfer<'_, N, F>,
    waiting: &mut Waiting<'_>,
    upgrades: bool,
) -> Result<Buffer, Failed> {
    let shard = x.shard;
    let mut scanner = HeadScanner::default();
    let mut interim = 0;
    let mut alarm = waiting.continue_at.map(|at| Box::pin(shard.net.sleep(at)));
    loop {
        let event = poll_fn(|cx| {
            if let Poll::Ready(result) = upload.poll(cx) {
                return Poll::Ready(Event::Uploaded(result));
            }
            if let Poll::Ready((result, buffer)) = reader.borrow_mut().poll_read(cx) {
                return Poll::Ready(Event::Received(result, buffer));
            }
            if let Some(alarm) = alarm.as_mut().filter(|_| waiting.continue_at.is_some())
                && alarm.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Event::ContinueAnyway);
            }
            x.poll_client(cx).map(|_| Event::ClientGone)
        });
        match event.await {
            Event::Uploaded(result) => uploaded(x, &mut *reader.borrow_mut(), &result, waiting)?,
            Event::ClientGone => return Err(Failed::for_good(Failure::client_closed())),
            Event::ContinueAnyway => {
                waiting.continue_at = None;
                waiting.gate.set(true);
                send_continue(x).await?;
            }
            Event::Received(result, buffer) => {
                let mut buffer = received(x, result, buffer, waiting, interim > 0)?;
                loop {
                    match scan(x, &mut scanner, &buffer, upgrades) {
                        Ok(Scanned::Final) => return Ok(buffer),
                        Ok(Scanned::Partial) => break,
                        Ok(Scanned::Interim) if interim < x.terms.interim_responses() => {
                            interim += 1;
                            relay_interim(x, &buffer, waiting).await?;
                            buffer.consume(x.memory.response.length);
                        }
                        refused => {
                            shard.buffers.give(buffer);
                            let word = refused.err().unwrap_or("too-many-interim-responses");
                            return Err(Failed::for_good(malformed_response(x, word)));
                        }
                    }
                }
                if buffer.room() == 0 {
                    buffer = head::grown(shard, buffer);
                }
                reader.borrow_mut().begin_read(buffer, waiting.read_deadline());
            }
        }
    }
}

/// The request has been sent, or could not be.
fn uploaded<N: Net>(
    x: &mut Exchange<'_, N>,
    reader: &mut N::Reader,
    result: &Result<(), BodyError>,
    waiting: &mut Waiting<'_>,
) -> Result<(), Failed> {
    let now = x.shard.net.now();
    match result {
        Ok(()) => {
            // The time of a request with content runs from its last octet: until then its own limits hold.
            if x.memory.request.body != Body::Empty {
                waiting.deadline = now.plus(x.terms.exchange()).min(waiting.caller_waits_until);
            }
            waiting.head_deadline = now.plus(x.response_head_timeout());
            reader.set_read_deadline(waiting.read_deadline());
            x.watch_client();
            Ok(())
        }
        // An upstream may answer and close before it has read everything: hear its last word.
        Err(BodyError::Sink(_)) => {
            waiting.head_deadline = now.plus(LAST_WORD);
            reader.set_read_deadline(waiting.read_deadline());
            Ok(())
        }
        Err(error) => Err(Failed::for_good(upload_failure(error))),
    }
}

/// What a read of the upstream's answer brought.
fn received<N: Net>(
    x: &Exchange<'_, N>,
    result: io::Result<usize>,
    buffer: Buffer,
    waiting: &Waiting<'_>,
    interim: bool,
) -> Result<Buffer, Failed> {
    let begun = interim || !buffer.filled().is_empty();
    let reason = match result {
        Ok(count) if count > 0 => return Ok(buffer),
        Ok(_) => Reason::UpstreamClosed,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => match x.shard.net.now() {
            now if now >= waiting.caller_waits_until => Reason::CallerTimeout,
            now if now >= waiting.deadline => Reason::ExchangeTimeout,
            _ => Reason::ResponseTimeout,
        },
        Err(error) => {
            x.shard.buffers.give(buffer);
            return Err(broken(x, &error, begun));
        }
    };
    x.shard.buffers.give(buffer);
    if begun || reason.is_timeout() {
        Err(Failed::for_good(Failure::of(reason)))
    } else {
        Err(Failed::before_response(reason))
    }
}

/// What it means for the attempt that its connection broke before the final head.
#[cold]
fn broken<N: Net>(x: &Exchange<'_, N>, error: &io::Error, begun: bool) -> Failed {
    let word = Broken::word_of(error);
    let reset = Failure::of(Reason::UpstreamReset).detail(word);
    match error.kind() {
        io::ErrorKind::InvalidData => Failed::for_good(malformed_response(x, word)),
        io::ErrorKind::InvalidInput => Failed::for_good(Failure::of(Reason::TargetRefused).detail("not-for-http2")),
        io::ErrorKind::Unsupported => Failed::for_good(Failure::of(Reason::UpgradeFailed).detail("not-announced")),
        io::ErrorKind::ConnectionRefused if !begun => {
            Failed { failure: reset.detail("not-processed"), attempt: AttemptFailure::Unsent }
        }
        _ if begun => Failed::for_good(reset),
        _ => Failed { failure: reset, attempt: AttemptFailure::BeforeResponse },
    }
}

enum Scanned {
    Final,
    Interim,
    Partial,
}

/// Reads a head from what has arrived, or says what is wrong with it.
fn scan<N: Net>(
    x: &mut Exchange<'_, N>,
    scanner: &mut HeadScanner,
    buffer: &Buffer,
    upgrades: bool,
) -> Result<Scanned, &'static str> {
    if buffer.filled().is_empty() {
        return Ok(Scanned::Partial);
    }
    let limits = x.terms.head_limits();
    let method = x.memory.request.method;
    match scanner.response(buffer.filled(), &mut x.memory.response, method, &limits) {
        Ok(HeadProgress::Complete) => {}
        Ok(HeadProgress::Partial) => return Ok(Scanned::Partial),
        Err(error) => return Err(error.reason()),
    }
    match x.memory.response.status {
        101 if upgrades => Ok(Scanned::Final),
        101 => Err("unasked-101"),
        100..=199 => Ok(Scanned::Interim),
        _ => Ok(Scanned::Final),
    }
}

/// A 502 for what the upstream sent; counted by its word.
pub(super) fn malformed_response<N: Net>(x: &Exchange<'_, N>, word: &'static str) -> Failure {
    x.shard.metrics.malformed_responses.increment(word);
    Failure::of(Reason::UpstreamMalformed).detail(word)
}

/// Passes an interim response on (RFC 9110, section 15.2): never to HTTP/1.0, and a 100 only to who asked for it.
async fn relay_interim<N: Net>(
    x: &mut Exchange<'_, N>,
    buffer: &Buffer,
    waiting: &mut Waiting<'_>,
) -> Result<(), Failed> {
    let asked = x.memory.request.fields.has(KnownName::Expect);
    let is_continue = x.memory.response.status == 100;
    if is_continue {
        waiting.continue_at = None;
        if waiting.gate.replace(true) {
            return Ok(());
        }
    }
    if x.memory.request.version == Version::Http10 || (is_continue && !asked) {
        return Ok(());
    }
    let out = relay::interim(x, buffer);
    write_interim(x, out).await
}

/// Tells the client ourselves that its body is welcome.
async fn send_continue<N: Net>(x: &mut Exchange<'_, N>) -> Result<(), Failed> {
    let mut out = x.shard.buffers.small();
    out.vec().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    write_interim(x, out).await
}

async fn write_interim<N: Net>(x: &mut Exchange<'_, N>, out: Buffer) -> Result<(), Failed> {
    let length = out.filled().len() as u64;
    let until = x.cx.started.plus(x.terms.total());
    let patience = Patience { idle: x.terms.idle(), until };
    let (result, out) = super::net::write(&x.connection.writer, out, 0, patience).await;
    x.shard.buffers.give(out);
    x.tally.bytes_out += length;
    result.map_err(|_| Failed::for_good(Failure::client_closed()))
}
