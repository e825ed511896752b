//! The halves of a stream, with TLS in between or without, or of one that others made.
//!
//! ```text
//!            ┌─ StreamReader ─ reads ciphertext ─┐
//! stream ────┤                                   ├──── Engine
//!            └─ StreamWriter ─ writes ciphertext ┘
//! ```
//!
//! The reader may find that something must be sent: an alert, an answer to a key update. It sends it itself while nobody
//! writes; else the write under way takes it along.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use super::engine::Engine;
use crate::base::{Buffer, Timestamp};
use crate::proxy::net::{Patience, Reader, Writer};

/// What is not content waits so long for a peer that does not read.
const CONTROL_PATIENCE: Patience = Patience { idle: Duration::from_secs(10), until: Timestamp::NEVER };

/// Lets the halves of one stream speak TLS from now on, by a connection whose hands are shaken.
pub fn secure<R: Reader, W: Writer>(reader: &mut StreamReader<R, W>, writer: &mut StreamWriter<W>, engine: Engine) {
    let (ReadHalf::Plain(inner), WriteHalf::Plain(outer)) =
        (mem::replace(&mut reader.0, ReadHalf::Gone), mem::replace(&mut writer.0, WriteHalf::Gone))
    else {
        return debug_assert!(false, "a stream is secured once");
    };
    let sending = Sending { engine, writer: outer, busy: false, broken: None, closing: Closing::Open };
    let sending = Rc::new(RefCell::new(sending));
    let secured = TlsReader { inner, sending: Rc::clone(&sending), caller: None, deadline: Timestamp::NEVER };
    reader.0 = ReadHalf::Tls(Box::new(secured));
    writer.0 = WriteHalf::Tls(Box::new(TlsWriter { sending, op: None }));
}

/// How far our direction is from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    Open,
    /// Our last word is in the queue.
    Queued,
    /// It was sent, and the stream's direction ended.
    Closed,
}

/// What both halves share.
struct Sending<W> {
    engine: Engine,
    writer: W,
    /// Whether the writing half has a write under way, and so sends what there is.
    busy: bool,
    /// Why nothing can be sent any more.
    broken: Option<io::ErrorKind>,
    closing: Closing,
}

impl<W: Writer> Sending<W> {
    /// Sends what is no content, unless the writing half does.
    fn flush(&mut self, cx: &mut Context<'_>) {
        while !self.busy && self.broken.is_none() {
            if self.writer.is_writing() {
                let Poll::Ready((result, sent)) = self.writer.poll_write(cx) else { return };
                self.engine.give(sent);
                self.broken = result.err().map(|error| error.kind());
            } else if self.engine.has_queue() {
                self.writer.begin_write(self.engine.take_queue(), 0, CONTROL_PATIENCE);
            } else {
                return self.end();
            }
        }
    }

    /// Ends our direction once our last word was sent.
    fn end(&mut self) {
        if self.closing == Closing::Queued {
            self.closing = Closing::Closed;
            self.writer.shutdown();
        }
    }

    fn close(&mut self) {
        if self.closing != Closing::Open {
            return;
        }
        self.engine.close();
        self.closing = Closing::Queued;
        // The first attempt is made here; whoever reads on sees to the rest.
        self.flush(&mut Context::from_waker(Waker::noop()));
    }
}

/// A receiving half.
pub struct StreamReader<R, W>(ReadHalf<R, W>);

enum ReadHalf<R, W> {
    Plain(R),
    Tls(Box<TlsReader<R, W>>),
    Made(Box<dyn Reader>),
    /// Between the two, which nobody sees.
    Gone,
}

/// A sending half.
pub struct StreamWriter<W>(WriteHalf<W>);

enum WriteHalf<W> {
    Plain(W),
    Tls(Box<TlsWriter<W>>),
    Made(Box<dyn Writer>),
    /// Between the two, which nobody sees.
    Gone,
}

impl<R, W> StreamReader<R, W> {
    /// A half without TLS.
    pub fn plain(inner: R) -> Self {
        Self(ReadHalf::Plain(inner))
    }

    /// A half of a stream that is no socket of its own.
    pub fn made(inner: Box<dyn Reader>) -> Self {
        Self(ReadHalf::Made(inner))
    }
}

impl<W> StreamWriter<W> {
    /// A half without TLS.
    pub fn plain(inner: W) -> Self {
        Self(WriteHalf::Plain(inner))
    }

    /// A half of a stream that is no socket of its own.
    pub fn made(inner: Box<dyn Writer>) -> Self {
        Self(WriteHalf::Made(inner))
    }
}

impl<R: Reader, W: Writer> Reader for StreamReader<R, W> {
    #[inline]
    fn poll_readable(&mut self, cx: &mut Context<'_>, deadline: Timestamp) -> Poll<io::Result<()>> {
        match &mut self.0 {
            ReadHalf::Plain(inner) => inner.poll_readable(cx, deadline),
            ReadHalf::Tls(tls) => tls.poll_readable(cx, deadline),
            ReadHalf::Made(inner) => inner.poll_readable(cx, deadline),
            ReadHalf::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn wake(&mut self) {
        match &mut self.0 {
            ReadHalf::Plain(inner) => inner.wake(),
            ReadHalf::Tls(tls) => tls.inner.wake(),
            ReadHalf::Made(inner) => inner.wake(),
            ReadHalf::Gone => {}
        }
    }

    #[inline]
    fn begin_read(&mut self, buffer: Buffer, deadline: Timestamp) {
        match &mut self.0 {
            ReadHalf::Plain(inner) => inner.begin_read(buffer, deadline),
            ReadHalf::Tls(tls) => tls.begin_read(buffer, deadline),
            ReadHalf::Made(inner) => inner.begin_read(buffer, deadline),
            ReadHalf::Gone => {}
        }
    }

    #[inline]
    fn set_read_deadline(&mut self, deadline: Timestamp) {
        match &mut self.0 {
            ReadHalf::Plain(inner) => inner.set_read_deadline(deadline),
            ReadHalf::Tls(tls) => tls.set_read_deadline(deadline),
            ReadHalf::Made(inner) => inner.set_read_deadline(deadline),
            ReadHalf::Gone => {}
        }
    }

    #[inline]
    fn is_reading(&self) -> bool {
        match &self.0 {
            ReadHalf::Plain(inner) => inner.is_reading(),
            ReadHalf::Tls(tls) => tls.caller.is_some(),
            ReadHalf::Made(inner) => inner.is_reading(),
            ReadHalf::Gone => false,
        }
    }

    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        match &mut self.0 {
            ReadHalf::Plain(inner) => inner.poll_read(cx),
            ReadHalf::Tls(tls) => tls.poll_read(cx),
            ReadHalf::Made(inner) => inner.poll_read(cx),
            ReadHalf::Gone => Poll::Ready((Err(io::ErrorKind::NotConnected.into()), Buffer::default())),
        }
    }
}

impl<W: Writer> Writer for StreamWriter<W> {
    #[inline]
    fn begin_write(&mut self, buffer: Buffer, from: usize, patience: Patience) {
        match &mut self.0 {
            WriteHalf::Plain(inner) => inner.begin_write(buffer, from, patience),
            WriteHalf::Tls(tls) => tls.begin_write(buffer, from, patience),
            WriteHalf::Made(inner) => inner.begin_write(buffer, from, patience),
            WriteHalf::Gone => {}
        }
    }

    #[inline]
    fn is_writing(&self) -> bool {
        match &self.0 {
            WriteHalf::Plain(inner) => inner.is_writing(),
            WriteHalf::Tls(tls) => tls.op.is_some(),
            WriteHalf::Made(inner) => inner.is_writing(),
            WriteHalf::Gone => false,
        }
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)> {
        match &mut self.0 {
            WriteHalf::Plain(inner) => inner.poll_write(cx),
            WriteHalf::Tls(tls) => tls.poll_write(cx),
            WriteHalf::Made(inner) => inner.poll_write(cx),
            WriteHalf::Gone => Poll::Ready((Err(io::ErrorKind::NotConnected.into()), Buffer::default())),
        }
    }

    fn shutdown(&mut self) {
        match &mut self.0 {
            WriteHalf::Plain(inner) => inner.shutdown(),
            WriteHalf::Tls(tls) => tls.sending.borrow_mut().close(),
            WriteHalf::Made(inner) => inner.shutdown(),
            WriteHalf::Gone => {}
        }
    }

    fn abort(&mut self) {
        match &mut self.0 {
            WriteHalf::Plain(inner) => inner.abort(),
            WriteHalf::Tls(tls) => tls.sending.borrow_mut().writer.abort(),
            WriteHalf::Made(inner) => inner.abort(),
            WriteHalf::Gone => {}
        }
    }

    fn reset(&mut self) {
        match &mut self.0 {
            WriteHalf::Plain(inner) => inner.reset(),
            WriteHalf::Tls(tls) => tls.sending.borrow_mut().writer.reset(),
            WriteHalf::Made(inner) => inner.reset(),
            WriteHalf::Gone => {}
        }
    }

    fn take_leave(&mut self) {
        if let WriteHalf::Tls(tls) = &mut self.0 {
            tls.sending.borrow_mut().close();
        }
    }
}

/// The receiving half of TLS.
struct TlsReader<R, W> {
    inner: R,
    sending: Rc<RefCell<Sending<W>>>,
    /// Of the read under way.
    caller: Option<Buffer>,
    deadline: Timestamp,
}

impl<R: Reader, W: Writer> TlsReader<R, W> {
    /// Waits for plaintext, not for octets: a record that is not complete, or that holds none, is read and waited behind.
    fn poll_readable(&mut self, cx: &mut Context<'_>, deadline: Timestamp) -> Poll<io::Result<()>> {
        loop {
            let mut sending = self.sending.borrow_mut();
            let readable = sending.engine.is_readable();
            sending.flush(cx);
            if readable {
                return Poll::Ready(Ok(()));
            }
            if self.inner.is_reading() {
                drop(sending);
                self.inner.set_read_deadline(deadline);
                ready!(self.poll_receive(cx));
            } else {
                ready!(self.inner.poll_readable(cx, deadline))?;
                self.inner.begin_read(sending.engine.lend(), deadline);
            }
        }
    }

    fn begin_read(&mut self, buffer: Buffer, deadline: Timestamp) {
        debug_assert!(self.caller.is_none(), "a read may only begin once the one before has ended");
        debug_assert!(buffer.room() > 0, "a read without room would look like the end of the stream");
        self.caller = Some(buffer);
        self.deadline = deadline;
        if self.inner.is_reading() {
            return self.inner.set_read_deadline(deadline);
        }
        let mut sending = self.sending.borrow_mut();
        if !sending.engine.is_readable() {
            self.inner.begin_read(sending.engine.lend(), deadline);
        }
    }

    fn set_read_deadline(&mut self, deadline: Timestamp) {
        self.deadline = deadline;
        if self.inner.is_reading() {
            self.inner.set_read_deadline(deadline);
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        loop {
            let Some(mut buffer) = self.caller.take() else {
                debug_assert!(false, "only a read that was begun has a result");
                return Poll::Pending;
            };
            let mut sending = self.sending.borrow_mut();
            let opened = sending.engine.open(&mut buffer);
            sending.flush(cx);
            if let Some(result) = opened {
                return Poll::Ready((result, buffer));
            }
            self.caller = Some(buffer);
            if !self.inner.is_reading() {
                self.inner.begin_read(sending.engine.lend(), self.deadline);
            }
            drop(sending);
            ready!(self.poll_receive(cx));
        }
    }

    /// Takes what the read below has brought.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (result, buffer) = ready!(self.inner.poll_read(cx));
        self.sending.borrow_mut().engine.received(&result, buffer);
        Poll::Ready(())
    }
}

/// The sending half of TLS.
struct TlsWriter<W> {
    sending: Rc<RefCell<Sending<W>>>,
    op: Option<Op>,
}

/// A write under way: what is left of its content is not sealed yet.
struct Op {
    content: Buffer,
    from: usize,
    patience: Patience,
}

impl<W: Writer> TlsWriter<W> {
    fn begin_write(&mut self, content: Buffer, from: usize, patience: Patience) {
        debug_assert!(self.op.is_none(), "a write may only begin once the one before has ended");
        let sending = &mut *self.sending.borrow_mut();
        sending.busy = true;
        let op = self.op.insert(Op { content, from, patience });
        if !sending.writer.is_writing() {
            // Whoever polls meets the error again.
            let _ = sending.go_on(op);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)> {
        let sending = &mut *self.sending.borrow_mut();
        let Some(op) = &mut self.op else {
            debug_assert!(false, "only a write that was begun has a result");
            return Poll::Pending;
        };
        let result = loop {
            if sending.writer.is_writing() {
                let (result, sealed) = ready!(sending.writer.poll_write(cx));
                sending.engine.give(sealed);
                if let Err(error) = result {
                    sending.broken.get_or_insert(error.kind());
                }
            }
            match sending.go_on(op) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(kind) => break Err(kind.into()),
            }
        };
        let content = mem::take(&mut op.content);
        self.op = None;
        sending.busy = false;
        // What could not be sealed leaves an alert to be sent.
        sending.flush(cx);
        Poll::Ready((result, content))
    }
}

impl<W: Writer> Sending<W> {
    /// Begins to send the next part of a write; false when there is none.
    fn go_on(&mut self, op: &mut Op) -> Result<bool, io::ErrorKind> {
        if let Some(kind) = self.broken {
            return Err(kind);
        }
        let rest = op.content.filled().get(op.from..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        if self.closing != Closing::Open {
            return Err(io::ErrorKind::BrokenPipe);
        }
        let (sealed, count) = self.engine.seal(rest).map_err(|error| error.kind())?;
        op.from += count;
        self.writer.begin_write(sealed, 0, op.patience);
        Ok(true)
    }
}
