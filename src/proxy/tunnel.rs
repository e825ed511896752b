//! A connection that has changed its protocol: bytes both ways, no messages any more.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::time::Duration;

use super::net::{self, Net, Patience, Reader, Writer};
use crate::base::{BufferPool, Timestamp, join};

/// Both halves of one side.
pub(super) struct Side<'a, N: Net> {
    pub reader: &'a RefCell<N::Reader>,
    pub writer: &'a RefCell<N::Writer>,
}

/// A tunnel between two sides.
pub(super) struct Tunnel<'a, N: Net> {
    pub net: &'a N,
    pub buffers: &'a BufferPool,
    pub client: Side<'a, N>,
    pub server: Side<'a, N>,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// However busy.
    pub until: Timestamp,
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
        let (up, down) = (Cell::new(0), Cell::new(0));
        let upward = self.copy(&self.client, &self.server, &active, &up);
        let downward = self.copy(&self.server, &self.client, &active, &down);
        let (upward, downward) = join(upward, downward).await;
        TunnelEnd { bytes_up: up.get(), bytes_down: down.get(), error: upward.err().or(downward.err()) }
    }

    async fn copy(
        &self,
        from: &Side<'_, N>,
        to: &Side<'_, N>,
        active: &Cell<Timestamp>,
        copied: &Cell<u64>,
    ) -> io::Result<()> {
        let result = self.copy_until_end(from, to, active, copied).await;
        match result {
            Ok(()) => to.writer.borrow_mut().shutdown(),
            // One direction failed: end the other too, on both sides.
            Err(_) => {
                from.writer.borrow_mut().abort();
                to.writer.borrow_mut().abort();
            }
        }
        result
    }

    async fn copy_until_end(
        &self,
        from: &Side<'_, N>,
        to: &Side<'_, N>,
        active: &Cell<Timestamp>,
        copied: &Cell<u64>,
    ) -> io::Result<()> {
        // Polled whenever either direction moves, so the deadline is that of both.
        let deadline = || active.get().plus(self.idle).min(self.until);
        loop {
            poll_fn(|cx| from.reader.borrow_mut().poll_readable(cx, deadline())).await?;
            let (result, buffer) = net::read(from.reader, self.buffers.small(), deadline()).await;
            let count = match result {
                Ok(0) | Err(_) => {
                    self.buffers.give(buffer);
                    return result.map(|_| ());
                }
                Ok(count) => count,
            };
            active.set(self.net.now());
            let patience = Patience { idle: self.idle, until: self.until };
            let (result, buffer) = net::write(to.writer, buffer, 0, patience).await;
            self.buffers.give(buffer);
            result?;
            copied.set(copied.get() + count as u64);
            active.set(self.net.now());
        }
    }
}
