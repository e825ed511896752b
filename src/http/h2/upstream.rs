//! Messages with upstreams: the head of a request of HTTP/1.1, as the gateway writes it, in HTTP/2, and a response of
//! HTTP/2 as the head of HTTP/1.1 that means the same (RFC 9113, section 8.3).

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRAILER};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{HeaderMap, Method, Request, Response, Uri};

use super::request::{Content, checked};
use super::response::{OF_CONNECTIONS, map};
use crate::http::Method as KnownMethod;
use crate::http::RequestHead;
use crate::http::h1::{write_chunked, write_content_length, write_field, write_status_line};
use crate::http::header::KnownName;
use crate::http::target::Scheme;

/// What content of gRPC begins with, which ends with trailers whether it says so or not.
const GRPC: &[u8] = b"application/grpc";

/// Why a request cannot be said in HTTP/2, where HTTP/1.1 could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsayable;

/// Why a response is malformed (RFC 9113, section 8.1.1), where the parser of HTTP/1 could not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedResponse {
    /// HTTP/2 has no 101 (section 8.6).
    Switching,
    /// White space around a value.
    Whitespace,
    /// A length was declared, and no content follows.
    Length,
}

impl MalformedResponse {
    /// A stable word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Switching => "unasked-101",
            Self::Whitespace => "space-around-value",
            Self::Length => "length-without-content",
        }
    }
}

impl fmt::Display for MalformedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for MalformedResponse {}

/// The request whose table is `head`, over `bytes`, which it was parsed from and which hold nothing else.
pub fn request_of(head: &RequestHead, bytes: &Bytes, scheme: Scheme) -> Result<Request<()>, Unsayable> {
    let part = |range: crate::http::Span| bytes.slice(range.start as usize..range.end as usize);
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(match scheme {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    });
    let host = head.fields.as_slice().iter().find(|field| field.known == Some(KnownName::Host));
    let host = host.map(|field| Authority::from_maybe_shared(part(field.value))).ok_or(Unsayable)?;
    uri.authority = Some(host.map_err(|_| Unsayable)?);
    let target = part(head.target);
    let path = PathAndQuery::from_maybe_shared(target.clone()).map_err(|_| Unsayable)?;
    // What their parser leaves out, the endpoint would not get.
    if path.as_str().len() != target.len() {
        return Err(Unsayable);
    }
    uri.path_and_query = Some(path);
    let mut request = Request::new(());
    *request.method_mut() = method(head, bytes)?;
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Unsayable)?;
    *request.headers_mut() = map(&head.fields, bytes, OF_CONNECTIONS | KnownName::Host.bit());
    Ok(request)
}

fn method(head: &RequestHead, bytes: &[u8]) -> Result<Method, Unsayable> {
    Ok(match head.method {
        KnownMethod::Get => Method::GET,
        KnownMethod::Head => Method::HEAD,
        KnownMethod::Post => Method::POST,
        _ => Method::from_bytes(head.method_text.of(bytes)).map_err(|_| Unsayable)?,
    })
}

/// Whom a response answers.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub method: KnownMethod,
    /// Whether the request has said that trailers are read.
    pub te_trailers: bool,
}

/// Appends the head of a final response. `ends` says whether it ends with its fields.
pub fn write_response<B>(
    response: &Response<B>,
    ends: bool,
    asked: Asked,
    out: &mut Vec<u8>,
) -> Result<Content, MalformedResponse> {
    let status = response.status().as_u16();
    if status == 101 {
        return Err(MalformedResponse::Switching);
    }
    let fields = response.headers();
    let no_content = asked.method == KnownMethod::Head || matches!(status, 204 | 304);
    let declared = fields.get(CONTENT_LENGTH);
    if ends && !no_content && declared.is_some_and(|length| length.as_bytes().iter().any(|digit| *digit != b'0')) {
        return Err(MalformedResponse::Length);
    }
    // Trailers have a place behind chunks alone; the length was checked on the way.
    let chunked = !ends && !no_content && (declared.is_none() || (asked.te_trailers && announces_trailers(fields)));
    write_status_line(out, status);
    for (name, value) in fields {
        if !(chunked && name == CONTENT_LENGTH) {
            write_field(out, name.as_str().as_bytes(), checked(value).map_err(|_| MalformedResponse::Whitespace)?);
        }
    }
    let content = match (ends || no_content, chunked) {
        (true, _) => Content::Empty,
        (false, true) => Content::Chunked,
        (false, false) => Content::Declared,
    };
    match content {
        Content::Chunked => write_chunked(out),
        Content::Empty if !no_content && declared.is_none() => write_content_length(out, 0),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(content)
}

fn announces_trailers(fields: &HeaderMap) -> bool {
    let is_grpc = |value: &http::HeaderValue| {
        value.as_bytes().get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
    };
    fields.contains_key(TRAILER) || fields.get(CONTENT_TYPE).is_some_and(is_grpc)
}

/// Appends an interim response.
pub fn write_interim(response: &Response<()>, out: &mut Vec<u8>) -> Result<(), MalformedResponse> {
    if response.status() == 101 {
        return Err(MalformedResponse::Switching);
    }
    write_status_line(out, response.status().as_u16());
    for (name, value) in response.headers() {
        write_field(out, name.as_str().as_bytes(), checked(value).map_err(|_| MalformedResponse::Whitespace)?);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::{HeadLimits, HeadScanner, Progress};
    use crate::http::{Body, ResponseHead};

    fn request(text: &'static str) -> Result<Request<()>, Unsayable> {
        let mut head = RequestHead::default();
        let progress = HeadScanner::default().request(text.as_bytes(), &mut head, &HeadLimits::default());
        assert_eq!(progress, Ok(Progress::Complete));
        request_of(&head, &Bytes::from_static(text.as_bytes()), Scheme::Https)
    }

    fn response(status: u16, fields: &[(&str, &str)]) -> Response<()> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap()
    }

    const GET: Asked = Asked { method: KnownMethod::Get, te_trailers: false };

    fn written(response: &Response<()>, ends: bool, asked: Asked) -> Result<(String, Content), MalformedResponse> {
        let mut out = Vec::new();
        let content = write_response(response, ends, asked, &mut out)?;
        Ok((String::from_utf8(out).unwrap(), content))
    }

    #[test]
    fn a_request_has_its_host_as_authority_and_no_field_of_a_connection() {
        let text = "PUT /a?b HTTP/1.1\r\nhost: x:81\r\nx-a: b\r\ncookie: c=d\r\nte: trailers\r\nconnection: te\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        let request = request(text).unwrap();
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::PUT, "https://x:81/a?b"));
        let names: Vec<_> = request.headers().keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["x-a", "cookie", "te"]);
    }

    #[test]
    fn options_may_ask_about_the_server_as_a_whole() {
        assert_eq!(request("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n").unwrap().uri().path(), "*");
    }

    #[test]
    fn a_response_without_a_length_comes_in_chunks() {
        let (text, content) = written(&response(200, &[("x-a", "b")]), false, GET).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        assert!(text.ends_with("\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n"), "{text}");
        assert_eq!(content, Content::Chunked);
    }

    #[test]
    fn a_response_that_ends_with_its_fields_has_no_content() {
        let (text, content) = written(&response(200, &[]), true, GET).unwrap();
        assert!(text.ends_with("content-length: 0\r\n\r\n"), "{text}");
        assert_eq!(content, Content::Empty);
        let declared = response(200, &[("content-length", "3")]);
        assert_eq!(written(&declared, true, GET), Err(MalformedResponse::Length));
        let head = Asked { method: KnownMethod::Head, ..GET };
        assert!(written(&declared, true, head).unwrap().0.ends_with("content-length: 3\r\n\r\n"));
        assert!(written(&response(304, &[("content-length", "3")]), true, GET).is_ok());
    }

    #[test]
    fn a_declared_length_makes_way_for_trailers_that_somebody_reads() {
        let response = response(200, &[("content-length", "3"), ("content-type", "application/grpc+proto")]);
        let reads = Asked { te_trailers: true, ..GET };
        assert_eq!(written(&response, false, reads).unwrap().1, Content::Chunked);
        assert_eq!(written(&response, false, GET).unwrap().1, Content::Declared);
    }

    #[test]
    fn nobody_switches_protocols_in_http_2() {
        assert_eq!(written(&response(101, &[]), true, GET), Err(MalformedResponse::Switching));
        assert_eq!(write_interim(&response(101, &[]), &mut Vec::new()), Err(MalformedResponse::Switching));
    }

    #[test]
    fn the_parser_reads_what_was_written() {
        for (status, ends, body) in [
            (200, false, Body::Chunked),
            (200, true, Body::Length(0)),
            (204, true, Body::Empty),
            (304, true, Body::Empty),
            (503, false, Body::Chunked),
        ] {
            let (text, _) = written(&response(status, &[("x-a", "b"), ("x-a", "c")]), ends, GET).unwrap();
            let mut head = ResponseHead::default();
            let progress =
                HeadScanner::default().response(text.as_bytes(), &mut head, KnownMethod::Get, &HeadLimits::default());
            assert_eq!((progress, head.body), (Ok(Progress::Complete), body), "{text}");
            assert_eq!(
                head.fields.as_slice().iter().filter(|field| field.name.of(text.as_bytes()) == b"x-a").count(),
                2
            );
        }
    }
}
