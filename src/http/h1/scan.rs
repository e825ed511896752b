//! Finds the octets that end a token, a target or a value, eight at a time.
//!
//! A word holds eight octets, the first in the lowest byte. A test answers with the high bit of every octet found;
//! only the lowest one of them is meant, as carries may disturb those above.

use super::simd::{BLOCK_BYTES, Baseline, Vector};

/// Octets of a word.
const WORD_BYTES: usize = 8;
/// One octet in every place.
const ONES: u64 = u64::MAX / 255;
/// The high bit of every octet.
const HIGH: u64 = ONES * 0x80;

#[inline(always)]
fn first(found: u64) -> usize {
    found.trailing_zeros() as usize / 8
}

/// Marks controls, HTAB and DEL among them; and, wrongly, `~` after an octet FF.
#[inline(always)]
fn controls(word: u64) -> u64 {
    (word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)) & !word & HIGH
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
    let mut rest = bytes.get(from..).unwrap_or_default();
    while let Some((block, next)) = rest.split_first_chunk() {
        let found = Baseline.outside(block, b'!');
        if found != 0 {
            return bytes.len() - rest.len() + found.trailing_zeros() as usize;
        }
        rest = next;
    }
    bytes.len() - rest.len() + last_invisible(rest, bytes)
}

/// The same in the end of `bytes` that is less than a block: looks at the last block, or at each octet.
#[inline(always)]
fn last_invisible(rest: &[u8], bytes: &[u8]) -> usize {
    let Some(block) = bytes.last_chunk() else {
        return rest.iter().position(|octet| !octet.is_ascii_graphic()).unwrap_or(rest.len());
    };
    let before = BLOCK_BYTES - rest.len();
    let found = u64::from(Baseline.outside(block, b'!')) >> before;
    rest.len().min(found.trailing_zeros() as usize)
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
    }
}
