//! Message heads as span tables over the receive buffer: parsed once, never copied, reused from message to message.

use super::Method;
use super::header::Fields;

/// A range of the buffer a head was parsed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The range from `start` to `end`; heads are bounded far below 4 GiB.
    #[inline]
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u32::MAX as usize, "a head is at most 64 KiB");
        Self { start: start as u32, end: end as u32 }
    }

    /// The bytes of this range.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// Number of bytes.
    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the range is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A protocol version we speak; other minor versions of HTTP/1 count as the highest we know (RFC 9112, section 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// What a client speaks: a request of HTTP/2 has been translated when it is a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http10,
    Http11,
    Http2,
}

impl From<Version> for Protocol {
    #[inline]
    fn from(version: Version) -> Self {
        match version {
            Version::Http10 => Self::Http10,
            Version::Http11 => Self::Http11,
        }
    }
}

impl Protocol {
    /// As the log has it; all are of one length, which the compiler sees.
    #[inline]
    pub fn text(self) -> &'static [u8; 8] {
        match self {
            Self::Http10 => b"HTTP/1.0",
            Self::Http11 => b"HTTP/1.1",
            Self::Http2 => b"HTTP/2.0",
        }
    }
}

/// How a message's content is delimited (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// No content follows the head.
    #[default]
    Empty,
    /// Exactly so many octets follow.
    Length(u64),
    /// Chunks, then a trailer section.
    Chunked,
    /// Everything until the connection closes: responses only.
    UntilClose,
}

/// A parsed request head.
#[derive(Debug, Default)]
pub struct RequestHead {
    pub method: Method,
    /// The method token as received.
    pub method_text: Span,
    /// The request target as received; never forwarded in this form.
    pub target: Span,
    pub version: Version,
    pub fields: Fields,
    pub body: Body,
    /// Octets from the start of the buffer to the end of the empty line.
    pub length: usize,
}

/// A parsed response head.
#[derive(Debug, Default)]
pub struct ResponseHead {
    pub version: Version,
    pub status: u16,
    pub reason: Span,
    pub fields: Fields,
    pub body: Body,
    /// Octets from the start of the buffer to the end of the empty line.
    pub length: usize,
}
