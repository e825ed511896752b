//! The content of a message that comes by a stream, framed as its head of HTTP/1.1 has said.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;

use crate::base::Buffer;
use crate::http::h1::{CHUNK_HEADER_BYTES, write_chunk};
use crate::http::h2::{Content, write_trailers};

/// What a chunk takes beside its content.
const CHUNK_FRAMING_BYTES: usize = CHUNK_HEADER_BYTES + 2;

/// Content behind a head.
pub(super) struct Begun {
    pub content: RecvStream,
    pub framing: Content,
    /// As declared, if it is.
    pub length: u64,
}

/// What comes, and is not yet read.
#[derive(Default)]
pub(super) struct Inflow {
    content: Option<RecvStream>,
    is_chunked: bool,
    /// What a declared length leaves to be read.
    left: u64,
    stage: Stage,
    /// Received from the library and not yet read.
    chunk: Bytes,
    /// Heads and framing that are to be read before anything else.
    pub framing: Vec<u8>,
    /// Octets that were read, and whose room in the window is given back when more is wanted.
    taken: usize,
}

/// ```text
/// Content ──▶ Trailers ──▶ Done
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    Content,
    Trailers,
    #[default]
    Done,
}

impl Inflow {
    /// Begins with the content behind a head that stands in `framing`, where there is any.
    pub fn begin(&mut self, begun: Option<Begun>) {
        let Some(Begun { content, framing, length }) = begun else { return };
        self.left = match framing {
            Content::Declared => length,
            // It has no end but the one that is said.
            Content::Tunnel => u64::MAX,
            Content::Empty | Content::Chunked => 0,
        };
        self.content = Some(content);
        self.is_chunked = framing == Content::Chunked;
        self.stage = if framing == Content::Empty { Stage::Done } else { Stage::Content };
    }

    /// Opens the window again for what was passed on.
    pub fn release(&mut self) {
        if self.taken > 0
            && let Some(content) = &mut self.content
        {
            // It fails only for more than was received.
            let _ = content.flow_control().release_capacity(std::mem::take(&mut self.taken));
        }
    }

    /// Whether there is nothing to read yet.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.framing.is_empty()
    }

    /// Whether there is something to read; false at the end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, h2::Error>> {
        let Some(content) = &mut self.content else { return Poll::Ready(Ok(false)) };
        while self.chunk.is_empty() && self.framing.is_empty() {
            match self.stage {
                Stage::Content => match ready!(content.poll_data(cx)) {
                    Some(chunk) => self.chunk = chunk?,
                    None => self.stage = Stage::Trailers,
                },
                Stage::Trailers => {
                    let trailers = ready!(content.poll_trailers(cx))?;
                    self.stage = Stage::Done;
                    if self.is_chunked {
                        write_trailers(trailers.as_ref(), &mut self.framing);
                    }
                }
                Stage::Done => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Moves what there is into `buffer`, as far as it has room; how much that was. A head and its content go together.
    pub fn fill(&mut self, buffer: &mut Buffer, cx: &mut Context<'_>) -> usize {
        let before = buffer.filled().len();
        loop {
            self.fill_framing(buffer);
            if self.framing.is_empty() {
                let has_some = buffer.filled().len() > before;
                self.fill_content(buffer, has_some);
            }
            // What failed behind it fails again when it is asked for.
            if !self.is_empty() || buffer.room() == 0 || !matches!(self.poll(cx), Poll::Ready(Ok(true))) {
                return buffer.filled().len() - before;
            }
        }
    }

    /// `has_some` says whether the buffer will bring something whatever is left out here.
    fn fill_content(&mut self, buffer: &mut Buffer, has_some: bool) {
        let fits = match self.is_chunked {
            true => buffer.room().saturating_sub(CHUNK_FRAMING_BYTES),
            false => buffer.room(),
        };
        if self.chunk.is_empty() || (fits == 0 && has_some) {
            return;
        }
        let piece = self.chunk.split_to(self.chunk.len().min(fits.max(1)));
        self.taken += piece.len();
        self.left = self.left.saturating_sub(piece.len() as u64);
        match (self.is_chunked, fits > 0) {
            (false, _) => buffer.vec().extend_from_slice(&piece),
            (true, true) => write_chunk(buffer.vec(), &piece),
            (true, false) => {
                write_chunk(&mut self.framing, &piece);
                self.fill_framing(buffer);
            }
        }
    }

    /// The stream of a message that was read whole, and whose end was not yet said.
    pub fn take_unended(&mut self) -> Option<RecvStream> {
        // Nobody asks for more, and the window is that of others too.
        self.release();
        let is_whole = !self.is_chunked && self.left == 0 && self.is_empty();
        self.content.take_if(|content| is_whole && !content.is_end_stream())
    }

    fn fill_framing(&mut self, buffer: &mut Buffer) {
        let count = self.framing.len().min(buffer.room());
        buffer.vec().extend(self.framing.drain(..count));
    }
}
