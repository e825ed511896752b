//! Moving a body from one stream to another, reframed where the two sides need different framing.
//!
//! Owned buffers bound it by themselves: the next read begins when the write before it has ended, so a slow reader
//! stops the producer and an exchange holds at most two buffers per direction.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::bridge::Codec;
use super::net::{self, Net, Patience, Writer};
use super::terms::Terms;
use crate::base::{Buffer, BufferPool, LARGE_BUFFER_BYTES, SMALL_BUFFER_BYTES, Timestamp};
use crate::http::Body;
use crate::http::grpc::InvalidBase64;
use crate::http::h1::{
    ChunkError, ChunkedDecoder, HeadLimits, LAST_CHUNK, NOT_IN_TRAILERS, Step, Trailers, write_chunk, write_trailers,
};
use crate::http::header::Field;

/// Room a reframed read leaves in its buffer: chunk heads of its pieces and the last chunk fit into it.
const FRAMING_BYTES: usize = 64;
/// Full reads in a row after which a body has proven to flow and gets a large buffer.
const FULL_READS: u32 = 2;
/// A write that took longer shows a slow reader, which gets a small buffer again.
const SLOW_WRITE: Duration = Duration::from_millis(100);

/// How the receiving side learns where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SinkFraming {
    /// By the length its head declared, or by the close of the connection.
    Plain,
    /// By chunks.
    Chunked,
}

/// Why a body did not arrive whole.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The sender's stream failed or timed out.
    Source(io::Error),
    /// The sender closed before the end of the message.
    Truncated,
    /// The sender's chunked framing is broken.
    Malformed(ChunkError),
    /// The sender's text stands for nothing.
    Text(InvalidBase64),
    /// The message is longer than allowed.
    TooLarge,
    /// The receiver's stream failed or timed out.
    Sink(io::Error),
}

/// Reads a message's framing and says which octets are content.
pub(super) struct BodyReader {
    remaining: Remaining,
    /// Whether the message has been read to its end.
    is_done: bool,
    /// Octets of content seen.
    pub content: u64,
    /// Content beyond this is refused.
    content_max: u64,
    /// Whether the receiver reads trailers.
    pub forwards_trailers: bool,
    /// What the content is passed through, to a sink of chunks.
    pub codec: Option<Box<Codec>>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each direction of an exchange, and a box would be an allocation"
)]
enum Remaining {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// What reading chunks takes.
struct Chunks {
    decoder: ChunkedDecoder,
    trailers: Trailers,
    trailer_limits: HeadLimits,
}

impl BodyReader {
    /// A reader of no body.
    #[inline]
    pub const fn new() -> Self {
        Self {
            remaining: Remaining::Length(0),
            is_done: true,
            content: 0,
            content_max: u64::MAX,
            forwards_trailers: false,
            codec: None,
        }
    }

    /// Makes it a reader of a body framed as `body`; in place, since what chunks take is large.
    #[inline]
    pub fn expect(&mut self, body: Body, content_max: u64, terms: &Terms<'_>) {
        self.content_max = content_max;
        self.is_done = matches!(body, Body::Empty | Body::Length(0));
        match body {
            Body::Empty => {}
            Body::Length(length) => self.remaining = Remaining::Length(length),
            Body::Chunked => self.expect_chunks(terms.head_limits()),
            Body::UntilClose => self.remaining = Remaining::UntilClose,
        }
    }

    #[inline(never)]
    fn expect_chunks(&mut self, trailer_limits: HeadLimits) {
        let (decoder, trailers) = Default::default();
        self.remaining = Remaining::Chunked(Chunks { decoder, trailers, trailer_limits });
    }

    /// Whether the message has been read to its end.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Appends the content among `input` to `out`, framed for `sink`, and returns how many octets of `input` belong to
    /// this message. At the message's end the end of the sink's framing is appended too.
    pub fn take(&mut self, input: &[u8], sink: SinkFraming, out: &mut Vec<u8>) -> Result<usize, BodyError> {
        if self.passes_through(sink) {
            let end = self.pass(input)?;
            out.extend_from_slice(&input[..end]);
            return Ok(end);
        }
        let mut used = 0;
        while used < input.len() && !self.is_done() {
            let (start, end, next) = self.step(&input[used..])?;
            self.append(&input[used + start..used + end], sink, out)?;
            used += next;
        }
        if self.is_done() && used > 0 {
            self.append_end(sink, out)?;
        }
        Ok(used)
    }

    /// Appends what ends the message for `sink`.
    fn append_end(&mut self, sink: SinkFraming, out: &mut Vec<u8>) -> Result<(), BodyError> {
        if let Some(codec) = &mut self.codec {
            let trailers = if let Remaining::Chunked(chunks) = &self.remaining { Some(&chunks.trailers) } else { None };
            return codec.end(trailers, out).map_err(BodyError::Text);
        }
        match (sink, &self.remaining) {
            (SinkFraming::Plain, _) => {}
            (SinkFraming::Chunked, Remaining::Chunked(chunks)) if self.forwards_trailers => {
                // What frames, routes or describes a message comes too late in a trailer, or is an attack.
                let skip = |field: &Field| field.known.is_some_and(|known| NOT_IN_TRAILERS & known.bit() != 0);
                write_trailers(out, &chunks.trailers, skip);
            }
            (SinkFraming::Chunked, _) => out.extend_from_slice(LAST_CHUNK),
        }
        Ok(())
    }

    /// Ends for its sink a message that has no content, where a codec is to end it.
    pub fn end_empty(&mut self, sink: SinkFraming, out: &mut Vec<u8>) -> Result<(), BodyError> {
        if self.codec.is_some() { self.append_end(sink, out) } else { Ok(()) }
    }

    /// The next piece of content in `input` as a range, and where to go on.
    fn step(&mut self, input: &[u8]) -> Result<(usize, usize, usize), BodyError> {
        match &mut self.remaining {
            Remaining::UntilClose => Ok((0, input.len(), input.len())),
            Remaining::Length(left) => {
                let piece = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= piece as u64;
                self.is_done = *left == 0;
                Ok((0, piece, piece))
            }
            Remaining::Chunked(chunks) => {
                let step = chunks.decoder.next(input, &mut chunks.trailers, &chunks.trailer_limits);
                Ok(match step.map_err(BodyError::Malformed)? {
                    Step::Data(range) => (range.start, range.end, range.end),
                    Step::NeedMore => (0, 0, input.len()),
                    Step::Done { consumed } => {
                        self.is_done = true;
                        (0, 0, consumed)
                    }
                })
            }
        }
    }

    fn append(&mut self, content: &[u8], sink: SinkFraming, out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.count(content.len())?;
        match sink {
            SinkFraming::Plain => out.extend_from_slice(content),
            SinkFraming::Chunked if content.is_empty() => {}
            SinkFraming::Chunked => match &mut self.codec {
                None => write_chunk(out, content),
                Some(codec) => codec.content(content, out).map_err(BodyError::Text)?,
            },
        }
        Ok(())
    }

    /// What the sender's end of stream means: the end of a body that runs to it, a truncation of any other. Appends the
    /// end of the sink's framing.
    pub fn end(&mut self, sink: SinkFraming, out: &mut Vec<u8>) -> Result<(), BodyError> {
        if self.is_done || !matches!(self.remaining, Remaining::UntilClose) {
            return Err(BodyError::Truncated);
        }
        self.is_done = true;
        self.append_end(sink, out)
    }

    /// Whether received octets go on as they are.
    fn passes_through(&self, sink: SinkFraming) -> bool {
        !self.is_done
            && sink == SinkFraming::Plain
            && matches!(self.remaining, Remaining::Length(_) | Remaining::UntilClose)
    }

    /// How many octets of `input` belong to a message that passes through.
    fn pass(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let (_, end, _) = self.step(input)?;
        self.count(end)?;
        Ok(end)
    }

    fn count(&mut self, content: usize) -> Result<(), BodyError> {
        self.content += content as u64;
        if self.content > self.content_max { Err(BodyError::TooLarge) } else { Ok(()) }
    }

    /// [`Self::take`] in place, for a body that passes through: cuts `buffer` behind the message's last octet and
    /// returns how many octets were beyond it, which `beyond` is given.
    fn take_in_place(&mut self, buffer: &mut Buffer, beyond: impl FnOnce(&[u8])) -> Result<(), BodyError> {
        let (_, end, _) = self.step(buffer.filled())?;
        beyond(&buffer.filled()[end..]);
        buffer.vec().truncate(end);
        self.count(end)
    }
}

/// How long either side may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two octets, on either side.
    pub idle: Duration,
    /// The end of it all.
    pub until: Timestamp,
    /// The slowest average the sender may have, in octets per second; 0 for any.
    pub rate_min: u64,
    /// How long the sender may be slower.
    pub grace: Duration,
}

/// One body on its way.
pub(super) struct Relay<'a, N: Net> {
    pub net: &'a N,
    pub buffers: &'a BufferPool,
    pub source: &'a RefCell<N::Reader>,
    pub sink: &'a RefCell<N::Writer>,
    pub framing: SinkFraming,
    pub pace: Pace,
    /// When either side of a call was heard last: one may be silent for as long as the other is not.
    pub heard: Option<&'a Cell<Timestamp>>,
}

/// What a relay learns on its way; kept outside of it, since an exchange may end before its upload does.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Octets handed to the sink's kernel side, framing included.
    pub written: Cell<u64>,
    /// Whether a read of the source was begun: what it brings comes but once.
    pub has_read: Cell<bool>,
    /// When the write under way began, if anybody will want to know how long it took.
    began: Cell<Option<Timestamp>>,
    /// When the sender was first waited for.
    started: Cell<Option<Timestamp>>,
    /// Time spent on writing, which is not the sender's fault.
    writing: Cell<Duration>,
    full_reads: Cell<u32>,
}

impl Progress {
    fn wrote_for(&self, took: Duration) {
        self.writing.set(self.writing.get() + took);
        if took > SLOW_WRITE {
            self.full_reads.set(0);
        }
    }
}

impl<N: Net> Relay<'_, N> {
    /// Begins with `out`, which holds the head and what has been taken of the body so far.
    pub fn begin(&self, out: Buffer, reader: &BodyReader, progress: &Progress) {
        // How long the last write takes, nobody wants to know.
        progress.began.set((!reader.is_done()).then(|| self.net.now()));
        let patience = Patience { idle: self.pace.idle, until: self.pace.until };
        self.sink.borrow_mut().begin_write(out, 0, patience);
    }

    /// The end of the write under way.
    pub fn poll_begun(&self, cx: &mut Context<'_>, progress: &Progress) -> Poll<io::Result<()>> {
        let (result, out) = ready!(self.sink.borrow_mut().poll_write(cx));
        let length = out.filled().len() as u64;
        self.buffers.give(out);
        if let Some(began) = progress.began.take() {
            progress.wrote_for(self.net.now().since(began));
        }
        if result.is_ok() {
            progress.written.set(progress.written.get() + length);
        }
        Poll::Ready(result)
    }

    /// Moves the rest of the body, once `gate` is open. Octets of the source beyond its end go to `beyond`. Whoever
    /// opens the gate polls this future next.
    pub async fn rest(
        &self,
        reader: &mut BodyReader,
        progress: &Progress,
        gate: &Cell<bool>,
        mut beyond: impl FnMut(&[u8]),
    ) -> Result<(), BodyError> {
        poll_fn(|_| if gate.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        while !reader.is_done() {
            let input = match self.read(reader, progress).await {
                Err(BodyError::Source(error)) if self.may_be_silent(&error) => continue,
                input => input?,
            };
            if let Some(heard) = self.heard {
                heard.set(self.net.now());
            }
            let out = self.reframe(input, reader, &mut beyond)?;
            if out.filled().is_empty() {
                self.buffers.give(out);
                continue;
            }
            self.begin(out, reader, progress);
            poll_fn(|cx| self.poll_begun(cx, progress)).await.map_err(BodyError::Sink)?;
        }
        Ok(())
    }

    async fn read(&self, reader: &mut BodyReader, progress: &Progress) -> Result<Buffer, BodyError> {
        let deadline = self.read_deadline(reader, progress);
        if progress.full_reads.get() == 0 {
            net::readable(self.source, deadline).await.map_err(BodyError::Source)?;
        }
        let mut buffer =
            if progress.full_reads.get() >= FULL_READS { self.buffers.large() } else { self.buffers.small() };
        if !reader.passes_through(self.framing) {
            buffer.vec().resize(FRAMING_BYTES, 0);
        }
        progress.has_read.set(true);
        let (result, buffer) = net::read(self.source, buffer, deadline).await;
        match result {
            Ok(0) => self.end(buffer, reader),
            Ok(_) => {
                let full = buffer.room() == 0;
                progress.full_reads.set(if full { progress.full_reads.get().saturating_add(1) } else { 0 });
                Ok(buffer)
            }
            Err(error) => {
                self.buffers.give(buffer);
                Err(BodyError::Source(error))
            }
        }
    }

    /// The sender has closed: an empty buffer for an ended message, or an error.
    fn end(&self, mut buffer: Buffer, reader: &mut BodyReader) -> Result<Buffer, BodyError> {
        buffer.clear();
        let ended = reader.end(self.framing, buffer.vec());
        match ended {
            Ok(()) => Ok(buffer),
            Err(error) => {
                self.buffers.give(buffer);
                Err(error)
            }
        }
    }

    /// The octets to write for those read.
    fn reframe(
        &self,
        mut input: Buffer,
        reader: &mut BodyReader,
        beyond: &mut impl FnMut(&[u8]),
    ) -> Result<Buffer, BodyError> {
        if reader.is_done() {
            return Ok(input);
        }
        if reader.passes_through(self.framing) {
            reader.take_in_place(&mut input, beyond)?;
            return Ok(input);
        }
        let mut out = match &reader.codec {
            Some(codec) => self.buffers.holding(input.filled().len() + codec.growth_bytes(input.filled().len())),
            None if input.capacity() == SMALL_BUFFER_BYTES => self.buffers.small(),
            None => self.buffers.large(),
        };
        let received = &input.filled()[FRAMING_BYTES..];
        let taken = reader.take(received, self.framing, out.vec());
        if let Ok(used) = taken {
            beyond(&received[used..]);
        }
        self.buffers.give(input);
        taken.map(|_| out)
    }

    /// Whether a sender that was not heard in time is waited for, since the other was.
    fn may_be_silent(&self, error: &io::Error) -> bool {
        let now = self.net.now();
        let heard_by = |heard: &Cell<Timestamp>| now < heard.get().plus(self.pace.idle) && now < self.pace.until;
        error.kind() == io::ErrorKind::TimedOut && self.heard.is_some_and(heard_by)
    }

    /// When the sender has been silent, or slower than it may be, for too long.
    fn read_deadline(&self, reader: &BodyReader, progress: &Progress) -> Timestamp {
        let now = self.net.now();
        let started = progress.started.get().unwrap_or(now);
        progress.started.set(Some(started));
        let silent_since = self.heard.map_or(now, Cell::get);
        let idle = silent_since.plus(self.pace.idle).min(self.pace.until);
        if self.pace.rate_min == 0 {
            return idle;
        }
        let earned = Duration::from_millis(reader.content.saturating_mul(1000) / self.pace.rate_min);
        idle.min(started.plus(self.pace.grace).plus(earned).plus(progress.writing.get()))
    }
}

const _: () = assert!(LARGE_BUFFER_BYTES > SMALL_BUFFER_BYTES && SMALL_BUFFER_BYTES > 2 * FRAMING_BYTES);
