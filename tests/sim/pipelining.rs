//! Requests sent ahead of their answers.

use std::time::Duration;

use crate::world::{PLAIN, World};
use crate::{GET, OK};

fn echo_path(world: &World) {
    world.origin("10.0.0.1:80", |mut peer| async move {
        while let Some(request) = peer.request().await {
            let path = request.start.split(' ').nth(1).unwrap().to_owned();
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len())).await;
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let world = World::new(1).config(PLAIN);
    echo_path(&world);
    world.run(async {
        let mut client = world.client();
        let requests: String = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        client.send(requests).await;
        for n in 0..50 {
            assert_eq!(client.response().await.text(), format!("/{n}"));
        }
    });
}

#[test]
fn pipelined_requests_are_served_one_at_a_time() {
    let world = World::new(1).config(PLAIN);
    let note = world.note();
    world.origin("10.0.0.1:80", move |mut peer| {
        let note = note.clone();
        async move {
            while let Some(request) = peer.request().await {
                note(request);
                peer.sleep(Duration::from_secs(1)).await;
                peer.send(OK).await;
            }
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET.repeat(3)).await;
        for answered in 1..=3 {
            client.response().await;
            assert_eq!(world.requests().len(), answered);
        }
    });
}

#[test]
fn a_request_sent_ahead_in_pieces_is_kept_in_order() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.sleep(Duration::from_secs(1)).await;
            let path = request.start.split(' ').nth(1).unwrap().to_owned();
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len())).await;
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        for piece in ["GET /2 HT", "TP/1.1\r\nho", "st: a\r\n\r\nGET /3 HTTP/1.1\r\n", "host: a\r"] {
            world.sleep(Duration::from_millis(100)).await;
            client.send(piece).await;
        }
        assert_eq!(client.response().await.text(), "/1");
        assert_eq!(client.response().await.text(), "/2");
        client.send("\n\r\n").await;
        assert_eq!(client.response().await.text(), "/3");
    });
}

#[test]
fn requests_behind_bodies_are_kept_in_order() {
    let world = World::new(1).config(PLAIN);
    let note = world.note();
    world.origin("10.0.0.1:80", move |mut peer| {
        let note = note.clone();
        async move {
            while let Some(request) = peer.request().await {
                note(request);
                peer.sleep(Duration::from_secs(1)).await;
                peer.send(OK).await;
            }
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nhal").await;
        world.sleep(Duration::from_millis(10)).await;
        client.send("ves").await;
        client.send("POST /2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab").await;
        world.sleep(Duration::from_millis(10)).await;
        client.send("c\r\n0\r\n\r\nGET /3 HT").await;
        world.sleep(Duration::from_millis(10)).await;
        client.send("TP/1.1\r\nhost: a\r\n\r\n").await;
        for _ in 0..3 {
            assert_eq!(client.response().await.status(), 200);
        }
        let requests = world.requests();
        let seen: Vec<_> = requests.iter().map(|request| (request.start.as_str(), request.text())).collect();
        let expected = [("POST /1 HTTP/1.1", "halves"), ("POST /2 HTTP/1.1", "abc"), ("GET /3 HTTP/1.1", "")];
        assert_eq!(seen, expected.map(|(start, body)| (start, body.to_owned())));
    });
}

#[test]
fn more_than_a_buffer_of_requests_sent_ahead_waits_in_the_socket() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.sleep(Duration::from_millis(10)).await;
            let path = request.start.split(' ').nth(1).unwrap().to_owned();
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len())).await;
        }
    });
    world.run(async {
        let mut client = world.client();
        let padding = "x".repeat(1000);
        let requests: String =
            (0..100).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\nx-padding: {padding}\r\n\r\n")).collect();
        client.send(requests).await;
        for n in 0..100 {
            assert_eq!(client.response().await.text(), format!("/{n}"));
        }
    });
}

#[test]
fn what_follows_a_refused_request_is_not_read_as_one() {
    let world = World::new(1).config(PLAIN);
    echo_path(&world);
    world.run(async {
        let mut client = world.client();
        client.send(format!("GET / HTTP/1.1\r\nhost : a\r\n\r\n{GET}")).await;
        assert_eq!(client.response().await.status(), 400);
        assert!(client.closes().await);
        assert!(world.connects().is_empty());
    });
}

#[test]
fn what_follows_a_request_with_connection_close_is_not_answered() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n{GET}")).await;
        assert_eq!(client.response().await.status(), 200);
        assert!(client.closes().await);
        assert_eq!(world.requests().len(), 1);
    });
}

#[test]
fn one_client_with_many_requests_does_not_hold_up_another() {
    let world = World::new(1).config(PLAIN);
    echo_path(&world);
    world.run(async {
        let mut greedy = world.client();
        greedy.send(GET.repeat(400)).await;
        let mut modest = world.client();
        modest.send(GET).await;
        assert_eq!(modest.response().await.status(), 200);
        for _ in 0..400 {
            assert_eq!(greedy.response().await.status(), 200);
        }
    });
}

#[test]
fn requests_behind_a_body_that_do_not_fit_beside_it_are_kept() {
    let world = World::new(1).config(PLAIN);
    echo_path(&world);
    world.run(async {
        let mut client = world.client();
        let body = "x".repeat(12_000);
        client.send(format!("POST /0 HTTP/1.1\r\nhost: a\r\ncontent-length: 12005\r\n\r\n{body}")).await;
        world.sleep(Duration::from_millis(10)).await;
        let padding = "y".repeat(1000);
        let requests: String =
            (1..10).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\nx-padding: {padding}\r\n\r\n")).collect();
        client.send(format!("12345{requests}")).await;
        for n in 0..10 {
            assert_eq!(client.response().await.text(), format!("/{n}"));
        }
    });
}
