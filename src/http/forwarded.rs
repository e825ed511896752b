//! Who the client is behind proxies: X-Forwarded-For, Forwarded (RFC 7239) and the single headers of delivery networks.
//!
//! These fields are claims (RFC 7239, section 8.1). Lists are read from the right, where the nearest proxy wrote, and
//! only as far as every writer is trusted; what stands further left was written by the client and is never parsed.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;

use super::header::is_token;
use crate::base::CidrSet;

/// Members looked at; a client behind more trusted proxies than this is not found.
pub const HOPS_MAX: usize = 32;

/// Which field is believed on the way in. The other one is written anew, never merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    #[default]
    XForwardedFor,
    Forwarded,
}

/// The proxies passed by a request, nearest first, as far as they are trusted; the last one is the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(ArrayVec<IpAddr, HOPS_MAX>);

impl Chain {
    /// Walks from the transport peer through the authoritative field. `lines` are its values with the *last* line of
    /// the head first; several lines are one list (RFC 9110, section 5.3).
    pub fn walk<'a>(peer: IpAddr, trusted: &CidrSet, family: Family, lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut chain = ArrayVec::new();
        let mut client = peer.to_canonical();
        chain.push(client);
        let mut members = lines.flat_map(|line| Members { rest: Some(line), family });
        while !chain.is_full() && trusted.contains(client) {
            // An entry that is no address stops the walk at the last good one.
            let Some(address) = members.next().and_then(|member| family.address(member)) else { break };
            client = address;
            chain.push(client);
        }
        Self(chain)
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.0[self.0.len() - 1]
    }

    /// The addresses, client first, as the lists are written.
    pub fn from_client(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().rev().copied()
    }
}

/// The client's address: the transport peer, unless it is trusted and names another one (see [`Chain::walk`]).
#[inline]
pub fn client_address<'a>(
    peer: IpAddr,
    trusted: &CidrSet,
    family: Family,
    lines: impl Iterator<Item = &'a [u8]>,
) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    Chain::walk(peer, trusted, family, lines).client()
}

/// The client's address from the one header of a delivery network, such as `cf-connecting-ip`. It is believed only
/// from the network's own addresses and only if it stands there once and is an address.
pub fn client_address_of_network<'a>(
    peer: IpAddr,
    network: &CidrSet,
    mut values: impl Iterator<Item = &'a [u8]>,
) -> IpAddr {
    let peer = peer.to_canonical();
    if !network.contains(peer) {
        return peer;
    }
    match (values.next(), values.next()) {
        (Some(value), None) => loose_address(value).unwrap_or(peer),
        _ => peer,
    }
}

impl Family {
    fn address(self, member: &[u8]) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => loose_address(member),
            Self::Forwarded => element_address(member),
        }
    }
}

/// The non-empty members of one line, from the right.
struct Members<'a> {
    rest: Option<&'a [u8]>,
    family: Family,
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(list) = self.rest {
            let comma = match self.family {
                Family::XForwardedFor => memchr::memrchr(b',', list),
                Family::Forwarded => last_comma_outside_quotes(list),
            };
            self.rest = comma.map(|at| &list[..at]);
            let member = list[comma.map_or(0, |at| at + 1)..].trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

/// Quotes are paired from the right: the trusted proxy's element is well-formed, and a lone quote that the client put
/// in front of it must not swallow it.
fn last_comma_outside_quotes(list: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut end = list.len();
    while let Some(at) = memchr::memrchr2(b'"', b',', &list[..end]) {
        match list[at] {
            b',' if !quoted => return Some(at),
            b'"' if !(quoted && is_escaped(&list[..at])) => quoted = !quoted,
            _ => {}
        }
        end = at;
    }
    None
}

/// Whether what follows `before` in a quoted string is escaped: an odd number of backslashes (RFC 9110, section 5.6.4).
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|&&octet| octet == b'\\').count() % 2 == 1
}

/// The address in the `for` parameter of an element (RFC 7239, section 4), each of which may occur once. `unknown` and
/// hidden names are no addresses.
fn element_address(mut element: &[u8]) -> Option<IpAddr> {
    let mut node = None;
    while !element.is_empty() {
        let end = semicolon_outside_quotes(element);
        let pair = &element[..end];
        element = element.get(end + 1..).unwrap_or_default();
        let equals = memchr::memchr(b'=', pair)?;
        let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|&octet| is_token(octet)) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some() {
            return None;
        }
    }
    node_address(node?)
}

/// Where the first pair ends. A proxy may have quoted a host that its client made up, semicolons included.
fn semicolon_outside_quotes(element: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let end = element.iter().position(|&octet| {
        let literal = escaped;
        escaped = quoted && !literal && octet == b'\\';
        quoted ^= octet == b'"' && !literal;
        octet == b';' && !quoted
    });
    end.unwrap_or(element.len())
}

/// RFC 7239, section 6: an IPv4 address, or an IPv6 address in brackets and quotes, either with a port. Nobody
/// escapes characters of an address.
fn node_address(value: &[u8]) -> Option<IpAddr> {
    let (node, quoted) = match value {
        [b'"', node @ .., b'"'] => (node, true),
        _ => (value, false),
    };
    match node {
        [b'[', ..] if quoted => bracketed(node),
        [b'[', ..] => None,
        _ => with_port(node),
    }
}

/// An address as X-Forwarded-For writers spell it: with or without brackets, port and zone.
fn loose_address(text: &[u8]) -> Option<IpAddr> {
    match text {
        [b'[', ..] => bracketed(text),
        _ if text.iter().filter(|&&octet| octet == b':').count() > 1 => v6(text),
        _ => with_port(text),
    }
}

/// `[2001:db8::1]:4711`.
fn bracketed(text: &[u8]) -> Option<IpAddr> {
    let close = text.iter().position(|&octet| octet == b']')?;
    is_port(&text[close + 1..]).then(|| v6(&text[1..close]))?
}

/// `192.0.2.1:4711`.
fn with_port(text: &[u8]) -> Option<IpAddr> {
    let colon = text.iter().position(|&octet| octet == b':').unwrap_or(text.len());
    let address: Ipv4Addr = str::from_utf8(&text[..colon]).ok()?.parse().ok()?;
    is_port(&text[colon..]).then_some(IpAddr::V4(address))
}

/// A zone names an interface of the proxy, which says nothing here.
fn v6(text: &[u8]) -> Option<IpAddr> {
    let end = text.iter().position(|&octet| octet == b'%').unwrap_or(text.len());
    let address: Ipv6Addr = str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some(IpAddr::V6(address).to_canonical())
}

/// Nothing, or a colon and a port, which may be hidden (RFC 7239, section 6).
fn is_port(text: &[u8]) -> bool {
    let hidden = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-');
    match text {
        [] => true,
        [b':', b'_', name @ ..] => !name.is_empty() && name.iter().all(hidden),
        [b':', digits @ ..] => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Appends the members of the lines kept from a trusted peer, in order, each followed by a comma.
fn append_kept<'a>(kept: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for line in kept.filter(|line| !line.is_empty()) {
        out.extend_from_slice(line);
        out.extend_from_slice(b", ");
    }
}

/// Appends the value of X-Forwarded-For: the lines kept from a trusted peer (none from others), then the peer.
pub fn append_x_forwarded_for<'a>(kept: impl Iterator<Item = &'a [u8]>, peer: IpAddr, out: &mut Vec<u8>) {
    append_kept(kept, out);
    append_address(peer, out);
}

/// Appends the value of X-Forwarded-For that says what an authoritative Forwarded said.
pub fn append_x_forwarded_for_chain(chain: &Chain, out: &mut Vec<u8>) {
    for (place, address) in chain.from_client().enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        append_address(address, out);
    }
}

/// What our element of Forwarded says (RFC 7239, section 5).
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    pub peer: IpAddr,
    /// The host as the client named it, with its port; empty to say nothing.
    pub host: &'a [u8],
    /// `http` or `https`.
    pub proto: &'a str,
}

/// Appends the value of Forwarded: the lines kept from a trusted peer (none from others), then our element.
pub fn append_forwarded<'a>(kept: impl Iterator<Item = &'a [u8]>, element: Element<'_>, out: &mut Vec<u8>) {
    append_kept(kept, out);
    append_element(element, out);
}

/// Appends the value of Forwarded that says what an authoritative X-Forwarded-For said, and our element.
pub fn append_forwarded_chain(chain: &Chain, element: Element<'_>, out: &mut Vec<u8>) {
    let proxies = chain.0.len() - 1; // the peer itself stands in our element
    for address in chain.from_client().take(proxies) {
        append_for(address, out);
        out.extend_from_slice(b", ");
    }
    append_element(element, out);
}

fn append_element(element: Element<'_>, out: &mut Vec<u8>) {
    append_for(element.peer, out);
    if !element.host.is_empty() {
        out.extend_from_slice(b";host=");
        append_token_or_quoted(element.host, out);
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(element.proto.as_bytes());
}

/// `for=192.0.2.1` or `for="[2001:db8::1]"`: a colon is no token character.
fn append_for(address: IpAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(b"for=");
    let address = address.to_canonical();
    if address.is_ipv4() {
        return append_address(address, out);
    }
    out.extend_from_slice(b"\"[");
    append_address(address, out);
    out.extend_from_slice(b"]\"");
}

/// RFC 9110, sections 5.6.2 and 5.6.4.
fn append_token_or_quoted(value: &[u8], out: &mut Vec<u8>) {
    if value.iter().all(|&octet| is_token(octet)) {
        return out.extend_from_slice(value);
    }
    out.push(b'"');
    for &octet in value {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// Appends an address in its usual spelling, an IPv4-mapped one as IPv4.
pub fn append_address(address: IpAddr, out: &mut Vec<u8>) {
    match address.to_canonical() {
        IpAddr::V4(address) => append_v4(address, out),
        // Writing to a vector cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Most requests write one of these, and the formatting machinery takes several times as long.
fn append_v4(address: Ipv4Addr, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(digits.format(octet).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trusted() -> CidrSet {
        ["10.0.0.0/8", "2001:db8:1::/48"].iter().map(|text| text.parse::<ipnet::IpNet>().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The client of a request from 10.0.0.1 with these lines, in their order in the head.
    fn client(family: Family, lines: &[&str]) -> String {
        let lines = lines.iter().rev().map(|line| line.as_bytes());
        client_address(ip("10.0.0.1"), &trusted(), family, lines).to_string()
    }

    fn xff(lines: &[&str]) -> String {
        client(Family::XForwardedFor, lines)
    }

    fn forwarded(lines: &[&str]) -> String {
        client(Family::Forwarded, lines)
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_claims() {
        let lines = || [b"198.51.100.1".as_slice()].into_iter();
        let peer = ip("203.0.113.9");
        assert_eq!(client_address(peer, &trusted(), Family::XForwardedFor, lines()), peer);
        assert_eq!(client_address(peer, &CidrSet::default(), Family::XForwardedFor, lines()), peer);
    }

    #[test]
    fn the_first_untrusted_entry_from_the_right_is_the_client() {
        assert_eq!(xff(&["1.1.1.1, 198.51.100.7, 10.0.0.3, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(xff(&["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(xff(&["1.1.1.1, 198.51.100.7", "10.0.0.3", "10.0.0.2"]), "198.51.100.7");
        assert_eq!(forwarded(&["for=198.51.100.7", "for=10.0.0.3, for=10.0.0.2"]), "198.51.100.7");
    }

    #[test]
    fn a_list_of_trusted_addresses_ends_at_its_leftmost() {
        assert_eq!(xff(&["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(xff(&[]), "10.0.0.1");
        assert_eq!(xff(&["", " , "]), "10.0.0.1");
    }

    #[test]
    fn an_entry_that_is_no_address_stops_the_walk_at_the_last_good_one() {
        assert_eq!(xff(&["198.51.100.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(xff(&["198.51.100.7, 10.0.0"]), "10.0.0.1");
        for entry in
            ["for=unknown", "for=_hidden", "by=10.0.0.5", "for", "for=", "for=10.0.0.2;for=10.0.0.3", "for=[::1]"]
        {
            assert_eq!(forwarded(&[&format!("for=198.51.100.7, {entry}")]), "10.0.0.1", "{entry}");
        }
    }

    #[test]
    fn ports_brackets_and_zones_do_not_matter() {
        assert_eq!(xff(&["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(xff(&["2001:db8::7"]), "2001:db8::7");
        assert_eq!(xff(&["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(xff(&["fe80::1%eth0"]), "fe80::1");
        assert_eq!(xff(&["198.51.100.7, [2001:db8:1::5]:80"]), "198.51.100.7");
        for entry in
            ["198.51.100.7:", "198.51.100.7:x", "198.51.100.7:123456", "[2001:db8::7", "[2001:db8::7]x", "1.2.3.4 5"]
        {
            assert_eq!(xff(&[entry]), "10.0.0.1", "{entry}");
        }
    }

    #[test]
    fn a_mapped_address_counts_as_ipv4() {
        assert_eq!(xff(&["198.51.100.7, ::ffff:10.0.0.9"]), "198.51.100.7");
        let peer = ip("::ffff:10.0.0.1");
        let lines = [b"::ffff:198.51.100.7".as_slice()].into_iter();
        assert_eq!(client_address(peer, &trusted(), Family::XForwardedFor, lines), ip("198.51.100.7"));
    }

    #[test]
    fn the_examples_of_rfc_7239_are_read() {
        // RFC 7239, section 4.
        assert_eq!(forwarded(&["for=\"_gazonk\""]), "10.0.0.1");
        assert_eq!(forwarded(&["For=\"[2001:db8:cafe::17]:4711\""]), "2001:db8:cafe::17");
        assert_eq!(forwarded(&["for=192.0.2.60;proto=http;by=203.0.113.43"]), "192.0.2.60");
        assert_eq!(forwarded(&["for=192.0.2.43, for=198.51.100.17"]), "198.51.100.17");
        assert_eq!(forwarded(&["for=\"192.0.2.43:47011\""]), "192.0.2.43");
        assert_eq!(forwarded(&["for=\"192.0.2.43:_port\""]), "192.0.2.43");
    }

    #[test]
    fn commas_in_quotes_do_not_split() {
        assert_eq!(forwarded(&["for=198.51.100.7;host=\"a, for=1.1.1.1\""]), "198.51.100.7");
        assert_eq!(forwarded(&[r#"for=198.51.100.7;host="a\", for=1.1.1.1""#]), "198.51.100.7");
    }

    #[test]
    fn semicolons_in_quotes_do_not_split() {
        assert_eq!(forwarded(&["for=198.51.100.7;host=\"a;for=1.1.1.1\""]), "198.51.100.7");
        assert_eq!(forwarded(&[r#"host="a\\\";for=1.1.1.1";for=198.51.100.7"#]), "198.51.100.7");
    }

    #[test]
    fn a_lone_quote_of_the_client_cannot_hide_what_a_proxy_wrote() {
        assert_eq!(forwarded(&["for=\"x, for=198.51.100.7"]), "198.51.100.7");
        assert_eq!(forwarded(&["for=\"x, for=\"[2001:db8::7]\""]), "2001:db8::7");
        assert_eq!(forwarded(&["\\\", for=\"[2001:db8::7]\""]), "2001:db8::7");
    }

    #[test]
    fn the_walk_is_bounded() {
        let line = format!("198.51.100.7{}", ", 10.0.0.2".repeat(HOPS_MAX));
        assert_eq!(xff(&[&line]), "10.0.0.2");
    }

    #[test]
    fn a_delivery_network_names_the_client_in_one_header() {
        let of = |peer: &str, values: &[&str]| {
            let values = values.iter().map(|value| value.as_bytes());
            client_address_of_network(ip(peer), &trusted(), values).to_string()
        };
        assert_eq!(of("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("203.0.113.9", &["198.51.100.7"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &["198.51.100.7", "1.1.1.1"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["198.51.100.7, 1.1.1.1"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }

    fn text(append: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn x_forwarded_for_is_extended_by_the_peer() {
        let kept = || [b"198.51.100.7".as_slice(), b"", b"10.0.0.2"].into_iter();
        let value = text(|out| append_x_forwarded_for(kept(), ip("::ffff:10.0.0.1"), out));
        assert_eq!(value, "198.51.100.7, 10.0.0.2, 10.0.0.1");
        let value = text(|out| append_x_forwarded_for(std::iter::empty(), ip("2001:db8::7"), out));
        assert_eq!(value, "2001:db8::7");
    }

    #[test]
    fn our_element_of_forwarded_is_quoted_where_it_must_be() {
        let element = |peer: &str, host| {
            let element = Element { peer: ip(peer), host, proto: "https" };
            text(|out| append_forwarded(std::iter::empty(), element, out))
        };
        assert_eq!(element("192.0.2.1", b"example.com"), "for=192.0.2.1;host=example.com;proto=https");
        assert_eq!(element("2001:db8::7", b"h:81"), "for=\"[2001:db8::7]\";host=\"h:81\";proto=https");
        assert_eq!(element("192.0.2.1", b""), "for=192.0.2.1;proto=https");
        assert_eq!(element("192.0.2.1", b"a\"\\"), r#"for=192.0.2.1;host="a\"\\";proto=https"#);
    }

    #[test]
    fn the_other_family_is_written_anew_from_what_was_believed() {
        let lines = [b"1.1.1.1, 2001:db8::7, 10.0.0.2".as_slice()].into_iter();
        let chain = Chain::walk(ip("10.0.0.1"), &trusted(), Family::XForwardedFor, lines);
        assert_eq!(text(|out| append_x_forwarded_for_chain(&chain, out)), "2001:db8::7, 10.0.0.2, 10.0.0.1");
        let element = Element { peer: ip("10.0.0.1"), host: b"h", proto: "http" };
        assert_eq!(
            text(|out| append_forwarded_chain(&chain, element, out)),
            "for=\"[2001:db8::7]\", for=10.0.0.2, for=10.0.0.1;host=h;proto=http"
        );
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|v4| IpAddr::V4(v4.into())),
            any::<u128>().prop_map(|v6| IpAddr::V6(v6.into()))
        ]
    }

    proptest! {
        #[test]
        fn an_address_is_spelt_as_the_standard_library_does(address in addresses()) {
            prop_assert_eq!(text(|out| append_address(address, out)), address.to_canonical().to_string());
        }

        #[test]
        fn what_we_write_behind_anything_is_read_as_we_wrote_it(
            before in proptest::collection::vec(any::<u8>(), 0..40), address in addresses(),
        ) {
            let kept = || std::iter::once(before.as_slice());
            let element = Element { peer: address, host: b"a, \"b;for=1.1.1.1:80\\", proto: "https" };
            let mut out = Vec::new();
            append_forwarded(kept(), element, &mut out);
            prop_assert_eq!(element_address(Members { rest: Some(&out), family: Family::Forwarded }.next().unwrap()),
                Some(address.to_canonical()));
            out.clear();
            append_x_forwarded_for(kept(), address, &mut out);
            prop_assert_eq!(loose_address(Members { rest: Some(&out), family: Family::XForwardedFor }.next().unwrap()),
                Some(address.to_canonical()));
        }
    }
}
