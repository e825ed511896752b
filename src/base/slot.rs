//! A place for one future after another of the same kind, without an allocation for each.
//!
//! The futures of an exchange or of a read are made by one function but have no nameable type. A slot boxes the
//! place once, behind a small trait, and restarts it in place. A running future belongs to its slot, not to who
//! polls it: whoever stops polling drops nothing, which is what completion-based IO needs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs the futures of one maker function, one at a time, in one allocation.
pub struct Slot<A, O> {
    place: Pin<Box<dyn Restart<A, O>>>,
}

impl<A: 'static, O: 'static> Slot<A, O> {
    /// A slot for the futures that `make` returns.
    pub fn new<M, F>(make: M) -> Self
    where
        M: Fn(A) -> F + 'static,
        F: Future<Output = O> + 'static,
    {
        Self { place: Box::pin(Place { make, future: None }) }
    }

    /// Starts the next future. The one before must have ended.
    #[inline]
    pub fn start(&mut self, argument: A) {
        self.place.as_mut().start(argument);
    }

    /// Polls the running future; pending when none was started.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<O> {
        self.place.as_mut().poll(cx)
    }

    /// Drops the running future, if any. Never for a future whose IO must be finished.
    pub fn abandon(&mut self) {
        self.place.as_mut().abandon();
    }
}

trait Restart<A, O> {
    fn start(self: Pin<&mut Self>, argument: A);
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O>;
    fn abandon(self: Pin<&mut Self>);
}

pin_project_lite::pin_project! {
    struct Place<M, F> {
        make: M,
        #[pin]
        future: Option<F>,
    }
}

impl<A, O, M: Fn(A) -> F, F: Future<Output = O>> Restart<A, O> for Place<M, F> {
    fn start(self: Pin<&mut Self>, argument: A) {
        let mut this = self.project();
        debug_assert!(this.future.is_none(), "a slot runs one future at a time");
        let future = (this.make)(argument);
        this.future.set(Some(future));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let outcome = future.poll(cx);
        if outcome.is_ready() {
            this.future.set(None);
        }
        outcome
    }

    fn abandon(self: Pin<&mut Self>) {
        self.project().future.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_slot_runs_one_future_after_another() {
        let mut slot = Slot::new(|n: u32| async move { n + 1 });
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(slot.poll(&mut cx), Poll::Pending, "nothing was started");
        slot.start(1);
        assert_eq!(slot.poll(&mut cx), Poll::Ready(2));
        slot.start(2);
        assert_eq!(slot.poll(&mut cx), Poll::Ready(3));
        assert_eq!(slot.poll(&mut cx), Poll::Pending, "it has ended");
    }
}
