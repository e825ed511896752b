//! A message that is translated to HTTP/2 and back keeps its meaning.

#![no_main]

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use tidegate::http::h1::{HeadLimits, HeadScanner, Progress};
use tidegate::http::h2::{head_of, write_request};
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
    let Some(parts) = parts(&head, bytes) else { return };
    let mut out = Vec::new();
    let ends = matches!(head.body, Body::Empty | Body::Length(0));
    write_request(&parts, ends, Scheme::Https, false, &mut out).expect("what HTTP/1.1 accepts is not malformed");
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
}
