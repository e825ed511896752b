//! Finds the octets that end a token, a target or a value, eight at a time.
//!
//! A word holds eight octets, the first in the lowest byte. A test answers with the high bit of every octet found;
//! only the lowest one of them is meant, as carries may disturb those above.

use super::simd::{Chunk, outside};

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

/// Two chunks, tested one after the other.
type Pair = [u8; 32];

/// The place of the first octet that is not in `least..=b'~'`, or the length. `least` is printable; `window` is what
/// `bytes` is the end of.
#[inline(always)]
fn first_outside(bytes: &[u8], window: &[u8], least: u8) -> usize {
    let mut rest = bytes;
    while let Some((pair, next)) = rest.split_first_chunk() {
        let found = pair_outside(pair, least);
        if found != 0 {
            return bytes.len() - rest.len() + found.trailing_zeros() as usize;
        }
        rest = next;
    }
    bytes.len() - rest.len() + last_outside(rest, window, least)
}

#[inline(always)]
fn pair_outside(pair: &Pair, least: u8) -> u32 {
    let [low, high] = halves(pair);
    outside(high, least) << 16 | outside(low, least)
}

#[inline(always)]
fn halves(pair: &Pair) -> [&Chunk; 2] {
    let (chunks, _) = pair.as_chunks();
    [&chunks[0], &chunks[1]]
}

/// The same where fewer octets than a pair are left: looks at the last pair of the window, or at each of them.
#[inline(never)]
fn last_outside(rest: &[u8], window: &[u8], least: u8) -> usize {
    let Some(pair) = window.last_chunk::<32>() else {
        return rest.iter().position(|octet| !(least..=b'~').contains(octet)).unwrap_or(rest.len());
    };
    let before = pair.len() - rest.len();
    let found = u64::from(pair_outside(pair, least)) >> before;
    rest.len().min(found.trailing_zeros() as usize)
}

/// The length of what begins `bytes` and is printable US-ASCII; `window` is what `bytes` is the end of.
#[inline(always)]
pub(super) fn usual_value_length(bytes: &[u8], window: &[u8]) -> usize {
    first_outside(bytes, window, b' ')
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
    from + first_outside(bytes.get(from..).unwrap_or_default(), bytes, b'!')
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
            prop_assert_eq!(from + usual_value_length(&bytes[from..], &bytes), expected(unusual));
        }
    }
}
