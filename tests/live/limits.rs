//! Slow, idle and many clients.

use std::time::{Duration, Instant};

use crate::stage::{Gateway, Origin, figure, forwarding, forwarding_with};

/// Held before the count begins, so that pools and tables have their size.
const CONNECTIONS_BEFORE: usize = 200;
/// A debug build takes 950 to 1,040. The goal of 1 KiB is for release builds, and met by far: `benches/peers` measures it.
const BYTES_PER_CONNECTION_MAX: u64 = 1280;

#[test]
fn a_head_that_arrives_one_octet_at_a_time_is_refused_in_time() {
    let origin = Origin::start();
    let config = forwarding_with(&[&origin.address], "gateway: { timeouts: { head: 1s } }\n");
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    let begin = Instant::now();
    client.set_patience(Duration::from_millis(300));
    let mut octets = b"GET / HTTP/1.1\r\nhost: live.test\r\n".iter();
    let answer = loop {
        client.send(&[*octets.next().expect("the gateway waits for ever")]);
        if let Ok(answer) = client.response() {
            break answer;
        }
    };
    assert_eq!(answer.status, 408);
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert!(client.ends());
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    let origin = Origin::start();
    let config = forwarding_with(&[&origin.address], "gateway: { timeouts: { keep_alive: 500ms } }\n");
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    assert_eq!(client.get("/").status, 200);
    assert!(client.ends(), "nothing precedes the end");
}

#[test]
fn an_idle_connection_costs_next_to_nothing() {
    let origin = Origin::start();
    let gateway = Gateway::start(&forwarding(&[&origin.address]));
    let idle = |count: usize| {
        let connect = |_| {
            let mut client = gateway.client();
            assert_eq!(client.get("/").status, 200);
            client
        };
        (0..count).map(connect).collect::<Vec<_>>()
    };
    let held = idle(CONNECTIONS_BEFORE);
    let before = gateway.memory_kib("RssAnon");
    let count = figure("TIDEGATE_LIVE_IDLE", 1_000);
    let mut clients = idle(count as usize);
    let bytes = gateway.memory_kib("RssAnon").saturating_sub(before) * 1024 / count;
    println!("{bytes} bytes of memory for each of {count} idle connections");
    assert!(bytes <= BYTES_PER_CONNECTION_MAX, "{bytes} bytes for each idle connection");
    assert!(clients[0].is_open() && clients[count as usize - 1].is_open());
    assert_eq!(gateway.status()["connections_open"], held.len() + clients.len());
}
