//! A request of HTTP/2 as the head of HTTP/1.1 that means the same (RFC 9113, section 8.3.1).

use std::fmt;

use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

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
    if !any_scheme && parts.uri.scheme_str().is_some_and(|named| named != scheme.text()) {
        return Err(MalformedRequest::Scheme);
    }
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target(parts)?.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority {
        write_field(out, b"host", authority.as_bytes());
    }
    write_fields(&parts.headers, authority, scheme, out)?;
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
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    if path.starts_with('/') || (path == "*" && parts.method == Method::OPTIONS) {
        Ok(path)
    } else {
        Err(MalformedRequest::Path)
    }
}

fn write_fields(
    fields: &HeaderMap,
    authority: Option<&str>,
    scheme: Scheme,
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
        } else {
            write_field(out, name.as_str().as_bytes(), value);
        }
    }
    if fields.contains_key(TE) {
        // HTTP/1.1 says of it that it is for one hop.
        out.extend_from_slice(b"connection: te\r\n");
    }
    Ok(())
}

/// Section 8.2.1: a value neither begins nor ends with white space.
fn checked(value: &HeaderValue) -> Result<&[u8], MalformedRequest> {
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
