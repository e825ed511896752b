//! Drives the smuggling table through the gateway.

use std::time::Duration;

use crate::smuggling::{CHUNKS, Case, Fate, TABLE};
use crate::world::{PLAIN, World};
use crate::{GET, OK};

/// The table is Latin-1: one octet for each character.
fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).expect("one octet")).collect()
}

fn world() -> World {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world
}

fn check(case: &Case) {
    let world = world();
    world.run(async {
        let mut client = world.client();
        client.send(octets(case.request)).await;
        let response = client.response().await;
        match case.fate {
            Fate::Refused(status) => {
                assert_eq!(response.status(), status, "{}: {}", case.name, response.head);
                assert_eq!(response.field("connection"), Some("close"), "{}", case.name);
                assert!(client.closes().await, "{}", case.name);
                assert!(world.connects().is_empty(), "{}", case.name);
            }
            Fate::Answered(status) => {
                assert_eq!(response.status(), status, "{}: {}", case.name, response.head);
                assert!(world.connects().is_empty(), "{}", case.name);
            }
            Fate::Forwarded(lines) => {
                assert_eq!(response.status(), 200, "{}", case.name);
                let request = world.request();
                for line in lines {
                    let line = crate::world::text(&octets(line));
                    assert!(request.head.contains(&line), "{}: no {line:?} in {}", case.name, request.head);
                }
                let received = crate::world::text(&octets(case.request));
                assert!(!received.starts_with(&request.head), "{} was forwarded raw", case.name);
            }
        }
    });
}

#[test]
fn every_request_of_the_smuggling_table_meets_its_fate() {
    TABLE.iter().for_each(check);
}

#[test]
fn every_refusal_of_the_table_ends_what_was_sent_behind_it() {
    for case in TABLE.iter().filter(|case| matches!(case.fate, Fate::Refused(_))) {
        let world = world();
        world.run(async {
            let mut client = world.client();
            let mut request = octets(case.request);
            request.extend_from_slice(GET.as_bytes());
            client.send(request).await;
            client.response().await;
            assert!(client.closes().await, "{}", case.name);
            assert!(world.connects().is_empty(), "{}", case.name);
        });
    }
}

#[test]
fn the_table_meets_its_fate_octet_by_octet() {
    for case in TABLE.iter().filter(|case| matches!(case.fate, Fate::Refused(_))) {
        let world = world();
        world.run(async {
            let mut client = world.client();
            for octet in octets(case.request) {
                client.send([octet]).await;
                world.sleep(Duration::from_millis(1)).await;
            }
            let Fate::Refused(status) = case.fate else { unreachable!("filtered") };
            assert_eq!(client.response().await.status(), status, "{}", case.name);
            assert!(world.connects().is_empty(), "{}", case.name);
        });
    }
}

#[test]
fn every_broken_chunk_of_the_table_is_400_and_never_a_whole_request() {
    for (name, chunks) in CHUNKS {
        let world = World::new(1).config(PLAIN);
        world.origin("10.0.0.1:80", move |mut peer| async move {
            if let Some(request) = peer.request().await {
                assert!(!request.complete, "{name} looked complete");
            }
        });
        world.run(async {
            let mut client = world.client();
            client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
            world.sleep(Duration::from_millis(1)).await;
            client.send(format!("{chunks}{GET}")).await;
            let response = client.response().await;
            assert_eq!((response.status(), response.field("connection")), (400, Some("close")), "{name}");
            assert!(client.closes().await, "{name}");
            world.sleep(Duration::from_millis(10)).await;
            assert_eq!(world.log().await.len(), 1, "{name}");
        });
    }
}

#[test]
fn every_broken_chunk_that_comes_with_its_head_is_400_too() {
    for (name, chunks) in CHUNKS {
        let world = world();
        world.run(async {
            let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            assert_eq!(world.ask(format!("{head}{chunks}{GET}")).await.status(), 400, "{name}");
            assert!(world.requests().is_empty(), "{name}");
        });
    }
}

#[test]
fn the_names_of_the_table_are_unique() {
    let mut names: Vec<_> = TABLE.iter().map(|case| case.name).chain(CHUNKS.iter().map(|(name, _)| *name)).collect();
    names.sort_unstable();
    names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
}
