//! Starting the workers: on which CPUs, with how many descriptors.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;

use crate::observe::WorkerMetrics;
use crate::proxy::command::ShardHandle;
use crate::proxy::shell::Shard;

use super::cpu;
use super::listen::SocketStore;
use super::net::LiveNet;
use super::probe::Driver;
use super::signers::Signers;
use super::worker::{self, Mailbox, Seat};

/// The CPUs to run a worker on each: those of the affinity mask, no more than the cgroup's quota pays for.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    cpu::allowed()
}

/// How many descriptors this process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    pub before: u64,
    pub now: u64,
}

/// Raises the limit of open descriptors to what the system allows.
pub fn raise_descriptor_limit() -> io::Result<Descriptors> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live structure that the kernel fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live structure that the kernel reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Descriptors { before, now: limit.rlim_cur })
}

/// What all workers of this process have in common.
pub struct Fleet {
    pub driver: Driver,
    /// One worker for each.
    pub cpus: Vec<usize>,
    pub sockets: Arc<SocketStore>,
    /// What each worker counts, in their order.
    pub metrics: Vec<Arc<WorkerMetrics>>,
    /// Has the allocator return what the calling thread has freed to the system; called now and then.
    pub give_back: fn(),
}

/// A running worker, seen from outside. It runs until the process exits.
pub struct Worker {
    pub handle: ShardHandle,
    pub metrics: Arc<WorkerMetrics>,
}

impl Fleet {
    /// Starts the workers. `make` makes the shard of each, on its own thread. They listen to nothing until they are
    /// given a snapshot.
    pub fn start<S, M>(&self, make: M) -> io::Result<Vec<Worker>>
    where
        S: Shard<Net = LiveNet>,
        M: Fn(LiveNet, usize) -> Rc<S> + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        // Here, where no thread is bound to a CPU yet.
        let signers = Signers::start(self.cpus.len())?;
        let start = |(number, (cpu, metrics)): (usize, (&usize, &Arc<WorkerMetrics>))| {
            let make = Arc::clone(&make);
            let seat = Seat {
                number,
                cpu: Some(*cpu),
                driver: self.driver,
                sockets: Arc::clone(&self.sockets),
                metrics: Arc::clone(metrics),
                signers: signers.clone(),
                give_back: self.give_back,
            };
            let mailbox = worker::start(seat, move |net, number| make(net, number))?;
            Ok(Worker { handle: handle(number, mailbox), metrics: Arc::clone(metrics) })
        };
        self.cpus.iter().zip(&self.metrics).enumerate().map(start).collect()
    }
}

fn handle(number: usize, mailbox: Mailbox) -> ShardHandle {
    let send = move |command| {
        mailbox.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) | TrySendError::Closed(command) => command,
        })
    };
    ShardHandle { number, send: Box::new(send) }
}
