//! Which endpoint gets a request, and when its connection is used again.

use std::time::Duration;

use crate::world::{PLAIN, World};
use crate::{GET, OK};

fn three(more: &str) -> String {
    format!(
        "listeners: {{ public: {{ bind: \"127.0.0.1:8080\" }} }}
upstreams: {{ app: {{ endpoints: [\"10.0.0.1:80\", \"10.0.0.2:80\", \"10.0.0.3:80\"], {more} }} }}
routes: [{{ match: {{ path: \"/{{*rest}}\" }}, to: app }}]
"
    )
}

fn named(world: &World, address: &str) {
    world.answers(address, format!("HTTP/1.1 200 OK\r\nx-from: {address}\r\ncontent-length: 0\r\n\r\n"));
}

#[test]
fn round_robin_gives_every_endpoint_its_turn() {
    let world = World::new(1).config(&three("balance: round_robin"));
    for n in 1..=3 {
        named(&world, &format!("10.0.0.{n}:80"));
    }
    world.run(async {
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..30 {
            let response = world.ask(GET).await;
            *counts.entry(response.field("x-from").unwrap().to_owned()).or_insert(0) += 1;
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
    });
}

#[test]
fn least_request_spares_the_busy_endpoint() {
    let world = World::new(1).config(&three("balance: least_request"));
    named(&world, "10.0.0.1:80");
    named(&world, "10.0.0.2:80");
    world.origin("10.0.0.3:80", |mut peer| async move {
        while peer.request().await.is_some() {
            peer.sleep(Duration::from_secs(30)).await;
            peer.send(OK).await;
        }
    });
    world.run(async {
        let mut clients = Vec::new();
        for _ in 0..60 {
            let client = world.client();
            client.send(GET).await;
            world.sleep(Duration::from_millis(10)).await;
            clients.push(client);
        }
        let slow = world.connects().iter().filter(|address| address.ends_with("3:80")).count();
        assert!((1..=10).contains(&slow), "{slow} of 60 went to the busy one");
    });
}

#[test]
fn an_endpoint_that_refuses_is_left_alone_and_tried_again_later() {
    let world = World::new(1).config(&three("balance: round_robin"));
    for n in 2..=3 {
        named(&world, &format!("10.0.0.{n}:80"));
    }
    world.refuses("10.0.0.1:80");
    let dialled = |world: &World| world.connects().iter().filter(|address| address.ends_with("1:80")).count();
    world.run(async {
        for _ in 0..30 {
            assert_eq!(world.ask(GET).await.status(), 200);
        }
        assert_eq!(dialled(&world), 1, "one refusal marks it down");
        named(&world, "10.0.0.1:80");
        world.sleep(Duration::from_secs(12)).await;
        for _ in 0..30 {
            assert_eq!(world.ask(GET).await.status(), 200);
        }
        assert_eq!(dialled(&world), 2);
        assert!(world.requests().len() >= 60);
    });
}

#[test]
fn when_all_endpoints_are_down_they_are_tried_nevertheless() {
    let world = World::new(1).config(PLAIN);
    world.refuses("10.0.0.1:80");
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        named(&world, "10.0.0.1:80");
        assert_eq!(world.ask(GET).await.status(), 200);
    });
}

#[test]
fn a_connection_is_used_again_by_other_clients() {
    let world = World::new(1).config(PLAIN);
    let host = world.answers("10.0.0.1:80", OK);
    world.run(async {
        for _ in 0..10 {
            world.ask(GET).await;
        }
        assert_eq!(host.accepted(), 1);
    });
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let yaml = PLAIN.replace("endpoints:", "pool: { idle: 5s }, endpoints:");
    let world = World::new(1).config(&yaml);
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        assert!(peer.closes().await);
    });
    world.run(async {
        world.ask(GET).await;
        world.sleep(Duration::from_secs(7)).await;
        world.sleep(Duration::from_secs(1)).await;
        world.ask(GET).await;
        assert_eq!(host.accepted(), 2);
    });
}

#[test]
fn a_pool_of_nothing_keeps_nothing() {
    let yaml = PLAIN.replace("endpoints:", "pool: { max_idle: 0 }, endpoints:");
    let world = World::new(1).config(&yaml);
    let host = world.answers("10.0.0.1:80", OK);
    world.run(async {
        for _ in 0..3 {
            assert_eq!(world.ask(GET).await.status(), 200);
        }
        assert_eq!(host.accepted(), 3);
    });
}

#[test]
fn an_upstream_that_asks_for_it_is_not_kept() {
    let world = World::new(1).config(PLAIN);
    let host = world.answers("10.0.0.1:80", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    world.run(async {
        for _ in 0..3 {
            assert_eq!(world.ask(GET).await.status(), 200);
        }
        assert_eq!(host.accepted(), 3);
    });
}

#[test]
fn an_http10_upstream_is_kept_only_if_it_says_so() {
    for (connection, accepted) in [("", 2), ("connection: keep-alive\r\n", 1)] {
        let world = World::new(1).config(PLAIN);
        let host = world.answers("10.0.0.1:80", format!("HTTP/1.0 200 OK\r\n{connection}content-length: 0\r\n\r\n"));
        world.run(async {
            for _ in 0..2 {
                let response = world.ask(GET).await;
                assert!(response.start.starts_with("HTTP/1.1 200"));
            }
            assert_eq!(host.accepted(), accepted);
        });
    }
}

#[test]
fn one_request_more_than_connections_is_503_after_its_time_at_most() {
    let yaml = PLAIN.replace("endpoints:", "pool: { max_connections: 1 }, endpoints:");
    let world = World::new(1).config(&yaml);
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        while peer.request().await.is_some() {
            peer.sleep(Duration::from_secs(1)).await;
            peer.send(OK).await;
        }
    });
    world.run(async {
        let (mut first, mut second) = (world.client(), world.client());
        first.send(GET).await;
        second.send(GET).await;
        let statuses = [first.response().await.status(), second.response().await.status()];
        assert_eq!(host.accepted(), 1, "never more connections than allowed");
        assert!(statuses[0] == 200 && [200, 503].contains(&statuses[1]), "{statuses:?}");
    });
}

#[test]
fn a_connection_that_ended_while_it_was_handed_on_is_not_used() {
    let yaml = PLAIN.replace("endpoints:", "pool: { max_connections: 1 }, endpoints:");
    let world = World::new(1).config(&yaml);
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.sleep(Duration::from_secs(1)).await;
        peer.send(OK).await;
    });
    world.run(async {
        let mut clients = [world.client(), world.client(), world.client()];
        for client in &clients {
            // Nothing that may be sent again.
            client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
        }
        for client in &mut clients {
            assert_eq!(client.response().await.status(), 200);
        }
        assert_eq!(host.accepted(), 3);
        assert!(world.log().await.iter().all(|line| line.number("attempts") == 1));
    });
}

#[test]
fn a_connection_that_is_handed_on_counts_as_reused() {
    let yaml = PLAIN.replace("endpoints:", "pool: { max_connections: 1 }, endpoints:");
    let world = World::new(1).config(&yaml);
    let host = world.origin("10.0.0.1:80", |mut peer| async move {
        while peer.request().await.is_some() {
            peer.sleep(Duration::from_secs(1)).await;
            peer.send(OK).await;
        }
    });
    world.run(async {
        let mut clients = [world.client(), world.client(), world.client()];
        for client in &clients {
            client.send(GET).await;
        }
        for client in &mut clients {
            assert_eq!(client.response().await.status(), 200);
        }
        assert_eq!(host.accepted(), 1);
        assert_eq!(world.metric("tidegate_upstream_connections_reused_total{upstream=\"app\"}"), 2);
    });
}

#[test]
fn only_what_is_closed_while_idle_counts_as_evicted() {
    let evicted = "tidegate_upstream_connections_evicted_total{upstream=\"app\"}";
    for (pool, expected) in [("max_age: 1s", 0), ("max_idle: 0", 0), ("idle: 2s", 1)] {
        let world = World::new(1).config(&PLAIN.replace("endpoints:", &format!("pool: {{ {pool} }}, endpoints:")));
        world.origin("10.0.0.1:80", |mut peer| async move {
            peer.request().await;
            peer.sleep(Duration::from_secs(1)).await;
            peer.send(OK).await;
            peer.rest().await;
        });
        world.run(async {
            world.ask(GET).await;
            world.sleep(Duration::from_secs(5)).await;
            assert_eq!(world.metric(evicted), expected, "{pool}");
        });
    }
}

#[test]
fn an_endpoint_that_took_a_connection_again_has_its_whole_share() {
    let world = World::new(1).config(&three("balance: round_robin"));
    for n in 2..=3 {
        named(&world, &format!("10.0.0.{n}:80"));
    }
    world.refuses("10.0.0.1:80");
    world.run(async {
        for _ in 0..3 {
            assert_eq!(world.ask(GET).await.status(), 200);
        }
        named(&world, "10.0.0.1:80");
        world.sleep(Duration::from_secs(12)).await;
        let mut share = 0;
        for _ in 0..30 {
            share += u32::from(world.ask(GET).await.field("x-from") == Some("10.0.0.1:80"));
        }
        assert!(share >= 9, "{share} of 30");
    });
}
