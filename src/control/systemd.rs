//! What systemd wants to know and what it gives: readiness, the watchdog, and sockets that it opened for us.
//!
//! Outside of systemd nothing here does anything.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::Fleet;
use super::shared::Shared;

/// The descriptors of sockets that were opened for this process, as numbers; to be owned once.
pub fn activated() -> io::Result<Vec<RawFd>> {
    Ok(sd_notify::listen_fds()?.collect())
}

pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// To be followed by [`ready`].
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Best effort: without systemd there is nobody to tell.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// Tells the watchdog that we live, for as long as the loop of every shard turns.
pub(super) async fn watch(shared: Arc<Shared>) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut seen = Beats::new(&shared.fleet);
    let mut interval = tokio::time::interval((patience / 3).max(Duration::from_millis(100)));
    interval.tick().await;
    loop {
        interval.tick().await;
        if seen.all_moved(&shared.fleet) {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// How often the loop of each shard had turned when it was last seen.
struct Beats(Vec<u64>);

impl Beats {
    fn new(fleet: &Fleet) -> Self {
        Self(read(fleet))
    }

    fn all_moved(&mut self, fleet: &Fleet) -> bool {
        let now = read(fleet);
        let moved = all_differ(&self.0, &now);
        self.0 = now;
        moved
    }
}

fn read(fleet: &Fleet) -> Vec<u64> {
    fleet.beats.iter().map(|beat| beat()).collect()
}

fn all_differ(before: &[u64], now: &[u64]) -> bool {
    before.iter().zip(now).all(|(before, now)| before != now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_that_stands_still_silences_the_watchdog() {
        assert!(all_differ(&[1, 7], &[2, 8]));
        assert!(!all_differ(&[1, 7], &[2, 7]));
    }
}
