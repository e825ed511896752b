//! The origin behind every proxy: it answers each request with the same bytes and keeps every connection.

use std::io::{Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::h2_backend::Session;
use crate::message;
use crate::poll::{Poller, Token};

/// Connections taken before the others are served again.
const ACCEPTS_MAX: usize = 64;

/// What one read takes: a head, or several frames.
const INPUT_BYTES: usize = 32 * 1024;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Both kinds of socket, behind what is done with them.
trait Socket: Read + Write + AsRawFd {}

impl Socket for TcpStream {}
impl Socket for UnixStream {}

impl Listener {
    /// At `ADDRESS:PORT`, or at the path after `unix:`.
    fn bind(place: &str) -> Result<Self> {
        let Some(path) = place.strip_prefix("unix:") else {
            let listener = TcpListener::bind(place)?;
            listener.set_nonblocking(true)?;
            return Ok(Self::Tcp(listener));
        };
        // What an earlier run has left behind.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(listener))
    }

    fn accept(&self) -> Result<Box<dyn Socket>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Box::new(stream)
            }
            Self::Unix(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nonblocking(true)?;
                Box::new(stream)
            }
        })
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener) => listener.as_raw_fd(),
        }
    }
}

struct Connection {
    stream: Box<dyn Socket>,
    input: Box<[u8]>,
    filled: usize,
    /// HTTP/2; otherwise HTTP/1.
    session: Option<Session>,
}

pub struct Backend {
    /// Each with whether HTTP/2 is spoken there.
    listeners: Vec<(Listener, bool)>,
    response: Vec<u8>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    last_head: Vec<u8>,
    last_fields: usize,
    /// Connections the proxy has opened since the run began: few, if it keeps them.
    pub accepted: u64,
}

impl Backend {
    /// Listens at every one of `places`; HTTP/2 is spoken at those after `h2:`.
    pub fn bind(places: &[String], poller: &Poller) -> Result<Self> {
        let mut listeners = Vec::new();
        for (id, place) in places.iter().enumerate() {
            let multiplexed = place.strip_prefix("h2:");
            let listener = Listener::bind(multiplexed.unwrap_or(place))
                .map_err(|error| Error::new(error.kind(), format!("{place}: {error}")))?;
            poller.add(listener.as_raw_fd(), Token::Listener(id))?;
            listeners.push((listener, multiplexed.is_some()));
        }
        let response = message::response();
        let (connections, free) = (Vec::new(), Vec::new());
        Ok(Self { listeners, response, connections, free, last_head: Vec::new(), last_fields: 0, accepted: 0 })
    }

    /// The first head of the newest connection of HTTP/1: what the proxy made of the request.
    pub fn last_head(&self) -> String {
        String::from_utf8_lossy(&self.last_head).into_owned()
    }

    /// How many header fields the newest connection of HTTP/2 brought first.
    pub fn last_fields(&self) -> usize {
        self.last_fields
    }

    /// Takes the connections that wait at a listener; the poller speaks again when there are more than a few.
    pub fn accept(&mut self, listener: usize, poller: &Poller) {
        for _ in 0..ACCEPTS_MAX {
            let (listener, multiplexed) = &self.listeners[listener];
            let Ok(stream) = listener.accept() else { return };
            let multiplexed = *multiplexed;
            self.adopt(stream, multiplexed, poller);
        }
    }

    fn adopt(&mut self, stream: Box<dyn Socket>, multiplexed: bool, poller: &Poller) {
        let id = self.free.pop().unwrap_or(self.connections.len());
        if poller.add(stream.as_raw_fd(), Token::Backend(id)).is_err() {
            return;
        }
        let input = vec![0; INPUT_BYTES].into_boxed_slice();
        let session = multiplexed.then(Session::default);
        if id == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[id] = Some(Connection { stream, input, filled: 0, session });
        self.accepted += 1;
        self.last_head.clear();
        self.last_fields = 0;
    }

    /// Answers what has arrived on one connection; forgets the connection at its end.
    pub fn readable(&mut self, id: usize) {
        let Some(connection) = self.connections[id].as_mut() else { return };
        let served = match connection.read() {
            Some(()) if connection.session.is_some() => connection.answer_frames(&mut self.last_fields),
            Some(()) => connection.answer_heads(&self.response, &mut self.last_head),
            None => None,
        };
        if served.is_none() {
            self.connections[id] = None;
            self.free.push(id);
        }
    }
}

/// Each step ends the connection with `None`.
impl Connection {
    fn read(&mut self) -> Option<()> {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => None,
            Ok(read) => {
                self.filled += read;
                Some(())
            }
            Err(error) => (error.kind() == std::io::ErrorKind::WouldBlock).then_some(()),
        }
    }

    /// An answer to every complete request of HTTP/1.
    fn answer_heads(&mut self, response: &[u8], last_head: &mut Vec<u8>) -> Option<()> {
        while let Some(head) = message::head_length(&self.input[..self.filled], 0) {
            if last_head.is_empty() {
                last_head.extend_from_slice(&self.input[..head]);
            }
            self.write(response)?;
            self.input.copy_within(head..self.filled, 0);
            self.filled -= head;
        }
        (self.filled < message::HEAD_BYTES_MAX).then_some(())
    }

    /// What the frames that have arrived ask for, in one write.
    fn answer_frames(&mut self, last_fields: &mut usize) -> Option<()> {
        let session = self.session.as_mut()?;
        let taken = session.read(&self.input[..self.filled]).ok()?;
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        if *last_fields == 0 {
            *last_fields = session.fields;
        }
        let output = std::mem::take(&mut session.output);
        if output.is_empty() { Some(()) } else { self.write(&output) }
    }

    /// One answer always fits the socket's buffer; a peer that never reads loses its connection.
    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        (self.stream.write(bytes).ok()? == bytes.len()).then_some(())
    }
}
