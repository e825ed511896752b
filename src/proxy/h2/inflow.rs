//! The content of a message that comes by a stream, framed as its head of HTTP/1.1 has said.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;

use crate::base::Buffer;
use crate::http::h1::{CHUNK_HEADER_BYTES, write_chunk};
use crate::http::h2::{Content, write_trailers};

/// What a chunk takes beside its content.
const CHUNK_FRAMING_BYTES: usize = CHUNK_HEADER_BYTES + 2;

/// What comes, and is not yet read.
#[derive(Default)]
pub(super) struct Inflow {
    content: Option<RecvStream>,
    is_chunked: bool,
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
    pub fn begin(&mut self, content: Option<(RecvStream, Content)>) {
        let Some((content, framing)) = content else { return };
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

    /// Moves what there is into `buffer`, as far as it has room; how much that was.
    pub fn fill(&mut self, buffer: &mut Buffer) -> usize {
        let before = buffer.filled().len();
        self.fill_framing(buffer);
        if self.framing.is_empty() && self.is_chunked {
            let fits = buffer.room().saturating_sub(CHUNK_FRAMING_BYTES);
            let piece = self.chunk.split_to(self.chunk.len().min(fits.max(1)));
            self.taken += piece.len();
            match (piece.is_empty(), fits > 0) {
                (true, _) => {}
                (false, true) => write_chunk(buffer.vec(), &piece),
                (false, false) => write_chunk(&mut self.framing, &piece),
            }
            self.fill_framing(buffer);
        }
        if self.framing.is_empty() && !self.is_chunked {
            let piece = self.chunk.split_to(self.chunk.len().min(buffer.room()));
            self.taken += piece.len();
            buffer.vec().extend_from_slice(&piece);
        }
        buffer.filled().len() - before
    }

    fn fill_framing(&mut self, buffer: &mut Buffer) {
        let count = self.framing.len().min(buffer.room());
        buffer.vec().extend(self.framing.drain(..count));
    }
}
