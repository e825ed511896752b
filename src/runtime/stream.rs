//! The halves of a stream over monoio, for TCP and Unix sockets, on both drivers.
//!
//! Every operation lives in a slot of its half: one box per half, restarted in place, so that none allocates. monoio
//! queues a receive or a send the moment it is made, and moves its buffer to safety when a half is dropped before it
//! ended; the descriptor closes when the last operation on it has ended.

use std::cell::UnsafeCell;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
// monoio's barest stream: a counted descriptor on which it receives and sends. The family of the socket is all one.
use monoio::net::UnixStream as Descriptor;

use crate::base::{Buffer, Slot, TimerId, Timestamp};
use crate::proxy::net::{Patience, Reader, Writer};

use super::deadline::{Deadlines, Direction, reset_on_close, shutdown};

/// One connected socket, shared by its halves; gone from the wheel and closing once both are.
struct Socket {
    descriptor: UnsafeCell<Descriptor>,
    timer: TimerId,
    deadlines: Rc<Deadlines>,
}

impl Socket {
    /// A future that ends when a read would not block.
    fn wait(&self) -> impl Future<Output = io::Result<()>> + use<> {
        self.deadlines.count_operation();
        self.descriptor().readable(false)
    }

    fn receive(&self, buffer: Buffer) -> impl Future<Output = (io::Result<usize>, Room)> + use<> {
        self.deadlines.count_operation();
        self.descriptor().read(Room(buffer))
    }

    fn send(&self, chunk: Chunk) -> impl Future<Output = (io::Result<usize>, Chunk)> + use<> {
        self.deadlines.count_operation();
        self.descriptor().write(chunk)
    }

    /// monoio's receive and send ask for an exclusive reference, though they do not use it after the call.
    fn descriptor(&self) -> &'static mut Descriptor {
        // SAFETY: the reference is used by `readable`, `read` and `write` alone, on this thread, while the call or the
        // first poll lasts, and never by two of them at once: the operations they make hold a counted copy of the
        // descriptor instead (monoio declares its streams `Split` for that reason and does the same). It stays valid
        // meanwhile because each half keeps its `Rc<Socket>` for longer than its slot.
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
        self.deadlines.remove(self.timer);
    }
}

/// Takes a connected socket, in the driver's blocking mode, as a pair of halves.
pub(super) fn halves(descriptor: Descriptor, deadlines: &Rc<Deadlines>) -> (LiveReader, LiveWriter) {
    let timer = deadlines.add(descriptor.as_raw_fd());
    let socket = Rc::new(Socket { descriptor: UnsafeCell::new(descriptor), timer, deadlines: Rc::clone(deadlines) });
    (LiveReader::new(Rc::clone(&socket)), LiveWriter::new(socket))
}

/// What the receiving half is to do next.
enum Wish {
    Wait,
    Read(Buffer),
}

/// What became of it.
enum Receipt {
    Waited(io::Result<()>),
    Read(io::Result<usize>, Buffer),
}

pin_project_lite::pin_project! {
    #[project = ReceivingProjection]
    enum Receiving<W, R> {
        Wait { #[pin] future: W },
        Read { #[pin] future: R },
    }
}

impl<W, R> Future for Receiving<W, R>
where
    W: Future<Output = io::Result<()>>,
    R: Future<Output = (io::Result<usize>, Room)>,
{
    type Output = Receipt;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Receipt> {
        match self.project() {
            ReceivingProjection::Wait { future } => future.poll(cx).map(Receipt::Waited),
            ReceivingProjection::Read { future } => future.poll(cx).map(|(result, room)| Receipt::Read(result, room.0)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    Waiting,
    Reading,
}

/// The receiving half.
pub struct LiveReader {
    slot: Slot<Wish, Receipt>,
    doing: Doing,
    // Behind the slot, so that it is dropped after it.
    socket: Rc<Socket>,
}

impl LiveReader {
    fn new(socket: Rc<Socket>) -> Self {
        let shared = Rc::clone(&socket);
        let slot = Slot::new(move |wish| match wish {
            Wish::Wait => Receiving::Wait { future: shared.wait() },
            Wish::Read(buffer) => Receiving::Read { future: shared.receive(buffer) },
        });
        Self { slot, doing: Doing::Nothing, socket }
    }

    /// Tells an end of stream that the peer sent from one that we caused.
    fn judge(&self, result: io::Result<usize>, buffer: &Buffer) -> io::Result<usize> {
        if matches!(result, Ok(count) if count > 0) {
            return result;
        }
        let ended = self.socket.deadlines.ended(self.socket.timer);
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
        debug_assert!(self.doing != Doing::Reading, "a wait may only begin once the read has ended");
        if self.doing == Doing::Nothing {
            self.slot.start(Wish::Wait);
            self.doing = Doing::Waiting;
        }
        if let Poll::Ready(receipt) = self.slot.poll(cx) {
            self.doing = Doing::Nothing;
            self.socket.deadlines.read_done(self.socket.timer);
            let Receipt::Waited(result) = receipt else { return Poll::Ready(Ok(())) };
            return Poll::Ready(result);
        }
        if self.socket.deadlines.wait(self.socket.timer, deadline, cx.waker()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    fn begin_read(&mut self, buffer: Buffer, deadline: Timestamp) {
        debug_assert!(self.doing != Doing::Reading, "a read may only begin once the one before has ended");
        if self.doing == Doing::Waiting {
            self.slot.abandon();
        }
        debug_assert!(buffer.room() > 0, "a read without room would look like the end of the stream");
        self.slot.start(Wish::Read(buffer));
        self.doing = Doing::Reading;
        self.socket.deadlines.reading(self.socket.timer, deadline);
    }

    fn set_read_deadline(&mut self, deadline: Timestamp) {
        if self.doing == Doing::Reading {
            self.socket.deadlines.reading(self.socket.timer, deadline);
        }
    }

    fn is_reading(&self) -> bool {
        self.doing == Doing::Reading
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        debug_assert!(self.doing == Doing::Reading, "only a read that was begun has a result");
        loop {
            let Receipt::Read(result, buffer) = ready!(self.slot.poll(cx)) else { return Poll::Pending };
            if matches!(&result, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
                self.slot.start(Wish::Read(buffer));
                continue;
            }
            self.doing = Doing::Nothing;
            self.socket.deadlines.read_done(self.socket.timer);
            return Poll::Ready((self.judge(result, &buffer), buffer));
        }
    }
}

/// The sending half.
pub struct LiveWriter {
    slot: Slot<Chunk, (io::Result<usize>, Chunk)>,
    /// What was to be written, if that was nothing: no operation is needed.
    empty: Option<Buffer>,
    patience: Patience,
    // Behind the slot, so that it is dropped after it.
    socket: Rc<Socket>,
}

impl LiveWriter {
    fn new(socket: Rc<Socket>) -> Self {
        let shared = Rc::clone(&socket);
        let slot = Slot::new(move |chunk| shared.send(chunk));
        let patience = Patience { idle: std::time::Duration::ZERO, until: Timestamp::NEVER };
        Self { slot, empty: None, patience, socket }
    }

    fn send(&mut self, chunk: Chunk) {
        let deadlines = &self.socket.deadlines;
        let idle_end = deadlines.coarse_now().plus(self.patience.idle);
        deadlines.writing(self.socket.timer, idle_end.min(self.patience.until));
        self.slot.start(chunk);
    }

    fn judge(&self, error: io::Error) -> io::Error {
        let ended = self.socket.deadlines.ended(self.socket.timer);
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
        self.patience = patience;
        if from >= buffer.filled().len() {
            self.empty = Some(buffer);
        } else {
            self.send(Chunk { buffer, from });
        }
    }

    fn is_writing(&self) -> bool {
        self.slot.is_running() || self.empty.is_some()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)> {
        if let Some(buffer) = self.empty.take() {
            return Poll::Ready((Ok(()), buffer));
        }
        loop {
            let (result, mut chunk) = ready!(self.slot.poll(cx));
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
                self.socket.deadlines.write_done(self.socket.timer);
                return Poll::Ready((outcome, chunk.buffer));
            }
            self.send(chunk);
        }
    }

    fn shutdown(&mut self) {
        self.socket.end(Direction::Sending);
    }

    fn reset(&mut self) {
        reset_on_close(self.socket.fd());
        self.socket.deadlines.aborted(self.socket.timer);
    }

    fn abort(&mut self) {
        self.socket.deadlines.aborted(self.socket.timer);
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
