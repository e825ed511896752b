//! Chunked content (RFC 9112, section 7.1): a resumable decoder that points at the data instead of copying it, and
//! the encoder.
//!
//! ```text
//!   ┌────────────── LineFeedAfterData ◀── ReturnAfterData ◀── Data ◀─┐ size > 0
//!   ▼                                                                │
//! Size ──▶ (Space ─▶) Extension ⇄ Quoted ⇄ Escaped ──▶ LineFeedAfterSize
//!   └──────────────────────────────────────────────────▶────┘        │ size = 0
//!                                                                    ▼
//!                                                                 Trailer ──▶ Done
//! ```

use std::ops::Range;

use super::HeadLimits;
use super::encode::copy_fields;
use super::error::ChunkError;
use super::section::{Cursor, scan_fields};
use crate::http::header::{Field, Fields};

/// Digits of a chunk size: what fits 64 bits.
pub const SIZE_DIGITS_MAX: u32 = 16;
/// Octets of chunk extensions in one message; they are dropped unread.
pub const EXTENSION_BYTES_MAX: u32 = 4 * 1024;
/// Room to reserve before the data of a chunk for [`write_chunk_header`]: eight digits and the line end.
pub const CHUNK_HEADER_BYTES: usize = 10;
/// What follows the data of every chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The last chunk and an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A trailer section: its octets and the table of its fields, which points into them.
#[derive(Debug, Default)]
pub struct Trailers {
    pub bytes: Vec<u8>,
    pub fields: Fields,
}

impl Trailers {
    /// Forgets the section; keeps the allocations.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }
}

/// What the decoder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These octets of the input are content; those before them are consumed. Go on behind them.
    Data(Range<usize>),
    /// The whole input is consumed.
    NeedMore,
    /// The message is complete; what follows these octets of the input is not part of it.
    Done { consumed: usize },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Space,
    Extension,
    Quoted,
    Escaped,
    LineFeedAfterSize,
    Data,
    ReturnAfterData,
    LineFeedAfterData,
    Trailer,
    Done,
}

/// Decodes the content of one message. After an error it must not be used again.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    digits: u32,
    /// The size being read, or the octets of the chunk still to come.
    remaining: u64,
    extension_bytes: u32,
    cursor: Cursor,
}

impl ChunkedDecoder {
    /// Reads on. The input begins where the last step ended; trailer fields are collected in `trailers`, which must be
    /// empty at the start of a message.
    pub fn next(&mut self, input: &[u8], trailers: &mut Trailers, limits: &HeadLimits) -> Result<Step, ChunkError> {
        let mut at = 0;
        while let Some(&octet) = input.get(at) {
            match self.state {
                State::Data => return Ok(self.data(at, input.len())),
                State::Trailer => return self.trailer(input, at, trailers, limits),
                State::Done => break,
                _ => self.state = self.line(octet)?,
            }
            at += 1;
        }
        if self.state == State::Done { Ok(Step::Done { consumed: at }) } else { Ok(Step::NeedMore) }
    }

    /// Whether the whole message was read.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn data(&mut self, from: usize, end: usize) -> Step {
        let count = self.remaining.min((end - from) as u64);
        self.remaining -= count;
        if self.remaining == 0 {
            self.state = State::ReturnAfterData;
        }
        Step::Data(from..from + count as usize)
    }

    /// The transitions outside data and trailers, one octet each.
    fn line(&mut self, octet: u8) -> Result<State, ChunkError> {
        match (self.state, octet) {
            (State::Size, _) if octet.is_ascii_hexdigit() => self.digit(octet),
            (State::Size, _) if self.digits == 0 => Err(ChunkError::InvalidSize),
            (State::Size | State::Extension, b'\r') => Ok(State::LineFeedAfterSize),
            (State::Size | State::Space, b' ' | b'\t') => self.extension(State::Space),
            (State::Size | State::Space, b';') => self.extension(State::Extension),
            (State::Size, _) => Err(ChunkError::InvalidSize),
            (State::Extension, b'"') => self.extension(State::Quoted),
            (State::Quoted, b'"') => self.extension(State::Extension),
            (State::Quoted, b'\\') => self.extension(State::Escaped),
            (State::Extension, _) if !is_control(octet) => self.extension(State::Extension),
            (State::Quoted | State::Escaped, _) if !is_control(octet) => self.extension(State::Quoted),
            (State::Space | State::Extension | State::Quoted | State::Escaped, _) => Err(ChunkError::InvalidExtension),
            (State::LineFeedAfterSize, b'\n') => Ok(self.chunk_start()),
            (State::ReturnAfterData, b'\r') => Ok(State::LineFeedAfterData),
            (State::LineFeedAfterData, b'\n') => Ok(State::Size),
            _ => Err(ChunkError::InvalidLineEnd),
        }
    }

    fn digit(&mut self, octet: u8) -> Result<State, ChunkError> {
        if self.digits == SIZE_DIGITS_MAX {
            return Err(ChunkError::SizeTooLarge);
        }
        let digit = u64::from(if octet.is_ascii_digit() { octet - b'0' } else { (octet | 0x20) - b'a' + 10 });
        self.remaining = self.remaining.checked_mul(16).ok_or(ChunkError::SizeTooLarge)? + digit;
        self.digits += 1;
        Ok(State::Size)
    }

    fn extension(&mut self, state: State) -> Result<State, ChunkError> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX { Err(ChunkError::ExtensionsTooLong) } else { Ok(state) }
    }

    fn chunk_start(&mut self) -> State {
        self.digits = 0;
        if self.remaining == 0 { State::Trailer } else { State::Data }
    }

    /// Reads the trailer section, which begins in this input at `from` or began in an earlier one.
    fn trailer(
        &mut self,
        input: &[u8],
        from: usize,
        trailers: &mut Trailers,
        limits: &HeadLimits,
    ) -> Result<Step, ChunkError> {
        let collected = trailers.bytes.len();
        if collected == 0 && input[from..].starts_with(b"\r\n") {
            self.state = State::Done;
            return Ok(Step::Done { consumed: from + 2 });
        }
        let room = limits.head_bytes_max.saturating_sub(collected);
        let taken = room.min(input.len() - from);
        trailers.bytes.extend_from_slice(&input[from..from + taken]);
        let end = scan_fields(&mut self.cursor, &trailers.bytes, &mut trailers.fields, limits, |_, _, _| {
            Ok::<(), ChunkError>(())
        })?;
        let Some(end) = end else { return Ok(Step::NeedMore) };
        trailers.bytes.truncate(end);
        self.state = State::Done;
        Ok(Step::Done { consumed: from + end - collected })
    }
}

fn is_control(octet: u8) -> bool {
    octet.is_ascii_control() && octet != b'\t'
}

/// Writes the size line of a chunk of `length` octets at the end of `reserve`, so that it stands right before data
/// that follows the reserve; answers where in the reserve it starts. The data is followed by [`CHUNK_END`].
pub fn write_chunk_header(reserve: &mut [u8; CHUNK_HEADER_BYTES], length: u32) -> usize {
    debug_assert!(length > 0, "an empty chunk would end the message");
    let mut at = CHUNK_HEADER_BYTES - CHUNK_END.len();
    reserve[at..].copy_from_slice(CHUNK_END);
    let mut rest = length;
    loop {
        at -= 1;
        reserve[at] = b"0123456789abcdef"[(rest % 16) as usize];
        rest /= 16;
        if rest == 0 {
            return at;
        }
    }
}

/// Writes a whole chunk: for data that is not already in place.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    for part in data.chunks(u32::MAX as usize) {
        let mut header = [0; CHUNK_HEADER_BYTES];
        let start = write_chunk_header(&mut header, part.len() as u32);
        out.extend_from_slice(&header[start..]);
        out.extend_from_slice(part);
        out.extend_from_slice(CHUNK_END);
    }
}

/// Ends the message with the trailer fields that `skip` does not name.
pub fn write_trailers(out: &mut Vec<u8>, trailers: &Trailers, skip: impl Fn(&Field) -> bool) {
    out.extend_from_slice(b"0\r\n");
    copy_fields(out, &trailers.bytes, trailers.fields.as_slice(), skip);
    out.extend_from_slice(b"\r\n");
}
