//! The stage of a live test: the gateway, its clients and its origins. Every process ends with its owner, every wait ends.

pub mod client;
pub mod gateway;
pub mod haproxy;
pub mod nginx;
pub mod origin;
pub mod process;

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use client::{Client, Response};
pub use gateway::Gateway;
pub use haproxy::Haproxy;
pub use nginx::Nginx;
pub use origin::Origin;
pub use process::{curl, run};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `done` holds; fails with `what` if it never does.
pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(holds_within(PATIENCE, done), "not within {PATIENCE:?}: {what}");
}

/// Whether `done` holds before `time` is over.
pub fn holds_within(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        sleep(LOOK);
    }
    true
}

/// A number from the environment, or the default.
pub fn figure(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// A configuration with one listener that forwards everything to these endpoints.
pub fn forwarding(endpoints: &[&str]) -> String {
    forwarding_with(endpoints, "")
}

/// The same, with more of the top level.
pub fn forwarding_with(endpoints: &[&str], more: &str) -> String {
    let endpoints = endpoints.iter().map(|endpoint| format!("{endpoint:?}")).collect::<Vec<_>>().join(", ");
    format!(
        "listeners:\n  public: {{ bind: \"127.0.0.1:0\" }}\nupstreams:\n  origin: {{ endpoints: [{endpoints}], \
         mark_down: {{ failures: 1, for: 1s }} }}\nroutes:\n  - {{ name: all, match: {{ path: \"/{{*rest}}\" }}, to: \
         origin, upgrade: websocket }}\n{ADMIN}{more}"
    )
}

/// An admin API on a port of the kernel's choice, and no access log on the terminal.
pub const ADMIN: &str = "admin: \"127.0.0.1:0\"\n";

/// A file that holds `bytes`.
pub fn file(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

/// Octets that look like nothing in particular, always the same ones.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
