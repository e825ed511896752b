//! Looks at many octets at once, each beside the one behind it.
//!
//! The widths are those of whole and half a vector register which every x86-64 and AArch64 has. A condition without
//! branches, whose outcome is a mark for each octet, becomes vector instructions.

/// Whether `fits` holds for every octet of `text` and its neighbour behind. Behind the last one stands `end`.
#[inline(always)]
pub(super) fn every_pair(text: &[u8], end: u8, fits: impl Fn(u8, u8) -> bool) -> bool {
    let Some((last, octets)) = text.split_last() else { return true };
    let nexts = &text[1..];
    let rest = match octets.len() {
        0..8 => octets.iter().zip(nexts).all(|(&octet, &next)| fits(octet, next)),
        8..16 => every_in_windows::<8>(octets, nexts, &fits),
        _ => every_in_windows::<16>(octets, nexts, &fits),
    };
    rest && fits(*last, end)
}

/// The same for each octet alone.
#[inline(always)]
pub(super) fn every(text: &[u8], fits: impl Fn(u8) -> bool) -> bool {
    every_pair(text, 0, |octet, _| fits(octet))
}

/// Both texts are of the same length, and at least a window.
#[inline(always)]
fn every_in_windows<const N: usize>(octets: &[u8], nexts: &[u8], fits: impl Fn(u8, u8) -> bool) -> bool {
    let mut marks = [0; N];
    let mut look = |octets: &[u8; N], nexts: &[u8; N]| {
        for ((mark, octet), next) in marks.iter_mut().zip(octets).zip(nexts) {
            *mark |= if fits(*octet, *next) { 0 } else { u8::MAX };
        }
    };
    octets.as_chunks().0.iter().zip(nexts.as_chunks().0).for_each(|(octets, nexts)| look(octets, nexts));
    // It overlaps the window before: looking twice is cheaper than looking at single octets.
    if let (Some(octets), Some(nexts)) = (octets.last_chunk(), nexts.last_chunk()) {
        look(octets, nexts);
    }
    marks.iter().fold(0, |all, mark| all | mark) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_is_looked_at_whatever_the_length() {
        for length in 0..70 {
            let plain = vec![b'a'; length];
            assert!(every(&plain, |octet| octet == b'a'), "{length}");
            for place in 0..length {
                let mut text = plain.clone();
                text[place] = b'b';
                assert!(!every(&text, |octet| octet != b'b'), "{place} of {length}");
            }
        }
    }

    #[test]
    fn every_neighbour_is_looked_at_and_the_end_behind_the_last() {
        for length in 2..70 {
            for place in 0..length - 1 {
                let mut text = vec![b'a'; length];
                text[place] = b'x';
                text[place + 1] = b'y';
                assert!(
                    !every_pair(&text, b'e', |octet, next| (octet != b'x') | (next != b'y')),
                    "{place} of {length}"
                );
                assert!(every_pair(&text, b'e', |octet, next| (octet != b'y') | (next != b'x')), "{place} of {length}");
            }
            let text = vec![b'a'; length];
            assert!(!every_pair(&text, b'e', |octet, next| (octet != b'a') | (next != b'e')), "{length}");
        }
    }
}
