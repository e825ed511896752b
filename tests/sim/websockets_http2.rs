//! WebSockets that are streams of HTTP/2 (RFC 8441), towards upstreams of HTTP/1.1.

use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use tidegate::proxy::shell::Shard as _;

use crate::OK;
use crate::world::http2::{
    ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, RST_STREAM, SETTINGS, answer, block, request,
};
use crate::world::{Ended, Message, Peer, World};

const YAML: &str = r#"
gateway: { timeouts: { lifetime: 10m } }
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2] } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - { name: socket, match: { path: "/ws" }, to: app, upgrade: websocket }
  - { name: fixed, match: { path: "/fixed" }, respond: { body: "no tunnel" } }
  - { name: moved, match: { path: "/moved" }, redirect: { to: "/ws" } }
  - { name: plain, match: { path: "/{*rest}" }, to: app }
"#;

/// Opcodes and lengths of small frames, and two octets: masked as clients send, plain as servers do.
const MASKED_HI: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
const HI: [u8; 4] = [0x81, 2, b'h', b'i'];
/// A close frame with the status 1001.
const GOING_AWAY: [u8; 4] = [0x88, 2, 3, 0xe9];

/// The 101 that proves the key of this request was read.
fn switch(request: &Message) -> String {
    let accept = accept(request.field("sec-websocket-key").expect("a key of the gateway's"));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n"
    )
}

fn accept(key: &str) -> String {
    let key = tidegate::http::websocket::Key::of_request([&b"13"[..]].into_iter(), [key.as_bytes()].into_iter());
    String::from_utf8(key.unwrap().accept().to_vec()).unwrap()
}

/// A world whose origin switches, and then does this.
fn switching<F: Future<Output = ()> + 'static>(then: impl Fn(Peer) -> F + 'static) -> World {
    let world = World::new(1).config(YAML);
    serve(&world, then);
    world
}

fn serve<F: Future<Output = ()> + 'static>(world: &World, then: impl Fn(Peer) -> F + 'static) {
    let then = std::rc::Rc::new(then);
    let note = world.note();
    world.origin("10.0.0.1:80", move |mut peer| {
        let (then, note) = (then.clone(), note.clone());
        async move {
            let head = peer.request_head().await;
            peer.send(format!("{}\r\n", switch(&head))).await;
            note(head);
            then(peer).await;
        }
    });
}

/// An extended CONNECT.
fn connect(path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = request("CONNECT", path, fields);
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request
}

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

/// An open tunnel.
struct Tunnel {
    status: u16,
    fields: HeaderMap,
    sending: SendStream<Bytes>,
    receiving: RecvStream,
    received: Vec<u8>,
}

/// How a tunnel has ended.
type End = Result<Vec<u8>, Option<Reason>>;

impl Tunnel {
    async fn open(client: &mut Http2, request: Request<()>) -> Self {
        let (response, sending) = client.send(request, true).await;
        let (head, receiving) = response.await.unwrap().into_parts();
        Self { status: head.status.as_u16(), fields: head.headers, sending, receiving, received: Vec::new() }
    }

    fn send(&mut self, octets: &[u8]) {
        self.sending.send_data(Bytes::copy_from_slice(octets), false).unwrap();
    }

    fn finish(&mut self) {
        self.sending.send_data(Bytes::new(), true).unwrap();
    }

    async fn receive(&mut self) -> Option<Result<(), Option<Reason>>> {
        let chunk = self.receiving.data().await?;
        Some(chunk.map_err(|error| error.reason()).map(|chunk| {
            self.receiving.flow_control().release_capacity(chunk.len()).unwrap();
            self.received.extend(chunk);
        }))
    }

    async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            self.receive().await.expect("more octets").unwrap();
        }
        self.received.drain(..count).collect()
    }

    async fn rest(&mut self) -> End {
        while let Some(outcome) = self.receive().await {
            outcome?;
        }
        Ok(std::mem::take(&mut self.received))
    }
}

/// A client whose settings have been exchanged, without which it may ask for no tunnel.
async fn client(world: &World) -> Http2 {
    let client = world.http2().await;
    world.sleep(Duration::from_millis(10)).await;
    assert!(client.may_connect());
    client
}

#[test]
fn a_stream_becomes_a_websocket_and_octets_go_both_ways() {
    let world = World::new(1).config(YAML);
    let note = world.note();
    world.origin("10.0.0.1:80", move |mut peer| {
        let note = note.clone();
        async move {
            let head = peer.request_head().await;
            peer.send(format!("{}sec-websocket-protocol: chat\r\n\r\nwelcome", switch(&head))).await;
            note(head);
            assert_eq!(peer.read_exactly(8).await, MASKED_HI);
            peer.send(HI).await;
            peer.rest().await;
        }
    });
    world.run(async {
        let mut client = client(&world).await;
        let fields =
            [VERSION, ("sec-websocket-protocol", "chat"), ("sec-websocket-key", "mine"), ("origin", "http://a")];
        let mut tunnel = Tunnel::open(&mut client, connect("/ws?a=b", &fields)).await;
        assert_eq!((tunnel.status, tunnel.fields["sec-websocket-protocol"].as_bytes()), (200, &b"chat"[..]));
        for name in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!tunnel.fields.contains_key(name), "{name}");
        }
        assert_eq!(tunnel.read_exactly(7).await, b"welcome");
        tunnel.send(&MASKED_HI);
        assert_eq!(tunnel.read_exactly(4).await, HI);
        tunnel.finish();
        assert_eq!(tunnel.rest().await, Ok(Vec::new()));
        let request = world.request();
        assert_eq!(request.start, "GET /ws?a=b HTTP/1.1");
        assert_eq!((request.field("connection"), request.field("upgrade")), (Some("upgrade"), Some("websocket")));
        assert_eq!((request.field("origin"), request.all("sec-websocket-key").len()), (Some("http://a"), 1));
        let line = world.line().await;
        assert_eq!((line.number("status"), line.text("protocol").as_str()), (101, "HTTP/2.0"));
        assert_eq!((line.reason().as_str(), line.text("route").as_str()), ("ok", "socket"));
    });
}

#[test]
fn each_tunnel_has_a_key_of_its_own() {
    let world = switching(|mut peer| async move { drop(peer.rest().await) });
    world.run(async {
        let mut client = client(&world).await;
        for _ in 0..3 {
            Tunnel::open(&mut client, connect("/ws", &[VERSION])).await;
        }
        let keys: std::collections::HashSet<_> =
            world.requests().iter().map(|request| request.field("sec-websocket-key").unwrap().to_owned()).collect();
        assert_eq!(keys.len(), 3);
    });
}

#[test]
fn what_the_client_sends_ahead_is_not_lost() {
    for seed in 0..20 {
        let world = World::shuffled(seed).config(YAML);
        serve(&world, |mut peer| async move {
            assert_eq!(peer.rest().await.0, MASKED_HI.repeat(1000));
            peer.send("done").await;
        });
        world.run(async {
            let mut client = client(&world).await;
            let (response, mut sending) = client.send(connect("/ws", &[VERSION]), true).await;
            sending.send_data(Bytes::from(MASKED_HI.repeat(1000)), true).unwrap();
            assert_eq!(answer(response).await.unwrap().text(), "done", "seed {seed}");
        });
    }
}

#[test]
fn either_side_may_end_its_direction_first() {
    let world = switching(|mut peer| async move {
        let mut first = peer.read_exactly(1).await;
        if first.pop() == Some(b'?') {
            peer.finish();
        }
        assert_eq!(peer.rest().await, (b"last".to_vec(), Ended::Finished));
        let _ = peer.try_send("answer").await;
    });
    world.run(async {
        let mut client = client(&world).await;
        // The client first: what the server says behind it still arrives.
        let mut tunnel = Tunnel::open(&mut client, connect("/ws", &[VERSION])).await;
        tunnel.send(b"!last");
        tunnel.finish();
        assert_eq!(tunnel.rest().await, Ok(b"answer".to_vec()));
        // The server first.
        let mut tunnel = Tunnel::open(&mut client, connect("/ws", &[VERSION])).await;
        tunnel.send(b"?");
        assert_eq!(tunnel.rest().await, Ok(Vec::new()));
        world.sleep(Duration::from_secs(1)).await;
        tunnel.send(b"last");
        tunnel.finish();
        world.sleep(Duration::from_secs(1)).await;
        assert!(world.log().await.iter().all(|line| line.reason() == "ok"));
    });
}

#[test]
fn a_reset_of_either_side_is_one_on_the_other_and_has_its_reason() {
    let seen = std::rc::Rc::new(std::cell::Cell::new(None));
    let world = World::new(1).config(YAML);
    serve(&world, {
        let seen = seen.clone();
        move |mut peer| {
            let seen = seen.clone();
            async move {
                if peer.read_exactly(1).await == b"?" {
                    return peer.reset();
                }
                seen.set(Some(peer.rest().await.1));
            }
        }
    });
    world.run(async {
        let mut client = client(&world).await;
        let mut tunnel = Tunnel::open(&mut client, connect("/ws", &[VERSION])).await;
        tunnel.send(b"?");
        assert_eq!(tunnel.rest().await, Err(Some(Reason::CANCEL)));
        assert_eq!(world.line().await.reason(), "upstream-reset");

        let mut tunnel = Tunnel::open(&mut client, connect("/ws", &[VERSION])).await;
        tunnel.send(b"!");
        world.sleep(Duration::from_secs(1)).await;
        let then = world.now();
        tunnel.sending.send_reset(Reason::CANCEL);
        assert_eq!(world.log().await.pop().unwrap().reason(), "client-closed");
        world.sleep(Duration::from_millis(500)).await;
        assert_eq!(seen.get(), Some(Ended::Reset));
        assert!(world.since(then) < Duration::from_secs(2));
        assert!(client.is_open().await, "the connection goes on");
    });
}

#[test]
fn a_connection_that_is_lost_takes_its_websockets_along() {
    let world = switching(|mut peer| async move { drop(peer.rest().await) });
    world.run(async {
        let mut frames = world.frames().await;
        frames.of_kind(SETTINGS).await;
        frames.send(SETTINGS, ACK, 0, b"").await;
        let head = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/ws"),
            (":authority", "a"),
            VERSION,
        ];
        frames.send(HEADERS, END_HEADERS, 1, &block(&head)).await;
        frames.of_kind(HEADERS).await.unwrap();
        frames.peer.reset();
        assert_eq!(world.line().await.reason(), "client-closed");
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!((world.open_connections(), world.metric("tidegate_http2_streams_open")), (0, 0));
    });
}

#[test]
fn a_slow_reader_of_either_side_stops_the_other() {
    let given = std::rc::Rc::new(std::cell::Cell::new(0));
    let world = World::new(1).config(YAML);
    serve(&world, {
        let given = given.clone();
        move |peer| {
            let given = given.clone();
            async move {
                while peer.try_send([b'x'; 1000]).await.is_ok() {
                    given.set(given.get() + 1000);
                }
            }
        }
    });
    world.run(async {
        let mut tunnel = Tunnel::open(&mut client(&world).await, connect("/ws", &[VERSION])).await;
        world.sleep(Duration::from_secs(5)).await;
        // The server does not read either: only so much of what the client sends is taken.
        let mut sent = 0;
        for _ in 0..1000 {
            tunnel.sending.reserve_capacity(10_000);
            world.sleep(Duration::from_millis(10)).await;
            let room = tunnel.sending.capacity().min(10_000);
            if room > 0 {
                tunnel.send(&vec![b'x'; room]);
            }
            sent += room;
        }
        // A window, and what the link to the server holds.
        assert!((65_535..1_000_000).contains(&sent), "{sent}");
        assert!((65_000..1_000_000).contains(&given.get()), "{given:?}");
    });
}

#[test]
fn a_lifetime_that_is_over_is_told_by_a_close_frame_and_the_connection_goes_on() {
    let world = switching(|mut peer| async move { drop(peer.rest().await) });
    world.run(async {
        let mut client = client(&world).await;
        let mut tunnel = Tunnel::open(&mut client, connect("/ws", &[VERSION])).await;
        let then = world.now();
        while world.since(then) < Duration::from_secs(590) {
            tunnel.send(&MASKED_HI);
            world.sleep(Duration::from_secs(20)).await;
        }
        assert_eq!(tunnel.rest().await, Ok(GOING_AWAY.to_vec()));
        assert_eq!(world.line().await.reason(), "lifetime");
    });
}

#[test]
fn a_drain_that_is_over_closes_the_websockets_of_a_connection_by_frames_and_then_itself() {
    let world = switching(|mut peer| async move { drop(peer.rest().await) });
    world.run(async {
        let mut client = client(&world).await;
        let mut first = Tunnel::open(&mut client, connect("/ws", &[VERSION])).await;
        let mut second = Tunnel::open(&mut client, connect("/ws", &[VERSION])).await;
        world.shard().drain();
        world.sleep(Duration::from_secs(20)).await;
        first.send(&MASKED_HI);
        world.sleep(Duration::from_secs(1)).await;
        world.shard().stop();
        assert_eq!(first.rest().await, Ok(GOING_AWAY.to_vec()));
        assert_eq!(second.rest().await, Ok(GOING_AWAY.to_vec()));
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.open_connections(), 0);
        assert!(world.log().await.iter().all(|line| line.reason() == "draining"));
    });
}

#[test]
fn a_stop_ends_a_connection_without_websockets_at_once() {
    let world = World::new(1).config(YAML);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = client(&world).await;
        assert_eq!(client.get("/").await.status, 200);
        world.shard().stop();
        world.sleep(Duration::from_millis(50)).await;
        assert_eq!((client.is_open().await, world.open_connections()), (false, 0));
    });
}

#[test]
fn where_no_websocket_is_offered_a_connect_is_501_and_never_a_success() {
    let world = World::new(1).config(YAML);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = client(&world).await;
        for (path, status) in [("/other", 501), ("/fixed", 501), ("/moved", 302)] {
            assert_eq!(client.ask(connect(path, &[VERSION])).await.status, status, "{path}");
        }
        assert!(world.requests().is_empty());
        assert_eq!(world.log().await[0].text("detail"), "not-offered");
    });
}

#[test]
fn an_upstream_that_does_not_switch_is_502_where_it_is_a_success_and_passed_on_where_not() {
    let world = World::new(1).config(YAML);
    world.run(async {
        let mut client = client(&world).await;
        for (said, status, reason) in [(200, 502, "upgrade-failed"), (204, 502, "upgrade-failed"), (403, 403, "ok")] {
            world
                .answers("10.0.0.1:80", format!("HTTP/1.1 {said} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
            assert_eq!(client.ask(connect("/ws", &[VERSION])).await.status, status, "{said}");
            assert_eq!(world.log().await.pop().unwrap().reason(), reason, "{said}");
        }
    });
}

#[test]
fn a_wrong_proof_of_the_upstream_is_502() {
    let world = World::new(1).config(YAML);
    world.origin("10.0.0.1:80", |mut peer| async move {
        let head = peer.request_head().await;
        peer.send(format!("{}\r\n", switch(&head).replace("accept: ", "accept: A"))).await;
        assert!(peer.closes().await);
    });
    world.run(async {
        let mut client = client(&world).await;
        assert_eq!(client.ask(connect("/ws", &[VERSION])).await.status, 502);
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("upgrade-failed", "websocket-accept"));
    });
}

#[test]
fn another_version_is_426_another_protocol_501_and_no_protocol_405() {
    let world = World::new(1).config(YAML);
    world.run(async {
        let mut client = client(&world).await;
        for fields in [&[("sec-websocket-version", "8")][..], &[]] {
            let answer = client.ask(connect("/ws", fields)).await;
            assert_eq!((answer.status, answer.field("sec-websocket-version")), (426, Some("13")));
        }
        let mut other = connect("/ws", &[VERSION]);
        other.extensions_mut().insert(Protocol::from_static("connect-udp"));
        assert_eq!(client.ask(other).await.status, 501);
        let mut none = connect("/ws", &[]);
        none.extensions_mut().clear();
        *none.uri_mut() = "a:80".parse().unwrap();
        assert_eq!(client.ask(none).await.status, 405);
        let words: Vec<_> = world.log().await.iter().map(|line| line.text("detail")).collect();
        assert_eq!(words, ["websocket-version", "websocket-version", "unknown-protocol", ""]);
        assert!(world.connects().is_empty());
    });
}

#[test]
fn a_malformed_extended_connect_is_reset() {
    let world = World::new(1).config(YAML);
    world.run(async {
        let whole = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/ws"),
            (":authority", "a"),
            VERSION,
        ];
        let cases = [
            whole.iter().filter(|field| field.0 != ":scheme").copied().collect::<Vec<_>>(),
            whole.iter().filter(|field| field.0 != ":path").copied().collect(),
            whole.map(|field| if field.0 == ":method" { (":method", "GET") } else { field }).to_vec(),
            whole.map(|field| if field.0 == ":path" { (":path", "*") } else { field }).to_vec(),
            whole.map(|field| if field.0 == ":scheme" { (":scheme", "https") } else { field }).to_vec(),
            [&whole[..], &[("content-length", "0")]].concat(),
            [&whole[..], &[(":protocol", "websocket")]].concat(),
            [&whole[..], &[("upgrade", "websocket")]].concat(),
        ];
        for case in cases {
            let mut frames = world.frames().await;
            frames.of_kind(SETTINGS).await;
            frames.send(SETTINGS, ACK, 0, b"").await;
            frames.send(HEADERS, END_HEADERS, 1, &block(&case)).await;
            loop {
                let frame = frames.next().await.expect("a reset should come");
                assert!(frame.kind != HEADERS, "{case:?}");
                if frame.kind == RST_STREAM || frame.kind == GOAWAY {
                    let at = if frame.kind == GOAWAY { 4 } else { 0 };
                    assert_eq!(frame.code(at), Reason::PROTOCOL_ERROR, "{case:?}");
                    break;
                }
            }
        }
        assert!(world.connects().is_empty());
    });
}

#[test]
fn trailers_have_no_place_on_a_tunnel() {
    let world = switching(|mut peer| async move { assert_eq!(peer.rest().await.1, Ended::Reset) });
    world.run(async {
        let mut frames = world.frames().await;
        frames.of_kind(SETTINGS).await;
        frames.send(SETTINGS, ACK, 0, b"").await;
        let head = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/ws"),
            (":authority", "a"),
            VERSION,
        ];
        frames.send(HEADERS, END_HEADERS, 1, &block(&head)).await;
        frames.of_kind(HEADERS).await.unwrap();
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-a", "b")])).await;
        assert_eq!(frames.of_kind(RST_STREAM).await.unwrap().code(0), Reason::PROTOCOL_ERROR);
        assert_eq!(world.line().await.reason(), "client-closed");
    });
}

#[test]
fn a_client_that_ends_its_direction_with_the_head_still_hears_the_server() {
    let world = switching(|mut peer| async move {
        assert!(peer.closes().await);
        peer.send(HI).await;
    });
    world.run(async {
        let mut client = client(&world).await;
        let answer = client.ask(connect("/ws", &[VERSION])).await;
        assert_eq!((answer.status, answer.body), (200, HI.to_vec()));
    });
}

#[test]
fn the_settings_announce_extended_connect_whatever_the_routes_are() {
    let world = World::new(1).config(crate::http2::BOTH);
    world.run(async {
        let mut frames = world.frames().await;
        let settings = frames.of_kind(SETTINGS).await.unwrap();
        assert!(settings.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{settings:?}");
        assert_eq!(settings.flags & END_STREAM, 0);
    });
}

/// The same routes before an upstream that speaks HTTP/2.
fn to_http2() -> String {
    YAML.replace("endpoints: [\"10.0.0.1:80\"]", "endpoints: [\"10.0.0.1:80\"], protocol: h2")
}

/// A world whose origin of HTTP/2 agrees to every extended CONNECT, and then does this.
fn agreeing<F: Future<Output = ()> + 'static>(then: impl Fn(Request<()>, Tunnel) -> F + 'static) -> World {
    let world = World::new(1).config(&to_http2());
    let then = std::rc::Rc::new(then);
    let announce = |builder: &mut h2::server::Builder| {
        builder.enable_connect_protocol();
    };
    world.http2_origin_with("10.0.0.1:80", announce, move |(request, mut to)| {
        let then = then.clone();
        async move {
            let (head, receiving) = request.into_parts();
            let response = http::Response::builder().header("sec-websocket-protocol", "chat").body(()).unwrap();
            let (status, fields) = (200, HeaderMap::new());
            let sending = to.send_response(response, false).unwrap();
            let tunnel = Tunnel { status, fields, sending, receiving, received: Vec::new() };
            then(Request::from_parts(head, ()), tunnel).await;
        }
    });
    world
}

/// The upgrade of HTTP/1.1.
fn ask() -> String {
    crate::upgrades::ASK.to_owned()
}

#[test]
fn an_upstream_of_http_2_is_asked_by_an_extended_connect_whatever_the_client_speaks() {
    let world = agreeing(|request, mut tunnel| async move {
        assert_eq!((request.method().as_str(), request.uri().path()), ("CONNECT", "/ws"));
        assert_eq!(request.extensions().get::<Protocol>(), Some(&Protocol::from_static("websocket")));
        let fields = request.headers();
        assert!(
            fields.contains_key("sec-websocket-version") && !fields.contains_key("sec-websocket-key"),
            "{fields:?}"
        );
        assert_eq!(tunnel.read_exactly(8).await, MASKED_HI);
        tunnel.send(&HI);
        assert_eq!(tunnel.rest().await, Ok(b"last".to_vec()));
        tunnel.send(b"answer");
        tunnel.finish();
    });
    world.run(async {
        let mut plain = world.client();
        plain.send(ask()).await;
        let head = plain.response().await;
        assert_eq!((head.status(), head.field("sec-websocket-protocol")), (101, Some("chat")));
        assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        plain.send(MASKED_HI).await;
        assert_eq!(plain.read_exactly(4).await, HI);
        plain.send("last").await;
        plain.finish();
        assert_eq!(plain.rest().await, (b"answer".to_vec(), Ended::Finished));

        let mut tunnel = Tunnel::open(&mut client(&world).await, connect("/ws", &[VERSION])).await;
        assert_eq!((tunnel.status, tunnel.fields["sec-websocket-protocol"].as_bytes()), (200, &b"chat"[..]));
        tunnel.send(&MASKED_HI);
        assert_eq!(tunnel.read_exactly(4).await, HI);
        tunnel.send(b"last");
        tunnel.finish();
        assert_eq!(tunnel.rest().await, Ok(b"answer".to_vec()));
        assert!(world.log().await.iter().all(|line| line.reason() == "ok"));
        assert_eq!(world.connects().len(), 1, "both are streams of one connection");
    });
}

#[test]
fn an_upstream_that_has_not_announced_it_is_not_asked() {
    let world = World::new(1).config(&to_http2());
    world.http2_origin("10.0.0.1:80", |(request, to)| async move {
        assert_eq!(request.uri().path(), "/");
        crate::world::http2::respond(to, 200, &[], "ok");
    });
    world.run(async {
        for _ in 0..2 {
            assert_eq!(world.ask(ask()).await.status(), 502);
            let line = world.log().await.pop().unwrap();
            assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("upgrade-failed", "not-announced"));
        }
        assert_eq!(world.ask(crate::GET).await.text(), "ok", "the connection serves on");
        assert_eq!(world.connects().len(), 1);
    });
}

#[test]
fn another_answer_of_an_upstream_of_http_2_is_an_ordinary_one() {
    let world = World::new(1).config(&to_http2());
    let announce = |builder: &mut h2::server::Builder| {
        builder.enable_connect_protocol();
    };
    world.http2_origin_with("10.0.0.1:80", announce, |(_, to)| async move {
        crate::world::http2::respond(to, 403, &[], "no");
    });
    world.run(async {
        let response = world.ask(ask()).await;
        assert_eq!((response.status(), response.text().as_str()), (403, "no"));
        let answer = client(&world).await.ask(connect("/ws", &[VERSION])).await;
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    });
}

#[test]
fn resets_pass_between_http_1_1_and_an_upstream_of_http_2() {
    let seen = std::rc::Rc::new(std::cell::RefCell::new(None));
    let world = agreeing({
        let seen = seen.clone();
        move |_, mut tunnel| {
            let seen = seen.clone();
            async move {
                if tunnel.read_exactly(1).await == b"?" {
                    return tunnel.sending.send_reset(Reason::CANCEL);
                }
                *seen.borrow_mut() = Some(tunnel.rest().await);
            }
        }
    });
    world.run(async {
        for (octet, reason) in [("?", "upstream-reset"), ("!", "client-closed")] {
            let mut client = world.client();
            client.send(ask()).await;
            assert_eq!(client.response().await.status(), 101);
            client.send(octet).await;
            if octet == "?" {
                assert_eq!(client.rest().await.1, Ended::Reset);
            } else {
                world.sleep(Duration::from_secs(1)).await;
                client.reset();
            }
            assert_eq!(world.log().await.pop().unwrap().reason(), reason);
        }
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(seen.take(), Some(Err(Some(Reason::CANCEL))));
    });
}

#[test]
fn an_upstream_of_http_2_is_told_by_a_masked_close_frame() {
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let world = agreeing({
        let seen = seen.clone();
        move |_, mut tunnel| {
            let seen = seen.clone();
            async move {
                while let Some(Ok(())) = tunnel.receive().await {}
                *seen.borrow_mut() = tunnel.received;
            }
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send(ask()).await;
        assert_eq!(client.response().await.status(), 101);
        client.send(MASKED_HI).await;
        world.sleep(Duration::from_secs(1)).await;
        world.shard().drain();
        world.shard().stop();
        assert_eq!(client.rest().await.0, GOING_AWAY);
        world.sleep(Duration::from_secs(1)).await;
        let seen = seen.take();
        assert!(seen.len() == 16 && crate::upgrades::is_masked_going_away(&seen[8..]), "{seen:?}");
    });
}
