//! A connection to an endpoint for one attempt: picked, taken from the pool or opened, and given back.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::exchange::Exchange;
use super::failure::Failure;
use super::forward::Failed;
use super::h2::{self, Carrier, CarrierParts, Entered};
use super::net::{Net, Reader, Writer};
use super::proxy_header;
use super::secured;
use super::shard::Shard;
use crate::base::{Buffer, EndpointId, Timestamp, UpstreamId};
use crate::http::target::Scheme;
use crate::observe::{EndpointBlock, Reason, Side};
use crate::snapshot::Forward;
use crate::upstream::{
    Acquired, AttemptFailure, Endpoint, FailedAttempt, InFlight, Parked, Permit, Pick, Speaks, Tried, Turn,
    UpstreamState,
};

/// Both halves of an upstream connection.
pub(super) struct Halves<N: Net> {
    pub reader: RefCell<N::Reader>,
    pub writer: RefCell<N::Writer>,
    /// Whether trailers of requests have a place in what is spoken.
    pub takes_trailers: bool,
    /// The buffer of the last response head, for the parked read.
    spare: RefCell<Option<Buffer>>,
}

impl<N: Net> Halves<N> {
    pub fn new((reader, writer): (N::Reader, N::Writer), takes_trailers: bool) -> Self {
        let (reader, writer, spare) = (RefCell::new(reader), RefCell::new(writer), RefCell::new(None));
        Self { reader, writer, takes_trailers, spare }
    }

    fn armed(halves: (N::Reader, N::Writer), takes_trailers: bool, shard: &Shard<N>) -> Self {
        let halves = Self::new(halves, takes_trailers);
        halves.arm(shard);
        halves
    }

    /// Keeps the buffer a response head came in, for the read that waits for the next one.
    pub fn keep_buffer(&self, mut buffer: Buffer, shard: &Shard<N>) {
        buffer.clear();
        if let Some(other) = self.spare.borrow_mut().replace(buffer) {
            shard.buffers.give(other);
        }
    }

    /// Begins the read of the next response: it notices a server's close while the connection is idle, and costs
    /// nothing when the response comes.
    fn arm(&self, shard: &Shard<N>) {
        let buffer = self.spare.borrow_mut().take().unwrap_or_else(|| shard.buffers.small());
        self.reader.borrow_mut().begin_read(buffer, Timestamp::NEVER);
    }
}

/// A connection to an endpoint, in use or parked. Boxed, since every request moves it from the pool to a lease and back.
pub(super) type UpstreamConnection<N> = Box<Opened<N>>;

/// What an [`UpstreamConnection`] is.
pub(super) struct Opened<N: Net> {
    pub halves: Halves<N>,
    opened: Timestamp,
    requests: u32,
    /// The PROXY header that it began with: it carries requests of this client alone.
    client: Option<Box<[u8]>>,
    /// None for a place on a connection that others share: that has one.
    permit: Option<Permit<UpstreamConnection<N>>>,
    /// Behind the halves: they are let go of first.
    _entered: Option<Entered<N>>,
}

impl<N: Net> Opened<N> {
    /// A place on a connection that others share, which has carried so many requests.
    pub fn sharing(
        halves: (N::Reader, N::Writer),
        entered: Entered<N>,
        requests: u32,
        shard: &Shard<N>,
    ) -> UpstreamConnection<N> {
        let opened = entered.opened();
        let halves = Halves::armed(halves, true, shard);
        Box::new(Self { halves, opened, requests, client: None, permit: None, _entered: Some(entered) })
    }

    /// Whether it was used before.
    fn is_reused(&self) -> bool {
        self.requests > 0
    }

    /// Closes the connection for the sake of another in its place, unless it shares one.
    pub fn into_permit(self) -> Option<Permit<UpstreamConnection<N>>> {
        self.permit
    }
}

impl<N: Net> Parked for UpstreamConnection<N> {
    type Carrier = Carrier<N>;

    fn has_ended(&mut self) -> bool {
        // Nobody is woken by a parked connection: it is looked at when it is wanted, and swept.
        let mut cx = Context::from_waker(Waker::noop());
        let reader = self.halves.reader.get_mut();
        !reader.is_reading() || reader.poll_read(&mut cx).is_ready()
    }

    fn opened(&self) -> Timestamp {
        self.opened
    }

    fn requests(&self) -> u32 {
        self.requests
    }
}

/// The connection of one attempt.
pub(super) struct Lease<'a, N: Net> {
    pub connection: UpstreamConnection<N>,
    counted: Counted<'a>,
    guard: InFlight<'a, UpstreamConnection<N>>,
}

/// What is counted for the endpoint of an attempt, which is under way until this is dropped.
struct Counted<'a>(&'a EndpointBlock);

impl<'a> Counted<'a> {
    #[inline]
    fn begin(block: &'a EndpointBlock) -> Self {
        block.attempts_in_flight.rise();
        Self(block)
    }
}

impl Drop for Counted<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.attempts_in_flight.fall();
    }
}

/// Which endpoint is next.
pub(super) struct Choice {
    upstream: UpstreamId,
    tried: Tried,
    next: Option<Pick>,
    last: Option<FailedAttempt>,
}

impl Choice {
    /// Nothing was tried yet.
    pub fn new<N: Net>(x: &Exchange<'_, N>, plan: &Forward) -> Self {
        x.adopted.upstream(plan.upstream).count_request(x.cx.started);
        Self { upstream: plan.upstream, tried: Tried::default(), next: None, last: None }
    }

    /// Notes that the attempt has its connection.
    fn connected<N: Net>(&mut self, x: &mut Exchange<'_, N>, endpoint: EndpointId, reused: bool, now: Timestamp) {
        self.last = Some(FailedAttempt { endpoint, reused });
        x.tally.upstream_reused = reused;
        x.tally.timing.connected = Some(now);
    }

    /// Decides on the endpoint of another attempt, if the budget and the endpoints allow one.
    pub fn another<N: Net>(&mut self, x: &mut Exchange<'_, N>, is_replay: bool, now: Timestamp) -> bool {
        let Some(last) = self.last else { return false };
        let state = x.adopted.upstream(self.upstream);
        let random = x.shard.random.borrow_mut().u64(..);
        let Ok(pick) = state.pick_again(last, &self.tried, now, random) else { return false };
        self.next = Some(pick);
        // What is told of the connection is told of the last attempt.
        x.tally.upstream_reused = false;
        x.tally.timing.connected = None;
        let block = x.adopted.upstream_block(self.upstream, x.shard.number);
        let counter = if is_replay { &block.replays } else { &block.retries };
        counter.increment();
        true
    }
}

/// What was found at the next endpoint.
pub(super) enum Found<'a, N: Net> {
    /// An idle connection.
    Idle(Lease<'a, N>),
    /// A connection is to be opened, or waited for.
    Wanted(Wanted<'a, N>),
}

/// A connection that is not there yet.
pub(super) struct Wanted<'a, N: Net> {
    acquired: Acquired<UpstreamConnection<N>>,
    endpoint: EndpointId,
    counted: Counted<'a>,
    guard: InFlight<'a, UpstreamConnection<N>>,
}

/// Begins an attempt at the next endpoint.
pub(super) fn acquire<'a, N: Net>(
    x: &mut Exchange<'a, N>,
    choice: &mut Choice,
    now: Timestamp,
) -> Result<Found<'a, N>, Failed> {
    let (shard, adopted, upstream) = (x.shard, x.adopted, choice.upstream);
    x.tally.upstream = Some(upstream);
    let state = adopted.upstream(upstream);
    let pick = match choice.next.take() {
        Some(pick) => Some(pick),
        None => state.pick(&choice.tried, now, shard.random.borrow_mut().u64(..)),
    };
    let Some(Pick { endpoint, fresh }) = pick else { return Err(Failed::for_good(Failure::of(Reason::NoEndpoint))) };
    choice.tried.add(endpoint);
    x.tally.endpoint = Some(endpoint);
    let counted = Counted::begin(adopted.endpoint_block(upstream, endpoint, shard.number));
    let guard = state.enter(endpoint);
    match next(x, state, &guard, fresh, now) {
        Acquired::Reuse(connection) => {
            adopted.upstream_block(upstream, shard.number).reused.increment();
            choice.connected(x, endpoint, true, now);
            Ok(Found::Idle(Lease { connection, counted, guard }))
        }
        Acquired::Share(carrier) => {
            let connection = carrier.place();
            if fresh {
                // It is alive: a trial needs no more.
                state.connected(endpoint);
            }
            adopted.upstream_block(upstream, shard.number).reused.increment();
            choice.connected(x, endpoint, true, now);
            Ok(Found::Idle(Lease { connection, counted, guard }))
        }
        acquired => Ok(Found::Wanted(Wanted { acquired, endpoint, counted, guard })),
    }
}

/// A connection that began with `header`, or leave to open one.
#[cold]
fn acquire_own<N: Net>(
    endpoint: &Endpoint<UpstreamConnection<N>>,
    header: &[u8],
    now: Timestamp,
) -> Acquired<UpstreamConnection<N>> {
    endpoint.acquire_own(now, |connection| connection.client.as_deref() == Some(header))
}

/// How an attempt at an endpoint comes to its connection.
#[inline]
fn next<N: Net>(
    x: &Exchange<'_, N>,
    state: &UpstreamState<UpstreamConnection<N>>,
    endpoint: &Endpoint<UpstreamConnection<N>>,
    fresh: bool,
    now: Timestamp,
) -> Acquired<UpstreamConnection<N>> {
    if endpoint.shares() {
        return endpoint.acquire_place(fresh, state.plan().sharing.streams);
    }
    match state.plan().proxy_protocol {
        _ if fresh => endpoint.acquire_fresh(),
        None => endpoint.acquire(now),
        Some(version) => acquire_own(endpoint, &proxy_header::of(x, version), now),
    }
}

impl<'a, N: Net> Wanted<'a, N> {
    /// The connection, before `deadline`.
    pub async fn get(
        self,
        x: &mut Exchange<'a, N>,
        choice: &mut Choice,
        now: Timestamp,
        deadline: Timestamp,
    ) -> Result<Lease<'a, N>, Failed> {
        let Self { acquired, endpoint, counted, guard } = self;
        let connection = connection(x, choice.upstream, endpoint, acquired, deadline).await;
        match connection {
            Ok(connection) => {
                let reused = connection.is_reused();
                if reused {
                    x.adopted.upstream_block(choice.upstream, x.shard.number).reused.increment();
                }
                let now = if reused { now } else { x.shard.net.now() };
                choice.connected(x, endpoint, reused, now);
                Ok(Lease { connection, counted, guard })
            }
            Err(failed) => {
                choice.last = Some(FailedAttempt { endpoint, reused: false });
                counted.0.failed(failed.failure.reason);
                Err(failed)
            }
        }
    }
}

/// The connection, where none was idle.
async fn connection<N: Net>(
    x: &Exchange<'_, N>,
    upstream: UpstreamId,
    endpoint: EndpointId,
    mut acquired: Acquired<UpstreamConnection<N>>,
    deadline: Timestamp,
) -> Result<UpstreamConnection<N>, Failed> {
    let state = x.adopted.upstream(upstream);
    let permit = loop {
        acquired = match acquired {
            Acquired::Reuse(connection) => return Ok(connection),
            Acquired::Share(carrier) => return Ok(carrier.place()),
            Acquired::Open(permit) => break permit,
            Acquired::Full => return Err(Failed::for_good(Failure::of(Reason::PoolExhausted))),
            Acquired::Join(joined) => match in_time(x, joined, deadline).await {
                Some(Err(failure)) if failure.reason != Reason::CallerTimeout => {
                    return Err(Failed { failure, attempt: AttemptFailure::Connect });
                }
                // It was opened, or given up for a caller of less patience.
                Some(_) => next(x, state, state.endpoint(endpoint), false, x.shard.net.now()),
                None => return Err(Failed::for_good(Failure::of(Reason::PoolExhausted).detail("waited"))),
            },
            Acquired::Wait(waiting) => match in_time(x, waiting, deadline).await {
                // One that speaks for a client makes room for one that speaks for this client.
                Some(Turn::Reuse(mut connection)) => {
                    match (connection.has_ended() || connection.client.is_some(), connection.permit.take()) {
                        (true, Some(permit)) => break permit,
                        (true, None) => next(x, state, state.endpoint(endpoint), false, x.shard.net.now()),
                        (false, permit) => {
                            connection.permit = permit;
                            return Ok(connection);
                        }
                    }
                }
                Some(Turn::Open(permit)) => break permit,
                None => return Err(Failed::for_good(Failure::of(Reason::PoolExhausted).detail("waited"))),
            },
        }
    };
    open(x, upstream, endpoint, permit, deadline).await
}

/// The outcome of `future`, unless `deadline` comes first.
async fn in_time<N: Net, T>(x: &Exchange<'_, N>, future: impl Future<Output = T>, deadline: Timestamp) -> Option<T> {
    let (mut future, mut alarm) = (pin!(future), pin!(x.shard.net.sleep(deadline)));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        alarm.as_mut().poll(cx).map(|()| None)
    })
    .await
}

async fn open<N: Net>(
    x: &Exchange<'_, N>,
    upstream: UpstreamId,
    endpoint: EndpointId,
    permit: Permit<UpstreamConnection<N>>,
    deadline: Timestamp,
) -> Result<UpstreamConnection<N>, Failed> {
    let (shard, state) = (x.shard, x.adopted.upstream(upstream));
    let block = x.adopted.upstream_block(upstream, shard.number);
    let opened_by = shard.net.now().plus(state.plan().timeouts.connect);
    let until = opened_by.min(deadline);
    let carriers = state.endpoint(endpoint).carriers();
    let shares = state.endpoint(endpoint).shares();
    let opening = shares.then(|| carriers.opening(Failure::of(Reason::ConnectFailed)));
    let address = state.plan().endpoint(endpoint).address.clone();
    let entry = &x.adopted.snapshot.upstreams[upstream.index()];
    let mut connected = shard.net.connect(&address, until).await.map_err(|error| Failure::of_connect(&error));
    let mut client = None;
    if let (Ok(halves), Some(version)) = (&mut connected, state.plan().proxy_protocol) {
        let header = proxy_header::of(x, version);
        if let Err(failure) = Box::pin(proxy_header::send(shard, &mut halves.1, &header, until)).await {
            connected = Err(failure);
        }
        client = Some(header.as_slice().into());
    }
    let connected = match (connected, &entry.tls) {
        (Ok(halves), Some(tls)) => {
            let peer = entry.endpoints[endpoint.index()].peer.as_ref();
            Box::pin(secured::connect(shard, halves, tls, peer, until)).await
        }
        (connected, _) => connected.map(|halves| (halves, false)),
    };
    let connected = connected.and_then(|(halves, chosen)| {
        spoken(state.plan().speaks, entry.tls.is_some(), chosen).map(|shares| (halves, shares))
    });
    let now = shard.net.now();
    match connected {
        Ok((halves, shares)) => {
            block.connects.increment();
            state.connected(endpoint);
            state.endpoint(endpoint).carriers().learn(shares);
            if !shares {
                opening.into_iter().for_each(|opening| opening.end(Ok(())));
                let (halves, permit) = (Halves::armed(halves, false, shard), Some(permit));
                return Ok(Box::new(Opened { halves, opened: now, requests: 0, client, permit, _entered: None }));
            }
            let parts = CarrierParts {
                halves,
                metrics: Arc::clone(&entry.metrics),
                endpoint: Rc::clone(state.endpoint(endpoint)),
                sharing: state.plan().sharing,
                scheme: if entry.tls.is_some() { Scheme::Https } else { Scheme::Http },
                permit,
            };
            let failed = |failure| Failed { failure, attempt: AttemptFailure::Connect };
            // Others wait for it too, and longer than this one may.
            h2::carry(shard, &x.adopted.snapshot, parts, opening, opened_by).await.map_err(failed)
        }
        Err(failure) => {
            let failure = hastened(x, failure, until);
            opening.into_iter().for_each(|opening| opening.end(Err(failure)));
            block.connect_failures.increment();
            // What we lack ourselves is no fault of the endpoint, nor is a caller that would not wait.
            if !matches!(failure.reason, Reason::NoResources | Reason::CallerTimeout) {
                state.connect_failed(endpoint, now, shard.random.borrow_mut().u64(..));
            }
            Err(Failed { failure, attempt: AttemptFailure::Connect })
        }
    }
}

/// The same failure, or that the caller would not wait any longer than `until`.
fn hastened<N: Net>(x: &Exchange<'_, N>, failure: Failure, until: Timestamp) -> Failure {
    let is_cut_short = failure.reason.is_timeout() && x.caller_waits_until() <= until;
    if is_cut_short { Failure::of(Reason::CallerTimeout) } else { failure }
}

/// Whether requests share a connection on which this was chosen, or why there is no such connection.
fn spoken(speaks: Speaks, is_secured: bool, chosen: bool) -> Result<bool, Failure> {
    match speaks {
        Speaks::Http1 => Ok(false),
        Speaks::Http2 if is_secured && !chosen => Err(Failure::of(Reason::TlsHandshake).detail("no-http2")),
        Speaks::Http2 => Ok(true),
        Speaks::Either => Ok(chosen),
    }
}

impl<N: Net> Lease<'_, N> {
    /// Ends the attempt: `Ok(true)` keeps the connection for the next one.
    pub fn end(mut self, x: &mut Exchange<'_, N>, outcome: Result<bool, Reason>) {
        let now = x.shard.net.now();
        match outcome {
            Ok(_) => {
                self.counted.0.answered(x.tally.status);
                // Nothing is waited for behind a response.
                x.ended = Some(now);
            }
            Err(reason) if reason.side() == Side::Upstream => self.counted.0.failed(reason),
            Err(_) => {}
        }
        if self.connection.permit.is_none() {
            // A stream is not used twice.
            return;
        }
        self.connection.requests = self.connection.requests.saturating_add(1);
        if outcome == Ok(true) && !x.shard.is_draining() {
            self.connection.halves.arm(x.shard);
            self.guard.give_back(self.connection, now);
        } else if outcome.is_ok() {
            self.connection.halves.writer.get_mut().take_leave();
        }
    }
}
