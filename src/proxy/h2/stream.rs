//! The two halves of one stream: to the exchange a client of HTTP/1.1, to the library the user of a stream.
//!
//! The receiving half gives the content of the request, framed as the head has said; the sending half takes a response
//! of HTTP/1.1 apart. The window is opened again for what the exchange has passed on, which it shows by asking for more;
//! and a write ends when the window had room for all of it. So a slow reader on either side stops the other.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::alarm::Alarm;
use super::session::Session;
use crate::base::{Buffer, Timestamp};
use crate::http::h1::{
    CHUNK_HEADER_BYTES, ChunkedDecoder, HeadLimits, HeadScanner, Progress, Step, Trailers, write_chunk,
};
use crate::http::h2::{Content, head_of, switched, trailers_of, write_trailers};
use crate::http::{Body, Method};
use crate::proxy::net::{Net, Patience, Reader, Writer};
use crate::proxy::shard::Shard;

/// What a chunk takes beside its content.
const CHUNK_FRAMING_BYTES: usize = CHUNK_HEADER_BYTES + 2;

/// How malformed trailers are counted.
const PSEUDO_TRAILERS: &str = "pseudo-header-in-trailers";

/// What bounds a head that we have written ourselves: nothing that matters.
const OWN_HEAD: HeadLimits = HeadLimits {
    head_bytes_max: 1 << 30,
    field_bytes_max: 1 << 30,
    fields_max: u16::MAX as usize,
    target_bytes_max: 0,
    http10_without_host: false,
};

/// The side that answers, shared by both halves: a client's reset shows there.
pub(super) struct Answering {
    respond: SendResponse<Bytes>,
    /// Once the head of the final response was sent.
    content: Option<SendStream<Bytes>>,
    /// Whether the response was sent to its end, or cut.
    is_over: bool,
    /// Whether the exchange has ended its direction.
    is_closed: bool,
    /// Whether the stream has become a tunnel: each direction has an end of its own (RFC 8441, section 5).
    is_tunnel: bool,
}

impl Answering {
    pub fn new(respond: SendResponse<Bytes>) -> Self {
        Self { respond, content: None, is_over: false, is_closed: false, is_tunnel: false }
    }

    /// Ready when the client has reset the stream, or the connection has ended.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.content {
            Some(content) => content.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    /// Ends the stream, unless the response was complete: a cut one never looks so.
    fn cut(&mut self, code: Reason) {
        // What is a reset of TCP elsewhere is a cancellation here.
        self.reset(if self.is_tunnel { Reason::CANCEL } else { code });
    }

    /// The same, whatever the stream has become.
    fn reset(&mut self, code: Reason) {
        self.is_closed = true;
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        match &mut self.content {
            Some(content) => content.send_reset(code),
            None => self.respond.send_reset(code),
        }
    }

    /// Ends our direction of a tunnel; the client's goes on.
    fn finish(&mut self) {
        if !std::mem::replace(&mut self.is_over, true)
            && let Some(content) = &mut self.content
        {
            // It fails only where the stream has ended.
            let _ = content.send_data(Bytes::new(), true);
        }
    }
}

/// The request's content.
pub(super) struct StreamReader<N: Net> {
    shard: Rc<Shard<N>>,
    session: Rc<Session>,
    content: RecvStream,
    framing: Content,
    stage: ReadStage,
    /// Received from the library and not yet read.
    chunk: Bytes,
    /// Chunk heads and trailers that are to be read before anything else.
    pending: Vec<u8>,
    /// Octets that were read, and whose room in the window is given back when more is wanted.
    taken: usize,
    reading: Option<(Buffer, Timestamp)>,
    answering: Rc<RefCell<Answering>>,
    alarm: Alarm<N>,
}

/// ```text
/// Content ──▶ Trailers ──▶ Done
///    └──(of a tunnel)──▶ Ended
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadStage {
    Content,
    Trailers,
    /// Only the client's reset is waited for, or our own end.
    Done,
    /// The client has ended its direction.
    Ended,
}

impl<N: Net> StreamReader<N> {
    pub fn new(
        shard: &Rc<Shard<N>>,
        session: &Rc<Session>,
        content: RecvStream,
        framing: Content,
        answering: &Rc<RefCell<Answering>>,
    ) -> Self {
        Self {
            shard: Rc::clone(shard),
            session: Rc::clone(session),
            content,
            framing,
            stage: if framing == Content::Empty { ReadStage::Done } else { ReadStage::Content },
            chunk: Bytes::new(),
            pending: Vec::new(),
            taken: 0,
            reading: None,
            answering: Rc::clone(answering),
            alarm: Alarm::new(shard),
        }
    }

    /// Opens the window again for what was passed on.
    fn release(&mut self) {
        if self.taken > 0 {
            // It fails only for more than was received.
            let _ = self.content.flow_control().release_capacity(std::mem::take(&mut self.taken));
        }
    }

    /// Whether there is something to read; false at the end.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.release();
        if self.answering.borrow().is_closed {
            // HTTP/2 needs no lingering: letting go of the stream tells the client to stop, and harms no answer.
            return Poll::Ready(Ok(false));
        }
        loop {
            if !self.chunk.is_empty() || !self.pending.is_empty() {
                return Poll::Ready(Ok(true));
            }
            match self.stage {
                ReadStage::Content => match ready!(self.content.poll_data(cx)) {
                    Some(Ok(chunk)) => self.chunk = chunk,
                    Some(Err(_)) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                    None if self.framing == Content::Tunnel => {
                        // RFC 9113, section 8.5: a tunnel has octets and their end, and no fields behind them.
                        if !matches!(ready!(self.content.poll_trailers(cx)), Ok(None)) {
                            self.answering.borrow_mut().reset(Reason::PROTOCOL_ERROR);
                            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                        }
                        self.stage = ReadStage::Ended;
                    }
                    None => self.stage = ReadStage::Trailers,
                },
                ReadStage::Trailers => {
                    let trailers =
                        ready!(self.content.poll_trailers(cx)).map_err(|_| io::ErrorKind::ConnectionReset)?;
                    self.stage = ReadStage::Done;
                    let stream = self.content.stream_id().as_u32();
                    if self.session.follower.borrow().has_malformed_trailers(stream) {
                        self.shard.metrics.malformed_requests.increment(PSEUDO_TRAILERS);
                        self.answering.borrow_mut().cut(Reason::PROTOCOL_ERROR);
                        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    if self.framing == Content::Chunked {
                        write_trailers(trailers.as_ref(), &mut self.pending);
                    }
                }
                // Before there is a tunnel the client waits for its answer, as behind the end of any request.
                ReadStage::Ended if self.answering.borrow().is_tunnel => return Poll::Ready(Ok(false)),
                ReadStage::Done | ReadStage::Ended => {
                    ready!(self.answering.borrow_mut().poll_reset(cx));
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
        }
    }

    /// The same, until `deadline`.
    fn poll_until(&mut self, deadline: Timestamp, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Poll::Ready(input) = self.poll_input(cx) {
            return Poll::Ready(input);
        }
        ready!(self.alarm.poll(deadline, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Moves what there is into `buffer`, as far as it has room.
    fn fill(&mut self, buffer: &mut Buffer) -> usize {
        let before = buffer.filled().len();
        if self.pending.is_empty() && self.framing == Content::Chunked {
            let fits = buffer.room().saturating_sub(CHUNK_FRAMING_BYTES);
            let piece = self.chunk.split_to(self.chunk.len().min(fits.max(1)));
            self.taken += piece.len();
            if fits > 0 {
                write_chunk(buffer.vec(), &piece);
            } else {
                write_chunk(&mut self.pending, &piece);
            }
        }
        if self.pending.is_empty() && self.framing != Content::Chunked {
            let piece = self.chunk.split_to(self.chunk.len().min(buffer.room()));
            self.taken += piece.len();
            buffer.vec().extend_from_slice(&piece);
        }
        let count = self.pending.len().min(buffer.room());
        buffer.vec().extend(self.pending.drain(..count));
        buffer.filled().len() - before
    }
}

impl<N: Net> Reader for StreamReader<N> {
    fn poll_readable(&mut self, cx: &mut Context<'_>, deadline: Timestamp) -> Poll<io::Result<()>> {
        self.poll_until(deadline, cx).map_ok(drop)
    }

    /// A stream is told by its connection.
    fn wake(&mut self) {}

    fn begin_read(&mut self, buffer: Buffer, deadline: Timestamp) {
        self.reading = Some((buffer, deadline));
    }

    fn set_read_deadline(&mut self, deadline: Timestamp) {
        if let Some((_, until)) = &mut self.reading {
            *until = deadline;
        }
    }

    fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        let Some(deadline) = self.reading.as_ref().map(|(_, deadline)| *deadline) else { return Poll::Pending };
        let input = ready!(self.poll_until(deadline, cx));
        let Some((mut buffer, _)) = self.reading.take() else { return Poll::Pending };
        let result = input.map(|more| if more { self.fill(&mut buffer) } else { 0 });
        Poll::Ready((result, buffer))
    }
}

/// The response.
pub(super) struct StreamWriter<N: Net> {
    shard: Rc<Shard<N>>,
    session: Rc<Session>,
    /// Of the request.
    method: Method,
    /// Whether the client waits for a tunnel.
    connects: bool,
    stage: WriteStage,
    writing: Option<Writing>,
    answering: Rc<RefCell<Answering>>,
    alarm: Alarm<N>,
}

/// ```text
/// Head ──(interim)──▶ Head ──▶ Length / Chunks ──▶ Over
///                       └────▶ Tunnel ─────────────▲
/// ```
enum WriteStage {
    Head,
    /// So many octets of content follow.
    Length(u64),
    Chunks(Box<Chunks>),
    /// Octets without a message around them.
    Tunnel,
    Over,
}

#[derive(Default)]
struct Chunks {
    decoder: ChunkedDecoder,
    trailers: Trailers,
    /// Octets of content that stand next in the buffer.
    piece: usize,
}

struct Writing {
    buffer: Buffer,
    /// What was dealt with.
    at: usize,
    patience: Patience,
    /// When it last stood still.
    since: Option<Timestamp>,
}

impl<N: Net> StreamWriter<N> {
    pub fn new(
        shard: &Rc<Shard<N>>,
        session: &Rc<Session>,
        method: Method,
        framing: Content,
        answering: Rc<RefCell<Answering>>,
    ) -> Self {
        Self {
            shard: Rc::clone(shard),
            session: Rc::clone(session),
            method,
            connects: framing == Content::Tunnel,
            stage: WriteStage::Head,
            writing: None,
            answering,
            alarm: Alarm::new(shard),
        }
    }

    /// Hands on what is being written, as far as the window allows.
    fn poll_all(&mut self, writing: &mut Writing, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let octets = &writing.buffer.filled()[writing.at..];
            if octets.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let count = match &mut self.stage {
                WriteStage::Head => self.head(octets)?,
                WriteStage::Length(left) => {
                    let piece = usize::try_from(*left).unwrap_or(usize::MAX).min(octets.len());
                    let ends = piece as u64 == *left;
                    let count = ready!(self.answering.borrow_mut().poll_content(&octets[..piece], ends, cx))?;
                    *left -= count as u64;
                    if *left == 0 {
                        self.over();
                    }
                    count
                }
                WriteStage::Chunks(chunks) => {
                    let (count, is_done) = ready!(chunks.poll_step(octets, &self.answering, cx))?;
                    if is_done {
                        self.over();
                    }
                    count
                }
                WriteStage::Tunnel => ready!(self.answering.borrow_mut().poll_content(octets, false, cx))?,
                // A response is written to its end and no further.
                WriteStage::Over => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            writing.at += count;
            writing.since = None;
        }
    }

    /// Sends the head that begins `octets`; how long it is.
    fn head(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut scratch = self.shard.scratch();
        let head = &mut scratch.memory.response;
        let progress = HeadScanner::default().response(octets, head, self.method, &OWN_HEAD);
        // What we write has a head that we can read, in one piece.
        if !matches!(progress, Ok(Progress::Complete)) {
            self.shard.give_scratch(scratch);
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (length, status, body) = (head.length, head.status, head.body);
        let mut response = head_of(head, &Bytes::copy_from_slice(&octets[..length]));
        self.shard.give_scratch(scratch);
        if status == 431 {
            self.session.head_too_large();
        }
        let mut answering = self.answering.borrow_mut();
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionReset);
        if status == 101 && self.connects {
            switched(&mut response);
            answering.content = Some(answering.respond.send_response(response, false).map_err(gone)?);
            answering.is_tunnel = true;
            self.stage = WriteStage::Tunnel;
            return Ok(length);
        }
        if status < 200 {
            answering.respond.send_informational(response).map_err(gone)?;
            return Ok(length);
        }
        let ends = matches!(body, Body::Empty | Body::Length(0));
        answering.content = Some(answering.respond.send_response(response, ends).map_err(gone)?);
        drop(answering);
        match body {
            Body::Length(left) if !ends => self.stage = WriteStage::Length(left),
            Body::Chunked => self.stage = WriteStage::Chunks(Box::default()),
            _ => self.over(),
        }
        Ok(length)
    }

    fn over(&mut self) {
        self.stage = WriteStage::Over;
        self.answering.borrow_mut().is_over = true;
    }

    /// Ready when the client has taken nothing for too long, or time is over.
    fn poll_patience(&mut self, writing: &mut Writing, cx: &mut Context<'_>) -> Poll<()> {
        let since = *writing.since.get_or_insert_with(|| self.shard.net.now());
        let stalled_at = since.plus(writing.patience.idle);
        ready!(self.alarm.poll(stalled_at.min(writing.patience.until), cx));
        // The end of its time may meet a client that reads, only slowly.
        if stalled_at <= writing.patience.until {
            self.session.stalled();
        }
        Poll::Ready(())
    }
}

impl Answering {
    /// Sends content, as much of it as the window allows; how much that was.
    fn poll_content(&mut self, octets: &[u8], ends: bool, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        let Some(content) = &mut self.content else { return Poll::Ready(Err(gone())) };
        let mut room = content.capacity();
        if room < octets.len() {
            content.reserve_capacity(octets.len());
            room = content.capacity();
        }
        while room == 0 && !octets.is_empty() {
            match ready!(content.poll_capacity(cx)) {
                Some(Ok(capacity)) => room = capacity,
                Some(Err(_)) | None => return Poll::Ready(Err(gone())),
            }
        }
        let count = room.min(octets.len());
        let sent = content.send_data(Bytes::copy_from_slice(&octets[..count]), ends && count == octets.len());
        Poll::Ready(sent.map(|()| count).map_err(|_| gone()))
    }
}

impl Chunks {
    /// Goes one step on in `octets`: how many are dealt with, and whether the message is complete.
    fn poll_step(
        &mut self,
        octets: &[u8],
        answering: &RefCell<Answering>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(usize, bool)>> {
        if self.piece > 0 {
            // A write that follows one that has failed may bring less.
            let piece = octets.get(..self.piece).ok_or(io::ErrorKind::InvalidData)?;
            let count = ready!(answering.borrow_mut().poll_content(piece, false, cx))?;
            self.piece -= count;
            return Poll::Ready(Ok((count, false)));
        }
        let step = self.decoder.next(octets, &mut self.trailers, &OWN_HEAD).map_err(|_| io::ErrorKind::InvalidData)?;
        match step {
            Step::Data(range) => {
                self.piece = range.len();
                Poll::Ready(Ok((range.start, false)))
            }
            Step::NeedMore => Poll::Ready(Ok((octets.len(), false))),
            Step::Done { consumed } => {
                answering.borrow_mut().end(&self.trailers)?;
                Poll::Ready(Ok((consumed, true)))
            }
        }
    }
}

impl Answering {
    /// Ends the response.
    fn end(&mut self, trailers: &Trailers) -> io::Result<()> {
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionReset);
        let Some(content) = &mut self.content else { return Err(io::ErrorKind::ConnectionReset.into()) };
        if trailers.fields.is_empty() {
            content.send_data(Bytes::new(), true).map_err(gone)
        } else {
            content.send_trailers(trailers_of(trailers)).map_err(gone)
        }
    }
}

impl<N: Net> Writer for StreamWriter<N> {
    fn begin_write(&mut self, buffer: Buffer, from: usize, patience: Patience) {
        self.writing = Some(Writing { buffer, at: from, patience, since: None });
    }

    fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)> {
        let Some(mut writing) = self.writing.take() else { return Poll::Pending };
        let result = match self.poll_all(&mut writing, cx) {
            Poll::Ready(result) => result,
            Poll::Pending if self.poll_patience(&mut writing, cx).is_ready() => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => {
                self.writing = Some(writing);
                return Poll::Pending;
            }
        };
        Poll::Ready((result, writing.buffer))
    }

    /// A response has ended before; if not, it was cut. A tunnel ends here.
    fn shutdown(&mut self) {
        let mut answering = self.answering.borrow_mut();
        match self.stage {
            WriteStage::Tunnel => {
                answering.finish();
                self.stage = WriteStage::Over;
            }
            _ => answering.cut(Reason::INTERNAL_ERROR),
        }
    }

    fn abort(&mut self) {
        self.answering.borrow_mut().cut(Reason::INTERNAL_ERROR);
    }
}
