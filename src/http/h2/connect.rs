//! A request of HTTP/2 for another protocol on its stream (RFC 8441), as the upgrade of HTTP/1.1 that means the same.
//!
//! Key and proof of the handshake are a matter of HTTP/1.1 alone (section 5): the key is ours, and what a client sends of
//! either is dropped.

use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::request::Parts;

use super::request::{MalformedRequest, check_scheme, path, write_fields};
use crate::http::h1::write_field;
use crate::http::target::Scheme;
use crate::http::websocket::Key;

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
        Some(if protocol.as_str().eq_ignore_ascii_case("websocket") { Self::Websocket } else { Self::Other })
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
