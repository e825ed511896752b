//! Connections of HTTP/2 in the simulated world: whatever frames a client sends, nothing panics, nothing hangs, every
//! stream ends, and what reaches the origin is a sequence of requests that our own strict parser accepts.
//!
//! An input is an octet that chooses the wire, and what the client sends behind its preface and its settings.

#![no_main]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{assert_requests, choice};

#[path = "../../tests/sim/world/mod.rs"]
mod world;

use world::{Wire, World};

const YAML: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2], h2: { streams: 4 } } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
"#;

const OK: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: u\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let (first, frames) = choice(input);
    for bytes in exchange(first, frames) {
        assert_requests(&bytes);
    }
});

/// What the origin received, by connection.
fn exchange(first: u8, frames: &[u8]) -> Vec<Vec<u8>> {
    let world = World::new(u64::from(first)).config(YAML);
    world.client_wire(Wire { pieces: [0, 1, 3, 17][usize::from(first & 3)], ..Wire::default() });
    let received = Rc::new(RefCell::new(Vec::new()));
    let seen = received.clone();
    world.origin("10.0.0.1:80", move |mut peer| {
        let seen = seen.clone();
        async move {
            let mut all = peer.read_some(usize::MAX).await.unwrap_or_default();
            if !all.is_empty() {
                peer.send(OK).await;
            }
            all.extend(peer.rest().await.0);
            seen.borrow_mut().push(all);
        }
    });
    let frames = frames.to_vec();
    let script = world.clone();
    world.run(async move {
        let mut client = script.frames().await;
        client.peer.send(&frames).await;
        if first & 4 == 0 {
            client.peer.finish();
        }
        while client.next().await.is_some() {}
        drop(client);
        // Pooled connections end by age; the origin sees everything to the end.
        script.sleep(Duration::from_secs(600)).await;
        assert_eq!(script.metric("tidegate_http2_streams_open"), 0, "every stream ends");
        assert_eq!(script.open_connections(), 0, "every connection ends");
    });
    received.take()
}
