//! What the tasks of the control side have in common: the snapshot in force, the last reload, the phase of life.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Fleet;
use super::outcome::Outcome;
use crate::base::Timestamp;
use crate::observe::Registry;
use crate::snapshot::Snapshot;

/// The phases of a process, in their order; it never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Starting,
    Ready,
    Draining,
}

pub(super) struct Shared {
    pub fleet: Fleet,
    pub registry: Arc<Registry>,
    pub started: Timestamp,
    phase: AtomicU8,
    current: Mutex<Arc<Snapshot>>,
    last_reload: Mutex<Option<Arc<Outcome>>>,
    admin: Mutex<Option<String>>,
}

impl Shared {
    pub fn new(fleet: Fleet, registry: Arc<Registry>, first: Arc<Snapshot>) -> Self {
        let started = (fleet.now)();
        Self {
            fleet,
            registry,
            started,
            phase: AtomicU8::new(Phase::Starting as u8),
            current: Mutex::new(first),
            last_reload: Mutex::default(),
            admin: Mutex::default(),
        }
    }

    /// The snapshot in force. Keep it no longer than a moment: an old one is freed when nobody holds it.
    pub fn current(&self) -> Arc<Snapshot> {
        lock(&self.current).clone()
    }

    /// Puts another snapshot in force and gives back the one before.
    pub fn replace(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        std::mem::replace(&mut *lock(&self.current), snapshot)
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Goes on to `phase`, never back; whether that was a change.
    pub fn enter(&self, phase: Phase) -> bool {
        let before = self.phase.fetch_max(phase as u8, Relaxed);
        self.registry.control().ready.set(u64::from(self.phase() == Phase::Ready));
        before < phase as u8
    }

    pub fn last_reload(&self) -> Option<Arc<Outcome>> {
        lock(&self.last_reload).clone()
    }

    pub fn set_last_reload(&self, outcome: Arc<Outcome>) {
        *lock(&self.last_reload) = Some(outcome);
    }

    /// Where the admin API listens, if it does.
    pub fn admin(&self) -> Option<String> {
        lock(&self.admin).clone()
    }

    pub fn set_admin(&self, address: String) {
        *lock(&self.admin) = Some(address);
    }
}

/// Nothing is left half-done under these locks, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
