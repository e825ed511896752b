//! A connection that has changed its protocol: bytes both ways, no messages any more.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::net::{self, Net, Patience, Reader, Writer};
use crate::base::{Buffer, BufferPool, Timestamp, try_join};
use crate::http::websocket::frames::{Frames, append_going_away};
use crate::observe::Reason;

/// How long a close frame of ours may take to be written.
const LEAVE_MAX: Duration = Duration::from_secs(1);
/// How long what is being written may still take once the tunnel is told to end: nobody waits much longer for it.
const WRITE_REST: Duration = Duration::from_millis(50);

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

/// Ends a tunnel from outside, or a connection with all the tunnels that are streams of it.
#[derive(Default)]
pub(super) struct Stop {
    told: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    parts: RefCell<Vec<Weak<Self>>>,
}

impl Stop {
    pub fn stop(&self) {
        self.told.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        self.parts.borrow().iter().filter_map(Weak::upgrade).for_each(|part| part.stop());
    }

    /// Has `part` be told as well.
    pub fn add_part(&self, part: &Rc<Self>) {
        let mut parts = self.parts.borrow_mut();
        parts.retain(|part| part.strong_count() > 0);
        parts.push(Rc::downgrade(part));
    }

    /// Whether any part has not ended.
    pub fn has_parts(&self) -> bool {
        self.parts.borrow().iter().any(|part| part.strong_count() > 0)
    }

    /// Whether the tunnel is to end.
    pub fn is_told(&self) -> bool {
        self.told.get()
    }

    /// The same; if not, `cx` is woken once it is.
    pub fn poll_told(&self, cx: &Context<'_>) -> bool {
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
    /// Who is at fault where reading fails, and where writing does.
    peers: (Peer, Peer),
    /// None where we do not know where a frame of ours may stand.
    frames: Option<Frames>,
    mask: Option<[u8; 4]>,
    copied: u64,
}

/// A side of a tunnel, for the question whose doing something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Client,
    Server,
}

/// How a tunnel ended.
#[derive(Debug)]
pub(super) struct TunnelEnd {
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// What cut it; a tunnel that both sides closed has none. One that timed out was ended by us.
    pub error: Option<io::Error>,
    /// Where that was seen first.
    pub peer: Option<Peer>,
}

/// What ended a direction before its end.
struct Cut {
    peer: Option<Peer>,
    error: io::Error,
}

impl Cut {
    fn at(peer: Peer) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { peer: Some(peer), error }
    }
}

/// What both directions have in common.
struct Life {
    /// When an octet has last passed, in either direction.
    active: Cell<Timestamp>,
    /// Whether a direction was ended by our will, with a last word where one could stand.
    is_left: Cell<bool>,
}

impl<N: Net> Tunnel<'_, N> {
    /// Runs until both sides have closed, or one fails, or time is over.
    pub async fn run(&self) -> TunnelEnd {
        let life = Life { active: Cell::new(self.net.now()), is_left: Cell::new(false) };
        let (client, server, websocket) = (&self.client, &self.server, self.websocket.as_ref());
        let mut up = Way {
            from: client,
            to: server,
            peers: (Peer::Client, Peer::Server),
            frames: websocket.map(|known| known.upward),
            mask: websocket.map(|known| known.mask),
            copied: 0,
        };
        let mut down = Way {
            from: server,
            to: client,
            peers: (Peer::Server, Peer::Client),
            frames: websocket.map(|known| known.downward),
            mask: None,
            copied: 0,
        };
        let mut outcome = try_join(self.copy(&mut up, &life), self.copy(&mut down, &life)).await;
        if let Err(cut) = &outcome {
            self.tear(cut);
        } else if life.is_left.get() {
            outcome = Err(Cut { peer: None, error: io::ErrorKind::TimedOut.into() });
        }
        let (peer, error) = outcome.err().map_or((None, None), |cut| (cut.peer, Some(cut.error)));
        TunnelEnd { bytes_up: up.copied, bytes_down: down.copied, error, peer }
    }

    /// Why it has ended.
    pub fn reason(&self, end: &TunnelEnd) -> Reason {
        match &end.error {
            None => Reason::Ok,
            Some(error) if error.kind() != io::ErrorKind::TimedOut => match end.peer {
                Some(Peer::Server) => Reason::UpstreamReset,
                _ => Reason::ClientClosed,
            },
            Some(_) if self.stop.is_told() => Reason::Draining,
            Some(_) if self.net.now() >= self.until => Reason::Lifetime,
            Some(_) => Reason::TunnelIdle,
        }
    }

    /// Whether the tunnel ends by our will and not for anything that a side did.
    fn is_over(&self, life: &Life) -> bool {
        self.stop.is_told() || self.net.now() >= self.deadline(life)
    }

    fn deadline(&self, life: &Life) -> Timestamp {
        life.active.get().plus(self.idle).min(self.until)
    }

    async fn copy(&self, way: &mut Way<'_, '_, N>, life: &Life) -> Result<(), Cut> {
        match self.copy_until_end(way, life).await {
            Ok(()) => way.to.writer.borrow_mut().shutdown(),
            Err(_) if self.websocket.is_some() && self.is_over(life) => {
                life.is_left.set(true);
                self.take_leave(way).await;
            }
            Err(cut) => return Err(cut),
        }
        Ok(())
    }

    /// Ends both sides at once, since one was ended. A reset is passed on as one.
    fn tear(&self, cut: &Cut) {
        let (broken, other) = match cut.peer {
            Some(Peer::Server) => (&self.server, &self.client),
            _ => (&self.client, &self.server),
        };
        broken.writer.borrow_mut().abort();
        if cut.error.kind() == io::ErrorKind::TimedOut {
            other.writer.borrow_mut().abort();
        } else {
            other.writer.borrow_mut().reset();
        }
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

    /// Writes all of it. A peer that takes nothing does not keep a tunnel that is told to end.
    async fn write(&self, to: &Side<'_, N>, buffer: Buffer) -> (io::Result<()>, Buffer) {
        let patience = Patience { idle: self.idle, until: self.until };
        let mut writing = pin!(net::write(to.writer, buffer, 0, patience));
        let written = poll_fn(|cx| match writing.as_mut().poll(cx) {
            Poll::Ready(written) => Poll::Ready(Some(written)),
            Poll::Pending if self.stop.poll_told(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(written) = written.await {
            return written;
        }
        let mut alarm = pin!(self.net.sleep(self.net.now().plus(WRITE_REST)));
        let in_time = poll_fn(|cx| match writing.as_mut().poll(cx) {
            Poll::Ready(written) => Poll::Ready(Some(written)),
            Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
        });
        if let Some(written) = in_time.await {
            return written;
        }
        to.writer.borrow_mut().abort();
        // The buffer goes with the write, which its half ends.
        (Err(io::ErrorKind::TimedOut.into()), Buffer::default())
    }

    async fn copy_until_end(&self, way: &mut Way<'_, '_, N>, life: &Life) -> Result<(), Cut> {
        let (from, to) = (way.from, way.to);
        let (reading, writing) = way.peers;
        loop {
            poll_fn(|cx| {
                if self.stop.poll_told(cx) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                // Polled whenever either direction moves, so the deadline is that of both.
                from.reader.borrow_mut().poll_readable(cx, self.deadline(life))
            })
            .await
            .map_err(Cut::at(reading))?;
            let (result, buffer) = net::read(from.reader, self.buffers.small(), self.deadline(life)).await;
            let count = match result {
                Ok(0) | Err(_) => {
                    self.buffers.give(buffer);
                    return result.map(|_| ()).map_err(Cut::at(reading));
                }
                Ok(count) => count,
            };
            life.active.set(self.net.now());
            if let Some(frames) = &mut way.frames {
                frames.pass(buffer.filled());
            }
            let (result, buffer) = self.write(to, buffer).await;
            self.buffers.give(buffer);
            if result.is_err() {
                // Who knows how much of it has gone.
                way.frames = None;
            }
            result.map_err(Cut::at(writing))?;
            way.copied += count as u64;
            life.active.set(self.net.now());
        }
    }
}
