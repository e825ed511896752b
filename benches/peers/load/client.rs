//! The client's connections: they send the request, read the answer strictly, and remember how long it took.
//!
//! When to send is decided by `run.rs`; this file only reports which slots have become free. A slot is a connection of
//! HTTP/1, or one of several requests under way on a connection of HTTP/2.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::Instant;

use rustls::HandshakeKind;

use crate::h2_client::Session;
use crate::message::{self, BODY_BYTES, FAULTS, Fault};
use crate::poll::{Poller, Token};
use crate::sys;
use crate::transport::{Security, Slot, Transport};

const INPUT_BYTES: usize = message::HEAD_BYTES_MAX + BODY_BYTES;

/// What the largest frame of HTTP/2 needs.
const FRAMES_BYTES: usize = 32 * 1024;

/// Loopback source addresses taken in turn, so that closed connections do not exhaust one address's ports.
const SOURCES: u32 = 64;

/// What the connections do.
#[derive(Default)]
pub struct Work {
    /// Requests before a connection is replaced.
    pub requests_per_connection: u32,
    /// Requests at once on each connection of HTTP/2; `None` speaks HTTP/1.
    pub streams: Option<usize>,
    /// TLS, and how.
    pub security: Option<Security>,
    /// Handshakes instead of requests, and whether they must be resumed.
    pub handshakes: Option<bool>,
}

struct Connection {
    transport: Transport,
    input: Vec<u8>,
    filled: usize,
    /// The instants the requests in flight were due.
    due: Vec<Option<Instant>>,
    requests_left: u32,
    session: Option<Session>,
}

impl Connection {
    fn in_flight(&self) -> usize {
        self.due.iter().flatten().count()
    }
}

/// One answered request.
pub struct Answer {
    pub due: Instant,
    pub at: Instant,
}

pub struct Client {
    target: SocketAddrV4,
    work: Work,
    /// The TLS side of each connection's place.
    secrets: Vec<Slot>,
    connections: Vec<Option<Connection>>,
    /// Slots without a request in flight, the longest unused first.
    pub free: VecDeque<usize>,
    /// What has been answered since the owner last looked.
    pub answers: Vec<Answer>,
    pub answered: u64,
    pub in_flight: usize,
    pub opened: u64,
    /// Connections the proxy closed between two requests.
    pub closed_by_peer: u64,
    faults: [u64; FAULTS.len()],
    body: [u8; BODY_BYTES],
    /// Which places have had a handshake of which the next can be a resumption.
    resumable: Vec<bool>,
    /// Lanes answered by one read.
    done: Vec<usize>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
            work: Work::default(),
            secrets: Vec::new(),
            connections: Vec::new(),
            free: VecDeque::new(),
            answers: Vec::new(),
            answered: 0,
            in_flight: 0,
            opened: 0,
            closed_by_peer: 0,
            faults: [0; FAULTS.len()],
            body: message::body(),
            resumable: Vec::new(),
            done: Vec::new(),
        }
    }
}

impl Client {
    /// Forgets the past and opens `count` connections to `target`.
    pub fn open(&mut self, target: SocketAddrV4, count: usize, work: Work, poller: &Poller) {
        let secrets = work.security.iter().flat_map(|security| (0..count).map(|_| security.slot())).collect();
        *self = Self { target, work, secrets, resumable: vec![false; count], ..Self::default() };
        for id in 0..count {
            self.connections.push(None);
            self.connect(id, poller);
        }
    }

    /// Drops every connection and keeps the counters.
    pub fn close(&mut self) {
        self.connections.clear();
        self.free.clear();
        self.in_flight = 0;
    }

    pub fn faults(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// The faults by name, as a JSON object.
    pub fn faults_json(&self) -> String {
        let named = FAULTS.iter().zip(self.faults).filter(|(_, count)| *count > 0);
        let fields: Vec<_> = named.map(|(fault, count)| format!("\"{fault:?}\":{count}")).collect();
        format!("{{{}}}", fields.join(","))
    }

    fn lanes(&self) -> usize {
        self.work.streams.unwrap_or(1)
    }

    /// Sends the request that was due at `due` in `slot`, which must be free. What several slots of one connection send
    /// leaves together with [`flush`](Self::flush).
    pub fn send(&mut self, slot: usize, due: Instant, poller: &Poller) {
        let (id, lane) = (slot / self.lanes(), slot % self.lanes());
        let Some(connection) = self.connections[id].as_mut() else { return };
        connection.due[lane] = Some(due);
        connection.requests_left -= 1;
        self.in_flight += 1;
        match &mut connection.session {
            Some(session) => session.request(lane),
            // The handshake has begun with the connection, and may be over already.
            None if self.work.handshakes.is_some() => self.shaken(id, poller),
            None => {
                if connection.transport.write(message::REQUEST).is_err() {
                    self.fail(id, Fault::Write, poller);
                }
            }
        }
    }

    /// Writes what the connections of HTTP/2 have to say.
    pub fn flush(&mut self, poller: &Poller) {
        if self.work.streams.is_none() {
            return;
        }
        for id in 0..self.connections.len() {
            let Some(connection) = self.connections[id].as_mut() else { continue };
            let Some(session) = connection.session.as_mut().filter(|session| !session.output.is_empty()) else {
                continue;
            };
            let written = connection.transport.write(&session.output);
            session.output.clear();
            if written.is_err() {
                self.fail(id, Fault::Write, poller);
            }
        }
    }

    /// Reads what has arrived on connection `id`.
    pub fn readable(&mut self, id: usize, poller: &Poller) {
        loop {
            // An event of a connection that was dropped after the poller reported it.
            let Some(connection) = self.connections.get_mut(id).and_then(Option::as_mut) else { return };
            match connection.transport.read(&mut connection.input[connection.filled..]) {
                Ok(0) => return self.ended(id, poller),
                Ok(read) => {
                    connection.filled += read;
                    self.arrived(id, poller);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return self.ended(id, poller),
            }
            if self.work.handshakes.is_some() {
                self.shaken(id, poller);
            }
            if !self.connections[id].as_ref().is_some_and(|connection| connection.transport.holds_more()) {
                return;
            }
        }
    }

    fn arrived(&mut self, id: usize, poller: &Poller) {
        let outcome = if self.work.streams.is_some() { self.frames(id) } else { self.message(id) };
        match outcome {
            Ok(true) => self.connect(id, poller),
            Ok(false) => {}
            Err(fault) => self.fail(id, fault, poller),
        }
    }

    /// Takes a message of HTTP/1, if it is complete; says whether the connection has had its last.
    fn message(&mut self, id: usize) -> Result<bool, Fault> {
        let Some(connection) = self.connections[id].as_mut() else { return Ok(false) };
        let complete = match message::read_response(&connection.input[..connection.filled], &self.body)? {
            None if connection.filled < INPUT_BYTES => return Ok(false),
            Some(complete) if complete.bytes == connection.filled => complete,
            _ => return Err(Fault::Framing),
        };
        connection.filled = 0;
        let spent = complete.close || connection.requests_left == 0;
        self.answered_in(id, 0)?;
        if !spent {
            self.free.push_back(id);
        }
        Ok(spent)
    }

    /// Takes the frames of HTTP/2 that are complete. Such a connection stays.
    fn frames(&mut self, id: usize) -> Result<bool, Fault> {
        let mut done = std::mem::take(&mut self.done);
        let Some(Connection { session: Some(session), input, filled, .. }) = self.connections[id].as_mut() else {
            return Ok(false);
        };
        let taken = session.read(&input[..*filled], &self.body, &mut done)?;
        input.copy_within(taken..*filled, 0);
        *filled -= taken;
        for lane in done.drain(..) {
            self.answered_in(id, lane)?;
            self.free.push_back(id * self.lanes() + lane);
        }
        self.done = done;
        Ok(false)
    }

    /// Counts an answer; one that nobody asked for is a fault.
    fn answered_in(&mut self, id: usize, lane: usize) -> Result<(), Fault> {
        let due = self.connections[id].as_mut().and_then(|connection| connection.due[lane].take());
        let due = due.ok_or(Fault::Framing)?;
        self.in_flight -= 1;
        self.answered += 1;
        self.answers.push(Answer { due, at: Instant::now() });
        Ok(())
    }

    /// Counts a handshake that is over on both sides, once it is due, and begins the next.
    fn shaken(&mut self, id: usize, poller: &Poller) {
        let Some(connection) = self.connections[id].as_mut().filter(|known| known.due[0].is_some()) else { return };
        let Some(kind) = connection.transport.handshake().filter(|_| self.secrets[id].has_ticket()) else { return };
        // A place's first connection has nothing to resume.
        let expected = match self.work.handshakes {
            Some(true) if self.resumable[id] => HandshakeKind::Resumed,
            _ => HandshakeKind::Full,
        };
        self.resumable[id] = true;
        if kind != expected || connection.transport.finish().is_err() {
            return self.fail(id, Fault::Handshake, poller);
        }
        match self.answered_in(id, 0) {
            Ok(()) => self.connect(id, poller),
            Err(fault) => self.fail(id, fault, poller),
        }
    }

    /// The peer closed: between two requests it may, within one it must not.
    fn ended(&mut self, id: usize, poller: &Poller) {
        if self.connections[id].as_ref().is_some_and(|connection| connection.in_flight() > 0) {
            return self.fail(id, Fault::ClosedEarly, poller);
        }
        self.closed_by_peer += 1;
        self.connect(id, poller);
    }

    fn fail(&mut self, id: usize, fault: Fault, poller: &Poller) {
        self.count(fault);
        self.connect(id, poller);
    }

    fn count(&mut self, fault: Fault) {
        let index = FAULTS.iter().position(|&known| known == fault);
        index.into_iter().for_each(|index| self.faults[index] += 1);
    }

    /// Replaces connection `id` by a fresh one; without one the slots stay empty and the fault is counted.
    fn connect(&mut self, id: usize, poller: &Poller) {
        let lanes = self.lanes();
        if let Some(old) = self.connections[id].take() {
            self.in_flight -= old.in_flight();
            if old.in_flight() < lanes {
                self.free.retain(|slot| slot / lanes != id);
            }
        }
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + 1 + (self.opened % u64::from(SOURCES)) as u32);
        self.opened += 1;
        let opened = sys::connect_from(source, self.target)
            .and_then(|stream| poller.add(stream.as_raw_fd(), Token::Client(id)).map(|()| stream))
            .and_then(|stream| match self.secrets.get(id) {
                Some(secret) => secret.secure(stream),
                None => Ok(Transport::Plain(stream)),
            });
        let Ok(transport) = opened else { return self.count(Fault::Connect) };
        let session = self.work.streams.map(|streams| Session::new(streams, !self.secrets.is_empty()));
        let input = vec![0; if session.is_some() { FRAMES_BYTES } else { INPUT_BYTES }];
        let requests_left = self.work.requests_per_connection;
        self.connections[id] =
            Some(Connection { transport, input, filled: 0, due: vec![None; lanes], requests_left, session });
        self.free.extend(id * lanes..(id + 1) * lanes);
    }
}
