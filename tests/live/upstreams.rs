//! Origins that die, and clients that leave.

use std::time::Duration;

use crate::stage::{Gateway, Nginx, Origin, forwarding, holds_within, wait_until};

#[test]
fn no_client_sees_that_one_of_two_origins_is_killed() {
    let (mut first, second) = (Nginx::start(), Nginx::start());
    let gateway = Gateway::start(&forwarding(&[&first.address, &second.address]));
    let mut clients: Vec<_> = (0..8).map(|_| gateway.client()).collect();
    let round =
        |clients: &mut Vec<crate::stage::Client>| clients.iter_mut().all(|client| client.get("/").status == 200);
    assert!((0..10).all(|_| round(&mut clients)));
    first.fall();
    assert!((0..30).all(|_| round(&mut clients)));
    assert!(first.rise());
    assert!((0..10).all(|_| round(&mut clients)));
}

#[test]
fn with_every_origin_down_the_answer_is_a_problem_in_json() {
    let (mut first, mut second) = (Nginx::start(), Nginx::start());
    let gateway = Gateway::start(&forwarding(&[&first.address, &second.address]));
    assert_eq!(gateway.get("/").status, 200);
    first.fall();
    second.fall();
    for _ in 0..4 {
        let answer = gateway.get("/");
        assert!(matches!(answer.status, 502 | 503), "{answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["status"], answer.status);
    }
    assert!(first.rise());
    wait_until("the gateway finds the origin again", || gateway.get("/").status == 200);
}

#[test]
fn a_client_that_leaves_cancels_its_request_at_the_origin() {
    let origin = Origin::start();
    let gateway = Gateway::start(&forwarding(&[&origin.address]));
    let mut client = gateway.client();
    client.send(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    wait_until("the origin has the request", || origin.hanging() == 1);
    drop(client);
    assert!(holds_within(Duration::from_secs(1), || origin.cancelled() == 1), "the origin hears nothing");
    wait_until("the exchange is counted", || {
        gateway.metrics()["tidegate_exchanges_total{reason=\"client-closed\"}"] == 1.0
    });
}

#[test]
fn aborted_connections_leave_no_descriptor_behind() {
    let origin = Origin::start();
    let gateway = Gateway::start(&forwarding(&[&origin.address]));
    assert_eq!(gateway.get("/").status, 200);
    let before = gateway.descriptors();
    for number in 0..200 {
        let mut client = gateway.client();
        let request: &[u8] = match number % 4 {
            0 => b"",
            1 => b"GET / HT",
            2 => b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n",
            _ => b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc",
        };
        client.send(request);
    }
    // A shard keeps its own connection to the origin; the first request made only one.
    wait_until("the descriptors are closed", || gateway.descriptors() <= before + 2);
}
