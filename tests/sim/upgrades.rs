//! Connections that change their protocol (RFC 9110, section 7.8).

use std::time::Duration;

use tidegate::proxy::shell::Shard as _;

use crate::OK;
use crate::world::{Ended, Peer, World};

const YAML: &str = r#"
gateway: { timeouts: { idle: 10s, lifetime: 10m } }
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - { name: socket, match: { path: "/ws" }, to: app, upgrade: [websocket, tls-ish], websocket: { idle_timeout: 30s } }
  - { name: plain, match: { path: "/{*rest}" }, to: app }
"#;

pub const ASK: &str = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
pub const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A world whose origin switches, and then does this.
fn switching<F: Future<Output = ()> + 'static>(then: impl Fn(Peer) -> F + 'static) -> World {
    switching_with(YAML, then)
}

fn switching_with<F: Future<Output = ()> + 'static>(yaml: &str, then: impl Fn(Peer) -> F + 'static) -> World {
    let world = World::new(1).config(yaml);
    let then = std::rc::Rc::new(then);
    world.origin("10.0.0.1:80", move |mut peer| {
        let then = then.clone();
        async move {
            let head = peer.request_head().await;
            assert_eq!((head.field("connection"), head.field("upgrade")), (Some("upgrade"), Some("websocket")));
            peer.send(SWITCH).await;
            then(peer).await;
        }
    });
    world
}

/// A client whose connection has been switched.
async fn switched(world: &World) -> Peer {
    let mut client = world.client();
    client.send(ASK).await;
    let response = client.response().await;
    assert_eq!((response.status(), response.field("upgrade")), (101, Some("websocket")));
    client
}

#[test]
fn octets_go_both_ways_after_a_valid_101() {
    let world = switching(|mut peer| async move {
        assert_eq!(peer.read_exactly(4).await, b"ping");
        peer.send("pong").await;
        peer.rest().await;
    });
    world.run(async {
        let mut client = switched(&world).await;
        client.send("ping").await;
        assert_eq!(client.read_exactly(4).await, b"pong");
        drop(client);
        let line = world.line().await;
        assert_eq!((line.number("status"), line.text("route").as_str()), (101, "socket"));
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn early_octets_of_either_side_are_not_lost() {
    let world = World::new(1).config(YAML);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send(format!("{SWITCH}welcome")).await;
        assert_eq!(peer.read_exactly(5).await, b"early");
        peer.send("done").await;
    });
    world.run(async {
        let mut client = world.client();
        client.send(format!("{ASK}early")).await;
        assert_eq!(client.response().await.status(), 101);
        assert_eq!(client.read_exactly(11).await, b"welcomedone");
    });
}

#[test]
fn octets_that_arrive_while_the_101_does_are_not_lost_in_any_order() {
    for seed in 0..50 {
        let world = World::shuffled(seed).config(YAML);
        world.origin("10.0.0.1:80", |mut peer| async move {
            peer.request_head().await;
            peer.sleep(Duration::from_millis(10)).await;
            peer.send(SWITCH).await;
            assert_eq!(peer.read_exactly(8).await, MASKED_HI);
            peer.send(HI).await;
            peer.rest().await;
        });
        world.run(async {
            let mut client = world.client();
            client.send(ASK).await;
            world.sleep(Duration::from_millis(10)).await;
            client.send(MASKED_HI).await;
            assert_eq!(client.response().await.status(), 101, "seed {seed}");
            assert_eq!(client.read_exactly(4).await, HI);
        });
    }
}

#[test]
fn an_upstream_that_resets_before_it_took_what_the_client_sent_ahead_is_to_blame() {
    let world = World::new(1).config(YAML);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.sleep(Duration::from_millis(100)).await;
        peer.send(SWITCH).await;
        peer.sleep(Duration::from_secs(1)).await;
        peer.reset();
    });
    // The 101 stands in the way for a while.
    world.client_wire(crate::world::Wire { room: 20, ..Default::default() });
    world.run(async {
        let mut client = world.client();
        client.send(format!("{ASK}early")).await;
        world.sleep(Duration::from_secs(2)).await;
        assert_eq!(client.response().await.status(), 101);
        client.rest().await;
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("status")), ("upstream-reset", 101));
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn a_half_close_is_passed_on_either_way() {
    let world = switching(|mut peer| async move {
        assert_eq!(peer.rest().await, (b"last".to_vec(), Ended::Finished));
        peer.send("answer").await;
        peer.finish();
        peer.sleep(Duration::from_secs(1)).await;
    });
    world.run(async {
        let mut client = switched(&world).await;
        client.send("last").await;
        client.finish();
        assert_eq!(client.rest().await, (b"answer".to_vec(), Ended::Finished));
        assert_eq!(world.line().await.reason(), "ok");
    });
}

#[test]
fn a_quiet_tunnel_is_ended_after_the_idle_time_and_a_busy_one_is_not() {
    let world = switching(|mut peer| async move {
        for _ in 0..10 {
            peer.sleep(Duration::from_secs(20)).await;
            peer.send("x").await;
        }
        peer.rest().await;
    });
    world.run(async {
        let mut client = switched(&world).await;
        let then = world.now();
        client.read_exactly(10).await;
        assert_eq!(world.since(then), Duration::from_secs(200));
        client.rest().await;
        assert_eq!(world.since(then), Duration::from_secs(230));
        drop(client);
        assert_eq!(world.line().await.reason(), "tunnel-idle");
    });
}

#[test]
fn octets_of_either_direction_keep_a_websocket_and_those_of_requests_may_be_rarer() {
    let world = switching(|mut peer| async move { drop(peer.rest().await) });
    world.run(async {
        let mut client = switched(&world).await;
        let then = world.now();
        for _ in 0..5 {
            client.send(MASKED_HI).await;
            world.sleep(Duration::from_secs(25)).await;
        }
        assert_eq!(client.rest().await.0, GOING_AWAY);
        assert_eq!(world.since(then), Duration::from_secs(130));
    });
}

#[test]
fn another_protocol_is_quiet_no_longer_than_any_stream() {
    let world = World::new(1).config(YAML);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: tls-ish\r\n\r\n").await;
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.client();
        client.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: tls-ish\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 101);
        let then = world.now();
        assert!(client.closes().await);
        assert_eq!(world.since(then), Duration::from_secs(10));
    });
}

#[test]
fn a_websocket_without_limits_of_its_own_outlives_every_timeout_of_requests() {
    let timeouts = "timeouts: { idle: 1s, exchange: 1s, total: 1s, lifetime: 2h }";
    let yaml = YAML.replace("timeouts: { idle: 10s, lifetime: 10m }", timeouts);
    let world = switching_with(&yaml.replace(", websocket: { idle_timeout: 30s }", ""), |mut peer| async move {
        assert_eq!(peer.read_exactly(4).await, b"ping");
        peer.rest().await;
    });
    world.run(async {
        let mut client = switched(&world).await;
        let then = world.now();
        world.sleep(Duration::from_secs(3500)).await;
        client.send("ping").await;
        client.rest().await;
        assert_eq!(world.since(then), Duration::from_secs(7100));
        assert_eq!(world.log().await.pop().unwrap().reason(), "tunnel-idle");
    });
}

#[test]
fn a_lifetime_of_its_own_holds_before_that_of_the_route() {
    let world = switching_with(&YAML.replace("idle_timeout: 30s", "lifetime: 5s"), |mut peer| async move {
        peer.rest().await;
    });
    world.run(async {
        let mut client = switched(&world).await;
        let then = world.now();
        assert_eq!(client.rest().await.0, GOING_AWAY);
        assert_eq!(world.since(then), Duration::from_secs(5));
    });
}

#[test]
fn websockets_are_counted_while_open_by_protocol_and_by_how_they_end() {
    let world = switching(|mut peer| async move { drop(peer.rest().await) });
    world.run(async {
        let first = switched(&world).await;
        let second = switched(&world).await;
        world.sleep(Duration::from_secs(1)).await;
        let open = || {
            let route = "tidegate_route_websockets_open{route=\"socket\"}";
            (world.metric("tidegate_websockets_open"), world.metric(route), world.metric("tidegate_tunnels_open"))
        };
        assert_eq!(open(), (2, 2, 2));
        drop(first);
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(open(), (1, 1, 1));
        second.reset();
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(open(), (0, 0, 0));
        assert_eq!(world.metric("tidegate_websockets_opened_total{protocol=\"HTTP/1.1\"}"), 2);
        for reason in ["ok", "client-closed"] {
            assert_eq!(world.metric(&format!("tidegate_websockets_closed_total{{reason={reason:?}}}")), 1, "{reason}");
        }
    });
}

#[test]
fn a_page_of_an_origin_that_is_not_listed_opens_no_websocket() {
    let yaml = YAML.replace("idle_timeout: 30s", "origins: [\"https://app.example.com\", \"https://*.example.org\"]");
    for (field, status) in [
        ("origin: https://app.example.com\r\n", 101),
        ("Origin: https://a.example.org\r\n", 101),
        ("", 101),
        ("origin: https://evil.example\r\n", 403),
        ("origin: null\r\n", 403),
        ("origin: https://app.example.com\r\norigin: https://app.example.com\r\n", 403),
    ] {
        let world = switching_with(&yaml, |mut peer| async move { drop(peer.rest().await) });
        world.run(async {
            let mut client = world.client();
            client.send(ASK.replace("\r\n\r\n", &format!("\r\n{field}\r\n"))).await;
            assert_eq!(client.response().await.status(), status, "{field}");
            assert_eq!(world.connects().len(), usize::from(status == 101), "{field}");
            drop(client);
            assert_eq!(world.line().await.reason(), if status == 101 { "ok" } else { "origin-refused" }, "{field}");
        });
    }
}

#[test]
fn a_tunnel_ends_with_its_lifetime_however_busy() {
    let world = switching(|peer| async move {
        while peer.try_send("x").await.is_ok() {
            peer.sleep(Duration::from_secs(5)).await;
        }
    });
    world.run(async {
        let mut client = switched(&world).await;
        let then = world.now();
        client.rest().await;
        assert_eq!(world.since(then), Duration::from_secs(600));
        assert_eq!(world.line().await.reason(), "lifetime");
    });
}

/// A masked text frame of a client, and a plain one of a server.
const MASKED_HI: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
const HI: [u8; 4] = [0x81, 2, b'h', b'i'];
/// A close frame with the status 1001.
pub const GOING_AWAY: [u8; 4] = [0x88, 2, 3, 0xe9];

/// Whether these octets are a masked close frame with the status 1001.
pub fn is_masked_going_away(octets: &[u8]) -> bool {
    let [0x88, 0x82, a, b, _, _, high, low] = *octets else { return false };
    [high ^ a, low ^ b] == [3, 0xe9]
}

#[test]
fn a_websocket_whose_lifetime_is_over_is_told_so_by_a_close_frame_on_both_sides() {
    let world = World::new(1).config(YAML);
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    world.origin("10.0.0.1:80", {
        let seen = seen.clone();
        move |mut peer| {
            let seen = seen.clone();
            async move {
                peer.request_head().await;
                peer.send([SWITCH.as_bytes(), &HI[..]].concat()).await;
                *seen.borrow_mut() = peer.rest().await.0;
            }
        }
    });
    world.run(async {
        let mut client = switched(&world).await;
        let then = world.now();
        // A ping of the client every 20 seconds keeps it busy.
        while world.since(then) < Duration::from_secs(590) {
            client.send(MASKED_HI).await;
            world.sleep(Duration::from_secs(20)).await;
        }
        let (octets, ended) = client.rest().await;
        assert_eq!((octets, ended), ([HI, GOING_AWAY].concat(), Ended::Finished));
        assert_eq!(world.since(then), Duration::from_secs(600));
        world.sleep(Duration::from_secs(1)).await;
        let seen = seen.take();
        let (frames, close) = seen.split_at(seen.len() - 8);
        assert!(frames.chunks(8).all(|frame| frame == MASKED_HI) && is_masked_going_away(close), "{close:?}");
        drop(client);
        assert_eq!(world.line().await.reason(), "lifetime");
    });
}

#[test]
fn a_drain_that_is_over_closes_a_websocket_by_a_frame_and_logs_it() {
    let world = switching(|mut peer| async move { drop(peer.rest().await) });
    world.run(async {
        let mut client = switched(&world).await;
        client.send(MASKED_HI).await;
        world.sleep(Duration::from_secs(1)).await;
        world.shard().drain();
        world.shard().stop();
        assert_eq!(client.rest().await, (GOING_AWAY.to_vec(), Ended::Finished));
        drop(client);
        assert_eq!(world.line().await.reason(), "draining");
    });
}

#[test]
fn a_drain_that_is_over_does_not_wait_for_a_client_that_reads_nothing() {
    let world = switching(|peer| async move { while peer.try_send(vec![b'x'; 10_000]).await.is_ok() {} });
    world.run(async {
        let _client = switched(&world).await;
        world.sleep(Duration::from_secs(5)).await;
        world.shard().drain();
        world.shard().stop();
        world.sleep(Duration::from_millis(90)).await;
        assert_eq!((world.line().await.reason(), world.open_connections()), ("draining".into(), 0));
    });
}

#[test]
fn no_frame_of_ours_stands_within_another() {
    let world = switching(|mut peer| async move {
        peer.send([0x82, 10, 1, 2, 3]).await;
        assert_eq!(peer.rest().await.0, MASKED_HI[..5]);
    });
    world.run(async {
        let mut client = switched(&world).await;
        client.send(&MASKED_HI[..5]).await;
        world.sleep(Duration::from_secs(1)).await;
        world.shard().stop();
        assert_eq!(client.rest().await.0, [0x82, 10, 1, 2, 3]);
    });
}

#[test]
fn another_protocol_than_websocket_is_just_ended() {
    let world = World::new(1).config(YAML);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: tls-ish\r\n\r\n").await;
        assert!(peer.closes().await);
    });
    world.run(async {
        let mut client = world.client();
        client.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: tls-ish\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 101);
        world.shard().stop();
        assert!(client.closes().await);
    });
}

#[test]
fn a_tunnel_whose_one_side_resets_is_cut_on_the_other() {
    let world = switching(|peer| async move {
        peer.sleep(Duration::from_secs(1)).await;
        peer.reset();
    });
    world.run(async {
        let mut client = switched(&world).await;
        let then = world.now();
        assert_eq!(client.rest().await.1, Ended::Reset);
        assert_eq!(world.since(then), Duration::from_secs(1));
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.open_connections(), 0);
        assert_eq!(world.line().await.reason(), "upstream-reset");
    });
}

#[test]
fn a_101_that_confirms_something_else_is_502_and_never_a_tunnel() {
    for (from, to) in [
        ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("upgrade: websocket\r\n", "upgrade: h2c\r\n"),
        ("upgrade: websocket\r\n", ""),
        ("connection: upgrade\r\n", ""),
        ("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""),
    ] {
        let world = World::new(1).config(YAML);
        world.origin("10.0.0.1:80", move |mut peer| async move {
            peer.request_head().await;
            peer.send(format!("{}leak", SWITCH.replace(from, to))).await;
            assert!(peer.closes().await, "nothing of the client arrives");
        });
        world.run(async {
            let mut client = world.client();
            client.send(ASK).await;
            assert_eq!(client.response().await.status(), 502, "{from:?} to {to:?}");
            assert_eq!(world.line().await.reason(), "upgrade-failed", "{from:?} to {to:?}");
        });
    }
}

#[test]
fn an_answer_other_than_101_is_an_ordinary_one_and_the_connection_stays_http() {
    let world = World::new(1).config(YAML);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(format!("{ASK}{}", crate::GET)).await;
        assert_eq!(client.response().await.text(), "ok");
        assert_eq!(client.response().await.text(), "ok");
        assert_eq!(world.requests()[1].start, "GET / HTTP/1.1");
    });
}

#[test]
fn an_upgrade_that_the_route_does_not_name_is_an_ordinary_request() {
    let world = World::new(1).config(YAML);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let posted = ASK.replace("GET /ws", "POST /ws");
        let bodied = ASK.replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\nhi");
        for request in [ASK.replace("/ws", "/other"), ASK.replace("websocket\r\nsec", "h2c\r\nsec"), posted, bodied] {
            assert_eq!(world.ask(&request).await.status(), 200);
            let seen = world.requests().pop().unwrap();
            assert!(seen.all("upgrade").is_empty() && seen.all("connection").is_empty(), "{}", seen.head);
        }
    });
}

#[test]
fn a_handshake_of_another_version_is_426_and_a_bad_key_400() {
    for (from, to, status) in [
        ("version: 13", "version: 8", 426),
        ("key: dGhlIHNhbXBsZSBub25jZQ==", "key: short", 400),
        ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
    ] {
        let world = World::new(1).config(YAML);
        world.run(async {
            let response = world.ask(ASK.replace(from, to)).await;
            assert_eq!(response.status(), status, "{to}");
            if status == 426 {
                assert_eq!(response.field("sec-websocket-version"), Some("13"));
            }
            assert!(world.connects().is_empty());
        });
    }
}

#[test]
fn a_tunnel_keeps_a_slow_reader_from_filling_memory() {
    let world = switching(|peer| async move { while peer.try_send(vec![b'x'; 10_000]).await.is_ok() {} });
    world.run(async {
        let client = switched(&world).await;
        world.sleep(Duration::from_secs(5)).await;
        assert!(client.link().written(1) <= 300_000);
    });
}

#[test]
fn what_came_with_the_handshake_counts_for_where_a_frame_of_ours_may_stand() {
    let world = World::new(1).config(YAML);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        // The beginning of a frame of ten octets.
        peer.send([SWITCH.as_bytes(), &[0x82, 10, 1, 2]].concat()).await;
        assert_eq!(peer.rest().await.0, MASKED_HI[..7], "the client's frame is not whole either");
    });
    world.run(async {
        let mut client = world.client();
        client.send([ASK.as_bytes(), &MASKED_HI[..7]].concat()).await;
        assert_eq!(client.response().await.status(), 101);
        world.sleep(Duration::from_secs(1)).await;
        world.shard().stop();
        assert_eq!(client.rest().await.0, [0x82, 10, 1, 2]);
        world.sleep(Duration::from_secs(3)).await;
    });
}
