//! One line being written into a window of fixed size. What would not fit is left out; nothing here can fail.

use super::Escaped;
use super::json::{CUT, VALUE_BYTES_MAX, escape, is_plain};

/// Longest line, its end included. Values are cut to fit.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// What all names, numbers and marks of a line may take; the rest is for texts.
pub(super) const FRAME_BYTES_MAX: usize = 2 * 1024;
/// What the texts of one line may take together.
pub(super) const TEXT_BYTES_MAX: usize = LINE_BYTES_MAX - FRAME_BYTES_MAX;

const _: () = assert!(VALUE_BYTES_MAX < TEXT_BYTES_MAX, "the longest value must fit the line");

/// A JSON object being written. Every value is followed by a comma; the last one becomes the closing brace.
pub(super) struct Line<'a> {
    window: &'a mut [u8; LINE_BYTES_MAX],
    at: usize,
    /// Octets that texts may still take.
    text_left: usize,
}

impl<'a> Line<'a> {
    pub fn begin(window: &'a mut [u8; LINE_BYTES_MAX]) -> Self {
        window[0] = b'{';
        Self { window, at: 1, text_left: TEXT_BYTES_MAX }
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
        if value.len() <= self.text_left.min(VALUE_BYTES_MAX) && is_plain(value) {
            self.text_left -= value.len();
            self.plain(key, value);
        } else {
            self.escaped_and_cut(key, value);
        }
    }

    #[cold]
    fn escaped_and_cut(&mut self, key: &str, value: &[u8]) {
        self.put(key.as_bytes());
        self.put(b"\"");
        let bytes_max = self.text_left.min(VALUE_BYTES_MAX);
        if let Some(room) = self.window.get_mut(self.at..self.at + bytes_max + CUT.len()) {
            let length = escape(value, room);
            self.at += length;
            self.text_left = self.text_left.saturating_sub(length);
        }
        self.put(b"\",");
    }

    /// Text that was escaped ahead; left empty where it does not fit.
    #[inline(always)]
    pub fn escaped(&mut self, key: &str, text: Escaped<'_>) {
        let text = if text.bytes().len() <= self.text_left { text.bytes() } else { b"" };
        self.text_left -= text.len();
        self.plain(key, text);
    }

    /// Text that needs no escaping.
    #[inline(always)]
    pub fn plain(&mut self, key: &str, text: &[u8]) {
        let length = key.len() + text.len() + 3;
        let Some(room) = self.window.get_mut(self.at..self.at + length) else { return };
        let (front, rest) = room.split_at_mut(key.len());
        front.copy_from_slice(key.as_bytes());
        rest[0] = b'"';
        rest[1..=text.len()].copy_from_slice(text);
        rest[text.len() + 1..].copy_from_slice(b"\",");
        self.at += length;
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

    #[inline]
    fn bare(&mut self, key: &str, value: &str) {
        self.put(key.as_bytes());
        self.put(value.as_bytes());
    }

    #[inline]
    fn put(&mut self, text: &[u8]) {
        if let Some(room) = self.window.get_mut(self.at..self.at + text.len()) {
            room.copy_from_slice(text);
            self.at += text.len();
        }
    }
}

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
    let fours = number / 10_000 | (number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - 10 * tens) << 8
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
        assert!(text.len() < TEXT_BYTES_MAX + 32 && text.ends_with("…\"}\n"), "{}", text.len());
    }
}
