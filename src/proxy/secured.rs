//! TLS on either side of the gateway: a client's fresh connection, and one just opened to an endpoint.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::connection::Connection;
use super::failure::Failure;
use super::net::Net;
use super::shard::Shard;
use super::tls::{Engine, HandshakeError, PLAIN_TEXT, handshake, turn_away};
use super::{downstream, respond};
use crate::base::{Timestamp, UnixTime};
use crate::config::CertificateForward;
use crate::context::ClientCertificate;
use crate::observe::{Escaped, Gauge, Reason, Record, Transport};
use crate::snapshot::client_auth;
use crate::snapshot::tls::{ClientTls, HTTP_2, PeerName, ServerTls};

/// What the handshake with a client has found.
pub(super) struct Secured {
    /// What the connection was made with; it keeps that across a reload.
    tls: Arc<ServerTls>,
    /// The place of its certificate there.
    certificate: Option<usize>,
    /// Whether HTTP/2 was chosen by ALPN.
    pub speaks_http2: bool,
    /// Who the client is, where it has shown a certificate that is believed.
    pub client: Option<Box<ClientCertificate>>,
    /// For the log.
    pub transport: Transport,
}

impl Secured {
    /// Whether a client that asks for `host` would have been shown the certificate of this connection.
    pub fn stands_for(&self, host: &str) -> bool {
        self.tls.select(Some(host)) == self.certificate
    }

    /// What an upstream is told of the client's certificate: that, then those that came with it.
    pub fn told(&self, wish: CertificateForward) -> Option<&[Box<[u8]>]> {
        let chain = &self.client.as_ref()?.chain;
        match wish {
            CertificateForward::Leaf => chain.get(..1),
            CertificateForward::Chain => Some(chain),
        }
    }
}

/// Shakes hands with a client; whether requests may follow.
pub(super) async fn accept<N: Net>(shard: Rc<Shard<N>>, connection: Rc<Connection<N>>) -> bool {
    let listener = connection.listener.borrow().clone();
    let Some(tls) = &listener.tls else { return true };
    let metrics = &shard.metrics;
    let began = shard.net.now();
    let shaken = {
        let _under_way = UnderWay::new(&metrics.handshakes_in_flight);
        // A hello that was read before, for its name, has taken of the same time.
        let until = connection.idle_since.get().plus(listener.timeouts.handshake);
        shake(&shard, &connection, tls, until).await
    };
    match shaken {
        Ok((engine, client)) => {
            let now = shard.net.now();
            let micros = u64::try_from(now.since(began).as_micros()).unwrap_or(u64::MAX);
            metrics.handshake_done(engine.is_tls13(), engine.is_resumed(), micros);
            let _ = connection.secured.set(Rc::new(secured(tls, &engine, client)));
            shard.net.secure(&mut connection.reader.borrow_mut(), &mut connection.writer.borrow_mut(), engine);
            // The time of the first request runs from here.
            connection.idle_since.set(now);
            true
        }
        Err(refused) => {
            metrics.handshake_failures.increment(refused.word);
            connection.ended.set(Reason::HandshakeFailed);
            if refused.certificate {
                log_refused(&shard, &connection, &refused);
            }
            if refused.word == PLAIN_TEXT {
                connection.ended.set(Reason::PlainText);
                respond::plain_text(&shard, &connection).await;
                downstream::linger(&shard, &connection).await;
            }
            false
        }
    }
}

/// A handshake that has failed.
struct Refused {
    word: &'static str,
    /// Whether the client's certificate is the cause, or that there was none.
    certificate: bool,
    /// What the client has said of itself until then.
    transport: Transport,
}

/// A refused certificate belongs to no exchange, and somebody will ask why.
fn log_refused<N: Net>(shard: &Shard<N>, connection: &Connection<N>, refused: &Refused) {
    let adopted = shard.adopted();
    let Some(format) = adopted.snapshot.log_format.as_ref() else { return };
    let listener = connection.listener.borrow();
    let record = Record {
        time: shard.net.unix_time(),
        listener: listener.label.as_escaped(),
        client: Escaped::plain(connection.peer_text.as_bytes()),
        peer: Escaped::plain(connection.socket_peer_text()),
        introduction: connection.introduced.as_ref().map(|introduced| &introduced.claims),
        reason: Reason::HandshakeFailed,
        detail: refused.word,
        transport: Some(&refused.transport),
        ..Record::default()
    };
    shard.log_apart(format, &record, shard.net.now());
}

/// Counts a handshake while it is under way, however it ends.
struct UnderWay<'g>(&'g Gauge);

impl<'g> UnderWay<'g> {
    fn new(gauge: &'g Gauge) -> Self {
        gauge.rise();
        Self(gauge)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fall();
    }
}

async fn shake<N: Net>(
    shard: &Shard<N>,
    connection: &Connection<N>,
    tls: &Arc<ServerTls>,
    deadline: Timestamp,
) -> Result<(Engine, Option<Box<ClientCertificate>>), Refused> {
    let mut engine = Engine::server(tls, shard.net.unix_time(), &shard.cipher_buffers).map_err(|_| Refused {
        word: "other",
        certificate: false,
        transport: Transport::new("", "", ""),
    })?;
    // What came behind a PROXY header.
    if let Some(ahead) = connection.ahead.take() {
        engine.receive(ahead.filled());
        shard.buffers.give(ahead);
    }
    let shaken = handshake(&shard.net, &connection.reader, &connection.writer, &mut engine, deadline).await;
    let (outcome, shown) = match shaken {
        Ok(()) => match client(tls, &engine, shard.net.unix_time()) {
            Ok(client) => return Ok((engine, client)),
            Err(error) => {
                // Before another handshake goes on, which would take it for its own.
                let shown = engine.take_refused();
                turn_away(&shard.net, &connection.writer, &mut engine, deadline).await;
                (error, shown)
            }
        },
        Err(error) => (error, engine.take_refused()),
    };
    let transport = Transport::new("", "", engine.asked_name().unwrap_or_default());
    let transport = transport.with_certificate(shown.as_deref());
    Err(Refused { word: outcome.word, certificate: outcome.certificate, transport })
}

/// Who the client is, by a certificate that it has shown now or in the session it resumes; that is looked at again, since
/// it may have ended or been revoked.
fn client(tls: &ServerTls, engine: &Engine, now: UnixTime) -> Result<Option<Box<ClientCertificate>>, HandshakeError> {
    let (Some(clients), Some(chain)) = (tls.clients(), engine.peer_certificates()) else { return Ok(None) };
    if engine.is_resumed() {
        clients.check_again(chain, now).map_err(|error| HandshakeError::refusal(&error))?;
    }
    let read = client_auth::read(chain).ok_or(HandshakeError::MALFORMED_CERTIFICATE)?;
    Ok(Some(Box::new(read)))
}

fn secured(tls: &Arc<ServerTls>, engine: &Engine, client: Option<Box<ClientCertificate>>) -> Secured {
    let name = engine.asked_name();
    let version = if engine.is_tls13() { "TLSv1.3" } else { "TLSv1.2" };
    Secured {
        tls: Arc::clone(tls),
        certificate: tls.select(name),
        speaks_http2: engine.protocol() == Some(HTTP_2),
        transport: Transport::new(version, engine.cipher(), name.unwrap_or_default())
            .with_certificate(client.as_deref()),
        client,
    }
}

/// A secured connection, and whether HTTP/2 was chosen by ALPN.
type Connected<N> = ((<N as Net>::Reader, <N as Net>::Writer), bool);

/// Shakes hands with an endpoint, which must prove to be `peer`.
pub(super) async fn connect<N: Net>(
    shard: &Shard<N>,
    halves: (N::Reader, N::Writer),
    tls: &ClientTls,
    peer: Option<&PeerName>,
    deadline: Timestamp,
) -> Result<Connected<N>, Failure> {
    let refused = |_| Failure::of(Reason::TlsHandshake);
    let peer = peer.ok_or(()).map_err(refused)?;
    let mut engine = Engine::client(tls, peer, &shard.cipher_buffers).map_err(|_| refused(()))?;
    let (reader, writer) = (RefCell::new(halves.0), RefCell::new(halves.1));
    let done = handshake(&shard.net, &reader, &writer, &mut engine, deadline).await;
    let (mut reader, mut writer) = (reader.into_inner(), writer.into_inner());
    done.map_err(|error| failure(&error))?;
    let speaks_http2 = engine.protocol() == Some(HTTP_2);
    shard.net.secure(&mut reader, &mut writer, engine);
    Ok(((reader, writer), speaks_http2))
}

fn failure(error: &HandshakeError) -> Failure {
    match error {
        HandshakeError { certificate: true, word, .. } => Failure::of(Reason::TlsCertificate).detail(word),
        HandshakeError { kind: std::io::ErrorKind::TimedOut, .. } => Failure::of(Reason::ConnectTimeout).detail("tls"),
        HandshakeError { word, .. } => Failure::of(Reason::TlsHandshake).detail(word),
    }
}
