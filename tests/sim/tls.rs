//! TLS on both sides, by the real library over simulated links. The peers use its other interface.

use std::cell::Cell;
use std::io::{Cursor, Read, Write};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::world::http2::{END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame};
use crate::world::{Ended, Peer, Wire, World, count, text};
use crate::{GET, OK};

/// A certificate and its key, as PEM.
struct Pair {
    chain: String,
    key: String,
}

fn pair(names: &[&str]) -> Pair {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    Pair { chain: certificate.pem(), key: key.serialize_pem() }
}

static A: LazyLock<Pair> = LazyLock::new(|| pair(&["a"]));
static B: LazyLock<Pair> = LazyLock::new(|| pair(&["b", "*.b.test"]));

const DOWN: &str = r#"
listeners:
  public:
    bind: "127.0.0.1:8443"
    tls: { certificates: [{ chain: a.pem, key: a.key }, { chain: b.pem, key: b.key }] }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
access_log: { fields: [reason, status, tls_version, tls_cipher, sni] }
"#;

const UP: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:443"], tls: { ca: a.pem, server_name: a } } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
"#;

fn world(seed: u64, yaml: &str) -> World {
    let world = World::new(seed);
    for (name, pair) in [("a", &*A), ("b", &*B)] {
        world.file(&format!("{name}.pem"), &pair.chain);
        world.file(&format!("{name}.key"), &pair.key);
    }
    world.config(yaml)
}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A session of the library's buffered interface over a peer.
pub struct Secure<S> {
    pub peer: Peer,
    pub session: S,
    /// Plaintext that was read ahead.
    pub opened: Vec<u8>,
}

impl Secure<ClientConnection> {
    fn client(peer: Peer, name: &str) -> Self {
        Self::client_offering(peer, name, &[])
    }

    fn client_offering(peer: Peer, name: &str, protocols: &[&str]) -> Self {
        let mut roots = RootCertStore::empty();
        for pair in [&*A, &*B] {
            roots.add(CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut session =
            ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
        session.set_buffer_limit(None);
        Self { peer, session, opened: Vec::new() }
    }
}

impl Secure<ServerConnection> {
    fn server(peer: Peer, pair: &Pair) -> Self {
        Self::server_offering(peer, pair, &[])
    }

    fn server_offering(peer: Peer, pair: &Pair, protocols: &[&str]) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { peer, session: ServerConnection::new(Arc::new(config)).unwrap(), opened: Vec::new() }
    }
}

impl<S, D> Secure<S>
where
    S: std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    D: rustls::SideData,
{
    pub async fn flush(&mut self) {
        let mut out = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut out).unwrap();
        }
        self.peer.send(out).await;
    }

    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.session.writer().write_all(octets.as_ref()).unwrap();
        while self.session.is_handshaking() {
            self.flush().await;
            if !self.receive().await {
                return;
            }
        }
        self.flush().await;
    }

    /// Reads once; false at the end of the stream, or after an error.
    pub async fn receive(&mut self) -> bool {
        let octets = self.peer.read_some(usize::MAX).await.unwrap_or_default();
        let mut rest = Cursor::new(&octets);
        while rest.position() < octets.len() as u64 {
            self.session.read_tls(&mut rest).unwrap();
            let Ok(state) = self.session.process_new_packets() else {
                self.flush().await;
                return false;
            };
            let before = self.opened.len();
            self.opened.resize(before + state.plaintext_bytes_to_read(), 0);
            self.session.reader().read_exact(&mut self.opened[before..]).unwrap();
        }
        !octets.is_empty()
    }

    /// Reads up to and including `needle`.
    pub async fn until(&mut self, needle: &str) -> String {
        loop {
            if let Some(at) = self.opened.windows(needle.len()).position(|window| window == needle.as_bytes()) {
                return text(&self.opened.drain(..at + needle.len()).collect::<Vec<u8>>());
            }
            assert!(self.receive().await, "no {needle:?} in {:?}", text(&self.opened));
        }
    }

    /// Whether the peer ended by a word, and not only by an end.
    pub async fn ends_in_order(&mut self) -> bool {
        while self.receive().await {}
        matches!(self.session.reader().read(&mut [0]), Ok(0))
    }
}

#[test]
fn a_proxy_header_comes_before_the_handshake_even_in_one_segment_with_it() {
    let required = "bind: \"127.0.0.1:8443\"\n    proxy_protocol: required\n    proxy_protocol_from: 192.0.2.7";
    let yaml = DOWN.replace("bind: \"127.0.0.1:8443\"", required).replace("[reason,", "[client, peer, reason,");
    for pieces in [0, 1, 100] {
        let world = world(1, &yaml);
        world.client_wire(Wire { pieces, ..Wire::default() });
        world.answers("10.0.0.1:80", OK);
        world.run(async {
            let mut client = Secure::client(world.client(), "a");
            let mut front = b"PROXY TCP4 198.51.100.1 203.0.113.1 4711 443\r\n".to_vec();
            client.session.write_tls(&mut front).unwrap();
            client.peer.send(front).await;
            client.send(GET).await;
            client.until("\r\n\r\nok").await;
            assert_eq!(world.request().field("x-forwarded-for"), Some("198.51.100.1"));
            let line = world.line().await;
            assert_eq!((line.text("client"), line.text("peer")), ("198.51.100.1".into(), "192.0.2.7".into()));
            assert_eq!((line.text("sni"), line.text("tls_version")), ("a".into(), "TLSv1.3".into()));
        });
    }
}

#[test]
fn a_request_by_plain_text_behind_a_proxy_header_is_told_so_where_tls_is_spoken() {
    let required = "bind: \"127.0.0.1:8443\"\n    proxy_protocol: required\n    proxy_protocol_from: 192.0.2.7";
    let world = world(1, &DOWN.replace("bind: \"127.0.0.1:8443\"", required));
    world.run(async {
        let mut client = world.client();
        client.send(format!("PROXY TCP4 198.51.100.1 203.0.113.1 4711 443\r\n{GET}")).await;
        assert_eq!(client.response().await.status(), 400);
    });
}

#[test]
fn a_proxy_header_to_an_upstream_comes_before_the_handshake() {
    let world = world(1, &UP.replace("tls: {", "proxy_protocol: v2, tls: {"));
    world.origin("10.0.0.1:443", |mut peer| async move {
        let header = peer.read_exactly(28).await;
        assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c");
        assert_eq!(header[16..], [192, 0, 2, 7, 127, 0, 0, 1, 0x9c, 0x40, 0x1f, 0x90]);
        let mut origin = Secure::server(peer, &A);
        while !origin.opened.ends_with(b"\r\n\r\n") {
            origin.flush().await;
            assert!(origin.receive().await);
        }
        origin.send(OK).await;
    });
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 200);
    });
}

#[test]
fn what_is_not_passed_on_is_terminated_where_there_is_a_certificate() {
    let yaml = DOWN.replace("tls: { ", "tls: { passthrough: { sni: b, to: app }, ");
    for pieces in [0, 1] {
        let world = world(1, &yaml);
        world.client_wire(Wire { pieces, ..Wire::default() });
        world.answers("10.0.0.1:80", OK);
        world.run(async {
            let mut client = Secure::client(world.client(), "a");
            client.send(GET).await;
            client.until("\r\n\r\nok").await;
            let line = world.line().await;
            assert_eq!((line.text("sni"), line.text("tls_version")), ("a".into(), "TLSv1.3".into()));
            assert_eq!(world.sum("tidegate_passthrough_connections_total"), 0);
        });
    }
}

#[test]
fn a_hello_that_is_read_for_its_name_takes_of_the_time_of_the_handshake() {
    let world = world(1, &DOWN.replace("tls: { ", "tls: { passthrough: { sni: b, to: app }, "));
    world.run(async {
        let (mut client, then, mut hello) = (Secure::client(world.client(), "a"), world.now(), Vec::new());
        client.session.write_tls(&mut hello).unwrap();
        client.peer.send(&hello[..10]).await;
        world.sleep(Duration::from_secs(8)).await;
        client.peer.send(&hello[10..]).await;
        client.peer.rest().await;
        assert_eq!(world.since(then), Duration::from_secs(10));
    });
}

#[test]
fn an_endpoint_shakes_hands_with_a_client_that_is_passed_on() {
    let world = world(1, &DOWN.replace("tls: { ", "tls: { passthrough: { sni: b, to: app }, "));
    world.origin("10.0.0.1:80", |peer| async move {
        let mut origin = Secure::server(peer, &B);
        while !origin.opened.ends_with(b"\r\n\r\n") {
            origin.flush().await;
            assert!(origin.receive().await);
        }
        origin.send(OK).await;
    });
    world.run(async {
        let mut client = Secure::client(world.client(), "b");
        client.send(GET).await;
        client.until("\r\n\r\nok").await;
    });
}

#[test]
fn a_request_over_tls_is_forwarded_as_https_and_logged_with_its_name() {
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = Secure::client(world.client(), "www.b.test");
        client.send("GET / HTTP/1.1\r\nhost: www.b.test\r\n\r\n").await;
        assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(world.request().field("x-forwarded-proto"), Some("https"));
        let line = world.line().await;
        assert_eq!([line.text("tls_version"), line.text("sni")], ["TLSv1.3", "www.b.test"]);
        assert_eq!(line.text("tls_cipher"), "TLS_AES_256_GCM_SHA384");
        assert_eq!(world.metric("tidegate_tls_handshakes_total{version=\"TLSv1.3\"}"), 1);
    });
}

#[test]
fn a_request_over_http_2_is_forwarded_as_https_and_logged_with_its_name() {
    let world = world(1, &DOWN.replace("[reason, status,", "[reason, status, protocol,"));
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = Secure::client_offering(world.client(), "www.b.test", &["h2"]);
        let fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "www.b.test")];
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        client.send([PREFACE.as_bytes(), &frame(SETTINGS, 0, 0, b""), &head].concat()).await;
        client.until("ok").await;
        let request = world.request();
        assert_eq!((request.field("x-forwarded-proto"), request.field("host")), (Some("https"), Some("www.b.test")));
        let line = world.line().await;
        assert_eq!([line.text("tls_version"), line.text("sni")], ["TLSv1.3", "www.b.test"]);
        assert_eq!([line.text("tls_cipher"), line.text("protocol")], ["TLS_AES_256_GCM_SHA384", "HTTP/2.0"]);
    });
}

#[test]
fn a_client_that_chooses_http_2_and_sends_nothing_is_let_go() {
    let world = world(1, &DOWN.replace("tls:", "timeouts: { head: 5s }\n    tls:"));
    world.run(async {
        let mut client = Secure::client_offering(world.client(), "a", &["h2"]);
        while client.session.is_handshaking() {
            client.flush().await;
            assert!(client.receive().await);
        }
        client.flush().await;
        world.sleep(Duration::from_secs(8)).await;
        assert_eq!((world.open_connections(), world.metric("tidegate_http2_connections_open")), (0, 0));
    });
}

#[test]
fn whatever_the_wire_does_to_the_octets_the_messages_are_the_same() {
    for seed in 0..24 {
        let world = world(seed, DOWN);
        let content = "0123456789abcdef".repeat(8_000);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{content}", content.len());
        world.answers("10.0.0.1:80", &answer);
        let (pieces, sips) = ([0, 1_500, 40_000][seed as usize % 3], [0, 700][seed as usize % 2]);
        world.client_wire(Wire { latency: Duration::from_millis(1), pieces, sips, ..Wire::default() });
        world.run(async {
            let mut client = Secure::client(world.client(), "a");
            for _ in 0..2 {
                let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", content.len());
                client.send(head + &content).await;
                assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
                client.until(&content).await;
            }
            assert!(world.requests().iter().all(|request| request.text() == content));
        });
    }
}

#[test]
fn an_authority_of_another_certificate_is_misdirected() {
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = Secure::client(world.client(), "a");
        client.send("GET / HTTP/1.1\r\nhost: b\r\n\r\n").await;
        assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 421"));
        // A name of no certificate is served by the default's connection.
        let mut client = Secure::client(world.client(), "a");
        client.send("GET / HTTP/1.1\r\nhost: unknown\r\n\r\n").await;
        assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        let reasons: Vec<_> = world.log().await.iter().map(|line| line.reason()).collect();
        assert_eq!(reasons, ["misdirected", "ok"]);
    });
}

#[test]
fn a_stalled_handshake_ends_at_its_deadline_and_nobody_else_waits() {
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let then = world.now();
        let (mut silent, mut slow) = (world.client(), world.client());
        slow.send([22, 3, 1]).await;
        let mut other = Secure::client(world.client(), "a");
        other.send(GET).await;
        other.until("\r\n\r\nok").await;
        assert!(world.since(then) < Duration::from_secs(1));
        silent.rest().await;
        slow.rest().await;
        let took = world.since(then);
        assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(11), "{took:?}");
        assert_eq!(world.metric("tidegate_tls_handshake_failures_total{detail=\"timeout\"}"), 2);
        assert_eq!(world.metric("tidegate_tls_handshakes_in_flight"), 0);
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"handshake-failed\"}"), 2);
    });
}

#[test]
fn a_request_by_plain_text_is_told_to_speak_tls() {
    let world = world(1, DOWN);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        let text = client.rest_text().await;
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
        assert!(text.contains("/plain-text\",") && text.contains("\r\nconnection: close\r\n"), "{text}");
        assert_eq!(world.metric("tidegate_tls_handshake_failures_total{detail=\"plain-text\"}"), 1);
        drop(client);
        world.sleep(Duration::from_secs(3)).await;
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"plain-text\"}"), 1);
        assert!(world.log().await.is_empty());
    });
}

#[test]
fn what_is_neither_tls_nor_http_gets_an_alert() {
    let world = world(1, DOWN);
    world.run(async {
        for octets in [&[0x80, 0x2e, 1, 0, 2][..], b"me\x97\x8e\x01", &[0; 600], b"\r\nGET / HTTP/1.1\r\n\r\n"] {
            let mut client = world.client();
            client.send(octets).await;
            let (octets, _) = client.rest().await;
            assert_eq!(octets.first(), Some(&21), "{octets:?}");
        }
        assert_eq!(world.metric("tidegate_tls_handshake_failures_total{detail=\"not-tls\"}"), 4);
    });
}

#[test]
fn a_request_that_takes_too_long_is_told_so() {
    let world = world(1, DOWN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        assert!(!peer.request().await.unwrap().complete);
    });
    world.run(async {
        let upload = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf";
        for request in ["GET / HTTP/1.1\r\nho", upload] {
            let mut client = Secure::client(world.client(), "a");
            client.send(request).await;
            assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 408 "), "{request}");
            assert!(client.ends_in_order().await, "{request}");
        }
        let reasons: Vec<_> = world.log().await.iter().map(|line| line.reason()).collect();
        assert_eq!(reasons, ["head-timeout", "body-timeout"]);
    });
}

#[test]
fn the_time_of_the_first_request_begins_behind_the_handshake() {
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", OK);
    // Eight of ten seconds for the handshake, as many for the request.
    world.client_wire(Wire { latency: Duration::from_secs(2), ..Wire::default() });
    world.run(async {
        let mut client = Secure::client(world.client(), "a");
        client.send("").await;
        world.sleep(Duration::from_secs(7)).await;
        client.send(GET).await;
        assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn redirects_lead_to_https_and_its_port_is_not_named() {
    let route = "{ name: all, match: { path: \"/{*rest}\" }, redirect: { status: 302, path: /there } }";
    let world = world(1, &DOWN.replace("{ name: all, match: { path: \"/{*rest}\" }, to: app }", route));
    world.run(async {
        for host in ["a", "a:443"] {
            let mut client = Secure::client(world.client(), "a");
            client.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
            let head = client.until("\r\n\r\n").await;
            assert!(head.contains("\r\nlocation: https://a/there\r\n"), "{head}");
        }
    });
}

#[test]
fn a_client_that_has_said_its_last_word_is_answered_where_that_is_wished() {
    let ask = |world: &World| {
        let client = world.client();
        async move {
            let mut client = Secure::client(client, "a");
            client.session.writer().write_all(GET.as_bytes()).unwrap();
            client.send("").await;
            client.session.send_close_notify();
            client.flush().await;
            while client.receive().await {}
            text(&client.opened)
        }
    };
    for (half_close, answered) in [("serve", true), ("cancel", false)] {
        let world = world(1, &DOWN.replace("    tls:", &format!("    half_close: {half_close}\n    tls:")));
        world.origin("10.0.0.1:80", |mut peer| async move {
            peer.request().await;
            peer.sleep(Duration::from_secs(1)).await;
            peer.send(OK).await;
        });
        world.run(async {
            assert_eq!(ask(&world).await.ends_with("\r\n\r\nok"), answered, "{half_close}");
        });
    }
}

#[test]
fn a_response_that_ends_with_its_connection_and_was_cut_has_no_orderly_end() {
    for (answer, in_order) in [("HTTP/1.1 200 OK\r\n\r\nall of it", true), ("HTTP/1.1 200 OK\r\n\r\nhal", false)] {
        let world = world(1, DOWN);
        world.origin("10.0.0.1:80", move |mut peer| async move {
            peer.request().await;
            peer.send(answer).await;
            if !in_order {
                peer.sleep(Duration::from_secs(1)).await;
                peer.reset();
            }
        });
        world.run(async {
            let mut client = Secure::client(world.client(), "a");
            client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
            assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
            assert_eq!(client.ends_in_order().await, in_order, "{answer}");
        });
    }
}

#[test]
fn a_record_that_was_changed_is_told() {
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = Secure::client(world.client(), "a");
        client.send(GET).await;
        client.until("\r\n\r\nok").await;
        let mut record = vec![23, 3, 3, 0, 40];
        record.resize(45, 7);
        client.peer.send(record).await;
        let told = loop {
            let octets = client.peer.read_some(usize::MAX).await.unwrap_or_default();
            if octets.is_empty() {
                break None;
            }
            client.session.read_tls(&mut &octets[..]).unwrap();
            if let Err(error) = client.session.process_new_packets() {
                break Some(error);
            }
        };
        assert_eq!(told, Some(rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac)));
    });
}

#[test]
fn a_last_word_is_answered_by_one() {
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = Secure::client(world.client(), "a");
        client.send(GET).await;
        client.until("\r\n\r\nok").await;
        let then = world.now();
        client.session.send_close_notify();
        client.flush().await;
        assert!(client.ends_in_order().await);
        assert!(world.since(then) < Duration::from_secs(1));
    });
}

#[test]
fn a_kept_connection_that_times_out_is_closed_with_a_word() {
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = Secure::client(world.client(), "a");
        client.send(GET).await;
        client.until("\r\n\r\nok").await;
        assert!(client.ends_in_order().await);
        let mut client = Secure::client(world.client(), "a");
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        client.until("\r\n\r\nok").await;
        assert!(client.ends_in_order().await);
    });
}

#[test]
fn a_connection_keeps_its_certificate_across_a_reload_and_a_new_one_gets_the_new() {
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut before = Secure::client(world.client(), "b");
        before.send("GET / HTTP/1.1\r\nhost: b\r\n\r\n").await;
        before.until("\r\n\r\nok").await;
        world.reload(&DOWN.replace(", { chain: b.pem, key: b.key }", ""));
        before.send("GET / HTTP/1.1\r\nhost: b\r\n\r\n").await;
        before.until("\r\n\r\nok").await;
        let mut after = Secure::client(world.client(), "b");
        after.send("GET / HTTP/1.1\r\nhost: b\r\n\r\n").await;
        world.sleep(Duration::from_secs(1)).await;
        assert_ne!(world.metric("tidegate_tls_handshake_failures_total{detail=\"alert-received\"}"), 0);
    });
}

/// Lets an origin speak TLS with this certificate and answer each request.
fn secure_origin(world: &World, pair: &'static Pair, answer: &'static str) {
    world.origin("10.0.0.1:443", move |peer| async move {
        let mut origin = Secure::server(peer, pair);
        loop {
            while !origin.opened.windows(4).any(|window| window == b"\r\n\r\n") {
                origin.flush().await;
                if !origin.receive().await {
                    return;
                }
            }
            origin.until("\r\n\r\n").await;
            origin.send(answer).await;
            if !answer.contains("content-length") {
                return;
            }
        }
    });
}

#[test]
fn an_upstream_is_spoken_to_by_tls_and_its_connection_is_kept() {
    let world = world(1, UP);
    secure_origin(&world, &A, OK);
    world.run(async {
        for _ in 0..3 {
            assert_eq!(world.ask(GET).await.text(), "ok");
        }
        assert_eq!(world.connects().len(), 1);
    });
}

#[test]
fn an_upstream_that_cannot_prove_its_name_gets_no_request() {
    let world = world(1, UP);
    secure_origin(&world, &B, OK);
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(world.line().await.reason(), "tls-certificate");
    });
}

#[test]
fn an_upstream_that_speaks_no_tls_or_nothing_at_all_fails_in_time() {
    let world = world(1, UP);
    world.origin("10.0.0.1:443", |mut peer| async move {
        peer.read_some(10).await.unwrap();
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer.rest().await;
    });
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(world.line().await.reason(), "tls-handshake");
        world.origin("10.0.0.1:443", |mut peer| async move {
            peer.rest().await;
        });
        let then = world.now();
        assert_eq!(world.ask(GET).await.status(), 504);
        // Two attempts of two seconds.
        assert!(world.since(then) <= Duration::from_secs(5));
    });
}

#[test]
fn an_answer_whose_end_was_not_announced_is_cut_visibly() {
    let world = world(1, UP);
    secure_origin(&world, &A, "HTTP/1.1 200 OK\r\n\r\nhalf of it");
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.read_until("half of it\r\n").await;
        // The last chunk is missing.
        assert_eq!(client.rest_text().await, "");
        assert_eq!(world.line().await.reason(), "upstream-truncated");
    });
}

#[test]
fn connections_are_not_kept_across_a_change_of_how_the_upstream_is_spoken_to() {
    let world = world(1, UP);
    secure_origin(&world, &A, OK);
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 200);
        world.reload(&UP.replace("ca: a.pem, server_name: a", "ca: b.pem, server_name: a"));
        assert_eq!(world.ask(GET).await.status(), 502);
        assert!(world.connects().len() > 1);
    });
}

#[test]
fn connections_are_not_kept_across_a_change_of_the_name_to_prove() {
    let named = |name: &str| UP.replace("\"10.0.0.1:443\"", &format!("\"{name}:443\"")).replace(", server_name: a", "");
    let (a, b) = (named("a"), named("b"));
    let world = World::new(1);
    world.file("a.pem", &A.chain);
    world.name("a", "10.0.0.1");
    world.name("b", "10.0.0.1");
    let world = world.config(&a);
    secure_origin(&world, &A, OK);
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 200);
        world.reload(&b);
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(world.log().await[1].reason(), "tls-certificate");
    });
}

const PLAIN_TO_HTTPS: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080", redirect_to_https: 443 } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app, response: { headers: { set: { x-route: all } } } }]
"#;

#[test]
fn a_listener_sends_every_request_to_the_same_url_by_https() {
    let world = world(1, PLAIN_TO_HTTPS);
    world.run(async {
        for (target, host, location) in [
            ("/a/../b%7e?c=d", "www.a.test:8080", "https://www.a.test/b~?c=d"),
            ("http://other.test/x", "a", "https://other.test/x"),
            ("/", "[::1]:8080", "https://[::1]/"),
        ] {
            let answer = world.ask(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
            assert_eq!((answer.status(), answer.field("location")), (308, Some(location)));
            assert_eq!((answer.field("x-route"), answer.field("strict-transport-security")), (None, None));
        }
        assert_eq!(world.ask("GET / HTTP/1.1\r\nhost: a b\r\n\r\n").await.status(), 400);
        assert_eq!(world.connects().len(), 0);
        world.reload(&PLAIN_TO_HTTPS.replace("443", "8443"));
        let answer = world.ask("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
        assert_eq!((answer.status(), answer.field("location")), (308, Some("https://a:8443/x")));
    });
}

#[test]
fn a_challenge_is_answered_by_plain_text_where_a_route_was_made_for_it() {
    let at = |path: &str| {
        PLAIN_TO_HTTPS.replace(
            "routes: [",
            &format!("routes: [{{ name: acme, match: {{ path: {path} }}, respond: {{ status: 200, body: proof }} }}, "),
        )
    };
    let world = world(1, PLAIN_TO_HTTPS);
    let ask = async |target: &str| world.ask(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await.status();
    world.run(async {
        assert_eq!(ask("/.well-known/acme-challenge/x").await, 308);
        for path in ["{ prefix: /.well-known/acme-challenge }", "\"/.well-known/acme-challenge/{token}\""] {
            world.reload(&at(path));
            assert_eq!(ask("/.well-known/acme-challenge/x").await, 200, "{path}");
            assert_eq!(ask("/.well-known/acme-challenge/../../x").await, 308, "{path}");
            assert_eq!(ask("/.well-known/acme-challenges/x").await, 308, "{path}");
        }
        for path in ["{ prefix: /.well-known }", "{ regex: \"/.well-known/acme-challenge/.*\" }"] {
            world.reload(&at(path));
            assert_eq!(ask("/.well-known/acme-challenge/x").await, 308, "{path}");
        }
    });
}

#[test]
fn every_answer_says_to_come_by_tls_alone_whatever_others_say() {
    let others = "HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=1\r\ncontent-length: 2\r\n\r\nok";
    for (hsts, value) in [
        ("365d", "max-age=31536000"),
        ("{ max_age: 730d, subdomains: true, preload: true }", "max-age=63072000; includeSubDomains; preload"),
        ("0s", "max-age=0"),
    ] {
        let world = world(1, &DOWN.replace("tls: {", &format!("tls: {{ hsts: {hsts},")));
        world.answers("10.0.0.1:80", others);
        world.run(async {
            let mut client = Secure::client(world.client(), "a");
            // By the upstream, and by the gateway itself.
            for request in [GET, "GET / HTTP/1.1\r\nhost: b\r\n\r\n"] {
                client.send(request).await;
                let head = client.until("\r\n\r\n").await;
                let said: Vec<_> = head.lines().filter(|line| line.starts_with("strict-transport")).collect();
                assert_eq!(said, [format!("strict-transport-security: {value}")], "{head}");
            }
        });
    }
}

#[test]
fn a_tunnel_runs_inside_of_tls_and_each_side_may_end_first() {
    let world = world(1, &DOWN.replace("to: app }", "to: app, upgrade: [chat] }"));
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\nhello ").await;
        let (octets, ended) = peer.rest().await;
        assert_eq!((octets.len(), ended), (100_000, Ended::Finished));
        peer.send("bye").await;
    });
    world.run(async {
        let mut client = Secure::client(world.client(), "a");
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n").await;
        assert!(client.until("\r\n\r\nhello ").await.starts_with("HTTP/1.1 101"));
        client.send("x".repeat(100_000)).await;
        client.session.send_close_notify();
        client.flush().await;
        assert!(client.ends_in_order().await);
        assert_eq!(text(&client.opened), "bye");
    });
}

#[test]
fn connections_older_than_the_listeners_tls_are_told_nothing_of_it_and_served() {
    let plain = DOWN.replace("    tls: {", "    #");
    let hsts = DOWN.replace("tls: {", "tls: { hsts: 1d,");
    let world = world(1, &plain);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut plain_client = world.client();
        plain_client.send(GET).await;
        assert_eq!(plain_client.response().await.status(), 200);
        world.reload(&hsts);
        plain_client.send(GET).await;
        let answer = plain_client.response().await;
        assert_eq!((answer.status(), answer.field("strict-transport-security")), (200, None));

        let mut client = Secure::client(world.client(), "a");
        client.send(GET).await;
        client.until("\r\n\r\nok").await;
        world.reload(&plain.replace("    #", "    redirect_to_https: 443 #"));
        client.send(GET).await;
        assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        plain_client.send(GET).await;
        assert_eq!(plain_client.response().await.status(), 308);
    });
}

#[test]
fn an_endpoint_that_cannot_prove_its_name_is_left_out() {
    let endpoints =
        "endpoints: [\"10.0.0.2:443\", \"10.0.0.1:443\"], mark_down: { failures: 1, for: 60s }, balance: round_robin";
    let world = world(1, &UP.replace("endpoints: [\"10.0.0.1:443\"]", endpoints));
    secure_origin(&world, &A, OK);
    world.origin("10.0.0.2:443", |peer| async move {
        let mut origin = Secure::server(peer, &B);
        while origin.receive().await {
            origin.flush().await;
        }
    });
    world.run(async {
        for _ in 0..6 {
            // It has got nothing, so that another is asked instead.
            assert_eq!(world.ask(GET).await.status(), 200);
        }
        assert_eq!(world.connects().iter().filter(|address| *address == "10.0.0.2:443").count(), 1);
    });
}

#[test]
fn an_upstream_that_is_not_kept_gets_a_last_word() {
    let world = world(1, UP);
    let in_order = Rc::<Cell<Option<bool>>>::default();
    let noted = in_order.clone();
    world.origin("10.0.0.1:443", move |peer| {
        let noted = noted.clone();
        async move {
            let mut origin = Secure::server(peer, &A);
            while !origin.opened.ends_with(b"\r\n\r\n") {
                origin.flush().await;
                assert!(origin.receive().await);
            }
            origin.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
            noted.set(Some(origin.ends_in_order().await));
        }
    });
    world.run(async {
        assert_eq!(world.ask(GET).await.text(), "ok");
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(in_order.get(), Some(true));
    });
}

/// Lets an origin choose one of `protocols` and answer each connection's first request by what was chosen.
fn choosing_origin(world: &World, protocols: &'static [&'static str]) {
    world.origin("10.0.0.1:443", move |peer| async move {
        let mut origin = Secure::server_offering(peer, &A, protocols);
        while origin.session.is_handshaking() {
            origin.flush().await;
            if !origin.receive().await {
                return;
            }
        }
        if origin.session.alpn_protocol() != Some(b"h2") {
            // One that wants HTTP/2 leaves without a word.
            while !origin.opened.ends_with(b"\r\n\r\n") {
                if !origin.receive().await {
                    return;
                }
            }
            origin.send(OK).await;
            return;
        }
        origin.until(PREFACE).await;
        origin.send(frame(SETTINGS, 0, 0, b"")).await;
        // Of the head alone: frames before it are settings and a window.
        while !origin.opened.windows(9).any(|head| head[3] == HEADERS && head[5..] == [0, 0, 0, 1]) {
            if !origin.receive().await {
                return;
            }
        }
        let head = block(&[(":status", "200"), ("x-by", "h2")]);
        origin.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).await;
        origin.peer.sleep(Duration::from_secs(60)).await;
    });
}

#[test]
fn an_upstream_is_spoken_to_by_what_it_chooses() {
    for (protocol, offered, status, by) in [
        ("h2", &["h2", "http/1.1"][..], 200, Some("h2")),
        ("auto", &["h2"], 200, Some("h2")),
        ("auto", &["http/1.1"], 200, None),
        ("auto", &[], 200, None),
        ("http1", &["h2", "http/1.1"], 200, None),
        ("h2", &["http/1.1"], 502, None),
        ("h2", &[], 502, None),
    ] {
        let world = world(1, &UP.replace("server_name: a }", &format!("server_name: a }}, protocol: {protocol}")));
        choosing_origin(&world, offered);
        world.run(async {
            let answer = world.ask(GET).await;
            assert_eq!((answer.status(), answer.field("x-by")), (status, by), "{protocol} and {offered:?}");
            if status == 502 {
                assert_eq!(world.line().await.reason(), "tls-handshake");
            }
            // What was chosen once is expected again.
            if by.is_none() && status == 200 {
                assert_eq!(world.ask(GET).await.status(), 200);
            }
        });
    }
}

/// Requests that warm everything up, and requests that must then allocate no more.
const WARM: usize = 200;
const STEADY: usize = 500;
/// What one request on a kept connection may allocate, record in and record out: the library's plaintext of each.
const ALLOCATIONS_MAX: u64 = 2;

#[test]
fn a_request_on_a_kept_connection_allocates_no_more_than_is_stated() {
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = Secure::client(world.client(), "a");
        let mut before = 0;
        for n in 0..WARM + STEADY {
            if n % 50 == 0 {
                world.collect_log();
            }
            if n == WARM {
                before = count::allocations().0;
            }
            client.send(GET).await;
            client.until("\r\n\r\nok").await;
        }
        let each = (count::allocations().0 - before).div_ceil(STEADY as u64);
        println!("a request over TLS allocates {each} times");
        assert!(each <= ALLOCATIONS_MAX, "{each} times");
    });
}

#[test]
fn answers_of_many_streams_that_come_together_share_their_records() {
    const STREAMS: u32 = 8;
    let content = "x".repeat(2_000);
    let world = world(1, DOWN);
    world.answers("10.0.0.1:80", format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{content}", content.len()));
    world.run(async {
        let mut client = Secure::client_offering(world.client(), "a", &["h2"]);
        let fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a")];
        let head = |stream: u32| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields));
        // Tickets and settings come with the first answer.
        client.send([PREFACE.as_bytes(), &frame(SETTINGS, 0, 0, b""), &head(1)].concat()).await;
        client.until(&content).await;
        client.send((0..STREAMS).flat_map(|number| head(3 + 2 * number)).collect::<Vec<u8>>()).await;
        let mut raw = Vec::new();
        while client.opened.len() < content.len() * STREAMS as usize {
            let octets = client.peer.read_some(usize::MAX).await.unwrap();
            raw.extend_from_slice(&octets);
            let mut rest = Cursor::new(&octets);
            while rest.position() < octets.len() as u64 {
                client.session.read_tls(&mut rest).unwrap();
                let waiting = client.session.process_new_packets().unwrap().plaintext_bytes_to_read();
                let before = client.opened.len();
                client.opened.resize(before + waiting, 0);
                client.session.reader().read_exact(&mut client.opened[before..]).unwrap();
            }
        }
        let (mut records, mut at) = (0, 0);
        while let Some(length) = raw.get(at + 3..at + 5) {
            at += 5 + usize::from(u16::from_be_bytes([length[0], length[1]]));
            records += 1;
        }
        assert!(records <= STREAMS / 2, "{records} records for {STREAMS} answers");
    });
}
