//! A deadline that is raced with a poll of the library: it never touches the socket.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::base::Timestamp;
use crate::proxy::net::Net;
use crate::proxy::shard::Shard;

/// Sleeps only where there is something to wait for, and no oftener than a deadline comes nearer.
pub(super) struct Alarm<N: Net> {
    shard: Rc<Shard<N>>,
    at: Timestamp,
    sleep: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl<N: Net> Alarm<N> {
    pub fn new(shard: &Rc<Shard<N>>) -> Self {
        Self { shard: Rc::clone(shard), at: Timestamp::NEVER, sleep: None }
    }

    /// Ready once it is `deadline`, which may be another at every call.
    pub fn poll(&mut self, deadline: Timestamp, cx: &mut Context<'_>) -> Poll<()> {
        if deadline == Timestamp::NEVER {
            return Poll::Pending;
        }
        loop {
            match &mut self.sleep {
                // One that comes too early is looked at again when it rings.
                Some(sleep) if self.at <= deadline => {
                    ready!(sleep.as_mut().poll(cx));
                    self.sleep = None;
                }
                _ => {
                    if self.shard.net.now() >= deadline {
                        return Poll::Ready(());
                    }
                    let shard = Rc::clone(&self.shard);
                    self.at = deadline;
                    self.sleep = Some(Box::pin(async move { shard.net.sleep(deadline).await }));
                }
            }
        }
    }
}
