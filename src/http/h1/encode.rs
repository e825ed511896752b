//! Writes HTTP/1.1 heads by appending to a buffer. What we write, our own reader reads the same.
//!
//! Received octets are only ever written where they are, octet for octet, what we would write ourselves: a run of
//! canonical lines is one copy, every other field is written anew from its parsed form.

use crate::http::header::Field;
use crate::http::status::status_line;

/// Octets of an IMF-fixdate (RFC 9110, section 5.6.7).
pub const DATE_BYTES: usize = 29;

/// Writes a request line. Both texts come from a parsed head or a compiled rewrite: tokens without white space.
#[inline]
pub fn write_request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    debug_assert!(is_line_part(method) && is_line_part(target), "a request line has exactly two spaces");
    out.reserve(method.len() + target.len() + 12);
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes a status line with the registered reason phrase; a code without one keeps its space (RFC 9112, section 4).
#[inline]
pub fn write_status_line(out: &mut Vec<u8>, status: u16) {
    debug_assert!((100..=999).contains(&status), "a status has three digits");
    match status_line(status) {
        Some(line) => out.extend_from_slice(line),
        None => write_plain_status_line(out, status),
    }
}

#[cold]
fn write_plain_status_line(out: &mut Vec<u8>, status: u16) {
    let digits = [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&digits);
    out.extend_from_slice(b" \r\n");
}

/// Writes one field line. The name is a token; the value holds no controls but HTAB and no white space at its ends.
#[inline]
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_line_part(name), "a field name is a token");
    debug_assert!(is_value(value), "a field value fits one line");
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes the fields that `skip` does not name, in order. `bytes` is the buffer they were parsed from.
#[inline]
pub fn copy_fields(out: &mut Vec<u8>, bytes: &[u8], fields: &[Field], skip: impl Fn(&Field) -> bool) {
    let mut rest = fields.iter();
    while let Some(first) = rest.next() {
        if skip(first) {
            continue;
        }
        if !first.canonical {
            write_field(out, first.name.of(bytes), first.value.of(bytes));
            continue;
        }
        // What stands behind a canonical line is the next one.
        let mut run = first.line();
        let mut next = rest.as_slice();
        while let [field, behind @ ..] = next
            && field.canonical
            && !skip(field)
        {
            debug_assert_eq!(field.name.start, run.end, "fields are in order of arrival");
            run.end = field.line().end;
            next = behind;
        }
        rest = next.iter();
        out.extend_from_slice(run.of(bytes));
    }
}

/// Writes how long the content is.
#[inline]
pub fn write_content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes that the content comes in chunks.
#[inline]
pub fn write_chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// Writes that the connection ends after this message.
#[inline]
pub fn write_connection_close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"connection: close\r\n");
}

/// Writes the date line; `date` is formatted once a second, not once a response.
#[inline]
pub fn write_date(out: &mut Vec<u8>, date: &[u8; DATE_BYTES]) {
    let mut line = *b"date: .............................\r\n";
    line[6..6 + DATE_BYTES].copy_from_slice(date);
    out.extend_from_slice(&line);
}

/// Ends the head.
#[inline]
pub fn write_head_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

fn is_line_part(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic)
}

fn is_value(value: &[u8]) -> bool {
    let padded = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    !padded(value.first())
        && !padded(value.last())
        && value.iter().all(|octet| !octet.is_ascii_control() || *octet == b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::RequestHead;
    use crate::http::h1::{HeadLimits, HeadScanner};
    use crate::http::header::KnownName;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nA:b\r\nTe: x\r\nC: d \r\nE: f\r\nG: h\r\n\r\n";

    fn parsed() -> RequestHead {
        let mut head = RequestHead::default();
        HeadScanner::default().request(HEAD, &mut head, &HeadLimits::default()).unwrap();
        head
    }

    #[test]
    fn fields_are_written_in_order_and_in_one_form() {
        let mut out = Vec::new();
        copy_fields(&mut out, HEAD, parsed().fields.as_slice(), |_| false);
        assert_eq!(out, b"Host: a\r\nA: b\r\nTe: x\r\nC: d\r\nE: f\r\nG: h\r\n");
    }

    #[test]
    fn skipped_fields_leave_no_trace() {
        let mut out = Vec::new();
        let skip = |field: &Field| field.known == Some(KnownName::Te) || field.name.of(HEAD) == b"G";
        copy_fields(&mut out, HEAD, parsed().fields.as_slice(), skip);
        assert_eq!(out, b"Host: a\r\nA: b\r\nC: d\r\nE: f\r\n");
        out.clear();
        copy_fields(&mut out, HEAD, parsed().fields.as_slice(), |_| true);
        assert_eq!(out, b"");
    }

    #[test]
    fn lines_have_their_registered_forms() {
        let mut out = Vec::new();
        write_request_line(&mut out, b"GET", b"/x?y");
        write_status_line(&mut out, 200);
        write_status_line(&mut out, 599);
        write_content_length(&mut out, 1024);
        write_chunked(&mut out);
        write_date(&mut out, b"Tue, 24 Nov 2026 05:00:00 GMT");
        write_connection_close(&mut out);
        write_head_end(&mut out);
        let expected = "GET /x?y HTTP/1.1\r\nHTTP/1.1 200 OK\r\nHTTP/1.1 599 \r\ncontent-length: 1024\r\n\
            transfer-encoding: chunked\r\ndate: Tue, 24 Nov 2026 05:00:00 GMT\r\nconnection: close\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
