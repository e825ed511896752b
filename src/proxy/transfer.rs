//! A message on its way, polled beside whatever else is waited for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::body::{BodyError, Progress, Relay};
use super::net::Net;

/// A message on its way: its head and what had arrived of its body, in one write, then the rest. Most messages are one
/// write, and need no future for it.
pub(super) struct Transfer<'t, N: Net, F> {
    relay: &'t Relay<'t, N>,
    progress: &'t Progress,
    /// [`Relay::rest`]; none where the first write is all.
    rest: Pin<&'t mut Option<F>>,
    stage: Stage,
}

/// ```text
/// First ──▶ Rest ──▶ Sent
///   │        │
///   └────────┴──▶ Failed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    First,
    Rest,
    Sent,
    Failed,
}

impl<'t, N: Net, F: Future<Output = Result<(), BodyError>>> Transfer<'t, N, F> {
    /// A transfer whose first write was begun.
    pub fn new(relay: &'t Relay<'t, N>, progress: &'t Progress, rest: Pin<&'t mut Option<F>>) -> Self {
        Self { relay, progress, rest, stage: Stage::First }
    }

    /// Whether it has ended, one way or the other.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Sent | Stage::Failed)
    }

    /// Whether it ended with the whole message.
    pub fn was_sent(&self) -> bool {
        self.stage == Stage::Sent
    }

    /// Its outcome, once; pending before and after.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.stage == Stage::First {
            let outcome = ready!(self.relay.poll_begun(cx, self.progress));
            if outcome.is_err() || self.rest.is_none() {
                return Poll::Ready(self.end(outcome.map_err(BodyError::Sink)));
            }
            self.stage = Stage::Rest;
        }
        match (self.stage, self.rest.as_mut().as_pin_mut()) {
            (Stage::Rest, Some(rest)) => rest.poll(cx).map(|outcome| self.end(outcome)),
            _ => Poll::Pending,
        }
    }

    fn end(&mut self, outcome: Result<(), BodyError>) -> Result<(), BodyError> {
        self.stage = if outcome.is_ok() { Stage::Sent } else { Stage::Failed };
        outcome
    }
}
