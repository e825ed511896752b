//! A request of HTTP/2 for another protocol on its stream (RFC 8441), as the upgrade of HTTP/1.1 that means the same, and
//! the other way around.
//!
//! Key and proof of the handshake are a matter of HTTP/1.1 alone (section 5): the key is ours where a client of HTTP/2 asks,
//! and so is the proof where it is an upstream of HTTP/2 that has agreed.

use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::request::Parts;
use http::{Method, Request, Response};

use super::request::{MalformedRequest, check_scheme, checked, path, write_fields};
use super::upstream::MalformedResponse;
use crate::http::RequestHead;
use crate::http::h1::{write_field, write_status_line};
use crate::http::header::KnownName;
use crate::http::target::Scheme;
use crate::http::websocket::Key;

/// What is asked for, in either version.
const WEBSOCKET: &str = "websocket";

/// What an extended CONNECT asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    Websocket,
    /// A protocol that nobody here speaks.
    Other,
}

impl Connect {
    /// What is asked for, if anything is.
    pub fn of(parts: &Parts) -> Option<Self> {
        let protocol = parts.extensions.get::<Protocol>()?;
        Some(if protocol.as_str().eq_ignore_ascii_case(WEBSOCKET) { Self::Websocket } else { Self::Other })
    }
}

/// Appends the head of the upgrade to WebSocket by `key`; `scheme` is the connection's, and `any_scheme` whether the
/// client may name another.
pub fn write_websocket(
    parts: &Parts,
    key: &Key,
    scheme: Scheme,
    any_scheme: bool,
    out: &mut Vec<u8>,
) -> Result<(), MalformedRequest> {
    check_scheme(parts, scheme, any_scheme)?;
    if parts.headers.contains_key(CONTENT_LENGTH) {
        // What follows is the protocol's own, and no content.
        return Err(MalformedRequest::Length);
    }
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    out.extend_from_slice(b"GET ");
    out.extend_from_slice(path(parts).ok_or(MalformedRequest::Path)?.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority {
        write_field(out, b"host", authority.as_bytes());
    }
    let dropped: &[HeaderName] = &[SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_ACCEPT];
    write_fields(&parts.headers, authority, scheme, dropped, out)?;
    write_field(out, b"sec-websocket-key", key.text());
    // The stream ends with this request, whatever comes of it.
    out.extend_from_slice(b"upgrade: websocket\r\nconnection: upgrade, close\r\n\r\n");
    Ok(())
}

/// The key of a request of HTTP/1.1, as the gateway writes it, that asks for a WebSocket.
pub fn websocket_key(head: &RequestHead, bytes: &[u8]) -> Option<Key> {
    let asked = head.fields.first(KnownName::Upgrade, bytes)?;
    let values = |name| head.fields.all(name).map(|field| field.value.of(bytes));
    let key = || Key::of_request(values(KnownName::SecWebsocketVersion), values(KnownName::SecWebsocketKey)).ok();
    asked.eq_ignore_ascii_case(WEBSOCKET.as_bytes()).then(key).flatten()
}

/// Makes of such a request the extended CONNECT that means the same.
pub fn connect_of(mut request: Request<()>) -> Request<()> {
    *request.method_mut() = Method::CONNECT;
    request.headers_mut().remove(SEC_WEBSOCKET_KEY);
    request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
    request
}

/// Appends the 101 that a success means to who has asked by `key`.
pub fn write_switched<B>(response: &Response<B>, key: &Key, out: &mut Vec<u8>) -> Result<(), MalformedResponse> {
    write_status_line(out, 101);
    let dropped = [CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT];
    for (name, value) in response.headers().iter().filter(|(name, _)| !dropped.contains(name)) {
        write_field(out, name.as_str().as_bytes(), checked(value).map_err(|_| MalformedResponse::Whitespace)?);
    }
    write_field(out, b"sec-websocket-accept", &key.accept());
    out.extend_from_slice(b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::http::h1::{HeadLimits, HeadScanner, Hop, Progress};
    use crate::http::header::KnownName;
    use crate::http::{Body, Method, RequestHead};

    fn parts(uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method("CONNECT").uri(uri).extension(Protocol::from_static("websocket"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn written(parts: &Parts) -> Result<String, MalformedRequest> {
        let mut out = Vec::new();
        write_websocket(parts, &Key::of_random(*b"the sample nonce"), Scheme::Https, false, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_example_of_rfc_8441_becomes_that_of_rfc_6455() {
        let request = parts(
            "https://server.example.com/chat?room=1",
            &[
                ("sec-websocket-protocol", "chat, superchat"),
                ("sec-websocket-extensions", "permessage-deflate"),
                ("sec-websocket-version", "13"),
                ("origin", "http://www.example.com"),
            ],
        );
        assert_eq!(Connect::of(&request), Some(Connect::Websocket));
        let expected = "GET /chat?room=1 HTTP/1.1\r\nhost: server.example.com\r\n\
                        sec-websocket-protocol: chat, superchat\r\nsec-websocket-extensions: permessage-deflate\r\n\
                        sec-websocket-version: 13\r\norigin: http://www.example.com\r\n\
                        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                        upgrade: websocket\r\nconnection: upgrade, close\r\n\r\n";
        assert_eq!(written(&request).unwrap(), expected);
    }

    #[test]
    fn what_is_written_is_an_upgrade_to_our_own_parser() {
        let text = written(&parts("https://a/", &[("cookie", "a=b"), ("cookie", "c=d"), ("te", "trailers")])).unwrap();
        let mut head = RequestHead::default();
        let progress = HeadScanner::default().request(text.as_bytes(), &mut head, &HeadLimits::default());
        assert_eq!(progress, Ok(Progress::Complete));
        assert_eq!((head.method, head.body), (Method::Get, Body::Empty));
        assert!(Hop::of_request(text.as_bytes(), &head).unwrap().upgrade);
        assert_eq!(head.fields.first(KnownName::Cookie, text.as_bytes()), Some(&b"a=b; c=d"[..]));
    }

    #[test]
    fn an_upgrade_becomes_an_extended_connect_without_its_key_and_a_success_proves_it() {
        let text = "GET /chat HTTP/1.1\r\nhost: a\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: chat\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let mut head = RequestHead::default();
        HeadScanner::default().request(text.as_bytes(), &mut head, &HeadLimits::default()).unwrap();
        let key = websocket_key(&head, text.as_bytes()).unwrap();
        let request = super::super::request_of(&head, &bytes::Bytes::from(text), Scheme::Http).unwrap();
        let request = connect_of(request);
        assert_eq!(Connect::of(&request.clone().into_parts().0), Some(Connect::Websocket));
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&::http::Method::CONNECT, "http://a/chat"));
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["sec-websocket-version", "sec-websocket-protocol"]);
        let response = Response::builder().status(200).header("sec-websocket-protocol", "chat").body(()).unwrap();
        let mut out = Vec::new();
        write_switched(&response, &key, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("HTTP/1.1 101 ") && out.contains("\r\nsec-websocket-protocol: chat\r\n"), "{out}");
        assert!(out.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{out}");
        assert!(out.ends_with("\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"), "{out}");
    }

    #[test]
    fn another_upgrade_has_no_key() {
        let text = "GET / HTTP/1.1\r\nhost: a\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n";
        let mut head = RequestHead::default();
        HeadScanner::default().request(text.as_bytes(), &mut head, &HeadLimits::default()).unwrap();
        assert_eq!(websocket_key(&head, text.as_bytes()), None);
    }

    #[test]
    fn a_key_or_a_proof_of_the_client_is_dropped() {
        let text = written(&parts("https://a/", &[("sec-websocket-key", "x"), ("sec-websocket-accept", "y")])).unwrap();
        assert_eq!(text.matches("sec-websocket-key").count(), 1);
        assert!(text.contains("sec-websocket-key: dGhl") && !text.contains("accept"), "{text}");
    }

    #[test]
    fn a_length_another_scheme_and_what_is_no_path_are_malformed() {
        assert_eq!(written(&parts("https://a/", &[("content-length", "0")])), Err(MalformedRequest::Length));
        assert_eq!(written(&parts("http://a/", &[])), Err(MalformedRequest::Scheme));
        let mut asterisk = parts("https://a/", &[]);
        asterisk.uri = "*".parse().unwrap();
        assert_eq!(written(&asterisk), Err(MalformedRequest::Path));
    }

    #[test]
    fn other_protocols_are_told_apart_and_a_plain_connect_asks_for_none() {
        let mut request = parts("https://a/", &[]);
        request.extensions.insert(Protocol::from_static("WebSocket"));
        assert_eq!(Connect::of(&request), Some(Connect::Websocket));
        request.extensions.insert(Protocol::from_static("connect-udp"));
        assert_eq!(Connect::of(&request), Some(Connect::Other));
        request.extensions.clear();
        assert_eq!(Connect::of(&request), None);
    }
}
