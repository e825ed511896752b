//! Request ids: which ones of a peer are taken over, and what ours look like.

use crate::base::{UnixTime, hex};

/// A longer id of a peer is replaced: it goes into every log line.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// The length of an id of ours.
pub const REQUEST_ID_BYTES: usize = 32;

/// Whether an id from a trusted peer may be taken over: short, and of characters that need no quoting in a log line,
/// a header, a URI or a shell.
#[inline]
pub fn is_acceptable(id: &[u8]) -> bool {
    let fits =
        |&octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'-');
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(fits)
}

/// A new id: a UUID of version 7 (RFC 9562, section 5.7) without its hyphens. It begins with the millisecond, so that
/// ids sort by time and a log store keeps neighbours together; the other 74 bits are random.
#[inline]
pub fn generate(now: UnixTime, random: [u64; 2]) -> [u8; REQUEST_ID_BYTES] {
    const VERSION: u64 = 7 << 12;
    const VARIANT: u64 = 0b10 << 62;
    let millis = now.as_nanos() / 1_000_000;
    hex::digits_of_pair([millis << 16 | VERSION | random[0] & 0xfff, VARIANT | random[1] >> 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_the_example_of_rfc_9562_without_hyphens() {
        // RFC 9562, appendix A.6: 017F22E2-79B0-7CC3-98C4-DC0C0C07398F.
        let now = UnixTime::from_nanos(0x017F_22E2_79B0 * 1_000_000);
        let id = generate(now, [0xCC3, 0x18C4_DC0C_0C07_398F << 2]);
        assert_eq!(&id, b"017f22e279b07cc398c4dc0c0c07398f");
    }

    #[test]
    fn ids_sort_by_time_whatever_the_random_bits() {
        let at = |millis: u64, random| generate(UnixTime::from_nanos(millis * 1_000_000), [random, random]);
        assert!(at(1_700_000_000_000, u64::MAX) < at(1_700_000_000_001, 0));
    }

    #[test]
    fn our_own_ids_and_common_foreign_ones_are_acceptable() {
        assert!(is_acceptable(&generate(UnixTime::default(), [u64::MAX, 0])));
        for id in ["0195c2e4-7a3b-7def-8123-456789abcdef", "Root=1-67891233/abc.def", "a_b~c+d==", "x"] {
            assert!(is_acceptable(id.as_bytes()), "{id}");
        }
    }

    #[test]
    fn ids_that_need_quoting_or_are_too_long_are_not() {
        for id in ["", "a b", "a\"b", "a\nb", "a;b", "a,b", "${jndi:x}", "\u{e9}", "<b>"] {
            assert!(!is_acceptable(id.as_bytes()), "{id}");
        }
        assert!(is_acceptable(&[b'a'; REQUEST_ID_BYTES_MAX]));
        assert!(!is_acceptable(&[b'a'; REQUEST_ID_BYTES_MAX + 1]));
    }
}
