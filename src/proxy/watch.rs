//! Watching a client while its answer is on the way: it may send its next request ahead, or leave.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};

use super::exchange::Exchange;
use super::net::{Net, Reader};
use crate::base::Timestamp;

/// How a client is watched.
///
/// ```text
/// Off ──(request read to its end)──▶ Waiting ◀──▶ Reading ──(half-closed and served, or no room)──▶ Off
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Watch {
    #[default]
    Off,
    /// For bytes, without a buffer.
    Waiting,
    /// What has arrived, into the room behind the head.
    Reading,
}

/// The client has closed or reset its connection.
#[derive(Debug)]
pub(super) struct ClientGone;

impl<N: Net> Exchange<'_, N> {
    /// Begins to watch, once the request has been read to its end.
    pub fn watch_client(&mut self) {
        if self.watch == Watch::Off && self.gather_ahead() && self.buffer.room() > 0 {
            self.watch = Watch::Waiting;
        }
    }

    /// Moves what came behind the body to where more will be read, so that the order stays; `false` if it does not fit.
    fn gather_ahead(&mut self) -> bool {
        let mut kept = self.connection.ahead.borrow_mut();
        let Some(ahead) = kept.take() else { return true };
        if ahead.filled().len() > self.buffer.room() {
            *kept = Some(ahead);
            return false;
        }
        self.buffer.vec().extend_from_slice(ahead.filled());
        self.shard.buffers.give(ahead);
        true
    }

    /// Ready when the client has gone. Bytes that it sends ahead are kept behind the head; when there is no room for
    /// more, the rest waits in the socket and the client is no longer watched.
    pub fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<ClientGone> {
        loop {
            match self.watch {
                Watch::Off => return Poll::Pending,
                Watch::Waiting => {
                    // A statement of its own: the borrow ends before the read begins.
                    let readable = self.connection.reader.borrow_mut().poll_readable(cx, Timestamp::NEVER);
                    match readable {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(_)) => return Poll::Ready(ClientGone),
                        Poll::Ready(Ok(())) => self.begin_reading_ahead(),
                    }
                }
                Watch::Reading => match self.poll_read_ahead(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(true) => return Poll::Ready(ClientGone),
                    Poll::Ready(false) => {}
                },
            }
        }
    }

    fn begin_reading_ahead(&mut self) {
        let buffer = std::mem::take(self.buffer);
        // The bytes are there: this ends at once.
        self.connection.reader.borrow_mut().begin_read(buffer, Timestamp::NEVER);
        self.watch = Watch::Reading;
    }

    /// Whether the client has gone.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Poll::Ready((result, buffer)) = self.connection.reader.borrow_mut().poll_read(cx) else {
            return Poll::Pending;
        };
        *self.buffer = buffer;
        self.watch = Watch::Off;
        match result {
            Ok(0) if self.listener.serve_half_closed => self.persistent = false,
            Ok(0) | Err(_) => return Poll::Ready(true),
            Ok(_) => self.watch_client(),
        }
        Poll::Ready(false)
    }

    /// Takes the buffer back from a read under way; to be called before the head is looked at again.
    pub fn stop_watching(&mut self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            if self.watch == Watch::Reading {
                let _ = ready!(self.poll_read_ahead(cx));
            }
            self.watch = Watch::Off;
            Poll::Ready(())
        })
    }
}
