//! Content in both directions, however it is framed.

use crate::OK;
use crate::world::{PLAIN, World};

#[test]
fn a_body_of_known_length_goes_up_with_its_length() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        world.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
        let request = world.request();
        assert_eq!((request.field("content-length"), request.text().as_str()), (Some("5"), "hello"));
        assert_eq!(request.field("transfer-encoding"), None);
    });
}

#[test]
fn a_chunked_body_goes_up_in_chunks_of_our_own_without_extensions_and_trailers() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let body = "0005;name=value\r\nhello\r\n1\r\n!\r\n0;last\r\nx-trailer: 1\r\n\r\n";
        world.ask(format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await;
        let request = world.request();
        assert_eq!((request.field("transfer-encoding"), request.text().as_str()), (Some("chunked"), "hello!"));
        assert_eq!((request.field("content-length"), request.trailers.len()), (None, 0));
    });
}

#[test]
fn request_trailers_go_up_where_the_upstream_wants_them_but_never_framing_or_credentials() {
    let world = World::new(1).config(&PLAIN.replace("80\"] }", "80\"], trailers: forward }"));
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let body = "5\r\nhello\r\n0\r\nx-trailer: 1\r\ncontent-length: 9\r\nauthorization: b\r\n\r\n";
        world.ask(format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await;
        let request = world.request();
        assert_eq!(request.text(), "hello");
        assert_eq!(request.trailers, [("x-trailer".to_owned(), "1".to_owned())]);
    });
}

#[test]
fn a_chunked_response_comes_down_in_chunks_and_leaves_the_connection_open() {
    let world = World::new(1).config(PLAIN);
    let origin = world.answers(
        "10.0.0.1:80",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nx-t: 1\r\n\r\n",
    );
    world.run(async {
        let mut client = world.client();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let response = client.response().await;
            assert_eq!((response.field("transfer-encoding"), response.text().as_str()), (Some("chunked"), "hello!"));
            assert!(response.trailers.is_empty(), "nobody asked for trailers");
        }
        assert_eq!(origin.accepted(), 1);
    });
}

#[test]
fn response_trailers_reach_a_client_that_reads_them_but_never_framing_or_credentials() {
    let world = World::new(1).config(PLAIN);
    world.answers(
        "10.0.0.1:80",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
         x-checksum: 7\r\ncontent-length: 9\r\nset-cookie: a=b\r\ngrpc-status: 0\r\n\r\n",
    );
    world.run(async {
        let response = world.ask("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n").await;
        let trailers = [("x-checksum", "7"), ("grpc-status", "0")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(response.trailers, trailers);
        let request = world.request();
        assert_eq!((request.field("te"), request.field("connection")), (Some("trailers"), Some("te")));
    });
}

#[test]
fn a_response_that_runs_to_the_close_is_sent_in_chunks() {
    let world = World::new(1).config(PLAIN);
    let origin = world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    });
    world.run(async {
        let mut client = world.client();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let response = client.response().await;
            assert_eq!((response.text().as_str(), response.complete), ("all of it", true));
            assert_eq!(response.field("transfer-encoding"), Some("chunked"));
        }
        assert_eq!(origin.accepted(), 2, "what was closed is not used again");
    });
}

#[test]
fn an_answer_to_head_keeps_its_length_and_has_no_content() {
    let world = World::new(1).config(PLAIN);
    let origin = world.answers("10.0.0.1:80", "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n");
    world.run(async {
        let mut client = world.client();
        for _ in 0..2 {
            client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let response = client.response_to_head().await;
            assert_eq!(response.field("content-length"), Some("1234"));
        }
        assert_eq!(origin.accepted(), 1);
    });
}

#[test]
fn an_answer_to_head_that_says_chunked_has_no_content_either() {
    let world = World::new(1).config(PLAIN);
    let origin = world.answers("10.0.0.1:80", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    world.run(async {
        let mut client = world.client();
        for _ in 0..3 {
            client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let response = client.response_to_head().await;
            assert_eq!((response.status(), response.field("content-length")), (200, None));
        }
        assert_eq!(origin.accepted(), 1);
    });
}

#[test]
fn statuses_without_content_leave_both_connections_usable() {
    for head in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ncontent-length: 99\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let world = World::new(1).config(PLAIN);
        let origin = world.answers("10.0.0.1:80", head);
        world.run(async {
            let mut client = world.client();
            for _ in 0..2 {
                client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
                let response = client.response().await;
                assert_eq!(response.start[9..12], head[9..12]);
                assert!(response.content.is_empty());
                if response.status() == 204 {
                    assert_eq!(response.field("content-length"), None, "RFC 9110, section 8.6");
                }
            }
            assert_eq!(origin.accepted(), 1);
        });
    }
}

#[test]
fn a_large_body_arrives_whole_in_both_directions() {
    let world = World::new(1).config(PLAIN);
    let size = 3 * 1024 * 1024;
    world.origin("10.0.0.1:80", |mut peer| async move {
        let request = peer.request().await.unwrap();
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.content.len())).await;
        peer.send(&request.content).await;
    });
    world.run(async {
        let body: Vec<u8> = (0..size).map(|n: usize| (n % 251) as u8).collect();
        let mut client = world.client();
        client.send(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n")).await;
        client.send(&body).await;
        assert!(client.response().await.content == body);
    });
}

#[test]
fn a_large_chunked_body_arrives_whole_in_both_directions() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        let request = peer.request().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for piece in request.content.chunks(70_000) {
            peer.send(format!("{:x}\r\n", piece.len())).await;
            peer.send(piece).await;
            peer.send("\r\n").await;
        }
        peer.send("0\r\n\r\n").await;
    });
    world.run(async {
        let body: Vec<u8> = (0..1_000_000).map(|n: usize| (n % 251) as u8).collect();
        let client = &mut world.client();
        client.send("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for (n, piece) in body.chunks(33_333).enumerate() {
            client.send(format!("{:X};n={n}\r\n", piece.len())).await;
            client.send(piece).await;
            client.send("\r\n").await;
        }
        client.send("0\r\n\r\n").await;
        assert!(client.response().await.content == body);
    });
}

#[test]
fn a_body_that_is_read_and_forgotten_counts_as_received() {
    let yaml = PLAIN.replace("to: app", "respond: { body: no }");
    let world = World::new(1).config(&yaml);
    world.run(async {
        let mut client = world.client();
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n";
        client.send(format!("{head}hello")).await;
        assert_eq!(client.response().await.text(), "no");
        client.send("hello").await;
        assert_eq!(world.line().await.number("bytes_in"), head.len() as u64 + 10);
    });
}

#[test]
fn many_tiny_chunks_arrive_whole() {
    let world = World::new(1).config(PLAIN);
    let chunks = "1\r\nx\r\n".repeat(20_000);
    world.answers("10.0.0.1:80", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"));
    world.run(async {
        let client = &mut world.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")).await;
        assert_eq!(client.response().await.content.len(), 20_000);
        assert_eq!(world.request().content.len(), 20_000);
    });
}
