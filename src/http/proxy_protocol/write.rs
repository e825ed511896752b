//! What we say of a connection to the endpoint that we open one for.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use arrayvec::{ArrayString, ArrayVec};

use super::v2::{HEAD_BYTES, LOCAL, PROXY, TCP_OVER_IPV4, TCP_OVER_IPV6, UNSPEC};
use super::{Endpoints, V2_SIGNATURE};

/// The longest header that we write: a line of version 1.
pub const HEADER_BYTES_MAX: usize = 107;

const _: () = assert!(HEAD_BYTES + 2 * 16 + 4 <= HEADER_BYTES_MAX, "version 2 is shorter");

/// A header of ours.
pub type Written = ArrayVec<u8, HEADER_BYTES_MAX>;

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    V1,
    V2,
}

/// The header for a connection between these. Addresses of two families become those of the one that holds both; the
/// paths of Unix sockets are nobody's business elsewhere.
pub fn write(version: Version, endpoints: &Endpoints<'_>) -> Written {
    match (version, endpoints) {
        (Version::V1, Endpoints::Inet { source, destination }) => line(alike(*source, *destination)),
        (Version::V1, _) => filled(b"PROXY UNKNOWN\r\n"),
        (Version::V2, Endpoints::Inet { source, destination }) => binary(alike(*source, *destination)),
        (Version::V2, Endpoints::Local) => head(LOCAL, UNSPEC, 0),
        (Version::V2, Endpoints::Unknown | Endpoints::Unix { .. }) => head(PROXY, UNSPEC, 0),
    }
}

/// Two addresses of one family.
enum Alike {
    V4([(Ipv4Addr, u16); 2]),
    V6([(Ipv6Addr, u16); 2]),
}

fn alike(source: SocketAddr, destination: SocketAddr) -> Alike {
    let both = [source, destination].map(|address| (address.ip().to_canonical(), address.port()));
    match both {
        [(IpAddr::V4(source), from), (IpAddr::V4(destination), to)] => Alike::V4([(source, from), (destination, to)]),
        _ => Alike::V6(both.map(|(ip, port)| match ip {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), port),
            IpAddr::V6(ip) => (ip, port),
        })),
    }
}

fn line(pair: Alike) -> Written {
    let mut text = ArrayString::<HEADER_BYTES_MAX>::new();
    // No pair is longer than the room for it.
    let _ = match pair {
        Alike::V4([(source, from), (destination, to)]) => {
            write!(text, "PROXY TCP4 {source} {destination} {from} {to}\r\n")
        }
        Alike::V6([(source, from), (destination, to)]) => {
            write!(text, "PROXY TCP6 {source} {destination} {from} {to}\r\n")
        }
    };
    filled(text.as_bytes())
}

fn binary(pair: Alike) -> Written {
    let mut out;
    let ports = match pair {
        Alike::V4([(source, from), (destination, to)]) => {
            out = head(PROXY, TCP_OVER_IPV4, 2 * 4 + 4);
            out.extend(source.octets().into_iter().chain(destination.octets()));
            [from, to]
        }
        Alike::V6([(source, from), (destination, to)]) => {
            out = head(PROXY, TCP_OVER_IPV6, 2 * 16 + 4);
            out.extend(source.octets().into_iter().chain(destination.octets()));
            [from, to]
        }
    };
    out.extend(ports.into_iter().flat_map(u16::to_be_bytes));
    out
}

fn head(command: u8, family: u8, block_length: u16) -> Written {
    let mut out = filled(V2_SIGNATURE);
    out.extend([command, family]);
    out.extend(block_length.to_be_bytes());
    out
}

fn filled(octets: &[u8]) -> Written {
    octets.iter().copied().collect()
}
