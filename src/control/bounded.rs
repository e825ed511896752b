//! The admin API's listener: a bound on connections and on the time for a request, so that nobody can use it up by doing
//! nothing, or next to nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at once; further ones wait in the accept queue.
const CONNECTIONS_MAX: usize = 128;
/// How long a connection may bring no request, and a request take until its answer begins; also how long nothing of the
/// answer may be taken. Longer than an answer may take.
const PATIENCE: Duration = Duration::from_secs(75);

/// A listener whose connections are counted and timed.
pub(super) struct Bounded<L> {
    inner: L,
    places: Arc<Semaphore>,
}

impl<L> Bounded<L> {
    pub fn new(inner: L) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Timed<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (io, address) = self.inner.accept().await;
        (Timed::new(io, PATIENCE, place), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A connection that ends by itself when nothing, or too little, happens on it.
pub(super) struct Timed<T> {
    io: T,
    patience: Duration,
    end: Pin<Box<Sleep>>,
    /// Whether something came since the last was sent: a request, whose every further octet gains no time.
    asked: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl<T> Timed<T> {
    fn new(io: T, patience: Duration, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { io, patience, end: Box::pin(sleep(patience)), asked: false, _place: place }
    }

    fn begin_anew(&mut self) {
        self.end.as_mut().reset(Instant::now() + self.patience);
    }

    /// What the operation came to; one that is not ready may have been awaited too long.
    fn or_end<O>(&mut self, result: Poll<io::Result<O>>, cx: &mut Context<'_>) -> Poll<io::Result<O>> {
        if result.is_pending() {
            return self.end.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.io).poll_read(cx, buffer);
        if read.is_ready() && !std::mem::replace(&mut this.asked, true) {
            this.begin_anew();
        }
        this.or_end(read, cx)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        if written.is_ready() {
            this.asked = false;
            this.begin_anew();
        }
        this.or_end(written, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_millis(400);

    /// What becomes of a connection that brings an octet now and then, each answered or not, within twice the
    /// patience.
    fn served(answers: bool) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (io, client) = duplex(64);
            tokio::spawn(drip(client));
            let mut served = Timed::new(io, SHORT, None);
            let end = Instant::now() + 2 * SHORT;
            while Instant::now() < end {
                served.read_u8().await?;
                if answers {
                    served.write_u8(0).await?;
                }
            }
            Ok(())
        })
    }

    #[test]
    fn a_request_has_its_whole_time_however_long_the_connection_was_idle() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (io, mut client) = duplex(64);
            let mut served = Timed::new(io, SHORT, None);
            for _ in 0..2 {
                client.write_u8(0).await.unwrap();
                served.read_u8().await.unwrap();
                sleep(SHORT * 6 / 10).await;
                assert!(timeout(Duration::ZERO, served.read_u8()).await.is_err(), "it ended too early");
                served.write_u8(0).await.unwrap();
                sleep(SHORT * 6 / 10).await;
            }
        });
    }

    async fn drip(mut client: DuplexStream) {
        while client.write_u8(0).await.is_ok() {
            sleep(SHORT / 10).await;
        }
    }

    #[test]
    fn a_request_that_comes_in_drips_ends_and_a_connection_with_many_does_not() {
        assert_eq!(served(false).unwrap_err().kind(), io::ErrorKind::TimedOut);
        served(true).unwrap();
    }
}
