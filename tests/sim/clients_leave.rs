//! Clients that go before their answer is there.

use std::time::Duration;

use crate::world::{Fault, FaultKind, PLAIN, Wire, World};
use crate::{GET, OK};

/// An origin that never answers, and must see its request cancelled within a second.
fn must_be_cancelled(world: &World) {
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        assert!(peer.closes().await);
    });
}

#[test]
fn a_client_that_resets_while_it_waits_has_its_request_cancelled() {
    let world = World::new(1).config(PLAIN);
    must_be_cancelled(&world);
    world.run(async {
        let client = world.client();
        client.send(GET).await;
        world.sleep(Duration::from_secs(1)).await;
        client.reset();
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("status").as_str()), ("client-closed", ""));
        assert_eq!(world.open_connections(), 0);
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"client-closed\"}"), 1);
    });
}

#[test]
fn a_client_that_closes_while_it_waits_has_its_request_cancelled() {
    let world = World::new(1).config(PLAIN);
    must_be_cancelled(&world);
    world.run(async {
        let client = world.client();
        client.send(GET).await;
        world.sleep(Duration::from_secs(1)).await;
        drop(client);
        assert_eq!(world.line().await.reason(), "client-closed");
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn a_client_whose_connection_will_be_closed_anyway_has_its_request_cancelled_too() {
    for request in ["GET / HTTP/1.0\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"] {
        let world = World::new(1).config(PLAIN);
        must_be_cancelled(&world);
        world.run(async {
            let client = world.client();
            client.send(request).await;
            world.sleep(Duration::from_secs(1)).await;
            client.reset();
            assert_eq!(world.line().await.reason(), "client-closed");
        });
    }
}

#[test]
fn a_half_closed_client_is_served_where_the_listener_says_so() {
    let yaml = PLAIN.replace("bind:", "half_close: serve, bind:");
    let world = World::new(1).config(&yaml);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.sleep(Duration::from_secs(5)).await;
        peer.send(OK).await;
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.finish();
        assert_eq!(client.response().await.text(), "ok");
        assert!(client.closes().await);
        world.line().await;
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn all_that_a_client_sent_before_it_half_closed_is_answered() {
    let yaml = PLAIN.replace("bind:", "half_close: serve, bind:");
    let world = World::new(1).config(&yaml);
    world.origin("10.0.0.1:80", |mut peer| async move {
        while peer.request().await.is_some() {
            peer.sleep(Duration::from_secs(1)).await;
            peer.send(OK).await;
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET.repeat(3)).await;
        client.finish();
        let answers = [client.response().await, client.response().await, client.response().await];
        assert_eq!(answers.each_ref().map(|answer| answer.field("connection")), [None, None, Some("close")]);
        assert!(client.closes().await);
        assert_eq!(world.log().await.len(), 3);
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn a_half_closed_client_that_resets_later_is_gone() {
    let yaml = PLAIN.replace("bind:", "half_close: serve, bind:");
    let world = World::new(1).config(&yaml);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
        while peer.try_send(vec![b'x'; 10_000]).await.is_ok() {
            peer.sleep(Duration::from_secs(1)).await;
        }
    });
    world.run(async {
        let client = world.client();
        client.send(GET).await;
        client.finish();
        world.sleep(Duration::from_millis(500)).await;
        client.reset();
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.open_connections(), 0);
        assert_eq!(world.line().await.reason(), "client-closed");
    });
}

#[test]
fn a_client_that_leaves_mid_body_has_its_request_cancelled() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nx").await;
        assert!(peer.closes().await);
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.read_until("\r\n\r\nx").await;
        client.reset();
        world.sleep(Duration::from_secs(1)).await;
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("status")), ("client-closed", 200));
    });
}

#[test]
fn a_client_that_leaves_during_its_upload_has_its_request_cut() {
    for reset in [true, false] {
        let world = World::new(1).config(PLAIN);
        world.origin("10.0.0.1:80", |mut peer| async move {
            assert!(!peer.request().await.unwrap().complete);
        });
        world.run(async {
            let client = world.client();
            client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nx").await;
            world.sleep(Duration::from_secs(1)).await;
            if reset {
                client.reset()
            } else {
                drop(client)
            }
            world.sleep(Duration::from_secs(1)).await;
            assert_eq!(world.line().await.reason(), "client-closed");
            assert_eq!(world.open_connections(), 0);
        });
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_head_is_forgotten() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        let client = world.client();
        client.send("GET / HT").await;
        world.sleep(Duration::from_secs(1)).await;
        drop(client);
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.open_connections(), 0);
        assert!(world.connects().is_empty());
    });
}

#[test]
fn a_client_that_reads_nothing_is_cut_after_the_idle_time() {
    let yaml = format!("gateway: {{ timeouts: {{ idle: 5s }} }}\n{PLAIN}");
    let world = World::new(1).config(&yaml);
    world
        .answers("10.0.0.1:80", format!("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{}", "x".repeat(1_000_000)));
    world.run(async {
        let client = world.client();
        client.send(GET).await;
        world.sleep(Duration::from_secs(4)).await;
        assert_eq!(world.open_connections(), 1);
        world.sleep(Duration::from_secs(2)).await;
        assert_eq!(world.line().await.reason(), "client-stalled");
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn a_slow_reader_stops_the_producer() {
    let world = World::new(1).config(PLAIN);
    let produced = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = produced.clone();
    let host = world.origin("10.0.0.1:80", move |mut peer| {
        let count = count.clone();
        async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
            while peer.try_send(vec![b'x'; 10_000]).await.is_ok() {
                count.set(count.get() + 10_000);
            }
        }
    });
    let wire = Wire { room: 64 * 1024, ..Default::default() };
    host.wire(wire);
    world.client_wire(wire);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.read_until("\r\n\r\n").await;
        for read in 0..50 {
            client.read_exactly(5_000).await;
            world.sleep(Duration::from_secs(1)).await;
            let ahead = produced.get() - read * 5_000;
            assert!(ahead < 400_000, "the producer is {ahead} octets ahead");
        }
    });
}

#[test]
fn a_slow_upstream_stops_the_uploader() {
    let yaml = format!("gateway: {{ limits: {{ body: 1GiB }} }}\n{PLAIN}");
    let world = World::new(1).config(&yaml);
    let wire = Wire { room: 64 * 1024, ..Default::default() };
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.sleep(Duration::from_secs(30)).await;
    });
    host.wire(wire);
    world.client_wire(wire);
    world.run(async {
        let client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n").await;
        let link = client.link().clone();
        world.spawn(async move { client.send(vec![b'x'; 100_000_000]).await });
        world.sleep(Duration::from_secs(5)).await;
        assert!(link.written(0) < 400_000, "{} octets went in", link.written(0));
    });
}

#[test]
fn a_reset_at_any_octet_of_a_request_costs_one_connection() {
    let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for after in 0..request.len() as u64 {
        let world = World::new(after).config(PLAIN);
        world.answers("10.0.0.1:80", OK);
        world.run(async {
            let mut client = world.client();
            client.link().fault(0, Fault { after, kind: FaultKind::Reset });
            client.send(request).await;
            assert!(client.maybe_response().await.is_none(), "reset after {after}");
            assert_eq!(world.ask(GET).await.status(), 200);
            assert_eq!(world.open_connections(), 1);
        });
    }
}
