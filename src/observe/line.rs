//! One line being written into a window of fixed size. What would not fit is left out; nothing here can fail.

use super::Escaped;
use super::json::{CUT, VALUE_BYTES_MAX, escape, is_plain};

/// Longest line, its end included. Values are cut to fit.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// What all names, numbers and marks of a line may take; the rest is for texts.
pub(super) const FRAME_BYTES_MAX: usize = 2 * 1024;
/// Where texts must end, so that all that may follow them still fits.
const TEXT_END: usize = LINE_BYTES_MAX - FRAME_BYTES_MAX;

const _: () = assert!(VALUE_BYTES_MAX < TEXT_END, "the longest value must fit the line");

/// A JSON object being written. Every value is followed by a comma; the last one becomes the closing brace.
pub(super) struct Line<'a> {
    window: &'a mut [u8; LINE_BYTES_MAX],
    at: usize,
}

impl<'a> Line<'a> {
    pub fn begin(window: &'a mut [u8; LINE_BYTES_MAX]) -> Self {
        window[0] = b'{';
        Self { window, at: 1 }
    }

    /// Closes the line and returns its length.
    pub fn end(mut self) -> usize {
        if self.at > 1 {
            self.at -= 1;
        }
        self.put(b"}\n");
        self.at
    }

    /// Text of others: escaped, and cut to what is left.
    #[inline(always)]
    pub fn text(&mut self, key: &str, value: &[u8]) {
        if value.is_empty() {
            self.bare(key, "\"\",");
        } else if !is_plain(value) || !self.plain(key, value) {
            self.escaped_and_cut(key, value);
        }
    }

    #[cold]
    fn escaped_and_cut(&mut self, key: &str, value: &[u8]) {
        self.put(key.as_bytes());
        self.put(b"\"");
        let end = TEXT_END.max(self.at).min(self.at + VALUE_BYTES_MAX) + CUT.len();
        if let Some(room) = self.window.get_mut(self.at..end) {
            self.at += escape(value, room);
        }
        self.put(b"\",");
    }

    /// Text that was escaped ahead; left empty where it does not fit.
    #[inline(always)]
    pub fn escaped(&mut self, key: &str, text: Escaped<'_>) {
        if !self.plain(key, text.bytes()) {
            self.bare(key, "\"\",");
        }
    }

    /// Text of ours: short and plain.
    #[inline(always)]
    pub fn word(&mut self, key: &str, word: &[u8]) {
        self.escaped(key, Escaped::plain(word));
    }

    /// Text that needs no escaping, or false where it is too long.
    #[inline(always)]
    pub fn plain(&mut self, key: &str, text: &[u8]) -> bool {
        if text.len() > VALUE_BYTES_MAX || self.at > TEXT_END - VALUE_BYTES_MAX - KEY_BYTES_MAX {
            return self.plain_near_the_end(key, text);
        }
        let room = &mut self.window[self.at..self.at + key.len() + text.len() + 3];
        let (front, rest) = room.split_at_mut(key.len());
        front.copy_from_slice(key.as_bytes());
        rest[0] = b'"';
        copy(text, &mut rest[1..=text.len()]);
        rest[text.len() + 1..].copy_from_slice(b"\",");
        self.at += key.len() + text.len() + 3;
        true
    }

    #[cold]
    fn plain_near_the_end(&mut self, key: &str, text: &[u8]) -> bool {
        let fits = text.len() <= VALUE_BYTES_MAX && self.at + key.len() + 1 + text.len() <= TEXT_END;
        if fits {
            self.put(key.as_bytes());
            self.put(b"\"");
            self.put(text);
            self.put(b"\",");
        }
        fits
    }

    /// A number, in decimal.
    #[inline(always)]
    pub fn number(&mut self, key: &str, number: u64) {
        let room = self.window.get_mut(self.at..self.at + key.len() + NUMBER_BYTES_MAX);
        let Some((front, rest)) = room.and_then(|room| room.split_at_mut_checked(key.len())) else { return };
        front.copy_from_slice(key.as_bytes());
        self.at += key.len() + decimal(number, rest);
    }

    /// A number, or null.
    #[inline(always)]
    pub fn maybe(&mut self, key: &str, number: Option<u64>) {
        match number {
            Some(number) => self.number(key, number),
            None => self.bare(key, "null,"),
        }
    }

    #[inline]
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.bare(key, if flag { "true," } else { "false," });
    }

    #[inline(always)]
    fn bare(&mut self, key: &str, value: &str) {
        self.put(key.as_bytes());
        self.put(value.as_bytes());
    }

    #[inline(always)]
    fn put(&mut self, text: &[u8]) {
        if let Some(room) = self.window.get_mut(self.at..self.at + text.len()) {
            room.copy_from_slice(text);
            self.at += text.len();
        }
    }
}

/// Copies without a call what is short, as most values are. Both have the same length.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8]) {
    match from.len() {
        16..=32 => copy_ends::<16>(from, to),
        8..16 => copy_ends::<8>(from, to),
        4..8 => copy_ends::<4>(from, to),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` octets, which are all where there are at most twice as many.
#[inline(always)]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        to[..N].copy_from_slice(first);
        let start = to.len() - N;
        to[start..].copy_from_slice(last);
    }
}

/// A name, its quotes and colon, and the quotes and comma of its value.
const KEY_BYTES_MAX: usize = 32;

/// The longest number and its comma.
const NUMBER_BYTES_MAX: usize = 21;

/// Writes a number and a comma to the front of `room` and returns how many octets they take.
#[inline]
fn decimal(number: u64, room: &mut [u8]) -> usize {
    let (digits, length) = match number {
        0..10 => (u64::from(b'0') + number, 1),
        10..100_000_000 => {
            let digits = eight_digits(number);
            // Leading zeros are the low octets.
            let zeros = digits.trailing_zeros() / 8;
            ((digits | 0x3030_3030_3030_3030) >> (zeros * 8), 8 - zeros as usize)
        }
        _ => return large_decimal(number, room),
    };
    // All eight octets are copied; those behind the digits will be overwritten.
    room[..8].copy_from_slice(&digits.to_le_bytes());
    room[length] = b',';
    length + 1
}

#[cold]
fn large_decimal(number: u64, room: &mut [u8]) -> usize {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    room[..text.len()].copy_from_slice(text);
    room[text.len()] = b',';
    text.len() + 1
}

/// The eight decimal digits of a number below 10^8, the highest in the lowest octet: halves, then pairs, then digits
/// are split in all lanes at once. The factors are rounded-up reciprocals that are exact for the lane's range.
#[inline]
fn eight_digits(number: u64) -> u64 {
    debug_assert!(number < 100_000_000, "eight digits");
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - 10 * tens) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut window = [0; LINE_BYTES_MAX];
        let mut line = Line::begin(&mut window);
        write(&mut line);
        let length = line.end();
        String::from_utf8(window[..length].to_vec()).expect("a line is UTF-8")
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_they_are_read(number in any::<u64>(), shift in 0u32..64) {
            let number = number >> shift;
            prop_assert_eq!(written(|line| line.number("", number)), format!("{{{number}}}\n"));
        }
    }

    #[test]
    fn all_small_numbers_are_written_as_they_are_read() {
        for number in (0..12_000).chain(99_990_000..100_010_000) {
            assert_eq!(written(|line| line.number("", number)), format!("{{{number}}}\n"));
        }
    }

    #[test]
    fn a_text_that_does_not_fit_the_line_is_cut_and_marked() {
        let text = written(|line| (0..4).for_each(|_| line.text("", &[b'a'; VALUE_BYTES_MAX])));
        assert!(text.len() < TEXT_END + 32 && text.ends_with("…\"}\n"), "{}", text.len());
    }
}
