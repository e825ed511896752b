//! Accepting on one listening socket of one worker.
//!
//! Waiting is monoio's business, accepting is a plain call that never blocks. So nothing is lost when a wait is
//! dropped (monoio 0.2.4 leaks the connection of a dropped accept), one wake-up empties a burst, and stopping can
//! serve what the queue still holds.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use monoio::net::UnixStream as Descriptor;

use crate::base::Address;
use crate::proxy::shell::Accepted;

use super::listen::{Bound, address_of};
use super::net::LiveNet;

/// Connections accepted in one go; then everybody else has a turn.
const BATCH_MAX: usize = 64;
/// Batches that empty a full queue.
const SWEEP_BATCHES_MAX: usize = 4096 / BATCH_MAX;
/// The pause after a full batch, which lets the loop see to its sockets and timers.
const BATCH_REST: Duration = Duration::from_millis(1);
/// The pause when descriptors or memory have run out.
const SHORTAGE_REST: Duration = Duration::from_millis(100);
/// How long handshakes under way may take to finish once newcomers are refused.
const SETTLE_REST: Duration = Duration::from_millis(20);
/// The driver has closed its copy of a listening descriptor after this.
const CLOSE_REST: Duration = Duration::from_millis(5);

/// The open connections of one listener on one shard, over all its addresses.
pub(super) struct Gate {
    pub name: Arc<str>,
    max: Cell<u32>,
    open: Cell<u32>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    pub(super) fn new(name: Arc<str>, max: u32) -> Rc<Self> {
        Rc::new(Self { name, max: Cell::new(max), open: Cell::new(0), waiting: RefCell::default() })
    }

    pub(super) fn set_max(&self, max: u32) {
        self.max.set(max);
        self.wake();
    }

    fn is_full(&self) -> bool {
        self.open.get() >= self.max.get()
    }

    fn enter(self: &Rc<Self>) -> Entered {
        self.open.set(self.open.get() + 1);
        Entered(Rc::clone(self))
    }

    fn wake(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

/// One open connection; counted until dropped.
pub(super) struct Entered(Rc<Gate>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.wake();
    }
}

pin_project_lite::pin_project! {
    /// The serving of one connection, which is counted for as long. An async block would hold the future twice.
    pub(super) struct Counted<F> {
        #[pin]
        pub serving: F,
        pub entered: Entered,
    }
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().serving.poll(cx)
    }
}

/// One listening socket of this worker.
pub(super) struct Listening {
    pub address: Address,
    pub ipv6_only: bool,
    bound: RefCell<Option<Bound>>,
    /// The driver's own copy of the descriptor, to wait on.
    waiter: Cell<Option<Descriptor>>,
    /// A descriptor to give up when there are no others.
    reserve: Cell<Option<OwnedFd>>,
    gate: RefCell<Rc<Gate>>,
    /// Our address, where all connections have the same: not a wildcard.
    local: Option<Address>,
    unnamed: Address,
    stopped: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What a turn of accepting ended with.
enum Turn {
    Empty,
    Full,
    Short,
}

impl Listening {
    /// Takes every descriptor that accepting will need.
    pub(super) fn new(address: Address, ipv6_only: bool, bound: Bound, gate: Rc<Gate>) -> io::Result<Rc<Self>> {
        let wildcard = bound.local.ip().is_some_and(|ip| ip.is_unspecified());
        let waiter = Descriptor::from_std(OwnedFd::from(bound.socket.try_clone()?).into())?;
        Ok(Rc::new(Self {
            address,
            ipv6_only,
            local: (!wildcard).then(|| bound.local.clone()),
            bound: RefCell::new(Some(bound)),
            waiter: Cell::new(Some(waiter)),
            reserve: Cell::new(reserve()),
            gate: RefCell::new(gate),
            unnamed: Address::Unix(Arc::from(Path::new(""))),
            stopped: Cell::new(false),
            waker: RefCell::new(None),
        }))
    }

    /// From now on connections count for, and are named after, `gate`.
    pub(super) fn set_gate(&self, gate: Rc<Gate>) {
        self.gate.replace(gate).wake();
    }

    /// Has [`Self::run`] serve what the queue holds, close the socket and end.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Accepts until stopped; `serve` starts serving one connection and returns at once.
    pub(super) async fn run(&self, net: &LiveNet, serve: impl Fn(Accepted<LiveNet>, Entered)) {
        if let Some(waiter) = self.waiter.take() {
            while self.ready(net, &waiter).await {
                match self.accept_some(net, &serve) {
                    Turn::Empty => {}
                    Turn::Full => monoio::time::sleep(BATCH_REST).await,
                    Turn::Short => monoio::time::sleep(SHORTAGE_REST).await,
                }
            }
        }
        self.close(net, &serve).await;
    }

    /// Serves what the queue still holds, refuses newcomers, and closes between two looks into the queue.
    async fn close(&self, net: &LiveNet, serve: &impl Fn(Accepted<LiveNet>, Entered)) {
        if let Some(bound) = &*self.bound.borrow() {
            bound.refuse_newcomers();
        }
        for rest in [SETTLE_REST, CLOSE_REST] {
            self.sweep(net, serve);
            monoio::time::sleep(rest).await;
        }
        self.sweep(net, serve);
        self.bound.take();
    }

    fn sweep(&self, net: &LiveNet, serve: &impl Fn(Accepted<LiveNet>, Entered)) {
        for _ in 0..SWEEP_BATCHES_MAX {
            if !matches!(self.accept_some(net, serve), Turn::Full) {
                return;
            }
        }
    }

    /// Waits until there is something to accept and room for it; false once stopped.
    async fn ready(&self, net: &LiveNet, waiter: &Descriptor) -> bool {
        let mut readable = pin!(waiter.readable(false));
        let mut paused = false;
        poll_fn(|cx| {
            self.remember(cx);
            if self.stopped.get() {
                return Poll::Ready(false);
            }
            let gate = self.gate.borrow();
            if gate.is_full() {
                net.metrics().accept_pauses.add(u64::from(!paused));
                paused = true;
                gate.waiting.borrow_mut().push(cx.waker().clone());
                return Poll::Pending;
            }
            // An error shows again, and is counted, when accepting.
            readable.as_mut().poll(cx).map(|_| true)
        })
        .await
    }

    fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn accept_some(&self, net: &LiveNet, serve: &impl Fn(Accepted<LiveNet>, Entered)) -> Turn {
        let bound = self.bound.borrow();
        let Some(bound) = &*bound else { return Turn::Empty };
        let gate = Rc::clone(&self.gate.borrow());
        for _ in 0..BATCH_MAX {
            // What is in the queue when we stop is served, whatever the maximum.
            if gate.is_full() && !self.stopped.get() {
                return Turn::Empty;
            }
            match self.accept_one(bound, net, &gate) {
                Ok(accepted) => {
                    net.metrics().accepted.add(1);
                    serve(accepted, gate.enter());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Empty,
                Err(error) => {
                    net.metrics().accept_errors.add(1);
                    if is_shortage(&error) {
                        self.shed(bound, net);
                        return Turn::Short;
                    }
                }
            }
        }
        Turn::Full
    }

    /// Gives the reserved descriptor up for a moment, to close one waiting connection instead of letting it hang.
    fn shed(&self, bound: &Bound, net: &LiveNet) {
        if self.reserve.take().is_some() && bound.socket.accept().is_ok() {
            net.metrics().accept_shed.add(1);
        }
        self.reserve.set(reserve());
    }

    fn accept_one(&self, bound: &Bound, net: &LiveNet, gate: &Gate) -> io::Result<Accepted<LiveNet>> {
        let (socket, peer) = bound.socket.accept()?;
        let local = match &self.local {
            Some(local) => local.clone(),
            None => address_of(&socket.local_addr()?)?,
        };
        let peer = if peer.is_unix() { self.unnamed.clone() } else { address_of(&peer)? };
        let (reader, writer) = net.adopt_accepted(socket)?;
        Ok(Accepted { listener: Arc::clone(&gate.name), peer, local, reader, writer })
    }
}

/// Whether descriptors or memory have run out; anything else concerns one connection.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// A descriptor of nothing.
fn reserve() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}
