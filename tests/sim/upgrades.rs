//! Connections that change their protocol (RFC 9110, section 7.8).

use std::time::Duration;

use tidegate::proxy::shell::Shard as _;

use crate::OK;
use crate::world::{Ended, Peer, World};

const YAML: &str = r#"
gateway: { timeouts: { idle: 30s, lifetime: 10m } }
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - { name: socket, match: { path: "/ws" }, to: app, upgrade: [websocket, tls-ish] }
  - { name: plain, match: { path: "/{*rest}" }, to: app }
"#;

const ASK: &str = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A world whose origin switches, and then does this.
fn switching<F: Future<Output = ()> + 'static>(then: impl Fn(Peer) -> F + 'static) -> World {
    let world = World::new(1).config(YAML);
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
        assert_eq!(world.line().await.reason(), "tunnel-idle");
    });
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
const GOING_AWAY: [u8; 4] = [0x88, 2, 3, 0xe9];

/// Whether these octets are a masked close frame with the status 1001.
fn is_masked_going_away(octets: &[u8]) -> bool {
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
        client.rest().await;
        assert_eq!(world.since(then), Duration::from_secs(1));
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.open_connections(), 0);
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
