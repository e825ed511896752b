//! Names of up to fifteen octets, with their colon, as two words: found and compared without a loop.

use super::simd::{Chunk, split, unusual_in_name};
use crate::http::header::KnownName;

/// The longest name that fits with its colon.
pub(super) const SHORT_NAME_BYTES_MAX: usize = 15;

/// A lower-case name and its colon as little-endian words, and which of its octets are letters, whose case does not count.
#[derive(Clone, Copy)]
struct ShortName {
    name: KnownName,
    text: [u64; 2],
    case: [u64; 2],
}

/// The case bit of every letter.
const CASE: u64 = u64::MAX / 255 * 0x20;
const COUNT: usize = KnownName::ALL.len();
const SLOT_BITS: u32 = 10;
const SLOTS: usize = 1 << SLOT_BITS;
/// Marks an empty slot.
const EMPTY: u8 = u8::MAX;
/// Stands for a longer name: equal to no short one.
const TOO_LONG: [u64; 2] = [u64::MAX; 2];

/// The known names by number; a longer one matches nothing.
static NAMES: [ShortName; COUNT] = short_names();
/// Spreads the known names over the slots without a collision; found at compile time.
const MULTIPLIER: u64 = find_multiplier();
/// Maps the hash of a name to its number.
static TABLE: [u8; SLOTS] = build_table(MULTIPLIER);
/// Keeps a name of so many octets and its colon.
static KEEP: [[u64; 2]; SHORT_NAME_BYTES_MAX + 1] = keep_masks();

/// The name, in any case, whose `length` octets and colon begin `chunk`: its number if it is a known one; nothing at
/// all unless it consists of letters, digits and hyphens.
#[inline(always)]
pub(super) fn short_name(chunk: &Chunk, length: usize) -> Option<Option<KnownName>> {
    let keep = &KEEP[length % KEEP.len()];
    let words = split(chunk);
    let name = [words[0] & keep[0], words[1] & keep[1]];
    if let Some(entry) = NAMES.get(usize::from(TABLE[slot(name, MULTIPLIER)]))
        && name[0] | entry.case[0] == entry.text[0]
        && name[1] | entry.case[1] == entry.text[1]
    {
        return Some(Some(entry.name));
    }
    let usual = unusual_in_name(chunk).trailing_zeros() as usize >= length;
    if usual { Some(None) } else { None }
}

#[inline(always)]
const fn slot(name: [u64; 2], multiplier: u64) -> usize {
    let mixed = (name[0] ^ name[1].rotate_left(8) | CASE).wrapping_mul(multiplier);
    (mixed >> (64 - SLOT_BITS)) as usize
}

const fn short_names() -> [ShortName; COUNT] {
    let mut names = [words_of(KnownName::ALL[0]); COUNT];
    let mut number = 0;
    while number < COUNT {
        names[number] = words_of(KnownName::ALL[number]);
        number += 1;
    }
    names
}

const fn words_of(known: KnownName) -> ShortName {
    let text = known.text().as_bytes();
    let mut name = ShortName { name: known, text: [0; 2], case: [0; 2] };
    if text.len() > SHORT_NAME_BYTES_MAX {
        name.text = TOO_LONG;
        return name;
    }
    let mut at = 0;
    while at < text.len() {
        let shift = at % 8 * 8;
        name.text[at / 8] |= (text[at] as u64) << shift;
        if text[at].is_ascii_lowercase() {
            name.case[at / 8] |= 0x20 << shift;
        }
        at += 1;
    }
    name.text[at / 8] |= (b':' as u64) << (at % 8 * 8);
    name
}

const fn keep_masks() -> [[u64; 2]; SHORT_NAME_BYTES_MAX + 1] {
    let mut masks = [[0; 2]; SHORT_NAME_BYTES_MAX + 1];
    let mut length = 0;
    while length <= SHORT_NAME_BYTES_MAX {
        let mask = u128::MAX >> (120 - length * 8);
        masks[length] = [mask as u64, (mask >> 64) as u64];
        length += 1;
    }
    masks
}

const fn find_multiplier() -> u64 {
    let names = short_names();
    let mut multiplier: u64 = 0x9E37_79B9_7F4A_7C15;
    while collides(&names, multiplier) {
        multiplier = multiplier.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(2);
    }
    multiplier
}

const fn collides(names: &[ShortName; COUNT], multiplier: u64) -> bool {
    let mut taken = [0_u64; SLOTS / 64];
    let mut number = 0;
    while number < COUNT {
        let at = slot(names[number].text, multiplier);
        if names[number].text[1] != TOO_LONG[1] {
            if taken[at / 64] >> (at % 64) & 1 == 1 {
                return true;
            }
            taken[at / 64] |= 1 << (at % 64);
        }
        number += 1;
    }
    false
}

const fn build_table(multiplier: u64) -> [u8; SLOTS] {
    let names = short_names();
    let mut table = [EMPTY; SLOTS];
    let mut number = 0;
    while number < COUNT {
        if names[number].text[1] != TOO_LONG[1] {
            table[slot(names[number].text, multiplier)] = number as u8;
        }
        number += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &[u8]) -> Option<KnownName> {
        let mut line = name.to_vec();
        line.extend_from_slice(b": and whatever follows");
        short_name(line.first_chunk().unwrap(), name.len()).flatten()
    }

    #[test]
    fn every_short_known_name_is_found_in_any_case() {
        for &known in KnownName::ALL.iter().filter(|known| known.text().len() <= SHORT_NAME_BYTES_MAX) {
            assert_eq!(find(known.text().as_bytes()), Some(known));
            assert_eq!(find(known.text().to_ascii_uppercase().as_bytes()), Some(known));
        }
    }

    #[test]
    fn a_name_that_differs_in_one_octet_is_not_taken_for_a_known_one() {
        for &known in KnownName::ALL.iter().filter(|known| known.text().len() <= SHORT_NAME_BYTES_MAX) {
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
    fn nul_octets_do_not_count_as_the_end_of_a_name() {
        assert_eq!(find(b"host\0"), None);
        assert_eq!(find(b"content-length\0"), None);
    }
}
