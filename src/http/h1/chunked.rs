//! Chunked content (RFC 9112, section 7.1): a resumable decoder that points at the data instead of copying it, and
//! the encoder.
//!
//! ```text
//! Size ─▶ [Space ─▶] [Extension ⇄ Quoted ⇄ Escaped] ─▶ LineFeedAfterSize
//!  ▲                                                      │ size > 0    │ size = 0
//!  │                                                      ▼             ▼
//!  └── LineFeedAfterData ◀── ReturnAfterData ◀────────── Data        Trailer ─▶ Done
//! ```

use std::ops::Range;

use super::HeadLimits;
use super::encode::copy_fields;
use super::error::ChunkError;
use super::section::{Cursor, Section, scan_fields};
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
        let end = match scan_fields(self.cursor, &trailers.bytes, &mut trailers.fields, limits)? {
            Section::Ended(end) => end,
            Section::Unfinished(cursor) => {
                self.cursor = cursor;
                return Ok(Step::NeedMore);
            }
        };
        trailers.bytes.truncate(if trailers.fields.is_empty() { 0 } else { end });
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

#[cfg(test)]
mod tests {
    use super::super::error::FieldError;
    use super::*;
    use proptest::prelude::*;

    struct Outcome {
        data: Vec<u8>,
        consumed: usize,
        trailers: Trailers,
    }

    /// Decodes input that arrives in pieces ending at `ends`.
    fn decode_in_pieces(input: &[u8], ends: &[usize]) -> Result<Option<Outcome>, ChunkError> {
        let (mut decoder, mut trailers, mut data) = (ChunkedDecoder::default(), Trailers::default(), Vec::new());
        let mut start = 0;
        for end in ends.iter().copied().chain([input.len()]) {
            while start < end {
                match decoder.next(&input[start..end], &mut trailers, &HeadLimits::default())? {
                    Step::Data(range) => {
                        data.extend_from_slice(&input[start..end][range.clone()]);
                        start += range.end;
                    }
                    Step::NeedMore => start = end,
                    Step::Done { consumed } => {
                        return Ok(Some(Outcome { data, consumed: start + consumed, trailers }));
                    }
                }
            }
        }
        Ok(None)
    }

    fn decode(input: &[u8]) -> Outcome {
        decode_in_pieces(input, &[]).unwrap().expect("the message is complete")
    }

    fn refused(input: &[u8]) -> &'static str {
        match decode_in_pieces(input, &[]) {
            Ok(_) => panic!("accepted {}", input.escape_ascii()),
            Err(error) => error.reason(),
        }
    }

    #[test]
    fn rfc_9112_section_7_1_chunks_are_joined_and_what_follows_is_left() {
        let outcome = decode(b"5\r\nhello\r\n00A\r\n, chunked!\r\n0\r\n\r\nGET /");
        assert_eq!(outcome.data, b"hello, chunked!");
        assert_eq!(outcome.consumed, b"5\r\nhello\r\n00A\r\n, chunked!\r\n0\r\n\r\n".len());
        assert!(outcome.trailers.fields.is_empty());
    }

    #[test]
    fn rfc_9112_section_7_1_a_size_has_one_to_sixteen_hexadecimal_digits() {
        for input in ["\r\n", ";a\r\n", "g\r\n", "-1\r\n", "0x5\r\n", " 5\r\n", "5g\r\n"] {
            assert_eq!(refused(input.as_bytes()), "invalid-chunk-size", "{input:?}");
        }
        assert_eq!(refused(b"00000000000000005\r\n"), "chunk-size-too-large");
        let mut decoder = ChunkedDecoder::default();
        let step = decoder.next(b"ffffffffffffffff\r\nab", &mut Trailers::default(), &HeadLimits::default());
        assert_eq!((step, decoder.remaining), (Ok(Step::Data(18..20)), u64::MAX - 2));
    }

    #[test]
    fn rfc_9112_section_7_1_only_crlf_ends_a_line_of_the_framing() {
        for input in ["5\nhello\r\n0\r\n\r\n", "5\rhello"] {
            assert!(decode_in_pieces(input.as_bytes(), &[]).is_err(), "{input:?}");
        }
        assert_eq!(refused(b"5\r\nhello\n0\r\n\r\n"), "invalid-chunk-line-end");
        assert_eq!(refused(b"5\r\nhello!\r\n"), "invalid-chunk-line-end");
        assert_eq!(refused(b"5\r\nhello\rX"), "invalid-chunk-line-end");
        assert_eq!(refused(b"0\r\n\n"), "bare-lf");
        assert_eq!(refused(b"0\r\n\rX"), "bare-cr");
    }

    #[test]
    fn rfc_9112_section_7_1_1_extensions_are_dropped() {
        for extension in [";a", ";a=b", " ; a = b ;c", ";a=\"x;y\"", ";a=\"\\\"\"", ";\t a=\"\tb\""] {
            let input = format!("2{extension}\r\nab\r\n0{extension}\r\n\r\n");
            assert_eq!(decode(input.as_bytes()).data, b"ab", "{extension}");
        }
    }

    #[test]
    fn rfc_9112_section_7_1_1_line_breaks_and_controls_in_extensions_are_refused() {
        for extension in
            [";a\n", ";a=\"\r\n\"", ";a=\"\\\r\n\"", ";a=\"\n\"", ";a=\"b", ";\0", " x", " ", ";a=\"\u{7f}\""]
        {
            let input = format!("2{extension}\r\nab\r\n0\r\n\r\n");
            assert_eq!(refused(input.as_bytes()), "invalid-chunk-extension", "{extension:?}");
        }
    }

    #[test]
    fn rfc_9112_section_7_1_1_extensions_are_bounded_over_the_message() {
        let chunk = |bytes: u32| format!("1;{}\r\nx\r\n", "e".repeat(bytes as usize - 1));
        let half = EXTENSION_BYTES_MAX / 2;
        assert!(decode_in_pieces([chunk(half), chunk(half)].concat().as_bytes(), &[]).is_ok());
        let more = [chunk(half), chunk(half), chunk(1)].concat();
        assert_eq!(refused(more.as_bytes()), "chunk-extensions-too-long");
    }

    #[test]
    fn rfc_9112_section_7_1_2_trailers_are_collected() {
        let input = b"1\r\nx\r\n0\r\nChecksum: abc\r\nServer-Timing: a\r\n\r\nrest";
        let Outcome { consumed, trailers, .. } = decode(input);
        assert_eq!(consumed, input.len() - 4);
        let values: Vec<_> = trailers.fields.as_slice().iter().map(|field| field.value.of(&trailers.bytes)).collect();
        assert_eq!(values, [b"abc", &b"a"[..]]);
    }

    #[test]
    fn rfc_9112_section_7_1_2_trailers_obey_the_rules_and_limits_of_heads() {
        assert_eq!(refused(b"0\r\nA: b\r\n c\r\n\r\n"), "obs-fold");
        assert_eq!(refused(b"0\r\nA : b\r\n\r\n"), "space-before-colon");
        let limits = HeadLimits { head_bytes_max: 10, ..HeadLimits::default() };
        let mut trailers = Trailers::default();
        let outcome = ChunkedDecoder::default().next(b"0\r\nName: value\r\n\r\n", &mut trailers, &limits);
        assert_eq!(outcome, Err(ChunkError::Trailer(FieldError::HeadTooLarge)));
        assert_eq!((outcome.unwrap_err().status(), trailers.bytes.len()), (431, 10));
    }

    #[test]
    fn a_chunk_header_ends_where_the_data_begins() {
        for (length, header) in [(1, "1\r\n"), (0x1F, "1f\r\n"), (u32::MAX, "ffffffff\r\n")] {
            let mut reserve = [b'?'; CHUNK_HEADER_BYTES];
            let start = write_chunk_header(&mut reserve, length);
            assert_eq!(&reserve[start..], header.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn what_we_write_we_read_the_same_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
            extension in prop::sample::select(&["", ";a=b", ";q=\"\\\"\""][..]),
            trailer in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut out = format!("1{extension}\r\n!\r\n").into_bytes();
            chunks.iter().for_each(|chunk| write_chunk(&mut out, chunk));
            if trailer {
                let sent = decode(b"0\r\nA: b\r\nDrop: c\r\nD:e\r\n\r\n").trailers;
                write_trailers(&mut out, &sent, |field| field.name.of(&sent.bytes) == b"Drop");
            } else {
                out.extend_from_slice(LAST_CHUNK);
            }
            let length = out.len();
            out.extend_from_slice(b"next");
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(out.len())).collect();
            ends.sort_unstable();
            let outcome = decode_in_pieces(&out, &ends).unwrap().unwrap();
            prop_assert_eq!(outcome.consumed, length);
            prop_assert_eq!(&outcome.data[1..], chunks.concat());
            prop_assert_eq!(&outcome.trailers.bytes[..], if trailer { &b"A: b\r\nD: e\r\n\r\n"[..] } else { b"" });
        }

        #[test]
        fn octets_at_random_give_the_same_outcome_however_they_are_cut(
            bytes in "[0-3a;\"\\\\ \r\n:]{0,40}",
            tail in prop::collection::vec(any::<u8>(), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let input = [bytes.as_bytes(), &tail].concat();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            ends.sort_unstable();
            let view = |outcome: Result<Option<Outcome>, ChunkError>| {
                outcome.map(|done| done.map(|done| (done.data, done.consumed, done.trailers.bytes)))
            };
            prop_assert_eq!(view(decode_in_pieces(&input, &ends)), view(decode_in_pieces(&input, &[])));
        }
    }
}
