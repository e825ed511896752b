//! One core's state: what has happened here, without locks. Plans live in the snapshot, shared figures in `observe`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::adopted::Adopted;
use super::connection::Connection;
use super::downstream::{self, Serving};
use super::exchange::{Next, Scratch};
use super::net::{Net, Reader, Writer};
use super::shell::{self, Accepted};
use super::tls::CipherBuffers;
use crate::base::{BufferPool, RouteId, Shelf, Slot, Timestamp};
use crate::http::date::{DateCache, IMF_FIXDATE_BYTES};
use crate::observe::{LineFormat, Outbox, Record, Recorded, ShardMetrics};
use crate::route::{Captures, Subject};
use crate::snapshot::Snapshot;

/// Free small buffers a shard keeps.
const SMALL_BUFFERS_FREE_MAX: usize = 1024;
/// Free large buffers a shard keeps.
const LARGE_BUFFERS_FREE_MAX: usize = 64;
/// Free exchange places, and free scratches, that a shard keeps.
const SESSIONS_FREE_MAX: usize = 1024;

/// How often idle upstream connections are looked at.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// A place for the exchanges of a connection.
pub(super) type SessionSlot<N> = Slot<(Rc<Shard<N>>, Rc<Connection<N>>), Next>;

/// One core's world.
pub struct Shard<N: Net> {
    pub(super) net: N,
    pub(super) number: usize,
    pub(super) buffers: BufferPool,
    pub(super) cipher_buffers: Rc<CipherBuffers>,
    pub(super) metrics: Arc<ShardMetrics>,
    pub(super) random: RefCell<fastrand::Rng>,
    shards: u32,
    log: RefCell<Outbox>,
    adopted: RefCell<Rc<Adopted<N>>>,
    prepared: RefCell<Option<Arc<Snapshot>>>,
    connections: RefCell<Vec<Option<Rc<Connection<N>>>>>,
    vacant: RefCell<Vec<u32>>,
    open: Cell<usize>,
    sessions: Shelf<SessionSlot<N>>,
    scratches: Shelf<Box<Scratch>>,
    draining: Cell<bool>,
    next_sweep: Cell<Timestamp>,
    date: RefCell<DateCache>,
}

/// What a shard is made of.
pub struct ShardParts<N: Net> {
    pub net: N,
    /// From 0.
    pub number: usize,
    /// How many there are.
    pub shards: u32,
    pub snapshot: Arc<Snapshot>,
    pub metrics: Arc<ShardMetrics>,
    pub log: Outbox,
    /// Seeds every random choice of this shard.
    pub seed: u64,
}

impl<N: Net> Shard<N> {
    /// A shard where nothing has happened yet.
    pub fn new(parts: ShardParts<N>) -> Rc<Self> {
        let mut random = fastrand::Rng::with_seed(parts.seed);
        parts.metrics.generation.set(parts.snapshot.generation);
        let adopted = Adopted::new(parts.snapshot, None, parts.shards, &mut random);
        Rc::new(Self {
            net: parts.net,
            number: parts.number,
            cipher_buffers: Rc::default(),
            buffers: BufferPool::new(SMALL_BUFFERS_FREE_MAX, LARGE_BUFFERS_FREE_MAX),
            metrics: parts.metrics,
            random: RefCell::new(random),
            shards: parts.shards,
            log: RefCell::new(parts.log),
            adopted: RefCell::new(Rc::new(adopted)),
            prepared: RefCell::default(),
            connections: RefCell::default(),
            vacant: RefCell::default(),
            open: Cell::new(0),
            sessions: Shelf::new(SESSIONS_FREE_MAX),
            scratches: Shelf::new(SESSIONS_FREE_MAX),
            draining: Cell::new(false),
            next_sweep: Cell::default(),
            date: RefCell::default(),
        })
    }

    /// The newest plan; whoever needs it for longer than a moment keeps it.
    pub(super) fn adopted(&self) -> Rc<Adopted<N>> {
        self.adopted.borrow().clone()
    }

    /// The route of a request; its captures are left in `captures`.
    pub(super) fn find(&self, adopted: &Adopted<N>, subject: &Subject<'_>, captures: &mut Captures) -> Option<RouteId> {
        let mut scratch = adopted.scratch.borrow_mut();
        let route = adopted.snapshot.table.find(subject, &mut scratch)?;
        captures.clone_from(scratch.captures());
        Some(route)
    }

    /// Whether connections are to end after their current exchange.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The value of a `Date` field, as of now.
    pub(super) fn date(&self) -> [u8; IMF_FIXDATE_BYTES] {
        *self.date.borrow_mut().at(self.net.unix_time())
    }

    /// Writes a line of the access log, from elsewhere than an exchange.
    #[cold]
    pub(super) fn log_apart(&self, format: &LineFormat, record: &Record<'_>, now: Timestamp) {
        self.log(format, record, now);
    }

    /// Writes a line of the access log.
    // Inlined into the end of an exchange, though others log as well.
    #[inline(always)]
    pub(super) fn log(&self, format: &LineFormat, exchange: &impl Recorded, now: Timestamp) {
        let mut log = self.log.borrow_mut();
        log.write(format, exchange, now);
        // The writer ends soon after the last shard; nothing may be left here.
        if self.draining.get() {
            log.flush();
        }
    }

    pub(super) fn count_panic(&self) {
        self.metrics.panics.increment();
    }

    pub(super) fn session_slot(&self) -> SessionSlot<N> {
        self.sessions.take().unwrap_or_else(|| Slot::new(downstream::requests))
    }

    pub(super) fn give_session_slot(&self, slot: SessionSlot<N>) {
        self.sessions.give(slot);
    }

    pub(super) fn scratch(&self) -> Box<Scratch> {
        self.scratches.take().unwrap_or_default()
    }

    pub(super) fn give_scratch(&self, scratch: Box<Scratch>) {
        self.scratches.give(scratch);
    }

    /// The connection on what was accepted, unless its listener is gone.
    fn connection(&self, accepted: Accepted<N>) -> Option<Rc<Connection<N>>> {
        let listener = self.adopted().snapshot.listener_named(&accepted.listener)?.clone();
        let halves = (accepted.reader, accepted.writer);
        let ends = (accepted.peer, accepted.local);
        Some(Rc::new(Connection::new(halves, ends, listener, self.net.now())))
    }

    /// Counts and lists a connection; [`Self::leave`] takes it out again.
    pub(super) fn enter(&self, connection: &Rc<Connection<N>>) -> u32 {
        self.open.set(self.open.get() + 1);
        self.metrics.connections_accepted.increment();
        self.metrics.connections_open.rise();
        let mut connections = self.connections.borrow_mut();
        if let Some(place) = self.vacant.borrow_mut().pop() {
            connections[place as usize] = Some(connection.clone());
            return place;
        }
        let place = u32::try_from(connections.len()).expect("descriptors are bounded far below u32::MAX");
        connections.push(Some(connection.clone()));
        place
    }

    /// Changes a connection that nobody but its task and the list knows; `false` if somebody does.
    pub(super) fn change(
        &self,
        place: u32,
        connection: &mut Rc<Connection<N>>,
        change: impl FnOnce(&mut Connection<N>),
    ) -> bool {
        self.connections.borrow_mut()[place as usize] = None;
        let alone = Rc::get_mut(connection).map(change).is_some();
        self.connections.borrow_mut()[place as usize] = Some(connection.clone());
        alone
    }

    pub(super) fn leave(&self, place: u32) {
        self.open.set(self.open.get() - 1);
        self.metrics.connections_open.fall();
        let connection = self.connections.borrow_mut()[place as usize].take();
        if let Some(connection) = connection {
            self.metrics.connections_closed.increment(connection.ended.get());
        }
        self.vacant.borrow_mut().push(place);
    }

    fn each_connection(&self, visit: impl Fn(&Connection<N>)) {
        // A copy, since a visited connection may end and leave.
        let connections: Vec<_> = self.connections.borrow().iter().flatten().cloned().collect();
        connections.iter().for_each(|connection| visit(connection));
    }
}

impl<N: Net> shell::Shard for Shard<N> {
    type Net = N;

    fn serve(self: Rc<Self>, accepted: Accepted<N>) -> impl Future<Output = ()> + 'static {
        let mut serving = self.connection(accepted).map(|connection| Serving::new(self, connection));
        poll_fn(move |cx| serving.as_mut().map_or(Poll::Ready(()), |serving| Pin::new(serving).poll(cx)))
    }

    fn prepare(&self, snapshot: &Arc<Snapshot>) -> Result<(), String> {
        *self.prepared.borrow_mut() = Some(snapshot.clone());
        Ok(())
    }

    fn commit(&self, generation: u64) {
        let Some(snapshot) = self.prepared.borrow_mut().take_if(|snapshot| snapshot.generation == generation) else {
            return;
        };
        let before = self.adopted();
        let adopted = Adopted::new(snapshot, Some(&before), self.shards, &mut self.random.borrow_mut());
        before.retract_connections(self.number);
        adopted.publish_connections(self.number);
        *self.adopted.borrow_mut() = Rc::new(adopted);
        self.metrics.generation.set(generation);
        self.metrics.snapshots_adopted.increment();
    }

    fn abort(&self, generation: u64) {
        self.prepared.borrow_mut().take_if(|snapshot| snapshot.generation == generation);
    }

    fn drain(&self) {
        self.draining.set(true);
        self.log.borrow_mut().flush();
        // One that waits for its next request is given less time for it.
        self.each_connection(|connection| connection.reader.borrow_mut().wake());
        // A connection that carries many requests ends with the last of them.
        self.adopted().upstreams().iter().for_each(|upstream| upstream.wake_carriers());
    }

    fn stop(&self) {
        self.each_connection(|connection| {
            if !connection.stop_tunnel() {
                connection.writer.borrow_mut().abort();
            }
        });
    }

    fn open_connections(&self) -> usize {
        self.open.get()
    }

    fn tick(&self, now: Timestamp) {
        self.log.borrow_mut().tick(now);
        self.buffers.trim();
        self.cipher_buffers.trim();
        self.sessions.trim();
        self.scratches.trim();
        if now >= self.next_sweep.get() {
            self.next_sweep.set(now.plus(SWEEP_PERIOD));
            let adopted = self.adopted();
            adopted.upstreams().iter().for_each(|upstream| upstream.sweep(now));
            adopted.publish_connections(self.number);
        }
    }
}
