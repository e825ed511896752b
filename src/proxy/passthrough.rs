//! Connections of TLS that are passed on as they are, by the name that their first word asks for: nothing is decrypted.
//!
//! ```text
//! hello ──▶ name ──▶ upstream ──▶ connect ──▶ both directions, until both have ended
//!             │
//!             └─▶ none: terminated here where there are certificates, else refused by an alert
//! ```

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::adopted::Adopted;
use super::client_hello::{Progress, Reader as HelloReader, Unreadable};
use super::connection::Connection;
use super::downstream;
use super::failure::Failure;
use super::lease::{Halves, UpstreamConnection};
use super::net::{self, Net, Patience, Writer};
use super::shard::Shard;
use super::tls::PLAIN_TEXT;
use super::tunnel::{Side, Tunnel, TunnelEnd};
use super::{proxy_header, respond};
use crate::base::{Buffer, EndpointId, LARGE_BUFFER_BYTES, Timestamp, UpstreamId};
use crate::http::proxy_protocol::{Endpoints, write};
use crate::observe::{Escaped, Reason, Record, Times, Transport};
use crate::snapshot::ListenerPlan;
use crate::upstream::{ATTEMPTS_MAX, Acquired, Permit, Tried, Turn};

/// Room for nearly every hello; a longer one moves into a large buffer.
const HELLO_ROOM_BYTES: usize = 4 * 1024;
/// Endpoints that are tried for one connection, at the most.
const DIALS_MAX: u8 = 3;
/// What the log has for the client's protocol.
const PROTOCOL: &[u8] = b"TLS";

const _: () = assert!(DIALS_MAX <= ATTEMPTS_MAX, "every tried endpoint is remembered");

/// An alert of TLS, fatal (RFC 8446, section 6), in a record of its own.
fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

const DECODE_ERROR: u8 = 50;
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

/// Whether the connection is to be terminated here: its name is passed on to nobody, and there is a certificate. What has
/// been read of it stands in front of what is still to come. Else it was passed on, or refused, and has ended.
pub(super) async fn is_ours<N: Net>(shard: &Rc<Shard<N>>, connection: &Rc<Connection<N>>) -> bool {
    let adopted = shard.adopted();
    let listener = connection.current_listener(&adopted);
    let Some(plan) = &listener.passthrough else { return true };
    let began = shard.net.now();
    let deadline = began.plus(listener.timeouts.handshake);
    let (name, hello) = {
        let _under_way = shard.metrics.handshakes_in_flight.raised();
        match receive(connection, deadline).await {
            Ok(received) => received,
            Err(word) => {
                refuse_unread(shard, connection, word).await;
                return false;
            }
        }
    };
    let Some(upstream) = plan.upstream(name.as_deref()) else {
        if listener.tls.is_some() {
            *connection.ahead.borrow_mut() = Some(hello);
            return true;
        }
        let passage = Passage::new(shard, connection, &adopted, &listener, name.as_deref(), began);
        passage.refuse(Reason::HandshakeFailed, "unknown-name", UNRECOGNIZED_NAME).await;
        shard.metrics.handshake_failures.increment("unknown-name");
        return false;
    };
    let mut passage = Passage::new(shard, connection, &adopted, &listener, name.as_deref(), began);
    passage.upstream = Some(upstream);
    passage.pass(upstream, hello).await;
    false
}

/// Reads the hello: the name it asks for, and all that was read. An error is a word for the metrics.
async fn receive<N: Net>(
    connection: &Connection<N>,
    deadline: Timestamp,
) -> Result<(Option<Box<str>>, Buffer), &'static str> {
    let mut hello = HelloReader::default();
    let mut buffer = connection.ahead.take().unwrap_or_default();
    let mut seen = 0;
    loop {
        let progress = hello.read(&buffer.filled()[seen..]).map_err(|unreadable| match unreadable {
            Unreadable::NotTls if is_method(buffer.filled()) => PLAIN_TEXT,
            Unreadable::NotTls => "not-tls",
            Unreadable::TooLarge | Unreadable::Malformed => "malformed",
        })?;
        if let Progress::Complete(name) = progress {
            return Ok((name, buffer));
        }
        seen = buffer.filled().len();
        // A silent client holds no buffer.
        net::readable(&connection.reader, deadline).await.map_err(|error| lost(&error))?;
        let room = roomy(std::mem::take(&mut buffer)).ok_or("malformed")?;
        let (result, filled) = net::read(&connection.reader, room, deadline).await;
        buffer = filled;
        match result {
            Ok(0) => return Err("closed"),
            Ok(_) => {}
            Err(error) => return Err(lost(&error)),
        }
    }
}

/// A method of HTTP, as far as it tells.
fn is_method(bytes: &[u8]) -> bool {
    let mut front = bytes.iter().take(3);
    front.len() > 0 && front.all(u8::is_ascii_alphabetic)
}

/// The buffer with room for more; none where it is as large as any.
fn roomy(buffer: Buffer) -> Option<Buffer> {
    let room = match buffer.capacity() {
        0 => HELLO_ROOM_BYTES,
        _ if buffer.room() > 0 => return Some(buffer),
        LARGE_BUFFER_BYTES.. => return None,
        _ => LARGE_BUFFER_BYTES,
    };
    let mut larger = Buffer::with_room(room);
    larger.vec().extend_from_slice(buffer.filled());
    Some(larger)
}

fn lost(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::TimedOut { "timeout" } else { "closed" }
}

/// Ends a connection whose hello could not be read, as a handshake here would have ended.
async fn refuse_unread<N: Net>(shard: &Rc<Shard<N>>, connection: &Rc<Connection<N>>, word: &'static str) {
    shard.metrics.handshake_failures.increment(word);
    connection.ended.set(Reason::HandshakeFailed);
    match word {
        PLAIN_TEXT => {
            connection.ended.set(Reason::PlainText);
            respond::plain_text(shard, connection).await;
            downstream::linger(shard, connection).await;
        }
        "malformed" | "not-tls" => tell(shard, connection, DECODE_ERROR).await,
        _ => connection.writer.borrow_mut().abort(),
    }
}

/// Says why there will be no connection.
async fn tell<N: Net>(shard: &Shard<N>, connection: &Connection<N>, description: u8) {
    let mut out = shard.buffers.small();
    out.vec().extend_from_slice(&alert(description));
    let patience = connection.listener.borrow().timeouts.handshake;
    // Nobody is left to tell if this fails.
    let _ = downstream::write_all(shard, connection, out, patience).await;
    downstream::linger(shard, connection).await;
}

/// One connection that is passed on, and what the log will say of it.
struct Passage<'a, N: Net> {
    shard: &'a Rc<Shard<N>>,
    connection: &'a Rc<Connection<N>>,
    adopted: &'a Adopted<N>,
    listener: &'a Arc<ListenerPlan>,
    transport: Transport,
    began: Timestamp,
    upstream: Option<UpstreamId>,
    endpoint: Option<EndpointId>,
    attempts: u32,
    connected: Option<Timestamp>,
    bytes_in: u64,
    bytes_out: u64,
}

impl<'a, N: Net> Passage<'a, N> {
    fn new(
        shard: &'a Rc<Shard<N>>,
        connection: &'a Rc<Connection<N>>,
        adopted: &'a Adopted<N>,
        listener: &'a Arc<ListenerPlan>,
        name: Option<&str>,
        began: Timestamp,
    ) -> Self {
        Self {
            shard,
            connection,
            adopted,
            listener,
            transport: Transport::new("", "", name.unwrap_or_default()),
            began,
            upstream: None,
            endpoint: None,
            attempts: 0,
            connected: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Passes the connection on until it ends.
    async fn pass(mut self, upstream: UpstreamId, hello: Buffer) {
        self.shard.metrics.passed_connections.increment();
        let opened = self.dial(upstream).await;
        let server = match opened {
            Ok(server) => server,
            Err(failure) => return self.refuse(failure.reason, failure.detail, INTERNAL_ERROR).await,
        };
        self.connected = Some(self.shard.net.now());
        let (reason, end) = {
            let block = self.endpoint.map(|id| self.adopted.endpoint_block(upstream, id, self.shard.number));
            let _under_way = block.map(|block| block.attempts_in_flight.raised());
            self.carry(&server.halves, hello).await
        };
        self.bytes_in += end.bytes_up;
        self.bytes_out += end.bytes_down;
        self.finish(reason, "");
    }

    /// Carries octets both ways, the hello first.
    async fn carry(&self, server: &Halves<N>, hello: Buffer) -> (Reason, TunnelEnd) {
        let (shard, timeouts) = (self.shard, &self.listener.timeouts);
        let until = shard.net.now().plus(timeouts.lifetime);
        let mut end = TunnelEnd { bytes_up: hello.filled().len() as u64, bytes_down: 0, error: None, peer: None };
        let patience = Patience { idle: timeouts.idle, until };
        let (result, hello) = net::write(&server.writer, hello, 0, patience).await;
        shard.buffers.give(hello);
        if result.is_err() {
            self.connection.writer.borrow_mut().abort();
            return (Reason::UpstreamReset, end);
        }
        let tunnel = Tunnel::<N> {
            net: &shard.net,
            buffers: &shard.buffers,
            stop: self.connection.become_tunnel(),
            websocket: None,
            client: Side { reader: &self.connection.reader, writer: &self.connection.writer },
            server: Side { reader: &server.reader, writer: &server.writer },
            idle: timeouts.idle,
            until,
        };
        let carried = {
            let _open = shard.metrics.tunnels_open.raised();
            tunnel.run().await
        };
        end.bytes_up += carried.bytes_up;
        end.bytes_down = carried.bytes_down;
        let reason = tunnel.reason(&carried);
        (reason, end)
    }

    /// A fresh connection to an endpoint of the upstream: nothing was sent yet, so that another may be tried.
    async fn dial(&mut self, upstream: UpstreamId) -> Result<Passing<'a, N>, Failure> {
        let (shard, adopted) = (self.shard, self.adopted);
        let (state, mut tried) = (adopted.upstream(upstream), Tried::default());
        state.count_request(shard.net.now());
        let mut failure = Failure::of(Reason::NoEndpoint);
        for _ in 0..DIALS_MAX {
            let (now, random) = (shard.net.now(), shard.random.borrow_mut().u64(..));
            let Some(pick) = state.pick(&tried, now, random) else { break };
            tried.add(pick.endpoint);
            self.endpoint = Some(pick.endpoint);
            self.attempts += 1;
            let guard = state.enter(pick.endpoint);
            let until = now.plus(state.plan().timeouts.connect);
            let opened = match permit(shard, guard.acquire_fresh(), until).await {
                Some(permit) => self.open(upstream, pick.endpoint, until).await.map(|halves| (halves, permit)),
                None => Err(Failure::of(Reason::PoolExhausted)),
            };
            match opened {
                Ok((halves, permit)) => return Ok(Passing { halves, _permit: permit, _guard: guard }),
                Err(failed) => {
                    adopted.endpoint_block(upstream, pick.endpoint, shard.number).failed(failed.reason);
                    failure = failed;
                }
            }
        }
        Err(failure)
    }

    async fn open(&self, upstream: UpstreamId, endpoint: EndpointId, until: Timestamp) -> Result<Halves<N>, Failure> {
        let (shard, state) = (self.shard, self.adopted.upstream(upstream));
        let block = self.adopted.upstream_block(upstream, shard.number);
        let address = state.plan().endpoint(endpoint).address.clone();
        let connected = shard.net.connect(&address, until).await.map_err(|error| Failure::of_connect(&error));
        let opened = match (connected, state.plan().proxy_protocol) {
            (Ok((reader, mut writer)), Some(version)) => {
                let (peer, local) = (&self.connection.peer, &self.connection.local);
                let endpoints =
                    peer.ip().map_or(Endpoints::Unknown, |ip| proxy_header::endpoints(ip.to_canonical(), peer, local));
                let sent = proxy_header::send(shard, &mut writer, &write(version, &endpoints), until).await;
                sent.map(|()| (reader, writer))
            }
            (connected, _) => connected,
        };
        match opened {
            Ok((reader, writer)) => {
                block.connects.increment();
                state.connected(endpoint);
                Ok(Halves::new((reader, writer), false))
            }
            Err(failure) => {
                block.connect_failures.increment();
                // What we lack ourselves is no fault of the endpoint.
                if failure.reason != Reason::NoResources {
                    state.connect_failed(endpoint, shard.net.now(), shard.random.borrow_mut().u64(..));
                }
                Err(failure)
            }
        }
    }

    /// Tells the client that there will be no connection, and the operator why.
    async fn refuse(self, reason: Reason, detail: &'static str, description: u8) {
        self.connection.ended.set(reason);
        tell(self.shard, self.connection, description).await;
        self.finish(reason, detail);
    }

    /// Counts the connection and writes its line of the log.
    fn finish(&self, reason: Reason, detail: &'static str) {
        let (shard, snapshot) = (self.shard, &self.adopted.snapshot);
        self.connection.ended.set(reason);
        shard.metrics.bytes_in.add(self.bytes_in);
        shard.metrics.bytes_out.add(self.bytes_out);
        let Some(format) = snapshot.log_format.as_ref() else { return };
        let now = shard.net.now();
        let micros = |from: Timestamp, to: Timestamp| u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX);
        let entry = self.upstream.map(|id| &snapshot.upstreams[id.index()]);
        let endpoint = entry.zip(self.endpoint).map(|(entry, id)| entry.endpoints[id.index()].label.as_escaped());
        let record = Record {
            time: shard.net.unix_time(),
            listener: self.listener.label.as_escaped(),
            client: Escaped::plain(self.connection.peer_text.as_bytes()),
            peer: Escaped::plain(self.connection.socket_peer_text()),
            introduction: self.connection.introduced.as_ref().map(|introduced| &introduced.claims),
            protocol: Escaped::plain(PROTOCOL),
            upstream: entry.map_or(Escaped::default(), |entry| entry.label.as_escaped()),
            endpoint: endpoint.unwrap_or_default(),
            attempts: self.attempts,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            times: Times {
                connect: self.connected.map(|connected| micros(self.began, connected)),
                total: micros(self.began, now),
                ..Times::default()
            },
            reason,
            detail,
            transport: Some(&self.transport),
            ..Record::default()
        };
        shard.log_apart(format, &record, now);
    }
}

/// The server's side of a passage, which counts for its endpoint while it lasts.
struct Passing<'a, N: Net> {
    halves: Halves<N>,
    _permit: Permit<UpstreamConnection<N>>,
    _guard: crate::upstream::InFlight<'a, UpstreamConnection<N>>,
}

/// Leave to open a connection, before `until`.
async fn permit<N: Net>(
    shard: &Shard<N>,
    acquired: Acquired<UpstreamConnection<N>>,
    until: Timestamp,
) -> Option<Permit<UpstreamConnection<N>>> {
    let waiting = match acquired {
        Acquired::Open(permit) => return Some(permit),
        // A passage has a connection of its own: one of others makes room.
        Acquired::Reuse(connection) => return connection.into_permit(),
        // Places are for requests, and were not asked for.
        Acquired::Full | Acquired::Share(_) | Acquired::Join(_) => return None,
        Acquired::Wait(waiting) => waiting,
    };
    let (mut waiting, mut alarm) = (pin!(waiting), pin!(shard.net.sleep(until)));
    let turn = poll_fn(|cx| {
        if let Poll::Ready(turn) = waiting.as_mut().poll(cx) {
            return Poll::Ready(Some(turn));
        }
        alarm.as_mut().poll(cx).map(|()| None)
    });
    turn.await.and_then(|turn| match turn {
        Turn::Open(permit) => Some(permit),
        Turn::Reuse(connection) => connection.into_permit(),
    })
}
