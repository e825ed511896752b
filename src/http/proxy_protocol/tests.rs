//! The vectors of the specification, what may not pass, and that what is written is read.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::crc32c::Crc32c;
use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn inet(source: &str, destination: &str) -> Endpoints<'static> {
    Endpoints::Inet { source: address(source), destination: address(destination) }
}

#[track_caller]
fn complete(bytes: &[u8]) -> Header<'_> {
    match parse(bytes) {
        Ok(Progress::Complete(header)) => header,
        other => panic!("{other:?} of {bytes:?}"),
    }
}

/// A header of version 2 by hand.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = [SIGNATURE, &[command, family]].concat();
    header.extend(u16::try_from(block.len()).expect("short").to_be_bytes());
    header.extend(block);
    header
}

fn value(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short").to_be_bytes();
    [&[kind], &length[..], value].concat()
}

/// 192.0.2.1:4660 to 198.51.100.2:443.
const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0x01, 0xbb];

fn with_values(values: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&IPV4[..], values].concat())
}

/// The same with the sum that belongs into `CRC32C`.
fn with_sum(before: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut header = with_values(&[before, &value(0x03, &[0; 4]), behind].concat());
    let sum = Crc32c::default().add(&header).sum().to_be_bytes();
    let at = SIGNATURE.len() + 4 + IPV4.len() + before.len() + 3;
    header[at..at + 4].copy_from_slice(&sum);
    header
}

#[test]
fn the_line_of_the_specification_is_read() {
    let bytes = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n";
    let header = complete(bytes);
    assert_eq!(header.endpoints, inet("192.168.0.1:56324", "192.168.0.11:443"));
    assert!(bytes[header.length..].starts_with(b"GET "));
}

#[test]
fn the_longest_lines_of_the_specification_are_read() {
    let v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let lines = [
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_owned(), 56),
        (format!("PROXY TCP6 {v6} {v6} 65535 65535\r\n"), 104),
        ("PROXY UNKNOWN\r\n".to_owned(), 15),
        (format!("PROXY UNKNOWN {v6} {v6} 65535 65535\r\n"), 107),
    ];
    for (line, length) in lines {
        assert_eq!(complete(line.as_bytes()).length, length);
        assert_eq!(line.len(), length);
    }
}

#[test]
fn a_line_that_is_not_exactly_one_is_refused() {
    for (line, problem) in [
        ("GET / HTTP/1.1\r\n", Malformed::Missing),
        ("PROXX", Malformed::Missing),
        ("proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Malformed::Missing),
        ("PROXY\r\n", Malformed::Missing),
        ("PROXY \r\n", Malformed::Family),
        ("PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", Malformed::Family),
        ("PROXY unknown\r\n", Malformed::Family),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", Malformed::Line),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rx", Malformed::Line),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n", Malformed::Line),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", Malformed::Line),
        ("PROXY UNKNOWN \u{1}\n\r\n", Malformed::Line),
        ("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 ::1 ::2 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 fe80::1%1 ::2 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.1.1.1\r\n", Malformed::Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2\r\n", Malformed::Port),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", Malformed::Port),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", Malformed::Port),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", Malformed::Port),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n", Malformed::Port),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(problem), "{line:?}");
    }
}

#[test]
fn a_line_that_does_not_end_in_time_is_refused() {
    let line = |filler: usize| format!("PROXY UNKNOWN {}", "x".repeat(filler));
    assert_eq!(parse(line(92).as_bytes()), Ok(Progress::Partial), "106 octets");
    assert_eq!(parse(line(93).as_bytes()), Err(Malformed::Line), "107 octets without an end");
    assert_eq!(complete(format!("{}\r\n", line(91)).as_bytes()).length, 107);
    assert_eq!(parse(format!("{}\r\n", line(92)).as_bytes()), Err(Malformed::Line), "108 octets");
    assert_eq!(parse(format!("{}\r", line(92)).as_bytes()), Err(Malformed::Line), "its end would be the 108th");
}

#[test]
fn a_binary_header_names_addresses_of_every_family() {
    assert_eq!(complete(&with_values(&[])).endpoints, inet("192.0.2.1:4660", "198.51.100.2:443"));
    let mut block = [0; 36];
    (block[0], block[15], block[16], block[31]) = (0x20, 1, 0x20, 2);
    block[32..].copy_from_slice(&[0, 80, 1, 187]);
    assert_eq!(complete(&v2(0x21, 0x21, &block)).endpoints, inet("[2000::1]:80", "[2000::2]:443"));
    let mut block = [0; 216];
    block[..9].copy_from_slice(b"/run/from");
    block[108..].fill(b'x');
    let header = v2(0x21, 0x31, &block);
    assert_eq!(complete(&header).endpoints, Endpoints::Unix { source: b"/run/from", destination: &[b'x'; 108] });
}

#[test]
fn a_sender_may_speak_for_itself_or_not_know() {
    for header in [v2(0x20, 0x00, &[]), v2(0x20, 0x11, &IPV4), v2(0x20, 0xff, b"anything"), v2(0x20, 0x11, &[1])] {
        let complete = complete(&header);
        assert_eq!((complete.endpoints, complete.length), (Endpoints::Local, header.len()));
    }
    for header in [v2(0x21, 0x00, &[]), v2(0x21, 0x00, b"??"), v2(0x21, 0x12, &IPV4), v2(0x21, 0x10, &IPV4)] {
        assert_eq!(complete(&header).endpoints, Endpoints::Unknown, "{header:?}");
    }
}

#[test]
fn a_binary_header_that_contradicts_itself_is_refused() {
    for (header, problem) in [
        (v2(0x11, 0x11, &IPV4), Malformed::Command),
        (v2(0x22, 0x11, &IPV4), Malformed::Command),
        (v2(0x31, 0x11, &IPV4), Malformed::Command),
        (v2(0x21, 0x41, &IPV4), Malformed::Family),
        (v2(0x21, 0x13, &IPV4), Malformed::Family),
        (v2(0x21, 0x03, &IPV4), Malformed::Family),
        (v2(0x21, 0x11, &IPV4[..11]), Malformed::Length),
        (v2(0x21, 0x21, &[0; 35]), Malformed::Length),
        (v2(0x21, 0x31, &[0; 215]), Malformed::Length),
        (with_values(&[0x04]), Malformed::Length),
        (with_values(&[0x04, 0, 1]), Malformed::Length),
        (with_values(&value(0x20, &[1, 0, 0, 0])), Malformed::Value),
        (with_values(&value(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 9])), Malformed::Length),
        (with_values(&value(0x05, &[0; 129])), Malformed::Value),
        (with_values(&value(0x02, &[b'a'; 256])), Malformed::Value),
        (with_values(&value(0x02, &[0xff])), Malformed::Value),
        (with_values(&value(0x03, &[0; 3])), Malformed::Value),
        (with_values(&value(0x03, &[0; 4])), Malformed::Checksum),
        (v2(0x21, 0x00, &value(0x03, &[0; 4])), Malformed::Checksum),
        (v2(0x21, 0x11, &[0; 4097]), Malformed::TooLarge),
    ] {
        assert_eq!(parse(&header), Err(problem), "{header:?}");
    }
    assert_eq!(parse(&[SIGNATURE, &[0x31]].concat()), Err(Malformed::Command), "as soon as it shows");
}

#[test]
fn values_are_read_and_those_of_other_types_are_skipped() {
    let tls = [&[0x07, 0, 0, 0, 0][..], &value(0x21, b"TLSv1.3"), &value(0x22, b"client"), &value(0x2f, b"?")].concat();
    let id = [7; UNIQUE_ID_BYTES_MAX];
    let values = [
        value(0x01, b"h2"),
        value(0x04, b"padding"),
        value(0xee, b"custom"),
        value(0x02, b"example.com"),
        value(0x05, &id),
        value(0x30, b"blue"),
        value(0x20, &tls),
    ];
    let header = with_values(&values.concat());
    let claims = complete(&header).claims;
    assert_eq!((claims.alpn, claims.authority), (Some(&b"h2"[..]), Some("example.com")));
    assert_eq!(claims.unique_id, Some(&id[..]));
    let ssl = claims.ssl.expect("it was sent");
    assert!(ssl.by_tls && ssl.has_certificate && ssl.verified);
    assert_eq!((ssl.version, ssl.common_name, ssl.cipher), (Some(&b"TLSv1.3"[..]), Some(&b"client"[..]), None));
}

#[test]
fn a_checksum_is_verified_wherever_it_stands() {
    let good = with_sum(&value(0x04, b"front"), &value(0x02, b"behind"));
    assert_eq!(complete(&good).claims.authority, Some("behind"));
    for at in SIGNATURE.len() + 4..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        assert!(parse(&bad).is_err(), "octet {at}");
    }
    let twice = with_sum(&[], &value(0x03, &[0; 4]));
    assert_eq!(parse(&twice), Err(Malformed::Checksum));
}

#[test]
fn two_families_become_the_one_that_holds_both() {
    let mixed = inet("192.0.2.1:1", "[2001:db8::1]:2");
    let written = write(Version::V1, &mixed);
    assert_eq!(&written[..], b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n");
    assert_eq!(complete(&write(Version::V2, &mixed)).endpoints, inet("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2"));
    let mapped = inet("[::ffff:192.0.2.1]:1", "192.0.2.2:2");
    assert_eq!(&write(Version::V1, &mapped)[..], b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
}

#[test]
fn what_cannot_be_said_is_said_to_be_unknown() {
    assert_eq!(&write(Version::V1, &Endpoints::Unknown)[..], b"PROXY UNKNOWN\r\n");
    assert_eq!(&write(Version::V1, &Endpoints::Local)[..], b"PROXY UNKNOWN\r\n");
    for endpoints in [Endpoints::Unknown, Endpoints::Local] {
        assert_eq!(complete(&write(Version::V2, &endpoints)).endpoints, endpoints);
    }
    let unix = Endpoints::Unix { source: b"/a", destination: b"/b" };
    assert_eq!(complete(&write(Version::V2, &unix)).endpoints, Endpoints::Unknown);
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| (std::net::Ipv4Addr::from(ip).to_ipv6_mapped(), port).into()),
    ]
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was_meant(source in any_address(), destination in any_address(), rest in ".{0,20}") {
        for version in [Version::V1, Version::V2] {
            let mut bytes = write(version, &Endpoints::Inet { source, destination }).to_vec();
            let length = bytes.len();
            bytes.extend(rest.as_bytes());
            let header = complete(&bytes);
            prop_assert_eq!(header.length, length);
            let Endpoints::Inet { source: from, destination: to } = header.endpoints else { panic!("addresses") };
            prop_assert_eq!((canonical(from), canonical(to)), (canonical(source), canonical(destination)));
            for cut in 0..length {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(Progress::Partial));
            }
        }
    }

    #[test]
    fn any_octets_are_read_the_same_however_many_have_come(
        front in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(SIGNATURE)],
        back in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [front, &back].concat();
        let whole = parse(&bytes);
        for cut in 0..bytes.len() {
            match parse(&bytes[..cut]) {
                Ok(Progress::Partial) => {}
                decided => prop_assert_eq!(&decided, &whole),
            }
        }
    }
}
