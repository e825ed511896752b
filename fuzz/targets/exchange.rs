//! Whole exchanges in the simulated world: whatever a client and an origin send, nothing panics, nothing hangs, and
//! what reaches the origin is a sequence of requests that our own strict parser accepts.
//!
//! An input is two octets that choose the wires, what the client sends, [`SEPARATOR`], and what the origin answers.

#![no_main]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegate::http::h1::HeadScanner;
use tidegate::http::{Method, ResponseHead};
use tidegate_fuzz::{LIMITS, assert_requests, choice};

#[path = "../../tests/sim/world/mod.rs"]
mod world;

use world::{PLAIN, Wire, World, find};

/// Between what the client and what the origin sends.
const SEPARATOR: &[u8] = b"\n====\n";
fuzz_target!(|input: &[u8]| {
    let (first, input) = choice(input);
    let (second, input) = choice(input);
    let at = find(input, SEPARATOR);
    let request = &input[..at.unwrap_or(input.len())];
    let response = at.map_or(&b"HTTP/1.1 204 No Content\r\n\r\n"[..], |at| &input[at + SEPARATOR.len()..]);
    let (received, answered) = exchange(first, second, request, response);
    for bytes in &received {
        assert_requests(bytes);
    }
    assert_response(&answered);
});

fn wire(choice: u8) -> Wire {
    let pieces = [0, 1, 3, 17][usize::from(choice & 3)];
    let room = if choice & 4 == 0 { 256 * 1024 } else { 64 };
    Wire { latency: Duration::from_millis(u64::from(choice >> 3 & 1)), room, pieces, sips: 0 }
}

/// What the origin received, by connection, and what the client received.
fn exchange(first: u8, second: u8, request: &[u8], response: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let world = World::new(u64::from(first) << 8 | u64::from(second)).config(PLAIN);
    world.client_wire(wire(first));
    let received = Rc::new(RefCell::new(Vec::new()));
    let (seen, response): (_, Rc<[u8]>) = (received.clone(), response.into());
    let closes = second & 0x80 == 0;
    let origin = world.origin("10.0.0.1:80", move |mut peer| {
        let (seen, response) = (seen.clone(), response.clone());
        async move {
            let mut all = peer.read_some(usize::MAX).await.unwrap_or_default();
            if !all.is_empty() {
                peer.send(&response).await;
                if closes {
                    peer.finish();
                }
            }
            all.extend(peer.rest().await.0);
            seen.borrow_mut().push(all);
        }
    });
    origin.wire(wire(second));
    let request = request.to_vec();
    let script = world.clone();
    let answered = world.run(async move {
        let mut client = script.client();
        client.send(&request).await;
        if first & 0x80 == 0 {
            client.finish();
        }
        let answered = client.rest().await.0;
        drop(client);
        // Pooled connections end by age; the origin sees everything to the end.
        script.sleep(Duration::from_secs(600)).await;
        answered
    });
    (received.take(), answered)
}

/// Panics unless the client's octets begin with a response head.
fn assert_response(bytes: &[u8]) {
    let outcome = HeadScanner::default().response(bytes, &mut ResponseHead::default(), Method::Head, &LIMITS);
    assert!(outcome.is_ok(), "the client got {outcome:?}: {:?}", String::from_utf8_lossy(bytes));
}
