//! Upgraded connections.

use crate::stage::{Client, Gateway, Origin, forwarding};

/// The key of RFC 6455, section 1.3.
pub const HANDSHAKE: &[u8] =
    b"GET /socket HTTP/1.1\r\nhost: live.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Opens a tunnel to an origin that echoes.
pub fn open(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    client.send(HANDSHAKE);
    let head = client.head().unwrap();
    assert_eq!(head.status, 101);
    assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

/// Whether these bytes come back through a tunnel.
pub fn echoes(client: &mut Client, bytes: &[u8]) -> bool {
    client.try_send(bytes).is_ok() && client.exactly(bytes.len()).is_ok_and(|back| back == bytes)
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_survives_a_reload() {
    let origin = Origin::start();
    let config = forwarding(&[&origin.address]);
    let gateway = Gateway::start(&config);
    let mut tunnel = open(&gateway);
    assert!(echoes(&mut tunnel, b"before"));
    gateway.write(&config.replace("name: all", "name: every"));
    assert_eq!(gateway.call("POST", "/config/reload").status, 200);
    assert!(echoes(&mut tunnel, b"after"));
    tunnel.half_close();
    assert!(tunnel.ends(), "the end of one side reaches the other");
}

#[test]
fn an_upgrade_without_a_sound_key_is_refused() {
    let origin = Origin::start();
    let gateway = Gateway::start(&forwarding(&[&origin.address]));
    let mut client = gateway.client();
    client.send(&HANDSHAKE.to_vec().iter().map(|b| if *b == b'=' { b'!' } else { *b }).collect::<Vec<_>>());
    assert_eq!(client.response().unwrap().status, 400);
    assert_eq!(origin.requests(), 0);
}
