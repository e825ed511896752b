//! The client side of a connection: waiting for requests and serving one after the other.
//!
//! While a connection waits it holds no buffer, no head and no exchange: all three are borrowed from the shard when
//! bytes arrive, and given back when there is nothing left to answer.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::connection::Connection;
use super::exchange::{self, Memory, Next};
use super::head::{self, Received};
use super::net::{self, Net, Patience, Reader, Writer};
use super::respond;
use super::shard::Shard;
use crate::base::{Buffer, Timestamp};
use crate::observe::Reason;

/// While draining, a connection that has been idle for so long gets no further request: a client that was about to
/// send one has sent it by then.
const DRAIN_IDLE_MAX: Duration = Duration::from_secs(1);
/// What a closing connection may still send before it is cut, so that the client reads our last answer and not a reset.
const LINGER_BYTES_MAX: u64 = 256 * 1024;
/// How long it may take.
const LINGER: Duration = Duration::from_secs(2);

/// Serves `connection` until it ends.
pub(super) async fn serve<N: Net>(shard: Rc<Shard<N>>, connection: Rc<Connection<N>>) {
    while idle(&shard, &connection).await {
        if session(&shard, &connection).await == Next::Close {
            return;
        }
    }
    connection.writer.borrow_mut().take_leave();
}

/// Waits, without a buffer, for the next request; `false` when none will come.
async fn idle<N: Net>(shard: &Shard<N>, connection: &Connection<N>) -> bool {
    let outcome = poll_fn(|cx| {
        connection.note_waker(cx.waker());
        let deadline = idle_deadline(shard, connection);
        connection.reader.borrow_mut().poll_readable(cx, deadline)
    })
    .await;
    match outcome {
        Ok(()) => true,
        Err(error) => {
            let timed_out = error.kind() == std::io::ErrorKind::TimedOut;
            connection.ended.set(if timed_out { Reason::KeepAliveTimeout } else { Reason::ClientClosed });
            false
        }
    }
}

/// A fresh connection has the time of a head for its first octet, a kept one that of keep-alive.
fn idle_deadline<N: Net>(shard: &Shard<N>, connection: &Connection<N>) -> Timestamp {
    let timeouts = &connection.listener.borrow().timeouts;
    let patience = if connection.requests.get() == 0 { timeouts.head } else { timeouts.keep_alive };
    let patience = if shard.is_draining() { patience.min(DRAIN_IDLE_MAX) } else { patience };
    connection.idle_since.get().plus(patience)
}

/// Serves what has arrived, in a pooled place; a panic costs this connection alone.
async fn session<N: Net>(shard: &Rc<Shard<N>>, connection: &Rc<Connection<N>>) -> Next {
    let mut slot = shard.session_slot();
    shard.metrics.exchanges_in_flight.rise();
    slot.start((shard.clone(), connection.clone()));
    let outcome = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| slot.poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await;
    shard.metrics.exchanges_in_flight.fall();
    if let Some(next) = outcome {
        shard.give_session_slot(slot);
        return next;
    }
    // The future is in no known state; its destructor may panic as well.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(slot)));
    shard.count_panic();
    Box::pin(respond::after_panic(shard, connection)).await;
    Next::Close
}

/// One run of requests: until the buffer is empty, or the connection must close.
pub(super) async fn requests<N: Net>((shard, connection): (Rc<Shard<N>>, Rc<Connection<N>>)) -> Next {
    let mut memory = shard.memory();
    let mut buffer = connection.ahead.borrow_mut().take().unwrap_or_else(|| shard.buffers.small());
    let mut in_a_row = 0;
    let next = loop {
        match request(&shard, &connection, &mut buffer, &mut memory).await {
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
    shard.give_memory(memory);
    next
}

/// Receives one request and answers it.
async fn request<N: Net>(
    shard: &Rc<Shard<N>>,
    connection: &Connection<N>,
    buffer: &mut Buffer,
    memory: &mut Memory,
) -> Next {
    let adopted = shard.adopted();
    let listener = connection.current_listener(&adopted);
    let started = shard.net.now();
    connection.responding.set(false);
    memory.reset();
    let refused = match head::receive(shard, connection, &listener, buffer, memory, started).await {
        Received::Head => None,
        Received::Refused(failure) => Some(failure),
        Received::Nothing => return Next::Close,
        Received::Lost(reason) => {
            connection.ended.set(reason);
            return Next::Close;
        }
    };
    connection.requests.set(connection.requests.get().saturating_add(1));
    let next = exchange::run(shard, &adopted, connection, &listener, buffer, memory, started, refused).await;
    if let Some(ahead) = connection.ahead.borrow_mut().take() {
        buffer.vec().extend_from_slice(ahead.filled());
        shard.buffers.give(ahead);
    }
    next
}

/// Closes in stages (RFC 9112, section 9.6): ends our direction, reads on until the client has seen it, then lets go.
async fn linger<N: Net>(shard: &Shard<N>, connection: &Connection<N>) {
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
