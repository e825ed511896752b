//! Host predicates.

use std::net::Ipv6Addr;

use super::PatternError;

/// Octets in a host name (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;
/// Octets in a label of it.
const LABEL_BYTES_MAX: usize = 63;

/// Which hosts a route answers for; a route without one answers for every host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host only.
    Exact(Box<str>),
    /// Every host that ends in a dot and this name: one or more labels to its left.
    Wildcard(Box<str>),
}

impl HostPattern {
    /// The pattern in its canonical, lower-case form: a name, an address literal, or `*.` and a name.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(base) = text.strip_prefix("*.") {
            return parse_wildcard(base);
        }
        if text == "*" {
            return Err(PatternError::new(0, "`*` is not a host", "leave `host` out to match every host"));
        }
        if text.starts_with('[') {
            return parse_literal(text);
        }
        Ok(Self::Exact(parse_name(text)?))
    }

    /// Whether `host` (canonical, without a port) fits.
    pub fn fits(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(name) => name.as_bytes() == host,
            Self::Wildcard(base) => {
                host.strip_suffix(base.as_bytes()).is_some_and(|left| left.len() > 1 && left.ends_with(b"."))
            }
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(base) => write!(f, "*.{base}"),
        }
    }
}

fn parse_wildcard(base: &str) -> Result<HostPattern, PatternError> {
    let name = parse_name(base).map_err(|error| error.shifted(2))?;
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(PatternError::new(2, "an address has no subdomains", "name the address without `*.`"));
    }
    Ok(HostPattern::Wildcard(name))
}

fn parse_literal(text: &str) -> Result<HostPattern, PatternError> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner.and_then(|inner| inner.parse::<Ipv6Addr>().ok()) {
        Some(address) => Ok(HostPattern::Exact(format!("[{address}]").into())),
        None => Err(PatternError::new(
            0,
            "not an IPv6 address in brackets",
            "write it like `[2001:db8::1]`, without a port",
        )),
    }
}

fn parse_name(text: &str) -> Result<Box<str>, PatternError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(PatternError::new(0, "a host cannot be empty", "leave `host` out to match every host"));
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(PatternError::new(HOST_BYTES_MAX, "a host has at most 253 octets", "shorten the name"));
    }
    let mut at = 0;
    for label in name.split('.') {
        check_label(label).map_err(|error| error.shifted(at))?;
        at += label.len() + 1;
    }
    Ok(name.to_ascii_lowercase().into())
}

fn check_label(label: &str) -> Result<(), PatternError> {
    if label.is_empty() {
        return Err(PatternError::new(0, "a label of a host cannot be empty", "remove the extra dot"));
    }
    if label.len() > LABEL_BYTES_MAX {
        return Err(PatternError::new(0, "a label of a host has at most 63 octets", "shorten the label"));
    }
    let wrong = label.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
    let Some((at, wrong)) = wrong else { return Ok(()) };
    let hint = match wrong {
        ':' => "leave the port out; the listener decides it",
        '*' => "a wildcard is `*.` at the very left and stands for one or more labels",
        '/' => "a host has no path; match that with `path`",
        wrong if !wrong.is_ascii() => "write an international name in its ASCII form (`xn--…`)",
        _ => "a host has letters, digits, `-`, `_` and dots",
    };
    Err(PatternError::new(at, format!("`{wrong}` cannot stand in a host"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> HostPattern {
        HostPattern::parse(text).expect("a valid host")
    }

    #[test]
    fn a_host_is_kept_in_lower_case_without_its_trailing_dot() {
        assert_eq!(parse("API.Example.com."), HostPattern::Exact("api.example.com".into()));
        assert_eq!(parse("[2001:DB8:0::1]"), HostPattern::Exact("[2001:db8::1]".into()));
    }

    #[test]
    fn a_wildcard_stands_for_one_or_more_labels() {
        let wildcard = parse("*.example.com");
        assert!(wildcard.fits(b"a.example.com"));
        assert!(wildcard.fits(b"a.b.example.com"));
        assert!(!wildcard.fits(b"example.com"));
        assert!(!wildcard.fits(b".example.com"));
        assert!(!wildcard.fits(b"anexample.com"));
    }

    #[test]
    fn a_wrong_host_is_explained_where_it_is_wrong() {
        let cases = [
            ("*", 0, "every host"),
            ("a.*.com", 2, "very left"),
            ("*.a:80", 3, "port"),
            ("bücher.example", 1, "xn--"),
            ("a..b", 2, "extra dot"),
            ("", 0, "leave `host` out"),
            ("*.0.0.1", 2, "without `*.`"),
            ("[::1]:80", 0, "without a port"),
        ];
        for (text, at, hint) in cases {
            let error = HostPattern::parse(text).expect_err(text);
            assert_eq!(error.at, at, "{text}");
            assert!(error.hint.contains(hint), "{text}: {}", error.hint);
        }
    }
}
