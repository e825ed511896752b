//! One TLS connection without its IO: ciphertext in, plaintext out, and the other way round.
//!
//! Over rustls' unbuffered interface. Two of its habits shape this file. It keeps what it decrypted until it is taken and
//! lets nothing be written before. And it may hold on to the front of the ciphertext, when a handshake message came in
//! parts or empty: then it must be shown the same octets again, at the same place, and nothing less. It does not say when
//! it does, and what it holds on to need not begin with a record. But it has looked at whole records alone, so that where
//! it may be holding any, they are always shown, in every call.

use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, HandshakeKind, ProtocolVersion};

use super::buffers::{CipherBuffers, LARGE_BYTES, SMALL_BYTES};
use super::signing::{self, Answer, Signing};
use crate::base::{Buffer, UnixTime};
use crate::context::ClientCertificate;
use crate::snapshot::client_auth;
use crate::snapshot::tls::{self, ClientTls, PeerName, ServerTls};

/// Octets of a record before its content.
pub(super) const RECORD_HEAD_BYTES: usize = 5;
/// Content of one record.
const RECORD_CONTENT_BYTES_MAX: usize = 16 * 1024;
/// No method is shorter.
const METHOD_BYTES_MIN: usize = 3;
/// What sealing adds to a record, at the most: head, explicit nonce, tag, type.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Content sealed into one write: it fits a large buffer.
const WRITE_BYTES_MAX: usize = 4 * RECORD_CONTENT_BYTES_MAX;

const _: () = assert!(WRITE_BYTES_MAX + 8 * RECORD_OVERHEAD_BYTES <= LARGE_BYTES, "a write must fit the large buffer");

/// rustls' side of a connection, in either role.
enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
    /// It is being signed elsewhere.
    Away,
}

/// What became of one call of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was done; there may be more to do.
    More,
    /// Plaintext was decrypted, and taken if that was wished.
    Plaintext,
    /// Nothing is left to do, and content may be sealed.
    Open,
    /// Nothing is left to do before the peer has spoken.
    Blocked,
    /// The peer has sent its last word.
    PeerClosed,
}

/// What to seal, where the state allows it.
#[derive(Clone, Copy)]
pub(super) enum Wish<'w> {
    Nothing,
    Content(&'w [u8]),
    CloseNotify,
}

/// Where plaintext goes: into the reader's buffer, what does not fit into an overflow. Without a reader it stays.
pub(super) struct Sink<'s> {
    pub reader: Option<&'s mut Buffer>,
    pub overflow: &'s mut Buffer,
    pub buffers: &'s CipherBuffers,
    /// Whether all of it may go into the overflow.
    pub spills: bool,
}

impl Sink<'_> {
    fn takes(&self) -> bool {
        self.reader.is_some() || self.spills
    }

    fn put(&mut self, plaintext: &[u8]) {
        let fits = match &mut self.reader {
            Some(reader) => {
                let fits = reader.room().min(plaintext.len());
                reader.vec().extend_from_slice(&plaintext[..fits]);
                fits
            }
            None => 0,
        };
        if fits < plaintext.len() {
            if self.overflow.capacity() == 0 {
                *self.overflow = self.buffers.holding(plaintext.len() - fits);
            }
            self.overflow.vec().extend_from_slice(&plaintext[fits..]);
        }
    }
}

/// A TLS connection.
pub struct Engine {
    session: Session,
    buffers: Rc<CipherBuffers>,
    /// Ciphertext received; empty and without room when there is none.
    incoming: Buffer,
    /// Octets of it that are done with.
    start: usize,
    /// Where the last whole record in it ends. Before that the library may hold on to what is left.
    whole: usize,
    /// Whether the last read filled its buffer: then the next one is larger.
    flows: bool,
    /// Plaintext that did not fit the reader's buffer, and how much of it was taken since.
    overflow: Buffer,
    overflow_taken: usize,
    /// Ciphertext to be sent before any other: alerts, tickets, key updates, flights of a handshake.
    queue: Vec<u8>,
    /// The name the client asked for.
    asked: Option<Box<str>>,
    /// A certificate that the client has shown and that was refused.
    refused: Option<Box<ClientCertificate>>,
    /// When the handshake began.
    began: UnixTime,
    /// Whose keys take long to sign, where some do and none has signed yet.
    slow: Option<Arc<ServerTls>>,
    /// Whether a hello came in several records, the first of which the library has written over: nobody can tell any more
    /// whose key answers it.
    in_records: bool,
    peer_closed: bool,
    /// Whether the stream below has ended.
    ended: bool,
    /// Why nothing can be received any more; what is sent may still arrive.
    lost: Option<io::ErrorKind>,
    /// What ended the connection in both directions.
    failed: Option<io::ErrorKind>,
    error: Option<Error>,
}

impl Engine {
    /// The server's side of a fresh connection, at `now`.
    pub fn server(tls: &Arc<ServerTls>, now: UnixTime, buffers: &Rc<CipherBuffers>) -> Result<Self, Error> {
        let session = UnbufferedServerConnection::new(tls.config().clone())?;
        let slow = tls.has_rsa().then(|| Arc::clone(tls));
        Ok(Self { began: now, slow, ..Self::new(Session::Server(session), buffers) })
    }

    /// The client's side of a fresh connection to `peer`.
    pub fn client(tls: &ClientTls, peer: &PeerName, buffers: &Rc<CipherBuffers>) -> Result<Self, Error> {
        let session = UnbufferedClientConnection::new(tls.config().clone(), peer.server_name())?;
        Ok(Self::new(Session::Client(session), buffers))
    }

    fn new(session: Session, buffers: &Rc<CipherBuffers>) -> Self {
        Self {
            session,
            buffers: Rc::clone(buffers),
            incoming: Buffer::default(),
            start: 0,
            whole: 0,
            flows: false,
            overflow: Buffer::default(),
            overflow_taken: 0,
            queue: Vec::new(),
            asked: None,
            refused: None,
            began: UnixTime::default(),
            slow: None,
            in_records: false,
            peer_closed: false,
            ended: false,
            lost: None,
            failed: None,
            error: None,
        }
    }

    fn common(&self) -> Option<&CommonState> {
        match &self.session {
            Session::Client(session) => Some(session),
            Session::Server(session) => Some(session),
            Session::Away => None,
        }
    }

    /// The next step of the handshake, where it takes long: to be taken elsewhere, and given to [`Self::go_on_with`]. Until then
    /// nothing happens here.
    pub(super) fn sign_elsewhere(&mut self) -> Option<Box<Signing>> {
        let tls = self.slow.as_ref()?;
        let records = self.incoming.filled().get(self.start..self.whole)?;
        if records.is_empty() {
            return None;
        }
        if !self.in_records {
            match signing::answer(tls, records) {
                Answer::Rsa => {}
                Answer::Other => return None,
                Answer::Unknown => self.in_records = true,
            }
        }
        let session = match mem::replace(&mut self.session, Session::Away) {
            Session::Server(session) => session,
            other => {
                self.session = other;
                return None;
            }
        };
        Some(Box::new(Signing {
            session,
            incoming: mem::take(&mut self.incoming),
            start: self.start,
            now: self.began,
            queue: mem::take(&mut self.queue),
            asked: None,
            refused: None,
            error: None,
        }))
    }

    /// Goes on behind a step that was taken elsewhere.
    pub(super) fn go_on_with(&mut self, signing: Signing) {
        let Signing { session, incoming, start, queue, asked, refused, error, .. } = signing;
        self.session = Session::Server(session);
        (self.incoming, self.start, self.queue) = (incoming, start, queue);
        if let Some(asked) = asked {
            self.asked = asked;
        }
        self.refused = refused.or(self.refused.take());
        self.in_records &= self.queue.is_empty();
        self.release();
        if let Some(error) = error {
            self.fail(error);
        }
    }

    /// Whether the connection is spoken by TLS 1.3; else by 1.2.
    pub fn is_tls13(&self) -> bool {
        self.common().and_then(CommonState::protocol_version) == Some(ProtocolVersion::TLSv1_3)
    }

    /// The cipher suite, as IANA names it.
    pub fn cipher(&self) -> &'static str {
        let suite = self.common().and_then(CommonState::negotiated_cipher_suite);
        let name = suite.and_then(|suite| suite.suite().as_str());
        match name.unwrap_or_default() {
            // The library has names of its own for these.
            "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
            "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
            "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
            name => name,
        }
    }

    /// Whether an earlier connection was resumed.
    pub fn is_resumed(&self) -> bool {
        self.common().and_then(CommonState::handshake_kind) == Some(HandshakeKind::Resumed)
    }

    /// What is to be spoken above, as both sides have agreed (RFC 7301).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.common()?.alpn_protocol()
    }

    /// The name that the client asked for, in lower case.
    pub fn asked_name(&self) -> Option<&str> {
        self.asked.as_deref()
    }

    /// What the peer has shown, now or in the session that was resumed, its own certificate first.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.common()?.peer_certificates()
    }

    /// A certificate that the client has shown and that was refused.
    pub fn take_refused(&mut self) -> Option<Box<ClientCertificate>> {
        self.refused.take().or_else(client_auth::refused)
    }

    /// Whether there is ciphertext, or what is taken for some.
    pub(super) fn has_received(&self) -> bool {
        !self.incoming.filled().is_empty()
    }

    /// Whether what a fresh client has sent is a request and no handshake: a method, as far as it tells.
    pub(super) fn is_asked_in_plain_text(&self) -> bool {
        let mut front = self.incoming.filled().iter().take(METHOD_BYTES_MIN);
        matches!(self.session, Session::Server(_)) && front.len() > 0 && front.all(u8::is_ascii_alphabetic)
    }

    /// What the library had to say against the peer.
    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Goes on with the handshake as far as what was received allows; whether it is done.
    pub(super) fn shake_hands(&mut self) -> io::Result<bool> {
        loop {
            if let Some(kind) = self.failed {
                return Err(kind.into());
            }
            tls::set_now(self.began);
            let step = self.step(None, false, Wish::Nothing);
            if let Some(name) = tls::asked_name() {
                self.asked = name;
            }
            self.refused = client_auth::refused().or(self.refused.take());
            match step {
                Some(Step::More) | None => {}
                // Content that came with the last flight waits for its reader.
                Some(Step::Open | Step::Plaintext) => return Ok(true),
                Some(Step::Blocked) => return self.over().map_or(Ok(false), |kind| Err(kind.into())),
                Some(Step::PeerClosed) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Whether [`Self::open`] would have a result at once.
    pub(super) fn is_readable(&mut self) -> bool {
        loop {
            if self.has_overflow() || self.peer_closed || self.failed.is_some() {
                return true;
            }
            match self.step(None, false, Wish::Nothing) {
                Some(Step::Plaintext) => return true,
                Some(Step::Open | Step::Blocked) => return self.over().is_some(),
                Some(Step::More | Step::PeerClosed) | None => {}
            }
        }
    }

    /// Appends plaintext to `reader` and says how much; 0 once the peer has closed in order. Nothing where more
    /// ciphertext is needed.
    pub(super) fn open(&mut self, reader: &mut Buffer) -> Option<io::Result<usize>> {
        let before = reader.filled().len();
        self.take_overflow(reader);
        while reader.room() > 0 && !self.has_overflow() && !self.peer_closed && self.failed.is_none() {
            let step = self.step(Some(reader), false, Wish::Nothing);
            if matches!(step, Some(Step::Open | Step::Blocked)) {
                break;
            }
        }
        match reader.filled().len() - before {
            0 if self.peer_closed => Some(Ok(0)),
            0 => self.failed.or(self.over()).map(|kind| Err(kind.into())),
            count => Some(Ok(count)),
        }
    }

    /// Why nothing more will be received, if so.
    fn over(&self) -> Option<io::ErrorKind> {
        // RFC 8446, section 6.1: an end that the peer has not announced may be anybody's doing.
        self.lost.or(self.ended.then_some(io::ErrorKind::UnexpectedEof))
    }

    fn has_overflow(&self) -> bool {
        self.overflow_taken < self.overflow.filled().len()
    }

    fn take_overflow(&mut self, reader: &mut Buffer) {
        if !self.has_overflow() {
            return;
        }
        let rest = &self.overflow.filled()[self.overflow_taken..];
        let fits = rest.len().min(reader.room());
        reader.vec().extend_from_slice(&rest[..fits]);
        self.overflow_taken += fits;
        if !self.has_overflow() {
            self.overflow_taken = 0;
            self.buffers.give(mem::take(&mut self.overflow));
        }
    }

    /// A buffer for the next read, with what must stand before it; [`Self::received`] takes it back.
    pub(super) fn lend(&mut self) -> Buffer {
        if self.incoming.filled().is_empty() {
            return if self.flows { self.buffers.large() } else { self.buffers.small() };
        }
        // What may be held must be in place while content is sealed: the read gets a buffer of its own.
        if self.start < self.whole {
            return self.buffers.small();
        }
        self.move_to_front();
        if self.incoming.capacity() < record_bytes(self.incoming.filled()).min(LARGE_BYTES) {
            self.enlarge();
        }
        self.whole = 0;
        mem::take(&mut self.incoming)
    }

    /// Drops what is done with.
    fn move_to_front(&mut self) {
        self.incoming.consume(self.start);
        self.whole = self.whole.saturating_sub(self.start);
        self.start = 0;
    }

    fn enlarge(&mut self) {
        let larger = self.buffers.large();
        let smaller = mem::replace(&mut self.incoming, larger);
        self.incoming.vec().extend_from_slice(smaller.filled());
        self.buffers.give(smaller);
    }

    /// Takes a read's buffer back, with what it brought.
    pub(super) fn received(&mut self, result: &io::Result<usize>, buffer: Buffer) {
        match result {
            Ok(0) => self.ended = true,
            Ok(_) => self.flows = buffer.room() == 0,
            Err(error) => {
                self.lost.get_or_insert(error.kind());
            }
        }
        if self.incoming.filled().is_empty() {
            let empty = mem::replace(&mut self.incoming, buffer);
            self.buffers.give(empty);
            (self.start, self.whole) = (0, 0);
        } else {
            self.append(buffer);
        }
        self.see_records();
        self.release();
    }

    /// Takes what was read before there was anybody to read it.
    pub(in crate::proxy) fn receive(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() && self.failed.is_none() {
            let mut buffer = self.lend();
            let (piece, rest) = octets.split_at(octets.len().min(buffer.room()));
            buffer.vec().extend_from_slice(piece);
            self.received(&Ok(piece.len()), buffer);
            octets = rest;
        }
    }

    /// Adds to what the library may hold on to.
    fn append(&mut self, buffer: Buffer) {
        self.move_to_front();
        let needed = self.incoming.filled().len() + buffer.filled().len();
        if needed > LARGE_BYTES {
            // A handshake message in more parts than anybody makes.
            self.failed.get_or_insert(io::ErrorKind::InvalidData);
        } else {
            if needed > self.incoming.capacity() {
                self.enlarge();
            }
            self.incoming.vec().extend_from_slice(buffer.filled());
        }
        self.buffers.give(buffer);
    }

    /// Finds the end of the last whole record. To be done before the library sees them: it writes over their heads.
    fn see_records(&mut self) {
        let filled = self.incoming.filled();
        while self.whole < filled.len() {
            let length = record_bytes(&filled[self.whole..]);
            if filled.len() - self.whole < length {
                break;
            }
            self.whole += length;
        }
    }

    /// Gives the buffer back once everything in it is done with.
    fn release(&mut self) {
        if self.start >= self.incoming.filled().len() {
            (self.start, self.whole) = (0, 0);
            if self.incoming.capacity() > 0 {
                self.buffers.give(mem::take(&mut self.incoming));
            }
        }
    }

    /// Takes a sealed buffer back that was sent.
    pub(super) fn give(&self, sent: Buffer) {
        self.buffers.give(sent);
    }

    /// Whether there is something to be sent before any content.
    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// That, to be sent as it is.
    pub(super) fn take_queue(&mut self) -> Buffer {
        Buffer::from_vec(mem::take(&mut self.queue))
    }

    /// Seals as much of `content` as one write takes, behind what has to be sent before it. Says how much that was.
    pub(super) fn seal(&mut self, content: &[u8]) -> io::Result<(Buffer, usize)> {
        let part = &content[..content.len().min(WRITE_BYTES_MAX)];
        let records = part.len().div_ceil(RECORD_CONTENT_BYTES_MAX) + 2;
        let mut out = self.buffers.holding(self.queue.len() + part.len() + records * RECORD_OVERHEAD_BYTES);
        out.vec().append(&mut self.queue);
        mem::swap(out.vec(), &mut self.queue);
        // After an error the queue is what there is to say.
        self.until_open(Wish::Content(part))?;
        mem::swap(out.vec(), &mut self.queue);
        Ok((out, part.len()))
    }

    /// Queues our last word.
    pub(super) fn close(&mut self) {
        // A connection that has failed has nothing orderly to say.
        let _ = self.until_open(Wish::CloseNotify);
    }

    /// Seals the wish into the queue as soon as the library lets us.
    fn until_open(&mut self, wish: Wish<'_>) -> io::Result<()> {
        loop {
            if let Some(kind) = self.failed {
                return Err(kind.into());
            }
            match self.step(None, true, wish) {
                Some(Step::Open) => return Ok(()),
                Some(Step::Blocked) => return Err(io::ErrorKind::NotConnected.into()),
                Some(Step::More | Step::Plaintext | Step::PeerClosed) | None => {}
            }
        }
    }

    /// Has the library take one step. `spills` has plaintext that nobody reads yet be put aside. None after an error,
    /// which is noted.
    fn step(&mut self, reader: Option<&mut Buffer>, spills: bool, wish: Wish<'_>) -> Option<Step> {
        let mut sink = Sink { reader, overflow: &mut self.overflow, buffers: &self.buffers, spills };
        let incoming = &mut self.incoming.vec()[self.start..];
        let (discard, result) = match &mut self.session {
            Session::Client(session) => settle(session.process_tls_records(incoming), &mut sink, &mut self.queue, wish),
            Session::Server(session) => settle(session.process_tls_records(incoming), &mut sink, &mut self.queue, wish),
            Session::Away => (0, Ok(Step::Blocked)),
        };
        self.start += discard;
        self.release();
        match result {
            Ok(step) => {
                self.peer_closed |= step == Step::PeerClosed;
                Some(step)
            }
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Notes an error, and what the peer is told of it.
    fn fail(&mut self, error: Error) {
        let alerted = matches!(error, Error::AlertReceived(_));
        self.failed.get_or_insert(if alerted { io::ErrorKind::ConnectionAborted } else { io::ErrorKind::InvalidData });
        self.error.get_or_insert(error);
        // As long as the library has something to send it does not look at its input, which it must not see again.
        while self.common().is_some_and(CommonState::wants_write) {
            let mut sink = Sink { reader: None, overflow: &mut self.overflow, buffers: &self.buffers, spills: true };
            let _ = match &mut self.session {
                Session::Client(session) => {
                    settle(session.process_tls_records(&mut []), &mut sink, &mut self.queue, Wish::Nothing)
                }
                Session::Server(session) => {
                    settle(session.process_tls_records(&mut []), &mut sink, &mut self.queue, Wish::Nothing)
                }
                Session::Away => return,
            };
        }
    }
}

#[cfg(test)]
impl Engine {
    /// A server of this configuration.
    pub fn server_of(config: std::sync::Arc<rustls::ServerConfig>, buffers: &Rc<CipherBuffers>) -> Self {
        Self::new(Session::Server(UnbufferedServerConnection::new(config).unwrap()), buffers)
    }

    /// A client whose keys can be taken out.
    pub fn client_of(
        config: std::sync::Arc<rustls::ClientConfig>,
        peer: &PeerName,
        buffers: &Rc<CipherBuffers>,
    ) -> Self {
        let session = UnbufferedClientConnection::new(config, peer.server_name()).unwrap();
        Self::new(Session::Client(session), buffers)
    }

    /// The keys by which a client seals, and the number of its next record.
    pub fn into_secrets(self) -> (u64, rustls::ConnectionTrafficSecrets) {
        let Session::Client(session) = self.session else { panic!("for clients") };
        session.dangerous_into_kernel_connection().unwrap().0.tx
    }

    /// Has new keys be made, which the peer is told.
    pub fn refresh_keys(&mut self) {
        let Session::Client(session) = &mut self.session else { panic!("for clients") };
        match session.process_tls_records(&mut []).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => traffic.refresh_traffic_keys().unwrap(),
            state => panic!("{state:?}"),
        }
    }

    /// How long the certificate is that the peer has shown.
    pub fn peer_certificate_bytes(&self) -> usize {
        self.peer_certificates().unwrap()[0].len()
    }

    /// Octets of the buffers that it holds.
    pub fn held_bytes(&self) -> usize {
        self.incoming.capacity() + self.overflow.capacity() + self.queue.capacity()
    }
}

/// How long the record at the front is, as far as it tells.
pub(super) fn record_bytes(front: &[u8]) -> usize {
    match *front {
        [_, _, _, high, low, ..] => RECORD_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low])),
        _ => RECORD_HEAD_BYTES,
    }
}

/// Does what the library asks for. Returns how many octets of the input are done with.
pub(super) fn settle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    sink: &mut Sink<'_>,
    queue: &mut Vec<u8>,
    wish: Wish<'_>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while sink.takes()
                && let Some(record) = traffic.next_record()
            {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        sink.put(record.payload);
                    }
                    Err(error) => return (discard, Err(error)),
                }
            }
            Ok(Step::Plaintext)
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            appended(queue, |room| match data.encode(room) {
                Ok(count) => Ok(count),
                Err(EncodeError::InsufficientSize(error)) => Err(Some(error.required_size)),
                Err(EncodeError::AlreadyEncoded) => Err(None),
            });
            Ok(Step::More)
        }
        // It stands in the queue, which is sent in its order.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::More)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let sealed = match wish {
                Wish::Nothing => true,
                Wish::Content(content) => appended(queue, |room| sized(traffic.encrypt(content, room))),
                Wish::CloseNotify => appended(queue, |room| sized(traffic.queue_close_notify(room))),
            };
            if sealed { Ok(Step::Open) } else { Err(Error::EncryptError) }
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::PeerClosed) => Ok(Step::PeerClosed),
        // Both sides have said their last word.
        Ok(ConnectionState::Closed) => Ok(Step::Blocked),
        // Early data is never offered.
        Ok(_) => Err(Error::General("a state that was ruled out".into())),
        Err(error) => Err(error),
    };
    (discard, step)
}

fn sized(result: Result<usize, EncryptError>) -> Result<usize, Option<usize>> {
    result.map_err(|error| match error {
        EncryptError::InsufficientSize(error) => Some(error.required_size),
        EncryptError::EncryptExhausted => None,
    })
}

/// Appends what `write` writes, in as much room as it asks for; whether it did.
fn appended(queue: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>) -> bool {
    let before = queue.len();
    let mut outcome = write(&mut []);
    if let Err(Some(needed)) = outcome {
        queue.resize(before + needed, 0);
        outcome = write(&mut queue[before..]);
    }
    match outcome {
        Ok(count) => queue.truncate(before + count),
        Err(_) => queue.truncate(before),
    }
    outcome.is_ok()
}

const _: () = assert!(SMALL_BYTES > RECORD_HEAD_BYTES, "the head of a record must fit any buffer");
