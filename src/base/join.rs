//! Two futures in one task.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Runs both to their ends, or until one fails; the other is dropped then.
pub async fn try_join<E>(
    a: impl Future<Output = Result<(), E>>,
    b: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut ended_a, mut ended_b) = (false, false);
    poll_fn(|cx| {
        if !ended_a && let Poll::Ready(outcome) = a.as_mut().poll(cx) {
            outcome?;
            ended_a = true;
        }
        if !ended_b && let Poll::Ready(outcome) = b.as_mut().poll(cx) {
            outcome?;
            ended_b = true;
        }
        if ended_a && ended_b { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}
