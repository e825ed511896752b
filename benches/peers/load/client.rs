//! The client's connections: they send the request, read the answer strictly, and remember how long it took.
//!
//! When to send is decided by `run.rs`; this file only reports which connections have become free.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use crate::message::{self, BODY_BYTES, FAULTS, Fault};
use crate::poll::{Poller, Token};
use crate::sys;

const INPUT_BYTES: usize = message::HEAD_BYTES_MAX + BODY_BYTES;

/// Loopback source addresses taken in turn, so that closed connections do not exhaust one address's ports.
const SOURCES: u32 = 16;

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    /// The instant the request in flight was due.
    due: Option<Instant>,
    requests_left: u32,
}

/// One answered request.
pub struct Answer {
    pub due: Instant,
    pub at: Instant,
}

pub struct Client {
    target: SocketAddrV4,
    requests_per_connection: u32,
    connections: Vec<Option<Connection>>,
    /// Connections without a request in flight, the longest unused first.
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
}

impl Default for Client {
    fn default() -> Self {
        Self {
            target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
            requests_per_connection: u32::MAX,
            connections: Vec::new(),
            free: VecDeque::new(),
            answers: Vec::new(),
            answered: 0,
            in_flight: 0,
            opened: 0,
            closed_by_peer: 0,
            faults: [0; FAULTS.len()],
            body: message::body(),
        }
    }
}

impl Client {
    /// Forgets the past and opens `count` connections to `target`.
    pub fn open(&mut self, target: SocketAddrV4, count: usize, requests_per_connection: u32, poller: &Poller) {
        *self = Self { target, requests_per_connection, ..Self::default() };
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

    /// Sends the request that was due at `due` on connection `id`, which must be free.
    pub fn send(&mut self, id: usize, due: Instant, poller: &Poller) {
        let Some(connection) = self.connections[id].as_mut() else { return };
        connection.due = Some(due);
        connection.requests_left -= 1;
        self.in_flight += 1;
        if !matches!(connection.stream.write(message::REQUEST), Ok(sent) if sent == message::REQUEST.len()) {
            self.fail(id, Fault::Write, poller);
        }
    }

    /// Reads what has arrived on connection `id`.
    pub fn readable(&mut self, id: usize, poller: &Poller) {
        // An event of a connection that was dropped after the poller reported it.
        let Some(connection) = self.connections.get_mut(id).and_then(Option::as_mut) else { return };
        match connection.stream.read(&mut connection.input[connection.filled..]) {
            Ok(0) => self.ended(id, poller),
            Ok(read) => {
                connection.filled += read;
                self.arrived(id, poller);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.ended(id, poller),
        }
    }

    fn arrived(&mut self, id: usize, poller: &Poller) {
        let Some(connection) = self.connections[id].as_mut() else { return };
        let complete = match message::read_response(&connection.input[..connection.filled], &self.body) {
            Ok(None) if connection.filled < INPUT_BYTES => return,
            Ok(Some(complete)) if complete.bytes == connection.filled => complete,
            Ok(_) => return self.fail(id, Fault::Framing, poller),
            Err(fault) => return self.fail(id, fault, poller),
        };
        // Bytes nobody asked for are a framing fault, too.
        let Some(due) = connection.due.take() else { return self.fail(id, Fault::Framing, poller) };
        connection.filled = 0;
        let spent = complete.close || connection.requests_left == 0;
        self.in_flight -= 1;
        self.answered += 1;
        self.answers.push(Answer { due, at: Instant::now() });
        if spent {
            self.connect(id, poller);
        } else {
            self.free.push_back(id);
        }
    }

    /// The peer closed: between two requests it may, within one it must not.
    fn ended(&mut self, id: usize, poller: &Poller) {
        let busy = self.connections[id].as_ref().is_some_and(|connection| connection.due.is_some());
        if busy {
            return self.fail(id, Fault::ClosedEarly, poller);
        }
        self.closed_by_peer += 1;
        self.free.retain(|&free| free != id);
        self.connect(id, poller);
    }

    fn fail(&mut self, id: usize, fault: Fault, poller: &Poller) {
        self.count(fault);
        let busy = self.connections[id].as_ref().is_some_and(|connection| connection.due.is_some());
        if busy {
            self.in_flight -= 1;
        } else {
            self.free.retain(|&free| free != id);
        }
        self.connect(id, poller);
    }

    fn count(&mut self, fault: Fault) {
        let index = FAULTS.iter().position(|&known| known == fault);
        index.into_iter().for_each(|index| self.faults[index] += 1);
    }

    /// Replaces connection `id` by a fresh one; without one the slot stays empty and the fault is counted.
    fn connect(&mut self, id: usize, poller: &Poller) {
        self.connections[id] = None;
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + 1 + (self.opened % u64::from(SOURCES)) as u32);
        self.opened += 1;
        let opened = sys::connect_from(source, self.target)
            .and_then(|stream| poller.add(stream.as_raw_fd(), Token::Client(id)).map(|()| stream));
        let Ok(stream) = opened else { return self.count(Fault::Connect) };
        let input = vec![0; INPUT_BYTES];
        let requests_left = self.requests_per_connection;
        self.connections[id] = Some(Connection { stream, input, filled: 0, due: None, requests_left });
        self.free.push_back(id);
    }
}
