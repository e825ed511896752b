//! Tests 32 octets at once; an answer has one bit for each octet, the first in the lowest.
//!
//! On x86-64 by AVX2 where the processor has it, else by SSE2, which every processor of that architecture has;
//! elsewhere the same tests on words. This is the one file outside `runtime/` that says `unsafe`: the language wants it
//! where a function made for a processor feature is called from one that was not, and where a vector is loaded.

/// Octets tested at once.
pub(super) const BLOCK_BYTES: usize = 32;
pub(super) type Block = [u8; BLOCK_BYTES];

/// What a block may look like: the octets that `mask` keeps are those of `text`.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Pattern {
    pub(super) mask: Block,
    pub(super) text: Block,
}

/// Instructions that test a block; a value of the type says that the processor has them.
pub(super) trait Vector: Copy {
    /// Octets that are `octet`.
    fn equal(self, block: &Block, octet: u8) -> u32;
    /// Octets that are not in `least..=b'~'`; `least` is printable.
    fn outside(self, block: &Block, least: u8) -> u32;
    /// Octets that are neither letter, digit nor hyphen.
    fn unusual_in_name(self, block: &Block) -> u32;
    /// Whether the block looks like this.
    fn fits(self, block: &Block, pattern: &Pattern) -> bool;
}

/// Work that is compiled for each kind of vector. `run` and all it calls must be inlined always.
pub(super) trait Work {
    type Output;
    fn run<V: Vector>(self, vector: V) -> Self::Output;
}

/// Does the work with the widest vectors the processor has.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn with_widest<W: Work>(work: W) -> W::Output {
    if avx2::is_here() {
        // SAFETY: the processor has just been found to have what this is made for.
        return unsafe { avx2::run(work) };
    }
    with_baseline(work)
}

#[inline(never)]
fn with_baseline<W: Work>(work: W) -> W::Output {
    work.run(Baseline)
}

/// Does the work with the only vectors there are.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn with_widest<W: Work>(work: W) -> W::Output {
    with_baseline(work)
}

/// What every processor of the architecture has: for what is not worth a choice.
#[cfg(target_arch = "x86_64")]
pub(super) use sse2::Sse2 as Baseline;
#[cfg(not(target_arch = "x86_64"))]
pub(super) use words::Words as Baseline;
#[cfg(test)]
pub(super) use words::Words;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::{BLOCK_BYTES, Block, Pattern, Vector, Work};

    /// One vector for a block. Made only where the processor has AVX2.
    #[derive(Clone, Copy)]
    pub(super) struct Avx2(());

    #[cfg(test)]
    impl Avx2 {
        /// The vectors, if the processor has them.
        pub(super) fn detect() -> Option<Self> {
            is_here().then_some(Self(()))
        }
    }

    /// What is known of the processor.
    static FOUND: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    const LACKING: u8 = 1;
    const HERE: u8 = 2;

    /// Whether the processor has AVX2 and what came with it.
    #[inline(always)]
    pub(super) fn is_here() -> bool {
        match FOUND.load(Ordering::Relaxed) {
            UNKNOWN => detect(),
            found => found == HERE,
        }
    }

    #[cold]
    fn detect() -> bool {
        let here = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        FOUND.store(if here { HERE } else { LACKING }, Ordering::Relaxed);
        here
    }

    /// Does the work by AVX2.
    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
    pub(super) fn run<W: Work>(work: W) -> W::Output {
        work.run(Avx2(()))
    }

    /// For each low half of an octet, twice over: one bit for each high half with which it is usual in a name.
    static USUAL_HIGHS: Block = usual_highs();
    /// For each high half below eight its bit, twice over.
    static BITS: Block = bits();

    const fn usual_highs() -> Block {
        let mut table = [0; BLOCK_BYTES];
        let mut octet = 0;
        while octet < 128_u8 {
            if octet.is_ascii_alphanumeric() || octet == b'-' {
                let low = octet as usize % 16;
                table[low] |= 1 << (octet / 16);
                table[low + 16] = table[low];
            }
            octet += 1;
        }
        table
    }

    const fn bits() -> Block {
        let mut table = [0; BLOCK_BYTES];
        let mut high = 0;
        while high < 8 {
            table[high] = 1 << high;
            table[high + 16] = table[high];
            high += 1;
        }
        table
    }

    impl Vector for Avx2 {
        #[inline(always)]
        fn equal(self, block: &Block, octet: u8) -> u32 {
            // SAFETY: `self` says that the processor has AVX2.
            unsafe { marks(_mm256_cmpeq_epi8(load(block), all(octet))) }
        }

        #[inline(always)]
        fn outside(self, block: &Block, least: u8) -> u32 {
            // Of signed octets: DEL becomes the least there is, and all beyond stay below the printable ones.
            // SAFETY: `self` says that the processor has AVX2.
            unsafe { marks(_mm256_cmpgt_epi8(all(least + 1), _mm256_add_epi8(load(block), all(1)))) }
        }

        #[inline(always)]
        fn unusual_in_name(self, block: &Block) -> u32 {
            // SAFETY: `self` says that the processor has AVX2.
            unsafe {
                let octets = load(block);
                // An octet beyond US-ASCII finds nothing in the first table.
                let highs = _mm256_shuffle_epi8(load(&USUAL_HIGHS), octets);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(octets), all(0x0F));
                let usual = _mm256_and_si256(highs, _mm256_shuffle_epi8(load(&BITS), high));
                marks(_mm256_cmpeq_epi8(usual, all(0)))
            }
        }

        #[inline(always)]
        fn fits(self, block: &Block, pattern: &Pattern) -> bool {
            // SAFETY: `self` says that the processor has AVX2.
            unsafe {
                let kept = _mm256_and_si256(load(block), load(&pattern.mask));
                let wrong = _mm256_xor_si256(kept, load(&pattern.text));
                _mm256_testz_si256(wrong, wrong) == 1
            }
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(block: &Block) -> __m256i {
        // SAFETY: a block has the octets of a vector, and this load asks for no alignment.
        unsafe { _mm256_loadu_si256(block.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn all(octet: u8) -> __m256i {
        _mm256_set1_epi8(octet as i8)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn marks(octets: __m256i) -> u32 {
        _mm256_movemask_epi8(octets) as u32
    }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::*;

    use super::{Block, Pattern, Vector};

    /// Two vectors for a block.
    #[derive(Clone, Copy)]
    pub(in crate::http::h1) struct Sse2;

    impl Vector for Sse2 {
        #[inline(always)]
        fn equal(self, block: &Block, octet: u8) -> u32 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { marks(load(block).map(|half| _mm_cmpeq_epi8(half, all(octet)))) }
        }

        #[inline(always)]
        fn outside(self, block: &Block, least: u8) -> u32 {
            // As above.
            // SAFETY: SSE2 is part of x86-64.
            unsafe { marks(load(block).map(|half| _mm_cmpgt_epi8(all(least + 1), _mm_add_epi8(half, all(1))))) }
        }

        #[inline(always)]
        fn unusual_in_name(self, block: &Block) -> u32 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { !marks(load(block).map(|half| usual_in_name(half))) }
        }

        #[inline(always)]
        fn fits(self, block: &Block, pattern: &Pattern) -> bool {
            // SAFETY: SSE2 is part of x86-64.
            unsafe {
                let ([low, high], mask, text) = (load(block), load(&pattern.mask), load(&pattern.text));
                let low = _mm_cmpeq_epi8(_mm_and_si128(low, mask[0]), text[0]);
                let high = _mm_cmpeq_epi8(_mm_and_si128(high, mask[1]), text[1]);
                marks([low, high]) == u32::MAX
            }
        }
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn usual_in_name(octets: __m128i) -> __m128i {
        let letter = within(_mm_or_si128(octets, all(0x20)), b'a', 25);
        let digit = within(octets, b'0', 9);
        let hyphen = _mm_cmpeq_epi8(octets, all(b'-'));
        _mm_or_si128(_mm_or_si128(letter, digit), hyphen)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn within(octets: __m128i, first: u8, span: u8) -> __m128i {
        let place = _mm_sub_epi8(octets, all(first));
        _mm_cmpeq_epi8(_mm_min_epu8(place, all(span)), place)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn load(block: &Block) -> [__m128i; 2] {
        let (halves, _) = block.as_chunks::<16>();
        // SAFETY: a half has the octets of a vector, and this load asks for no alignment.
        unsafe { [_mm_loadu_si128(halves[0].as_ptr().cast()), _mm_loadu_si128(halves[1].as_ptr().cast())] }
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn all(octet: u8) -> __m128i {
        _mm_set1_epi8(octet as i8)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn marks(halves: [__m128i; 2]) -> u32 {
        let [low, high] = halves;
        (_mm_movemask_epi8(high) as u32) << 16 | _mm_movemask_epi8(low) as u32
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    use super::{Block, Pattern, Vector};

    /// One octet in every place.
    const ONES: u64 = u64::MAX / 255;
    /// The high bit of every octet.
    const HIGH: u64 = ONES * 0x80;

    /// Four words for a block.
    #[derive(Clone, Copy)]
    pub(in crate::http::h1) struct Words;

    impl Vector for Words {
        #[inline(always)]
        fn equal(self, block: &Block, octet: u8) -> u32 {
            marks(block, |word| !at_least(word ^ (ONES * u64::from(octet)), 1))
        }

        #[inline(always)]
        fn outside(self, block: &Block, least: u8) -> u32 {
            marks(block, |word| !at_least(word, least) | at_least(word, 0x7F))
        }

        #[inline(always)]
        fn unusual_in_name(self, block: &Block) -> u32 {
            let within = |word, first, last| at_least(word, first) & !at_least(word, last + 1);
            marks(block, |word| {
                let letter = within(word | (ONES * 0x20), b'a', b'z');
                !(letter | within(word, b'0', b'9') | within(word, b'-', b'-'))
            })
        }

        #[inline(always)]
        fn fits(self, block: &Block, pattern: &Pattern) -> bool {
            let ((octets, _), (mask, _), (text, _)) =
                (block.as_chunks::<8>(), pattern.mask.as_chunks::<8>(), pattern.text.as_chunks::<8>());
            let word = |chunk: &[u8; 8]| u64::from_le_bytes(*chunk);
            let pairs = octets.iter().zip(mask).zip(text);
            pairs.fold(0, |wrong, ((octets, mask), text)| wrong | (word(octets) & word(mask)) ^ word(text)) == 0
        }
    }

    /// Sets the high bit of every octet that is at least `limit`, which is between 1 and 80 hexadecimal.
    #[inline(always)]
    fn at_least(word: u64, limit: u8) -> u64 {
        // No octet carries into the next one.
        ((word & !HIGH) + ONES * u64::from(0x80 - limit)) | word
    }

    #[inline(always)]
    fn marks(block: &Block, marks: impl Fn(u64) -> u64) -> u32 {
        let (words, _) = block.as_chunks::<8>();
        words.iter().rev().fold(0, |found, word| {
            // The product gathers the eight high bits in the highest octet.
            let gathered = ((marks(u64::from_le_bytes(*word)) & HIGH) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            found << 8 | gathered as u32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expected(block: &Block, class: impl Fn(u8) -> bool) -> u32 {
        block.iter().enumerate().map(|(place, &octet)| u32::from(class(octet)) << place).sum()
    }

    fn check_by(vector: impl Vector, block: &Block) {
        for octet in [b':', b'\r', b'~'] {
            assert_eq!(vector.equal(block, octet), expected(block, |other| other == octet));
        }
        for least in [b' ', b'!'] {
            assert_eq!(vector.outside(block, least), expected(block, |octet| !(least..=b'~').contains(&octet)));
        }
        let unusual = |octet: u8| !octet.is_ascii_alphanumeric() && octet != b'-';
        assert_eq!(vector.unusual_in_name(block), expected(block, unusual));
        let (mask, text) = ([0xDF; BLOCK_BYTES], block.map(|octet| octet & 0xDF));
        assert!(vector.fits(block, &Pattern { mask, text }));
        for place in 0..BLOCK_BYTES {
            let mut pattern = Pattern { mask, text };
            pattern.text[place] ^= 1;
            assert!(!vector.fits(block, &pattern));
            pattern.mask[place] = 0;
            pattern.text[place] = 0;
            assert!(vector.fits(block, &pattern));
        }
    }

    fn check(block: &Block) {
        check_by(Baseline, block);
        check_by(Words, block);
        #[cfg(target_arch = "x86_64")]
        if let Some(vector) = avx2::Avx2::detect() {
            check_by(vector, block);
        }
    }

    #[test]
    fn every_octet_is_told_from_its_neighbours_at_every_place() {
        for octet in 0..=u8::MAX {
            for (place, filler) in (0..BLOCK_BYTES).flat_map(|place| [(place, b'a'), (place, 0), (place, 0xFF)]) {
                let mut block = [filler; BLOCK_BYTES];
                block[place] = octet;
                check(&block);
            }
        }
    }

    proptest! {
        #[test]
        fn all_places_are_tested_at_once(block in any::<[u8; BLOCK_BYTES]>()) {
            check(&block);
        }
    }
}
