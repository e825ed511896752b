//! The one step of a handshake that signs by an RSA key, taken where it holds nobody up.
//!
//! ```text
//! hello ─▶ Engine ─ Signing ─▶ a thread beside the shards, by the port ─ Signing ─▶ Engine ─▶ flight
//! ```
//!
//! RSA takes half a millisecond to sign where ECDSA takes some twenty microseconds, and the library signs within the call
//! that reads the hello. So the whole state of the library moves, with what it reads, and comes back with what it has written.

use rustls::Error;
use rustls::server::{Acceptor, UnbufferedServerConnection};

use super::buffers::CipherBuffers;
use super::engine::{RECORD_HEAD_BYTES, Sink, Step, Wish, record_bytes, settle};
use crate::base::{Buffer, UnixTime};
use crate::context::ClientCertificate;
use crate::snapshot::client_auth;
use crate::snapshot::tls::{self, ServerTls};

/// Content types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// A handshake on its way, with all it needs for its next step.
pub struct Signing {
    pub(super) session: UnbufferedServerConnection,
    pub(super) incoming: Buffer,
    /// Octets of it that are done with.
    pub(super) start: usize,
    /// When the handshake began.
    pub(super) now: UnixTime,
    /// What is to be sent.
    pub(super) queue: Vec<u8>,
    pub(super) asked: Option<Option<Box<str>>>,
    pub(super) refused: Option<Box<ClientCertificate>>,
    /// What the library had to say against the peer.
    pub(super) error: Option<Error>,
}

impl Signing {
    /// Takes the step. It ends by itself, and needs nothing but time.
    pub fn run(&mut self) {
        tls::set_now(self.now);
        // Nothing is opened in this step, so that none of these is used.
        let (buffers, mut overflow) = (CipherBuffers::default(), Buffer::default());
        loop {
            let mut sink = Sink { reader: None, overflow: &mut overflow, buffers: &buffers, spills: false };
            let incoming = &mut self.incoming.vec()[self.start..];
            let status = self.session.process_tls_records(incoming);
            let (discard, result) = settle(status, &mut sink, &mut self.queue, Wish::Nothing);
            self.start += discard;
            match result {
                Ok(Step::More) => {}
                Ok(_) => break,
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
        self.asked = tls::asked_name();
        self.refused = client_auth::refused();
    }
}

/// How a hello is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// By an RSA signature.
    Rsa,
    /// By another, or it cannot be read.
    Other,
    /// It has not come whole.
    Unknown,
}

/// How what a client has sent is answered.
pub(super) fn answer(tls: &ServerTls, mut records: &[u8]) -> Answer {
    let mut acceptor = Acceptor::default();
    let mut outcome = Answer::Other;
    while records.len() > RECORD_HEAD_BYTES {
        let (record, rest) = records.split_at(record_bytes(records).min(records.len()));
        records = rest;
        let mut octets = match record[0] {
            HANDSHAKE => record,
            // RFC 8446, appendix D.4: it may stand before a second hello.
            CHANGE_CIPHER_SPEC => continue,
            _ => return Answer::Other,
        };
        while !octets.is_empty() {
            if acceptor.read_tls(&mut octets).is_err() {
                return Answer::Other;
            }
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let is_rsa = tls.is_signed_by_rsa(hello.server_name(), hello.signature_schemes());
                return if is_rsa { Answer::Rsa } else { Answer::Other };
            }
            Ok(None) => outcome = Answer::Unknown,
            Err(_) => return Answer::Other,
        }
    }
    outcome
}
