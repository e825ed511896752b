//! Version 2: a binary head, a block of addresses, and values with types (section 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::Crc32c;
use super::{Claims, Endpoints, Header, Malformed, Progress, Ssl, V2_SIGNATURE};

/// The signature, version and command, family and transport, and the length of what follows.
pub(super) const HEAD_BYTES: usize = V2_SIGNATURE.len() + 4;
/// Octets behind the head that are read; a longer block is refused.
pub const BLOCK_BYTES_MAX: usize = 4096;
/// Section 2.2.5.
pub const UNIQUE_ID_BYTES_MAX: usize = 128;
/// RFC 1035, section 2.3.4, and RFC 6066, section 3: no host is longer.
const AUTHORITY_BYTES_MAX: usize = 255;
/// The path of a Unix socket, filled up with zeros.
const UNIX_PATH_BYTES: usize = 108;
const CHECKSUM_BYTES: usize = 4;
/// The bit field and the verdict in front of the values within `SSL`.
const SSL_HEAD_BYTES: usize = 5;

pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;
pub(super) const UNSPEC: u8 = 0x00;
pub(super) const TCP_OVER_IPV4: u8 = 0x11;
pub(super) const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

const TYPE_ALPN: u8 = 0x01;
const TYPE_AUTHORITY: u8 = 0x02;
const TYPE_CRC32C: u8 = 0x03;
const TYPE_UNIQUE_ID: u8 = 0x05;
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_VERSION: u8 = 0x21;
const SUBTYPE_SSL_CN: u8 = 0x22;
const SUBTYPE_SSL_CIPHER: u8 = 0x23;
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
const CLIENT_CERT_SESS: u8 = 0x04;

/// Reads a header whose beginning is known to be that of one.
pub(super) fn parse(bytes: &[u8]) -> Result<Progress<'_>, Malformed> {
    let command = bytes.get(V2_SIGNATURE.len()).copied();
    if command.is_some_and(|command| command != LOCAL && command != PROXY) {
        return Err(Malformed::Command);
    }
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else { return Ok(Progress::Partial) };
    let [.., family, high, low] = *head else { return Ok(Progress::Partial) };
    let block_length = usize::from(u16::from_be_bytes([high, low]));
    if block_length > BLOCK_BYTES_MAX {
        return Err(Malformed::TooLarge);
    }
    let Some(block) = rest.get(..block_length) else { return Ok(Progress::Partial) };
    let length = HEAD_BYTES + block_length;
    let header = |(endpoints, claims)| Header { length, endpoints, claims };
    if command == Some(LOCAL) {
        // "discard the protocol block including the family which is ignored"
        return Ok(Progress::Complete(header((Endpoints::Local, Claims::default()))));
    }
    proxied(&bytes[..length], family, block).map(|said| Progress::Complete(header(said)))
}

/// What a block says of somebody else's connection.
fn proxied<'a>(header: &'a [u8], family: u8, block: &'a [u8]) -> Result<(Endpoints<'a>, Claims<'a>), Malformed> {
    let (addresses, transport) = (family >> 4, family & 0x0f);
    let address_bytes = match (addresses, transport) {
        (0, 0..=2) => return unspecified(header, block),
        (1, 0..=2) => 2 * 4 + 4,
        (2, 0..=2) => 2 * 16 + 4,
        (3, 0..=2) => 2 * UNIX_PATH_BYTES,
        _ => return Err(Malformed::Family),
    };
    let (front, values) = block.split_at_checked(address_bytes).ok_or(Malformed::Length)?;
    let claims = claims(header, values)?;
    let endpoints = match family {
        TCP_OVER_IPV4 => inet(front, |octets: [u8; 4]| IpAddr::V4(Ipv4Addr::from(octets))),
        TCP_OVER_IPV6 => inet(front, |octets: [u8; 16]| IpAddr::V6(Ipv6Addr::from(octets))),
        UNIX_STREAM => {
            let (source, destination) = front.split_at(UNIX_PATH_BYTES);
            Some(Endpoints::Unix { source: path(source), destination: path(destination) })
        }
        // "it automatically falls back to the UNSPEC mode for the valid combinations above that it does not support"
        _ => Some(Endpoints::Unknown),
    };
    Ok((endpoints.ok_or(Malformed::Length)?, claims))
}

/// A block without addresses: it may hold values, or what nobody can read, which is to be ignored.
fn unspecified<'a>(header: &'a [u8], block: &'a [u8]) -> Result<(Endpoints<'a>, Claims<'a>), Malformed> {
    match claims(header, block) {
        Err(Malformed::Checksum) => Err(Malformed::Checksum),
        said => Ok((Endpoints::Unknown, said.unwrap_or_default())),
    }
}

/// Source, destination and both ports.
fn inet<const N: usize>(front: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Option<Endpoints<'static>> {
    let (source, rest) = front.split_first_chunk::<N>()?;
    let (destination, ports) = rest.split_first_chunk::<N>()?;
    let [a, b, c, d] = *ports else { return None };
    Some(Endpoints::Inet {
        source: SocketAddr::new(ip(*source), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(ip(*destination), u16::from_be_bytes([c, d])),
    })
}

/// Up to the first zero.
fn path(filled: &[u8]) -> &[u8] {
    &filled[..memchr::memchr(0, filled).unwrap_or(filled.len())]
}

/// Values one behind the other; each is whole or the rest is an error.
struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let whole = match *self.0 {
            [] => return None,
            [kind, high, low, ref rest @ ..] => rest
                .split_at_checked(usize::from(u16::from_be_bytes([high, low])))
                .map(|(value, rest)| (kind, value, rest)),
            _ => None,
        };
        let (kind, value, rest) = whole.unwrap_or((0, &[], &[]));
        self.0 = rest;
        Some(if whole.is_some() { Ok((kind, value)) } else { Err(Malformed::Length) })
    }
}

/// Reads the values behind the addresses. Types that are not known are skipped.
fn claims<'a>(header: &'a [u8], values: &'a [u8]) -> Result<Claims<'a>, Malformed> {
    let (mut claims, mut checked) = (Claims::default(), false);
    let mut values = Values(values);
    while let Some(value) = values.next() {
        let (kind, value) = value?;
        let at_most = |bytes_max| if value.len() <= bytes_max { Ok(value) } else { Err(Malformed::Value) };
        match kind {
            TYPE_ALPN => claims.alpn = Some(at_most(usize::from(u8::MAX))?),
            TYPE_AUTHORITY => {
                let text = std::str::from_utf8(at_most(AUTHORITY_BYTES_MAX)?);
                claims.authority = Some(text.map_err(|_| Malformed::Value)?);
            }
            // A second sum could not hold: the first one covers it.
            TYPE_CRC32C if checked => return Err(Malformed::Checksum),
            TYPE_CRC32C => {
                checked = true;
                verify(header, value, values.0.len())?;
            }
            TYPE_UNIQUE_ID => claims.unique_id = Some(at_most(UNIQUE_ID_BYTES_MAX)?),
            TYPE_SSL => claims.ssl = Some(ssl(value)?),
            _ => {}
        }
    }
    Ok(claims)
}

/// Section 2.2.3: the sum is that of the whole header with zeros in place of the sum, behind which `left` octets stand.
fn verify(header: &[u8], sum: &[u8], left: usize) -> Result<(), Malformed> {
    let expected = <[u8; CHECKSUM_BYTES]>::try_from(sum).map_err(|_| Malformed::Value)?;
    let (front, behind) = header.split_at(header.len() - left);
    let before = &front[..front.len() - CHECKSUM_BYTES];
    let found = Crc32c::default().add(before).add(&[0; CHECKSUM_BYTES]).add(behind).sum();
    if found == u32::from_be_bytes(expected) { Ok(()) } else { Err(Malformed::Checksum) }
}

/// Section 2.2.6.
fn ssl(value: &[u8]) -> Result<Ssl<'_>, Malformed> {
    let (head, values) = value.split_at_checked(SSL_HEAD_BYTES).ok_or(Malformed::Value)?;
    let has = |bits: u8| head[0] & bits != 0;
    let mut ssl = Ssl {
        by_tls: has(CLIENT_SSL),
        has_certificate: has(CLIENT_CERT_CONN | CLIENT_CERT_SESS),
        verified: head[1..] == [0; SSL_HEAD_BYTES - 1],
        ..Ssl::default()
    };
    for value in Values(values) {
        match value? {
            (SUBTYPE_SSL_VERSION, text) => ssl.version = Some(text),
            (SUBTYPE_SSL_CN, text) => ssl.common_name = Some(text),
            (SUBTYPE_SSL_CIPHER, text) => ssl.cipher = Some(text),
            _ => {}
        }
    }
    Ok(ssl)
}
