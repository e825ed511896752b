//! What the library lets a client do, and the standard does not: DATA on a stream that the client has ended (RFC 9113,
//! section 5.1), pseudo-header fields among trailers (section 8.1).

/// Streams that the client has ended last, which are remembered.
const ENDED_REMEMBERED: usize = 32;
/// Streams with malformed trailers that nobody has asked about yet, which are remembered.
const MALFORMED_REMEMBERED: usize = 16;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Octets of a priority in HEADERS.
const PRIORITY_BYTES: usize = 5;

/// Follows the frames of a client beside the library.
#[derive(Debug, Default)]
pub(super) struct Strict {
    ended: Ring<ENDED_REMEMBERED>,
    malformed: Ring<MALFORMED_REMEMBERED>,
    /// The stream whose trailers are being read.
    trailers: Option<u32>,
    block: Block,
    wrote_after_end: bool,
}

impl Strict {
    /// Takes the head of a frame. `opens` says whether it opens its stream.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, length: usize, opens: bool) {
        match kind {
            DATA => self.wrote_after_end |= self.ended.has(stream),
            HEADERS => {
                self.trailers = (!opens).then_some(stream);
                self.block = Block::of(flags, length);
            }
            CONTINUATION => self.block.goes_on(length),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            self.ended.put(stream);
        }
    }

    /// Takes octets of the payload of the frame whose head was taken last.
    pub fn payload(&mut self, octets: &[u8]) {
        let Some(stream) = self.trailers else { return };
        if self.block.has_pseudo_header(octets) {
            self.malformed.put(stream);
            self.trailers = None;
        }
    }

    /// Whether content came behind its end.
    pub fn wrote_after_end(&self) -> bool {
        self.wrote_after_end
    }

    /// Whether the trailers of a stream, which have arrived, were malformed.
    pub fn has_malformed_trailers(&self, stream: u32) -> bool {
        self.malformed.has(stream)
    }
}

/// The last streams of a kind; 0 is none.
#[derive(Debug)]
struct Ring<const N: usize> {
    streams: [u32; N],
    next: usize,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self { streams: [0; N], next: 0 }
    }
}

impl<const N: usize> Ring<N> {
    fn put(&mut self, stream: u32) {
        self.streams[self.next] = stream;
        self.next = (self.next + 1) % N;
    }

    fn has(&self, stream: u32) -> bool {
        stream != 0 && self.streams.contains(&stream)
    }
}

/// Reads a header block octet by octet, as far as names show without the table that both sides keep: a name that stands
/// only there is not seen (RFC 7541, section 6).
#[derive(Debug, Default)]
struct Block {
    /// Octets before the block: how much was padded, and a priority.
    before: usize,
    /// Whether the first of them counts the padding.
    is_padded: bool,
    /// Octets of the block in this frame, and of its padding.
    left: usize,
    at: At,
}

/// What the next octet is.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Field,
    /// One more octet of an index that was `index` so far.
    Index { index: u32, shift: u32, then: Then },
    /// The first octet of a string: its length.
    Length { is_name: bool },
    /// One more octet of a length.
    LongLength { length: u32, shift: u32, is_name: bool, is_huffman: bool },
    /// So many octets of a string.
    Text { left: u32, is_name: bool, is_huffman: bool, is_first: bool },
    /// Not to be understood: the library will say so.
    Lost,
}

/// What follows an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next field: name and value stand in a table.
    Field,
    /// A value, or a name and a value where the index is 0.
    Literal,
    /// The next field: no index at all, but the size of a table.
    Size,
}

/// The pseudo-header fields of the static table (RFC 7541, appendix A).
const STATIC_PSEUDO_HEADERS: std::ops::RangeInclusive<u32> = 1..=14;

impl Block {
    fn of(flags: u8, length: usize) -> Self {
        let is_padded = flags & PADDED != 0;
        let priority = if flags & PRIORITY != 0 { PRIORITY_BYTES } else { 0 };
        let before = usize::from(is_padded) + priority;
        Self { before, is_padded, left: length.saturating_sub(before), at: At::Field }
    }

    fn goes_on(&mut self, length: usize) {
        (self.before, self.is_padded, self.left) = (0, false, length);
    }

    fn has_pseudo_header(&mut self, octets: &[u8]) -> bool {
        for &octet in octets {
            if self.before > 0 {
                if std::mem::take(&mut self.is_padded) {
                    self.left = self.left.saturating_sub(usize::from(octet));
                }
                self.before -= 1;
            } else if self.left > 0 {
                self.left -= 1;
                if self.is_pseudo_header(octet) {
                    return true;
                }
            }
        }
        false
    }

    /// Takes an octet of the block; whether it shows a pseudo-header field.
    fn is_pseudo_header(&mut self, octet: u8) -> bool {
        match self.at {
            At::Field => {
                let (prefix, then) = match octet {
                    0x80.. => (0x7f, Then::Field),
                    0x40.. => (0x3f, Then::Literal),
                    0x20.. => (0x1f, Then::Size),
                    _ => (0x0f, Then::Literal),
                };
                let index = u32::from(octet & prefix);
                if index == u32::from(prefix) {
                    self.at = At::Index { index, shift: 0, then };
                    return false;
                }
                self.indexed(index, then)
            }
            At::Index { index, shift, then } => match grown(index, shift, octet) {
                Grown::More(index) => {
                    self.at = At::Index { index, shift: shift + 7, then };
                    false
                }
                Grown::Done(index) => self.indexed(index, then),
                Grown::TooLarge => self.lost(),
            },
            At::Length { is_name } => {
                let (length, is_huffman) = (u32::from(octet & 0x7f), octet & 0x80 != 0);
                if length == 0x7f {
                    self.at = At::LongLength { length, shift: 0, is_name, is_huffman };
                } else {
                    self.text(length, is_name, is_huffman);
                }
                false
            }
            At::LongLength { length, shift, is_name, is_huffman } => match grown(length, shift, octet) {
                Grown::More(length) => {
                    self.at = At::LongLength { length, shift: shift + 7, is_name, is_huffman };
                    false
                }
                Grown::Done(length) => {
                    self.text(length, is_name, is_huffman);
                    false
                }
                Grown::TooLarge => self.lost(),
            },
            At::Text { left, is_name, is_huffman, is_first } => {
                // A colon is 1011100 in the code of Huffman (RFC 7541, appendix B).
                let is_colon = if is_huffman { octet >> 1 == 0b101_1100 } else { octet == b':' };
                self.at = At::Text { left: left - 1, is_name, is_huffman, is_first: false };
                if left == 1 {
                    self.text(0, is_name, is_huffman);
                }
                is_name && is_first && is_colon
            }
            At::Lost => false,
        }
    }

    fn indexed(&mut self, index: u32, then: Then) -> bool {
        self.at = match then {
            Then::Literal => At::Length { is_name: index == 0 },
            Then::Field | Then::Size => At::Field,
        };
        then != Then::Size && STATIC_PSEUDO_HEADERS.contains(&index)
    }

    fn text(&mut self, left: u32, is_name: bool, is_huffman: bool) {
        self.at = match (left, is_name) {
            (0, true) => At::Length { is_name: false },
            (0, false) => At::Field,
            _ => At::Text { left, is_name, is_huffman, is_first: true },
        };
    }

    fn lost(&mut self) -> bool {
        self.at = At::Lost;
        false
    }
}

/// An integer after one more octet (RFC 7541, section 5.1).
enum Grown {
    More(u32),
    Done(u32),
    TooLarge,
}

fn grown(value: u32, shift: u32, octet: u8) -> Grown {
    let Some(value) = u32::from(octet & 0x7f).checked_shl(shift).and_then(|more| value.checked_add(more)) else {
        return Grown::TooLarge;
    };
    match (shift, octet) {
        (21.., _) => Grown::TooLarge,
        (_, 0x80..) => Grown::More(value),
        _ => Grown::Done(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_HEADERS: u8 = 0x4;

    /// Whether these trailers are malformed, however the block is cut.
    fn is_malformed(flags: u8, payload: &[u8]) -> bool {
        let verdicts: Vec<bool> = (1..=payload.len().max(1))
            .map(|size| {
                let mut strict = Strict::default();
                strict.frame(HEADERS, flags | END_HEADERS | END_STREAM, 1, payload.len(), false);
                payload.chunks(size).for_each(|piece| strict.payload(piece));
                strict.has_malformed_trailers(1)
            })
            .collect();
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{payload:?}");
        verdicts[0]
    }

    fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
        [&[0, name.len() as u8], name, &[value.len() as u8], value].concat()
    }

    #[test]
    fn pseudo_headers_are_seen_in_every_form() {
        // Indexed; a literal of an indexed name, kept and not kept; a new name, plain and by Huffman's code.
        for block in
            [&[0x81][..], &[0x8e], &[0x42, 1, b'x'], &[0x02, 1, b'x'], &literal(b":a", b"x"), &[0, 0x81, 0xb8, 0]]
        {
            assert!(is_malformed(0, block), "{block:?}");
            let behind = [&literal(b"x-one", &[b'v'; 100]), block].concat();
            assert!(is_malformed(0, &behind), "{behind:?}");
            let padded = [&[4][..], &behind, &[0; 4]].concat();
            assert!(is_malformed(PADDED, &padded), "{padded:?}");
            let weighed = [&[4][..], &[0, 0, 0, 0, 7], &behind, &[0; 4]].concat();
            assert!(is_malformed(PADDED | PRIORITY, &weighed), "{weighed:?}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        let long = [&[0, 1, b'x', 0x7f, 0x49][..], &[b':'; 200]].concat();
        let static_name = [0x0f, 0x10, 1, b':'];
        for block in [&[][..], &literal(b"x", b":path"), &long, &[0x3f, 0xe1, 0x1f], &static_name, &[0xbe], &[0x8f]] {
            assert!(!is_malformed(0, block), "{block:?}");
        }
        assert!(!is_malformed(PADDED, &[3, 0x90, 0x82, 0x82, 0x82]), "padding is no field");
    }

    #[test]
    fn a_block_that_cannot_be_read_is_left_to_the_library() {
        for block in [&[0xff; 20][..], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x82], &[0, 0x7f, 0x80, 0x80, 0x80, 0x80]]
        {
            assert!(!is_malformed(0, block), "{block:?}");
        }
    }

    #[test]
    fn a_block_goes_on_in_continuations() {
        let mut strict = Strict::default();
        let block = literal(b":path", b"/");
        strict.frame(HEADERS, END_STREAM, 5, 1, false);
        strict.payload(&block[..1]);
        strict.frame(CONTINUATION, END_HEADERS, 5, block.len() - 1, false);
        strict.payload(&block[1..]);
        assert!(strict.has_malformed_trailers(5) && !strict.has_malformed_trailers(3));
    }

    #[test]
    fn heads_are_not_trailers() {
        let mut strict = Strict::default();
        strict.frame(HEADERS, END_HEADERS | END_STREAM, 1, 1, true);
        strict.payload(&[0x82]);
        assert!(!strict.has_malformed_trailers(1));
    }

    #[test]
    fn content_behind_its_end_is_seen_for_the_last_streams() {
        for (older, seen) in [(0, true), (ENDED_REMEMBERED as u32 - 1, true), (ENDED_REMEMBERED as u32, false)] {
            let mut strict = Strict::default();
            for stream in 0..=older {
                strict.frame(HEADERS, END_STREAM | END_HEADERS, 2 * stream + 1, 0, true);
            }
            strict.frame(DATA, 0, 1, 10, false);
            assert_eq!(strict.wrote_after_end(), seen, "after {older} more");
        }
        let mut strict = Strict::default();
        strict.frame(HEADERS, END_HEADERS, 1, 0, true);
        strict.frame(DATA, 0, 1, 10, false);
        strict.frame(DATA, END_STREAM, 1, 10, false);
        assert!(!strict.wrote_after_end());
        strict.frame(DATA, END_STREAM, 1, 10, false);
        assert!(strict.wrote_after_end());
    }
}
