//! What a client may do to a connection of HTTP/2, and how it ends when it does more.

use std::time::Duration;

use h2::Reason;

use crate::OK;
use crate::http2::BOTH;
use crate::world::World;
use crate::world::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, answer, block, get, request,
};

/// A flood ends the connection, is counted by its word, and does not touch another one.
fn flood(word: &str, attack: impl AsyncFn(&Frames)) {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut other = world.http2().await;
        assert_eq!(other.get("/").await.status, 200);
        let mut client = world.frames().await;
        attack(&client).await;
        assert_eq!(client.goaway().await, Reason::ENHANCE_YOUR_CALM);
        assert!(client.next().await.is_none(), "the connection ends");
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.metric(&format!("tidegate_http2_floods_total{{detail=\"{word}\"}}")), 1);
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"flood\"}"), 1);
        let lines = world.log().await;
        let line = lines.iter().find(|line| line.reason() == "flood" && line.text("detail") == word).expect("a line");
        assert_eq!((line.text("client").as_str(), line.text("protocol").as_str()), ("192.0.2.7", "HTTP/2.0"));
        assert_eq!(other.get("/").await.status, 200);
        assert_eq!(world.open_connections(), 1);
    });
}

#[test]
fn pings() {
    flood("pings", async |client| {
        for _ in 0..600 {
            client.send(PING, 0, 0, &[0; 8]).await;
        }
    });
}

#[test]
fn a_client_that_measures_its_connection_with_every_answer_is_no_flood() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.frames().await;
        for stream in (1..1600).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])).await;
            assert!(client.of_kind(HEADERS).await.is_some(), "stream {stream} is answered");
            client.send(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 2]).await;
            client.send(PING, 0, 0, &[0; 8]).await;
        }
    });
}

#[test]
fn settings() {
    flood("settings", async |client| {
        for _ in 0..30 {
            client.send(SETTINGS, 0, 0, b"").await;
        }
    });
}

#[test]
fn priorities() {
    flood("priorities", async |client| {
        for _ in 0..1100 {
            client.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]).await;
        }
    });
}

#[test]
fn window_updates() {
    flood("window-updates", async |client| {
        for _ in 0..1100 {
            client.send(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).await;
        }
    });
}

#[test]
fn frames_of_unknown_types() {
    flood("unknown-frames", async |client| {
        for _ in 0..600 {
            client.send(0x42, 0, 0, b"?").await;
        }
    });
}

fn post() -> Vec<u8> {
    block(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")])
}

#[test]
fn data_without_content() {
    flood("empty-data", async |client| {
        client.send(HEADERS, END_HEADERS, 1, &post()).await;
        for _ in 0..101 {
            client.send(DATA, 0, 1, b"").await;
        }
    });
}

#[test]
fn rapid_resets_are_ended_by_one_budget_or_the_other() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.frames().await;
        for stream in (1..2000).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])).await;
            client.send(RST_STREAM, 0, stream, &[0, 0, 0, 8]).await;
        }
        assert_eq!(client.goaway().await, Reason::ENHANCE_YOUR_CALM);
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"flood\"}"), 1);
        assert!(world.requests().len() < 300, "{}", world.requests().len());
        assert_eq!((world.open_connections(), world.metric("tidegate_http2_streams_open")), (0, 0));
    });
}

#[test]
fn resets_after_a_moment() {
    let world = World::new(1).config(BOTH);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.frames().await;
        for stream in (1..1000).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])).await;
            client.peer.sleep(Duration::from_millis(1)).await;
            client.send(RST_STREAM, 0, stream, &[0, 0, 0, 8]).await;
            client.peer.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(client.goaway().await, Reason::ENHANCE_YOUR_CALM);
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.metric("tidegate_http2_floods_total{detail=\"resets\"}"), 1);
    });
}

#[test]
fn errors_that_make_us_reset_streams() {
    // MadeYouReset: a window that grows too far is an error of its stream, whose request goes on in a careless server.
    let world = World::new(1).config(BOTH);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.frames().await;
        for stream in (1..1000).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])).await;
            client.peer.sleep(Duration::from_millis(1)).await;
            client.send(WINDOW_UPDATE, 0, stream, &[0x7f, 255, 255, 255]).await;
            client.peer.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(client.goaway().await, Reason::ENHANCE_YOUR_CALM);
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"flood\"}"), 1);
        assert_eq!((world.open_connections(), world.metric("tidegate_http2_streams_open")), (0, 0));
    });
}

#[test]
fn malformed_requests_again_and_again() {
    flood("library", async |client| {
        for stream in (1..1000).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[(":method", "GET")])).await;
        }
    });
}

#[test]
fn requests_that_only_we_find_malformed() {
    flood("refused-requests", async |client| {
        for stream in (1..1000).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[("x-a", " b")])).await;
            client.peer.sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn streams_beyond_the_limit_without_end() {
    let world = World::new(1).config(&BOTH.replace("protocols", "h2: { streams: 2 }, protocols"));
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.frames().await;
        client.send(SETTINGS, ACK, 0, b"").await;
        for stream in (1..4000).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])).await;
        }
        assert_eq!(client.goaway().await, Reason::ENHANCE_YOUR_CALM);
    });
}

#[test]
fn a_block_that_never_ends() {
    let world = World::new(1).config(BOTH);
    world.run(async {
        let mut client = world.frames().await;
        client.send(HEADERS, 0, 1, &get(&[])).await;
        for _ in 0..1000 {
            client.send(CONTINUATION, 0, 1, &block(&[("x-a", "b")])).await;
        }
        assert_eq!(client.goaway().await, Reason::ENHANCE_YOUR_CALM);
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn a_list_of_fields_that_is_small_only_on_the_wire() {
    // One field in the dynamic table, referred to by one octet a time.
    let world = World::new(1).config(BOTH);
    world.run(async {
        let mut client = world.frames().await;
        let mut bomb = get(&[]);
        bomb.extend([&[0x40, 1, b'x', 100][..], &[b'y'; 100], &[0xbe; 300]].concat());
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb).await;
        let head = client.of_kind(HEADERS).await.unwrap();
        assert_eq!((head.stream, head.flags & END_STREAM), (1, END_STREAM));
        world.sleep(Duration::from_millis(1)).await;
        assert_eq!(world.metric("tidegate_http2_streams_total"), 0, "the library has refused it");
        assert_eq!(world.metric("tidegate_http2_streams_refused_total"), 1);
        let mut bomb = get(&[]);
        bomb.extend([0xbe; 10_000]);
        client.send(HEADERS, END_HEADERS | END_STREAM, 3, &bomb).await;
        assert_eq!(client.goaway().await, Reason::ENHANCE_YOUR_CALM);
    });
}

#[test]
fn heads_that_are_too_large_are_answered_and_then_end_the_connection() {
    let world = World::new(1).config(&BOTH.replace("protocols", "limits: { fields: 5 }, protocols"));
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        let fields: Vec<_> = ["x-1", "x-2", "x-3", "x-4", "x-5", "x-6"].iter().map(|name| (*name, "a")).collect();
        for _ in 0..10 {
            assert_eq!(client.ask(request("GET", "/", &fields)).await.status, 431);
        }
        assert!(client.is_open().await);
        let (response, _) = client.send(request("GET", "/", &fields), false).await;
        let _ = answer(response).await;
        world.sleep(Duration::from_secs(5)).await;
        assert!(!client.is_open().await);
        assert_eq!(world.metric("tidegate_http2_floods_total{detail=\"heads-too-large\"}"), 1);
    });
}

#[test]
fn streams_beyond_the_limit_are_refused_and_may_be_sent_again() {
    let world = World::new(1).config(&BOTH.replace("protocols", "h2: { streams: 2 }, protocols"));
    world.origin("10.0.0.1:80", |mut peer| async move {
        while peer.request().await.is_some() {
            peer.sleep(Duration::from_secs(1)).await;
            peer.send(OK).await;
        }
    });
    world.run(async {
        let mut client = world.frames().await;
        client.send(SETTINGS, ACK, 0, b"").await;
        for stream in [1, 3, 5] {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])).await;
        }
        assert_eq!(client.reset_of(5).await, Reason::REFUSED_STREAM);
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"ok");
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"ok");
        client.send(HEADERS, END_HEADERS | END_STREAM, 7, &get(&[])).await;
        assert_eq!(client.of_kind(DATA).await.unwrap().stream, 7);
        assert_eq!(world.metric("tidegate_http2_streams_refused_total"), 1);
    });
}

#[test]
fn streams_that_stall_again_and_again() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.frames().await;
        client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
        for stream in (1..24).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])).await;
        }
        assert_eq!(client.goaway().await, Reason::ENHANCE_YOUR_CALM);
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.metric("tidegate_http2_floods_total{detail=\"stalled-streams\"}"), 1);
        let stalled = world.log().await.iter().filter(|line| line.reason() == "client-stalled").count();
        assert!(stalled >= 10, "{stalled}");
    });
}

#[test]
fn streams_whose_time_is_over_are_no_stalls() {
    let timeouts = "gateway: { timeouts: { exchange: 2s, total: 5s } }\nlisteners:";
    let world = World::new(1).config(&BOTH.replacen("listeners:", timeouts, 1));
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let client = world.frames().await;
        client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
        for stream in (1..24).step_by(2) {
            client.send(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])).await;
        }
        world.sleep(Duration::from_secs(10)).await;
        assert_eq!(world.metric("tidegate_http2_streams_open"), 0);
        assert_eq!(world.metric("tidegate_http2_connections_open"), 1);
        assert_eq!(world.log().await.len(), 12);
    });
}

#[test]
fn an_exchange_that_a_flood_breaks_off_says_so() {
    let world = World::new(1).config(BOTH);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.frames().await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])).await;
        client.peer.sleep(Duration::from_millis(100)).await;
        for _ in 0..600 {
            client.send(PING, 0, 0, &[0; 8]).await;
        }
        assert_eq!(client.goaway().await, Reason::ENHANCE_YOUR_CALM);
        world.sleep(Duration::from_secs(5)).await;
        let lines = world.log().await;
        let ends: Vec<_> = lines.iter().map(|line| (line.reason(), line.text("detail"), line.text("path"))).collect();
        let expected = [("flood", "pings", ""), ("flood", "", "/")];
        assert_eq!(ends, expected.map(|(reason, detail, path)| (reason.into(), detail.into(), path.into())));
    });
}
