//! JSON strings from arbitrary octets.

/// Longest text of one value in the log, in octets as written; what is longer is cut and ends in an ellipsis.
pub const VALUE_BYTES_MAX: usize = 2 * 1024;
/// The same for [`Escaped`] text.
pub const ESCAPED_BYTES_MAX: usize = 256;

/// Stands where a value was cut.
pub(super) const CUT: &str = "…";

/// Octets copied at once, where the text may be shorter.
const BLOCK_BYTES: usize = 32;
/// Room for a value that is not cut, and for the block it ends in.
pub(super) const VALUE_ROOM_BYTES: usize = VALUE_BYTES_MAX + BLOCK_BYTES;

/// Room to copy a value into.
type Room = [u8; VALUE_ROOM_BYTES];

/// Text that may stand in a JSON string as it is, because it was escaped ahead: names by who compiles them, an address
/// once for its connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Escaped<'a> {
    /// The text, and perhaps what lies behind it: then it can be copied as a block.
    bytes: &'a [u8],
    length: usize,
}

impl<'a> Escaped<'a> {
    /// Text that is known to be printable ASCII without quotes and backslashes, such as a number in hexadecimal, an IP
    /// address or a name that the configuration has checked. Debug builds check it; what is longer than [`ESCAPED_BYTES_MAX`] is cut.
    #[inline]
    pub fn plain(text: &'a [u8]) -> Self {
        Self::front_of(text, text.len())
    }

    /// The same for the first `length` octets of `bytes`.
    #[inline]
    pub fn front_of(bytes: &'a [u8], length: usize) -> Self {
        let length = length.min(bytes.len()).min(ESCAPED_BYTES_MAX);
        debug_assert!(is_plain(&bytes[..length]), "whoever made it knows its characters");
        Self { bytes, length }
    }

    /// A word without the spaces behind it, which are there to be copied along.
    pub(super) const fn word(padded: &'static [u8; BLOCK_BYTES]) -> Escaped<'static> {
        Escaped { bytes: padded, length: padded.trim_ascii_end().len() }
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        &self.bytes[..self.length]
    }

    /// Copies the text to the front of `room` and returns its length.
    #[inline(always)]
    pub(super) fn copy_to(self, room: &mut Room) -> usize {
        if self.length > BLOCK_BYTES {
            return copy_long(self.bytes(), room);
        }
        match self.bytes.first_chunk::<BLOCK_BYTES>() {
            Some(block) => room[..BLOCK_BYTES].copy_from_slice(block),
            None => copy_short(self.bytes(), room),
        }
        self.length
    }
}

/// Text, escaped once to be logged often. What is longer than [`ESCAPED_BYTES_MAX`] is cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EscapedText {
    /// The text, and zeros where it is shorter than a block.
    bytes: Box<[u8]>,
    length: usize,
}

impl EscapedText {
    /// Escapes `text`.
    pub fn new(text: &str) -> Self {
        let mut room = [0; ESCAPED_BYTES_MAX];
        let length = escape(text.as_bytes(), &mut room);
        room[length..].fill(0);
        Self { bytes: room[..length.max(BLOCK_BYTES)].into(), length }
    }

    /// The text, to be put into a [`super::Record`].
    #[inline]
    pub fn as_escaped(&self) -> Escaped<'_> {
        Escaped { bytes: &self.bytes, length: self.length }
    }
}

#[cold]
#[inline(never)]
fn copy_long(text: &[u8], room: &mut Room) -> usize {
    room[..text.len()].copy_from_slice(text);
    text.len()
}

/// Copies a text of at most 32 octets to the front of `room`, without a call.
#[inline(always)]
fn copy_short(text: &[u8], room: &mut Room) {
    match text {
        [] => {}
        [first, ..] if text.len() < 4 => {
            let (middle, last) = (text.len() / 2, text.len() - 1);
            room[0] = *first;
            room[middle] = text[middle];
            room[last] = text[last];
        }
        _ if text.len() < 8 => copy_ends::<4>(text, room),
        _ if text.len() < 16 => copy_ends::<8>(text, room),
        _ => copy_ends::<16>(text, room),
    }
}

/// Copies the first and the last `N` octets, which are all where there are at most twice as many.
#[inline(always)]
fn copy_ends<const N: usize>(text: &[u8], room: &mut Room) {
    if let (Some(first), Some(last)) = (text.first_chunk::<N>(), text.last_chunk::<N>()) {
        room[..N].copy_from_slice(first);
        room[text.len() - N..text.len()].copy_from_slice(last);
    }
}

/// Copies `text` to the front of `room` and returns its length; none where it needs an escape or is too long.
#[inline(always)]
pub(super) fn copy_if_plain(text: &[u8], room: &mut Room) -> Option<usize> {
    let plain = match text.len() {
        0 => true,
        1..16 => {
            let mut found = [0; 16];
            mark_specials(&mut found, &block_of_short(text));
            copy_short(text, room);
            is_unmarked(found)
        }
        16..=32 => copy_blocks::<16>(text, room),
        33..=VALUE_BYTES_MAX => copy_blocks::<32>(text, room),
        _ => false,
    };
    plain.then_some(text.len())
}

/// Copies `text`, which has at least `N` octets and must fit, and says whether no octet needs an escape.
#[inline(always)]
fn copy_blocks<const N: usize>(text: &[u8], room: &mut Room) -> bool {
    let mut found = [0; N];
    for (block, to) in text.as_chunks::<N>().0.iter().zip(room.as_chunks_mut::<N>().0) {
        *to = *block;
        mark_specials(&mut found, block);
    }
    if let (Some(last), Some(to)) = (text.last_chunk(), room[..text.len()].last_chunk_mut()) {
        *to = *last;
        mark_specials(&mut found, last);
    }
    is_unmarked(found)
}

/// Whether every octet is printable ASCII other than the quote and the backslash.
#[inline]
pub(super) fn is_plain(value: &[u8]) -> bool {
    let mut found = [0; 16];
    if let Some(last) = value.last_chunk() {
        let (blocks, _) = value.as_chunks();
        for block in blocks {
            mark_specials(&mut found, block);
        }
        mark_specials(&mut found, last);
    } else {
        mark_specials(&mut found, &block_of_short(value));
    }
    is_unmarked(found)
}

/// Marks the places of octets that need an escape, beside those marked before; written for the compiler to do all at
/// once.
#[inline(always)]
fn mark_specials<const N: usize>(found: &mut [u8; N], block: &[u8; N]) {
    for (mark, octet) in found.iter_mut().zip(block) {
        // One more, and signed: DEL is the least there is, and what is not ASCII stays below the printable octets.
        let unprintable = (octet.wrapping_add(1) as i8) <= b' ' as i8;
        *mark |= if unprintable | (*octet == b'"') | (*octet == b'\\') { u8::MAX } else { 0 };
    }
}

#[inline(always)]
fn is_unmarked<const N: usize>(found: [u8; N]) -> bool {
    found.iter().fold(0, |all, mark| all | mark) == 0
}

/// Every octet of a value shorter than a block, some of them twice, among spaces.
#[inline]
fn block_of_short(value: &[u8]) -> [u8; 16] {
    debug_assert!(value.len() < 16, "longer values are taken as whole blocks");
    let (low, high) = if let (Some(first), Some(last)) = (value.first_chunk(), value.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (value.first_chunk(), value.last_chunk()) {
        ((u64::from(u32::from_le_bytes(*first)) << 32) | u64::from(u32::from_le_bytes(*last)), SPACES)
    } else {
        (value.iter().fold(SPACES, |word, octet| (word << 8) | u64::from(*octet)), SPACES)
    };
    ((u128::from(high) << 64) | u128::from(low)).to_le_bytes()
}

/// Eight spaces.
const SPACES: u64 = 0x2020_2020_2020_2020;

/// Writes `value` as the inside of a JSON string into `room` and returns its length; what does not fit is cut between
/// characters and marked by an ellipsis. Octets that are not UTF-8 are written as the characters of their number, so
/// that nothing is lost; controls are escaped, so that no parser, terminal or eye is fooled.
#[cold]
pub(super) fn escape(value: &[u8], room: &mut [u8]) -> usize {
    let end = room.len().saturating_sub(CUT.len());
    let mut at = 0;
    for chunk in value.utf8_chunks() {
        let valid = chunk.valid().chars();
        let invalid = chunk.invalid().iter().map(|octet| char::from(*octet));
        for character in valid.chain(invalid) {
            match push_character(character, &mut room[at..end]) {
                Some(length) => at += length,
                None => return at + push(CUT.as_bytes(), &mut room[at..]).unwrap_or(0),
            }
        }
    }
    at
}

/// Writes one character, escaped if need be, unless there is no room for it.
#[inline]
fn push_character(character: char, room: &mut [u8]) -> Option<usize> {
    match character {
        '"' => push(b"\\\"", room),
        '\\' => push(b"\\\\", room),
        '\n' => push(b"\\n", room),
        '\r' => push(b"\\r", room),
        '\t' => push(b"\\t", room),
        control @ ('\0'..='\x1f' | '\x7f'..='\u{9f}') => push(&unicode_escape(control as u8), room),
        other => push(other.encode_utf8(&mut [0; 4]).as_bytes(), room),
    }
}

#[inline]
fn push(text: &[u8], room: &mut [u8]) -> Option<usize> {
    room.get_mut(..text.len())?.copy_from_slice(text);
    Some(text.len())
}

/// `\u00XX` for a character below 256.
fn unicode_escape(number: u8) -> [u8; 6] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
    [b'\\', b'u', b'0', b'0', digit(number >> 4), digit(number)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(value: &[u8], bytes_max: usize) -> String {
        let mut room = vec![0; bytes_max + CUT.len()];
        let length = escape(value, &mut room);
        room.truncate(length);
        String::from_utf8(room).expect("the log is UTF-8")
    }

    #[test]
    fn plain_is_exactly_what_needs_no_escape() {
        for octet in 0..=u8::MAX {
            let plain = (0x20..0x7f).contains(&octet) && octet != b'"' && octet != b'\\';
            for length in 0..70 {
                for place in 0..length {
                    let mut value = vec![b'a'; length];
                    value[place] = octet;
                    assert_eq!(is_plain(&value), plain, "octet {octet} at {place} of {length}");
                    let mut room = [0; VALUE_ROOM_BYTES];
                    let copied = copy_if_plain(&value, &mut room);
                    assert_eq!(copied, plain.then_some(length), "octet {octet} at {place} of {length}");
                    assert!(!plain || room[..length] == value, "octet {octet} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn text_stays_and_controls_are_escaped() {
        assert_eq!(string("naïve ✓".as_bytes(), 64), "naïve ✓");
        assert_eq!(string(b"a\"b\\c\nd\x1b[0m\x7f", 64), r#"a\"b\\c\nd\u001b[0m\u007f"#);
        assert_eq!(string("\u{85}".as_bytes(), 64), r"\u0085");
    }

    #[test]
    fn octets_that_are_not_utf8_are_kept_as_characters() {
        assert_eq!(string(b"caf\xe9", 64), "caf\u{e9}");
        assert_eq!(string(b"\x80\xff", 64), "\\u0080\u{ff}");
    }

    #[test]
    fn a_long_value_is_cut_between_characters_and_marked() {
        assert_eq!(string(b"abcdef", 6), "abcdef");
        assert_eq!(string(b"abcdefg", 6), "abcdef…");
        assert_eq!(string("ééé".as_bytes(), 5), "éé…");
        assert_eq!(string(b"ab\n", 3), "ab…");
    }

    #[test]
    fn a_name_is_escaped_once_and_bounded() {
        assert_eq!(EscapedText::new("a\"b").as_escaped().bytes(), b"a\\\"b");
        let long = EscapedText::new(&"é".repeat(1_000));
        assert!(long.as_escaped().bytes().len() <= ESCAPED_BYTES_MAX);
    }
}
