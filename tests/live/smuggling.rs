//! What an attacker writes on a raw socket: refused with the documented status, and the connection ends.

use crate::stage::{Gateway, Origin, forwarding};

const CASES: &[(&str, u16, &str)] = &[
    (
        "length and coding",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "coding and length",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde"),
    ("two equal lengths", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nabcd"),
    ("a list of lengths", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4, 4\r\n\r\nabcd"),
    ("a signed length", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +4\r\n\r\nabcd"),
    ("a negative length", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"),
    ("a length beyond 63 bits", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9223372036854775808\r\n\r\n"),
    ("a coding in HTTP/1.0", 400, "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("an unknown coding", 501, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("two codings", 501, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("a folded field", 400, "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n"),
    ("a space before the colon", 400, "GET / HTTP/1.1\r\nhost: a\r\ncontent-length : 4\r\n\r\nabcd"),
    ("a space before the first field", 400, "GET / HTTP/1.1\r\n host: a\r\n\r\n"),
    ("a bare line feed", 400, "GET / HTTP/1.1\nhost: a\n\n"),
    ("a bare carriage return in a value", 400, "GET / HTTP/1.1\r\nhost: a\r\nx: 1\ry: 2\r\n\r\n"),
    ("a zero octet in a value", 400, "GET / HTTP/1.1\r\nhost: a\r\nx: 1\0\r\n\r\n"),
    ("a name that is no token", 400, "GET / HTTP/1.1\r\nhost: a\r\nx(y): 1\r\n\r\n"),
    ("no host", 400, "GET / HTTP/1.1\r\nx: 1\r\n\r\n"),
    ("two hosts", 400, "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
    ("two spaces in the request line", 400, "GET  / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("an unknown version", 505, "GET / HTTP/3.0\r\nhost: a\r\n\r\n"),
    ("a path above the root", 400, "GET /../../etc/passwd HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("an encoded zero octet", 400, "GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a hidden framing field", 400, "GET / HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\n\r\n"),
    (
        "a chunk size that is no number",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
    ),
    (
        "a chunk size beyond 64 bits",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n0\r\n\r\n",
    ),
    (
        "a chunk longer than its size",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    ),
];

/// Where the path is refused the framing is sound, so the connection may serve on.
const SOUND_FRAMING: &[&str] = &["a path above the root", "an encoded zero octet", "a hidden framing field"];

#[test]
fn ambiguous_requests_get_their_status_and_end_the_connection() {
    let origin = Origin::start();
    let gateway = Gateway::start(&forwarding(&[&origin.address]));
    let mut wrong = Vec::new();
    for (name, status, request) in CASES {
        let mut client = gateway.client();
        client.send(request.as_bytes());
        match client.response() {
            Ok(response) if response.status != *status => {
                wrong.push(format!("{name}: {} for {status}", response.status))
            }
            Ok(_) if SOUND_FRAMING.contains(name) => {}
            Ok(response) if !response.closes() || !client.ends() => wrong.push(format!("{name}: stays open")),
            Ok(_) => {}
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_request_hidden_in_a_refused_body_is_never_answered() {
    let origin = Origin::start();
    let gateway = Gateway::start(&forwarding(&[&origin.address]));
    let mut client = gateway.client();
    client.send(
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /hidden \
          HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    assert_eq!(client.response().unwrap().status, 400);
    assert!(client.ends());
    assert_eq!(origin.requests(), 0);
}
