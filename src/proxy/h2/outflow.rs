//! The content of a message that goes by a stream, taken out of the framing of HTTP/1.1.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;

use super::alarm::Alarm;
use crate::base::{Buffer, Timestamp};
use crate::http::Body;
use crate::http::h1::{ChunkedDecoder, HeadLimits, Step, Trailers};
use crate::http::h2::trailers_of;
use crate::proxy::net::{Net, Patience};
use crate::proxy::shard::Shard;

/// What bounds trailers that we have written ourselves: nothing that matters.
const OWN_TRAILERS: HeadLimits = HeadLimits {
    head_bytes_max: 1 << 30,
    field_bytes_max: 1 << 30,
    fields_max: u16::MAX as usize,
    target_bytes_max: 0,
    http10_without_host: false,
};

/// Content on its way.
pub(super) struct Outgoing {
    content: SendStream<Bytes>,
    framing: Framing,
}

enum Framing {
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

fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Outgoing {
    /// Content behind a head that has framed it as `body`.
    pub fn new(content: SendStream<Bytes>, body: Body) -> Self {
        let framing = match body {
            Body::Length(length) if length > 0 => Framing::Length(length),
            Body::Chunked => Framing::Chunks(Box::default()),
            _ => Framing::Over,
        };
        Self { content, framing }
    }

    /// Whether it has all been handed on.
    pub fn is_over(&self) -> bool {
        matches!(self.framing, Framing::Over)
    }

    /// The sending direction of a tunnel.
    pub fn tunnel(content: SendStream<Bytes>) -> Self {
        Self { content, framing: Framing::Tunnel }
    }

    /// Ends that of a tunnel; a message ends by itself.
    pub fn finish(&mut self) {
        if matches!(self.framing, Framing::Tunnel) {
            self.framing = Framing::Over;
            // It fails only where the stream has ended.
            let _ = self.content.send_data(Bytes::new(), true);
        }
    }

    /// Goes one step on in `octets`: how many are dealt with.
    pub fn poll(&mut self, octets: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.framing {
            Framing::Length(left) => {
                let piece = usize::try_from(*left).unwrap_or(usize::MAX).min(octets.len());
                let ends = piece as u64 == *left;
                let count = ready!(poll_content(&mut self.content, &octets[..piece], ends, cx))?;
                *left -= count as u64;
                if *left == 0 {
                    self.framing = Framing::Over;
                }
                Poll::Ready(Ok(count))
            }
            Framing::Chunks(chunks) => {
                let (count, is_done) = ready!(chunks.poll(&mut self.content, octets, cx))?;
                if is_done {
                    self.framing = Framing::Over;
                }
                Poll::Ready(Ok(count))
            }
            Framing::Tunnel => poll_content(&mut self.content, octets, false, cx),
            // A message is written to its end and no further.
            Framing::Over => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl Chunks {
    /// The same for chunks; whether the message is complete, too.
    fn poll(
        &mut self,
        content: &mut SendStream<Bytes>,
        octets: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(usize, bool)>> {
        if self.piece > 0 {
            // A write that follows one that has failed may bring less.
            let piece = octets.get(..self.piece).ok_or(io::ErrorKind::InvalidData)?;
            let count = ready!(poll_content(content, piece, false, cx))?;
            self.piece -= count;
            return Poll::Ready(Ok((count, false)));
        }
        let step = self.decoder.next(octets, &mut self.trailers, &OWN_TRAILERS);
        match step.map_err(|_| io::ErrorKind::InvalidData)? {
            Step::Data(range) => {
                self.piece = range.len();
                Poll::Ready(Ok((range.start, false)))
            }
            Step::NeedMore => Poll::Ready(Ok((octets.len(), false))),
            Step::Done { consumed } => {
                let ended = match self.trailers.fields.is_empty() {
                    true => content.send_data(Bytes::new(), true),
                    false => content.send_trailers(trailers_of(&self.trailers)),
                };
                Poll::Ready(ended.map(|()| (consumed, true)).map_err(|_| gone()))
            }
        }
    }
}

/// Sends content, as much of it as the window allows; how much that was.
fn poll_content(
    content: &mut SendStream<Bytes>,
    octets: &[u8],
    ends: bool,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
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

/// A buffer that is being written.
pub(super) struct Outflow<N: Net> {
    shard: Rc<Shard<N>>,
    writing: Option<Writing>,
    alarm: Alarm<N>,
}

struct Writing {
    buffer: Buffer,
    /// What was dealt with.
    at: usize,
    patience: Patience,
    /// When it last stood still.
    since: Option<Timestamp>,
}

impl<N: Net> Outflow<N> {
    pub fn new(shard: &Rc<Shard<N>>) -> Self {
        Self { shard: Rc::clone(shard), writing: None, alarm: Alarm::new(shard) }
    }

    pub fn begin(&mut self, buffer: Buffer, from: usize, patience: Patience) {
        self.writing = Some(Writing { buffer, at: from, patience, since: None });
    }

    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Hands the buffer to `step`, which says how much of it is dealt with, until it is all.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&[u8], &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<(io::Result<()>, Buffer)> {
        let Some(mut writing) = self.writing.take() else { return Poll::Pending };
        let result = loop {
            let octets = &writing.buffer.filled()[writing.at..];
            if octets.is_empty() {
                break Ok(());
            }
            match step(octets, cx) {
                Poll::Ready(Ok(count)) => {
                    writing.at += count;
                    writing.since = None;
                }
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Pending if self.poll_patience(&mut writing, cx).is_ready() => {
                    break Err(io::ErrorKind::TimedOut.into());
                }
                Poll::Pending => {
                    self.writing = Some(writing);
                    return Poll::Pending;
                }
            }
        };
        Poll::Ready((result, writing.buffer))
    }

    /// Ready when the peer has taken nothing for too long, or time is over.
    fn poll_patience(&mut self, writing: &mut Writing, cx: &mut Context<'_>) -> Poll<()> {
        let since = *writing.since.get_or_insert_with(|| self.shard.net.now());
        self.alarm.poll(since.plus(writing.patience.idle).min(writing.patience.until), cx)
    }
}
