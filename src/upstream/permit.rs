//! How many connections one shard may have open to one endpoint, and the line of those who wait for one.
//!
//! A permit lives inside its connection and ends with it. Whoever finds neither an idle connection nor a permit waits
//! in line; what becomes free is handed to the first in line directly, so that nobody overtakes. Waiting ends when the
//! caller stops it: the deadline is the caller's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The connections one shard has open to one endpoint, idle and in use, and who waits for one.
pub struct Permits<C> {
    line: Rc<RefCell<Line<C>>>,
}

/// The right to have one connection open; dropping it passes the right on.
pub struct Permit<C> {
    line: Rc<RefCell<Line<C>>>,
}

/// What the first in line receives.
pub enum Turn<C> {
    /// A connection that somebody else just finished with. It was not parked since, so nobody watched whether it ended.
    Reuse(C),
    /// Leave to open a fresh one.
    Open(Permit<C>),
}

/// A place in line; dropping it leaves the line.
pub struct Waiting<C> {
    line: Rc<RefCell<Line<C>>>,
    ticket: u64,
}

struct Line<C> {
    open: u32,
    open_max: u32,
    waiters_max: u32,
    next_ticket: u64,
    /// By rising ticket: the first came first.
    waiters: VecDeque<Waiter>,
    /// What was handed out and not yet picked up; as bounded as the waiters, from whom these came.
    grants: Vec<(u64, Grant<C>)>,
    waited: u64,
    refused: u64,
}

struct Waiter {
    ticket: u64,
    waker: Option<Waker>,
}

enum Grant<C> {
    Reuse(C),
    /// Counted as open already.
    Open,
}

impl<C> Permits<C> {
    /// At most `open_max` permits at a time, and at most `waiters_max` who wait for one.
    pub fn new(open_max: u32, waiters_max: u32) -> Self {
        Self {
            line: Rc::new(RefCell::new(Line {
                open: 0,
                open_max,
                waiters_max,
                next_ticket: 0,
                waiters: VecDeque::new(),
                grants: Vec::new(),
                waited: 0,
                refused: 0,
            })),
        }
    }

    /// A permit, if one is free.
    pub fn open(&self) -> Option<Permit<C>> {
        self.line.borrow_mut().open().then(|| Permit { line: Rc::clone(&self.line) })
    }

    /// A place in line, if the line has room.
    pub fn wait(&self) -> Option<Waiting<C>> {
        let ticket = self.line.borrow_mut().join()?;
        Some(Waiting { line: Rc::clone(&self.line), ticket })
    }

    /// Hands a connection to the first in line; gives it back when nobody waits.
    pub fn offer(&self, connection: C) -> Option<C> {
        let mut line = self.line.borrow_mut();
        if line.waiters.is_empty() {
            return Some(connection);
        }
        let waker = line.grant(Grant::Reuse(connection));
        drop(line);
        wake(waker);
        None
    }

    /// Adopts new bounds. A lower one closes nothing: it holds for what comes.
    pub fn set_bounds(&self, open_max: u32, waiters_max: u32) {
        {
            let mut line = self.line.borrow_mut();
            line.open_max = open_max;
            line.waiters_max = waiters_max;
        }
        loop {
            // Not in the loop's head, where the borrow would last until after the wake.
            let granted = self.line.borrow_mut().grant_open();
            let Some(waker) = granted else { return };
            wake(waker);
        }
    }

    /// Connections open, or about to be opened by who was given leave.
    pub fn open_count(&self) -> u32 {
        self.line.borrow().open
    }

    /// How many wait in line.
    pub fn waiting_count(&self) -> usize {
        self.line.borrow().waiters.len()
    }

    /// How many ever waited in line.
    pub fn waited(&self) -> u64 {
        self.line.borrow().waited
    }

    /// How many were turned away because the line was full.
    pub fn refused(&self) -> u64 {
        self.line.borrow().refused
    }
}

impl<C> Drop for Permit<C> {
    fn drop(&mut self) {
        let waker = {
            let mut line = self.line.borrow_mut();
            debug_assert!(line.open > 0, "every permit was counted when it was given");
            line.open -= 1;
            line.grant_open()
        };
        wake(waker.flatten());
    }
}

impl<C> Future for Waiting<C> {
    type Output = Turn<C>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn<C>> {
        let grant = self.line.borrow_mut().collect(self.ticket, cx.waker());
        grant.map(|grant| match grant {
            Grant::Reuse(connection) => Turn::Reuse(connection),
            Grant::Open => Turn::Open(Permit { line: Rc::clone(&self.line) }),
        })
    }
}

impl<C> Drop for Waiting<C> {
    fn drop(&mut self) {
        let grant = self.line.borrow_mut().leave(self.ticket);
        // Dropped outside the borrow: both pass the permit on to who is next.
        match grant {
            Some(Grant::Open) => drop(Permit { line: Rc::clone(&self.line) }),
            Some(Grant::Reuse(connection)) => drop(connection),
            None => {}
        }
    }
}

impl<C> Line<C> {
    fn open(&mut self) -> bool {
        // Who waits comes first, also when a bound was raised under them.
        let free = self.open < self.open_max && self.waiters.is_empty();
        self.open += u32::from(free);
        free
    }

    fn join(&mut self) -> Option<u64> {
        if self.waiters.len() >= self.waiters_max as usize {
            self.refused += 1;
            return None;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waited += 1;
        self.waiters.push_back(Waiter { ticket, waker: None });
        Some(ticket)
    }

    /// Gives leave to open to the first in line, if there is one and the bound allows.
    fn grant_open(&mut self) -> Option<Option<Waker>> {
        if self.open >= self.open_max || self.waiters.is_empty() {
            return None;
        }
        self.open += 1;
        Some(self.grant(Grant::Open))
    }

    /// Hands `grant` to the first in line: the caller made sure there is one.
    fn grant(&mut self, grant: Grant<C>) -> Option<Waker> {
        let first = self.waiters.pop_front()?;
        self.grants.push((first.ticket, grant));
        first.waker
    }

    fn collect(&mut self, ticket: u64, waker: &Waker) -> Poll<Grant<C>> {
        if let Some(grant) = self.pick_up(ticket) {
            return Poll::Ready(grant);
        }
        if let Ok(at) = self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
            match &mut self.waiters[at].waker {
                Some(mine) => mine.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        Poll::Pending
    }

    fn leave(&mut self, ticket: u64) -> Option<Grant<C>> {
        if let Ok(at) = self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
            self.waiters.remove(at);
        }
        self.pick_up(ticket)
    }

    fn pick_up(&mut self, ticket: u64) -> Option<Grant<C>> {
        let at = self.grants.iter().position(|(owner, _)| *owner == ticket)?;
        Some(self.grants.swap_remove(at).1)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<C> std::fmt::Debug for Permits<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.line.borrow();
        f.debug_struct("Permits").field("open", &line.open).field("waiting", &line.waiters.len()).finish()
    }
}

impl<C> std::fmt::Debug for Permit<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

impl<C> std::fmt::Debug for Waiting<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn poll<C>(waiting: &mut Waiting<C>) -> Poll<Turn<C>> {
        Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn is_open<C>(poll: &Poll<Turn<C>>) -> bool {
        matches!(poll, Poll::Ready(Turn::Open(_)))
    }

    #[test]
    fn permits_are_given_up_to_the_bound() {
        let permits = Permits::<()>::new(2, 0);
        let (first, second) = (permits.open(), permits.open());
        assert!(first.is_some() && second.is_some());
        assert!(permits.open().is_none());
        drop(first);
        assert!(permits.open().is_some());
    }

    #[test]
    fn a_returned_permit_goes_to_the_first_in_line() {
        let permits = Permits::<()>::new(1, 2);
        let held = permits.open();
        let mut first = permits.wait().unwrap();
        let mut second = permits.wait().unwrap();
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        drop(held);
        assert!(permits.open().is_none(), "a newcomer does not overtake");
        assert!(poll(&mut second).is_pending());
        let granted = poll(&mut first);
        assert!(is_open(&granted));
        drop(granted);
        assert!(is_open(&poll(&mut second)));
        assert_eq!(permits.open_count(), 0);
    }

    #[test]
    fn a_finished_connection_goes_to_the_first_in_line() {
        let permits = Permits::new(1, 2);
        assert_eq!(permits.offer("nobody waits"), Some("nobody waits"));
        let mut first = permits.wait().unwrap();
        assert_eq!(permits.offer("a"), None);
        assert!(matches!(poll(&mut first), Poll::Ready(Turn::Reuse("a"))));
    }

    #[test]
    fn who_leaves_the_line_passes_the_turn_on() {
        let permits = Permits::<()>::new(1, 3);
        let held = permits.open();
        let first = permits.wait().unwrap();
        let second = permits.wait().unwrap();
        let mut third = permits.wait().unwrap();
        drop(second);
        drop(held);
        drop(first);
        assert!(is_open(&poll(&mut third)));
    }

    #[test]
    fn a_full_line_turns_away() {
        let permits = Permits::<()>::new(0, 1);
        let waiting = permits.wait();
        assert!(waiting.is_some() && permits.wait().is_none());
        assert_eq!((permits.waited(), permits.refused()), (1, 1));
    }

    #[test]
    fn a_raised_bound_serves_the_line() {
        let permits = Permits::<()>::new(0, 2);
        let mut first = permits.wait().unwrap();
        permits.set_bounds(1, 2);
        assert!(is_open(&poll(&mut first)));
    }

    #[test]
    fn who_waits_is_woken() {
        struct Flag(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let flag = std::sync::Arc::new(Flag(false.into()));
        let permits = Permits::<()>::new(1, 1);
        let held = permits.open();
        let mut waiting = permits.wait().unwrap();
        let waker = Waker::from(std::sync::Arc::clone(&flag));
        assert!(Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(held);
        assert!(flag.0.load(std::sync::atomic::Ordering::Relaxed));
    }

    /// A connection, which lives as long as its permit.
    struct Held(#[expect(dead_code, reason = "held for its drop")] Permit<Held>);

    #[derive(Clone, Copy, Debug)]
    enum Operation {
        Arrive,
        Poll,
        GiveBack(usize),
        Close(usize),
        Leave(usize),
        Bound(u32),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            6 => Just(Operation::Arrive),
            4 => Just(Operation::Poll),
            3 => (0usize..8).prop_map(Operation::GiveBack),
            3 => (0usize..8).prop_map(Operation::Close),
            2 => (0usize..8).prop_map(Operation::Leave),
            1 => (1u32..6).prop_map(Operation::Bound),
        ]
    }

    #[derive(Default)]
    struct World {
        held: Vec<Held>,
        idle: Vec<Held>,
        /// Those who wait, in the order in which they came.
        waiting: Vec<Waiting<Held>>,
    }

    impl World {
        fn step(&mut self, permits: &Permits<Held>, operation: Operation) {
            match operation {
                Operation::Arrive => match self.idle.pop().or_else(|| permits.open().map(Held)) {
                    Some(connection) => self.held.push(connection),
                    None => self.waiting.extend(permits.wait()),
                },
                Operation::Poll => self.poll(),
                Operation::GiveBack(at) if at < self.held.len() => {
                    let connection = self.held.swap_remove(at);
                    self.idle.extend(permits.offer(connection));
                }
                Operation::Close(at) if at < self.held.len() => drop(self.held.swap_remove(at)),
                Operation::Leave(at) if at < self.waiting.len() => drop(self.waiting.remove(at)),
                Operation::Bound(open_max) => permits.set_bounds(open_max, 4),
                _ => {}
            }
        }

        fn poll(&mut self) {
            let mut waited_before = false;
            let mut turns = Vec::new();
            self.waiting.retain_mut(|waiting| match poll(waiting) {
                Poll::Pending => {
                    waited_before = true;
                    true
                }
                Poll::Ready(turn) => {
                    assert!(!waited_before, "nobody overtakes");
                    turns.push(turn);
                    false
                }
            });
            self.held.extend(turns.into_iter().map(|turn| match turn {
                Turn::Reuse(connection) => connection,
                Turn::Open(permit) => Held(permit),
            }));
        }
    }

    proptest! {
        #[test]
        fn permits_are_neither_lost_nor_made_up(operations in proptest::collection::vec(operation(), 0..200)) {
            let permits = Permits::new(3, 4);
            let mut world = World::default();
            for operation in operations {
                world.step(&permits, operation);
                let (open, open_max) = (permits.open_count(), permits.line.borrow().open_max);
                prop_assert!(permits.waiting_count() <= 4);
                prop_assert!(permits.waiting_count() == 0 || open >= open_max, "nobody waits for what is free");
            }
            world.poll();
            prop_assert_eq!(permits.open_count() as usize, world.held.len() + world.idle.len());
            world.waiting.clear();
            world.held.clear();
            world.idle.clear();
            prop_assert_eq!(permits.open_count(), 0);
        }
    }
}
