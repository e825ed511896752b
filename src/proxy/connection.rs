//! One client connection: its two halves and the little state that outlives an exchange.
//!
//! Both halves stand in cells and are borrowed only inside a poll, never across an await, so that the two directions
//! of an exchange share the connection, and so that it survives an exchange that panics.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use arrayvec::ArrayString;

use super::adopted::Adopted;
use super::introduced::Introduced;
use super::net::Net;
use super::secured::Secured;
use super::tunnel::Stop;
use crate::base::{Address, Buffer, Timestamp};
use crate::http::h2::Connect;
use crate::http::target::Scheme;
use crate::observe::Reason;
use crate::snapshot::ListenerPlan;

/// The longest text of an IP address.
const IP_TEXT_BYTES_MAX: usize = 45;

/// The text of an address, formatted once for many requests.
pub(super) type IpText = ArrayString<IP_TEXT_BYTES_MAX>;

fn ip_text(ip: IpAddr) -> IpText {
    let mut text = IpText::new();
    // No address is longer than the room for it.
    let _ = write!(text, "{}", ip.to_canonical());
    text
}

/// A client's connection.
pub(super) struct Connection<N: Net> {
    pub reader: RefCell<N::Reader>,
    pub writer: RefCell<N::Writer>,
    /// Whose connection it is: the source that a PROXY header names, else the other end of the socket.
    pub peer: Address,
    /// The peer's IP address as text; empty for Unix sockets.
    pub peer_text: IpText,
    /// Where the peer connected to.
    pub local: Address,
    /// By whom the peer was introduced, where a PROXY header has done so.
    pub introduced: Option<Rc<Introduced>>,
    /// The listener it came in by, as of the newest snapshot that has it.
    pub listener: RefCell<Arc<ListenerPlan>>,
    /// What the handshake has found, where TLS is spoken; the streams of a connection share it.
    pub secured: OnceCell<Rc<Secured>>,
    /// The connection that this one is a stream of.
    pub carrier: Option<Rc<Self>>,
    /// What the client of a stream waits for instead of a response, if anything: then only a 101 may become a success.
    pub connect: Option<Connect>,
    /// The generation that `listener` was looked up in.
    generation: Cell<u64>,
    /// Requests begun.
    pub requests: Cell<u32>,
    /// Whether an octet of the current response may have left.
    pub responding: Cell<bool>,
    /// Ends the tunnel that it has become.
    tunnel: Cell<Option<Rc<Stop>>>,
    /// Bytes that arrived behind the message they came with: the beginning of the next request.
    pub ahead: RefCell<Option<Buffer>>,
    /// When the last exchange ended, or the connection was accepted.
    pub idle_since: Cell<Timestamp>,
    /// Why it ended, when it has.
    pub ended: Cell<Reason>,
    /// The client of the last request, where that was not the peer.
    client: Cell<Option<Box<(IpAddr, IpText)>>>,
}

impl<N: Net> Connection<N> {
    /// A connection just accepted.
    pub fn new(
        halves: (N::Reader, N::Writer),
        (peer, local): (Address, Address),
        listener: Arc<ListenerPlan>,
        now: Timestamp,
    ) -> Self {
        Self {
            reader: RefCell::new(halves.0),
            writer: RefCell::new(halves.1),
            peer_text: peer.ip().map_or_else(IpText::new, ip_text),
            peer,
            local,
            introduced: None,
            listener: RefCell::new(listener),
            secured: OnceCell::new(),
            carrier: None,
            connect: None,
            generation: Cell::new(0),
            requests: Cell::new(0),
            responding: Cell::new(false),
            tunnel: Cell::new(None),
            ahead: RefCell::new(None),
            idle_since: Cell::new(now),
            ended: Cell::default(),
            client: Cell::new(None),
        }
    }

    /// A stream of `carrier`, and the head of the one request that it brings.
    pub fn of_stream(
        carrier: &Rc<Self>,
        halves: (N::Reader, N::Writer),
        head: Buffer,
        connect: Option<Connect>,
        now: Timestamp,
    ) -> Self {
        carrier.requests.set(carrier.requests.get().saturating_add(1));
        Self {
            reader: RefCell::new(halves.0),
            writer: RefCell::new(halves.1),
            peer_text: carrier.peer_text,
            peer: carrier.peer.clone(),
            local: carrier.local.clone(),
            introduced: carrier.introduced.clone(),
            listener: carrier.listener.clone(),
            secured: carrier.secured.clone(),
            carrier: Some(Rc::clone(carrier)),
            connect,
            generation: carrier.generation.clone(),
            // This one will be counted.
            requests: Cell::new(carrier.requests.get() - 1),
            responding: Cell::new(false),
            tunnel: Cell::new(None),
            ahead: RefCell::new(Some(head)),
            idle_since: Cell::new(now),
            ended: Cell::default(),
            client: Cell::new(None),
        }
    }

    /// Notes whom it was introduced as; what is known of the other end of the socket goes with `introduced`.
    pub fn introduce(&mut self, introduced: Introduced, endpoints: Option<(Address, Address)>) {
        if let Some((source, destination)) = endpoints {
            self.peer_text = source.ip().map_or_else(IpText::new, ip_text);
            (self.peer, self.local) = (source, destination);
        }
        self.introduced = Some(Rc::new(introduced));
    }

    /// The IP address at the other end of the socket as text; empty for Unix sockets.
    pub fn socket_peer_text(&self) -> &[u8] {
        self.introduced.as_ref().map_or(&self.peer_text, |introduced| &introduced.by).as_bytes()
    }

    /// Whether a handshake comes first.
    pub fn speaks_tls(&self) -> bool {
        self.listener.borrow().tls.is_some()
    }

    /// What its requests are meant for.
    #[inline]
    pub fn scheme(&self) -> Scheme {
        if self.secured.get().is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Notes that it becomes a tunnel, or may carry some, which end by what is returned.
    pub fn become_tunnel(&self) -> Rc<Stop> {
        let stop = Rc::<Stop>::default();
        if let Some(carrier) = &self.carrier
            && let Some(whole) = carrier.tunnel.take()
        {
            whole.add_part(&stop);
            carrier.tunnel.set(Some(whole));
        }
        self.tunnel.set(Some(Rc::clone(&stop)));
        stop
    }

    /// Notes that there is no tunnel to be told any more.
    pub fn forget_tunnel(&self) {
        self.tunnel.set(None);
    }

    /// Has the tunnel end by itself, if it has become one.
    pub fn stop_tunnel(&self) -> bool {
        self.tunnel.take().inspect(|tunnel| tunnel.stop()).is_some()
    }

    /// The plan of its listener: the newest one; the last one where it was removed.
    pub fn current_listener(&self, adopted: &Adopted<N>) -> Arc<ListenerPlan> {
        let snapshot = &adopted.snapshot;
        if self.generation.replace(snapshot.generation) != snapshot.generation {
            let name = self.listener.borrow().name.clone();
            if let Some(newest) = snapshot.listener_named(&name) {
                *self.listener.borrow_mut() = newest.clone();
            }
        }
        self.listener.borrow().clone()
    }

    /// Keeps `bytes` for the next request. A client may send ahead only as much as a buffer holds.
    pub fn keep_ahead(&self, bytes: &[u8], empty: impl FnOnce() -> Buffer) {
        if !bytes.is_empty() {
            self.ahead.borrow_mut().get_or_insert_with(empty).vec().extend_from_slice(bytes);
        }
    }

    /// The text of a client's address; the one of the last request is remembered.
    pub fn client_text(&self, client: Option<IpAddr>) -> IpText {
        let Some(ip) = client else { return IpText::default() };
        if self.peer.ip().is_some_and(|peer| peer.to_canonical() == ip) {
            return self.peer_text;
        }
        let mut known = self.client.take().unwrap_or_else(|| Box::new((ip, ip_text(ip))));
        if known.0 != ip {
            *known = (ip, ip_text(ip));
        }
        let text = known.1;
        self.client.set(Some(known));
        text
    }
}
