//! A message that is translated to HTTP/2 and back keeps its meaning.

#![no_main]

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use tidegate::http::h1::{HeadLimits, HeadScanner, Progress};
use tidegate::http::h2::{Asked, head_of, request_of, write_request, write_response};
use tidegate::http::header::{Field, Fields, KnownName};
use tidegate::http::target::Scheme;
use tidegate::http::{Body, Method, RequestHead, ResponseHead};
use tidegate_fuzz::{LIMITS, assert_request_is_safe, choice};

fuzz_target!(|input: &[u8]| {
    let (_, bytes) = choice(input);
    request(bytes);
    response(bytes);
});

/// What is said otherwise in HTTP/2, or not at all.
fn is_other(field: &Field) -> bool {
    use KnownName::{
        Connection, Cookie, Host, Http2Settings, KeepAlive, ProxyConnection, Te, TransferEncoding, Upgrade,
    };
    let names = [Connection, Cookie, Host, Http2Settings, KeepAlive, ProxyConnection, Te, TransferEncoding, Upgrade];
    field.known.is_some_and(|known| names.contains(&known))
}

/// The fields by name and value, sorted by name: a map does not keep the order of different ones.
fn pairs(fields: &Fields, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let kept = fields.as_slice().iter().filter(|field| !is_other(field));
    let text = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    let mut pairs: Vec<_> =
        kept.map(|field| (text(field.name.of(bytes)), field.value.of(bytes).to_vec())).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

/// The request as HTTP/2 has it, as far as it can.
fn parts(head: &RequestHead, bytes: &[u8]) -> Option<Parts> {
    let host = head.fields.first(KnownName::Host, bytes)?;
    let host = std::str::from_utf8(host).ok()?;
    let target = std::str::from_utf8(head.target.of(bytes)).ok()?;
    let uri: http::Uri = format!("https://{host}{target}").parse().ok()?;
    let same = uri.path_and_query().is_some_and(|path| path == target) && uri.authority().is_some_and(|of| of == host);
    let method = http::Method::from_bytes(head.method_text.of(bytes)).ok()?;
    let mut request = Request::builder().method(method).uri(uri).body(()).ok()?;
    for (name, value) in pairs(&head.fields, bytes) {
        request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&value).ok()?);
    }
    same.then(|| request.into_parts().0)
}

fn request(bytes: &[u8]) {
    let mut head = RequestHead::default();
    if HeadScanner::default().request(bytes, &mut head, &HeadLimits::default()) != Ok(Progress::Complete) {
        return;
    }
    if head.method == Method::Connect || !head.target.of(bytes).starts_with(b"/") {
        return;
    }
    if let Some(parts) = parts(&head, bytes) {
        comes_back(&parts, &head, bytes);
    }
    // As the gateway asks an upstream, where HTTP/2 can say it.
    if let Ok(request) = request_of(&head, &Bytes::copy_from_slice(&bytes[..head.length]), Scheme::Https) {
        comes_back(&request.into_parts().0, &head, bytes);
    }
}

/// Whether the request that HTTP/2 has as `parts` is read as the one of `head`.
fn comes_back(parts: &Parts, head: &RequestHead, bytes: &[u8]) {
    let mut out = Vec::new();
    let ends = matches!(head.body, Body::Empty | Body::Length(0));
    write_request(parts, ends, Scheme::Https, false, &mut out).expect("what HTTP/1.1 accepts is not malformed");
    let mut again = RequestHead::default();
    let outcome = HeadScanner::default().request(&out, &mut again, &LIMITS);
    assert_eq!(outcome, Ok(Progress::Complete), "{:?}", String::from_utf8_lossy(&out));
    assert_request_is_safe(&again, &out, &LIMITS);
    assert_eq!((again.method, again.body, again.length), (head.method, head.body, out.len()));
    assert_eq!(again.target.of(&out), head.target.of(bytes));
    assert_eq!(pairs(&again.fields, &out), pairs(&head.fields, bytes));
}

fn response(bytes: &[u8]) {
    let mut head = ResponseHead::default();
    let limits = HeadLimits::default();
    if HeadScanner::default().response(bytes, &mut head, Method::Get, &limits) != Ok(Progress::Complete) {
        return;
    }
    let response = head_of(&head, &Bytes::copy_from_slice(bytes));
    assert_eq!(response.status().as_u16(), head.status);
    let is_other = |name: &str| {
        ["connection", "cookie", "host", "http2-settings", "te"].contains(&name)
    };
    let fields = response.headers().iter().filter(|(name, _)| !is_other(name.as_str()));
    let mut fields: Vec<_> = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(fields, pairs(&head.fields, bytes));
    for te_trailers in [false, true] {
        answered(&head, bytes, &response, te_trailers);
    }
}

/// The same response from an upstream of HTTP/2 is read as the one of `head`.
fn answered(head: &ResponseHead, bytes: &[u8], response: &http::Response<()>, te_trailers: bool) {
    let ends = matches!(head.body, Body::Empty | Body::Length(0));
    let mut out = Vec::new();
    let asked = Asked { method: Method::Get, te_trailers };
    if write_response(response, ends, asked, &mut out).is_err() {
        // HTTP/2 has no 101, and parsers differ in what a length without content is.
        return assert!(head.status == 101 || ends);
    }
    let mut again = ResponseHead::default();
    let outcome = HeadScanner::default().response(&out, &mut again, Method::Get, &LIMITS);
    assert_eq!(outcome, Ok(Progress::Complete), "{:?}", String::from_utf8_lossy(&out));
    assert_eq!((again.status, again.length), (head.status, out.len()));
    match (head.body, again.body) {
        (Body::Empty, Body::Length(0)) | (Body::Chunked | Body::UntilClose, Body::Chunked) => {}
        (Body::Length(_), Body::Chunked) => assert!(te_trailers),
        (before, after) => assert_eq!(before, after),
    }
    let without_length = |fields: Vec<(String, Vec<u8>)>| -> Vec<_> {
        fields.into_iter().filter(|(name, _)| name != "content-length").collect()
    };
    assert_eq!(without_length(pairs(&again.fields, &out)), without_length(pairs(&head.fields, bytes)));
}
