//! Two futures in one task.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Runs both to their ends.
pub async fn join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut ended_a, mut ended_b) = (None, None);
    poll_fn(|cx| {
        if ended_a.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            ended_a = Some(output);
        }
        if ended_b.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            ended_b = Some(output);
        }
        match (ended_a.take(), ended_b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (ended_a, ended_b) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}
