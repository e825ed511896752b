//! The PROXY protocol on both sides: who a client is, as a load balancer says, and as we say to an endpoint.

use std::time::Duration;

use tidegate::proxy::shell::Shard as _;

use crate::world::{Peer, Wire, World};
use crate::{GET, OK};

/// Clients of these tests come from 192.0.2.7, which is the load balancer.
const REQUIRED: &str = r#"
listeners:
  public: { bind: "127.0.0.1:8080", protocols: [http1, h2], proxy_protocol: required, proxy_protocol_from: ["192.0.2.0/24"] }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
access_log: { fields: [client, peer, reason, detail, status, proxy_authority, proxy_tls, proxy_unique_id] }
"#;

const V1: &str = "PROXY TCP4 198.51.100.1 203.0.113.1 4711 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2 from 198.51.100.2 with these values.
fn v2(values: &[u8]) -> Vec<u8> {
    let block = [&[198, 51, 100, 2, 203, 0, 113, 1, 0x12, 0x67, 1, 187], values].concat();
    [SIGNATURE, &[0x21, 0x11, 0, block.len() as u8], &block].concat()
}

fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 0]].concat()
}

fn world(yaml: &str) -> World {
    let world = World::new(1).config(yaml);
    world.answers("10.0.0.1:80", OK);
    world
}

#[test]
fn the_address_of_the_header_is_the_clients_and_that_of_the_socket_stays_known() {
    for pieces in [0, 1, 7] {
        let world = world(REQUIRED);
        world.client_wire(Wire { pieces, ..Wire::default() });
        world.run(async {
            let mut client = world.client();
            client.send(format!("{V1}{GET}")).await;
            assert_eq!(client.response().await.status(), 200);
            client.send(GET).await;
            assert_eq!(client.response().await.status(), 200, "one header for the whole connection");
            for request in world.requests() {
                assert_eq!(request.field("x-forwarded-for"), Some("198.51.100.1"));
            }
            for line in world.log().await {
                assert_eq!((line.text("client"), line.text("peer")), ("198.51.100.1".into(), "192.0.2.7".into()));
            }
            assert_eq!(world.sum("tidegate_proxy_headers_total"), 1);
        });
    }
}

#[test]
fn the_claims_of_version_2_are_logged() {
    let world = world(REQUIRED);
    world.run(async {
        let values = b"\x02\0\x06a.test\x05\0\x02\xff\x01\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.2\xee\0\x01?";
        let client = world.client();
        client.send([&v2(values)[..], GET.as_bytes()].concat()).await;
        world.sleep(Duration::from_millis(1)).await;
        let line = world.line().await;
        assert_eq!((line.text("client"), line.text("proxy_authority")), ("198.51.100.2".into(), "a.test".into()));
        assert_eq!((line.text("proxy_tls"), line.text("proxy_unique_id")), ("TLSv1.2".into(), "ff01".into()));
    });
}

#[test]
fn http_2_by_prior_knowledge_may_follow_a_header() {
    let world = world(REQUIRED);
    world.run(async {
        let client = world.client();
        client.send(v2(b"")).await;
        let mut client = world.http2_on(client).await;
        assert_eq!(client.get("/").await.text(), "ok");
        assert_eq!(world.request().field("x-forwarded-for"), Some("198.51.100.2"));
        let line = world.line().await;
        assert_eq!((line.text("client"), line.text("peer")), ("198.51.100.2".into(), "192.0.2.7".into()));
    });
}

/// What the `nth` client gets whose connection begins with `front`: nothing, and its line in the log.
async fn refused(world: &World, nth: usize, mut client: Peer, front: impl AsRef<[u8]>, detail: &str) {
    let then = world.now();
    let _ = client.try_send(front).await;
    assert!(client.closes().await, "{detail}: not an octet");
    let log = world.log().await;
    let line = log.last().expect("it is logged");
    assert_eq!((log.len(), line.reason(), line.text("detail")), (nth, "proxy-header".into(), detail.into()));
    assert_eq!(line.text("client"), line.text("peer"), "nothing that was said is believed");
    assert_eq!(world.metric(&format!("tidegate_proxy_header_failures_total{{detail=\"{detail}\"}}")), 1);
    let late = if detail == "timeout" { 5 } else { 0 };
    assert_eq!(world.since(then).as_secs(), late);
}

#[test]
fn without_a_good_header_in_time_the_connection_is_closed_without_an_answer() {
    let world = world(REQUIRED);
    world.run(async {
        refused(&world, 1, world.client_from("203.0.113.9:1"), format!("{V1}{GET}"), "untrusted-peer").await;
        refused(&world, 2, world.client(), GET, "missing").await;
        refused(&world, 3, world.client(), "PROXY TCP4 198.51.100.01 203.0.113.1 4711 443\r\n", "bad-address").await;
        refused(&world, 4, world.client(), v2(b"\x03\0\x04\0\0\0\0"), "bad-checksum").await;
        refused(&world, 5, world.client(), v2(b"\x02\0\x09short"), "bad-length").await;
        refused(&world, 6, world.client(), &V1[..20], "timeout").await;
        assert_eq!(world.requests().len(), 0);
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"proxy-header\"}"), 6);
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn whoever_says_nothing_is_closed_after_five_seconds() {
    let world = world(REQUIRED);
    world.run(async {
        refused(&world, 1, world.client(), "", "timeout").await;
    });
}

#[test]
fn a_header_that_is_cut_is_told() {
    let world = world(REQUIRED);
    world.run(async {
        let client = world.client();
        client.send(&V1[..20]).await;
        client.finish();
        refused(&world, 1, client, "", "closed").await;
    });
}

#[test]
fn health_checks_of_a_load_balancer_leave_no_trace_in_the_log() {
    let world = world(REQUIRED);
    world.run(async {
        for front in [&b""[..], &local()] {
            let mut client = world.client();
            client.send(front).await;
            client.finish();
            assert!(client.closes().await);
        }
        let client = world.client();
        client.reset();
        assert!(world.log().await.is_empty());
        assert_eq!(world.sum("tidegate_proxy_header_failures_total"), 0);
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn who_speaks_for_itself_or_does_not_know_is_the_other_end_of_the_socket() {
    let unknown = [SIGNATURE, &[0x21, 0, 0, 0]].concat();
    for front in [local(), unknown, b"PROXY UNKNOWN\r\n".to_vec()] {
        let world = world(REQUIRED);
        world.run(async {
            let mut client = world.client();
            client.send([&front[..], GET.as_bytes()].concat()).await;
            assert_eq!(client.response().await.status(), 200);
            assert_eq!(world.request().field("x-forwarded-for"), Some("192.0.2.7"));
            assert_eq!(world.line().await.text("client"), "192.0.2.7");
        });
    }
}

#[test]
fn forwarding_fields_are_believed_of_whom_the_header_names_and_not_of_the_load_balancer() {
    for (trusted, client) in [("198.51.100.1", "8.8.8.8"), ("192.0.2.7", "198.51.100.1")] {
        let world = world(&format!("{REQUIRED}gateway: {{ trusted_proxies: [\"{trusted}\"] }}\n"));
        world.run(async {
            let mut peer = world.client();
            peer.send(format!("{V1}GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 8.8.8.8\r\n\r\n")).await;
            assert_eq!(peer.response().await.status(), 200);
            assert_eq!(world.line().await.text("client"), client, "{trusted} is trusted");
        });
    }
}

#[test]
fn who_may_open_a_unix_socket_may_introduce() {
    let yaml =
        REQUIRED.replace("127.0.0.1:8080", "unix:/run/a").replace(", proxy_protocol_from: [\"192.0.2.0/24\"]", "");
    let world = world(&yaml);
    world.run(async {
        let mut client = world.client_from("unix");
        client.send(format!("{V1}{GET}")).await;
        assert_eq!(client.response().await.status(), 200);
        let line = world.line().await;
        assert_eq!((line.text("client"), line.text("peer")), ("198.51.100.1".into(), String::new()));
    });
}

#[test]
fn a_reload_changes_nothing_for_a_connection_that_was_introduced() {
    let world = world(REQUIRED);
    world.run(async {
        let mut client = world.client();
        client.send(format!("{V1}{GET}")).await;
        client.response().await;
        world.reload(&REQUIRED.replace("proxy_protocol: required, proxy_protocol_from: [\"192.0.2.0/24\"]", ""));
        client.send(GET).await;
        client.response().await;
        assert!(world.log().await.iter().all(|line| line.text("client") == "198.51.100.1"));
        let mut plain = world.client();
        plain.send(GET).await;
        assert_eq!(plain.response().await.status(), 200, "a new one needs no header");
    });
}

#[test]
fn a_drain_does_not_wait_for_headers() {
    let world = world(REQUIRED);
    world.run(async {
        let mut client = world.client();
        world.sleep(Duration::from_millis(500)).await;
        let then = world.now();
        world.shard().drain();
        assert!(client.closes().await);
        assert_eq!(world.since(then), Duration::from_millis(500), "a second after it came");
    });
}

/// An upstream that is told who asks.
fn telling(version: &str, more: &str) -> String {
    format!(
        "listeners: {{ public: {{ bind: \"127.0.0.1:8080\" }} }}\nupstreams: {{ app: {{ endpoints: [\"10.0.0.1:80\"], \
         proxy_protocol: {version}{more} }} }}\nroutes: [{{ name: all, match: {{ path: \"/{{*rest}}\" }}, to: app }}]\n"
    )
}

/// An origin that answers each request with the header that its connection began with.
fn echoing(world: &World) {
    world.origin("10.0.0.1:80", |mut peer| async move {
        let header = peer.read_until("\r\n").await;
        while peer.request().await.is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{header}", header.len())).await;
        }
    });
}

async fn asked(client: &mut Peer, fields: &str) -> String {
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
    client.response().await.text()
}

#[test]
fn an_endpoint_is_told_of_each_client_on_a_connection_of_its_own() {
    let world = World::new(1).config(&telling("v1", ""));
    echoing(&world);
    world.run(async {
        let (mut one, mut other) = (world.client_from("192.0.2.7:40000"), world.client_from("[2001:db8::1]:50000"));
        for _ in 0..3 {
            assert_eq!(asked(&mut one, "").await, "PROXY TCP4 192.0.2.7 127.0.0.1 40000 8080\r\n");
            assert_eq!(asked(&mut other, "").await, "PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 50000 8080\r\n");
        }
        assert_eq!(world.connects().len(), 2, "each connection of a client has one");
        let mut unix = world.client_from("unix");
        assert_eq!(asked(&mut unix, "").await, "PROXY UNKNOWN\r\n");
    });
}

#[test]
fn an_endpoint_is_told_of_the_client_of_each_request_that_a_trusted_proxy_brings() {
    let world = World::new(1).config(&format!("{}gateway: {{ trusted_proxies: [192.0.2.7] }}\n", telling("v1", "")));
    echoing(&world);
    world.run(async {
        let mut client = world.client();
        for ip in ["8.8.8.8", "9.9.9.9", "8.8.8.8"] {
            let told = asked(&mut client, &format!("x-forwarded-for: {ip}\r\n")).await;
            assert_eq!(told, format!("PROXY TCP4 {ip} 127.0.0.1 0 8080\r\n"));
        }
        assert_eq!(world.connects().len(), 2);
    });
}

#[test]
fn a_header_that_came_in_goes_out_with_its_destination() {
    let world = World::new(1).config(&REQUIRED.replace("80\"] }", "80\"], proxy_protocol: v1 }"));
    echoing(&world);
    world.run(async {
        let mut client = world.client();
        client.send(V1).await;
        assert_eq!(asked(&mut client, "").await, V1);
    });
}

#[test]
fn at_the_most_connections_one_of_another_client_makes_room() {
    let world = World::new(1).config(&telling("v1", ", pool: { max_connections: 1 }"));
    echoing(&world);
    world.run(async {
        let (mut one, mut other) = (world.client_from("192.0.2.7:1"), world.client_from("192.0.2.7:2"));
        for _ in 0..2 {
            assert_eq!(asked(&mut one, "").await, "PROXY TCP4 192.0.2.7 127.0.0.1 1 8080\r\n");
            assert_eq!(asked(&mut other, "").await, "PROXY TCP4 192.0.2.7 127.0.0.1 2 8080\r\n");
        }
        assert_eq!(world.connects().len(), 4);
    });
}

#[test]
fn who_waits_for_a_connection_does_not_get_one_that_speaks_for_another() {
    let world = World::new(1).config(&telling("v1", ", pool: { max_connections: 1 }"));
    world.origin("10.0.0.1:80", |mut peer| async move {
        let header = peer.read_until("\r\n").await;
        while peer.request().await.is_some() {
            peer.sleep(Duration::from_secs(1)).await;
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{header}", header.len())).await;
        }
    });
    world.run(async {
        let (mut one, mut other) = (world.client_from("192.0.2.7:1"), world.client_from("192.0.2.7:2"));
        one.send(GET).await;
        world.sleep(Duration::from_millis(100)).await;
        assert_eq!(asked(&mut other, "").await, "PROXY TCP4 192.0.2.7 127.0.0.1 2 8080\r\n");
        assert_eq!(one.response().await.text(), "PROXY TCP4 192.0.2.7 127.0.0.1 1 8080\r\n");
    });
}

#[test]
fn a_reload_that_changes_the_header_closes_kept_connections() {
    let world = World::new(1).config(&telling("v1", ""));
    world.origin("10.0.0.1:80", |mut peer| async move {
        let body = if peer.read_until("\r\n\r\n").await.starts_with("PROXY") { "v1" } else { "no" };
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}")).await;
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.client();
        assert_eq!(asked(&mut client, "").await, "v1");
        world.reload(&telling("off", ""));
        assert_eq!(asked(&mut client, "").await, "no");
        assert_eq!(world.connects().len(), 2);
    });
}

#[test]
fn an_endpoint_that_does_not_take_the_header_counts_as_one_that_cannot_be_reached() {
    let world = World::new(1).config(&telling("v1", ""));
    let host = world.answers("10.0.0.1:80", OK);
    host.wire(Wire { room: 0, ..Wire::default() });
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 504);
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("connect-timeout", "proxy-header"));
    });
}
