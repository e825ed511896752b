//! A response head of HTTP/1.1, as the gateway writes it, in HTTP/2.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::http::ResponseHead;
use crate::http::h1::Trailers;
use crate::http::header::{Field, Fields, KnownName};

/// Fields that speak of a connection of HTTP/1.1, and that HTTP/2 forbids (RFC 9113, section 8.2.2).
pub(super) const OF_CONNECTIONS: u128 = KnownName::Connection.bit()
    | KnownName::KeepAlive.bit()
    | KnownName::ProxyConnection.bit()
    | KnownName::TransferEncoding.bit()
    | KnownName::Upgrade.bit();

/// Fields whose values hardly ever come again. A value in the table of HPACK for each would push out those that do, and the
/// library, which keeps all values of a name in one list, would go through them with every message. Certificates of clients,
/// which upstreams are told of, would fill it by themselves.
const UNIQUE: u128 = KnownName::XRequestId.bit()
    | KnownName::Traceparent.bit()
    | KnownName::XForwardedFor.bit()
    | KnownName::ClientCert.bit()
    | KnownName::ClientCertChain.bit();

/// The head whose table is `head`, over `bytes`, which it was parsed from.
pub fn head_of(head: &ResponseHead, bytes: &Bytes) -> Response<()> {
    let mut response = Response::new(());
    // The parser takes three digits, the first of which is not zero.
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = map(&head.fields, bytes, OF_CONNECTIONS);
    response
}

/// Makes of a 101 what says the same to an extended CONNECT (RFC 8441, section 5): a 200, without the proof, for which
/// there is no key here.
pub fn switched(response: &mut Response<()>) {
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().remove(http::header::SEC_WEBSOCKET_ACCEPT);
}

/// A trailer section.
pub fn trailers_of(trailers: &Trailers) -> HeaderMap {
    map(&trailers.fields, &Bytes::copy_from_slice(&trailers.bytes), OF_CONNECTIONS)
}

pub(super) fn map(fields: &Fields, bytes: &Bytes, dropped: u128) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    let kept = fields.as_slice().iter().filter(|field| field.known.is_none_or(|known| known.bit() & dropped == 0));
    for field in kept {
        // Both are what our parser lets pass, which is no more than theirs does.
        if let (Some(name), Some(mut value)) = (name(field, bytes), value(field, bytes)) {
            // RFC 7541, section 7.1.3: never indexed, here or further on.
            value.set_sensitive(field.known.is_some_and(|known| known.bit() & UNIQUE != 0));
            map.append(name, value);
        }
    }
    map
}

fn name(field: &Field, bytes: &[u8]) -> Option<HeaderName> {
    static KNOWN: LazyLock<Vec<HeaderName>> =
        LazyLock::new(|| KnownName::ALL.iter().map(|name| HeaderName::from_static(name.text())).collect());
    match field.known {
        Some(known) => KNOWN.get(known as usize).cloned(),
        None => HeaderName::from_bytes(field.name.of(bytes)).ok(),
    }
}

fn value(field: &Field, bytes: &Bytes) -> Option<HeaderValue> {
    let range = field.value.start as usize..field.value.end as usize;
    HeaderValue::from_maybe_shared(bytes.slice(range)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use crate::http::h1::{HeadLimits, HeadScanner, Progress};

    fn response(text: &'static str) -> Response<()> {
        let mut head = ResponseHead::default();
        let limits = HeadLimits::default();
        let progress = HeadScanner::default().response(text.as_bytes(), &mut head, Method::Get, &limits);
        assert_eq!(progress, Ok(Progress::Complete));
        head_of(&head, &Bytes::from(text))
    }

    #[test]
    fn a_value_that_never_comes_again_is_never_indexed() {
        let text = "HTTP/1.1 204 \r\nserver: a\r\nx-request-id: 1\r\nclient-cert: ::\r\nclient-cert-chain: ::\r\n\r\n";
        let response = response(text);
        let is_sensitive = |name: &str| response.headers()[name].is_sensitive();
        assert!(!is_sensitive("server"));
        assert!(["x-request-id", "client-cert", "client-cert-chain"].into_iter().all(is_sensitive));
    }

    #[test]
    fn a_head_keeps_its_fields_but_those_of_a_connection() {
        let text = "HTTP/1.1 204 \r\nServer: a\r\nx-b: c\r\nX-B: d\r\nconnection: close\r\nkeep-alive: 1\r\n\r\n";
        let response = response(text);
        assert_eq!(response.status(), 204);
        let fields: Vec<_> = response.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("server", &b"a"[..]), ("x-b", b"c"), ("x-b", b"d")]);
    }
}
