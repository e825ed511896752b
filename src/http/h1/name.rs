//! The known names as patterns of one block: found by a few of their octets, compared at once.

use super::simd::{BLOCK_BYTES, Block, Pattern, Vector};
use crate::http::header::KnownName;

/// The shortest name that is looked for here.
pub(super) const NAME_BYTES_MIN: usize = 3;

/// Octets at the end of a name of which, with its length, no two known names have the same.
const LAST_BYTES: usize = NAME_BYTES_MIN;
/// The case bit of a letter.
const CASE: u8 = 0x20;
const COUNT: usize = KnownName::ALL.len();
const SLOT_BITS: u32 = 9;
const SLOTS: usize = 1 << SLOT_BITS;

/// Spreads the known names over the slots without a collision; found at compile time.
const MULTIPLIER: u32 = find_multiplier();
/// What is looked up, in one place.
static NAMES: Names = Names { slots: slots(MULTIPLIER), patterns: patterns() };

struct Names {
    /// For the hash of a name the one known name that it can be. A slot that no known name has names any.
    slots: [KnownName; SLOTS],
    /// Each known name with its colon and a space; the case of its letters does not count, nor what stands behind.
    patterns: [Pattern; COUNT],
}

/// The known name, in any case, that begins `block` before its first colon, if a space follows that. `length` is where
/// the colon stands, at least at [`NAME_BYTES_MIN`].
#[inline(always)]
pub(super) fn known_name(vector: impl Vector, block: &Block, length: usize) -> Option<KnownName> {
    let last = *block.get(length - LAST_BYTES..)?.first_chunk()?;
    let known = NAMES.slots[slot(last, length, MULTIPLIER)];
    vector.fits(block, &NAMES.patterns[known as usize]).then_some(known)
}

/// The slot of a name of `length` octets that ends with `last`, its colon included.
#[inline(always)]
const fn slot(last: [u8; LAST_BYTES + 1], length: usize, multiplier: u32) -> usize {
    const CASES: u32 = u32::from_le_bytes([CASE; 4]);
    let octets = u32::from_le_bytes(last) | CASES;
    let mixed = octets.wrapping_add(length as u32 * 8).wrapping_mul(multiplier);
    (mixed >> (u32::BITS - SLOT_BITS)) as usize
}

/// The slot of a known name, unless it is too short.
const fn slot_of(name: KnownName, multiplier: u32) -> Option<usize> {
    match name.text().as_bytes() {
        [.., a, b, c] => Some(slot([*a, *b, *c, b':'], name.text().len(), multiplier)),
        _ => None,
    }
}

const fn patterns() -> [Pattern; COUNT] {
    let mut patterns = [Pattern { mask: [0; BLOCK_BYTES], text: [0; BLOCK_BYTES] }; COUNT];
    let mut number = 0;
    while number < COUNT {
        patterns[number] = pattern(KnownName::ALL[number].text().as_bytes());
        number += 1;
    }
    patterns
}

const fn pattern(name: &[u8]) -> Pattern {
    assert!(name.len() + 2 <= BLOCK_BYTES, "a known name fits a block with its colon and a space");
    let mut pattern = Pattern { mask: [0; BLOCK_BYTES], text: [0; BLOCK_BYTES] };
    let mut at = 0;
    while at < name.len() {
        pattern.mask[at] = if name[at].is_ascii_lowercase() { !CASE } else { u8::MAX };
        pattern.text[at] = name[at] & pattern.mask[at];
        at += 1;
    }
    pattern.mask[at] = u8::MAX;
    pattern.text[at] = b':';
    pattern.mask[at + 1] = u8::MAX;
    pattern.text[at + 1] = b' ';
    pattern
}

const fn find_multiplier() -> u32 {
    let mut multiplier: u32 = 0x9E37_79B9;
    while collides(multiplier) {
        multiplier = multiplier.wrapping_mul(0x0019_660D).wrapping_add(0x3C6E_F35E);
    }
    multiplier
}

const fn collides(multiplier: u32) -> bool {
    let mut taken = [false; SLOTS];
    let mut number = 0;
    while number < COUNT {
        if let Some(at) = slot_of(KnownName::ALL[number], multiplier) {
            if taken[at] {
                return true;
            }
            taken[at] = true;
        }
        number += 1;
    }
    false
}

const fn slots(multiplier: u32) -> [KnownName; SLOTS] {
    let mut slots = [KnownName::ALL[0]; SLOTS];
    let mut number = 0;
    while number < COUNT {
        if let Some(at) = slot_of(KnownName::ALL[number], multiplier) {
            slots[at] = KnownName::ALL[number];
        }
        number += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::simd::Baseline;

    fn find(name: &[u8]) -> Option<KnownName> {
        let mut line = name.to_vec();
        line.extend_from_slice(b": and whatever follows, up to a block");
        known_name(Baseline, line.first_chunk().unwrap(), name.len())
    }

    fn not_too_short() -> impl Iterator<Item = KnownName> {
        KnownName::ALL.iter().copied().filter(|known| known.text().len() >= NAME_BYTES_MIN)
    }

    #[test]
    fn every_known_name_that_is_not_too_short_is_found_in_any_case() {
        for known in not_too_short() {
            assert_eq!(find(known.text().as_bytes()), Some(known));
            assert_eq!(find(known.text().to_ascii_uppercase().as_bytes()), Some(known));
        }
        assert_eq!(not_too_short().count(), KnownName::ALL.len() - 1);
    }

    #[test]
    fn a_name_that_differs_in_one_octet_is_not_taken_for_a_known_one() {
        for known in not_too_short() {
            for at in 0..known.text().len() {
                for octet in 0..=u8::MAX {
                    let mut name = known.text().as_bytes().to_vec();
                    name[at] = octet;
                    assert_eq!(find(&name), KnownName::of(&name), "{name:?}");
                }
            }
        }
    }

    #[test]
    fn a_known_name_is_not_found_without_the_colon_and_space_behind_it() {
        for (line, length) in [("host:a", 4), ("hosts: a", 5), ("ghost: a", 5), ("hos: a", 3), ("host\t: a", 5)] {
            let line = format!("{line:<32}");
            assert_eq!(known_name(Baseline, line.as_bytes().first_chunk().unwrap(), length), None, "{line}");
        }
    }

    #[test]
    fn a_name_that_only_begins_with_a_known_one_is_another_even_in_its_slot() {
        let mut tried = 0;
        for known in not_too_short().filter(|known| known.text().len() + 7 <= BLOCK_BYTES) {
            let taken = slot_of(known, MULTIPLIER).unwrap();
            for (a, b) in (b'a'..=b'z').flat_map(|a| (b'a'..=b'z').map(move |b| (a, b))) {
                let length = known.text().len() + 5;
                if slot([b'-', a, b, b':'], length, MULTIPLIER) == taken {
                    tried += 1;
                    for between in ["x ", "--", " \t"] {
                        let line = format!("{}{between}-{}{}: value", known.text(), char::from(a), char::from(b));
                        let line = format!("{line:<32}");
                        assert_eq!(
                            known_name(Baseline, line.as_bytes().first_chunk().unwrap(), length),
                            None,
                            "{line}"
                        );
                    }
                }
            }
        }
        assert!(tried > 10, "{tried}");
    }

    #[test]
    fn nul_octets_do_not_count_as_the_end_of_a_name() {
        assert_eq!(find(b"host\0"), None);
        assert_eq!(find(b"content-length\0"), None);
    }
}
