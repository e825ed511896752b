//! The one request and the one response of the comparison, and the strict reading of what comes back.

/// Bytes of the response body.
pub const BODY_BYTES: usize = 1024;

const EMPTY_LINE: &[u8] = b"\r\n\r\n";

/// The longest head either side accepts.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A GET with nine header fields, as a browser behind a session would send it.
pub const REQUEST: &[u8] = b"GET /api/orders/1842?page=3&per_page=50 HTTP/1.1\r\n\
Host: api.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36\r\n\
Accept: application/json, text/plain, */*\r\n\
Accept-Language: en-GB,en;q=0.8,de;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Referer: https://app.example.com/orders\r\n\
Cookie: session=3f1c9a6be7d04c6f8f5d2b1a; theme=dark\r\n\
X-Client-Version: 4.18.2\r\n\
Cache-Control: no-cache\r\n\
\r\n";

/// Eight header fields before a body of [`BODY_BYTES`].
pub const RESPONSE_HEAD: &str = "HTTP/1.1 200 OK\r\n\
Server: backend\r\n\
Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
Content-Type: application/json\r\n\
Content-Length: 1024\r\n\
Cache-Control: private, max-age=0\r\n\
ETag: \"5f2b-18c3a9d2e40\"\r\n\
Last-Modified: Wed, 31 Dec 2025 23:00:00 GMT\r\n\
Vary: Accept-Encoding\r\n\
\r\n";

const _: () = assert!(BODY_BYTES == 1024, "the head above says so");

/// Why a response does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Status,
    Framing,
    Body,
    ClosedEarly,
    Connect,
    Write,
    Handshake,
}

/// The number of faults, to index counters.
pub const FAULTS: [Fault; 7] =
    [Fault::Status, Fault::Framing, Fault::Body, Fault::ClosedEarly, Fault::Connect, Fault::Write, Fault::Handshake];

/// A response that was read to its end.
pub struct Complete {
    pub bytes: usize,
    pub close: bool,
}

pub fn body() -> [u8; BODY_BYTES] {
    std::array::from_fn(|index| b'a' + (index % 23) as u8)
}

pub fn response() -> Vec<u8> {
    [RESPONSE_HEAD.as_bytes(), &body()].concat()
}

/// The length of the first head in `bytes`, its empty line included.
///
/// Looks first where the head ends if exactly one message with `body` bytes has arrived, which is the rule.
pub fn head_length(bytes: &[u8], body: usize) -> Option<usize> {
    let expected = bytes.len().saturating_sub(body);
    if bytes[..expected].ends_with(EMPTY_LINE) {
        return Some(expected);
    }
    bytes.windows(EMPTY_LINE.len()).position(|window| window == EMPTY_LINE).map(|start| start + EMPTY_LINE.len())
}

/// Reads one response: exactly status 200, one length, and the body the backend sends.
pub fn read_response(bytes: &[u8], body: &[u8; BODY_BYTES]) -> Result<Option<Complete>, Fault> {
    let Some(head) = head_length(bytes, BODY_BYTES) else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(Fault::Framing) } else { Ok(None) };
    };
    if !bytes.starts_with(b"HTTP/1.1 200 ") {
        return Err(Fault::Status);
    }
    let close = read_fields(&bytes[..head])?;
    let end = head + BODY_BYTES;
    if bytes.len() < end {
        return Ok(None);
    }
    if bytes[head..end] != body[..] {
        return Err(Fault::Body);
    }
    Ok(Some(Complete { bytes: end, close }))
}

/// Demands the expected length, and says whether the connection ends here.
fn read_fields(head: &[u8]) -> Result<bool, Fault> {
    let (mut sized, mut close) = (false, false);
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => sized = value == b"1024",
            10 if name.eq_ignore_ascii_case(b"connection") => close = value.eq_ignore_ascii_case(b"close"),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return Err(Fault::Framing),
            _ => {}
        }
    }
    if sized { Ok(close) } else { Err(Fault::Framing) }
}
