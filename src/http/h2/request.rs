//! A request of HTTP/2 as the head of HTTP/1.1 that means the same (RFC 9113, section 8.3.1).

use std::fmt;

use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::http::authority::Authority;
use crate::http::h1::{LAST_CHUNK, write_chunked, write_field};
use crate::http::target::Scheme;

/// How the content of a translated request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// There is none.
    Empty,
    /// As long as the head declares.
    Declared,
    /// By chunks, since the client did not say how long it is.
    Chunked,
    /// Not at all: the stream changes its protocol.
    Tunnel,
}

/// Why a request is malformed (RFC 9113, section 8.1.1), where the parser of HTTP/1 could not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedRequest {
    /// A scheme that is not the connection's.
    Scheme,
    /// A `:path` that is no path.
    Path,
    /// White space around a value.
    Whitespace,
    /// A length was declared, and no content follows.
    Length,
}

impl MalformedRequest {
    /// A stable word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Scheme => "other-scheme",
            Self::Path => "path-not-origin-form",
            Self::Whitespace => "space-around-value",
            Self::Length => "length-without-content",
        }
    }
}

impl fmt::Display for MalformedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for MalformedRequest {}

/// Appends the head. `ends` says whether the request ends with its fields; `scheme` is the connection's, and
/// `any_scheme` whether the client may name another.
pub fn write_request(
    parts: &Parts,
    ends: bool,
    scheme: Scheme,
    any_scheme: bool,
    out: &mut Vec<u8>,
) -> Result<Content, MalformedRequest> {
    check_scheme(parts, scheme, any_scheme)?;
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target(parts)?.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority {
        write_field(out, b"host", authority.as_bytes());
    }
    write_fields(&parts.headers, authority, scheme, &[], out)?;
    // HTTP/1.1 says of TE that it is for one hop. The stream ends with this request.
    let connection: &[u8] = if parts.headers.contains_key(TE) { b"te, close" } else { b"close" };
    write_field(out, b"connection", connection);
    let declares = parts.headers.get(CONTENT_LENGTH);
    let content = match (ends, declares) {
        (true, Some(length)) if length.as_bytes().iter().any(|digit| *digit != b'0') => {
            return Err(MalformedRequest::Length);
        }
        (true, _) => Content::Empty,
        (false, Some(_)) => Content::Declared,
        (false, None) => {
            write_chunked(out);
            Content::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    Ok(content)
}

/// The request target: only what begins with a slash is a path, and the asterisk is for OPTIONS alone. CONNECT has none
/// but its authority.
fn target(parts: &Parts) -> Result<&str, MalformedRequest> {
    if parts.method == Method::CONNECT {
        return parts.uri.authority().map(http::uri::Authority::as_str).ok_or(MalformedRequest::Path);
    }
    let asterisk = || Some("*").filter(|_| parts.method == Method::OPTIONS && parts.uri.path() == "*");
    path(parts).or_else(asterisk).ok_or(MalformedRequest::Path)
}

/// Path and query, unless that is no path.
pub(super) fn path(parts: &Parts) -> Option<&str> {
    parts.uri.path_and_query().map(|path| path.as_str()).filter(|path| path.starts_with('/'))
}

/// A scheme that is named is that of the connection, unless the client may name another.
pub(super) fn check_scheme(parts: &Parts, scheme: Scheme, any_scheme: bool) -> Result<(), MalformedRequest> {
    let is_other = !any_scheme && parts.uri.scheme_str().is_some_and(|named| named != scheme.text());
    if is_other { Err(MalformedRequest::Scheme) } else { Ok(()) }
}

/// Appends the fields but for those `dropped`, and a `Host` that says what `authority` does.
pub(super) fn write_fields(
    fields: &HeaderMap,
    authority: Option<&str>,
    scheme: Scheme,
    dropped: &[HeaderName],
    out: &mut Vec<u8>,
) -> Result<(), MalformedRequest> {
    let mut crumbs = false;
    for (name, value) in fields {
        let value = checked(value)?;
        if name == COOKIE {
            // Section 8.2.3: crumbs are one field again, before they leave HTTP/2. The map keeps them together.
            if crumbs {
                out.truncate(out.len() - 2);
                out.extend_from_slice(b"; ");
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            } else {
                write_field(out, b"cookie", value);
                crumbs = true;
            }
        } else if name == HOST && authority.is_some_and(|authority| is_same(authority.as_bytes(), value, scheme)) {
            // `:authority` stands for it. Another host stays, and two are refused.
        } else if !dropped.contains(name) {
            write_field(out, name.as_str().as_bytes(), value);
        }
    }
    Ok(())
}

/// Section 8.2.1: a value neither begins nor ends with white space.
pub(super) fn checked(value: &HeaderValue) -> Result<&[u8], MalformedRequest> {
    let value = value.as_bytes();
    let is_space = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    if is_space(value.first()) || is_space(value.last()) {
        return Err(MalformedRequest::Whitespace);
    }
    Ok(value)
}

/// Whether two authorities mean the same, whatever their spelling.
fn is_same(authority: &[u8], host: &[u8], scheme: Scheme) -> bool {
    if authority.eq_ignore_ascii_case(host) {
        return true;
    }
    let canonical = |text: &[u8]| {
        let (mut written, mut canonical) = (Vec::new(), Vec::new());
        let authority = Authority::parse(text, scheme.default_port(), &mut written).ok()?;
        authority.append(text, &written, &mut canonical);
        Some(canonical)
    };
    canonical(authority).is_some_and(|ours| canonical(host).as_ref() == Some(&ours))
}

/// Appends what ends chunked content, with the trailers if there are any.
pub fn write_trailers(trailers: Option<&HeaderMap>, out: &mut Vec<u8>) {
    let Some(trailers) = trailers else { return out.extend_from_slice(LAST_CHUNK) };
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        write_field(out, name.as_str().as_bytes(), value.as_bytes().trim_ascii());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::http::h1::{HeadLimits, HeadScanner, Progress};
    use crate::http::{Body, RequestHead};

    fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request.body(()).unwrap().into_parts().0
    }

    fn written(parts: &Parts, ends: bool) -> Result<String, MalformedRequest> {
        let mut out = Vec::new();
        write_request(parts, ends, Scheme::Https, false, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_request_is_written_as_http_1_1_has_it() {
        let request = parts("GET", "https://a/b?c", &[("x-a", "b"), ("host", "A:443"), ("te", "trailers")]);
        let expected = "GET /b?c HTTP/1.1\r\nhost: a\r\nx-a: b\r\nte: trailers\r\nconnection: te, close\r\n\r\n";
        assert_eq!(written(&request, true).unwrap(), expected);
    }

    #[test]
    fn another_host_stays_so_that_two_are_refused() {
        let request = parts("GET", "https://a/", &[("host", "b")]);
        let text = written(&request, true).unwrap();
        assert!(text.contains("host: a\r\nhost: b\r\n"), "{text}");
    }

    #[test]
    fn the_port_of_the_scheme_may_be_left_out_and_no_other() {
        for (host, same) in [("a:443", true), ("A", true), ("a.", true), ("a:80", false), ("a:8443", false)] {
            assert_eq!(is_same(b"a", host.as_bytes(), Scheme::Https), same, "{host}");
        }
    }

    #[test]
    fn content_is_framed_as_declared_or_by_chunks() {
        let declared = parts("POST", "https://a/", &[("content-length", "5")]);
        let open = parts("POST", "https://a/", &[]);
        assert!(written(&declared, false).unwrap().contains("content-length: 5\r\n"));
        assert!(written(&open, false).unwrap().contains("transfer-encoding: chunked\r\n"));
        assert_eq!(written(&declared, true), Err(MalformedRequest::Length));
        assert!(!written(&open, true).unwrap().contains("transfer-encoding"));
    }

    #[test]
    fn what_is_no_path_is_malformed() {
        let mut request = parts("GET", "https://a/", &[]);
        request.uri = "*".parse().unwrap();
        assert_eq!(written(&request, true), Err(MalformedRequest::Path));
        request.method = Method::OPTIONS;
        assert!(written(&request, true).unwrap().starts_with("OPTIONS * HTTP/1.1\r\n"));
    }

    #[test]
    fn trailers_end_the_chunks() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-a", HeaderValue::from_static("b"));
        let mut out = Vec::new();
        write_trailers(Some(&trailers), &mut out);
        write_trailers(None, &mut out);
        assert_eq!(out, b"0\r\nx-a: b\r\n\r\n0\r\n\r\n");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_as_the_same_request(
            path in "/[!-~]{0,20}",
            fields in proptest::collection::vec(("[a-z][a-z0-9_-]{0,10}", "([!-~]([ -~]{0,10}[!-~])?)?"), 0..10),
            ends in any::<bool>(),
        ) {
            let Ok(uri) = format!("https://a{path}").parse::<http::Uri>() else { return Ok(()) };
            let mut request = parts("PUT", "https://a/", &[]);
            request.uri = uri;
            let special = ["connection", "content-length", "cookie", "host", "te", "transfer-encoding"];
            for (name, value) in fields.iter().filter(|(name, _)| !special.contains(&name.as_str())) {
                request.headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            let mut out = Vec::new();
            write_request(&request, ends, Scheme::Https, false, &mut out).unwrap();
            let mut head = RequestHead::default();
            let progress = HeadScanner::default().request(&out, &mut head, &HeadLimits::default());
            prop_assert_eq!(progress, Ok(Progress::Complete));
            prop_assert_eq!(head.length, out.len());
            prop_assert_eq!(head.body, if ends { Body::Empty } else { Body::Chunked });
            prop_assert_eq!(Some(head.target.of(&out)), request.uri.path_and_query().map(|path| path.as_str().as_bytes()));
            let read = head.fields.as_slice().iter().map(|field| (field.name.of(&out), field.value.of(&out)));
            let ours: [&[u8]; 3] = [b"connection", b"host", b"transfer-encoding"];
            let read: Vec<_> = read.filter(|(name, _)| !ours.contains(name)).collect();
            let sent: Vec<_> =
                request.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect();
            prop_assert_eq!(read, sent);
        }
    }
}
