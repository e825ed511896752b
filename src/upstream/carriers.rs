//! The connections of one shard to one endpoint that carry many requests at once.
//!
//! The first that has room takes the next request, so that the others empty and age away when load falls. While one is
//! being opened, requests wait for it rather than open their own, as many as it will carry.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A connection that carries many requests at once.
pub trait Carrier: std::fmt::Debug {
    /// Why it could not be opened.
    type Failure: Copy;

    /// How many requests it takes now beside those under way.
    fn room(&self) -> u32;

    /// Whether it refused a request a moment ago, so that who tries again looks elsewhere first.
    fn has_refused(&self) -> bool;

    /// Whether it would take more if its endpoint allowed any at all.
    fn is_stopped(&self) -> bool;

    /// Whether no request is under way.
    fn is_idle(&self) -> bool;

    /// Has it take no further request, and end with those under way.
    fn retire(&self);

    /// Has whoever drives it look at it anew.
    fn wake(&self);
}

/// No such connection: for what is never shared.
#[derive(Debug)]
pub enum Never {}

impl Carrier for Never {
    type Failure = ();

    fn room(&self) -> u32 {
        match *self {}
    }

    fn has_refused(&self) -> bool {
        match *self {}
    }

    fn is_stopped(&self) -> bool {
        match *self {}
    }

    fn is_idle(&self) -> bool {
        match *self {}
    }

    fn retire(&self) {
        match *self {}
    }

    fn wake(&self) {
        match *self {}
    }
}

/// The connections to one endpoint that carry many requests.
pub struct Carriers<K: Carrier> {
    /// The oldest first.
    open: RefCell<Vec<Rc<K>>>,
    opening: RefCell<VecDeque<Rc<Outcome<K::Failure>>>>,
    /// What the endpoint has chosen to speak, where the choice is its.
    shares: Cell<Option<bool>>,
}

/// What becomes of a connection that is being opened.
struct Outcome<F> {
    result: Cell<Option<Result<(), F>>>,
    waiting: Cell<u32>,
    wakers: RefCell<Vec<Waker>>,
}

/// A connection that is being opened; one that is dropped before its end fails.
pub struct Opening<K: Carrier> {
    carriers: Rc<Carriers<K>>,
    outcome: Rc<Outcome<K::Failure>>,
    otherwise: K::Failure,
}

/// Waits for a connection that somebody else is opening; when it was opened, is to be looked for.
pub struct Joined<F>(Rc<Outcome<F>>);

/// Where a request may go.
pub enum Place<K: Carrier> {
    Room(Rc<K>),
    Opening(Joined<K::Failure>),
    /// Nothing has room: one is to be opened, if there may be one more.
    None,
    /// The endpoint takes no requests for the moment, on the connections that there are.
    Stopped,
}

impl<K: Carrier> Default for Carriers<K> {
    fn default() -> Self {
        Self { open: RefCell::default(), opening: RefCell::default(), shares: Cell::new(None) }
    }
}

impl<K: Carrier> Carriers<K> {
    /// Where the next request may go; `again` after another attempt failed. One that is being opened will carry
    /// `streams`.
    pub fn find(&self, again: bool, streams: u32) -> Place<K> {
        let open = self.open.borrow();
        let fits = |carrier: &&Rc<K>| carrier.room() > 0 && !(again && carrier.has_refused());
        if let Some(carrier) = open.iter().find(fits) {
            return Place::Room(Rc::clone(carrier));
        }
        // Whoever opens it takes a place too.
        let opening = self.opening.borrow();
        if let Some(outcome) = opening.iter().find(|outcome| outcome.waiting.get() + 1 < streams) {
            outcome.waiting.set(outcome.waiting.get() + 1);
            return Place::Opening(Joined(Rc::clone(outcome)));
        }
        if open.iter().any(|carrier| carrier.is_stopped()) { Place::Stopped } else { Place::None }
    }

    /// Begins to open one. `otherwise` is why it has failed if nobody says so.
    pub fn opening(self: &Rc<Self>, otherwise: K::Failure) -> Opening<K> {
        let outcome = Rc::new(Outcome { result: Cell::new(None), waiting: Cell::new(0), wakers: RefCell::default() });
        self.opening.borrow_mut().push_back(Rc::clone(&outcome));
        Opening { carriers: Rc::clone(self), outcome, otherwise }
    }

    /// Takes one that was opened.
    pub fn add(&self, carrier: Rc<K>) {
        self.open.borrow_mut().push(carrier);
    }

    /// Forgets one that has ended.
    pub fn remove(&self, carrier: &Rc<K>) {
        self.open.borrow_mut().retain(|other| !Rc::ptr_eq(other, carrier));
    }

    /// Whether the endpoint is known to speak so that requests share connections, or not to.
    pub fn shares(&self) -> Option<bool> {
        self.shares.get()
    }

    /// Takes note of what an endpoint has chosen.
    pub fn learn(&self, shares: bool) {
        self.shares.set(Some(shares));
    }

    /// Those without a request.
    pub fn idle_count(&self) -> usize {
        self.open.borrow().iter().filter(|carrier| carrier.is_idle()).count()
    }

    /// Lets every one end with the requests under way.
    pub fn retire(&self) {
        // A copy, since one may end and be removed.
        let open: Vec<_> = self.open.borrow_mut().drain(..).collect();
        open.iter().for_each(|carrier| carrier.retire());
    }

    /// Has whoever drives one look at it anew.
    pub fn wake(&self) {
        self.open.borrow().iter().for_each(|carrier| carrier.wake());
    }
}

impl<K: Carrier> Opening<K> {
    /// It was opened, or could not be.
    pub fn end(self, result: Result<(), K::Failure>) {
        self.outcome.result.set(Some(result));
    }
}

impl<K: Carrier> Drop for Opening<K> {
    fn drop(&mut self) {
        let result = self.outcome.result.get().unwrap_or(Err(self.otherwise));
        self.outcome.result.set(Some(result));
        self.carriers.opening.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.outcome));
        let wakers = std::mem::take(&mut *self.outcome.wakers.borrow_mut());
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<F: Copy> Future for Joined<F> {
    type Output = Result<(), F>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.0.result.get() {
            return Poll::Ready(result);
        }
        // As bounded as those who wait; each is polled again only when something happens to its exchange.
        let mut wakers = self.0.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<F> Drop for Joined<F> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

impl<K: Carrier> std::fmt::Debug for Carriers<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, opening) = (self.open.borrow().len(), self.opening.borrow().len());
        f.debug_struct("Carriers").field("open", &open).field("opening", &opening).finish()
    }
}

impl<F> std::fmt::Debug for Joined<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joined")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fake {
        room: Cell<u32>,
        refused: bool,
    }

    impl Carrier for Fake {
        type Failure = &'static str;

        fn room(&self) -> u32 {
            self.room.get()
        }

        fn has_refused(&self) -> bool {
            self.refused
        }

        fn is_stopped(&self) -> bool {
            false
        }

        fn is_idle(&self) -> bool {
            true
        }

        fn retire(&self) {
            self.room.set(0);
        }

        fn wake(&self) {}
    }

    fn fake(room: u32, refused: bool) -> Rc<Fake> {
        Rc::new(Fake { room: Cell::new(room), refused })
    }

    fn poll(joined: &mut Joined<&'static str>) -> Poll<Result<(), &'static str>> {
        Pin::new(joined).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_first_that_has_room_takes_the_request() {
        let carriers = Carriers::default();
        let (full, free, other) = (fake(0, false), fake(1, false), fake(9, false));
        [&full, &free, &other].into_iter().for_each(|carrier| carriers.add(Rc::clone(carrier)));
        assert!(matches!(carriers.find(false, 9), Place::Room(found) if Rc::ptr_eq(&found, &free)));
        carriers.remove(&free);
        assert!(matches!(carriers.find(false, 9), Place::Room(found) if Rc::ptr_eq(&found, &other)));
        carriers.retire();
        assert!(matches!(carriers.find(false, 9), Place::None));
    }

    #[test]
    fn who_tries_again_looks_past_what_refused() {
        let carriers = Carriers::default();
        let (refused, other) = (fake(9, true), fake(9, false));
        [&refused, &other].into_iter().for_each(|carrier| carriers.add(Rc::clone(carrier)));
        assert!(matches!(carriers.find(true, 9), Place::Room(found) if Rc::ptr_eq(&found, &other)));
        assert!(matches!(carriers.find(false, 9), Place::Room(found) if Rc::ptr_eq(&found, &refused)));
    }

    #[test]
    fn as_many_wait_for_one_that_is_being_opened_as_it_will_carry() {
        let carriers: Rc<Carriers<Fake>> = Rc::default();
        let opening = carriers.opening("dropped");
        let Place::Opening(mut joined) = carriers.find(false, 2) else { panic!("it is being opened") };
        assert!(matches!(carriers.find(false, 2), Place::None), "the second place is taken");
        assert!(poll(&mut joined).is_pending());
        opening.end(Err("refused"));
        assert_eq!(poll(&mut joined), Poll::Ready(Err("refused")));
        assert!(matches!(carriers.find(false, 2), Place::None));
    }

    #[test]
    fn one_that_nobody_opens_any_more_has_failed() {
        let carriers: Rc<Carriers<Fake>> = Rc::default();
        let opening = carriers.opening("dropped");
        let Place::Opening(mut joined) = carriers.find(false, 2) else { panic!("it is being opened") };
        drop(opening);
        assert_eq!(poll(&mut joined), Poll::Ready(Err("dropped")));
    }
}
