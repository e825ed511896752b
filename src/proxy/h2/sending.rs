//! What is to be sent on one connection: the library hands its frames in, and whoever drives the connection sends them
//! when the library has nothing more to say.
//!
//! The library flushes behind every frame of content that is not small. Sent at once, the answers of many streams that
//! come together would leave one by one, each in a write of its own and a record of its own.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::io::Ends;
use super::session::Session;
use crate::base::{Buffer, SMALL_BUFFER_BYTES, Timestamp};
use crate::proxy::net::{Net, Patience, Writer};
use crate::proxy::shard::Shard;

/// With more streams under way, answers are expected to fill more than a small buffer.
const FEW_STREAMS: u32 = 4;

pub(super) struct Sending<N: Net, E> {
    shard: Rc<Shard<N>>,
    ends: Rc<E>,
    session: Rc<Session>,
    /// Gathered, and not begun to be sent.
    output: RefCell<Buffer>,
    /// Why nothing can be sent any more.
    failed: Cell<Option<io::ErrorKind>>,
    /// Of a peer that does not read.
    idle: Duration,
}

impl<N: Net, E: Ends<N>> Sending<N, E> {
    pub fn new(shard: &Rc<Shard<N>>, ends: &Rc<E>, session: &Rc<Session>, idle: Duration) -> Rc<Self> {
        Rc::new(Self {
            shard: Rc::clone(shard),
            ends: Rc::clone(ends),
            session: Rc::clone(session),
            output: RefCell::default(),
            failed: Cell::new(None),
            idle,
        })
    }

    /// Why nothing can be sent any more, if so.
    pub fn result(&self) -> io::Result<()> {
        self.failed.get().map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Takes some of `octets`, or waits for room: how many were taken.
    pub fn poll_gather(&self, octets: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.result()?;
        let is_full = {
            let output = self.output.borrow();
            output.capacity() > 0 && output.room() == 0
        };
        if is_full {
            ready!(self.poll_begin(cx))?;
        }
        let mut output = self.output.borrow_mut();
        if output.capacity() == 0 {
            let is_small = octets.len() < SMALL_BUFFER_BYTES / 2 && self.session.streams() <= FEW_STREAMS;
            let buffers = &self.shard.buffers;
            *output = if is_small { buffers.small() } else { buffers.large() };
        }
        let count = octets.len().min(output.room());
        output.vec().extend_from_slice(&octets[..count]);
        Poll::Ready(Ok(count))
    }

    /// Sends all that was gathered; an error is told once.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.failed.get().is_some() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_begin(cx))?;
            if !self.ends.writer().borrow().is_writing() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Begins to send what was gathered, once what was sent before has gone.
    fn poll_begin(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writer = self.ends.writer().borrow_mut();
        if writer.is_writing() {
            let (result, buffer) = ready!(writer.poll_write(cx));
            self.shard.buffers.give(buffer);
            self.session.sent_at.set(self.shard.net.now());
            if let Err(error) = result {
                self.failed.set(Some(error.kind()));
                return Poll::Ready(Err(error));
            }
        }
        let output = mem::take(&mut *self.output.borrow_mut());
        if !output.filled().is_empty() {
            self.session.follower.borrow_mut().sent(output.filled().len());
            let patience = Patience { idle: self.idle, until: Timestamp::NEVER };
            writer.begin_write(output, 0, patience);
        }
        Poll::Ready(Ok(()))
    }
}
