//! One line being written into a window of fixed size. What would not fit is left out; nothing here can fail.
//!
//! While there is room for anything, which is nearly always, texts are copied in blocks of fixed size: what a block
//! brings too much is overwritten by what follows.

use super::Escaped;
use super::json::{CUT, VALUE_BYTES_MAX, VALUE_ROOM_BYTES, copy_if_plain, escape, is_plain};
use crate::base::decimal::decimal;

/// Longest line, its end included. Values are cut to fit.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// What all names, numbers and marks of a line may take; the rest is for texts.
pub(super) const FRAME_BYTES_MAX: usize = 3 * 1024;
/// Where texts must end, so that all that may follow them still fits.
const TEXT_END: usize = LINE_BYTES_MAX - FRAME_BYTES_MAX;
/// Room for a piece and any value that is not cut, with the blocks they are copied in.
const ROOM_BYTES: usize = PIECE_BYTES_MAX + VALUE_ROOM_BYTES;
/// As long as a line is not longer, there is such room in front of [`TEXT_END`].
const ROOMY_MAX: usize = TEXT_END - ROOM_BYTES;

const _: () = assert!(VALUE_BYTES_MAX < TEXT_END, "the longest value must fit the line");

/// Room for the text between two values: a quote, a comma, a name, its quotes and colon, and a quote.
pub(super) const PIECE_BYTES_MAX: usize = 32;

/// The constant text between two values, or at an end of the line.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    text: [u8; PIECE_BYTES_MAX],
    length: u8,
}

impl Piece {
    /// These texts, one behind the other: less than [`PIECE_BYTES_MAX`] octets, since names are short.
    pub const fn new(parts: &[&str]) -> Self {
        let mut piece = Self { text: [0; PIECE_BYTES_MAX], length: 0 };
        let mut at = 0;
        while at < parts.len() {
            let (_, rest) = piece.text.split_at_mut(piece.length as usize);
            let (room, _) = rest.split_at_mut(parts[at].len());
            room.copy_from_slice(parts[at].as_bytes());
            piece.length += parts[at].len() as u8;
            at += 1;
        }
        piece
    }

    #[inline(always)]
    fn len(&self) -> usize {
        // The remainder says to the compiler what is so anyway.
        usize::from(self.length) % PIECE_BYTES_MAX
    }

    fn bytes(&self) -> &[u8] {
        &self.text[..self.len()]
    }
}

/// What stands between two pieces.
pub(super) enum Value<'a> {
    /// Text of others: to be escaped, and cut to what is left.
    Foreign(&'a [u8]),
    /// Text that was escaped ahead; left empty where it does not fit.
    Escaped(Escaped<'a>),
    /// A number, in decimal.
    Number(u64),
    /// A word of the language, such as `null`.
    Bare(Escaped<'static>),
}

/// A JSON object being written.
pub(super) struct Line<'a> {
    window: &'a mut [u8; LINE_BYTES_MAX],
    at: usize,
}

impl<'a> Line<'a> {
    pub fn begin(window: &'a mut [u8; LINE_BYTES_MAX]) -> Self {
        Self { window, at: 0 }
    }

    /// Closes the line and returns its length.
    #[inline]
    pub fn end(mut self, piece: &Piece) -> usize {
        self.put(piece.bytes());
        self.at
    }

    /// Appends a piece and a value. The value is a function, so that it need not lie in memory.
    #[inline(always)]
    pub fn push<'v>(&mut self, piece: &Piece, value: impl FnOnce() -> Value<'v>) {
        let room = match self.window.get_mut(self.at..) {
            Some(rest) if self.at <= ROOMY_MAX => rest.first_chunk_mut::<ROOM_BYTES>(),
            _ => None,
        };
        let Some(room) = room else {
            self.at = push_near_the_end(self.window, self.at, piece, value());
            return;
        };
        room[..16].copy_from_slice(&piece.text[..16]);
        if piece.len() > 16 {
            room[16..PIECE_BYTES_MAX].copy_from_slice(&piece.text[16..]);
        }
        let Some(room) = room[piece.len()..].first_chunk_mut() else { return };
        let length = match value() {
            Value::Escaped(text) | Value::Bare(text) => text.copy_to(room),
            Value::Foreign(text) => match copy_if_plain(text, room) {
                Some(length) => length,
                None => escape(text, &mut room[..VALUE_BYTES_MAX + CUT.len()]),
            },
            Value::Number(number) => decimal(number, room),
        };
        self.at += piece.len() + length;
    }

    fn put_foreign(&mut self, text: &[u8]) {
        if text.len() <= VALUE_BYTES_MAX && self.at + text.len() <= TEXT_END && is_plain(text) {
            return self.put(text);
        }
        let end = TEXT_END.max(self.at).min(self.at + VALUE_BYTES_MAX) + CUT.len();
        if let Some(room) = self.window.get_mut(self.at..end) {
            self.at += escape(text, room);
        }
    }

    #[inline(always)]
    fn put(&mut self, text: &[u8]) {
        if let Some(room) = self.window.get_mut(self.at..self.at + text.len()) {
            room.copy_from_slice(text);
            self.at += text.len();
        }
    }
}

/// Appends a piece and a value at `at`, where the room may end, and returns their end. Not a method, so that the place
/// need not lie in memory.
#[cold]
#[inline(never)]
fn push_near_the_end(window: &mut [u8; LINE_BYTES_MAX], at: usize, piece: &Piece, value: Value<'_>) -> usize {
    let mut line = Line { window, at };
    line.put(piece.bytes());
    match value {
        Value::Bare(text) => line.put(text.bytes()),
        Value::Escaped(text) => {
            if line.at + text.bytes().len() <= TEXT_END {
                line.put(text.bytes());
            }
        }
        Value::Foreign(text) => line.put_foreign(text),
        Value::Number(number) => line.put(itoa::Buffer::new().format(number).as_bytes()),
    }
    line.at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut window = [0; LINE_BYTES_MAX];
        let mut line = Line::begin(&mut window);
        write(&mut line);
        let length = line.end(&Piece::new(&["}\n"]));
        String::from_utf8(window[..length].to_vec()).expect("a line is UTF-8")
    }

    #[test]
    fn a_text_that_does_not_fit_the_line_is_cut_and_marked() {
        let piece = Piece::new(&[""]);
        let text = written(|line| (0..4).for_each(|_| line.push(&piece, || Value::Foreign(&[b'a'; VALUE_BYTES_MAX]))));
        assert!(text.len() < TEXT_END + 32 && text.ends_with("…}\n"), "{}", text.len());
    }

    #[test]
    fn values_are_the_same_near_the_end_of_a_line() {
        let (piece, bare) = (Piece::new(&["x"]), Escaped::plain(b"null"));
        let values = |line: &mut Line<'_>| {
            line.push(&piece, || Value::Escaped(Escaped::front_of(b"a name and more", 6)));
            line.push(&piece, || Value::Foreign(b"a\"b"));
            line.push(&piece, || Value::Foreign(b"plain"));
            line.push(&piece, || Value::Number(4711));
            line.push(&piece, || Value::Bare(bare));
        };
        let expected = "xa namexa\\\"bxplainx4711xnull}\n";
        assert_eq!(written(values), expected);
        let late = written(|line| {
            line.at = TEXT_END - 100;
            values(line);
        });
        assert!(late.ends_with(expected), "{late}");
    }

    #[test]
    fn where_no_text_fits_numbers_and_words_still_do() {
        let late = written(|line| {
            line.at = TEXT_END;
            line.push(&Piece::new(&["x"]), || Value::Escaped(Escaped::plain(b"name")));
            line.push(&Piece::new(&["x"]), || Value::Bare(Escaped::plain(b"null")));
            line.push(&Piece::new(&["x"]), || Value::Number(u64::MAX));
            line.push(&Piece::new(&["x"]), || Value::Foreign(b"text"));
        });
        assert!(late.ends_with("xxnullx18446744073709551615x…}\n"), "{late}");
    }
}
