//! Changing the protocol of a connection (RFC 9110, section 7.8): only where the route names the protocol, only for a
//! GET without content, and only by a 101 that confirms exactly that protocol.


use super::exchange::{Exchange, Next};
use super::failure::Failure;
use super::forward::{Failed, malformed_response};
use super::lease::Halves;
use super::net::{self, Net, Patience};
use super::tunnel::{Side, Tunnel, TunnelEnd, Websocket};
use super::{relay, respond};
use crate::base::Buffer;
use crate::http::h1::Hop;
use crate::http::header::KnownName;
use crate::http::websocket::frames::Frames;
use crate::http::{Body, Method, Protocol, websocket};
use crate::observe::{Raised, Reason};
use crate::snapshot::{Forward, RoutePlan};

/// The name of the WebSocket protocol in `Upgrade`.
const WEBSOCKET: &str = "websocket";

/// The protocol the request is to be upgraded to: none if it does not ask, or its route does not name it.
#[inline]
pub(super) fn wanted<'p, N: Net>(x: &Exchange<'_, N>, plan: &'p Forward) -> Result<Option<&'p str>, Failure> {
    if !x.hop.upgrade {
        return Ok(None);
    }
    match offered(x, plan) {
        // It may be ignored (RFC 9110, section 7.8), but not by a success where the client waits for nothing else.
        Ok(None) if x.connection.connect.is_some() => Err(not_offered("not-offered")),
        outcome => outcome,
    }
}

/// A protocol that is not spoken, here or at all.
pub(super) fn not_offered(word: &'static str) -> Failure {
    Failure { status: 501, ..Failure::of(Reason::UpgradeRefused).detail(word) }
}

#[cold]
fn offered<'p, N: Net>(x: &Exchange<'_, N>, plan: &'p Forward) -> Result<Option<&'p str>, Failure> {
    let head = &x.memory.request;
    if plan.upgrade.is_empty() || head.method != Method::Get || head.body != Body::Empty {
        return Ok(None);
    }
    let Some(asked) = x.field(KnownName::Upgrade) else { return Ok(None) };
    let Some(protocol) = plan.upgrade.iter().find(|protocol| asked.eq_ignore_ascii_case(protocol.as_bytes())) else {
        return Ok(None);
    };
    if &**protocol == WEBSOCKET {
        websocket_key(x).map_err(|error| Failure {
            status: error.status(),
            ..Failure::of(Reason::UpgradeRefused).detail(error.reason())
        })?;
        let origins = head.fields.all(KnownName::Origin).map(|field| field.value.of(x.buffer.filled()));
        if !plan.websocket.origins.allow(origins) {
            return Err(Failure::of(Reason::OriginRefused));
        }
    }
    Ok(Some(protocol))
}

/// The key of a well-formed WebSocket handshake.
fn websocket_key<N: Net>(x: &Exchange<'_, N>) -> Result<websocket::Key, websocket::HandshakeError> {
    let bytes = x.buffer.filled();
    let fields = &x.memory.request.fields;
    let values = |name| fields.all(name).map(|field| field.value.of(bytes));
    websocket::Key::of_request(values(KnownName::SecWebsocketVersion), values(KnownName::SecWebsocketKey))
}

/// What the upstream's final answer to an upgrade means: a 101 needs a request that was sent whole, since nobody can have
/// agreed to one that has not arrived; and a client that waits for a tunnel would take any success for one.
pub(super) fn judge<N: Net>(x: &Exchange<'_, N>, received: Buffer, was_sent: bool) -> Result<Buffer, Failed> {
    let failure = match x.memory.response.status {
        101 if !was_sent => malformed_response(x, "early-101"),
        200..=299 if x.connection.connect.is_some() => Failure::of(Reason::UpgradeFailed).detail("not-switched"),
        _ => return Ok(received),
    };
    x.shard.buffers.give(received);
    Err(Failed::for_good(failure))
}

/// Relays the 101 and then bytes, until either side ends it.
pub(super) async fn tunnel<N: Net>(
    x: &mut Exchange<'_, N>,
    route: &RoutePlan,
    plan: &Forward,
    upstream: &Halves<N>,
    received: Buffer,
) -> Result<(), Failed> {
    x.tally.timing.first_byte = Some(x.shard.net.now());
    // The buffer of the request may be out with a read of what the client sends ahead.
    x.stop_watching().await;
    let hop = confirmed(x, &received).map_err(Failed::for_good)?;
    let mut out = relay::switching(x, route, &hop, &received);
    // What the server sent right behind its 101 is the protocol's own already.
    let behind = &received.filled()[x.memory.response.length..];
    out.vec().extend_from_slice(behind);
    let mut websocket = websocket_of(x, behind);
    x.shard.buffers.give(received);
    x.tally.status = 101;
    x.connection.responding.set(true);
    let ahead = ahead_of_tunnel(x);
    if let Some(websocket) = &mut websocket {
        websocket.upward.pass(ahead.filled());
    }
    x.next = Next::Close;
    let (idle, lifetime) = match websocket {
        Some(_) => (plan.websocket.idle, plan.websocket.lifetime.unwrap_or(x.terms.lifetime())),
        None => (x.terms.idle(), x.terms.lifetime()),
    };
    let until = x.shard.net.now().plus(lifetime);
    // The handshake is not over before both have what came with it.
    let patience = Patience { idle: x.terms.idle(), until };
    x.tally.bytes_out += out.filled().len() as u64;
    let (down, up) = ((&x.connection.writer, out), (&upstream.writer, ahead));
    for ((writer, bytes), reason) in [(down, Reason::ClientClosed), (up, Reason::UpstreamReset)] {
        let (result, buffer) = net::write(writer, bytes, 0, patience).await;
        x.shard.buffers.give(buffer);
        result.map_err(|_| Failed::for_good(Failure::of(reason)))?;
    }
    let tunnel = Tunnel::<N> {
        net: &x.shard.net,
        buffers: &x.shard.buffers,
        stop: x.connection.become_tunnel(),
        websocket,
        client: Side { reader: &x.connection.reader, writer: &x.connection.writer },
        server: Side { reader: &upstream.reader, writer: &upstream.writer },
        idle,
        until,
    };
    let open = Open::new(x, websocket.is_some());
    let end = tunnel.run().await;
    drop(open);
    x.tally.bytes_in += end.bytes_up;
    x.tally.bytes_out += end.bytes_down;
    x.tally.reason = reason(x, &end, &tunnel);
    if websocket.is_some() {
        x.shard.metrics.websockets_closed.increment(x.tally.reason);
        if end.error.is_some() && end.peer.is_none() {
            // The client is to read our close frame, and not a reset.
            x.next = Next::Linger;
        }
    }
    Ok(())
}

/// Why a tunnel has ended.
fn reason<N: Net>(x: &Exchange<'_, N>, end: &TunnelEnd, tunnel: &Tunnel<'_, N>) -> Reason {
    match tunnel.reason(end) {
        Reason::ClientClosed => respond::lost_with_its_carrier(x, Reason::ClientClosed).unwrap_or(Reason::ClientClosed),
        reason => reason,
    }
}

/// A tunnel that counts as open until this is dropped.
struct Open<'a> {
    _tunnel: Raised<'a>,
    _websocket: Option<Raised<'a>>,
    _of_route: Option<Raised<'a>>,
}

impl<'a> Open<'a> {
    fn new<N: Net>(x: &Exchange<'a, N>, is_websocket: bool) -> Self {
        let (metrics, adopted) = (&x.shard.metrics, x.adopted);
        if is_websocket {
            metrics.websocket_opened(x.protocol() == Protocol::Http2);
        }
        let route = x.cx.route.filter(|_| is_websocket).map(|id| adopted.route_block(id, x.shard.number));
        Self {
            _tunnel: metrics.tunnels_open.raised(),
            _websocket: is_websocket.then(|| metrics.websockets_open.raised()),
            _of_route: route.map(|block| block.websockets_open.raised()),
        }
    }
}

/// What is followed of a WebSocket; `behind` is what the server sent behind its 101.
fn websocket_of<N: Net>(x: &Exchange<'_, N>, behind: &[u8]) -> Option<Websocket> {
    let protocol = x.field(KnownName::Upgrade).filter(|asked| asked.eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    protocol.map(|_| {
        let mut downward = Frames::default();
        downward.pass(behind);
        let mask = x.shard.random.borrow_mut().u32(..).to_be_bytes();
        Websocket { upward: Frames::default(), downward, mask }
    })
}

/// Bytes the client sent behind its request: the protocol's own, now that it has changed.
fn ahead_of_tunnel<N: Net>(x: &mut Exchange<'_, N>) -> Buffer {
    let mut ahead = x.shard.buffers.large();
    ahead.vec().extend_from_slice(&x.buffer.filled()[x.consumed..]);
    x.consumed = x.buffer.filled().len();
    ahead
}

/// Checks that the 101 confirms what was asked for, or the upstream's answer is worthless.
fn confirmed<N: Net>(x: &Exchange<'_, N>, received: &Buffer) -> Result<Hop, Failure> {
    let (head, bytes) = (&x.memory.response, received.filled());
    let hop = Hop::of_response(bytes, head).map_err(|error| malformed_response(x, error.reason()))?;
    let failed = |word| Failure::of(Reason::UpgradeFailed).detail(word);
    let asked = x.field(KnownName::Upgrade).unwrap_or_default();
    let got = head.fields.first(KnownName::Upgrade, bytes).unwrap_or_default();
    if !got.eq_ignore_ascii_case(asked) || !hop.upgrade {
        return Err(failed("other-protocol"));
    }
    if asked.eq_ignore_ascii_case(WEBSOCKET.as_bytes()) {
        let accepts = head.fields.all(KnownName::SecWebsocketAccept).map(|field| field.value.of(bytes));
        let verified = websocket_key(x).and_then(|key| key.verify(accepts));
        verified.map_err(|error| failed(error.reason()))?;
    }
    Ok(hop)
}
