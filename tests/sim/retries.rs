//! What is tried again, and where.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::world::{PLAIN, World};
use crate::{GET, OK};

const TWO: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80", "10.0.0.2:80"], balance: round_robin } }
routes: [{ match: { path: "/{*rest}" }, to: app }]
"#;

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";

/// An origin that closes its first connections as soon as the request is there, and answers on later ones.
fn closes_at_first(world: &World, address: &str, times: u32) -> Rc<crate::world::Host> {
    let left = Rc::new(Cell::new(times));
    world.origin(address, move |mut peer| {
        let left = left.clone();
        async move {
            while peer.request().await.is_some() {
                if left.get() > 0 {
                    left.set(left.get() - 1);
                    return;
                }
                peer.send(OK).await;
            }
        }
    })
}

#[test]
fn a_safe_request_is_sent_again_over_a_fresh_connection_when_the_only_endpoint_closes() {
    let world = World::new(1).config(PLAIN);
    let host = closes_at_first(&world, "10.0.0.1:80", 1);
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 200);
        assert_eq!(host.accepted(), 2);
        let line = world.line().await;
        assert_eq!((line.number("attempts"), line.reason().as_str()), (2, "ok"));
    });
}

#[test]
fn a_safe_request_is_sent_again_to_another_endpoint_where_there_is_one() {
    let world = World::new(1).config(TWO);
    let hosts = ["10.0.0.1:80", "10.0.0.2:80"].map(|address| closes_at_first(&world, address, 0));
    let world = &world;
    world.run(async {
        hosts[0].refuse();
        for _ in 0..4 {
            assert_eq!(world.ask(GET).await.status(), 200);
        }
        assert!(hosts[1].accepted() > 0);
    });
}

#[test]
fn without_configuration_there_is_one_replay_and_no_more() {
    let world = World::new(1).config(PLAIN);
    let host = closes_at_first(&world, "10.0.0.1:80", 9);
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(host.accepted(), 2);
        let line = world.line().await;
        assert_eq!((line.number("attempts"), line.reason().as_str()), (2, "upstream-closed"));
    });
}

#[test]
fn a_post_that_may_have_been_processed_is_never_sent_again() {
    let world = World::new(1).config(TWO);
    let hosts = ["10.0.0.1:80", "10.0.0.2:80"].map(|address| closes_at_first(&world, address, 9));
    world.run(async {
        assert_eq!(world.ask(POST).await.status(), 502);
        assert_eq!(hosts[0].accepted() + hosts[1].accepted(), 1);
        assert_eq!(world.line().await.number("attempts"), 1);
    });
}

#[test]
fn a_post_that_never_left_goes_to_another_endpoint() {
    let world = World::new(1).config(TWO);
    world.refuses("10.0.0.1:80");
    world.answers("10.0.0.2:80", OK);
    world.run(async {
        for _ in 0..3 {
            assert_eq!(world.ask(POST).await.status(), 200);
        }
        assert!(world.requests().iter().all(|request| request.text() == "hi"));
    });
}

#[test]
fn retries_are_made_as_often_as_the_route_says() {
    let yaml = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"] } }
routes: [{ match: { path: "/{*rest}" }, to: app, retry: { attempts: 3 } }]
"#;
    let world = World::new(1).config(yaml);
    for n in 1..=4 {
        closes_at_first(&world, &format!("10.0.0.{n}:80"), 99);
    }
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(world.line().await.number("attempts"), 3);
        let mut connects = world.connects();
        connects.sort();
        connects.dedup();
        assert_eq!(connects.len(), 3, "each try on another endpoint");
    });
}

#[test]
fn one_attempt_means_no_replay_either() {
    let yaml = PLAIN.replace("to: app", "to: app, retry: { attempts: 1 }");
    let world = World::new(1).config(&yaml);
    let host = closes_at_first(&world, "10.0.0.1:80", 1);
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(host.accepted(), 1);
    });
}

#[test]
fn nothing_is_tried_again_once_a_response_has_begun() {
    let world = World::new(1).config(TWO);
    for address in ["10.0.0.1:80", "10.0.0.2:80"] {
        world.origin(address, |mut peer| async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\ncontent-le").await;
        });
    }
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(world.connects().len(), 1);
    });
}

#[test]
fn a_stale_pooled_connection_costs_a_safe_request_nothing() {
    let world = World::new(1).config(PLAIN);
    // Closes while the next request is on its way: the close and the request cross.
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.sleep(Duration::from_millis(995)).await;
    });
    host.wire(crate::world::Wire { latency: Duration::from_millis(10), ..Default::default() });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        world.sleep(Duration::from_millis(990)).await;
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 200);
        assert_eq!(host.accepted(), 2);
    });
}

#[test]
fn a_pooled_connection_that_the_server_closed_is_not_tried() {
    let world = World::new(1).config(PLAIN);
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        if peer.request().await.is_some() {
            peer.send(OK).await;
        }
    });
    world.run(async {
        for _ in 0..2 {
            assert_eq!(world.ask(POST).await.status(), 200, "even what could not be sent again");
            world.sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(host.accepted(), 2);
        assert_eq!(world.log().await[1].number("attempts"), 1);
    });
}

#[test]
fn a_replay_never_takes_a_second_pooled_connection() {
    let world = World::new(1).config(PLAIN);
    let alive = Rc::new(Cell::new(true));
    let serving = alive.clone();
    // A server that restarts: all its old connections end with the next request, new ones work.
    let host = world.origin("10.0.0.1:80", move |mut peer| {
        let (serving, born) = (serving.clone(), serving.get());
        async move {
            while peer.request().await.is_some() {
                peer.sleep(Duration::from_millis(10)).await;
                if serving.get() != born {
                    return;
                }
                peer.send(OK).await;
            }
        }
    });
    world.run(async {
        let mut clients: Vec<_> = (0..5).map(|_| world.client()).collect();
        for client in &clients {
            client.send(GET).await;
        }
        for client in &mut clients {
            client.response().await;
        }
        assert_eq!(host.accepted(), 5);
        alive.set(false);
        clients[0].send(GET).await;
        assert_eq!(clients[0].response().await.status(), 200);
        assert_eq!(host.accepted(), 6);
    });
}

const RETRIED: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ match: { path: "/{*rest}" }, to: app, retry: { attempts: 2 } }]
"#;

#[test]
fn a_body_that_is_at_hand_goes_with_every_attempt() {
    for body in ["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let world = World::new(1).config(RETRIED);
        let note = world.note();
        let first = Rc::new(Cell::new(true));
        world.origin("10.0.0.1:80", move |mut peer| {
            let (note, first) = (note.clone(), first.clone());
            async move {
                while let Some(request) = peer.request().await {
                    note(request);
                    if first.replace(false) {
                        return;
                    }
                    peer.send(OK).await;
                }
            }
        });
        world.run(async {
            let mut client = world.client();
            client.send(format!("PUT /1 HTTP/1.1\r\nhost: a\r\n{body}GET /2 HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            for _ in 0..2 {
                let response = client.response().await;
                assert_eq!((response.status(), response.field("connection")), (200, None));
            }
            let requests = world.requests();
            let seen: Vec<_> = requests.iter().map(|request| (request.start.as_str(), request.text())).collect();
            let put = ("PUT /1 HTTP/1.1", "hello".to_owned());
            assert_eq!(seen, [put.clone(), put, ("GET /2 HTTP/1.1", String::new())]);
        });
    }
}

/// An origin that closes its first connection 20 ms after a request head, and notes and answers what comes later.
fn closes_in_the_middle(world: &World) {
    let first = Rc::new(Cell::new(true));
    let note = world.note();
    world.origin("10.0.0.1:80", move |mut peer| {
        let (note, first) = (note.clone(), first.clone());
        async move {
            if first.replace(false) {
                peer.request_head().await;
                return peer.sleep(Duration::from_millis(20)).await;
            }
            while let Some(request) = peer.request().await {
                note(request);
                peer.send(OK).await;
            }
        }
    });
}

const CHUNKED_PUT: &str = "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

#[test]
fn a_request_is_not_made_again_once_octets_of_its_body_were_read() {
    // The length of a chunk alone is no content yet, but it will not come a second time.
    for (first, rest) in [("5\r\n", "hello\r\n0\r\n\r\n"), ("5\r\nhel", "lo\r\n0\r\n\r\n")] {
        let world = World::new(1).config(RETRIED);
        closes_in_the_middle(&world);
        world.run(async {
            let mut client = world.client();
            client.send(CHUNKED_PUT).await;
            world.sleep(Duration::from_millis(10)).await;
            client.send(first).await;
            world.sleep(Duration::from_millis(20)).await;
            client.send(rest).await;
            let response = client.response().await;
            assert_eq!((response.status(), response.field("connection")), (502, Some("close")));
            assert!(client.closes().await);
            assert_eq!(world.line().await.number("attempts"), 1);
        });
    }
}

#[test]
fn a_body_that_begins_to_arrive_when_the_attempt_fails_goes_whole_or_not_at_all() {
    for seed in 0..50 {
        let world = World::shuffled(seed).config(RETRIED);
        closes_in_the_middle(&world);
        world.run(async {
            let mut client = world.client();
            client.send(CHUNKED_PUT).await;
            world.sleep(Duration::from_millis(20)).await;
            client.send("5\r\nhello\r\n0\r\n\r\n").await;
            let status = client.response().await.status();
            let sent: Vec<_> = world.requests().iter().map(|request| request.text()).collect();
            let expected: &[&str] = if status == 200 { &["hello"] } else { &[] };
            assert_eq!(sent, expected, "{status} with seed {seed}");
        });
    }
}

#[test]
fn a_request_whose_body_has_not_begun_is_made_again() {
    let world = World::new(1).config(RETRIED);
    closes_in_the_middle(&world);
    world.run(async {
        let mut client = world.client();
        client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").await;
        world.sleep(Duration::from_millis(30)).await;
        client.send("hello").await;
        assert_eq!(client.response().await.status(), 200);
        assert_eq!(world.request().text(), "hello");
    });
}

#[test]
fn the_log_speaks_of_the_last_attempt() {
    let fields = "access_log: { fields: [attempts, reason, upstream_reused, connect_us, first_byte_us] }";
    let world = World::new(1).config(&format!("{fields}\n{PLAIN}"));
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        host.refuse();
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 502);
        let line = world.log().await[1].clone();
        assert_eq!((line.number("attempts"), line.reason().as_str()), (2, "connect-refused"));
        assert_eq!((line.text("upstream_reused"), line.text("connect_us")), ("false".into(), "".into()));
    });
}

#[test]
fn a_replay_and_a_configured_retry_are_told_apart() {
    for (attempts, replays, retries) in
        [("", 1, 0), (", retry: { attempts: 2 }", 1, 0), (", retry: { attempts: 4 }", 1, 2)]
    {
        let endpoints = r#""10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80""#;
        let yaml = PLAIN.replace("\"10.0.0.1:80\"", endpoints).replace("to: app", &format!("to: app{attempts}"));
        let world = World::new(1).config(&yaml);
        for n in 1..=4 {
            closes_at_first(&world, &format!("10.0.0.{n}:80"), 9);
        }
        world.run(async {
            assert_eq!(world.ask(GET).await.status(), 502);
            let count = |word| world.metric(&format!("tidegate_upstream_{word}_total{{upstream=\"app\"}}"));
            assert_eq!((count("replays"), count("retries")), (replays, retries), "{attempts}");
        });
    }
}
