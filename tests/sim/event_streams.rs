//! Server-sent events and long polls: content passes as it comes, and a client that leaves is missed at once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;

use crate::world::http2::request;
use crate::world::{Ended, Peer, World};

const YAML: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2], timeouts: { idle: 30s, total: 50s, lifetime: 10m } } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
"#;

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";

/// A world whose origin answers with this head, and then does this.
fn answering<F: Future<Output = ()> + 'static>(head: &'static str, then: impl Fn(Peer) -> F + 'static) -> World {
    let world = World::new(1).config(YAML);
    let then = Rc::new(then);
    world.origin("10.0.0.1:80", move |mut peer| {
        let then = then.clone();
        async move {
            peer.request_head().await;
            peer.send(head).await;
            then(peer).await;
        }
    });
    world
}

#[test]
fn an_event_arrives_before_the_next_one_is_made_over_both_versions() {
    for (head, event) in [(EVENTS, "9\r\ndata: 1\n\n\r\n"), (UNTIL_CLOSE, "data: 1\n\n")] {
        let made = Rc::new(Cell::new(0));
        let world = answering(head, {
            let made = made.clone();
            move |peer| {
                let made = made.clone();
                async move {
                    loop {
                        peer.sleep(Duration::from_secs(10)).await;
                        made.set(made.get() + 1);
                        if peer.try_send(event).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        world.run(async {
            let mut client = world.client();
            client.send(crate::GET).await;
            for n in 1..=20 {
                assert!(client.read_until("data: 1\n\n").await.contains("data: 1"));
                assert_eq!(made.get(), n, "{head}");
            }
            drop(client);
            world.sleep(Duration::from_secs(30)).await;
            made.set(0);
            let mut client = world.http2().await;
            let (response, _) = client.send(request("GET", "/", &[]), false).await;
            let mut content = response.await.unwrap().into_body();
            for n in 1..=20 {
                assert_eq!(content.data().await.unwrap().unwrap(), Bytes::from("data: 1\n\n"));
                content.flow_control().release_capacity(9).unwrap();
                assert_eq!(made.get(), n, "{head}");
            }
        });
    }
}

#[test]
fn the_head_of_a_stream_arrives_before_its_first_event_over_both_versions() {
    let world = answering(EVENTS, |mut peer| async move { drop(peer.rest().await) });
    world.run(async {
        let then = world.now();
        let mut client = world.client();
        client.send(crate::GET).await;
        assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        let (response, _) = world.http2().await.send(request("GET", "/", &[]), false).await;
        assert_eq!(response.await.unwrap().status(), 200);
        assert!(world.since(then) < Duration::from_secs(1));
    });
}

#[test]
fn silence_ends_a_stream_of_events_and_comments_keep_it_beyond_the_time_of_an_exchange() {
    for (pause, ends_at, reason) in [(20, 600, "lifetime"), (40, 30, "idle-timeout")] {
        let world = answering(EVENTS, move |peer| async move {
            loop {
                peer.sleep(Duration::from_secs(pause)).await;
                if peer.try_send("2\r\n:\n\r\n").await.is_err() {
                    return;
                }
            }
        });
        world.run(async {
            let mut client = world.client();
            let then = world.now();
            client.send(crate::GET).await;
            let (octets, _) = client.rest().await;
            assert!(!octets.ends_with(b"0\r\n\r\n"), "it is visibly cut");
            assert_eq!(world.since(then).as_secs(), ends_at, "{reason}");
            assert_eq!(world.line().await.reason(), reason);
        });
    }
}

#[test]
fn another_type_of_content_ends_with_the_time_of_its_exchange() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
    let world = answering(head, |peer| async move {
        while peer.try_send("1\r\nx\r\n").await.is_ok() {
            peer.sleep(Duration::from_secs(5)).await;
        }
    });
    world.run(async {
        let mut client = world.client();
        let then = world.now();
        client.send(crate::GET).await;
        client.rest().await;
        assert_eq!(world.since(then).as_secs(), 50);
        assert_eq!(world.line().await.reason(), "total-timeout");
    });
}

/// What an origin sees of a client that leaves: when its own connection ends.
fn leaving(head: &'static str) -> (World, Rc<Cell<Option<Ended>>>) {
    let seen = Rc::<Cell<Option<Ended>>>::default();
    let noted = seen.clone();
    let world = answering(head, move |mut peer| {
        let noted = noted.clone();
        async move { noted.set(Some(peer.rest().await.1)) }
    });
    (world, seen)
}

#[test]
fn a_client_that_leaves_cancels_its_stream_or_its_long_poll_upstream_at_once() {
    // A long poll is one whose head has not come.
    for head in [EVENTS, ""] {
        for resets in [false, true] {
            let (world, seen) = leaving(head);
            world.run(async {
                let client = world.client();
                client.send(crate::GET).await;
                world.sleep(Duration::from_secs(5)).await;
                assert_eq!(seen.get(), None);
                if resets {
                    client.reset();
                } else {
                    drop(client);
                }
                world.sleep(Duration::from_millis(100)).await;
                assert!(seen.get().is_some(), "{head:?} {resets}");
                assert_eq!(world.line().await.reason(), "client-closed");
            });
        }
        let (world, seen) = leaving(head);
        world.run(async {
            let mut client = world.http2().await;
            let (_response, mut sending) = client.send(request("GET", "/", &[]), false).await;
            world.sleep(Duration::from_secs(5)).await;
            assert_eq!(seen.get(), None);
            sending.send_reset(Reason::CANCEL);
            world.sleep(Duration::from_millis(100)).await;
            assert!(seen.get().is_some(), "{head:?}");
            assert_eq!(world.line().await.reason(), "client-closed");
            assert!(client.is_open().await);
        });
    }
}
