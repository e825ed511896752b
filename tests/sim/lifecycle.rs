//! Drains, reloads and panics: what happens to the gateway while it serves.

use std::time::Duration;

use tidegate::proxy::shell::Shard as _;

use crate::world::{Ended, PLAIN, World};
use crate::{GET, OK};

fn slow(world: &World, time: Duration) {
    let note = world.note();
    world.origin("10.0.0.1:80", move |mut peer| {
        let note = note.clone();
        async move {
            while let Some(request) = peer.request().await {
                note(request);
                peer.sleep(time).await;
                peer.send(OK).await;
            }
        }
    });
}

#[test]
fn a_drain_answers_what_is_in_flight_and_says_close() {
    let world = World::new(1).config(PLAIN);
    slow(&world, Duration::from_secs(5));
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        world.sleep(Duration::from_secs(1)).await;
        world.shard().drain();
        let response = client.response().await;
        assert_eq!((response.status(), response.field("connection")), (200, Some("close")));
        assert!(client.closes().await);
        drop(client);
        world.log().await;
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn a_drain_ends_connections_that_are_idle_for_long_at_once_and_others_after_a_moment() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let (mut old, mut young) = (world.client(), world.client());
        old.send(GET).await;
        old.response().await;
        world.sleep(Duration::from_secs(5)).await;
        young.send(GET).await;
        young.response().await;
        let then = world.now();
        world.shard().drain();
        assert!(old.closes().await);
        assert_eq!(world.since(then), Duration::ZERO);
        assert!(young.closes().await);
        assert_eq!(world.since(then), Duration::from_secs(1));
    });
}

#[test]
fn a_request_that_crosses_the_drain_is_answered() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        world.shard().drain();
        world.sleep(Duration::from_millis(500)).await;
        client.send(GET).await;
        assert_eq!(client.response().await.field("connection"), Some("close"));
        assert!(client.closes().await);
    });
}

#[test]
fn pipelined_requests_behind_the_last_answer_of_a_drain_are_not_served() {
    let world = World::new(1).config(PLAIN);
    slow(&world, Duration::from_secs(1));
    world.run(async {
        let mut client = world.client();
        client.send(GET.repeat(3)).await;
        world.sleep(Duration::from_millis(500)).await;
        world.shard().drain();
        world.sleep(Duration::from_secs(1)).await;
        client.send(GET.repeat(3)).await;
        assert_eq!(client.response().await.field("connection"), Some("close"));
        assert_eq!(client.rest().await, (vec![], Ended::Finished), "and no reset, which could have cost it the answer");
        assert_eq!(world.requests().len(), 1, "what was not answered was not sent either");
    });
}

#[test]
fn when_the_time_of_a_drain_is_up_every_connection_ends() {
    let world = World::new(1).config(PLAIN);
    slow(&world, Duration::from_secs(3000));
    world.run(async {
        let mut waiting = world.client();
        waiting.send(GET).await;
        let uploading = world.client();
        uploading.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nx").await;
        let beginning = world.client();
        beginning.send("GET / HT").await;
        world.sleep(Duration::from_secs(1)).await;
        world.shard().drain();
        world.sleep(Duration::from_millis(100)).await;
        world.shard().stop();
        world.sleep(Duration::from_millis(100)).await;
        assert_eq!(world.open_connections(), 0);
        waiting.rest().await;
    });
}

#[test]
fn an_exchange_keeps_the_plan_it_began_with_and_the_next_one_has_the_new() {
    let world = World::new(1).config(PLAIN);
    slow(&world, Duration::from_secs(5));
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        world.sleep(Duration::from_secs(1)).await;
        let fixed = PLAIN.replace("to: app", "respond: { status: 418 }").replace("name: all", "name: fixed");
        world.reload(&fixed);
        assert_eq!(client.response().await.status(), 200);
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 418);
        let routes: Vec<_> = world.log().await.iter().map(|line| line.text("route")).collect();
        assert_eq!(routes, ["all", "fixed"]);
    });
}

#[test]
fn a_reload_keeps_the_connections_of_unchanged_endpoints() {
    let world = World::new(1).config(PLAIN);
    let host = world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        world.reload(&PLAIN.replace("name: all", "name: renamed"));
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 200);
        world.reload(
            &PLAIN
                .replace("\"10.0.0.1:80\"", "\"10.0.0.2:80\", \"10.0.0.1:80\"")
                .replace("endpoints", "balance: round_robin, endpoints"),
        );
        world.answers("10.0.0.2:80", OK);
        for _ in 0..2 {
            assert_eq!(world.ask(GET).await.status(), 200);
        }
        assert_eq!(host.accepted(), 1);
    });
}

#[test]
fn a_reload_that_removes_an_upstream_lets_its_exchange_end() {
    let world = World::new(1).config(PLAIN);
    slow(&world, Duration::from_secs(5));
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        world.sleep(Duration::from_secs(1)).await;
        world.reload(&PLAIN.replace("app", "other").replace("10.0.0.1:80", "10.0.0.9:80"));
        assert_eq!(client.response().await.status(), 200);
    });
}

#[test]
fn new_limits_hold_for_the_next_request_of_an_old_connection() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.response().await;
        world.reload(&format!("gateway: {{ limits: {{ fields: 2 }} }}\n{PLAIN}"));
        client.send("GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\ny: 2\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 431);
    });
}

#[test]
fn a_panic_costs_one_connection_and_its_client_gets_a_500() {
    let world = World::new(1).config(PLAIN);
    world.allow_panics();
    let host = world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut other = world.client();
        other.send(GET).await;
        other.response().await;
        host.panics(true);
        let yaml = PLAIN.replace("endpoints:", "pool: { max_idle: 0 }, endpoints:");
        world.reload(&yaml);
        let mut unlucky = world.client();
        unlucky.send(GET).await;
        let response = unlucky.response().await;
        assert_eq!((response.status(), response.field("connection")), (500, Some("close")));
        assert!(unlucky.closes().await);
        host.panics(false);
        other.send(GET).await;
        assert_eq!(other.response().await.status(), 200);
        world.log().await;
        assert_eq!(world.open_connections(), 1);
        drop((other, unlucky));
        world.log().await;
        let in_flight = "tidegate_endpoint_attempts_in_flight{upstream=\"app\",endpoint=\"10.0.0.1:80\"}";
        assert_eq!((world.metric(in_flight), world.metric("tidegate_exchanges_in_flight")), (0, 0));
        assert_eq!(world.metric("tidegate_exchanges_total{reason=\"panic\"}"), 1);
        assert_eq!(world.metric("tidegate_local_replies_total{reason=\"panic\"}"), 1);
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"panic\"}"), 1);
    });
}

#[test]
fn a_drain_keeps_no_connection_to_an_upstream() {
    let world = World::new(1).config(PLAIN);
    slow(&world, Duration::from_secs(5));
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        world.sleep(Duration::from_secs(1)).await;
        world.shard().drain();
        assert_eq!(client.response().await.status(), 200);
        world.sleep(Duration::from_secs(3)).await;
        assert_eq!(world.sum("tidegate_upstream_connections_open"), 0);
    });
}

#[test]
fn the_gauges_of_an_upstream_that_a_reload_removed_are_zero() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        world.ask(GET).await;
        world.sleep(Duration::from_secs(2)).await;
        let gauges = ["tidegate_upstream_connections_open", "tidegate_upstream_connections_idle"];
        assert_eq!(gauges.map(|gauge| world.sum(gauge)), [1, 1]);
        world.reload(&PLAIN.replace("app", "other").replace("10.0.0.1:80", "10.0.0.9:80"));
        assert_eq!(gauges.map(|gauge| world.sum(gauge)), [0, 0]);
        world.sleep(Duration::from_secs(2)).await;
        assert_eq!(gauges.map(|gauge| world.sum(gauge)), [0, 0]);
    });
}
