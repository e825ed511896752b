//! Whether text stands in the one canonical form of paths, in which requests are matched and forwarded.

/// Why text is not canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An octet that must be percent-encoded.
    Octet(u8),
    /// `%` without two hexadecimal digits behind it.
    Escape,
    /// An escape with lower-case digits.
    LowerCaseEscape,
    /// An escape of an unreserved character.
    NeedlessEscape,
    /// An escape that every request is refused for.
    ForbiddenEscape,
    /// A `.` or `..` segment, or one that begins with `..;`.
    DotSegment,
    /// `//`.
    EmptySegment,
}

impl Fault {
    pub(super) fn problem(self) -> String {
        match self {
            Self::Octet(octet) if octet.is_ascii_graphic() => format!("`{}` cannot stand in a path", octet as char),
            Self::Octet(_) => "a space, control or non-ASCII character cannot stand in a path".to_owned(),
            Self::Escape => "`%` must be followed by two hexadecimal digits".to_owned(),
            Self::LowerCaseEscape => "a percent-escape with lower-case digits never matches".to_owned(),
            Self::NeedlessEscape => "an escaped letter, digit, `-`, `.`, `_` or `~` never matches".to_owned(),
            Self::ForbiddenEscape => "requests with this escape are always refused".to_owned(),
            Self::DotSegment => "a dot segment never matches".to_owned(),
            Self::EmptySegment => "an empty segment never matches".to_owned(),
        }
    }

    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Octet(b'?') => "a path ends before `?`; match the query with `query`",
            Self::Octet(b'#') => "a fragment is never sent to a server; leave it out",
            Self::Octet(_) => "write its UTF-8 octets percent-encoded, as in `%20`",
            Self::Escape => "write a literal percent sign as `%25`",
            Self::LowerCaseEscape => "paths are compared with upper-case escapes; write `%2F`, not `%2f`",
            Self::NeedlessEscape => "paths are compared with these characters decoded; write the character itself",
            Self::ForbiddenEscape => "leave it out",
            Self::DotSegment => "paths are compared with dot segments removed; write the path without them",
            Self::EmptySegment => "paths are compared with repeated slashes merged; write one slash",
        }
    }
}

/// The first fault of a path, or of literal text within one, and its offset.
pub(super) fn fault(text: &[u8]) -> Option<(usize, Fault)> {
    octet_fault(text).or_else(|| segment_fault(text))
}

/// The first octet or escape out of place.
fn octet_fault(text: &[u8]) -> Option<(usize, Fault)> {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'%' => match escape_fault(text.get(at + 1..at + 3)) {
                Some(fault) => return Some((at, fault)),
                None => at += 3,
            },
            octet if is_plain(octet) => at += 1,
            octet => return Some((at, Fault::Octet(octet))),
        }
    }
    None
}

fn escape_fault(digits: Option<&[u8]>) -> Option<Fault> {
    let Some(&[high, low]) = digits else { return Some(Fault::Escape) };
    let Some(octet) = decode(high, low) else { return Some(Fault::Escape) };
    match octet {
        0 | b'\\' => Some(Fault::ForbiddenEscape),
        _ if is_unreserved(octet) => Some(Fault::NeedlessEscape),
        _ if high.is_ascii_lowercase() || low.is_ascii_lowercase() => Some(Fault::LowerCaseEscape),
        _ => None,
    }
}

/// The first segment that a canonical path cannot have. The text before the first slash is a segment too.
fn segment_fault(text: &[u8]) -> Option<(usize, Fault)> {
    let mut at = 0;
    for segment in text.split(|&octet| octet == b'/') {
        let end = at + segment.len();
        if is_dot_segment(segment) {
            return Some((at, Fault::DotSegment));
        }
        if segment.is_empty() && at > 0 && end < text.len() {
            return Some((at, Fault::EmptySegment));
        }
        at = end + 1;
    }
    None
}

/// Whether a segment climbs, stays, or is taken by some servers to climb (`..;x`, `..%3Bx`).
fn is_dot_segment(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..") || segment.starts_with(b"..;") || segment.starts_with(b"..%3B")
}

/// The octet of two hexadecimal digits.
#[inline]
pub(super) fn decode(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

#[inline]
fn digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986, section 2.3.
#[inline]
pub(super) fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~')
}

/// What stands for itself in a canonical path.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_graphic()
        && !matches!(octet, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'#' | b'?' | b'%')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::Method;
    use crate::http::target::{Canonical, Target};

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

        #[test]
        fn a_path_without_fault_is_what_a_request_leaves_as_it_is(
            path in "/([ab;~\"{]|\\.|\\.\\.|/|%[2-7][0-9A-Fa-f]|%2[Ff]|%3[Bb]|%00|%){0,6}",
        ) {
            let mut written = Vec::new();
            let parsed = Target::parse(Method::Get, path.as_bytes(), &mut written);
            let is_kept = parsed.is_ok_and(|target| matches!(target.path, Canonical::Received(_)));
            prop_assert_eq!(fault(path.as_bytes()).is_none(), is_kept);
        }
    }

    #[test]
    fn a_canonical_path_has_no_fault() {
        for path in ["/", "/a/", "/a.b/..c/%2F", "/a;b=c/@:!$&'()*+,=~", "/%25"] {
            assert_eq!(fault(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn each_fault_is_named_where_it_stands() {
        let cases: [(&str, usize, Fault); 9] = [
            ("/a b", 2, Fault::Octet(b' ')),
            ("/a?b", 2, Fault::Octet(b'?')),
            ("/%2", 1, Fault::Escape),
            ("/%2f", 1, Fault::LowerCaseEscape),
            ("/%41", 1, Fault::NeedlessEscape),
            ("/%5C", 1, Fault::ForbiddenEscape),
            ("/a/../b", 3, Fault::DotSegment),
            ("/..;x", 1, Fault::DotSegment),
            ("/a//b", 3, Fault::EmptySegment),
        ];
        for (path, at, expected) in cases {
            assert_eq!(fault(path.as_bytes()), Some((at, expected)), "{path}");
        }
        assert_eq!(fault(b"//"), Some((1, Fault::EmptySegment)));
    }
}
