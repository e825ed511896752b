//! Query parameters as forms write them (WHATWG URL, section 5): `&` between pairs, `=` within, `+` for a space,
//! percent-escapes; an invalid escape stands for itself.

use super::canonical;

/// The raw name and value of each parameter; without `=` the value is empty.
pub(super) fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&octet| octet == b'&').filter(|pair| !pair.is_empty()).map(|pair| match memchr::memchr(b'=', pair) {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &b""[..]),
    })
}

/// The decoded octets of a raw name or value.
pub(super) fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (&first, behind) = rest.split_first()?;
        let (octet, behind) = match (first, behind) {
            (b'+', _) => (b' ', behind),
            (b'%', [high, low, behind @ ..]) => match canonical::decode(*high, *low) {
                Some(octet) => (octet, behind),
                None => (first, &rest[1..]),
            },
            _ => (first, behind),
        };
        rest = behind;
        Some(octet)
    })
}

/// Whether a raw name or value decodes to `text`.
pub(super) fn equals(raw: &[u8], text: &[u8]) -> bool {
    raw == text && !raw.iter().any(|octet| matches!(octet, b'+' | b'%')) || decoded(raw).eq(text.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_compared_decoded() {
        assert!(equals(b"a+b%20c", b"a b c"));
        assert!(equals(b"%2b", b"+"));
        assert!(!equals(b"a+b", b"a+b"));
    }

    #[test]
    fn an_invalid_escape_stands_for_itself() {
        assert!(equals(b"100%", b"100%"));
        assert!(equals(b"%zz%4", b"%zz%4"));
    }

    #[test]
    fn a_query_is_pairs_between_ampersands() {
        let found: Vec<_> = pairs(b"a=1&&b&c==2&=3").collect();
        let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b", b""), (b"c", b"=2"), (b"", b"3")];
        assert_eq!(found, expected);
    }
}
