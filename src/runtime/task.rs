//! Tasks that cannot take their shard with them.
//!
//! monoio catches no panic: one in a task would unwind the whole loop. So every task of a shard is wrapped here.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::observe::WorkerMetrics;

pin_project_lite::pin_project! {
    /// Ends when its task ends or panics.
    pub(super) struct Guarded<F> {
        #[pin]
        task: F,
        metrics: Arc<WorkerMetrics>,
    }
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // A task that panicked is never polled again; what it shared with others is cells behind methods that never
        // await, so nothing is left half-way but by the method that panicked.
        catch_unwind(AssertUnwindSafe(|| this.task.poll(cx))).unwrap_or_else(|_| {
            this.metrics.panics.add(1);
            Poll::Ready(())
        })
    }
}

/// Runs `task` on this thread's runtime; a panic in it is counted and ends only that task.
pub(super) fn spawn(metrics: &Arc<WorkerMetrics>, task: impl Future<Output = ()> + 'static) {
    // The handle is dropped at once: kept ones race with wakers of other threads (monoio #293).
    drop(monoio::spawn(Guarded { task, metrics: Arc::clone(metrics) }));
}
