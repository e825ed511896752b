//! Upstreams that fail, stall or lie.

use std::time::Duration;

use crate::world::{Fault, FaultKind, PLAIN, World};
use crate::{GET, OK};

fn timeouts(timeouts: &str) -> World {
    World::new(1).config(&format!("gateway: {{ timeouts: {{ {timeouts} }} }}\n{PLAIN}"))
}

#[test]
fn a_connect_that_takes_too_long_is_504() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK).delay(Duration::from_secs(5));
    world.run(async {
        let then = world.now();
        assert_eq!(world.ask(GET).await.status(), 504);
        assert_eq!(world.since(then), Duration::from_secs(4), "what was never established is replayed once");
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("attempts")), ("connect-timeout", 2));
        assert_eq!((line.text("upstream"), line.text("endpoint")), ("app".into(), "10.0.0.1:80".into()));
    });
}

#[test]
fn a_refused_connect_is_502_and_an_unreachable_host_too() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(world.line().await.reason(), "connect-failed");
    });
}

#[test]
fn a_connect_for_which_the_gateway_lacks_descriptors_is_503_and_marks_nobody_down() {
    let world = World::new(1).config(PLAIN);
    let host = world.answers("10.0.0.1:80", OK);
    host.fail(std::io::ErrorKind::OutOfMemory);
    world.run(async {
        for _ in 0..3 {
            let response = world.ask(GET).await;
            assert_eq!((response.status(), response.field("retry-after")), (503, Some("1")));
        }
        assert!(world.log().await.iter().all(|line| line.reason() == "no-resources"));
        world.answers("10.0.0.1:80", OK);
        assert_eq!(world.ask(GET).await.status(), 200);
    });
}

#[test]
fn a_response_head_that_takes_too_long_is_504_and_the_request_is_cancelled() {
    let world = timeouts("response_head: 3s");
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        assert!(peer.closes().await, "cancelled");
    });
    world.run(async {
        let then = world.now();
        assert_eq!(world.ask(GET).await.status(), 504);
        assert_eq!(world.since(then), Duration::from_secs(3));
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("attempts")), ("response-timeout", 1));
    });
}

#[test]
fn a_response_head_that_dribbles_in_is_504() {
    let world = timeouts("response_head: 3s");
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\n").await;
        for _ in 0..100 {
            peer.sleep(Duration::from_secs(1)).await;
            peer.send("x: y\r\n").await;
        }
    });
    world.run(async {
        let then = world.now();
        assert_eq!(world.ask(GET).await.status(), 504);
        assert_eq!(world.since(then), Duration::from_secs(3));
    });
}

#[test]
fn the_time_of_an_exchange_bounds_all_attempts_together() {
    let yaml = r#"
gateway: { timeouts: { connect: 2s, exchange: 3s } }
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"] } }
routes: [{ match: { path: "/{*rest}" }, to: app, retry: { attempts: 3 } }]
"#;
    let world = World::new(1).config(yaml);
    for address in ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"] {
        world.answers(address, OK).delay(Duration::from_secs(60));
    }
    world.run(async {
        let then = world.now();
        assert_eq!(world.ask(GET).await.status(), 504);
        assert_eq!(world.since(then), Duration::from_secs(3));
        assert_eq!(world.line().await.number("attempts"), 2);
    });
}

#[test]
fn the_time_for_a_response_begins_at_the_end_of_an_upload() {
    let world = timeouts("response_head: 3s, exchange: 3s");
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.sleep(Duration::from_secs(2)).await;
        peer.send(OK).await;
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 40000\r\n\r\n").await;
        for _ in 0..10 {
            world.sleep(Duration::from_secs(2)).await;
            client.send(vec![b'x'; 4000]).await;
        }
        assert_eq!(client.response().await.status(), 200);
    });
}

#[test]
fn a_body_that_stops_is_cut_and_never_looks_complete() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let world = timeouts("idle: 4s");
        world.origin("10.0.0.1:80", move |mut peer| async move {
            peer.request().await;
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n")).await;
            peer.sleep(Duration::from_secs(1000)).await;
        });
        world.run(async {
            let mut client = world.client();
            client.send(GET).await;
            let then = world.now();
            assert!(!client.response().await.complete, "{head}");
            assert_eq!(world.since(then), Duration::from_secs(4));
            let line = world.line().await;
            assert_eq!((line.reason().as_str(), line.number("status")), ("idle-timeout", 200));
        });
    }
}

#[test]
fn an_upstream_that_closes_mid_body_is_cut_and_never_looks_complete() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let world = World::new(1).config(PLAIN);
        world.origin("10.0.0.1:80", move |mut peer| async move {
            peer.request().await;
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n")).await;
        });
        world.run(async {
            let mut client = world.client();
            client.send(GET).await;
            assert!(!client.response().await.complete, "{head}");
            assert_eq!(world.line().await.reason(), "upstream-truncated");
        });
    }
}

#[test]
fn an_upstream_that_resets_mid_body_is_cut_and_never_looks_complete() {
    for head in ["content-length: 100", "transfer-encoding: chunked", "x-until: close"] {
        let world = World::new(1).config(PLAIN);
        let host = world.origin("10.0.0.1:80", move |mut peer| async move {
            peer.request().await;
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n")).await;
            peer.sleep(Duration::from_secs(10)).await;
        });
        let octets = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhel").len() as u64;
        host.fault(Fault { after: octets, kind: FaultKind::Reset });
        world.run(async {
            let mut client = world.client();
            client.send(GET).await;
            assert!(!client.response().await.complete, "{head}");
            assert_eq!(world.line().await.reason(), "upstream-reset");
        });
    }
}

#[test]
fn the_total_time_cuts_whatever_is_still_going_on() {
    let world = timeouts("total: 10s");
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while peer.try_send("1\r\nx\r\n").await.is_ok() {
            peer.sleep(Duration::from_secs(1)).await;
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        let then = world.now();
        assert!(!client.response().await.complete);
        assert!(world.since(then) <= Duration::from_secs(11));
        assert_eq!(world.line().await.reason(), "total-timeout");
    });
}

#[test]
fn an_event_stream_lives_longer_than_the_total_time() {
    let world = timeouts("total: 5s, lifetime: 20s");
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while peer.try_send("1\r\nx\r\n").await.is_ok() {
            peer.sleep(Duration::from_secs(1)).await;
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        let then = world.now();
        let response = client.response().await;
        assert!(world.since(then) >= Duration::from_secs(20), "{:?}", world.since(then));
        assert!(response.content.len() >= 20);
    });
}

#[test]
fn a_malformed_response_is_502_and_its_connection_is_not_used_again() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx : y\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\nok",
        "HTTP/1.1 200 OK\nx: y\n\nok",
        "HTTP/1.1 20 OK\r\n\r\nok",
        "HTTP/2.0 200 OK\r\n\r\nok",
        "SMTP ready\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nconnection: content-length\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let world = World::new(1).config(PLAIN);
        let host = world.answers("10.0.0.1:80", response);
        world.run(async {
            for _ in 0..2 {
                assert_eq!(world.ask(GET).await.status(), 502, "{response}");
            }
            assert_eq!(host.accepted(), 2, "{response}");
            assert_eq!(world.log().await[0].reason(), "upstream-malformed", "{response}");
        });
    }
}

#[test]
fn a_chunked_body_that_breaks_its_framing_later_is_cut() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        peer.sleep(Duration::from_secs(1)).await;
        peer.send("zz\r\n0\r\n\r\n").await;
        peer.sleep(Duration::from_secs(1)).await;
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        let response = client.response().await;
        assert_eq!((response.complete, response.text().as_str()), (false, "hello"));
        assert_eq!(world.line().await.reason(), "upstream-malformed");
    });
}

#[test]
fn a_response_head_over_the_limit_is_502() {
    let world = World::new(1).config(PLAIN);
    let fields = format!("x: {}\r\n", "y".repeat(8000)).repeat(6);
    world.answers("10.0.0.1:80", format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
    world.run(async { assert_eq!(world.ask(GET).await.status(), 502) });
}

#[test]
fn octets_beyond_a_response_are_never_another_response() {
    let extra = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nsmugg";
    for response in [
        format!("{OK}{extra}"),
        format!("HTTP/1.1 204 No Content\r\n\r\n{extra}"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{extra}"),
    ] {
        let world = World::new(1).config(PLAIN);
        let host = world.answers("10.0.0.1:80", &response);
        world.run(async {
            let mut client = world.client();
            for _ in 0..2 {
                client.send(GET).await;
                assert_ne!(client.response().await.text(), "smugg", "{response}");
            }
            assert_eq!(host.accepted(), 2, "{response}");
        });
    }
}

#[test]
fn octets_that_come_later_on_an_idle_connection_end_it() {
    let world = World::new(1).config(PLAIN);
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.sleep(Duration::from_secs(1)).await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nsmugg").await;
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        world.sleep(Duration::from_secs(2)).await;
        client.send(GET).await;
        assert_eq!(client.response().await.text(), "ok");
        assert_eq!(host.accepted(), 2);
    });
}

#[test]
fn an_answer_before_the_end_of_an_upload_reaches_the_client() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig").await;
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await;
        client.send(vec![b'x'; 10_000]).await;
        let response = client.response().await;
        assert_eq!((response.status(), response.text().as_str()), (413, "big"));
        assert!(client.closes().await);
    });
}

#[test]
fn an_upload_and_its_answer_may_flow_at_the_same_time() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..10 {
            let octets = peer.read_exactly(10).await;
            peer.send("a\r\n").await;
            peer.send(octets).await;
            peer.send("\r\n").await;
        }
        peer.send("0\r\n\r\n").await;
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n").await;
        client.read_until("\r\n\r\n").await;
        for n in 0..10 {
            client.send(format!("{n}123456789")).await;
            assert_eq!(client.read_until("6789\r\n").await, format!("a\r\n{n}123456789\r\n"));
        }
        assert_eq!(client.read_until("0\r\n\r\n").await, "0\r\n\r\n");
    });
}

#[test]
fn an_upstream_that_stops_taking_the_body_still_has_its_last_word() {
    let world = World::new(1).config(PLAIN);
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 400 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
        peer.finish();
        peer.sleep(Duration::from_millis(1)).await;
    });
    host.wire(crate::world::Wire { latency: Duration::from_millis(20), ..Default::default() });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\n").await;
        client.send(vec![b'x'; 200_000]).await;
        assert_eq!(client.response().await.status(), 400);
    });
}
