//! The origin behind every proxy: it answers each request with the same bytes and keeps every connection.

use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use crate::message;
use crate::poll::{Poller, Token};

/// Connections taken before the others are served again.
const ACCEPTS_MAX: usize = 64;

struct Connection {
    stream: TcpStream,
    input: [u8; message::HEAD_BYTES_MAX],
    filled: usize,
}

pub struct Backend {
    listener: TcpListener,
    response: Vec<u8>,
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    last_head: Vec<u8>,
    /// Connections the proxy has opened since the run began: few, if it keeps them.
    pub accepted: u64,
}

impl Backend {
    pub fn bind(address: &str, poller: &Poller) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        poller.add(listener.as_raw_fd(), Token::Listener)?;
        let response = message::response();
        Ok(Self { listener, response, connections: Vec::new(), free: Vec::new(), last_head: Vec::new(), accepted: 0 })
    }

    /// The first head of the newest connection: what the proxy made of the request.
    pub fn last_head(&self) -> String {
        String::from_utf8_lossy(&self.last_head).into_owned()
    }

    /// Takes the waiting connections; the poller speaks again when there are more than a few.
    pub fn accept(&mut self, poller: &Poller) {
        for _ in 0..ACCEPTS_MAX {
            let Ok((stream, _)) = self.listener.accept() else { return };
            self.adopt(stream, poller);
        }
    }

    fn adopt(&mut self, stream: TcpStream, poller: &Poller) {
        let prepared = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
        let id = self.free.pop().unwrap_or(self.connections.len());
        if prepared.and_then(|()| poller.add(stream.as_raw_fd(), Token::Backend(id))).is_err() {
            return;
        }
        let connection = Box::new(Connection { stream, input: [0; message::HEAD_BYTES_MAX], filled: 0 });
        if id == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[id] = Some(connection);
        self.accepted += 1;
        self.last_head.clear();
    }

    /// Answers what has arrived on one connection; forgets the connection at its end.
    pub fn readable(&mut self, id: usize) {
        let Some(connection) = self.connections[id].as_deref_mut() else { return };
        if serve(connection, &self.response, &mut self.last_head).is_none() {
            self.connections[id] = None;
            self.free.push(id);
        }
    }
}

/// One read, and an answer to every complete request; `None` ends the connection.
fn serve(connection: &mut Connection, response: &[u8], last_head: &mut Vec<u8>) -> Option<()> {
    let read = match connection.stream.read(&mut connection.input[connection.filled..]) {
        Ok(0) => return None,
        Ok(read) => read,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Some(()),
        Err(_) => return None,
    };
    connection.filled += read;
    while let Some(head) = message::head_length(&connection.input[..connection.filled], 0) {
        if last_head.is_empty() {
            last_head.extend_from_slice(&connection.input[..head]);
        }
        // One answer always fits the socket's buffer; a peer that never reads loses its connection.
        if connection.stream.write(response).ok()? != response.len() {
            return None;
        }
        connection.input.copy_within(head..connection.filled, 0);
        connection.filled -= head;
    }
    (connection.filled < message::HEAD_BYTES_MAX).then_some(())
}
