//! The PROXY protocol, versions 1 and 2: what a load balancer says of a connection before anything else on it
//! (`proxy-protocol.txt` of HAProxy, revision 2020/03/05).
//!
//! Nothing is guessed: who reads a header expects one. Everything borrows from the bytes that were received.

mod crc32c;
#[cfg(test)]
mod tests;
mod v1;
mod v2;
mod write;

use std::net::SocketAddr;

pub use v2::{BLOCK_BYTES_MAX, UNIQUE_ID_BYTES_MAX};
pub use write::{HEADER_BYTES_MAX, Version, Written, write};

/// How every header of version 1 begins.
const V1_PREFIX: &[u8] = b"PROXY ";
/// How every header of version 2 begins.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Octets of it; behind them the connection's own begin.
    pub length: usize,
    pub endpoints: Endpoints<'a>,
    pub claims: Claims<'a>,
}

/// Between whom the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints<'a> {
    /// The sender speaks for itself, as for a health check: its socket says all there is to say.
    Local,
    /// The sender cannot say: UNKNOWN, UNSPEC, or a transport that has no streams.
    Unknown,
    /// Both of one family.
    Inet { source: SocketAddr, destination: SocketAddr },
    /// The paths of Unix sockets; one without a name is empty.
    Unix { source: &'a [u8], destination: &'a [u8] },
}

/// What else version 2 may say. Claims of the sender: worth a line in the log, never an identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims<'a> {
    /// The protocol chosen by ALPN.
    pub alpn: Option<&'a [u8]>,
    /// The host that the client asked for, by SNI for example.
    pub authority: Option<&'a str>,
    pub unique_id: Option<&'a [u8]>,
    /// How the client's own connection was secured.
    pub ssl: Option<Ssl<'a>>,
}

/// What the sender says of the client's TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ssl<'a> {
    /// Whether there was TLS at all.
    pub by_tls: bool,
    /// Whether the client has presented a certificate, on this connection or on the session's first.
    pub has_certificate: bool,
    /// Whether that was verified.
    pub verified: bool,
    /// Such as `TLSv1.3`.
    pub version: Option<&'a [u8]>,
    pub cipher: Option<&'a [u8]>,
    /// The common name of the client's certificate.
    pub common_name: Option<&'a [u8]>,
}

/// How far a header was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// What there is may be the beginning of one.
    Partial,
    Complete(Header<'a>),
}

/// Why this is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.word())]
pub enum Malformed {
    /// It does not begin like one: whoever sent this speaks something else.
    Missing,
    /// The line is longer than any may be, or does not end as it must.
    Line,
    /// A family that does not exist.
    Family,
    Address,
    Port,
    /// A version or a command that does not exist.
    Command,
    /// The block is longer than we read.
    TooLarge,
    /// The block does not hold what its head promises.
    Length,
    /// A value with a length of its own that it must not have, or that is not text where it must be.
    Value,
    Checksum,
}

impl Malformed {
    /// The word for it in the log and the metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Line => "bad-line",
            Self::Family => "bad-family",
            Self::Address => "bad-address",
            Self::Port => "bad-port",
            Self::Command => "bad-command",
            Self::TooLarge => "too-large",
            Self::Length => "bad-length",
            Self::Value => "bad-value",
            Self::Checksum => "bad-checksum",
        }
    }
}

/// Reads the header at the front of `bytes`. What cannot become one is refused with the octet that shows it.
pub fn parse(bytes: &[u8]) -> Result<Progress<'_>, Malformed> {
    if begins_alike(bytes, V2_SIGNATURE) {
        return v2::parse(bytes);
    }
    if begins_alike(bytes, V1_PREFIX) {
        return v1::parse(bytes);
    }
    Err(Malformed::Missing)
}

/// Whether the two agree as far as the shorter one goes.
fn begins_alike(bytes: &[u8], prefix: &[u8]) -> bool {
    let common = bytes.len().min(prefix.len());
    bytes[..common] == prefix[..common]
}
