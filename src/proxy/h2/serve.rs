//! The task of one connection: drives it, hands its streams out, and ends it in order.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection as Http2, SendResponse};
use h2::{Reason as Code, RecvStream};
use http::Request;
use http::request::Parts;

use super::alarm::Alarm;
use super::io::Io;
use super::sending::Sending;
use super::session::Session;
use super::stream::{Answering, StreamReader, StreamWriter};
use crate::base::{Buffer, Timestamp};
use crate::http::h2::{Connect, Content, MalformedRequest, budget, write_request, write_websocket};
use crate::http::websocket::Key;
use crate::http::{Method, Protocol};
use crate::observe::{Escaped, Reason, Record};
use crate::proxy::connection::Connection;
use crate::proxy::downstream::{Serving, idle_deadline, linger};
use crate::proxy::net::{Net, Writer};
use crate::proxy::shard::Shard;
use crate::proxy::tunnel::Stop;
use crate::snapshot::{Http2Plan, ListenerPlan};

/// Room for a translated head beyond what the client sized.
const HEAD_ROOM: usize = 256;

/// Serves a connection on which the client speaks HTTP/2, to its end and that of its streams.
pub(in crate::proxy) async fn serve<N: Net>(shard: Rc<Shard<N>>, connection: Rc<Connection<N>>) {
    let listener = connection.listener.borrow().clone();
    let Some(plan) = listener.http2 else { return };
    let session = Rc::new(Session::default());
    session.idle_since.set(shard.net.now());
    let open = shard.metrics.http2_connections_open.raised();
    let io = Io::new(&shard, &connection, &session);
    let sending = io.sending();
    let reason = match shake(&shard, &connection, io, &listener, &plan).await {
        Some(h2) => Driver::new(&shard, &connection, &session, sending, h2).run().await,
        None => connection.ended.get(),
    };
    drop(open);
    if reason != Reason::ClientClosed {
        // The client is to read its last answers, and why there are no more: closing before it has stopped to send, if only
        // updates of windows, would reset both away.
        linger(&shard, &connection).await;
    }
    poll_fn(|cx| {
        session.watch(cx);
        if session.is_idle() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Exchanges prefaces; nothing if that fails or takes too long.
async fn shake<N: Net>(
    shard: &Rc<Shard<N>>,
    connection: &Rc<Connection<N>>,
    io: Io<N>,
    listener: &ListenerPlan,
    plan: &Http2Plan,
) -> Option<Http2<Io<N>, Bytes>> {
    let sending = io.sending();
    let mut shaking = pin!(builder(listener, plan).handshake(io));
    let mut alarm = Alarm::new(shard);
    let shaken = poll_fn(|cx| match shaking.as_mut().poll(cx) {
        Poll::Ready(Err(error)) if error.is_io() => Poll::Ready(Err(Reason::ClientClosed)),
        Poll::Ready(outcome) => Poll::Ready(outcome.map_err(|_| Reason::ProtocolError)),
        Poll::Pending => match sending.poll(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Err(Reason::ClientClosed)),
            _ => alarm.poll(idle_deadline(shard, connection), cx).map(|()| Err(Reason::KeepAliveTimeout)),
        },
    });
    let shaken = shaken.await;
    connection.ended.set(shaken.as_ref().err().copied().unwrap_or_default());
    shaken.ok()
}

/// Every limit is ours, and none the default of the `h2` crate.
fn builder(listener: &ListenerPlan, plan: &Http2Plan) -> Builder {
    let overhead = budget::FIELD_OVERHEAD_BYTES.saturating_mul(listener.limits.fields);
    let mut builder = Builder::new();
    builder
        .initial_window_size(plan.stream_window)
        .initial_connection_window_size(plan.connection_window)
        .max_frame_size(budget::FRAME_BYTES)
        .max_header_list_size(listener.limits.head_bytes.saturating_add(overhead))
        .max_concurrent_streams(plan.streams)
        .max_concurrent_reset_streams(budget::RESET_STREAMS_REMEMBERED)
        .reset_stream_duration(budget::PERIOD)
        .max_local_error_reset_streams(Some(budget::STREAM_ERRORS))
        .max_pending_accept_reset_streams(budget::RESETS_BEFORE_ACCEPT)
        .max_send_buffer_size(budget::SEND_BUFFER_BYTES)
        // Whatever the routes say now: others may come by a reload, and what was announced cannot be taken back
        // (RFC 8441, section 3).
        .enable_connect_protocol();
    builder
}

/// A stream as it comes out of `h2`.
type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// How a connection ends.
enum End {
    Ended(Result<(), h2::Error>),
    /// Nobody was left to wait for.
    Expired,
}

/// ```text
/// Open ──(drain, age, silence)──▶ Leaving ──▶ ended
///   └────(flood, violation)──▶ Ending ───────▲
/// ```
///
/// Told to stop, it ends at once, or as soon as its tunnels have said so to their clients.
struct Driver<N: Net> {
    shard: Rc<Shard<N>>,
    connection: Rc<Connection<N>>,
    session: Rc<Session>,
    sending: Rc<Sending<N, Connection<N>>>,
    h2: Http2<Io<N>, Bytes>,
    alarm: Alarm<N>,
    /// Told when all connections are ended.
    stop: Rc<Stop>,
    stopped_at: Option<Timestamp>,
    /// When it is asked to leave, however busy.
    old_at: Timestamp,
    /// Why it is to end, once it is.
    leaving: Option<Reason>,
    /// When that began.
    left_at: Timestamp,
    accepted: u64,
    /// Streams that were opened and never came out of `h2`.
    refused: u64,
}

impl<N: Net> Driver<N> {
    fn new(
        shard: &Rc<Shard<N>>,
        connection: &Rc<Connection<N>>,
        session: &Rc<Session>,
        sending: Rc<Sending<N, Connection<N>>>,
        h2: Http2<Io<N>, Bytes>,
    ) -> Self {
        session.is_driven.set(true);
        Self {
            shard: Rc::clone(shard),
            connection: Rc::clone(connection),
            session: Rc::clone(session),
            sending,
            h2,
            alarm: Alarm::new(shard),
            stop: connection.become_tunnel(),
            stopped_at: None,
            old_at: session.idle_since.get().plus(connection.listener.borrow().timeouts.lifetime),
            leaving: None,
            left_at: Timestamp::NEVER,
            accepted: 0,
            refused: 0,
        }
    }

    /// Drives the connection to its end, and says why it has ended.
    async fn run(mut self) -> Reason {
        let result = loop {
            match poll_fn(|cx| self.poll(cx)).await {
                Ok((request, respond)) => self.accept(request, respond),
                Err(End::Ended(result)) => break result,
                Err(End::Expired) => {
                    self.connection.writer.borrow_mut().abort();
                    break Ok(());
                }
            }
        };
        self.connection.forget_tunnel();
        let reason = self.reason(&result);
        self.connection.ended.set(reason);
        reason
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Accepted, End>> {
        self.session.watch(cx);
        loop {
            if self.leaving.is_none() && self.shard.is_draining() {
                self.leave(Reason::Draining);
            }
            if self.stop.poll_told(cx) && self.stopped_at.is_none() {
                self.stopped_at = Some(self.shard.net.now());
            }
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok(accepted))) => return Poll::Ready(Ok(accepted)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(End::Ended(Err(error)))),
                Poll::Ready(None) => return Poll::Ready(Err(End::Ended(Ok(())))),
                Poll::Pending => {}
            }
            if matches!(self.sending.poll(cx), Poll::Ready(Err(_))) {
                // The library learns it now.
                continue;
            }
            self.count_refused();
            if let Some(flood) = self.session.flood().filter(|_| !self.is_ending()) {
                self.flooded(flood);
                self.end(Reason::Flood, Code::ENHANCE_YOUR_CALM);
                continue;
            }
            if self.session.follower.borrow().wrote_after_end() && !self.is_ending() {
                self.end(Reason::ProtocolError, Code::STREAM_CLOSED);
                continue;
            }
            ready!(self.alarm.poll(self.deadline(), cx));
            if self.leaving.is_some() || self.stopped_at.is_some() {
                return Poll::Ready(Err(End::Expired));
            }
            let is_old = self.shard.net.now() >= self.old_at;
            self.leave(if is_old { Reason::Lifetime } else { Reason::KeepAliveTimeout });
        }
    }

    /// Takes no further request, and ends when those under way have ended.
    fn leave(&mut self, reason: Reason) {
        self.leaving = Some(reason);
        self.left_at = self.shard.net.now();
        self.h2.graceful_shutdown();
    }

    /// Whether the connection ends at once, with all its streams.
    fn is_ending(&self) -> bool {
        matches!(self.leaving, Some(Reason::Flood | Reason::ProtocolError))
    }

    /// Ends the connection at once, with all its streams.
    fn end(&mut self, reason: Reason, code: Code) {
        self.leaving = Some(reason);
        self.left_at = self.shard.net.now();
        // Before the streams learn it, who say it to the log.
        self.connection.ended.set(reason);
        self.h2.abrupt_shutdown(code);
    }

    /// Counts and logs what was flooded: it may belong to no exchange.
    fn flooded(&self, flood: budget::Flood) {
        self.shard.metrics.http2_floods.increment(flood.word());
        let adopted = self.shard.adopted();
        let Some(format) = adopted.snapshot.log_format.as_ref() else { return };
        let (listener, now) = (self.connection.listener.borrow(), self.shard.net.now());
        let record = Record {
            time: self.shard.net.unix_time(),
            listener: listener.label.as_escaped(),
            client: Escaped::plain(self.connection.peer_text.as_bytes()),
            protocol: Escaped::plain(Protocol::Http2.text()),
            reason: Reason::Flood,
            detail: flood.word(),
            client_reused: self.accepted > 0,
            transport: self.connection.secured.get().map(|secured| &secured.transport),
            peer: Escaped::plain(self.connection.socket_peer_text()),
            introduction: self.connection.introduced.as_ref().map(|introduced| &introduced.claims),
            ..Record::default()
        };
        self.shard.log_apart(format, &record, now);
    }

    /// When the connection is looked at again, whatever happens on it.
    fn deadline(&self) -> Timestamp {
        let idle_since = self.session.idle_since.get();
        let timeouts = &self.connection.listener.borrow().timeouts;
        if let Some(stopped_at) = self.stopped_at {
            return if self.stop.has_parts() { stopped_at.plus(budget::GOODBYE) } else { stopped_at };
        }
        match self.leaving {
            Some(_) if self.is_ending() => self.left_at.plus(budget::GOODBYE),
            Some(_) if self.session.is_idle() => {
                self.left_at.max(self.sent_until(timeouts.exchange)).plus(budget::GOODBYE)
            }
            Some(_) => Timestamp::NEVER,
            None if !self.session.is_idle() => self.old_at,
            None if self.accepted == 0 => idle_since.plus(timeouts.head).min(self.old_at),
            None => idle_since.plus(timeouts.keep_alive).min(self.old_at),
        }
    }

    /// Until when the last answers were on their way: a stream ends with what it has handed on, and that leaves as the
    /// client reads it. For no longer than `exchange`, since other frames pass for answers here.
    fn sent_until(&self, exchange: Duration) -> Timestamp {
        let idle_since = self.session.idle_since.get();
        let is_writing = self.connection.writer.borrow().is_writing();
        let sent_at = if is_writing { Timestamp::NEVER } else { self.session.sent_at.get() };
        idle_since.max(sent_at.min(self.left_at.max(idle_since).plus(exchange)))
    }

    /// Streams that were opened and never came out of `h2`: malformed, too large, or too many at once.
    fn count_refused(&mut self) {
        if self.leaving.is_some() || self.connection.writer.borrow().is_writing() {
            return;
        }
        let mut follower = self.session.follower.borrow_mut();
        let refused = follower.opened().saturating_sub(self.accepted).saturating_sub(self.refused);
        if refused > 0 {
            self.refused += refused;
            self.shard.metrics.http2_streams_refused.add(refused);
            follower.refused(u32::try_from(refused).unwrap_or(u32::MAX), self.shard.net.now());
        }
    }

    /// Whether the client was asked to leave so long ago that it has heard it. The announcement ends with its answer to a
    /// ping, and until then `h2` takes every request: who does not answer must not stay for it.
    fn is_overdue(&self) -> bool {
        self.leaving.is_some() && self.shard.net.now() >= self.left_at.plus(budget::GOODBYE)
    }

    /// Has a request served by a task of its own.
    fn accept(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        self.accepted += 1;
        if self.is_overdue() {
            self.shard.metrics.http2_streams_refused.increment();
            self.session.follower.borrow_mut().refused(1, self.shard.net.now());
            return respond.send_reset(Code::REFUSED_STREAM);
        }
        self.shard.metrics.http2_streams.increment();
        let adopted = self.shard.adopted();
        let listener = self.connection.current_listener(&adopted);
        if self.accepted >= u64::from(listener.limits.requests_per_connection) && self.leaving.is_none() {
            self.leave(Reason::Ok);
        }
        let (parts, content) = request.into_parts();
        let connect = Connect::of(&parts);
        let mut buffer = self.shard.buffers.holding(bytes_of(&parts) + HEAD_ROOM);
        let any_scheme = listener.trusts(&self.connection.peer);
        let framing = match self.translate(&parts, connect, content.is_end_stream(), any_scheme, &mut buffer) {
            Ok(framing) => framing,
            Err(malformed) => {
                self.shard.buffers.give(buffer);
                self.shard.metrics.malformed_requests.increment(malformed.reason());
                self.session.follower.borrow_mut().refused(1, self.shard.net.now());
                return respond.send_reset(Code::PROTOCOL_ERROR);
            }
        };
        let method = Method::of(parts.method.as_str().as_bytes());
        let answering = Rc::new(RefCell::new(Answering::new(respond)));
        let reader = StreamReader::new(&self.shard, &self.session, content, framing, &answering);
        let writer = StreamWriter::new(&self.shard, &self.session, method, framing, answering);
        let halves = self.shard.net.stream(Box::new(reader), Box::new(writer));
        let stream = Connection::of_stream(&self.connection, halves, buffer, connect, self.shard.net.now());
        let serving = Serving::of_stream(Rc::clone(&self.shard), Rc::new(stream));
        let entered = Entered::new(&self.shard, &self.session);
        self.shard.net.spawn(async move {
            serving.await;
            drop(entered);
        });
    }

    /// Writes the head into `out`: that of an upgrade where a tunnel is asked for that we know.
    fn translate(
        &self,
        parts: &Parts,
        connect: Option<Connect>,
        ends: bool,
        any_scheme: bool,
        out: &mut Buffer,
    ) -> Result<Content, MalformedRequest> {
        let scheme = self.connection.scheme();
        if connect != Some(Connect::Websocket) {
            return write_request(parts, ends, scheme, any_scheme, out.vec());
        }
        let key = Key::of_random(self.shard.random.borrow_mut().u128(..).to_be_bytes());
        write_websocket(parts, &key, scheme, any_scheme, out.vec()).map(|()| Content::Tunnel)
    }

    /// Why the connection has ended.
    fn reason(&self, result: &Result<(), h2::Error>) -> Reason {
        match (self.leaving, result) {
            (Some(reason), _) => reason,
            (None, Ok(())) => Reason::ClientClosed,
            (None, Err(error)) if error.is_io() || error.is_remote() => Reason::ClientClosed,
            (None, Err(error)) if error.reason() == Some(Code::ENHANCE_YOUR_CALM) => {
                self.flooded(budget::Flood::Library);
                Reason::Flood
            }
            (None, Err(_)) => Reason::ProtocolError,
        }
    }
}

/// About as many octets as the head has in HTTP/1.1.
fn bytes_of(parts: &Parts) -> usize {
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let target = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    fields.sum::<usize>() + target + authority + parts.method.as_str().len()
}

/// A stream that is being served, until this is dropped.
struct Entered<N: Net> {
    shard: Rc<Shard<N>>,
    session: Rc<Session>,
}

impl<N: Net> Entered<N> {
    fn new(shard: &Rc<Shard<N>>, session: &Rc<Session>) -> Self {
        session.enter();
        shard.metrics.http2_streams_open.rise();
        Self { shard: Rc::clone(shard), session: Rc::clone(session) }
    }
}

impl<N: Net> Drop for Entered<N> {
    fn drop(&mut self) {
        self.shard.metrics.http2_streams_open.fall();
        self.session.leave(self.shard.net.now());
    }
}
