//! One worker: a pinned thread, its ring, its listening sockets and the mailbox through which it is commanded.
//!
//! A running worker never returns and never drops its runtime: a ring that closes does not wait for the buffers in
//! flight. The process exits instead.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use tokio::sync::mpsc;

use crate::base::{Address, Timestamp, WHEEL_TICK};
use crate::observe::WorkerMetrics;
use crate::proxy::command::{Command, Reply};
use crate::proxy::net::Net;
use crate::proxy::shell::{Accepted, Shard};
use crate::snapshot::{ListenerPlan, Snapshot};

use super::accept::{Counted, Entered, Gate, Listening};
use super::clock;
use super::cpu;
use super::listen::{BindError, SocketStore};
use super::net::LiveNet;
use super::probe::{Driver, ring_builder};
use super::signers::Signers;
use super::task;

/// Submission entries of a shard's ring. When they are used up in one turn, they are submitted early.
const RING_ENTRIES: u32 = 1024;
/// Commands that may wait for a shard.
const COMMANDS_MAX: usize = 16;
/// How often a drain looks whether the last connection has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long connections have to end once they were stopped.
const STOP_REST: Duration = Duration::from_millis(100);
/// Turns of the wheel between two calls of [`Shard::tick`].
const TICKS_PER_SHARD_TICK: u64 = 100_000_000 / WHEEL_TICK.as_nanos() as u64;
/// Turns of the wheel between two times that free memory is given back to the system.
const TICKS_PER_GIVING_BACK: u64 = 1_000_000_000 / WHEEL_TICK.as_nanos() as u64;

/// What a worker thread needs to know.
pub(super) struct Seat {
    pub number: usize,
    /// The CPU to run on; none leaves it to the kernel.
    pub cpu: Option<usize>,
    pub driver: Driver,
    pub sockets: Arc<SocketStore>,
    pub metrics: Arc<WorkerMetrics>,
    pub signers: Signers,
    pub give_back: fn(),
}

/// The other end of a worker's mailbox.
pub(super) type Mailbox = mpsc::Sender<Command>;

/// Starts a worker; returns once its runtime runs.
pub(super) fn start<S, M>(seat: Seat, make: M) -> io::Result<Mailbox>
where
    S: Shard<Net = LiveNet>,
    M: FnOnce(LiveNet, usize) -> Rc<S> + Send + 'static,
{
    let (mailbox, commands) = mpsc::channel(COMMANDS_MAX);
    let (started, outcome) = std_mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("shard-{}", seat.number));
    thread.spawn(move || {
        let number = seat.number;
        let life = catch_unwind(AssertUnwindSafe(|| live(seat, make, commands, started)));
        if life.is_err() {
            // Half of the listeners of a process that cannot be trusted any more: let whoever supervises it start anew.
            // Not `eprintln!`: it panics where nobody reads, and the process would live on without the shard.
            let _ = writeln!(io::stderr(), "tidegate: shard {number} died of a panic outside of its tasks");
            std::process::abort();
        }
    })?;
    outcome.recv().map_err(|_| io::Error::other("the worker ended before it began"))??;
    Ok(mailbox)
}

/// The life of a worker thread. Returns only when it could not begin.
fn live<S, M>(seat: Seat, make: M, commands: mpsc::Receiver<Command>, started: std_mpsc::SyncSender<io::Result<()>>)
where
    S: Shard<Net = LiveNet>,
    M: FnOnce(LiveNet, usize) -> Rc<S>,
{
    let begin = || {
        block_signals()?;
        seat.cpu.map_or(Ok(()), cpu::pin)
    };
    let driver = seat.driver;
    let main = |started: &std_mpsc::SyncSender<io::Result<()>>| {
        let started = started.clone();
        async move {
            let net = LiveNet::new(seat.driver, seat.metrics, seat.signers);
            let shard = make(net.clone(), seat.number);
            let worker = Rc::new(Worker::new(net, shard, seat.sockets));
            worker.spawn_time(seat.give_back);
            task::spawn(worker.net.metrics(), Rc::clone(&worker).obey(commands));
            let _ = started.send(Ok(()));
            // Nothing else here: the main future is polled before sockets and timers get their turn.
            pending::<()>().await;
        }
    };
    let outcome = begin().and_then(|()| run(driver, main(&started)));
    if let Err(error) = outcome {
        let _ = started.send(Err(error));
    }
}

/// Runs `main` on a runtime over `driver`; returns only when there can be none.
pub(super) fn run<T>(driver: Driver, main: impl Future<Output = T>) -> io::Result<T> {
    match driver {
        Driver::IoUring { deferred } => {
            let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES);
            let builder = builder.uring_builder(ring_builder(RING_ENTRIES, deferred));
            Ok(ManuallyDrop::new(builder.enable_timer().build()?).block_on(main))
        }
        Driver::Epoll => {
            let builder = RuntimeBuilder::<LegacyDriver>::new().with_entries(RING_ENTRIES);
            Ok(ManuallyDrop::new(builder.enable_timer().build()?).block_on(main))
        }
    }
}

/// Leaves signals to the other threads: one that interrupts the ring makes it lose a turn.
fn block_signals() -> io::Result<()> {
    // SAFETY: a set of zeros is a valid one to be filled.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live set.
    unsafe { libc::sigfillset(&mut all) };
    // SAFETY: the pointer is to a live set, and the old one is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A snapshot whose sockets are bound but not yet listened to.
struct Prepared {
    snapshot: Arc<Snapshot>,
    fresh: Vec<Rc<Listening>>,
}

struct Worker<S> {
    net: LiveNet,
    shard: Rc<S>,
    sockets: Arc<SocketStore>,
    gates: RefCell<Vec<Rc<Gate>>>,
    listening: RefCell<Vec<Rc<Listening>>>,
    prepared: RefCell<Option<Prepared>>,
    /// Listening sockets that are not closed yet.
    accepting: Cell<usize>,
    draining: Cell<bool>,
}

impl<S: Shard<Net = LiveNet>> Worker<S> {
    fn new(net: LiveNet, shard: Rc<S>, sockets: Arc<SocketStore>) -> Self {
        Self {
            net,
            shard,
            sockets,
            gates: RefCell::default(),
            listening: RefCell::default(),
            prepared: RefCell::default(),
            accepting: Cell::new(0),
            draining: Cell::new(false),
        }
    }

    fn spawn_time(&self, give_back: fn()) {
        let shard = Rc::clone(&self.shard);
        let net = self.net.clone();
        let mut ticks = 0;
        let each_tick = move |now: Timestamp| {
            ticks += 1;
            if ticks % TICKS_PER_SHARD_TICK != 0 {
                return;
            }
            net.trim();
            // Time must go on whatever the shard does with it.
            if catch_unwind(AssertUnwindSafe(|| shard.tick(now))).is_err() {
                net.metrics().panics.add(1);
            }
            if ticks % TICKS_PER_GIVING_BACK == 0 {
                give_back();
            }
        };
        task::spawn(self.net.metrics(), self.net.clone().keep_time(each_tick));
    }

    /// Does what the mailbox says, in order. A drain goes on in the background.
    async fn obey(self: Rc<Self>, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Prepare { snapshot, reply } => {
                    let outcome = self.guarded(|| self.prepare(&snapshot));
                    reply(outcome.unwrap_or_else(|| Err("the shard panicked while it prepared".to_owned())));
                }
                Command::Commit { generation, reply } => {
                    self.guarded(|| self.commit(generation));
                    reply(());
                }
                Command::Abort { generation } => {
                    self.guarded(|| self.abort(generation));
                }
                Command::Drain { deadline, reply } => Rc::clone(&self).drain(deadline, reply),
            }
        }
    }

    /// What `call` returns, or nothing where it panicked.
    fn guarded<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        let outcome = catch_unwind(AssertUnwindSafe(call));
        self.net.metrics().panics.add(u64::from(outcome.is_err()));
        outcome.ok()
    }

    fn prepare(&self, snapshot: &Arc<Snapshot>) -> Result<(), String> {
        if self.draining.get() {
            return Err("the shard is draining".to_owned());
        }
        self.prepared.take();
        let mut fresh = Vec::new();
        for plan in &snapshot.listeners {
            for address in plan.addresses.iter().filter(|address| self.find(address, plan.ipv6_only).is_none()) {
                let listening = self.listen(plan, address);
                fresh.push(listening.map_err(|error| format!("listener `{}`: {error}", plan.name))?);
            }
        }
        self.shard.prepare(snapshot)?;
        self.prepared.replace(Some(Prepared { snapshot: Arc::clone(snapshot), fresh }));
        Ok(())
    }

    fn listen(&self, plan: &ListenerPlan, address: &Address) -> Result<Rc<Listening>, BindError> {
        let bound = self.sockets.open(address, plan.ipv6_only, plan.socket_mode)?;
        let gate = Gate::new(Arc::clone(&plan.name), plan.connections_max);
        let listening = Listening::new(address.clone(), plan.ipv6_only, bound, gate);
        listening.map_err(|cause| BindError { address: address.clone(), cause })
    }

    fn find(&self, address: &Address, ipv6_only: bool) -> Option<Rc<Listening>> {
        let listening = self.listening.borrow();
        let found = listening.iter().find(|known| known.address == *address && known.ipv6_only == ipv6_only);
        found.cloned()
    }

    fn commit(self: &Rc<Self>, generation: u64) {
        let Some(prepared) = self.take_prepared(generation) else { return };
        self.shard.commit(generation);
        for listening in &prepared.fresh {
            self.spawn_accepting(Rc::clone(listening));
        }
        self.listening.borrow_mut().extend(prepared.fresh);
        let mut gates = Vec::with_capacity(prepared.snapshot.listeners.len());
        let mut kept = Vec::new();
        for plan in &prepared.snapshot.listeners {
            let gate = self.gate(plan);
            if let Some(mode) = plan.socket_mode {
                plan.addresses.iter().for_each(|address| self.sockets.permit(address, mode));
            }
            for listening in plan.addresses.iter().filter_map(|address| self.find(address, plan.ipv6_only)) {
                listening.set_gate(Rc::clone(&gate));
                kept.push(listening);
            }
            gates.push(gate);
        }
        self.gates.replace(gates);
        for listening in self.listening.replace(kept.clone()) {
            if !kept.iter().any(|kept| Rc::ptr_eq(kept, &listening)) {
                listening.stop();
            }
        }
    }

    fn take_prepared(&self, generation: u64) -> Option<Prepared> {
        self.prepared.borrow_mut().take_if(|prepared| prepared.snapshot.generation == generation)
    }

    /// The listener's gate, with all it has counted so far.
    fn gate(&self, plan: &ListenerPlan) -> Rc<Gate> {
        let known = self.gates.borrow().iter().find(|gate| gate.name == plan.name).cloned();
        if let Some(gate) = known {
            gate.set_max(plan.connections_max);
            return gate;
        }
        Gate::new(Arc::clone(&plan.name), plan.connections_max)
    }

    fn abort(&self, generation: u64) {
        self.take_prepared(generation);
        self.shard.abort(generation);
    }

    fn spawn_accepting(self: &Rc<Self>, listening: Rc<Listening>) {
        self.accepting.set(self.accepting.get() + 1);
        let worker = Rc::clone(self);
        self.net.spawn(async move {
            let serve = |accepted, entered| worker.serve(accepted, entered);
            listening.run(&worker.net, serve).await;
            worker.accepting.set(worker.accepting.get() - 1);
        });
    }

    fn serve(&self, accepted: Accepted<LiveNet>, entered: Entered) {
        // What is made before the first poll may panic like the rest.
        if let Some(serving) = self.guarded(|| Rc::clone(&self.shard).serve(accepted)) {
            self.net.spawn(Counted { serving, entered });
        }
    }

    fn drain(self: Rc<Self>, deadline: Duration, reply: Reply<()>) {
        let until = clock::now().plus(deadline);
        self.draining.set(true);
        self.prepared.take();
        for listening in self.listening.take() {
            listening.stop();
        }
        self.guarded(|| self.shard.drain());
        let net = self.net.clone();
        net.spawn(async move {
            self.idle_before(until).await;
            if self.shard.open_connections() > 0 {
                self.guarded(|| self.shard.stop());
                self.idle_before(clock::now().plus(STOP_REST)).await;
            }
            reply(());
        });
    }

    /// Waits until all listening sockets are closed and all connections have ended, but not longer than until then.
    async fn idle_before(&self, until: Timestamp) {
        while (self.accepting.get() > 0 || self.shard.open_connections() > 0) && clock::now() < until {
            monoio::time::sleep(DRAIN_LOOK).await;
        }
    }
}
