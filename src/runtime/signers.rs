//! Threads beside the shards that make RSA signatures.
//!
//! They start with the process, cost nothing while there is nothing to sign, and end with the process. The queue in front of
//! them is bounded: what it does not take is refused, since a shard that signed by itself would hold up everybody else.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use super::process::yield_by;
use crate::proxy::tls::Signing;

/// Handshakes that wait for a signature; at half a millisecond each one thread is done with them in a quarter of a second.
const WAITING_MAX: usize = 512;
/// CPUs for which one thread signs.
const CPUS_PER_THREAD: usize = 4;
/// With fewer CPUs no thread has one for itself for long.
const CPUS_MIN: usize = 3;
/// How far the threads yield to the shards where there are so few.
const NICENESS: i32 = 5;

/// The way to the threads. Clones are the same.
#[derive(Clone)]
pub(super) struct Signers(Arc<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<Job>>,
    some: Condvar,
}

struct Job {
    signing: Box<Signing>,
    done: oneshot::Sender<Box<Signing>>,
}

impl Signers {
    /// Starts the threads of a process with so many CPUs.
    pub fn start(cpus: usize) -> io::Result<Self> {
        let queue = Arc::<Queue>::default();
        for number in 0..cpus.div_ceil(CPUS_PER_THREAD).max(1) {
            let queue = Arc::clone(&queue);
            let sign = move || {
                if cpus < CPUS_MIN {
                    // Where that is not allowed they sign all the same.
                    let _ = yield_by(NICENESS);
                }
                queue.serve();
            };
            thread::Builder::new().name(format!("sign-{number}")).spawn(sign)?;
        }
        Ok(Self(queue))
    }

    /// Has a step taken; nothing where too many wait already.
    pub async fn sign(&self, signing: Box<Signing>) -> Option<Box<Signing>> {
        let (done, outcome) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= WAITING_MAX {
                return None;
            }
            waiting.push_back(Job { signing, done });
        }
        self.0.some.notify_one();
        outcome.await.ok()
    }
}

impl Queue {
    fn serve(&self) {
        loop {
            let Job { mut signing, done } = self.next();
            if done.is_closed() {
                continue;
            }
            // A panic costs the one handshake, whose sender is dropped.
            if catch_unwind(AssertUnwindSafe(|| signing.run())).is_ok() {
                let _ = done.send(signing);
            }
        }
    }

    fn next(&self) -> Job {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = waiting.pop_front() {
                return job;
            }
            waiting = self.some.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
