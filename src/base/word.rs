//! Short texts as words: hashed, compared and searched a word at a time, without a call.

/// A text of at most [`SHORT_MAX`] octets as two words, which differ for different texts of the same length.
pub(crate) type Words = [u64; 2];

/// The longest text that two words hold.
const SHORT_MAX: usize = 16;

/// The text as words, unless it is longer. Of most lengths the words overlap.
#[inline(always)]
pub(crate) fn words(text: &[u8]) -> Option<Words> {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return (text.len() <= SHORT_MAX).then(|| [u64::from_le_bytes(*first), u64::from_le_bytes(*last)]);
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return Some([u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()]);
    }
    Some(match text {
        [] => [0; 2],
        [first, ..] => [u64::from(*first), u64::from(text[text.len() / 2]) << 8 | u64::from(text[text.len() - 1])],
    })
}

/// Whether `text` begins with `start`.
#[inline(always)]
pub(crate) fn begins_with(text: &[u8], start: &[u8]) -> bool {
    let Some(beginning) = text.get(..start.len()) else { return false };
    match (words(beginning), words(start)) {
        (Some(beginning), Some(start)) => beginning == start,
        _ => beginning == start,
    }
}

/// Octets of a word.
const WORD_BYTES: usize = 8;
/// One octet in every place.
const ONES: u64 = u64::MAX / 255;
/// The high bit of every octet.
const HIGH: u64 = ONES * 0x80;

/// The place of the first `octet` at or behind `from`, or the length.
#[inline(always)]
pub(crate) fn position(text: &[u8], from: usize, octet: u8) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let (chunks, tail) = rest.as_chunks();
    let mut at = from;
    for chunk in chunks {
        let found = equal(u64::from_le_bytes(*chunk), octet);
        if found != 0 {
            return at + first(found);
        }
        at += WORD_BYTES;
    }
    let Some(last) = text.last_chunk() else {
        return at + tail.iter().take_while(|other| **other != octet).count();
    };
    // What is before the tail is shifted out, and what comes in is not looked for: its place is the length.
    let last = u64::from_le_bytes(*last);
    let shifted = last.checked_shr((WORD_BYTES * (WORD_BYTES - tail.len())) as u32).unwrap_or(0);
    let found = equal(shifted, octet);
    if found == 0 { text.len() } else { text.len().min(at + first(found)) }
}

/// Marks the high bit of every octet that is `octet`. Carries may mark others behind the first one.
#[inline(always)]
fn equal(word: u64, octet: u8) -> u64 {
    let difference = word ^ (ONES * u64::from(octet));
    difference.wrapping_sub(ONES) & !difference & HIGH
}

/// The place of the first mark.
#[inline(always)]
fn first(marks: u64) -> usize {
    marks.trailing_zeros() as usize / WORD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_tell_texts_of_the_same_length_apart() {
        for length in 0..=SHORT_MAX {
            let plain = vec![b'a'; length];
            for place in 0..length {
                let mut text = plain.clone();
                text[place] = b'b';
                assert_ne!(words(&text), words(&plain), "{length} {place}");
            }
            assert!(words(&plain).is_some());
        }
        assert_eq!(words(&[b'a'; SHORT_MAX + 1]), None);
    }

    proptest! {
        #[test]
        fn an_octet_is_found_where_it_stands(text in "[/.0a\\x00]{0,40}", from in 0usize..40, octet in "[/?\\x00]") {
            let (text, octet) = (text.as_bytes(), octet.as_bytes()[0]);
            prop_assume!(from <= text.len());
            let behind = text[from..].iter().position(|other| *other == octet);
            prop_assert_eq!(position(text, from, octet), behind.map_or(text.len(), |place| from + place));
        }

        #[test]
        fn a_beginning_is_what_the_standard_library_says(text in "[ab]{0,40}", start in "[ab]{0,3}", more in 0usize..40) {
            let own = &text[..more.min(text.len())];
            for start in [own, &start, &format!("{own}{start}")] {
                prop_assert_eq!(begins_with(text.as_bytes(), start.as_bytes()), text.starts_with(start));
            }
        }
    }
}
