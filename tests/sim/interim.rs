//! Interim responses (RFC 9110, section 15.2).

use crate::world::{PLAIN, World};
use crate::{GET, OK};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

#[test]
fn interim_responses_are_relayed_in_their_order() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", format!("{HINTS}HTTP/1.1 102 Processing\r\n\r\n{OK}"));
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        let hints = client.response().await;
        assert_eq!((hints.status(), hints.field("link")), (103, Some("</a.css>; rel=preload")));
        assert_eq!(client.response().await.status(), 102);
        assert_eq!(client.response().await.text(), "ok");
        let line = world.line().await;
        assert_eq!((line.number("status"), line.reason()), (200, "ok".into()));
    });
}

#[test]
fn sixteen_interim_responses_are_relayed_and_one_more_is_an_attack() {
    for (count, expected) in [(16, 200), (17, 502)] {
        let world = World::new(1).config(PLAIN);
        world.answers("10.0.0.1:80", format!("{}{OK}", HINTS.repeat(count)));
        world.run(async {
            let mut client = world.client();
            client.send(GET).await;
            for _ in 0..16 {
                assert_eq!(client.response().await.status(), 103);
            }
            assert_eq!(client.response().await.status(), expected);
        });
    }
}

#[test]
fn an_http10_client_is_never_sent_an_interim_response() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", format!("{HINTS}{OK}"));
    world.run(async {
        assert_eq!(world.ask("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await.status(), 200);
    });
}

#[test]
fn a_100_that_nobody_asked_for_is_swallowed() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"));
    world.run(async { assert_eq!(world.ask(GET).await.status(), 200) });
}

#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("upstream-malformed", "unasked-101"));
    });
}
