//! What is too much, and what it earns.

use std::time::Duration;

use crate::world::{Ended, PLAIN, World};
use crate::{GET, OK};

fn limited(limits: &str) -> World {
    World::new(1).config(&format!("gateway: {{ limits: {{ {limits} }} }}\n{PLAIN}"))
}

fn refused(world: &World, request: String, status: u16, reason: &str) {
    world.run(async {
        let mut client = world.client();
        client.send(request).await;
        let response = client.response().await;
        assert_eq!((response.status(), response.field("connection")), (status, Some("close")), "{}", response.head);
        assert!(client.closes().await);
        let line = world.line().await;
        assert_eq!((line.number("status"), line.reason().as_str()), (u64::from(status), reason));
        assert!(world.connects().is_empty());
    });
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", format!("x: {}\r\n", "y".repeat(500)).repeat(10));
    refused(&limited("head: 2KiB"), request, 431, "head-too-large");
}

#[test]
fn a_field_that_is_too_large_is_431() {
    refused(
        &limited("field: 1KiB"),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(2000)),
        431,
        "head-too-large",
    );
}

#[test]
fn too_many_fields_are_431() {
    refused(
        &limited("fields: 5"),
        format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(6)),
        431,
        "head-too-large",
    );
}

#[test]
fn a_target_that_is_too_long_is_414() {
    refused(
        &limited("target: 1KiB"),
        format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(2000)),
        414,
        "target-too-long",
    );
}

#[test]
fn a_head_that_ends_before_its_version_says_nothing_of_another_clients_version() {
    let world = limited("target: 1KiB");
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        world.ask("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
        world.ask(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(2000))).await;
        let protocols: Vec<_> = world.log().await.iter().map(|line| line.text("protocol")).collect();
        assert_eq!(protocols, ["HTTP/1.0", "HTTP/1.1"]);
    });
}

#[test]
fn a_method_that_is_too_long_is_501() {
    refused(
        &limited("fields: 50"),
        format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "X".repeat(40)),
        501,
        "method-too-long",
    );
}

#[test]
fn a_request_line_of_8000_octets_works() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let response = world.ask(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(7980))).await;
        assert_eq!(response.status(), 200);
    });
}

#[test]
fn a_head_of_nearly_the_limit_works() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let fields = format!("x: {}\r\n", "y".repeat(8000)).repeat(4);
        assert_eq!(world.ask(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await.status(), 200);
    });
}

#[test]
fn a_declared_body_over_the_limit_is_413_before_it_is_read() {
    refused(
        &limited("body: 1KiB"),
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n".into(),
        413,
        "body-too-large",
    );
}

#[test]
fn a_small_declared_body_over_the_limit_leaves_the_connection_open() {
    let world = limited("body: 1B");
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello{GET}")).await;
        assert_eq!(client.response().await.status(), 413);
        assert_eq!(client.response().await.status(), 200);
    });
}

#[test]
fn a_chunked_body_over_the_limit_is_413_when_counted_and_the_upstream_is_cut() {
    let world = limited("body: 1KiB");
    world.origin("10.0.0.1:80", |mut peer| async move {
        let cut = peer.request().await.unwrap();
        assert!(!cut.complete, "the upstream never sees a whole request");
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..5 {
            client.send(format!("100\r\n{}\r\n", "x".repeat(256))).await;
            world.sleep(Duration::from_millis(10)).await;
        }
        let response = client.response().await;
        assert_eq!((response.status(), response.field("connection")), (413, Some("close")));
        assert!(client.closes().await);
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("body-too-large", "counted"));
    });
}

#[test]
fn a_routes_own_body_limit_holds() {
    let yaml = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - { match: { path: "/small" }, to: app, limits: { body: 3B } }
  - { match: { path: "/large" }, to: app }
"#;
    let world = World::new(1).config(yaml);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        for (path, status) in [("/small", 413), ("/large", 200)] {
            let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
            assert_eq!(world.ask(request).await.status(), status);
        }
    });
}

#[test]
fn a_head_that_dribbles_in_is_408() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        let mut client = world.client();
        let then = world.now();
        client.send("GET / HTTP/1.1\r\n").await;
        for n in 0..20 {
            world.sleep(Duration::from_millis(490)).await;
            client.send(format!("x-{n}: 1\r\n")).await;
        }
        let response = client.response().await;
        assert_eq!((response.status(), response.field("connection")), (408, Some("close")));
        assert_eq!(world.since(then), Duration::from_secs(10));
        assert!(client.closes().await);
        assert_eq!(world.line().await.reason(), "head-timeout");
    });
}

#[test]
fn a_body_that_stalls_is_408_and_the_upstream_is_cut() {
    let yaml = format!("gateway: {{ timeouts: {{ idle: 3s }}, limits: {{ body_rate: off }} }}\n{PLAIN}");
    let world = World::new(1).config(&yaml);
    world.origin("10.0.0.1:80", |mut peer| async move {
        assert!(!peer.request().await.unwrap().complete);
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
        let then = world.now();
        let response = client.response().await;
        assert_eq!((response.status(), response.field("connection")), (408, Some("close")));
        assert_eq!(world.since(then), Duration::from_secs(3));
        assert!(client.closes().await);
        assert_eq!(world.line().await.reason(), "body-timeout");
    });
}

#[test]
fn a_body_that_dribbles_in_is_408_although_it_never_stalls() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        assert!(!peer.request().await.unwrap().complete);
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await;
        let then = world.now();
        for _ in 0..12 {
            client.send("0123456789").await;
            world.sleep(Duration::from_millis(500)).await;
        }
        let response = client.response().await;
        assert_eq!(response.status(), 408);
        assert!(world.since(then) < Duration::from_secs(7));
        assert_eq!(world.line().await.reason(), "body-timeout");
    });
}

#[test]
fn a_body_at_its_own_pace_is_no_fault_while_the_upstream_is_slow() {
    let world = World::new(1).config(PLAIN);
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        for _ in 0..100 {
            peer.sleep(Duration::from_secs(1)).await;
            peer.read_exactly(10_000).await;
        }
        peer.send(OK).await;
    });
    host.wire(crate::world::Wire { room: 10_000, ..Default::default() });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await;
        client.send(vec![b'x'; 1_000_000]).await;
        assert_eq!(client.response().await.status(), 200);
    });
}

#[test]
fn a_client_that_is_refused_reads_its_answer_although_it_still_sends() {
    let world = limited("body: 1KiB");
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n").await;
        client.send(vec![b'x'; 200_000]).await;
        world.sleep(Duration::from_millis(500)).await;
        assert_eq!(client.response().await.status(), 413);
        assert_eq!(client.rest().await, (vec![], Ended::Finished));
    });
}

#[test]
fn a_client_that_goes_on_sending_forever_is_cut() {
    let world = limited("body: 1KiB");
    world.run(async {
        let client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20000000\r\n\r\n").await;
        let then = world.now();
        while client.try_send(vec![b'x'; 10_000]).await.is_ok() {
            world.sleep(Duration::from_millis(100)).await;
        }
        assert!(world.since(then) < Duration::from_secs(4));
        assert_eq!(world.open_connections(), 0);
    });
}

/// One route among patient and strict defaults that has these words of its own.
fn on_route(words: &str) -> World {
    World::new(1).config(&PLAIN.replace("to: app", &format!("to: app, {words}")))
}

#[test]
fn a_routes_own_time_for_an_exchange_holds() {
    let world = on_route("timeouts: { exchange: 3s }");
    world.origin("10.0.0.1:80", |mut peer| async move { drop(peer.rest().await) });
    world.run(async {
        let then = world.now();
        assert_eq!(world.ask(GET).await.status(), 504);
        assert_eq!(world.since(then), Duration::from_secs(3));
        assert_eq!(world.line().await.reason(), "exchange-timeout");
    });
}

#[test]
fn a_routes_own_idle_and_total_times_and_lifetime_hold() {
    for (words, kind, seconds, reason) in [
        ("idle: 3s", "text/plain", 3, "idle-timeout"),
        ("total: 5s", "text/plain", 5, "total-timeout"),
        ("lifetime: 7s", "text/event-stream", 7, "lifetime"),
        ("lifetime: 7s, total: 5s", "text/event-stream; charset=utf-8", 7, "lifetime"),
    ] {
        let world = on_route(&format!("timeouts: {{ {words} }}"));
        let pause = Duration::from_millis(if reason == "idle-timeout" { 9000 } else { 1100 });
        world.origin("10.0.0.1:80", move |mut peer| async move {
            peer.request().await;
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n")).await;
            while peer.try_send("1\r\nx\r\n").await.is_ok() {
                peer.sleep(pause).await;
            }
        });
        world.run(async {
            let mut client = world.client();
            client.send(GET).await;
            let then = world.now();
            assert!(!client.response().await.complete, "{words}");
            assert_eq!((world.since(then), world.line().await.reason()), (Duration::from_secs(seconds), reason.into()));
        });
    }
}

#[test]
fn a_routes_own_bounds_of_a_slow_body_hold() {
    for words in ["body_rate: off", "body_rate_after: 20s"] {
        let world = on_route(&format!("limits: {{ {words} }}"));
        world.answers("10.0.0.1:80", OK);
        world.run(async {
            let mut client = world.client();
            client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n").await;
            for _ in 0..9 {
                world.sleep(Duration::from_secs(1)).await;
                client.send("x").await;
            }
            assert_eq!(client.response().await.status(), 200, "{words}");
        });
    }
}

#[test]
fn a_routes_own_number_of_interim_responses_holds() {
    let world = on_route("limits: { interim_responses: 1 }");
    world.answers("10.0.0.1:80", format!("{}{OK}", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(2)));
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 103);
        assert_eq!(client.response().await.status(), 502);
    });
}

#[test]
fn the_time_a_slow_upstream_takes_is_not_the_clients() {
    let world = World::new(1).config(PLAIN);
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        for _ in 0..40 {
            peer.sleep(Duration::from_secs(1)).await;
            peer.read_exactly(250).await;
        }
        peer.send(OK).await;
    });
    host.wire(crate::world::Wire { room: 300, ..Default::default() });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10000\r\n\r\n").await;
        world.sleep(Duration::from_millis(10)).await;
        client.send(vec![b'x'; 9000]).await;
        // Slower than 1 KiB/s so far, but for the upstream.
        world.sleep(Duration::from_secs(37)).await;
        client.send(vec![b'x'; 1000]).await;
        assert_eq!(client.response().await.status(), 200);
    });
}
