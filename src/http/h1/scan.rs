//! Finds the octets that end a token, a target or a value, eight at a time.
//!
//! A word holds eight octets, the first in the lowest byte. A test answers with the high bit of every octet found;
//! only the lowest one of them is meant, as carries may disturb those above.

/// Octets of a word.
const WORD_BYTES: usize = 8;
/// One octet in every place.
const ONES: u64 = u64::MAX / 255;
/// The high bit of every octet.
const HIGH: u64 = ONES * 0x80;
/// The case bit of every letter.
pub(super) const CASE: u64 = ONES * 0x20;
/// Hyphens in every place.
pub(super) const HYPHENS: u64 = ONES * 0x2D;

/// Sixteen octets as two words.
#[inline(always)]
pub(super) fn split(chunk: [u8; 2 * WORD_BYTES]) -> [u64; 2] {
    let both = u128::from_le_bytes(chunk);
    [both as u64, (both >> 64) as u64]
}

/// Where `octet`, an US-ASCII one, may stand first in the two words; 16 or more if it is not there. Rarely it is the
/// place of an octet beyond US-ASCII before it.
#[inline(always)]
pub(super) fn maybe_place(words: [u64; 2], octet: u8) -> usize {
    let marks = |word: u64| (word ^ (ONES * u64::from(octet))).wrapping_sub(ONES) & HIGH;
    match marks(words[0]) {
        0 => WORD_BYTES + first(marks(words[1])),
        found => first(found),
    }
}

#[inline(always)]
fn first(found: u64) -> usize {
    found.trailing_zeros() as usize / 8
}

/// Marks controls, HTAB and DEL among them; and, wrongly, `~` after an octet FF.
#[inline(always)]
fn controls(word: u64) -> u64 {
    (word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)) & !word & HIGH
}

/// Marks controls and what is beyond US-ASCII.
#[inline(always)]
fn unusual_in_value(word: u64) -> u64 {
    (word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)) & HIGH
}

/// Marks what is not visible US-ASCII.
#[inline(always)]
fn invisibles(word: u64) -> u64 {
    (word.wrapping_sub(ONES * 0x21) | word.wrapping_add(ONES)) & HIGH
}

/// The position of the first marked octet from `from` on, or the end.
#[inline(always)]
fn find(bytes: &[u8], from: usize, marks: impl Fn(u64) -> u64) -> usize {
    let (chunks, rest) = bytes.get(from..).unwrap_or_default().as_chunks();
    let mut at = from;
    for chunk in chunks {
        let found = marks(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + first(found);
        }
        at += WORD_BYTES;
    }
    let mut last = [0; WORD_BYTES];
    for (to, octet) in last.iter_mut().zip(rest) {
        *to = *octet;
    }
    // The NUL octets behind the end are marked as well.
    bytes.len().min(at + first(marks(u64::from_le_bytes(last))))
}

/// The position of the first control octet other than HTAB from `from` on, or the end.
pub(super) fn control(bytes: &[u8], from: usize) -> usize {
    let stop = find(bytes, from, controls);
    match bytes.get(stop) {
        Some(octet) if !stops_value(*octet) => any_control(bytes, stop),
        _ => stop,
    }
}

/// The position of the first octet from `from` on that is a control or beyond US-ASCII, or the end.
#[inline(always)]
pub(super) fn usual_value_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let [low, high] = split(*chunk).map(unusual_in_value);
        if low != 0 {
            return at + first(low);
        }
        if high != 0 {
            return at + WORD_BYTES + first(high);
        }
        at += chunk.len();
    }
    last_value_end(bytes, at)
}

#[inline(never)]
fn last_value_end(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, unusual_in_value)
}

/// Whether these octets are all letters, digits, hyphens and colons.
#[inline(always)]
pub(super) fn is_usual_name(words: [u64; 2]) -> bool {
    (unusual_in_name(words[0]) | unusual_in_name(words[1])) & HIGH == 0
}

/// Marks what is neither letter, digit, hyphen nor colon: exactly, as long as nothing is marked.
#[inline(always)]
fn unusual_in_name(word: u64) -> u64 {
    // Adding to an octet below 80 sets its high bit if the octet is at least the limit.
    let at_least = |word: u64, limit: u8| word.wrapping_add(ONES * u64::from(0x80 - limit));
    let lower = word | CASE;
    let letter = at_least(lower, b'a') & !at_least(lower, b'z' + 1);
    let digit_or_colon = at_least(word, b'0') & !at_least(word, b':' + 1);
    let other_than_hyphen = at_least(word ^ HYPHENS, 1);
    (other_than_hyphen & !(letter | digit_or_colon)) | word
}

#[cold]
#[inline(never)]
fn any_control(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|&octet| stops_value(octet)).unwrap_or(rest.len())
}

#[inline(always)]
fn stops_value(octet: u8) -> bool {
    octet.is_ascii_control() && octet != b'\t'
}

/// The position of the first octet from `from` on that is not visible US-ASCII, or the end.
#[inline(always)]
pub(super) fn invisible(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, invisibles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_octet_falls_into_its_class_at_every_place() {
        for octet in 0..=u8::MAX {
            for place in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[place] = octet;
                let found = |class: bool| if class { place } else { bytes.len() };
                assert_eq!(control(&bytes, 0), found(octet.is_ascii_control() && octet != b'\t'));
                assert_eq!(invisible(&bytes, 0), found(!octet.is_ascii_graphic()));
            }
        }
    }

    #[test]
    fn a_scan_stops_at_the_end_of_the_bytes() {
        for length in 0..40 {
            let bytes = vec![b'a'; length];
            for from in 0..=length {
                assert_eq!((control(&bytes, from), invisible(&bytes, from)), (length, length));
            }
        }
    }

    proptest! {
        #[test]
        fn scans_find_what_a_loop_finds(bytes in proptest::collection::vec(any::<u8>(), 0..80), from in 0_usize..80) {
            let from = from.min(bytes.len());
            let expected = |class: fn(u8) -> bool| {
                bytes[from..].iter().position(|&octet| class(octet)).map_or(bytes.len(), |at| from + at)
            };
            prop_assert_eq!(control(&bytes, from), expected(stops_value));
            prop_assert_eq!(invisible(&bytes, from), expected(|octet| !octet.is_ascii_graphic()));
            let unusual = |octet: u8| octet.is_ascii_control() || !octet.is_ascii();
            prop_assert_eq!(usual_value_end(&bytes, from), expected(unusual));
        }

        #[test]
        fn usual_names_are_told_from_others(chunk in any::<[u8; 16]>(), name in "[a-zA-Z0-9:-]{16}", other in 0_usize..48) {
            let mut chunk = chunk;
            for (at, octet) in name.bytes().enumerate().filter(|(at, _)| *at != other) {
                chunk[at] = octet;
            }
            let usual = chunk.iter().all(|&octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b':');
            prop_assert_eq!(is_usual_name(split(chunk)), usual);
        }

        #[test]
        fn the_place_of_an_octet_is_the_first(bytes in proptest::collection::vec(0x38_u8..0x3D, 0..20)) {
            let expected = bytes.iter().take(16).position(|&octet| octet == b':');
            let mut chunk = [0; 16];
            chunk.iter_mut().zip(&bytes).for_each(|(to, octet)| *to = *octet);
            let found = Some(maybe_place(split(chunk), b':')).filter(|&place| place < 16);
            prop_assert_eq!(found, expected);
        }
    }
}
