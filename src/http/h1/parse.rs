//! Reads request and response heads (RFC 9112, sections 2 to 6): strict, resumable, without allocation.
//!
//! Nothing is repaired: whatever two readers might understand differently is refused. Knows no connection and no
//! policy; what the target means is not judged here either.

use super::error::{FieldError, FramingError, RequestError, ResponseError};
use super::scan::{control, invisible};
use super::section::{Cursor, Section, scan_fields, value_fault};
use crate::http::header::{Fields, KnownName, is_token};
use crate::http::{Body, Method, RequestHead, ResponseHead, Span, Version};

/// Longer method tokens are answered with 501.
pub const METHOD_BYTES_MAX: usize = 32;
/// The largest content length: what fits a signed file offset.
pub const CONTENT_LENGTH_MAX: u64 = i64::MAX as u64;
/// So many digits are below [`CONTENT_LENGTH_MAX`] in any case.
const DIGITS_SURE: usize = 18;
/// Octets of ` HTTP/1.1` with its line end.
const VERSION_BYTES: usize = 11;
/// By far the commonest status line.
const OK_LINE: &[u8; 17] = b"HTTP/1.1 200 OK\r\n";
/// Octets of `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// The bounds of a head; beyond them a request earns 414 or 431, as soon as no continuation could keep within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head, or the whole trailer section.
    pub head_bytes_max: usize,
    /// One field line with its line end, or one status line.
    pub field_bytes_max: usize,
    /// Field lines.
    pub fields_max: usize,
    /// The request target.
    pub target_bytes_max: usize,
    /// Whether an HTTP/1.0 request may come without Host, because the listener names a default.
    pub http10_without_host: bool,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 * 1024,
            field_bytes_max: 16 * 1024,
            fields_max: 100,
            target_bytes_max: 16 * 1024,
            http10_without_host: false,
        }
    }
}

impl HeadLimits {
    /// The part of `bytes` a head may lie in: what stands beyond never decides anything.
    #[inline(always)]
    pub(super) fn window<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[..bytes.len().min(self.head_bytes_max)]
    }
}

/// Whether the head has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Complete,
    /// Call again with the same bytes and more behind them.
    Partial,
}

/// Reads one head after the other. While a head is incomplete the scanner remembers how far it came, so that each
/// octet is looked at once; after a complete one it is ready for the next. After an error it must not be used again.
///
/// ```text
/// start line ──▶ fields ──▶ complete (back to start line)
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    in_fields: bool,
    cursor: Cursor,
}

impl HeadScanner {
    /// Reads a request head from the start of `bytes`. `head` must be the same on every call for one head.
    pub fn request(
        &mut self,
        bytes: &[u8],
        head: &mut RequestHead,
        limits: &HeadLimits,
    ) -> Result<Progress, RequestError> {
        let mut cursor = self.cursor;
        if !self.in_fields {
            let window = limits.window(bytes);
            let Some(next) = self.request_line(window, head, limits)? else {
                return Ok(unfinished_line(window, limits.head_bytes_max)?);
            };
            cursor = Cursor::at(next);
            head.fields.clear();
        }
        let end = match scan_fields(cursor, bytes, &mut head.fields, limits)? {
            Section::Ended(end) => end,
            Section::Unfinished(cursor) => {
                *self = Self { in_fields: true, cursor };
                return Ok(Progress::Partial);
            }
        };
        *self = Self::default();
        let host_optional = head.version == Version::Http10 && limits.http10_without_host;
        if !head.fields.has(KnownName::Host) && !host_optional {
            return Err(RequestError::MissingHost);
        }
        if head.fields.repeated() & KnownName::Host.bit() != 0 {
            return Err(RequestError::DuplicateHost);
        }
        head.body = framing(bytes, &head.fields, head.version, Body::Empty)?;
        head.length = end;
        Ok(Progress::Complete)
    }

    /// Reads a response head from the start of `bytes`. `head` must be the same on every call for one head;
    /// `request_method` is the method of the request it answers.
    pub fn response(
        &mut self,
        bytes: &[u8],
        head: &mut ResponseHead,
        request_method: Method,
        limits: &HeadLimits,
    ) -> Result<Progress, ResponseError> {
        let mut cursor = self.cursor;
        if !self.in_fields {
            let limit = limits.head_bytes_max.min(limits.field_bytes_max);
            let window = &bytes[..bytes.len().min(limit)];
            let Some(next) = self.status_line(window, head)? else {
                return Ok(unfinished_line(window, limit)?);
            };
            cursor = Cursor::at(next);
            head.fields.clear();
        }
        let end = match scan_fields(cursor, bytes, &mut head.fields, limits)? {
            Section::Ended(end) => end,
            Section::Unfinished(cursor) => {
                *self = Self { in_fields: true, cursor };
                return Ok(Progress::Partial);
            }
        };
        *self = Self::default();
        head.body = framing(bytes, &head.fields, head.version, Body::UntilClose)?;
        // RFC 9112, section 6.3, rule 1: these end with the head whatever their fields say.
        if request_method == Method::Head || matches!(head.status, 100..=199 | 204 | 304) {
            head.body = Body::Empty;
        }
        head.length = end;
        Ok(Progress::Complete)
    }

    /// Reads the request line; answers with the start of the field section.
    #[inline(always)]
    fn request_line(
        &mut self,
        window: &[u8],
        head: &mut RequestHead,
        limits: &HeadLimits,
    ) -> Result<Option<usize>, RequestError> {
        let line = match window.first() {
            Some(b'\r') => match empty_line(window)? {
                Some(line) => line,
                None => return Ok(None),
            },
            _ => 0,
        };
        let Some((method, method_end)) = method(window, line)? else { return Ok(None) };
        head.method_text = Span::new(line, method_end);
        head.method = method;
        let Some(target_end) = self.target_end(window, method_end + 1, limits)? else { return Ok(None) };
        head.target = Span::new(method_end + 1, target_end);
        let rest = &window[target_end..];
        if rest.first_chunk() == Some(b" HTTP/1.1\r\n") {
            head.version = Version::Http11;
            return Ok(Some(target_end + VERSION_BYTES));
        }
        let Some(version) = request_version(rest, &window[line..target_end])? else { return Ok(None) };
        head.version = version;
        Ok(Some(target_end + VERSION_BYTES))
    }

    /// The end of the request target that starts at `start`.
    #[inline(always)]
    fn target_end(&mut self, window: &[u8], start: usize, limits: &HeadLimits) -> Result<Option<usize>, RequestError> {
        let limit = limits.head_bytes_max.min(start + limits.target_bytes_max + 1);
        let view = &window[..window.len().min(limit)];
        let end = invisible(view, start.max(self.cursor.scanned));
        match view.get(end) {
            Some(b' ') if end > start => Ok(Some(end)),
            Some(&octet) => Err(target_fault(octet)),
            None if view.len() >= limit => Err(RequestError::TargetTooLong),
            None => {
                self.cursor.scanned = end;
                Ok(None)
            }
        }
    }

    /// Reads the status line; answers with the start of the field section.
    #[inline(always)]
    fn status_line(&mut self, view: &[u8], head: &mut ResponseHead) -> Result<Option<usize>, ResponseError> {
        if view.first_chunk() == Some(OK_LINE) {
            head.version = Version::Http11;
            head.status = 200;
            head.reason = Span::new(STATUS_BYTES + 1, OK_LINE.len() - 2);
            return Ok(Some(OK_LINE.len()));
        }
        self.any_status_line(view, head)
    }

    #[inline(never)]
    fn any_status_line(&mut self, view: &[u8], head: &mut ResponseHead) -> Result<Option<usize>, ResponseError> {
        let Some((version, status)) = version_and_status(view)? else { return Ok(None) };
        let start = match view.get(STATUS_BYTES) {
            Some(b' ') => STATUS_BYTES + 1,
            Some(b'\r') => STATUS_BYTES,
            Some(b'\n') => return Err(FieldError::BareLf.into()),
            Some(_) => return Err(ResponseError::InvalidStatusLine),
            None => return Ok(None),
        };
        let end = control(view, start.max(self.cursor.scanned));
        let Some([b'\r', b'\n', ..]) = view.get(end..) else {
            self.cursor.scanned = end;
            return Ok(value_fault(&view[end..])?);
        };
        head.version = version;
        head.status = status;
        head.reason = Span::new(start, end);
        Ok(Some(end + 2))
    }
}

/// One empty line before the request line is ignored (RFC 9112, section 2.2).
#[cold]
fn empty_line(window: &[u8]) -> Result<Option<usize>, RequestError> {
    match window {
        [_] => Ok(None),
        [_, b'\n', ..] => Ok(Some(2)),
        _ => Err(FieldError::BareCr.into()),
    }
}

/// The method token that starts at `line`, and its end.
#[inline(always)]
fn method(window: &[u8], line: usize) -> Result<Option<(Method, usize)>, RequestError> {
    let rest = window.get(line..).unwrap_or_default();
    if rest.first_chunk() == Some(b"GET ") {
        return Ok(Some((Method::Get, line + 3)));
    }
    if rest.first_chunk() == Some(b"POST ") {
        return Ok(Some((Method::Post, line + 4)));
    }
    let end = any_method_end(window, line)?;
    Ok(end.map(|end| (Method::of(&window[line..end]), end)))
}

#[cold]
fn any_method_end(window: &[u8], line: usize) -> Result<Option<usize>, RequestError> {
    let rest = window.get(line..).unwrap_or_default();
    match rest.iter().position(|&octet| !is_token(octet)) {
        Some(length) if length > METHOD_BYTES_MAX => Err(RequestError::MethodTooLong),
        Some(0) if matches!(rest[0], b' ' | b'\t' | b'\r') => Err(RequestError::InvalidRequestLine),
        Some(length) if rest[length] == b' ' => Ok(Some(line + length)),
        Some(length) if rest[length] == b'\n' => Err(FieldError::BareLf.into()),
        Some(_) => Err(RequestError::InvalidMethod),
        None if rest.len() > METHOD_BYTES_MAX => Err(RequestError::MethodTooLong),
        None => Ok(None),
    }
}

#[cold]
fn target_fault(octet: u8) -> RequestError {
    match octet {
        b'\n' => FieldError::BareLf.into(),
        b' ' | b'\r' => RequestError::InvalidRequestLine,
        _ => RequestError::InvalidTarget,
    }
}

/// A start line whose end has not arrived, unless it can no longer keep within the limit.
#[cold]
fn unfinished_line(window: &[u8], bytes_max: usize) -> Result<Progress, FieldError> {
    if window.len() >= bytes_max { Err(FieldError::HeadTooLarge) } else { Ok(Progress::Partial) }
}

/// How far bytes follow a pattern, in which `0` stands for any digit.
enum Match {
    Whole,
    /// The bytes end before the pattern does.
    Begun,
    /// This octet does not fit.
    Not(u8),
}

fn follow(bytes: &[u8], pattern: &[u8]) -> Match {
    for (&octet, &wanted) in bytes.iter().zip(pattern) {
        let fits = if wanted == b'0' { octet.is_ascii_digit() } else { octet == wanted };
        if !fits {
            return Match::Not(octet);
        }
    }
    if bytes.len() < pattern.len() { Match::Begun } else { Match::Whole }
}

/// The version of a request that is not the usual one. `line` is the request line up to the target's end.
#[cold]
fn request_version(rest: &[u8], line: &[u8]) -> Result<Option<Version>, RequestError> {
    match follow(rest, b" HTTP/0.0\r\n") {
        Match::Begun => Ok(None),
        Match::Not(b'\n') => Err(FieldError::BareLf.into()),
        Match::Not(_) => Err(RequestError::InvalidRequestLine),
        Match::Whole => match (rest[6], rest[8]) {
            (b'1', b'0') => Ok(Some(Version::Http10)),
            (b'1', _) => Ok(Some(Version::Http11)),
            (b'2', b'0') if line == b"PRI *" => Err(RequestError::Http2Preface),
            _ => Err(RequestError::UnsupportedVersion),
        },
    }
}

/// Three digits from 100.
fn status(digits: [u8; 3]) -> Option<u16> {
    let [a, b, c] = digits.map(|digit| u16::from(digit.wrapping_sub(b'0')));
    (a.wrapping_sub(1) <= 8 && b <= 9 && c <= 9).then_some(a * 100 + b * 10 + c)
}

/// The first twelve octets of a status line.
fn version_and_status(view: &[u8]) -> Result<Option<(Version, u16)>, ResponseError> {
    let Some(version) = response_version(view)? else { return Ok(None) };
    let Some(&digits) = view.get(STATUS_BYTES - 3..STATUS_BYTES).and_then(|digits| digits.first_chunk()) else {
        return status_begun(view);
    };
    match status(digits) {
        Some(status) => Ok(Some((version, status))),
        None => Err(ResponseError::InvalidStatus),
    }
}

#[cold]
fn status_begun<T>(view: &[u8]) -> Result<Option<T>, ResponseError> {
    match follow(view, b"HTTP/0.0 000") {
        Match::Not(_) => Err(ResponseError::InvalidStatus),
        _ if view.get(STATUS_BYTES - 3) == Some(&b'0') => Err(ResponseError::InvalidStatus),
        _ => Ok(None),
    }
}

fn response_version(view: &[u8]) -> Result<Option<Version>, ResponseError> {
    match follow(view, b"HTTP/0.0 ") {
        Match::Begun => Ok(None),
        Match::Not(b'\n') => Err(FieldError::BareLf.into()),
        Match::Not(_) => Err(ResponseError::InvalidStatusLine),
        Match::Whole => match (view[5], view[7]) {
            (b'1', b'0') => Ok(Some(Version::Http10)),
            (b'1', _) => Ok(Some(Version::Http11)),
            _ => Err(ResponseError::UnsupportedVersion),
        },
    }
}

/// How the content of a complete head is delimited (RFC 9112, sections 6.1 to 6.3): by its fields, or as `unsaid`.
#[inline(always)]
fn framing(bytes: &[u8], fields: &Fields, version: Version, unsaid: Body) -> Result<Body, FramingError> {
    const LENGTH: u128 = KnownName::ContentLength.bit();
    const CODING: u128 = KnownName::TransferEncoding.bit();
    if fields.known() & CODING != 0 {
        return coding(bytes, fields, version);
    }
    if fields.repeated() & LENGTH != 0 {
        return Err(FramingError::DuplicateContentLength);
    }
    match fields.first(KnownName::ContentLength, bytes) {
        Some(value) => content_length(value).map(Body::Length).ok_or(FramingError::InvalidContentLength),
        None => Ok(unsaid),
    }
}

/// What a transfer coding says, and what else stands beside it.
#[inline(never)]
fn coding(bytes: &[u8], fields: &Fields, version: Version) -> Result<Body, FramingError> {
    if fields.has(KnownName::ContentLength) {
        return Err(FramingError::LengthAndCoding);
    }
    if version == Version::Http10 {
        return Err(FramingError::CodingInHttp10);
    }
    // RFC 9112, section 6.1: `chunked` is never applied twice, not even by a second line.
    let mut values = fields.all(KnownName::TransferEncoding).map(|field| field.value.of(bytes));
    match (values.next(), values.next()) {
        (Some(value), None) if value.eq_ignore_ascii_case(b"chunked") => Ok(Body::Chunked),
        _ => Err(FramingError::UnsupportedCoding),
    }
}

/// Digits alone, and no more than fit (RFC 9110, section 8.6).
#[inline(never)]
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > DIGITS_SURE {
        return long_content_length(value);
    }
    let mut length = 0;
    for &octet in value {
        let digit = u64::from(octet.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        length = length * 10 + digit;
    }
    Some(length)
}

/// The same for no digits, or so many that they need not fit.
#[cold]
fn long_content_length(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = std::str::from_utf8(value).ok()?.parse().ok()?;
    (length <= CONTENT_LENGTH_MAX).then_some(length)
}
