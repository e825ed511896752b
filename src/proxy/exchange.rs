//! One request and its response. The pipeline is a function: the text of [`answer`] is the order.

use std::rc::Rc;
use std::time::Duration;

use super::adopted::Adopted;
use super::call::{self, Call};
use super::connection::{Connection, IpText};
use super::failure::Failure;
use super::net::Net;
use super::shard::Shard;
use super::terms::Terms;
use super::watch::Watch;
use super::{admit, forward, identify, respond};
use crate::base::{Buffer, EndpointId, RouteId, Timestamp, UnixTime, UpstreamId};
use crate::context::RequestContext;
use crate::http::grpc::Code;
use crate::http::h1::{HeadScanner, Hop};
use crate::http::header::KnownName;
use crate::http::target::Scheme;
use crate::http::{Body, Method, Protocol, RequestHead, ResponseHead, Span, Version};
use crate::observe::{Escaped, Field, LineFormat, Reason, Record, Recorded, Times, Timing};
use crate::policy::transform::HeaderEdits;
use crate::route::{Captures, Subject};
use crate::snapshot::{Action, CHALLENGES, ListenerPlan, RoutePlan};

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It may bring another request.
    Idle,
    /// It is closed in stages, so that the client reads our last answer.
    Linger,
    /// It is closed at once.
    Close,
}

/// Answers the request whose head stands in `x`, or says why not.
pub(super) async fn answer<N: Net>(x: &mut Exchange<'_, N>) -> Result<(), Failure> {
    if x.memory.request.fields.has(KnownName::ContentType) {
        call::recognise(x);
    }
    identify::identify(x)?;
    if identify::ends_here(x) {
        return respond::options(x).await;
    }
    if x.listener.https_port.is_some() && x.connection.scheme() == Scheme::Http && !is_challenge(x) {
        return respond::to_https(x).await;
    }
    let route = x.route()?;
    if let Some(call) = x.call {
        call::begin(x, call, route)?;
    }
    admit::admit(x, route)?;
    match &route.action {
        Action::Forward(plan) => forward::send(x, route, plan).await,
        Action::Redirect(plan) => respond::redirect(x, Some(route), plan).await,
        Action::Respond(plan) => respond::fixed(x, route, plan).await,
    }
}

/// Whether an authority asks for what it must find by plain text, and a route was made for that.
#[cold]
fn is_challenge<N: Net>(x: &mut Exchange<'_, N>) -> bool {
    let path = x.cx.path(&x.memory.request, x.buffer.filled(), &x.memory.written);
    path.starts_with(CHALLENGES.as_bytes())
        && x.find().is_some_and(|route| x.adopted.snapshot.route(route).answers_challenges)
}

/// What one exchange after another is worked out in; it moves as a pointer.
#[derive(Default)]
pub(super) struct Scratch {
    pub memory: Memory,
    cx: RequestContext,
    tally: Tally,
}

/// What is read from the messages; clearing it keeps its allocations.
#[derive(Default)]
pub(super) struct Memory {
    pub scanner: HeadScanner,
    pub request: RequestHead,
    pub response: ResponseHead,
    /// Canonical forms that differ from what was received.
    pub written: Vec<u8>,
    pub captures: Captures,
}

impl Memory {
    /// Forgets the exchange before.
    pub fn reset(&mut self) {
        self.scanner = HeadScanner::default();
        self.request.method = Method::default();
        self.request.method_text = Span::default();
        self.request.target = Span::default();
        self.request.version = Version::default();
        self.request.length = 0;
        self.request.body = Body::Empty;
        self.request.fields.clear();
        self.written.clear();
    }
}

/// What the log and the metrics will say.
#[derive(Default)]
pub(super) struct Tally {
    pub timing: Timing,
    /// Of the response that was begun; 0 before.
    pub status: u16,
    pub reason: Reason,
    pub detail: &'static str,
    pub upstream: Option<UpstreamId>,
    pub endpoint: Option<EndpointId>,
    pub attempts: u32,
    pub upstream_reused: bool,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// What a call of gRPC has ended with.
    pub grpc: Option<Code>,
}

/// One exchange under way.
pub(super) struct Exchange<'a, N: Net> {
    pub shard: &'a Rc<Shard<N>>,
    /// The plan this exchange began with; it keeps it across a reload.
    pub adopted: &'a Adopted<N>,
    pub connection: &'a Connection<N>,
    pub listener: &'a ListenerPlan,
    pub terms: Terms<'a>,
    /// Holds the received head, and what came behind it.
    pub buffer: &'a mut Buffer,
    pub memory: &'a mut Memory,
    pub cx: &'a mut RequestContext,
    pub hop: Hop,
    pub tally: &'a mut Tally,
    /// What there is of a call of gRPC, if it is one.
    pub call: Option<Call>,
    pub watch: Watch,
    /// Octets of the buffer that belong to this request.
    pub consumed: usize,
    /// Whether the request's content was read to its end, or there is none.
    pub body_read: bool,
    /// Whether octets of the body were read that are not in the buffer, or a read of them is under way: the request
    /// cannot be sent again.
    pub body_gone: bool,
    /// Whether the response ends where the connection does.
    pub close_delimited: bool,
    /// Whether the connection may bring another request.
    pub persistent: bool,
    /// The wall clock as of the request's head.
    pub wall: UnixTime,
    /// When it ended, where that is known already.
    pub ended: Option<Timestamp>,
    pub next: Next,
}

impl<'a, N: Net> Exchange<'a, N> {
    /// An exchange whose request head stands in the scratch, or is refused: then all that was received belongs to it.
    #[expect(clippy::too_many_arguments, reason = "the parts of an exchange, put together here and nowhere else")]
    #[inline]
    pub fn begin(
        shard: &'a Rc<Shard<N>>,
        adopted: &'a Adopted<N>,
        connection: &'a Connection<N>,
        listener: &'a ListenerPlan,
        buffer: &'a mut Buffer,
        scratch: &'a mut Scratch,
        started: Timestamp,
        is_refused: bool,
    ) -> Self {
        let Scratch { memory, cx, tally } = scratch;
        cx.begin(started);
        *tally = Tally { timing: Timing { started, ..Timing::default() }, ..Tally::default() };
        tally.timing.parsed = Some(shard.net.now());
        shard.metrics.requests.increment();
        Self {
            shard,
            adopted,
            connection,
            listener,
            terms: Terms::of(listener),
            consumed: if is_refused { buffer.filled().len() } else { memory.request.length },
            body_read: !is_refused && matches!(memory.request.body, Body::Empty | Body::Length(0)),
            buffer,
            memory,
            cx,
            hop: Hop::default(),
            watch: Watch::Off,
            tally,
            call: None,
            body_gone: false,
            close_delimited: false,
            persistent: !is_refused,
            wall: shard.net.unix_time(),
            ended: None,
            next: Next::Idle,
        }
    }

    #[inline(always)]
    fn find(&mut self) -> Option<RouteId> {
        let (head, bytes) = (&self.memory.request, self.buffer.filled());
        let subject = Subject {
            host: self.cx.host(bytes, &self.memory.written),
            path: self.cx.path(head, bytes, &self.memory.written),
            query: self.cx.query(head, bytes),
            known_method: head.method,
            method: head.method_text.of(bytes),
            fields: &head.fields,
            bytes,
        };
        self.shard.find(self.adopted, &subject, &mut self.memory.captures)
    }

    /// The route the request takes.
    fn route(&mut self) -> Result<&'a RoutePlan, Failure> {
        let id = self.find().ok_or(Failure::of(Reason::NoRoute))?;
        self.cx.route = Some(id);
        let route: &'a RoutePlan = self.adopted.snapshot.route(id);
        self.terms = self.terms.on_route(route);
        self.tally.timing.routed = Some(self.shard.net.now());
        Ok(route)
    }

    /// Whether the response may leave the connection open.
    pub fn keeps_alive(&self) -> bool {
        self.persistent
            && self.memory.request.version == Version::Http11
            && !self.shard.is_draining()
            && self.connection.requests.get() < self.terms.requests_per_connection()
    }

    /// Whether the request came by a stream of HTTP/2.
    #[inline]
    pub fn is_stream(&self) -> bool {
        self.connection.carrier.is_some()
    }

    /// What the client speaks.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        if self.is_stream() { Protocol::Http2 } else { self.memory.request.version.into() }
    }

    /// How long an attempt may wait for its response head.
    pub fn response_head_timeout(&self) -> Duration {
        self.tally
            .upstream
            .map_or(self.terms.exchange(), |id| self.adopted.snapshot.upstream(id).timeouts.response_head)
    }

    /// The value of a header field of the request.
    pub fn field(&self, name: KnownName) -> Option<&[u8]> {
        self.memory.request.fields.first(name, self.buffer.filled())
    }

    /// Records the exchange and says what becomes of the connection.
    pub fn finish(&mut self) -> Next {
        self.tally.bytes_in += self.consumed as u64;
        let now = self.ended.unwrap_or_else(|| self.shard.net.now());
        self.record(now);
        self.connection.idle_since.set(now);
        if self.next != Next::Idle {
            self.connection.ended.set(self.tally.reason);
        }
        self.buffer.consume(self.consumed);
        match self.next {
            Next::Idle if !self.persistent => Next::Linger,
            next => next,
        }
    }

    /// What every answer says of how to come again. Not by plain text (RFC 6797, section 7.2), which a connection may speak
    /// that is older than the listener's certificates.
    #[inline]
    pub fn hsts(&self) -> Option<&'a HeaderEdits> {
        self.listener.hsts.as_ref().filter(|_| self.connection.scheme() == Scheme::Https)
    }

    // Not inlined: what it keeps in registers must not compete with the exchange's own.
    #[inline(never)]
    fn record(&self, now: Timestamp) {
        let (tally, shard) = (&self.tally, self.shard);
        let times = tally.timing.times(now);
        shard.metrics.finish(tally.reason, tally.bytes_in, tally.bytes_out);
        if let Some(route) = self.cx.route {
            let block = self.adopted.route_block(route, shard.number);
            block.finish(tally.status, times.total, tally.bytes_in, tally.bytes_out);
        }
        let snapshot = &self.adopted.snapshot;
        if let (Some(id), Some(micros)) = (tally.upstream, times.first_byte) {
            snapshot.upstreams[id.index()].metrics.at(shard.number).first_byte(micros);
        }
        if let Some(code) = tally.grpc {
            self.record_call(code);
        }
        let Some(format) = snapshot.log_format.as_deref() else { return };
        let other_client = self.other_client();
        let client = other_client.as_ref().unwrap_or(&self.connection.peer_text).as_bytes();
        shard.log(format, &Finished { x: self, format, times, now, client }, now);
    }

    #[cold]
    #[inline(never)]
    fn record_call(&self, code: Code) {
        if let Some(route) = self.cx.route {
            self.adopted.route_block(route, self.shard.number).calls.count(code.number());
        }
        if let Some(upstream) = self.tally.upstream {
            self.adopted.upstream_block(upstream, self.shard.number).calls.count(code.number());
        }
    }

    /// The text of the client's address where the client may be another than the peer.
    fn other_client(&self) -> Option<IpText> {
        let is_peer = !self.cx.peer_is_trusted && self.listener.client_address.is_none();
        if is_peer { None } else { Some(self.connection.client_text(self.cx.client)) }
    }
}

/// An exchange that has ended, for the log.
struct Finished<'a, N: Net> {
    x: &'a Exchange<'a, N>,
    format: &'a LineFormat,
    times: Times,
    now: Timestamp,
    client: &'a [u8],
}

impl<N: Net> Recorded for Finished<'_, N> {
    #[inline(always)]
    fn record(&self) -> Record<'_> {
        let Self { x, format, times, now, client } = *self;
        let (tally, snapshot) = (&x.tally, &x.adopted.snapshot);
        let (head, bytes) = (&x.memory.request, x.buffer.filled());
        let method = head.method_text;
        let upstream = tally.upstream.map(|id| &snapshot.upstreams[id.index()]);
        let endpoint = upstream.zip(tally.endpoint).map(|(entry, id)| &entry.endpoints[id.index()]);
        let logged = |field, name| if format.has(field) { x.field(name).unwrap_or_default() } else { b"" };
        Record {
            request_id: Escaped::plain(x.cx.request_id.as_bytes()),
            time: x.wall.plus_nanos(now.nanos_since(tally.timing.parsed.unwrap_or(now))),
            listener: x.listener.label.as_escaped(),
            client: Escaped::plain(client),
            method: Escaped::front_of(bytes.get(method.start as usize..).unwrap_or_default(), method.len()),
            host: Escaped::plain(x.cx.host(bytes, &x.memory.written)),
            path: x.cx.path(head, bytes, &x.memory.written),
            query: if format.has(Field::Query) { x.cx.query(head, bytes).unwrap_or_default() } else { b"" },
            protocol: Escaped::plain(x.protocol().text()),
            status: tally.status,
            route: x.cx.route.map_or(Escaped::default(), |id| snapshot.route(id).label.as_escaped()),
            upstream: upstream.map_or(Escaped::default(), |entry| entry.label.as_escaped()),
            endpoint: endpoint.map_or(Escaped::default(), |entry| entry.label.as_escaped()),
            attempts: tally.attempts,
            bytes_in: tally.bytes_in,
            bytes_out: tally.bytes_out,
            times,
            reason: tally.reason,
            detail: tally.detail,
            trace_id: x.cx.trace.as_ref().map_or(Escaped::default(), |trace| Escaped::plain(&trace.id)),
            user_agent: logged(Field::UserAgent, KnownName::UserAgent),
            referer: logged(Field::Referer, KnownName::Referer),
            client_reused: x.connection.requests.get() > 1,
            upstream_reused: tally.upstream_reused,
            grpc_status: tally.grpc.map(Code::number),
            transport: x.connection.secured.get().map(|secured| &secured.transport),
            peer: Escaped::plain(x.connection.socket_peer_text()),
            introduction: x.connection.introduced.as_ref().map(|introduced| &introduced.claims),
        }
    }
}
