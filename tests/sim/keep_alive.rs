//! Connections that bring more than one request.

use std::time::Duration;

use crate::world::{PLAIN, World};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn requests_on_one_connection_are_answered_one_after_another() {
    let world = World::new(1).config(PLAIN);
    let origin = world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        for _ in 0..3 {
            client.send(GET).await;
            assert_eq!(client.response().await.text(), "ok");
        }
        assert_eq!(origin.accepted(), 1);
    });
}
