//! The halves of a connection as the library wants them: borrowed memory instead of owned buffers.
//!
//! An idle connection holds no buffer. What is received passes the follower, which counts frames; what is to be sent is
//! gathered (`sending.rs`), so that the frames of many streams leave in one write.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sending::Sending;
use super::session::Session;
use crate::base::{Buffer, Timestamp};
use crate::proxy::connection::Connection;
use crate::proxy::net::{Net, Reader, Writer};
use crate::proxy::shard::Shard;

/// Whose octets they are.
pub(super) trait Ends<N: Net> {
    fn reader(&self) -> &RefCell<N::Reader>;
    fn writer(&self) -> &RefCell<N::Writer>;
}

impl<N: Net> Ends<N> for Connection<N> {
    fn reader(&self) -> &RefCell<N::Reader> {
        &self.reader
    }

    fn writer(&self) -> &RefCell<N::Writer> {
        &self.writer
    }
}

/// One connection's octets.
pub(super) struct Io<N: Net, E = Connection<N>> {
    shard: Rc<Shard<N>>,
    ends: Rc<E>,
    session: Rc<Session>,
    /// Received, and how much of it was taken.
    input: Buffer,
    taken: usize,
    /// Whether the last read filled its buffer: then the next one is larger.
    flows: bool,
    sending: Rc<Sending<N, E>>,
}

impl<N: Net> Io<N> {
    /// What the client has sent already stands in `connection`.
    pub fn new(shard: &Rc<Shard<N>>, connection: &Rc<Connection<N>>, session: &Rc<Session>) -> Self {
        let input = connection.ahead.borrow_mut().take().unwrap_or_default();
        session.received(input.filled(), shard.net.now());
        let idle = connection.listener.borrow().timeouts.idle;
        Self { input, ..Io::of(shard, connection, session, idle) }
    }
}

impl<N: Net, E: Ends<N>> Io<N, E> {
    /// Nothing has come yet. A peer that does not read is given up after `idle`.
    pub fn of(shard: &Rc<Shard<N>>, ends: &Rc<E>, session: &Rc<Session>, idle: Duration) -> Self {
        Self {
            shard: Rc::clone(shard),
            ends: Rc::clone(ends),
            session: Rc::clone(session),
            input: Buffer::default(),
            taken: 0,
            flows: false,
            sending: Sending::new(shard, ends, session, idle),
        }
    }

    /// What is to be sent, to be seen to by whoever drives the connection.
    pub fn sending(&self) -> Rc<Sending<N, E>> {
        Rc::clone(&self.sending)
    }

    /// Whether nothing more is heard, since who drives the connection ends it.
    fn is_deaf(&self) -> bool {
        self.session.is_driven.get() && self.session.is_condemned()
    }

    /// Receives into `input`; false at the end of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut reader = self.ends.reader().borrow_mut();
        if !reader.is_reading() {
            ready!(reader.poll_readable(cx, Timestamp::NEVER))?;
            let buffers = &self.shard.buffers;
            let buffer = if self.flows { buffers.large() } else { buffers.small() };
            reader.begin_read(buffer, Timestamp::NEVER);
        }
        let (result, buffer) = ready!(reader.poll_read(cx));
        self.flows = buffer.room() == 0;
        if !matches!(result, Ok(count) if count > 0) {
            self.shard.buffers.give(buffer);
            return Poll::Ready(result.map(|_| false));
        }
        let now = self.shard.net.now();
        self.session.received(buffer.filled(), now);
        self.input = buffer;
        Poll::Ready(Ok(true))
    }
}

impl<N: Net, E: Ends<N>> AsyncRead for Io<N, E> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_deaf() {
            return Poll::Pending;
        }
        if this.taken == this.input.filled().len() && !ready!(this.poll_receive(cx))? {
            return Poll::Ready(Ok(()));
        }
        if this.is_deaf() {
            return Poll::Pending;
        }
        let rest = &this.input.filled()[this.taken..];
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        this.taken += count;
        if this.taken == this.input.filled().len() {
            this.taken = 0;
            this.shard.buffers.give(std::mem::take(&mut this.input));
        }
        Poll::Ready(Ok(()))
    }
}

impl<N: Net, E: Ends<N>> AsyncWrite for Io<N, E> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.sending.poll_gather(octets, cx)
    }

    /// What was gathered is on its way as soon as the library pauses.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sending.result())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.sending.poll(cx))?;
        self.sending.result()?;
        self.ends.writer().borrow_mut().shutdown();
        Poll::Ready(Ok(()))
    }
}
