//! The IO port: the only door between protocol code and the outside.
//!
//! Two implementations: the runtime shell over monoio, and the simulated world of the tests. Buffers are owned: they
//! go in by value and come back with the result, on success and on error. An operation, once begun, lives in its
//! half of the stream and not in a future of the caller: whoever stops polling drops nothing, so waits may be raced
//! freely. Every operation carries its deadline and ends by itself with [`std::io::ErrorKind::TimedOut`].

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use super::tls::{Engine, Signing};
use crate::base::{Address, Buffer, Timestamp, UnixTime};

/// When a write gives up: after so long without progress, and at a point in time whatever the progress.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Renewed by every octet the kernel takes.
    pub idle: Duration,
    /// The end of it all.
    pub until: Timestamp,
}

/// One core's world: time, outgoing connections and tasks.
pub trait Net: Sized + 'static {
    type Reader: Reader;
    type Writer: Writer;

    /// The monotonic clock.
    fn now(&self) -> Timestamp;

    /// The wall clock, for dates and logs.
    fn unix_time(&self) -> UnixTime;

    /// Opens a stream. Without a descriptor or memory for it the error is [`io::ErrorKind::OutOfMemory`]. Dropping the
    /// future is allowed.
    fn connect(
        &self,
        address: &Address,
        deadline: Timestamp,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer)>>;

    /// Waits until `until`. Dropping the future is allowed.
    fn sleep(&self, until: Timestamp) -> impl Future<Output = ()>;

    /// Takes a step of a handshake that signs by an RSA key, beside the shard, and gives it back. Where too many wait already the
    /// error is [`io::ErrorKind::ConnectionRefused`]. Dropping the future is allowed.
    fn sign(&self, signing: Box<Signing>, deadline: Timestamp) -> impl Future<Output = io::Result<Box<Signing>>>;

    /// Has a stream that this world made speak TLS from now on; its hands are shaken.
    fn secure(&self, reader: &mut Self::Reader, writer: &mut Self::Writer, engine: Engine);

    /// A stream of this world that is no socket of its own: what is asked of its halves is asked of these.
    fn stream(&self, reader: Box<dyn Reader>, writer: Box<dyn Writer>) -> (Self::Reader, Self::Writer);

    /// Runs a task on this shard. A panic in it is counted and ends only that task.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
}

/// The receiving half of a stream. At most one operation is under way at a time: a wait or a read.
pub trait Reader: 'static {
    /// Waits, without a buffer, until a read would return at once. Polling again after a pending answer continues the
    /// same wait with the newest deadline; a wait that nobody polls stays armed and costs nothing.
    fn poll_readable(&mut self, cx: &mut Context<'_>, deadline: Timestamp) -> Poll<io::Result<()>>;

    /// Has whoever waits polled again, to look at its deadline anew.
    fn wake(&mut self);

    /// Begins to read into the free room of `buffer`; a wait that is still armed is given up.
    fn begin_read(&mut self, buffer: Buffer, deadline: Timestamp);

    /// Moves the deadline of the read under way.
    fn set_read_deadline(&mut self, deadline: Timestamp);

    /// Whether a read was begun and its result not yet taken.
    fn is_reading(&self) -> bool;

    /// The result of the read under way: how many octets were appended to the buffer; 0 is the peer's end of stream.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)>;
}

/// The sending half of a stream. Dropping both halves closes the stream.
pub trait Writer: 'static {
    /// Begins to write the filled bytes of `buffer` from position `from` on: all of them, or an error.
    fn begin_write(&mut self, buffer: Buffer, from: usize, patience: Patience);

    /// Whether a write was begun and its result not yet taken.
    fn is_writing(&self) -> bool;

    /// The result of the write under way.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)>;

    /// Ends the sending direction: the peer reads everything written, then the end of stream. At once, never blocks.
    fn shutdown(&mut self);

    /// Ends both directions: operations under way on either half end by themselves.
    fn abort(&mut self);

    /// Has the stream's close look like a failure to the peer, who cannot take it for an orderly end; to be followed by
    /// dropping both halves.
    fn reset(&mut self) {
        self.abort();
    }

    /// Says a last word, where the protocol has one, before both halves are dropped between two messages.
    fn take_leave(&mut self) {}
}

/// [`Reader::poll_readable`] as a future; dropping it leaves the wait armed.
pub fn readable<R: Reader>(reader: &RefCell<R>, deadline: Timestamp) -> impl Future<Output = io::Result<()>> {
    poll_fn(move |cx| reader.borrow_mut().poll_readable(cx, deadline))
}

/// Begins a read; the future brings its result, and leaves the read under way when it is dropped.
pub fn read<R: Reader>(
    reader: &RefCell<R>,
    buffer: Buffer,
    deadline: Timestamp,
) -> impl Future<Output = (io::Result<usize>, Buffer)> {
    reader.borrow_mut().begin_read(buffer, deadline);
    poll_fn(|cx| reader.borrow_mut().poll_read(cx))
}

/// Begins a write; the future brings its result, and leaves the write under way when it is dropped.
pub fn write<W: Writer>(
    writer: &RefCell<W>,
    buffer: Buffer,
    from: usize,
    patience: Patience,
) -> impl Future<Output = (io::Result<()>, Buffer)> {
    writer.borrow_mut().begin_write(buffer, from, patience);
    poll_fn(|cx| writer.borrow_mut().poll_write(cx))
}
