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

/// The two words that begin at `at`. Octets beyond the end of the bytes read as NUL, which stops every scan.
#[inline(always)]
pub(super) fn words(bytes: &[u8], at: usize) -> [u64; 2] {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) => split(*chunk),
        None => words_at_end(bytes, at),
    }
}

#[inline(always)]
fn split(chunk: [u8; 2 * WORD_BYTES]) -> [u64; 2] {
    let both = u128::from_le_bytes(chunk);
    [both as u64, (both >> 64) as u64]
}

#[inline(never)]
fn words_at_end(bytes: &[u8], at: usize) -> [u64; 2] {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut chunk = [0; 2 * WORD_BYTES];
    chunk[..rest.len()].copy_from_slice(rest);
    split(chunk)
}

/// The place of the first `octet` in the two words; 16 or more if it is not there.
#[inline(always)]
pub(super) fn place(words: [u64; 2], octet: u8) -> usize {
    let [low, high] = words.map(|word| zeros(word ^ ONES * u64::from(octet)));
    if low != 0 { first(low) } else { WORD_BYTES + first(high) }
}

#[inline(always)]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
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

/// Marks what is not visible US-ASCII.
#[inline(always)]
fn invisibles(word: u64) -> u64 {
    (word.wrapping_sub(ONES * 0x21) | word.wrapping_add(ONES) | word) & HIGH
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
    last[..rest.len()].copy_from_slice(rest);
    // The NUL octets behind the end are marked as well.
    bytes.len().min(at + first(marks(u64::from_le_bytes(last))))
}

/// The position of the first control octet other than HTAB from `from` on, or the end.
#[inline(always)]
pub(super) fn control(bytes: &[u8], from: usize) -> usize {
    let stop = find(bytes, from, controls);
    match bytes.get(stop) {
        Some(octet) if !stops_value(*octet) => any_control(bytes, stop),
        _ => stop,
    }
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
        }

        #[test]
        fn the_place_of_an_octet_is_the_first(bytes in proptest::collection::vec(0x38_u8..0x3D, 0..20)) {
            let expected = bytes.iter().take(16).position(|&octet| octet == b':');
            let found = Some(place(words(&bytes, 0), b':')).filter(|&place| place < 16);
            prop_assert_eq!(found, expected);
        }
    }
}
