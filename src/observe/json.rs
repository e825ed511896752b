//! JSON strings from arbitrary octets.

/// Longest text of one value in the log, in octets as written; what is longer is cut and ends in an ellipsis.
pub const VALUE_BYTES_MAX: usize = 2 * 1024;

/// Stands where a value was cut.
const CUT: &str = "…";

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Appends `value` as the inside of a JSON string, at most `bytes_max` octets and an ellipsis. Octets that are not UTF-8
/// are written as the characters of their number, so that nothing is lost; controls are escaped, so that neither a
/// parser nor a terminator of lines or a terminal is fooled.
#[inline]
pub(super) fn push_string(value: &[u8], bytes_max: usize, out: &mut Vec<u8>) {
    if value.len() <= bytes_max && is_plain(value) {
        out.extend_from_slice(value);
    } else {
        push_escaped(value, bytes_max, out);
    }
}

/// Whether every octet is printable ASCII other than the quote and the backslash.
#[inline]
fn is_plain(value: &[u8]) -> bool {
    let (words, rest) = value.as_chunks::<8>();
    let special = words.iter().fold(0, |found, word| found | specials(u64::from_le_bytes(*word)));
    (special | specials(padded(rest))) & HIGHS == 0
}

/// Up to seven octets as a word, the rest of it filled with plain ones.
#[inline]
fn padded(rest: &[u8]) -> u64 {
    debug_assert!(rest.len() < 8, "whole words are taken before");
    rest.iter().fold(0x2020_2020_2020_2020, |word, octet| word << 8 | u64::from(*octet))
}

/// The high bit of an octet is set where that octet may need an escape. Borrows may mark an octet above a marked one
/// too, which is why this only tells whether there is any.
#[inline]
fn specials(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20);
    let delete_or_high = word | word.wrapping_add(ONES);
    control | delete_or_high | quote.wrapping_sub(ONES) | backslash.wrapping_sub(ONES)
}

#[cold]
fn push_escaped(value: &[u8], bytes_max: usize, out: &mut Vec<u8>) {
    let end = out.len() + bytes_max;
    for chunk in value.utf8_chunks() {
        let valid = chunk.valid().chars();
        let invalid = chunk.invalid().iter().map(|octet| char::from(*octet));
        for character in valid.chain(invalid) {
            if !push_character(character, end, out) {
                out.extend_from_slice(CUT.as_bytes());
                return;
            }
        }
    }
}

/// Appends one character, escaped if need be, unless it would end beyond `end`.
#[inline]
fn push_character(character: char, end: usize, out: &mut Vec<u8>) -> bool {
    let mut utf8 = [0; 4];
    let unicode;
    let text: &[u8] = match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        control @ ('\0'..='\x1f' | '\x7f'..='\u{9f}') => {
            unicode = unicode_escape(control as u8);
            &unicode
        }
        other => other.encode_utf8(&mut utf8).as_bytes(),
    };
    let fits = out.len() + text.len() <= end;
    if fits {
        out.extend_from_slice(text);
    }
    fits
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
        let mut out = Vec::new();
        push_string(value, bytes_max, &mut out);
        String::from_utf8(out).expect("the log is UTF-8")
    }

    #[test]
    fn plain_is_exactly_what_needs_no_escape() {
        for octet in 0..=u8::MAX {
            let plain = (0x20..0x7f).contains(&octet) && octet != b'"' && octet != b'\\';
            for place in 0..19 {
                let mut value = [b'a'; 19];
                value[place] = octet;
                assert_eq!(is_plain(&value), plain, "octet {octet} at {place}");
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
}
