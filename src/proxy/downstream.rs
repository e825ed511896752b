//! The client side of a connection: waiting for requests and serving one after the other.
//!
//! While a connection waits it holds no buffer, no head and no exchange: all three are borrowed from the shard when
//! bytes arrive, and given back when there is nothing left to answer.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::connection::Connection;
use super::exchange::{self, Exchange, Next, Scratch};
use super::h2;
use super::head::{self, Received};
use super::introduced::{self, Said};
use super::net::{self, Net, Patience, Reader, Writer};
use super::respond;
use super::shard::{SessionSlot, Shard};
use crate::base::{Buffer, Timestamp};
use crate::observe::Reason;

/// While draining, a connection that has been idle for so long gets no further request: a client that was about to
/// send one has sent it by then.
pub(super) const DRAIN_IDLE_MAX: Duration = Duration::from_secs(1);
/// What a closing connection may still send before it is cut, so that the client reads our last answer and not a reset.
const LINGER_BYTES_MAX: u64 = 256 * 1024;
/// How long it may take.
const LINGER: Duration = Duration::from_secs(2);

/// A connection that is served until it ends.
///
/// ```text
/// Introduced ──▶ Open ──▶ Idle ──bytes──▶ Busy ──panic──▶ Sorry
///      │          │        │ ▲              │               │
///      │          │        │ └───answered───┤               │
///      └──────────┴────────┴──▶ end ◀───────┴───────────────┘
/// ```
///
/// A stream of a connection of HTTP/2 is one as well: it is busy from the beginning, and ends with its one request.
///
/// By hand, since an async function would be three times as large, and there is one for every silent client.
pub(super) struct Serving<N: Net> {
    shard: Rc<Shard<N>>,
    connection: Rc<Connection<N>>,
    /// In the shard's list of connections; none for a stream.
    place: Option<u32>,
    stage: Stage<N>,
}

enum Stage<N: Net> {
    /// Receiving the PROXY header, which says whose connection it is; nothing where it is to be closed.
    Introduced(Pin<Box<dyn Future<Output = Option<Said>>>>),
    /// Shaking hands, finding out what is spoken, and speaking HTTP/2 to the end; whether requests of HTTP/1 may follow.
    Open(Pin<Box<dyn Future<Output = bool>>>),
    /// Waiting, without a buffer, for the next request.
    Idle,
    /// Serving what has arrived, in a pooled place.
    Busy(SessionSlot<N>),
    /// Telling the client of a panic.
    Sorry(Pin<Box<dyn Future<Output = ()>>>),
}

impl<N: Net> Serving<N> {
    /// Serves `connection`, which counts as open until this is dropped.
    pub fn new(shard: Rc<Shard<N>>, connection: Rc<Connection<N>>) -> Self {
        let place = Some(shard.enter(&connection));
        let stage = match connection.listener.borrow().proxy_protocol {
            Some(_) => Stage::Introduced(Box::pin(introduced::receive(shard.clone(), connection.clone()))),
            None => opening(&shard, &connection),
        };
        Self { shard, connection, place, stage }
    }

    /// Goes on as who the PROXY header says it is; `false` where it cannot.
    fn go_on(&mut self, (introduced, endpoints): Said) -> bool {
        // What was polled knows the connection as well, and has ended.
        self.stage = Stage::Idle;
        let Some(place) = self.place else { return false };
        let alone = self.shard.change(place, &mut self.connection, |known| known.introduce(introduced, endpoints));
        debug_assert!(alone, "only the task and the list know a connection that has not begun");
        self.stage = opening(&self.shard, &self.connection);
        alone
    }

    /// Serves the one request of a stream.
    pub fn of_stream(shard: Rc<Shard<N>>, connection: Rc<Connection<N>>) -> Self {
        let stage = busy(&shard, &connection);
        Self { shard, connection, place: None, stage }
    }

    /// The stage after a run of requests, or none. A panic costs this connection alone.
    fn after_session(&mut self, outcome: std::thread::Result<Next>) -> Option<Stage<N>> {
        let Stage::Busy(slot) = std::mem::replace(&mut self.stage, Stage::Idle) else { return None };
        self.shard.metrics.exchanges_in_flight.fall();
        if let Ok(next) = outcome {
            self.shard.give_session_slot(slot);
            return (next != Next::Close).then_some(Stage::Idle);
        }
        // The future is in no known state; its destructor may panic as well.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(slot)));
        self.shard.count_panic();
        self.shard.metrics.finish(Reason::Panic, 0, 0);
        self.connection.ended.set(Reason::Panic);
        let (shard, connection) = (self.shard.clone(), self.connection.clone());
        Some(Stage::Sorry(Box::pin(async move { respond::after_panic(&shard, &connection).await })))
    }
}

impl<N: Net> Future for Serving<N> {
    type Output = ();

    // Inlined into either task, so that neither pays for the other.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match &mut this.stage {
                Stage::Introduced(receiving) => {
                    let Some(said) = ready!(receiving.as_mut().poll(cx)) else { return Poll::Ready(()) };
                    if !this.go_on(said) {
                        return Poll::Ready(());
                    }
                }
                Stage::Open(opening) => {
                    if !ready!(opening.as_mut().poll(cx)) {
                        return Poll::Ready(());
                    }
                    let has_begun = this.connection.ahead.borrow().is_some();
                    this.stage = if has_begun { busy(&this.shard, &this.connection) } else { Stage::Idle };
                }
                Stage::Idle => {
                    if !ready!(poll_idle(&this.shard, &this.connection, cx)) {
                        return Poll::Ready(());
                    }
                    this.stage = busy(&this.shard, &this.connection);
                }
                Stage::Busy(slot) => {
                    let outcome = match catch_unwind(AssertUnwindSafe(|| slot.poll(cx))) {
                        Ok(poll) => Ok(ready!(poll)),
                        Err(panic) => Err(panic),
                    };
                    let Some(stage) = this.after_session(outcome) else { return Poll::Ready(()) };
                    this.stage = stage;
                }
                Stage::Sorry(telling) => return telling.as_mut().poll(cx),
            }
        }
    }
}

impl<N: Net> Drop for Serving<N> {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Busy(_)) {
            self.shard.metrics.exchanges_in_flight.fall();
        }
        if let Some(place) = self.place {
            self.shard.leave(place);
        }
    }
}

/// What a connection begins with, once it is known whose it is.
#[inline(always)]
fn opening<N: Net>(shard: &Rc<Shard<N>>, connection: &Rc<Connection<N>>) -> Stage<N> {
    if h2::is_opened(&connection.listener.borrow()) {
        Stage::Open(Box::pin(h2::open(shard.clone(), connection.clone())))
    } else if connection.ahead.borrow().is_some() {
        busy(shard, connection)
    } else {
        Stage::Idle
    }
}

/// Begins to serve what has arrived.
#[inline(always)]
fn busy<N: Net>(shard: &Rc<Shard<N>>, connection: &Rc<Connection<N>>) -> Stage<N> {
    let mut slot = shard.session_slot();
    shard.metrics.exchanges_in_flight.rise();
    slot.start((shard.clone(), connection.clone()));
    Stage::Busy(slot)
}

/// Waits for the next request; `false` when none will come.
fn poll_idle<N: Net>(shard: &Shard<N>, connection: &Connection<N>, cx: &mut Context<'_>) -> Poll<bool> {
    let deadline = idle_deadline(shard, connection);
    let Err(error) = ready!(connection.reader.borrow_mut().poll_readable(cx, deadline)) else {
        return Poll::Ready(true);
    };
    let timed_out = error.kind() == std::io::ErrorKind::TimedOut;
    connection.ended.set(if timed_out { Reason::KeepAliveTimeout } else { Reason::ClientClosed });
    connection.writer.borrow_mut().take_leave();
    Poll::Ready(false)
}

/// A fresh connection has the time of a head for its first octet, a kept one that of keep-alive. A drain cuts it short, and
/// wakes whoever waits for the connection to be readable: to be asked for at every poll.
pub(super) fn idle_deadline<N: Net>(shard: &Shard<N>, connection: &Connection<N>) -> Timestamp {
    let timeouts = &connection.listener.borrow().timeouts;
    let patience = if connection.requests.get() == 0 { timeouts.head } else { timeouts.keep_alive };
    let patience = if shard.is_draining() { patience.min(DRAIN_IDLE_MAX) } else { patience };
    connection.idle_since.get().plus(patience)
}

/// One run of requests: until the buffer is empty, or the connection must close.
pub(super) async fn requests<N: Net>((shard, connection): (Rc<Shard<N>>, Rc<Connection<N>>)) -> Next {
    let mut scratch = shard.scratch();
    let mut buffer = connection.ahead.borrow_mut().take().unwrap_or_else(|| shard.buffers.small());
    let mut in_a_row = 0;
    let next = loop {
        match request(&shard, &connection, &mut buffer, &mut scratch).await {
            Next::Idle if !buffer.filled().is_empty() => {}
            Next::Idle => break Next::Idle,
            Next::Close => break Next::Close,
            Next::Linger => {
                linger(&shard, &connection).await;
                break Next::Close;
            }
        }
        in_a_row += 1;
        if in_a_row >= connection.listener.borrow().limits.pipelined {
            // Others have their turn.
            shard.net.sleep(shard.net.now()).await;
            in_a_row = 0;
        }
    };
    shard.buffers.give(buffer);
    shard.give_scratch(scratch);
    next
}

/// Receives one request and answers it.
async fn request<N: Net>(
    shard: &Rc<Shard<N>>,
    connection: &Connection<N>,
    buffer: &mut Buffer,
    scratch: &mut Scratch,
) -> Next {
    let adopted = shard.adopted();
    let listener = connection.current_listener(&adopted);
    let started = shard.net.now();
    connection.responding.set(false);
    scratch.memory.reset();
    let refused = match head::receive(shard, connection, &listener, buffer, &mut scratch.memory, started).await {
        Received::Head => None,
        Received::Refused(failure) => Some(failure),
        Received::Nothing => {
            connection.writer.borrow_mut().take_leave();
            return Next::Close;
        }
        Received::Lost(reason) => {
            connection.ended.set(reason);
            return Next::Close;
        }
    };
    connection.requests.set(connection.requests.get().saturating_add(1));
    let is_refused = refused.is_some();
    let mut x = Exchange::begin(shard, &adopted, connection, &listener, buffer, scratch, started, is_refused);
    let result = match refused {
        Some(failure) => Err(failure),
        None => exchange::answer(&mut x).await,
    };
    if let Err(failure) = result {
        respond::fail(&mut x, failure).await;
    }
    let next = x.finish();
    if let Some(ahead) = connection.ahead.borrow_mut().take() {
        buffer.vec().extend_from_slice(ahead.filled());
        shard.buffers.give(ahead);
    }
    next
}

/// Closes in stages (RFC 9112, section 9.6): ends our direction, reads on until the client has seen it, then lets go.
pub(super) async fn linger<N: Net>(shard: &Shard<N>, connection: &Connection<N>) {
    connection.writer.borrow_mut().shutdown();
    let deadline = shard.net.now().plus(LINGER);
    let mut seen = 0;
    // An upload that was given up may have left its read behind.
    if connection.reader.borrow().is_reading() {
        connection.reader.borrow_mut().set_read_deadline(deadline);
        let (_, buffer) = poll_fn(|cx| connection.reader.borrow_mut().poll_read(cx)).await;
        shard.buffers.give(buffer);
    }
    while seen < LINGER_BYTES_MAX {
        if net::readable(&connection.reader, deadline).await.is_err() {
            return;
        }
        let (result, buffer) = net::read(&connection.reader, shard.buffers.small(), deadline).await;
        shard.buffers.give(buffer);
        match result {
            Ok(0) | Err(_) => return,
            Ok(count) => seen += count as u64,
        }
    }
}

/// Writes `buffer` to the client with the patience of an answer that is all there is.
pub(super) async fn write_all<N: Net>(
    shard: &Shard<N>,
    connection: &Connection<N>,
    buffer: Buffer,
    idle: Duration,
) -> std::io::Result<()> {
    connection.responding.set(true);
    let until = shard.net.now().plus(idle);
    let (result, buffer) = net::write(&connection.writer, buffer, 0, Patience { idle, until }).await;
    shard.buffers.give(buffer);
    result
}
