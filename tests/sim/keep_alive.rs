//! Connections that bring more than one request, and how they end.

use std::time::Duration;

use crate::world::{Ended, PLAIN, World, text};
use crate::{GET, OK};

#[test]
fn requests_on_one_connection_are_answered_one_after_another_over_one_upstream_connection() {
    let world = World::new(1).config(PLAIN);
    let origin = world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        for _ in 0..3 {
            client.send(GET).await;
            assert_eq!(client.response().await.text(), "ok");
        }
        assert_eq!(origin.accepted(), 1);
        assert_eq!(world.log().await.len(), 3);
    });
}

#[test]
fn the_time_to_the_first_octet_of_a_response_is_measured() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        while peer.request().await.is_some() {
            peer.sleep(Duration::from_secs(2)).await;
            peer.send(OK).await;
        }
    });
    world.run(async {
        for _ in 0..2 {
            world.ask(GET).await;
        }
        world.ask("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let series = "tidegate_upstream_first_byte_seconds";
        assert_eq!(world.metric(&format!("{series}_count{{upstream=\"app\"}}")), 2);
        assert_eq!(world.metric(&format!("{series}_sum{{upstream=\"app\"}}")), 4);
    });
}

#[test]
fn a_keep_alive_connection_that_brings_nothing_is_closed_without_an_answer() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        let then = world.now();
        assert_eq!(client.rest().await, (vec![], Ended::Finished));
        assert_eq!(world.since(then), Duration::from_secs(60));
    });
}

#[test]
fn a_fresh_connection_that_brings_nothing_is_closed_without_an_answer() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        let mut client = world.client();
        let then = world.now();
        assert_eq!(client.rest().await, (vec![], Ended::Finished));
        assert_eq!(world.since(then), Duration::from_secs(10));
        assert!(world.log().await.is_empty(), "nothing was asked");
    });
}

#[test]
fn the_last_request_a_connection_may_bring_is_answered_with_connection_close() {
    let yaml = format!("gateway: {{ limits: {{ requests_per_connection: 2 }} }}\n{PLAIN}");
    let world = World::new(1).config(&yaml);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        assert_eq!(client.response().await.field("connection"), None);
        client.send(GET).await;
        let then = world.now();
        assert_eq!(client.response().await.field("connection"), Some("close"));
        assert!(client.closes().await);
        assert_eq!(world.since(then), Duration::ZERO);
    });
}

#[test]
fn a_client_that_asks_for_it_gets_its_connection_closed() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let then = world.now();
        assert_eq!(client.response().await.field("connection"), Some("close"));
        assert!(client.closes().await);
        assert_eq!(world.since(then), Duration::ZERO);
    });
}

#[test]
fn an_http10_client_gets_one_answer_and_then_the_end() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").await;
        let response = client.response().await;
        assert_eq!((response.field("connection"), response.text().as_str()), (Some("close"), "ok"));
        assert!(client.closes().await);
        assert_eq!(world.line().await.text("protocol"), "HTTP/1.0");
    });
}

#[test]
fn an_http10_client_is_never_sent_chunks() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    world.run(async {
        let mut client = world.client();
        client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
        let all = client.rest_text().await;
        assert!(!all.contains("transfer-encoding") && !all.contains("content-length"), "{all}");
        assert!(all.ends_with("\r\n\r\nok"), "{all}");
    });
}

#[test]
fn an_http10_request_without_host_is_served_where_the_listener_names_one() {
    let yaml = r#"
listeners: { public: { bind: "127.0.0.1:8080", default_host: old.example } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: old, match: { host: old.example }, to: app }]
"#;
    let world = World::new(1).config(yaml);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        assert_eq!(world.ask("GET / HTTP/1.0\r\n\r\n").await.status(), 200);
        assert_eq!(world.request().field("host"), Some("old.example"));
    });
}

#[test]
fn one_empty_line_before_a_request_is_ignored() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        client.send(format!("\r\n{GET}")).await;
        assert_eq!(client.response().await.status(), 200);
    });
}

#[test]
fn a_connection_closed_between_requests_ends_quietly() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        client.finish();
        assert!(client.closes().await);
        assert_eq!(world.open_connections(), 0);
        assert_eq!(world.log().await.len(), 1);
    });
}

#[test]
fn pieces_of_any_size_bring_the_same_request() {
    for pieces in 1..40 {
        let world = World::new(pieces as u64).config(PLAIN);
        world.client_wire(crate::world::Wire { pieces, ..Default::default() });
        let origin = world.answers("10.0.0.1:80", OK);
        origin.wire(crate::world::Wire { pieces, sips: pieces, ..Default::default() });
        world.run(async {
            let response = world.ask("POST /a?b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
            assert_eq!(response.text(), "ok");
            assert_eq!(text(&world.request().content), "hello");
        });
    }
}

#[test]
fn how_a_connection_ended_is_counted() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let closed = |reason| world.metric(&format!("tidegate_connections_closed_total{{reason=\"{reason}\"}}"));
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        client.rest().await;
        assert_eq!(closed("keep-alive-timeout"), 1, "it was idle");
        drop(client);
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        drop(client);
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(closed("ok"), 1, "it closed between two requests");
        let client = world.client();
        client.send("GET / HT").await;
        world.sleep(Duration::from_secs(1)).await;
        drop(client);
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(closed("client-closed"), 1, "it closed within a head");
        world.ask("GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n").await;
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.sum("tidegate_connections_closed_total"), 4);
    });
}
