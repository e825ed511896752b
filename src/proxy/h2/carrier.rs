//! A connection to an endpoint on which HTTP/2 is spoken: requests of many exchanges share it, each as a stream with
//! halves of its own (`asking.rs`), and a task of its own drives it (`drive.rs`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;

use super::asking::{AskReader, AskWriter, Asking};
use super::io::Ends;
use super::session::Session;
use crate::base::Timestamp;
use crate::http::h2::budget::Flood;
use crate::http::target::Scheme;
use crate::observe::{UpstreamBlock, UpstreamMetrics};
use crate::proxy::failure::Failure;
use crate::proxy::lease::{Opened, UpstreamConnection};
use crate::proxy::net::Net;
use crate::proxy::shard::Shard;
use crate::upstream::{self, Endpoint, Permit, Sharing};

/// How long a connection that refused a request is the last choice of who tries again.
const REFUSAL_COUNTS: Duration = Duration::from_secs(1);

/// Streams that are left to end; beyond, one is cancelled.
const TAILS_MAX: usize = 128;

/// One connection.
pub(in crate::proxy) struct Carrier<N: Net> {
    pub(super) shard: Rc<Shard<N>>,
    metrics: Arc<UpstreamMetrics>,
    pub(super) endpoint: Rc<Endpoint<UpstreamConnection<N>>>,
    pub(super) session: Rc<Session>,
    reader: RefCell<N::Reader>,
    writer: RefCell<N::Writer>,
    /// Until it takes no more.
    pub(super) requests: RefCell<Option<SendRequest<Bytes>>>,
    pub(super) scheme: Scheme,
    sharing: Sharing,
    /// Requests that the endpoint allows at once; none before it has said so.
    pub(super) allowed: Cell<Option<u32>>,
    /// Whether the endpoint has sent its settings.
    is_settled: Cell<bool>,
    /// Who waits for that.
    unsettled: RefCell<Vec<Waker>>,
    refused_at: Cell<Option<Timestamp>>,
    /// Why it has broken, where we know better than the library.
    pub(super) broken: Cell<Option<&'static str>>,
    pub(super) opened: Timestamp,
    /// Streams of answers that are complete but for their end.
    tails: RefCell<Vec<RecvStream>>,
    /// Requests that it has carried.
    carried: Cell<u32>,
    _permit: Permit<UpstreamConnection<N>>,
}

/// What a connection is made of.
pub(in crate::proxy) struct CarrierParts<N: Net> {
    pub halves: (N::Reader, N::Writer),
    pub metrics: Arc<UpstreamMetrics>,
    pub endpoint: Rc<Endpoint<UpstreamConnection<N>>>,
    pub sharing: Sharing,
    pub scheme: Scheme,
    pub permit: Permit<UpstreamConnection<N>>,
}

impl<N: Net> Carrier<N> {
    pub fn new(shard: &Rc<Shard<N>>, parts: CarrierParts<N>) -> Rc<Self> {
        let now = shard.net.now();
        Rc::new(Self {
            shard: Rc::clone(shard),
            metrics: parts.metrics,
            endpoint: parts.endpoint,
            session: Rc::new(Session::of_upstream(now)),
            reader: RefCell::new(parts.halves.0),
            writer: RefCell::new(parts.halves.1),
            requests: RefCell::new(None),
            scheme: parts.scheme,
            sharing: parts.sharing,
            allowed: Cell::new(None),
            is_settled: Cell::new(false),
            unsettled: RefCell::default(),
            refused_at: Cell::new(None),
            broken: Cell::new(None),
            opened: now,
            tails: RefCell::default(),
            carried: Cell::new(0),
            _permit: parts.permit,
        })
    }

    /// A place for one more request.
    pub fn place(self: &Rc<Self>) -> UpstreamConnection<N> {
        let carried = self.carried.get();
        self.carried.set(carried.saturating_add(1));
        let entered = Entered::new(self);
        self.make_way();
        let asking = Rc::new(RefCell::new(Asking::new(Rc::clone(self))));
        let reader = AskReader::new(&self.shard, &asking);
        let writer = AskWriter::new(&self.shard, asking);
        let halves = self.shard.net.stream(Box::new(reader), Box::new(writer));
        Opened::sharing(halves, entered, carried, &self.shard)
    }

    /// Whether requests may still begin.
    pub fn is_open(&self) -> bool {
        self.requests.borrow().is_some() && !self.session.follower.borrow().leaves() && self.flood().is_none()
    }

    /// Whether the endpoint takes an extended CONNECT, once it has said so (RFC 8441, section 3). True as well where the
    /// connection is lost, for that is no answer.
    pub(super) fn poll_connects(&self, cx: &Context<'_>) -> Poll<bool> {
        let requests = self.requests.borrow();
        let Some(requests) = requests.as_ref() else { return Poll::Ready(true) };
        if !self.is_settled.get() {
            let mut unsettled = self.unsettled.borrow_mut();
            if !unsettled.iter().any(|known| known.will_wake(cx.waker())) {
                unsettled.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        Poll::Ready(requests.is_extended_connect_protocol_enabled())
    }

    /// The endpoint has sent its settings, or the connection has ended.
    pub(super) fn settled(&self) {
        if !self.is_settled.replace(true) {
            self.unsettled.take().into_iter().for_each(Waker::wake);
        }
    }

    /// What the endpoint has done too often.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.session.flood()
    }

    /// Requests that it has carried, those under way included.
    pub(super) fn carried(&self) -> u32 {
        self.carried.get()
    }

    /// The endpoint has said that it did not process a request.
    pub(super) fn refused(&self) {
        self.refused_at.set(Some(self.shard.net.now()));
    }

    /// What is counted for the upstream.
    pub(super) fn block(&self) -> &UpstreamBlock {
        self.metrics.at(self.shard.number)
    }

    /// Keeps a stream until it ends.
    pub(super) fn leave_to_end(&self, tail: RecvStream) {
        let mut tails = self.tails.borrow_mut();
        if tails.len() < TAILS_MAX && self.is_open() {
            tails.push(tail);
            self.session.wake();
        }
    }

    /// Lets go of streams left to end, the oldest first, that stand in the way of those under way: the endpoint counts both.
    fn make_way(&self) {
        let mut tails = self.tails.borrow_mut();
        let taken = self.session.streams() as usize + tails.len();
        let excess = taken.saturating_sub(self.limit() as usize).min(tails.len());
        tails.drain(..excess);
    }

    /// Lets go of streams that have ended, or bring what nobody wants.
    pub(super) fn poll_tails(&self, cx: &mut Context<'_>) {
        self.tails.borrow_mut().retain_mut(|tail| {
            loop {
                match tail.poll_data(cx) {
                    Poll::Pending => return true,
                    Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                    Poll::Ready(_) => return false,
                }
            }
        });
    }

    /// Lets go of all of them.
    pub(super) fn drop_tails(&self) {
        self.tails.borrow_mut().clear();
    }

    fn limit(&self) -> u32 {
        self.sharing.streams.min(self.allowed.get().unwrap_or(0))
    }

    pub(super) fn sharing(&self) -> &Sharing {
        &self.sharing
    }
}

impl<N: Net> Ends<N> for Carrier<N> {
    fn reader(&self) -> &RefCell<N::Reader> {
        &self.reader
    }

    fn writer(&self) -> &RefCell<N::Writer> {
        &self.writer
    }
}

impl<N: Net> upstream::Carrier for Carrier<N> {
    type Failure = Failure;

    fn room(&self) -> u32 {
        if self.is_open() { self.limit().saturating_sub(self.session.streams()) } else { 0 }
    }

    fn has_refused(&self) -> bool {
        self.refused_at.get().is_some_and(|at| self.shard.net.now() < at.plus(REFUSAL_COUNTS))
    }

    fn is_stopped(&self) -> bool {
        self.allowed.get() == Some(0) && self.is_open()
    }

    fn is_idle(&self) -> bool {
        self.session.is_idle()
    }

    fn retire(&self) {
        drop(self.requests.borrow_mut().take());
        self.session.wake();
    }

    fn wake(&self) {
        self.session.wake();
    }
}

impl<N: Net> std::fmt::Debug for Carrier<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").field("streams", &self.session.streams()).finish_non_exhaustive()
    }
}

/// A request's place on a connection, until this is dropped.
pub(in crate::proxy) struct Entered<N: Net> {
    carrier: Rc<Carrier<N>>,
}

impl<N: Net> Entered<N> {
    fn new(carrier: &Rc<Carrier<N>>) -> Self {
        if carrier.session.is_idle() {
            // Silence counts from here.
            carrier.session.received_at.set(carrier.shard.net.now());
        }
        carrier.session.enter();
        carrier.block().http2_streams_open.rise();
        Self { carrier: Rc::clone(carrier) }
    }

    /// When the connection was opened.
    pub fn opened(&self) -> Timestamp {
        self.carrier.opened
    }
}

impl<N: Net> Drop for Entered<N> {
    fn drop(&mut self) {
        let carrier = &self.carrier;
        carrier.block().http2_streams_open.fall();
        carrier.session.leave(carrier.shard.net.now());
        let waited_for = carrier.endpoint.permits().waiting_count() > 0;
        if waited_for || carrier.shard.is_draining() || !carrier.is_open() {
            // Whoever drives the connection hands the place on, or ends it.
            carrier.session.wake();
        }
    }
}
