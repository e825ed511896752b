//! The requests that two readers might understand differently, and what becomes of each: one table, from which the
//! documentation of the gateway's strictness is checked.

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Answered with this status by the gateway; the connection is closed; no octet goes upstream.
    Refused(u16),
    /// Answered with this status by the gateway; the connection stays open; no octet goes upstream.
    Answered(u16),
    /// Forwarded, and never octet for octet as received: these lines are in what the upstream gets.
    Forwarded(&'static [&'static str]),
}

/// One entry: what it is, the raw request, what becomes of it.
pub struct Case {
    pub name: &'static str,
    pub request: &'static str,
    pub fate: Fate,
}

const fn case(name: &'static str, request: &'static str, fate: Fate) -> Case {
    Case { name, request, fate }
}

use Fate::{Answered, Forwarded, Refused};

/// Every case.
#[rustfmt::skip]
pub const TABLE: &[Case] = &[
    // Framing.
    case("content-length with transfer-encoding", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    case("transfer-encoding with content-length", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", Refused(400)),
    case("two different lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", Refused(400)),
    case("two equal lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", Refused(400)),
    case("lengths joined by a comma", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\nhello", Refused(400)),
    case("a length with a sign", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello", Refused(400)),
    case("a negative length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n", Refused(400)),
    case("a hexadecimal length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello", Refused(400)),
    case("an empty length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n", Refused(400)),
    case("a length with a space inside", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1 0\r\n\r\n0123456789", Refused(400)),
    case("a length beyond a signed file offset", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9223372036854775808\r\n\r\n", Refused(400)),
    case("a length that overflows", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n", Refused(400)),
    case("chunked twice on one line", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Refused(501)),
    case("chunked twice on two lines", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Refused(501)),
    case("chunked not last", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refused(501)),
    case("another coding before chunked", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused(501)),
    case("identity", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", Refused(501)),
    case("chunked with a parameter", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n", Refused(501)),
    case("chunked in quotes", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused(501)),
    case("almost chunked", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", Refused(501)),
    case("chunked behind a vertical tab", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    case("transfer-encoding in HTTP/1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    case("chunked in any case", "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding:\tcHuNkEd \r\n\r\n5\r\nhello\r\n0\r\n\r\n", Forwarded(&["transfer-encoding: chunked"])),
    // Lines and fields.
    case("a folded field", "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n", Refused(400)),
    case("a folded transfer-encoding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    case("a folded transfer-encoding with a coding of its own", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip,\r\n\tchunked\r\n\r\n0\r\n\r\n", Refused(400)),
    case("a folded content-length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n 5\r\n\r\nhello", Refused(400)),
    case("a space before the colon", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 5\r\n\r\nhello", Refused(400)),
    case("a tab before the colon", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\t: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    case("a space before the first field", "GET / HTTP/1.1\r\n host: a\r\n\r\n", Refused(400)),
    case("a bare LF after the request line", "GET / HTTP/1.1\nhost: a\r\n\r\n", Refused(400)),
    case("a bare LF after a field", "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", Refused(400)),
    case("a bare LF as the empty line", "GET / HTTP/1.1\r\nhost: a\r\n\n", Refused(400)),
    case("a bare CR in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: y\rz: 1\r\n\r\n", Refused(400)),
    case("NUL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: y\0z\r\n\r\n", Refused(400)),
    case("a control in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: y\u{7}z\r\n\r\n", Refused(400)),
    case("DEL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: y\u{7f}z\r\n\r\n", Refused(400)),
    case("a name with a space", "GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n", Refused(400)),
    case("a name with a control", "GET / HTTP/1.1\r\nhost: a\r\nx\u{1}: z\r\n\r\n", Refused(400)),
    case("a name beyond ASCII", "GET / HTTP/1.1\r\nhost: a\r\n\u{e4}: z\r\n\r\n", Refused(400)),
    case("no name", "GET / HTTP/1.1\r\nhost: a\r\n: z\r\n\r\n", Refused(400)),
    case("no colon", "GET / HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n", Refused(400)),
    case("octets beyond ASCII in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: \u{e4}\u{ff}\r\n\r\n", Forwarded(&["x: \u{e4}\u{ff}"])),
    case("one empty line before the request line", "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", Forwarded(&["GET / HTTP/1.1"])),
    case("two empty lines before the request line", "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    // The request line.
    case("two spaces in the request line", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("a tab in the request line", "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("a space at the end of the request line", "GET / HTTP/1.1 \r\nhost: a\r\n\r\n", Refused(400)),
    case("a space in the target", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("no version", "GET /\r\nhost: a\r\n\r\n", Refused(400)),
    case("a lower-case version", "GET / http/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("a version with more digits", "GET / HTTP/1.10\r\nhost: a\r\n\r\n", Refused(400)),
    case("another major version", "GET / HTTP/3.0\r\nhost: a\r\n\r\n", Refused(505)),
    case("the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused(505)),
    case("a method that is no token", "G@T / HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("a method too long", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\nhost: a\r\n\r\n", Refused(501)),
    // Host.
    case("no host", "GET / HTTP/1.1\r\n\r\n", Refused(400)),
    case("no host in HTTP/1.0 without a default", "GET / HTTP/1.0\r\n\r\n", Refused(400)),
    case("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", Refused(400)),
    case("two equal hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", Refused(400)),
    case("hosts joined by a comma", "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", Answered(400)),
    case("a host with a user", "GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", Answered(400)),
    case("a host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", Answered(400)),
    case("a port that is no number", "GET / HTTP/1.1\r\nhost: a:http\r\n\r\n", Answered(400)),
    case("an empty host", "GET / HTTP/1.1\r\nhost:\r\n\r\n", Answered(400)),
    // Hop by hop.
    case("a connection option that names the framing", "POST / HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\ncontent-length: 5\r\n\r\nhello", Refused(400)),
    case("a connection option that names a credential", "GET / HTTP/1.1\r\nhost: a\r\nconnection: authorization\r\nauthorization: x\r\n\r\n", Refused(400)),
    case("a connection option that names a forwarding field", "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-forwarded-for\r\n\r\n", Refused(400)),
    case("a connection option that is no token", "GET / HTTP/1.1\r\nhost: a\r\nconnection: a b\r\n\r\n", Refused(400)),
    case("an upgrade to cleartext HTTP/2", "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n\r\n", Forwarded(&["GET / HTTP/1.1"])),
    // Targets.
    case("a path above the root", "GET /../x HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("an encoded path above the root", "GET /%2e%2E/x HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("an encoded slash", "GET /a%2Fb HTTP/1.1\r\nhost: a\r\n\r\n", Answered(400)),
    case("a backslash", "GET /a\\b HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("an encoded backslash", "GET /a%5Cb HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("an encoded NUL", "GET /a%00b HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("a broken escape", "GET /a%2 HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("a parameter on a double dot", "GET /a/..;/b HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("a fragment", "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("octets beyond ASCII in the path", "GET /\u{e4} HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("a target without a slash", "GET a HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("an asterisk for GET", "GET * HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    case("an encoded letter and a doubled slash", "GET //%61dmin HTTP/1.1\r\nhost: a\r\n\r\n", Forwarded(&["GET /admin HTTP/1.1"])),
    case("dot segments", "GET /a/./b/../c HTTP/1.1\r\nhost: a\r\n\r\n", Forwarded(&["GET /a/c HTTP/1.1"])),
    case("an escape that must stay", "GET /a%25%32f HTTP/1.1\r\nhost: a\r\n\r\n", Forwarded(&["GET /a%252f HTTP/1.1"])),
    case("the absolute form against host", "GET http://b/x HTTP/1.1\r\nhost: a\r\n\r\n", Forwarded(&["GET /x HTTP/1.1", "host: b"])),
];

/// Chunked content that is refused after the head was accepted: the answer is 400 and the upstream's connection is cut.
pub const CHUNKS: &[(&str, &str)] = &[
    ("a size that is no number", "x\r\nhello\r\n0\r\n\r\n"),
    ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
    ("a size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
    ("a size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a size with a space before", " 5\r\nhello\r\n0\r\n\r\n"),
    ("a size of 17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a size that ends with a bare LF", "5\nhello\r\n0\r\n\r\n"),
    ("content that ends with a bare LF", "5\r\nhello\n0\r\n\r\n"),
    ("content longer than its size", "5\r\nhello!\r\n0\r\n\r\n"),
    ("a bare LF in an extension", "5;a=\nb\r\nhello\r\n0\r\n\r\n"),
    ("a bare CR in an extension", "5;a=\rb\r\nhello\r\n0\r\n\r\n"),
    ("a line end in a quoted extension", "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"),
    ("a folded trailer", "5\r\nhello\r\n0\r\nx: y\r\n z\r\n\r\n"),
    ("a trailer that ends with a bare LF", "5\r\nhello\r\n0\r\nx: y\n\r\n"),
    ("a trailer with a space before the colon", "5\r\nhello\r\n0\r\nx : y\r\n\r\n"),
];
