//! The halves of a stream over monoio, for TCP and Unix sockets, on both drivers.
//!
//! Every operation lives in a place that its half borrows from the shard while it is under way, so that none allocates
//! and a silent stream holds no more than its wait. monoio queues a receive or a send the moment it is made, and moves
//! its buffer to safety when a half is dropped before it ended; the descriptor closes when the last operation on it has
//! ended.

use std::cell::UnsafeCell;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
// monoio's barest stream: a counted descriptor on which it receives and sends. The family of the socket is all one.
use monoio::net::UnixStream as Descriptor;

use crate::base::{Buffer, Shelf, Slot, TimerId, Timestamp};
use crate::proxy::net::{Patience, Reader, Writer};

use super::deadline::{Deadlines, Direction, reset_on_close, shutdown};

/// Free places that a shard keeps for each kind of operation.
const PLACES_FREE_MAX: usize = 1024;

/// A place for waits for readiness.
type Waiting = Slot<Rc<Socket>, io::Result<()>>;
/// A place for receives.
type Reading = Slot<(Rc<Socket>, Buffer), (io::Result<usize>, Room)>;

/// What the sockets of one shard have in common.
pub(super) struct Common {
    pub deadlines: Deadlines,
    waits: Shelf<Waiting>,
    reads: Shelf<Reading>,
    /// Boxed: only a half that writes holds one.
    writes: Shelf<Box<Writing>>,
}

impl Common {
    pub(super) fn new(deadlines: Deadlines) -> Self {
        let max = PLACES_FREE_MAX;
        Self { deadlines, waits: Shelf::new(max), reads: Shelf::new(max), writes: Shelf::new(max) }
    }

    /// Frees some of the places that were not needed of late; to be called a few times a second.
    pub(super) fn trim(&self) {
        self.waits.trim();
        self.reads.trim();
        self.writes.trim();
    }

    fn waiting(&self) -> Waiting {
        self.waits.take().unwrap_or_else(|| Slot::new(|socket: Rc<Socket>| socket.wait()))
    }

    fn reading(&self) -> Reading {
        let make = |(socket, buffer): (Rc<Socket>, Buffer)| socket.receive(buffer);
        self.reads.take().unwrap_or_else(|| Slot::new(make))
    }

    fn writing(&self) -> Box<Writing> {
        self.writes.take().unwrap_or_default()
    }
}

/// One connected socket, shared by its halves; gone from the wheel and closing once both are.
struct Socket {
    descriptor: UnsafeCell<Descriptor>,
    timer: TimerId,
    common: Rc<Common>,
}

impl Socket {
    /// A future that ends when a read would not block.
    fn wait(&self) -> impl Future<Output = io::Result<()>> + use<> {
        self.common.deadlines.count_operation();
        self.descriptor().readable(false)
    }

    fn receive(&self, buffer: Buffer) -> impl Future<Output = (io::Result<usize>, Room)> + use<> {
        self.common.deadlines.count_operation();
        self.descriptor().read(Room(buffer))
    }

    fn send(&self, chunk: Chunk) -> impl Future<Output = (io::Result<usize>, Chunk)> + use<> {
        self.common.deadlines.count_operation();
        self.descriptor().write(chunk)
    }

    /// monoio's receive and send ask for an exclusive reference, though they do not use it after the call.
    fn descriptor(&self) -> &'static mut Descriptor {
        // SAFETY: the reference is used by `readable`, `read` and `write` alone, on this thread, while the call or the
        // first poll lasts, and never by two of them at once: the operations they make hold a counted copy of the
        // descriptor instead (monoio declares its streams `Split` for that reason and does the same). It stays valid
        // meanwhile because a place holds a future only while a half owns it, which keeps its `Rc<Socket>` for longer.
        unsafe { &mut *self.descriptor.get() }
    }

    fn end(&self, direction: Direction) {
        shutdown(self.fd(), direction);
    }

    fn fd(&self) -> RawFd {
        // SAFETY: as in `descriptor`; the shared reference ends with this call.
        unsafe { &*self.descriptor.get() }.as_raw_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Before the descriptor closes: its number may be another connection's right after.
        self.common.deadlines.remove(self.timer);
    }
}

/// Takes a connected socket, in the driver's blocking mode, as a pair of halves.
pub(super) fn halves(descriptor: Descriptor, common: &Rc<Common>) -> (LiveReader, LiveWriter) {
    let timer = common.deadlines.add(descriptor.as_raw_fd());
    let socket = Rc::new(Socket { descriptor: UnsafeCell::new(descriptor), timer, common: Rc::clone(common) });
    (LiveReader { doing: Doing::Nothing, socket: Rc::clone(&socket) }, LiveWriter { writing: None, socket })
}

/// What the receiving half is about.
enum Doing {
    Nothing,
    Waiting(Waiting),
    Reading(Reading),
}

/// The receiving half.
pub struct LiveReader {
    doing: Doing,
    // Behind the operation, so that it is dropped after it.
    socket: Rc<Socket>,
}

impl LiveReader {
    /// Returns the place of the operation, which has ended or was given up.
    fn give_back(&mut self) {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Nothing => {}
            Doing::Waiting(place) => self.socket.common.waits.give(place),
            Doing::Reading(place) => self.socket.common.reads.give(place),
        }
    }

    /// Tells an end of stream that the peer sent from one that we caused.
    fn judge(&self, result: io::Result<usize>, buffer: &Buffer) -> io::Result<usize> {
        if matches!(result, Ok(count) if count > 0) {
            return result;
        }
        let ended = self.socket.common.deadlines.ended(self.socket.timer);
        if ended.read_expired {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if ended.aborted || ended.write_expired {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if result.is_ok() && buffer.room() == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        result
    }
}

impl Reader for LiveReader {
    fn poll_readable(&mut self, cx: &mut Context<'_>, deadline: Timestamp) -> Poll<io::Result<()>> {
        let (socket, doing) = (&self.socket, &mut self.doing);
        debug_assert!(!matches!(doing, Doing::Reading(_)), "a wait may only begin once the read has ended");
        if let Doing::Nothing = doing {
            let mut waiting = socket.common.waiting();
            waiting.start(Rc::clone(socket));
            *doing = Doing::Waiting(waiting);
        }
        let Doing::Waiting(waiting) = doing else { return Poll::Ready(Ok(())) };
        if let Poll::Ready(result) = waiting.poll(cx) {
            socket.common.deadlines.read_done(socket.timer);
            self.give_back();
            return Poll::Ready(result);
        }
        if socket.common.deadlines.wait(socket.timer, deadline, cx.waker()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    fn wake(&mut self) {
        if let Doing::Waiting(_) = self.doing {
            self.socket.common.deadlines.wake(self.socket.timer);
        }
    }

    fn begin_read(&mut self, buffer: Buffer, deadline: Timestamp) {
        debug_assert!(!self.is_reading(), "a read may only begin once the one before has ended");
        debug_assert!(buffer.room() > 0, "a read without room would look like the end of the stream");
        if let Doing::Waiting(waiting) = &mut self.doing {
            waiting.abandon();
            self.give_back();
        }
        let mut reading = self.socket.common.reading();
        reading.start((Rc::clone(&self.socket), buffer));
        self.doing = Doing::Reading(reading);
        self.socket.common.deadlines.reading(self.socket.timer, deadline);
    }

    fn set_read_deadline(&mut self, deadline: Timestamp) {
        if self.is_reading() {
            self.socket.common.deadlines.reading(self.socket.timer, deadline);
        }
    }

    fn is_reading(&self) -> bool {
        matches!(self.doing, Doing::Reading(_))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        debug_assert!(self.is_reading(), "only a read that was begun has a result");
        loop {
            let Doing::Reading(reading) = &mut self.doing else { return Poll::Pending };
            let (result, Room(buffer)) = ready!(reading.poll(cx));
            if matches!(&result, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
                reading.start((Rc::clone(&self.socket), buffer));
                continue;
            }
            self.give_back();
            self.socket.common.deadlines.read_done(self.socket.timer);
            return Poll::Ready((self.judge(result, &buffer), buffer));
        }
    }
}

/// A write under way, and the place of its sends.
struct Writing {
    sending: Slot<(Rc<Socket>, Chunk), (io::Result<usize>, Chunk)>,
    /// What was to be written, if that was nothing: no operation is needed.
    empty: Option<Buffer>,
    patience: Patience,
}

impl Default for Writing {
    fn default() -> Self {
        let sending = Slot::new(|(socket, chunk): (Rc<Socket>, Chunk)| socket.send(chunk));
        let patience = Patience { idle: Duration::ZERO, until: Timestamp::NEVER };
        Self { sending, empty: None, patience }
    }
}

impl Writing {
    fn send(&mut self, socket: &Rc<Socket>, chunk: Chunk) {
        let deadlines = &socket.common.deadlines;
        let idle_end = deadlines.coarse_now().plus(self.patience.idle);
        deadlines.writing(socket.timer, idle_end.min(self.patience.until));
        self.sending.start((Rc::clone(socket), chunk));
    }
}

/// The sending half.
pub struct LiveWriter {
    writing: Option<Box<Writing>>,
    // Behind the operation, so that it is dropped after it.
    socket: Rc<Socket>,
}

impl LiveWriter {
    fn give_back(&mut self) {
        if let Some(writing) = self.writing.take() {
            self.socket.common.writes.give(writing);
        }
    }

    fn judge(&self, error: io::Error) -> io::Error {
        let ended = self.socket.common.deadlines.ended(self.socket.timer);
        if ended.write_expired {
            return io::ErrorKind::TimedOut.into();
        }
        if ended.aborted {
            return io::ErrorKind::ConnectionAborted.into();
        }
        error
    }
}

impl Writer for LiveWriter {
    fn begin_write(&mut self, buffer: Buffer, from: usize, patience: Patience) {
        debug_assert!(!self.is_writing(), "a write may only begin once the one before has ended");
        let mut writing = self.socket.common.writing();
        writing.patience = patience;
        if from >= buffer.filled().len() {
            writing.empty = Some(buffer);
        } else {
            writing.send(&self.socket, Chunk { buffer, from });
        }
        self.writing = Some(writing);
    }

    fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)> {
        loop {
            let Some(writing) = &mut self.writing else { return Poll::Pending };
            if let Some(buffer) = writing.empty.take() {
                self.give_back();
                return Poll::Ready((Ok(()), buffer));
            }
            let (result, mut chunk) = ready!(writing.sending.poll(cx));
            let outcome = match result {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    chunk.from += count;
                    Ok(())
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                Err(error) => Err(self.judge(error)),
            };
            if outcome.is_err() || chunk.bytes().is_empty() {
                self.give_back();
                self.socket.common.deadlines.write_done(self.socket.timer);
                return Poll::Ready((outcome, chunk.buffer));
            }
            if let Some(writing) = &mut self.writing {
                writing.send(&self.socket, chunk);
            }
        }
    }

    fn shutdown(&mut self) {
        self.socket.end(Direction::Sending);
    }

    fn reset(&mut self) {
        reset_on_close(self.socket.fd());
        self.socket.common.deadlines.aborted(self.socket.timer);
    }

    fn abort(&mut self) {
        self.socket.common.deadlines.aborted(self.socket.timer);
        self.socket.end(Direction::Both);
    }
}

/// A buffer that is received into: its free room.
struct Room(Buffer);

// SAFETY: the pointer leads into the buffer's own allocation, which does not move or grow while monoio holds the
// buffer, and `bytes_total` octets from it on are the allocation's free capacity.
unsafe impl IoBufMut for Room {
    #[inline]
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.vec().spare_capacity_mut().as_mut_ptr().cast()
    }

    #[inline]
    fn bytes_total(&mut self) -> usize {
        self.0.room()
    }

    #[inline]
    unsafe fn set_init(&mut self, count: usize) {
        debug_assert!(count <= self.0.room(), "the kernel was told how much room there is");
        let bytes = self.0.vec();
        // SAFETY: the kernel has filled `count` octets behind the old length, within the capacity it was told.
        unsafe { bytes.set_len(bytes.len() + count) };
    }
}

/// What is left to be sent of a buffer.
struct Chunk {
    buffer: Buffer,
    from: usize,
}

impl Chunk {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.buffer.filled()[self.from..]
    }
}

// SAFETY: pointer and length are those of a slice of the buffer's own allocation, which does not move or change while
// monoio holds the buffer.
unsafe impl IoBuf for Chunk {
    #[inline]
    fn read_ptr(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    #[inline]
    fn bytes_init(&self) -> usize {
        self.bytes().len()
    }
}
