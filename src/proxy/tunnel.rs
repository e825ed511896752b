//! A connection that has changed its protocol: bytes both ways, no messages any more.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::net::{self, Net, Patience, Reader, Writer};
use crate::base::{BufferPool, Timestamp, join};
use crate::http::websocket::frames::{Frames, append_going_away};

/// How long a close frame of ours may take to be written.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// Both halves of one side.
pub(super) struct Side<'a, N: Net> {
    pub reader: &'a RefCell<N::Reader>,
    pub writer: &'a RefCell<N::Writer>,
}

/// A tunnel between two sides.
pub(super) struct Tunnel<'a, N: Net> {
    pub net: &'a N,
    pub buffers: &'a BufferPool,
    pub stop: Rc<Stop>,
    pub client: Side<'a, N>,
    pub server: Side<'a, N>,
    /// The frames that have passed before, where the protocol is WebSocket.
    pub websocket: Option<Websocket>,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// However busy.
    pub until: Timestamp,
}

/// Ends a tunnel from outside.
#[derive(Default)]
pub(super) struct Stop {
    told: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Stop {
    pub fn stop(&self) {
        self.told.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether the tunnel is to end.
    pub fn is_told(&self) -> bool {
        self.told.get()
    }

    /// The same; if not, `cx` is woken once it is.
    fn poll_told(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.told.get()
    }
}

/// What is known of a WebSocket, so that its end can be told by a close frame.
#[derive(Clone, Copy)]
pub(super) struct Websocket {
    pub upward: Frames,
    pub downward: Frames,
    /// Masks what we say to the server.
    pub mask: [u8; 4],
}

/// One direction.
struct Way<'w, 'a, N: Net> {
    from: &'w Side<'a, N>,
    to: &'w Side<'a, N>,
    /// None where we do not know where a frame of ours may stand.
    frames: Option<Frames>,
    mask: Option<[u8; 4]>,
    copied: u64,
}

/// How a tunnel ended.
#[derive(Debug)]
pub(super) struct TunnelEnd {
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// What cut it; a tunnel that both sides closed has none.
    pub error: Option<io::Error>,
}

impl<N: Net> Tunnel<'_, N> {
    /// Runs until both sides have closed, or one fails, or time is over.
    pub async fn run(&self) -> TunnelEnd {
        let active = Cell::new(self.net.now());
        let (client, server, websocket) = (&self.client, &self.server, self.websocket);
        let frames = |of: fn(&Websocket) -> Frames| websocket.as_ref().map(of);
        let mask = websocket.map(|websocket| websocket.mask);
        let mut up = Way { from: client, to: server, frames: frames(|known| known.upward), mask, copied: 0 };
        let mut down = Way { from: server, to: client, frames: frames(|known| known.downward), mask: None, copied: 0 };
        let (upward, downward) = join(self.copy(&mut up, &active), self.copy(&mut down, &active)).await;
        // Where time was over in one direction, the other one was only cut for it.
        let errors = [upward.err(), downward.err()].into_iter().flatten();
        let error = errors.min_by_key(|error| error.kind() != io::ErrorKind::TimedOut);
        TunnelEnd { bytes_up: up.copied, bytes_down: down.copied, error }
    }

    /// Whether the tunnel ends by our will and not for anything that a side did.
    fn is_over(&self) -> bool {
        self.stop.is_told() || self.net.now() >= self.until
    }

    async fn copy(&self, way: &mut Way<'_, '_, N>, active: &Cell<Timestamp>) -> io::Result<()> {
        let result = self.copy_until_end(way, active).await;
        match result {
            Ok(()) => way.to.writer.borrow_mut().shutdown(),
            Err(_) if way.frames.is_some() && self.is_over() => self.take_leave(way).await,
            // One direction failed: end the other too, on both sides.
            Err(_) => {
                way.from.writer.borrow_mut().abort();
                way.to.writer.borrow_mut().abort();
            }
        }
        result
    }

    /// Says that we are going away, if a frame may stand here, and ends this direction.
    async fn take_leave(&self, way: &Way<'_, '_, N>) {
        if way.frames.is_some_and(|frames| frames.may_begin()) {
            let mut frame = self.buffers.small();
            append_going_away(way.mask, frame.vec());
            let patience = Patience { idle: LEAVE_MAX, until: self.net.now().plus(LEAVE_MAX) };
            // Whoever does not take it learns it from the end of the connection.
            let (_, frame) = net::write(way.to.writer, frame, 0, patience).await;
            self.buffers.give(frame);
        }
        way.to.writer.borrow_mut().shutdown();
    }

    async fn copy_until_end(&self, way: &mut Way<'_, '_, N>, active: &Cell<Timestamp>) -> io::Result<()> {
        // Polled whenever either direction moves, so the deadline is that of both.
        let deadline = || active.get().plus(self.idle).min(self.until);
        let (from, to) = (way.from, way.to);
        loop {
            poll_fn(|cx| {
                if self.stop.poll_told(cx) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                from.reader.borrow_mut().poll_readable(cx, deadline())
            })
            .await?;
            let (result, buffer) = net::read(from.reader, self.buffers.small(), deadline()).await;
            let count = match result {
                Ok(0) | Err(_) => {
                    self.buffers.give(buffer);
                    return result.map(|_| ());
                }
                Ok(count) => count,
            };
            active.set(self.net.now());
            if let Some(frames) = &mut way.frames {
                frames.pass(buffer.filled());
            }
            let patience = Patience { idle: self.idle, until: self.until };
            let (result, buffer) = net::write(to.writer, buffer, 0, patience).await;
            self.buffers.give(buffer);
            if result.is_err() {
                // Who knows how much of it has gone.
                way.frames = None;
            }
            result?;
            way.copied += count as u64;
            active.set(self.net.now());
        }
    }
}
