//! TLS on either side of the gateway: a client's fresh connection, and one just opened to an endpoint.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::connection::Connection;
use super::failure::Failure;
use super::net::Net;
use super::shard::Shard;
use super::tls::{Engine, HandshakeError, PLAIN_TEXT, handshake};
use super::{downstream, respond};
use crate::base::Timestamp;
use crate::observe::{Gauge, Reason, Transport};
use crate::snapshot::tls::{ClientTls, HTTP_2, PeerName, ServerTls};

/// What the handshake with a client has found.
pub(super) struct Secured {
    /// What the connection was made with; it keeps that across a reload.
    tls: Arc<ServerTls>,
    /// The place of its certificate there.
    certificate: Option<usize>,
    /// Whether HTTP/2 was chosen by ALPN.
    pub speaks_http2: bool,
    /// For the log.
    pub transport: Transport,
}

impl Secured {
    /// Whether a client that asks for `host` would have been shown the certificate of this connection.
    pub fn stands_for(&self, host: &str) -> bool {
        self.tls.select(Some(host)) == self.certificate
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
        shake(&shard, &connection, tls, began.plus(listener.timeouts.handshake)).await
    };
    match shaken {
        Ok(engine) => {
            let now = shard.net.now();
            let micros = u64::try_from(now.since(began).as_micros()).unwrap_or(u64::MAX);
            metrics.handshake_done(engine.is_tls13(), engine.is_resumed(), micros);
            let _ = connection.secured.set(Rc::new(secured(tls, &engine)));
            shard.net.secure(&mut connection.reader.borrow_mut(), &mut connection.writer.borrow_mut(), engine);
            // The time of the first request runs from here.
            connection.idle_since.set(now);
            true
        }
        Err(word) => {
            metrics.handshake_failures.increment(word);
            connection.ended.set(Reason::HandshakeFailed);
            if word == PLAIN_TEXT {
                connection.ended.set(Reason::PlainText);
                respond::plain_text(&shard, &connection).await;
                downstream::linger(&shard, &connection).await;
            }
            false
        }
    }
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
    tls: &ServerTls,
    deadline: Timestamp,
) -> Result<Engine, &'static str> {
    let mut engine = Engine::server(tls, &shard.cipher_buffers).map_err(|_| "other")?;
    // What came behind a PROXY header.
    if let Some(ahead) = connection.ahead.take() {
        engine.receive(ahead.filled());
        shard.buffers.give(ahead);
    }
    let done = handshake(&shard.net, &connection.reader, &connection.writer, &mut engine, deadline).await;
    done.map(|()| engine).map_err(|error| error.word)
}

fn secured(tls: &Arc<ServerTls>, engine: &Engine) -> Secured {
    let name = engine.asked_name();
    let version = if engine.is_tls13() { "TLSv1.3" } else { "TLSv1.2" };
    Secured {
        tls: Arc::clone(tls),
        certificate: tls.select(name),
        speaks_http2: engine.protocol() == Some(HTTP_2),
        transport: Transport::new(version, engine.cipher(), name.unwrap_or_default()),
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
        HandshakeError { certificate: true, .. } => Failure::of(Reason::TlsCertificate),
        HandshakeError { kind: std::io::ErrorKind::TimedOut, .. } => Failure::of(Reason::ConnectTimeout).detail("tls"),
        HandshakeError { word, .. } => Failure::of(Reason::TlsHandshake).detail(word),
    }
}
