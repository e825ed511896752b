//! `Expect: 100-continue` (RFC 9110, section 10.1.1).

use std::time::Duration;

use crate::OK;
use crate::world::{PLAIN, World};

const ASKING: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";

#[test]
fn the_upstreams_100_is_relayed_and_the_body_follows() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        let head = peer.request_head().await;
        assert_eq!(head.field("expect"), Some("100-continue"));
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(peer.read_exactly(5).await, b"hello");
        peer.send(OK).await;
    });
    world.run(async {
        let mut client = world.client();
        client.send(ASKING).await;
        let then = world.now();
        assert_eq!(client.response().await.status(), 100);
        assert_eq!(world.since(then), Duration::ZERO);
        client.send("hello").await;
        assert_eq!(client.response().await.status(), 200);
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    });
}

#[test]
fn a_silent_upstream_is_sent_the_body_after_a_second_and_the_client_a_100_of_ours() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(ASKING).await;
        let then = world.now();
        assert_eq!(client.response().await.status(), 100);
        assert_eq!(world.since(then), Duration::from_secs(1));
        client.send("hello").await;
        assert_eq!(client.response().await.status(), 200);
        assert_eq!(world.request().text(), "hello");
    });
}

#[test]
fn a_late_100_of_the_upstream_is_not_relayed_after_ours() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.sleep(Duration::from_secs(2)).await;
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.read_exactly(5).await;
        peer.send(OK).await;
    });
    world.run(async {
        let mut client = world.client();
        client.send(ASKING).await;
        assert_eq!(client.response().await.status(), 100);
        world.sleep(Duration::from_secs(5)).await;
        client.send("hello").await;
        assert_eq!(client.response().await.status(), 200);
    });
}

#[test]
fn a_final_status_comes_without_a_100_and_the_body_is_not_waited_for() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
        assert!(peer.closes().await, "no body was sent, and the connection cannot be used again");
    });
    world.run(async {
        let mut client = world.client();
        client.send(ASKING).await;
        let response = client.response().await;
        assert_eq!((response.status(), response.field("connection")), (401, Some("close")));
        assert!(client.closes().await);
    });
}

#[test]
fn a_client_that_does_not_wait_is_not_made_to() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        let then = world.now();
        client.send(format!("{ASKING}hello")).await;
        assert_eq!(client.response().await.status(), 200);
        assert_eq!(world.since(then), Duration::ZERO);
    });
}

#[test]
fn a_client_that_begins_to_send_while_it_should_wait_loses_nothing() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(ASKING).await;
        world.sleep(Duration::from_millis(300)).await;
        client.send("hello").await;
        let mut response = client.response().await;
        if response.status() == 100 {
            response = client.response().await;
        }
        assert_eq!(response.status(), 200);
        assert_eq!(world.request().text(), "hello");
    });
}

#[test]
fn what_is_refused_locally_is_refused_before_a_100() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999999\r\nexpect: 100-continue\r\n\r\n";
        let response = world.ask(request).await;
        assert_eq!((response.status(), response.field("connection")), (413, Some("close")));
        assert!(world.connects().is_empty());
    });
}

#[test]
fn another_expectation_is_417() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        assert_eq!(world.ask("GET / HTTP/1.1\r\nhost: a\r\nexpect: miracles\r\n\r\n").await.status(), 417);
        assert_eq!(world.line().await.reason(), "expectation-failed");
    });
}

#[test]
fn an_expectation_in_http10_is_ignored() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let request = "POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\nhello";
        assert_eq!(world.ask(request).await.status(), 200);
        assert_eq!(world.request().field("expect"), None);
    });
}

#[test]
fn a_client_that_takes_its_time_after_the_upstreams_100_gets_no_second_one() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.read_exactly(5).await;
        peer.send(OK).await;
    });
    world.run(async {
        let mut client = world.client();
        client.send(ASKING).await;
        assert_eq!(client.response().await.status(), 100);
        world.sleep(Duration::from_secs(3)).await;
        client.send("hello").await;
        assert_eq!(client.response().await.status(), 200);
    });
}

#[test]
fn a_client_that_has_begun_to_send_is_not_made_to_wait() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        let then = world.now();
        client.send(format!("{ASKING}he")).await;
        world.sleep(Duration::from_millis(10)).await;
        client.send("llo").await;
        assert_eq!(client.response().await.status(), 200);
        assert_eq!(world.since(then), Duration::from_millis(10));
    });
}

#[test]
fn a_client_that_waits_for_a_100_and_gets_an_answer_of_ours_has_its_connection_closed() {
    let world = World::new(1).config(&PLAIN.replace("to: app", "respond: { body: no }"));
    world.run(async {
        let mut client = world.client();
        client.send(ASKING).await;
        let then = world.now();
        assert_eq!(client.response().await.field("connection"), Some("close"));
        assert!(client.closes().await);
        assert_eq!(world.since(then), Duration::ZERO);
    });
}
