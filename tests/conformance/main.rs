//! A function per requirement of RFC 9112, RFC 9113 and RFC 9110, driven through a whole shard in the simulated world.

#[path = "../sim/world/mod.rs"]
mod world;

mod documented;
mod rfc9110;
mod rfc9112;
mod rfc9113;
mod smuggling;
mod table;

/// The plainest request.
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
/// The plainest answer.
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

use world::{Message, PLAIN, World};

/// What a client gets for these octets, when the origin answers `OK`.
fn answered(request: &str) -> Message {
    exchange(request, OK).0
}

/// The status a client gets for these octets.
fn status(request: &str) -> u16 {
    answered(request).status()
}

/// What the origin gets for these octets.
fn forwarded(request: &str) -> Message {
    exchange(request, OK).1.expect("the request should be forwarded")
}

/// What the client gets when the origin answers with these octets.
fn relayed(response: &str) -> Message {
    exchange(GET, response).0
}

fn exchange(request: &str, response: &str) -> (Message, Option<Message>) {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", response);
    world.run(async {
        let answer = world.ask(request).await;
        (answer, world.requests().pop())
    })
}
