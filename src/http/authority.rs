//! `host[:port]` (RFC 3986, section 3.2) as it stands in Host fields and absolute-form targets, in one canonical form.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Span;
use super::target::Canonical;
use super::window::every_pair;

/// A longer authority is refused: DNS names end at 253 octets (RFC 1035, section 2.3.4), and a port follows.
pub const AUTHORITY_BYTES_MAX: usize = 255;
/// The longest label of a name (RFC 1035, section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// `65535`.
const PORT_DIGITS_MAX: usize = 5;

/// A checked host and port. The host is in lower case without a final dot; an IPv6 address is in brackets, spelt as
/// RFC 5952 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The canonical host; its span counts from the start of the parsed value.
    pub host: Canonical,
    /// The port, unless it is absent or the default one.
    pub port: Option<u16>,
}

/// Why an authority is refused. All of these are the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityError {
    /// No host.
    Empty,
    /// More than [`AUTHORITY_BYTES_MAX`] octets, or a label of more than 63.
    TooLong,
    /// `user@host` (RFC 9110, section 4.2.4).
    Userinfo,
    /// An octet outside letters, digits, `-`, `_` and `.`: names come as A-labels (RFC 5890, section 2.3.2.1).
    Octet,
    /// An empty label, as in `a..b`.
    Label,
    /// Something in brackets that is no IPv6 address, or a name that ends in a number and is no IPv4 address.
    Address,
    /// A port that is not a number from 1 to 65535.
    Port,
}

impl AuthorityError {
    /// The status code of the answer (RFC 9112, section 3.2).
    pub const fn status(self) -> u16 {
        400
    }

    /// The word for logs and problem types.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "host-empty",
            Self::TooLong => "host-too-long",
            Self::Userinfo => "host-userinfo",
            Self::Octet => "host-octet",
            Self::Label => "host-label",
            Self::Address => "host-address",
            Self::Port => "host-port",
        }
    }
}

impl Authority {
    /// Checks `value`, where `default_port` is the port of the scheme. A host that is not canonical as received is
    /// appended to `written` in its canonical form.
    #[inline]
    pub fn parse(value: &[u8], default_port: u16, written: &mut Vec<u8>) -> Result<Self, AuthorityError> {
        if is_plain(value) {
            return Ok(Self { host: Canonical::Received(Span::new(0, value.len())), port: None });
        }
        Self::parse_any(value, default_port, written)
    }

    fn parse_any(value: &[u8], default_port: u16, written: &mut Vec<u8>) -> Result<Self, AuthorityError> {
        if value.len() > AUTHORITY_BYTES_MAX {
            return Err(AuthorityError::TooLong);
        }
        let (host, end) = match value.first() {
            Some(b'[') => literal(value, written)?,
            _ => name(value, written)?,
        };
        let port = port(&value[end..])?.filter(|&port| port != default_port);
        Ok(Self { host, port })
    }

    /// Appends the canonical `host[:port]`.
    pub fn append(&self, received: &[u8], written: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.host.of(received, written));
        if let Some(port) = self.port {
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
    }
}

/// Whether a value is a canonical name at first sight, as most are: it ends in a lower-case letter, so that it is no
/// address and has no port, is not too long for a single label, and has only [`Octet::Plain`] octets and dots between
/// them. Others may still be canonical.
#[inline]
fn is_plain(value: &[u8]) -> bool {
    let fits = |octet: u8, next: u8| {
        let plain = (octet.wrapping_sub(b'a') < 26)
            | (octet.wrapping_sub(b'0') < 10)
            | (octet == b'-')
            | (octet == b'.')
            | (octet == b'_');
        plain & !((octet == b'.') & (next == b'.'))
    };
    let ends = matches!((value.first(), value.last()), (Some(first), Some(b'a'..=b'z')) if *first != b'.');
    ends && value.len() <= LABEL_BYTES_MAX && every_pair(value, b'a', fits)
}

/// What an octet means in a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Octet {
    /// A lower-case letter, digit, `-` or `_`. DNS host names have no underscore, but private ones do.
    Plain,
    Upper,
    Dot,
    Colon,
    At,
    Refused,
}

static OCTETS: [Octet; 256] = octet_table();

const fn octet_table() -> [Octet; 256] {
    let mut table = [Octet::Refused; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = match octet as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => Octet::Plain,
            b'A'..=b'Z' => Octet::Upper,
            b'.' => Octet::Dot,
            b':' => Octet::Colon,
            b'@' => Octet::At,
            _ => Octet::Refused,
        };
        octet += 1;
    }
    table
}

/// The canonical name at the start of `value`, and where the port begins.
#[inline]
fn name(value: &[u8], written: &mut Vec<u8>) -> Result<(Canonical, usize), AuthorityError> {
    let (mut end, mut label, mut upper) = (value.len(), 0, false);
    let mut at = 0;
    while let Some(plain) = value[at..].iter().position(|&octet| OCTETS[octet as usize] != Octet::Plain) {
        at += plain;
        match OCTETS[value[at] as usize] {
            Octet::Plain => {}
            Octet::Upper => upper = true,
            Octet::Dot => {
                check_label(at - label)?;
                label = at + 1;
            }
            Octet::Colon => {
                end = at;
                break;
            }
            // A colon before the `@` does not hide it: what follows is no port.
            Octet::At => return Err(AuthorityError::Userinfo),
            Octet::Refused => return Err(refused(value)),
        }
        at += 1;
    }
    if end == 0 {
        return Err(if value.contains(&b'@') { AuthorityError::Userinfo } else { AuthorityError::Empty });
    }
    let final_dot = label == end;
    let host_end = end - usize::from(final_dot);
    if !final_dot {
        check_label(end - label)?;
    }
    check_number(&value[..host_end])?;
    Ok((spelt(value, host_end, upper, written), end))
}

/// Userinfo may hold octets that no host has; name the worse mistake.
#[cold]
fn refused(value: &[u8]) -> AuthorityError {
    if value.contains(&b'@') { AuthorityError::Userinfo } else { AuthorityError::Octet }
}

#[inline]
fn check_label(length: usize) -> Result<(), AuthorityError> {
    match length {
        0 => Err(AuthorityError::Label),
        1..=LABEL_BYTES_MAX => Ok(()),
        _ => Err(AuthorityError::TooLong),
    }
}

/// A host that ends in a number is an IPv4 address in its usual spelling or it is refused: software further on may
/// read `127.1` as `127.0.0.1`.
#[inline]
fn check_number(host: &[u8]) -> Result<(), AuthorityError> {
    if !host.last().is_some_and(u8::is_ascii_digit) {
        return Ok(());
    }
    let last = host.rsplit(|&octet| octet == b'.').next().unwrap_or(host);
    if !last.iter().all(u8::is_ascii_digit) {
        return Ok(());
    }
    let address = str::from_utf8(host).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
    address.map(|_| ()).ok_or(AuthorityError::Address)
}

#[inline]
fn spelt(value: &[u8], end: usize, upper: bool, written: &mut Vec<u8>) -> Canonical {
    if !upper {
        return Canonical::Received(Span::new(0, end));
    }
    let start = written.len();
    written.extend(value[..end].iter().map(u8::to_ascii_lowercase));
    Canonical::Written(Span::new(start, written.len()))
}

/// The canonical IPv6 literal at the start of `value`, and where the port begins. Zones name an interface of another
/// machine, and no future version is in use: both are refused.
fn literal(value: &[u8], written: &mut Vec<u8>) -> Result<(Canonical, usize), AuthorityError> {
    let close = value.iter().position(|&octet| octet == b']').ok_or(AuthorityError::Address)?;
    let text = str::from_utf8(&value[1..close]).map_err(|_| AuthorityError::Address)?;
    let address: Ipv6Addr = text.parse().map_err(|_| AuthorityError::Address)?;
    let start = written.len();
    // Writing to a vector cannot fail.
    let _ = write!(written, "[{address}]");
    Ok((Canonical::settle(value, Span::new(0, close + 1), written, start), close + 1))
}

/// The port in `rest`, which is what follows the host; `host:` means no port (RFC 3986, section 3.2.3).
#[inline]
fn port(rest: &[u8]) -> Result<Option<u16>, AuthorityError> {
    let port = match rest {
        [] | [b':'] => return Ok(None),
        [b':', digits @ ..] => port_number(digits),
        _ => None,
    };
    match port {
        Some(port) => Ok(Some(port)),
        None if rest.contains(&b'@') => Err(AuthorityError::Userinfo),
        None => Err(AuthorityError::Port),
    }
}

#[inline]
fn port_number(digits: &[u8]) -> Option<u16> {
    if digits.len() > PORT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    u16::try_from(number).ok().filter(|&port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(value: &str) -> Result<(String, Option<u16>, bool), AuthorityError> {
        let mut written = b"before".to_vec();
        let authority = Authority::parse(value.as_bytes(), 80, &mut written)?;
        let host = String::from_utf8(authority.host.of(value.as_bytes(), &written).to_vec()).unwrap();
        Ok((host, authority.port, matches!(authority.host, Canonical::Received(_))))
    }

    proptest! {
        #[test]
        fn what_is_plain_at_first_sight_is_so_the_long_way(value in "[a-cA-C0-9._:@\\[%/ é-]{0,40}[a-z]?|[a-cX0-9.-]{1,8}[a-z]") {
            let (mut written, mut long) = (Vec::new(), Vec::new());
            let authority = Authority::parse(value.as_bytes(), 80, &mut written);
            prop_assert_eq!(authority, Authority::parse_any(value.as_bytes(), 80, &mut long));
        }
    }

    fn uncopied(host: &str, port: Option<u16>) -> Result<(String, Option<u16>, bool), AuthorityError> {
        Ok((host.to_owned(), port, true))
    }

    #[test]
    fn a_canonical_host_is_a_range_of_what_was_received() {
        assert_eq!(parse("api.example.com"), uncopied("api.example.com", None));
        assert_eq!(parse("api.example.com:8080"), uncopied("api.example.com", Some(8080)));
        assert_eq!(parse("xn--bcher-kva.example"), uncopied("xn--bcher-kva.example", None));
        assert_eq!(parse("my_service:1"), uncopied("my_service", Some(1)));
        assert_eq!(parse("192.0.2.1:81"), uncopied("192.0.2.1", Some(81)));
        assert_eq!(parse("[2001:db8::1]:81"), uncopied("[2001:db8::1]", Some(81)));
    }

    #[test]
    fn the_default_port_and_an_empty_one_are_no_port() {
        assert_eq!(parse("example.com:80"), uncopied("example.com", None));
        assert_eq!(parse("example.com:00080"), uncopied("example.com", None));
        assert_eq!(parse("example.com:"), uncopied("example.com", None));
        assert_eq!(parse("[::1]:80"), uncopied("[::1]", None));
    }

    #[test]
    fn letters_become_lower_case() {
        assert_eq!(parse("API.Example.COM:8080"), Ok(("api.example.com".into(), Some(8080), false)));
    }

    #[test]
    fn one_final_dot_is_removed_and_a_second_is_refused() {
        assert_eq!(parse("example.com."), uncopied("example.com", None));
        assert_eq!(parse("example.com.:81"), uncopied("example.com", Some(81)));
        assert_eq!(parse("example.com.."), Err(AuthorityError::Label));
        assert_eq!(parse("."), Err(AuthorityError::Label));
    }

    #[test]
    fn an_ipv6_address_has_one_spelling() {
        assert_eq!(parse("[2001:DB8:0:0::1]"), Ok(("[2001:db8::1]".into(), None, false)));
        for value in ["[::1", "[]", "[1.2.3.4]", "[fe80::1%25eth0]", "[v1.x]", "[:::]"] {
            assert_eq!(parse(value), Err(AuthorityError::Address), "{value}");
        }
        assert_eq!(parse("[::1]x"), Err(AuthorityError::Port));
    }

    #[test]
    fn a_name_that_ends_in_a_number_must_be_an_ipv4_address() {
        for value in ["127.1", "1", "256.1.1.1", "192.0.2.01", "example.1", "1.2.3.4.5"] {
            assert_eq!(parse(value), Err(AuthorityError::Address), "{value}");
        }
        assert_eq!(parse("node1"), uncopied("node1", None));
        assert_eq!(parse("1.2.3.4."), uncopied("1.2.3.4", None));
    }

    #[test]
    fn userinfo_is_refused() {
        for value in
            ["user@example.com", "user:pass@example.com", "user:80@example.com", "@example.com", "a%20@b", ":x@h"]
        {
            assert_eq!(parse(value), Err(AuthorityError::Userinfo), "{value}");
        }
    }

    #[test]
    fn an_absent_host_is_refused() {
        assert_eq!(parse(""), Err(AuthorityError::Empty));
        assert_eq!(parse(":80"), Err(AuthorityError::Empty));
    }

    #[test]
    fn octets_outside_a_labels_are_refused() {
        for value in ["a b", "a/b", "b\u{fc}cher.example", "a%2eb", "a\\b", "a,b", "*", "a\tb", "a]"] {
            assert_eq!(parse(value), Err(AuthorityError::Octet), "{value}");
        }
    }

    #[test]
    fn ports_outside_their_range_are_refused() {
        for value in ["a:0", "a:65536", "a:99999", "a:123456", "a:+80", "a:8o", "a::80", "a:80:80", "::1"] {
            let outcome = parse(value).unwrap_err();
            assert!(matches!(outcome, AuthorityError::Port | AuthorityError::Empty), "{value}");
        }
        assert_eq!(parse("a:65535"), uncopied("a", Some(65535)));
    }

    #[test]
    fn long_names_and_labels_are_refused() {
        let label = "a".repeat(63);
        assert!(parse(&label).is_ok());
        assert_eq!(parse(&format!("{label}a")), Err(AuthorityError::TooLong));
        assert_eq!(parse(&format!("{label}.").repeat(5)), Err(AuthorityError::TooLong));
    }

    #[test]
    fn the_text_to_send_holds_host_and_port() {
        let mut out = Vec::new();
        let authority = Authority::parse(b"example.com:8080", 80, &mut Vec::new()).unwrap();
        authority.append(b"example.com:8080", b"", &mut out);
        assert_eq!(out, b"example.com:8080");
    }

    proptest! {
        #[test]
        fn a_canonical_authority_stays_as_it_is(value in "(?i)[a-z0-9_.:\\[\\]@-]{0,40}") {
            if let Ok((host, port, _)) = parse(&value) {
                let text = port.map_or(host.clone(), |port| format!("{host}:{port}"));
                prop_assert_eq!(parse(&text), uncopied(&host, port));
            }
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Authority::parse(&value, 443, &mut Vec::new());
        }
    }
}
