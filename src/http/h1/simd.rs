//! Tests sixteen octets at once; the answer has one bit for each octet, the first in the lowest.
//!
//! On x86-64 these are SSE2 instructions, which every processor of that architecture has; elsewhere the same tests on
//! two words. This is the one file outside `runtime/` that says `unsafe`: the language wants it where a function made
//! for a processor feature is called from one that was not.

#[cfg(target_arch = "x86_64")]
use sse2 as vector;
#[cfg(not(target_arch = "x86_64"))]
use words as vector;

/// Octets tested at once.
pub(super) type Chunk = [u8; 16];

/// Octets that are `octet`.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_unsafe, reason = "no processor feature is needed"))]
pub(super) fn equal(chunk: &Chunk, octet: u8) -> u32 {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { vector::equal(chunk, octet) }
}

/// Octets that are not in `least..=b'~'`; `least` is printable.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_unsafe, reason = "no processor feature is needed"))]
pub(super) fn outside(chunk: &Chunk, least: u8) -> u32 {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { vector::outside(chunk, least) }
}

/// Octets that are neither letter, digit nor hyphen.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_unsafe, reason = "no processor feature is needed"))]
pub(super) fn unusual_in_name(chunk: &Chunk) -> u32 {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { vector::unusual_in_name(chunk) }
}

/// The chunk as little-endian words.
#[inline(always)]
pub(super) fn split(chunk: &Chunk) -> [u64; 2] {
    let both = u128::from_le_bytes(*chunk);
    [both as u64, (both >> 64) as u64]
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::*;

    use super::{Chunk, split};

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn equal(chunk: &Chunk, octet: u8) -> u32 {
        marks(_mm_cmpeq_epi8(load(chunk), all(octet)))
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn outside(chunk: &Chunk, least: u8) -> u32 {
        // Of signed octets: DEL becomes the least there is, and all beyond stay below the printable ones.
        let next = _mm_add_epi8(load(chunk), all(1));
        marks(_mm_cmpgt_epi8(all(least + 1), next))
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn unusual_in_name(chunk: &Chunk) -> u32 {
        let octets = load(chunk);
        let lower = _mm_or_si128(octets, all(0x20));
        let letter = within(lower, b'a', 25);
        let digit = within(octets, b'0', 9);
        let hyphen = _mm_cmpeq_epi8(octets, all(b'-'));
        !marks(_mm_or_si128(_mm_or_si128(letter, digit), hyphen)) & 0xFFFF
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn within(octets: __m128i, first: u8, span: u8) -> __m128i {
        let place = _mm_sub_epi8(octets, all(first));
        _mm_cmpeq_epi8(_mm_min_epu8(place, all(span)), place)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn load(chunk: &Chunk) -> __m128i {
        let [low, high] = split(chunk);
        _mm_set_epi64x(high as i64, low as i64)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn all(octet: u8) -> __m128i {
        _mm_set1_epi8(octet as i8)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn marks(octets: __m128i) -> u32 {
        _mm_movemask_epi8(octets) as u32
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    use super::{Chunk, split};

    /// One octet in every place.
    const ONES: u64 = u64::MAX / 255;
    /// The high bit of every octet.
    const HIGH: u64 = ONES * 0x80;

    #[inline(always)]
    pub(super) fn equal(chunk: &Chunk, octet: u8) -> u32 {
        test(chunk, |word| !at_least(word ^ (ONES * u64::from(octet)), 1))
    }

    #[inline(always)]
    pub(super) fn outside(chunk: &Chunk, least: u8) -> u32 {
        test(chunk, |word| !at_least(word, least) | at_least(word, 0x7F))
    }

    #[inline(always)]
    pub(super) fn unusual_in_name(chunk: &Chunk) -> u32 {
        let within = |word, first, last| at_least(word, first) & !at_least(word, last + 1);
        test(chunk, |word| {
            let letter = within(word | (ONES * 0x20), b'a', b'z');
            !(letter | within(word, b'0', b'9') | within(word, b'-', b'-'))
        })
    }

    /// Sets the high bit of every octet that is at least `limit`, which is between 1 and 80 hexadecimal.
    #[inline(always)]
    fn at_least(word: u64, limit: u8) -> u64 {
        // No octet carries into the next one.
        ((word & !HIGH) + ONES * u64::from(0x80 - limit)) | word
    }

    #[inline(always)]
    fn test(chunk: &Chunk, marks: impl Fn(u64) -> u64) -> u32 {
        // The product gathers the eight high bits in the highest octet.
        let gather = |word: u64| ((marks(word) & HIGH) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        let [low, high] = split(chunk).map(gather);
        (high << 8 | low) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expected(chunk: &Chunk, class: impl Fn(u8) -> bool) -> u32 {
        chunk.iter().enumerate().map(|(place, &octet)| u32::from(class(octet)) << place).sum()
    }

    fn check(chunk: &Chunk) {
        for octet in [b':', b'\r', b'~'] {
            let equals = expected(chunk, |other| other == octet);
            assert_eq!((equal(chunk, octet), words::equal(chunk, octet)), (equals, equals));
        }
        for least in [b' ', b'!'] {
            let out = expected(chunk, |octet| !(least..=b'~').contains(&octet));
            assert_eq!((outside(chunk, least), words::outside(chunk, least)), (out, out));
        }
        let unusual = expected(chunk, |octet| !octet.is_ascii_alphanumeric() && octet != b'-');
        assert_eq!((unusual_in_name(chunk), words::unusual_in_name(chunk)), (unusual, unusual));
    }

    #[test]
    fn every_octet_is_told_from_its_neighbours_at_every_place() {
        for octet in 0..=u8::MAX {
            for (place, filler) in (0..16).flat_map(|place| [(place, b'a'), (place, 0), (place, 0xFF)]) {
                let mut chunk = [filler; 16];
                chunk[place] = octet;
                check(&chunk);
            }
        }
    }

    proptest! {
        #[test]
        fn all_places_are_tested_at_once(chunk in any::<[u8; 16]>()) {
            check(&chunk);
        }
    }
}
