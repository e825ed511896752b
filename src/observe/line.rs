//! One line being written into a window of fixed size. What would not fit is left out; nothing here can fail.

use super::Escaped;
use super::json::{CUT, VALUE_BYTES_MAX, escape, is_plain};

/// Longest line, its end included. Values are cut to fit.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// What all names, numbers and marks of a line may take; the rest is for texts.
pub(super) const FRAME_BYTES_MAX: usize = 2 * 1024;
/// What the texts of one line may take together.
pub(super) const TEXT_BYTES_MAX: usize = LINE_BYTES_MAX - FRAME_BYTES_MAX;

/// Room of one constant piece, copied whole whatever its length: a copy of known size takes two instructions.
pub(super) const PIECE_BYTES: usize = 32;

const _: () = assert!(VALUE_BYTES_MAX < TEXT_BYTES_MAX, "the longest value must fit the line");

/// Constant text of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    room: [u8; PIECE_BYTES],
    length: u8,
}

impl Piece {
    /// Cut to [`PIECE_BYTES`]; the pieces of a line are shorter.
    pub fn new(text: &str) -> Self {
        debug_assert!(text.len() <= PIECE_BYTES, "field names are short");
        let length = text.len().min(PIECE_BYTES);
        let mut room = [0; PIECE_BYTES];
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        Self { room, length: length as u8 }
    }
}

/// A line being written.
pub(super) struct Line<'a> {
    window: &'a mut [u8; LINE_BYTES_MAX],
    at: usize,
    /// Octets that texts may still take.
    text_left: usize,
}

impl<'a> Line<'a> {
    pub fn new(window: &'a mut [u8; LINE_BYTES_MAX]) -> Self {
        Self { window, at: 0, text_left: TEXT_BYTES_MAX }
    }

    /// Octets written so far.
    pub fn length(&self) -> usize {
        self.at
    }

    #[inline]
    pub fn piece(&mut self, piece: &Piece) {
        self.block(&piece.room, piece.length.into());
    }

    /// Text of others: escaped, and cut to what is left.
    #[inline]
    pub fn text(&mut self, value: &[u8]) {
        let bytes_max = self.text_left.min(VALUE_BYTES_MAX);
        if value.len() <= bytes_max && is_plain(value) {
            self.text_left -= value.len();
            self.copy(value);
        } else {
            self.escaped_and_cut(value, bytes_max);
        }
    }

    #[cold]
    fn escaped_and_cut(&mut self, value: &[u8], bytes_max: usize) {
        let Some(room) = self.window.get_mut(self.at..self.at + bytes_max + CUT.len()) else { return };
        let length = escape(value, room);
        self.at += length;
        self.text_left = self.text_left.saturating_sub(length);
    }

    /// Text that was escaped ahead; left out where it does not fit.
    #[inline]
    pub fn escaped(&mut self, text: Escaped<'_>) {
        let text = text.bytes();
        if text.len() <= self.text_left {
            self.text_left -= text.len();
            self.copy(text);
        }
    }

    /// Text of ours: short and plain.
    #[inline]
    pub fn word(&mut self, word: &str) {
        self.copy(word.as_bytes());
    }

    /// A number, in decimal.
    #[inline]
    pub fn number(&mut self, number: u64) {
        if number < 100_000_000 {
            let digits = eight_digits(number);
            // Leading zeros are the low octets; the last digit stays whatever it is.
            let zeros = (digits | 1 << 56).trailing_zeros() / 8;
            let text = (digits | 0x3030_3030_3030_3030) >> (zeros * 8);
            self.block(&text.to_le_bytes(), 8 - zeros as usize);
        } else {
            self.large_number(number);
        }
    }

    #[cold]
    fn large_number(&mut self, number: u64) {
        self.copy(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A number, or null.
    #[inline]
    pub fn maybe(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.number(number),
            None => self.block(b"null", 4),
        }
    }

    #[inline]
    pub fn flag(&mut self, flag: bool) {
        self.word(if flag { "true" } else { "false" });
    }

    /// The first `length` octets of a block; what else is in it will be overwritten.
    #[inline]
    pub fn block<const N: usize>(&mut self, block: &[u8; N], length: usize) {
        if let Some(room) = self.window.get_mut(self.at..self.at + N) {
            room.copy_from_slice(block);
            self.at += length;
        }
    }

    #[inline]
    fn copy(&mut self, text: &[u8]) {
        if let Some(room) = self.window.get_mut(self.at..self.at + text.len()) {
            room.copy_from_slice(text);
            self.at += text.len();
        }
    }
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
        let mut line = Line::new(&mut window);
        write(&mut line);
        let length = line.length();
        String::from_utf8(window[..length].to_vec()).expect("a line is UTF-8")
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_they_are_read(number in any::<u64>(), shift in 0u32..64) {
            let number = number >> shift;
            prop_assert_eq!(written(|line| line.number(number)), number.to_string());
        }
    }

    #[test]
    fn all_small_numbers_are_written_as_they_are_read() {
        for number in (0..12_000).chain(99_990_000..100_010_000) {
            assert_eq!(written(|line| line.number(number)), number.to_string());
        }
    }

    #[test]
    fn a_text_that_does_not_fit_the_line_is_cut_and_marked() {
        let text = written(|line| (0..4).for_each(|_| line.text(&[b'a'; VALUE_BYTES_MAX])));
        assert!(text.len() <= TEXT_BYTES_MAX + CUT.len() && text.ends_with(CUT));
    }
}
