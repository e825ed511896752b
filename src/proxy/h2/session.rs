//! What the streams of one connection share with the task that drives it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use crate::base::Timestamp;
use crate::http::h2::budget::{Flood, Follower, HEADS_TOO_LARGE, STALLS};

/// One connection's state.
#[derive(Default)]
pub(super) struct Session {
    pub follower: RefCell<Follower>,
    /// Streams that are being served.
    streams: Cell<u32>,
    /// When the last of them ended, or the connection began.
    pub idle_since: Cell<Timestamp>,
    /// When something last came.
    pub received_at: Cell<Timestamp>,
    /// When a write last ended.
    pub sent_at: Cell<Timestamp>,
    /// Whether somebody looks for floods, and ends the connection.
    pub is_driven: Cell<bool>,
    heads_too_large: Cell<u32>,
    stalls: Cell<u32>,
    flood: Cell<Option<Flood>>,
    /// Of the task that drives the connection.
    driver: RefCell<Option<Waker>>,
}

impl Session {
    /// Of a connection to an upstream, opened at `now`.
    pub fn of_upstream(now: Timestamp) -> Self {
        Self {
            follower: RefCell::new(Follower::of_upstream()),
            idle_since: Cell::new(now),
            received_at: Cell::new(now),
            is_driven: Cell::new(true),
            ..Self::default()
        }
    }

    /// Has the task of `cx` woken when something happens here.
    pub fn watch(&self, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }

    pub fn wake(&self) {
        if let Some(driver) = self.driver.borrow().as_ref() {
            driver.wake_by_ref();
        }
    }

    /// Takes what was received at `now`.
    pub fn received(&self, octets: &[u8], now: Timestamp) {
        self.received_at.set(now);
        let mut follower = self.follower.borrow_mut();
        follower.carries(self.streams());
        follower.received(octets, now);
    }

    /// Streams under way.
    pub fn streams(&self) -> u32 {
        self.streams.get()
    }

    pub fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// A stream begins to be served.
    pub fn enter(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    /// A stream is done with.
    pub fn leave(&self, now: Timestamp) {
        self.streams.set(self.streams.get() - 1);
        if self.is_idle() {
            self.idle_since.set(now);
            // Whoever drives the connection waits for another deadline from now on.
            self.wake();
        }
    }

    /// A request was refused for the size of its head.
    pub fn head_too_large(&self) {
        self.heads_too_large.set(self.heads_too_large.get() + 1);
        if self.heads_too_large.get() > HEADS_TOO_LARGE {
            self.flooded(Flood::HeadsTooLarge);
        }
    }

    /// A client took nothing of its answer for the idle time.
    pub fn stalled(&self) {
        self.stalls.set(self.stalls.get() + 1);
        if self.stalls.get() > STALLS {
            self.flooded(Flood::Stalls);
        }
    }

    fn flooded(&self, flood: Flood) {
        self.flood.set(Some(flood));
        self.wake();
    }

    /// What the client has done too often.
    pub fn flood(&self) -> Option<Flood> {
        self.flood.get().or_else(|| self.follower.borrow().flood())
    }

    /// Whether the connection is to be ended for what the client has done on it.
    pub fn is_condemned(&self) -> bool {
        self.flood().is_some() || self.follower.borrow().wrote_after_end()
    }
}
