//! The deadlines of a shard's connections: one wheel, one small entry per connection, no timer per operation.
//!
//! A read or write whose deadline passed is ended by shutting its socket down, so that it completes by itself and its
//! buffer comes back. A wait for readiness is only woken: it stays armed, and the connection may still be answered.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::Waker;

use crate::base::{TimerId, Timestamp, WHEEL_TICK, Wheel};
use crate::observe::WorkerMetrics;

/// Which directions of a socket to end.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Receiving,
    Sending,
    Both,
}

/// Has the socket's close send a reset instead of an orderly end (SO_LINGER with no time); a Unix socket just closes.
pub(super) fn reset_on_close(fd: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the pointer is to a live structure of the length given; the caller holds the descriptor open.
    unsafe {
        let value = (&raw const linger).cast();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, size_of::<libc::linger>() as libc::socklen_t);
    }
}

/// Ends a direction of a socket at once; a socket that is not connected any more has none left to end.
pub(super) fn shutdown(fd: RawFd, direction: Direction) {
    let how = match direction {
        Direction::Receiving => libc::SHUT_RD,
        Direction::Sending => libc::SHUT_WR,
        Direction::Both => libc::SHUT_RDWR,
    };
    // SAFETY: the call takes no pointers; the caller holds the descriptor open.
    unsafe { libc::shutdown(fd, how) };
}

/// Why an operation ended although the peer did nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Ended {
    pub read_expired: bool,
    pub write_expired: bool,
    pub aborted: bool,
}

/// One connection as the wheel sees it. It leaves the wheel before its descriptor is closed.
struct Watch {
    fd: RawFd,
    /// The end of the wait or read under way, or never.
    read: Timestamp,
    /// The end of the write under way, or never.
    write: Timestamp,
    /// Who is to be woken when a wait has expired. Absent while reading; kept from wait to wait.
    waiter: Option<Waker>,
    waiting: bool,
    ended: Ended,
}

impl Watch {
    /// Ends what has expired by `now` and names the next deadline.
    fn look(&mut self, now: Timestamp, woken: &mut Vec<Waker>, metrics: &WorkerMetrics) -> Option<Timestamp> {
        if self.read <= now {
            self.read = Timestamp::NEVER;
            metrics.deadlines_passed.add(1);
            if self.waiting {
                woken.extend(self.waiter.take());
            } else {
                self.ended.read_expired = true;
                shutdown(self.fd, Direction::Receiving);
            }
        }
        if self.write <= now {
            self.write = Timestamp::NEVER;
            metrics.deadlines_passed.add(1);
            self.ended.write_expired = true;
            shutdown(self.fd, Direction::Both);
        }
        Some(self.read.min(self.write))
    }
}

/// All deadlines of one shard.
pub(super) struct Deadlines {
    wheel: RefCell<Wheel<Watch>>,
    /// When the wheel last turned: the time as far as deadlines are concerned.
    turned: Cell<Timestamp>,
    /// Room for the wakers of one turn.
    woken: RefCell<Vec<Waker>>,
    metrics: Arc<WorkerMetrics>,
}

impl Deadlines {
    pub(super) fn new(now: Timestamp, metrics: Arc<WorkerMetrics>) -> Self {
        let wheel = RefCell::new(Wheel::new(now));
        Self { wheel, turned: Cell::new(now), woken: RefCell::default(), metrics }
    }

    /// Ends and wakes what has expired by `now`.
    pub(super) fn turn(&self, now: Timestamp) {
        self.turned.set(now);
        let mut woken = self.woken.take();
        self.wheel.borrow_mut().advance(now, |watch| watch.look(now, &mut woken, &self.metrics));
        woken.drain(..).for_each(Waker::wake);
        self.woken.replace(woken);
    }

    pub(super) fn add(&self, fd: RawFd) -> TimerId {
        let never = Timestamp::NEVER;
        let watch = Watch { fd, read: never, write: never, waiter: None, waiting: false, ended: Ended::default() };
        self.wheel.borrow_mut().insert(watch)
    }

    pub(super) fn remove(&self, id: TimerId) {
        // Dropped after the wheel is free again: a waker may own a task, and a task connections.
        let watch = self.wheel.borrow_mut().remove(id);
        drop(watch);
    }

    /// Has `waker` woken when `deadline` has passed; says whether it has already.
    #[inline]
    pub(super) fn wait(&self, id: TimerId, deadline: Timestamp, waker: &Waker) -> bool {
        if deadline <= self.turned.get() {
            return true;
        }
        let mut wheel = self.wheel.borrow_mut();
        let mut stale = None;
        if let Some(watch) = wheel.value_mut(id) {
            watch.read = deadline;
            watch.waiting = true;
            if !watch.waiter.as_ref().is_some_and(|waiter| waiter.will_wake(waker)) {
                stale = watch.waiter.replace(waker.clone());
            }
        }
        wheel.arm(id, deadline);
        drop(wheel);
        drop(stale);
        false
    }

    /// Wakes who waits, as if its deadline had passed.
    pub(super) fn wake(&self, id: TimerId) {
        let waiter = self.wheel.borrow_mut().value_mut(id).and_then(|watch| watch.waiter.take());
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Sets the end of the read under way.
    #[inline]
    pub(super) fn reading(&self, id: TimerId, deadline: Timestamp) {
        let mut wheel = self.wheel.borrow_mut();
        if let Some(watch) = wheel.value_mut(id) {
            watch.read = deadline;
            watch.waiting = false;
        }
        wheel.arm(id, deadline);
    }

    /// Sets the end of the write under way.
    #[inline]
    pub(super) fn writing(&self, id: TimerId, deadline: Timestamp) {
        let mut wheel = self.wheel.borrow_mut();
        if let Some(watch) = wheel.value_mut(id) {
            watch.write = deadline;
        }
        wheel.arm(id, deadline);
    }

    /// Counts an operation handed to the driver.
    #[inline]
    pub(super) fn count_operation(&self) {
        self.metrics.operations.increment();
    }

    /// No wait or read is under way any more.
    #[inline]
    pub(super) fn read_done(&self, id: TimerId) {
        if let Some(watch) = self.wheel.borrow_mut().value_mut(id) {
            watch.read = Timestamp::NEVER;
        }
    }

    /// No write is under way any more.
    #[inline]
    pub(super) fn write_done(&self, id: TimerId) {
        if let Some(watch) = self.wheel.borrow_mut().value_mut(id) {
            watch.write = Timestamp::NEVER;
        }
    }

    pub(super) fn aborted(&self, id: TimerId) {
        if let Some(watch) = self.wheel.borrow_mut().value_mut(id) {
            watch.ended.aborted = true;
        }
    }

    pub(super) fn ended(&self, id: TimerId) -> Ended {
        self.wheel.borrow().value(id).map_or_else(Ended::default, |watch| watch.ended)
    }

    /// The time for setting deadlines relative to it: never before the real one, at most a turn ahead unless the
    /// loop lags.
    #[inline]
    pub(super) fn coarse_now(&self) -> Timestamp {
        self.turned.get().plus(WHEEL_TICK)
    }
}
