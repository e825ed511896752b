//! The task of one connection to an upstream: drives it, hands its places on, and ends it in order.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{Builder, Connection as Http2};
use h2::{Ping, PingPong};

use super::alarm::Alarm;
use super::carrier::{Carrier, CarrierParts};
use super::io::{Ends, Io};
use super::sending::Sending;
use crate::base::Timestamp;
use crate::http::h2::budget;
use crate::observe::Reason;
use crate::proxy::failure::Failure;
use crate::proxy::lease::UpstreamConnection;
use crate::proxy::net::{Net, Writer};
use crate::proxy::shard::Shard;
use crate::snapshot::Snapshot;
use crate::upstream::{Carrier as _, Opening, Sharing};

/// Requests that a server takes at once before it has said how many (RFC 9113, section 6.5.2, wants no fewer).
const STREAMS_UNTOLD: u32 = 100;
/// Requests after which a connection makes way for another, well before its numbers run out.
const REQUESTS_MAX: u32 = 1 << 29;

/// Begins to speak HTTP/2 on a connection just opened, and takes the first place on it. Others get theirs when the endpoint
/// has sent its settings, before `until`.
pub(in crate::proxy) async fn carry<N: Net>(
    shard: &Rc<Shard<N>>,
    snapshot: &Snapshot,
    parts: CarrierParts<N>,
    opening: Option<Opening<Carrier<N>>>,
    until: Timestamp,
) -> Result<UpstreamConnection<N>, Failure> {
    let carrier = Carrier::new(shard, parts);
    let builder = builder(carrier.sharing(), snapshot);
    let idle = snapshot.listeners.iter().map(|listener| listener.timeouts.idle).max().unwrap_or_default();
    let io = Io::of(shard, &carrier, &carrier.session, idle);
    let sending = io.sending();
    // It only writes, and that into a buffer of ours: it has nothing to wait for.
    let shaken = pin!(builder.handshake::<_, Bytes>(io)).await;
    let (requests, h2) = shaken.map_err(|_| Failure::of(Reason::ConnectFailed))?;
    *carrier.requests.borrow_mut() = Some(requests);
    carrier.endpoint.carriers().add(Rc::clone(&carrier));
    let place = carrier.place();
    let driver = Driver::new(shard, carrier, sending, h2, opening, until);
    shard.net.spawn(driver.run());
    Ok(place)
}

/// Every limit is ours, and none the default of the `h2` crate.
fn builder(sharing: &Sharing, snapshot: &Snapshot) -> Builder {
    // The largest head that any client of ours may get; what is more for its listener, its exchange refuses.
    let heads = snapshot.listeners.iter().map(|listener| {
        let overhead = budget::FIELD_OVERHEAD_BYTES.saturating_mul(listener.limits.fields);
        listener.limits.head_bytes.saturating_add(overhead)
    });
    let mut builder = Builder::new();
    builder
        .initial_window_size(sharing.stream_window)
        .initial_connection_window_size(sharing.connection_window)
        .max_frame_size(budget::FRAME_BYTES)
        .max_header_list_size(heads.max().unwrap_or(budget::FRAME_BYTES))
        .max_concurrent_streams(0)
        .enable_push(false)
        .initial_max_send_streams(STREAMS_UNTOLD as usize)
        .max_concurrent_reset_streams(budget::CANCELLED_STREAMS_REMEMBERED)
        .reset_stream_duration(budget::CANCELLED_STREAMS_REMEMBERED_FOR)
        .max_local_error_reset_streams(Some(budget::UPSTREAM_STREAM_ERRORS))
        .max_send_buffer_size(budget::SEND_BUFFER_BYTES);
    builder
}

/// How a connection ends.
enum End {
    Ended(Result<(), h2::Error>),
    /// Nobody was left to wait for.
    Expired,
    /// Over budget.
    Flooded,
    /// It no longer answers.
    Silent,
}

/// ```text
/// Unsettled ──(settings)──▶ Open ──(GOAWAY, drain, age, idleness, no part of the configuration)──▶ Leaving ──▶ ended
///     └──────(flood, silence)──┴────────────────────────────────────────────────────────────────────▲
/// ```
struct Driver<N: Net> {
    shard: Rc<Shard<N>>,
    carrier: Rc<Carrier<N>>,
    sending: Rc<Sending<N, Carrier<N>>>,
    h2: Http2<Io<N, Carrier<N>>, Bytes>,
    pings: Option<PingPong>,
    /// When the ping was sent that is not answered.
    pinged_at: Option<Timestamp>,
    /// Of those who wait for it to be opened; none once the endpoint has sent its settings.
    opening: Option<Opening<Carrier<N>>>,
    is_settled: bool,
    settle_until: Timestamp,
    /// Since when it takes no more.
    left_at: Option<Timestamp>,
    alarm: Alarm<N>,
}

impl<N: Net> Driver<N> {
    fn new(
        shard: &Rc<Shard<N>>,
        carrier: Rc<Carrier<N>>,
        sending: Rc<Sending<N, Carrier<N>>>,
        mut h2: Http2<Io<N, Carrier<N>>, Bytes>,
        opening: Option<Opening<Carrier<N>>>,
        settle_until: Timestamp,
    ) -> Self {
        carrier.block().http2_connections_open.rise();
        Self {
            shard: Rc::clone(shard),
            carrier,
            sending,
            pings: h2.ping_pong(),
            h2,
            pinged_at: None,
            opening,
            is_settled: false,
            settle_until,
            left_at: None,
            alarm: Alarm::new(shard),
        }
    }

    /// Drives the connection to its end.
    async fn run(mut self) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        let block = self.carrier.block();
        match end {
            End::Flooded => {
                let flood = self.carrier.flood();
                block.http2_floods.increment(flood.map_or("", budget::Flood::word));
            }
            End::Silent => {
                block.http2_silent.increment();
                self.carrier.broken.set(Some("silent"));
            }
            End::Ended(Err(error)) if error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) && error.is_library() => {
                block.http2_floods.increment(budget::Flood::Library.word());
            }
            End::Ended(_) | End::Expired => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.carrier.session.watch(cx);
        loop {
            if self.left_at.is_none() && self.is_to_leave() {
                self.leave();
            }
            if let Poll::Ready(result) = Pin::new(&mut self.h2).poll(cx) {
                return Poll::Ready(End::Ended(result));
            }
            if matches!(self.sending.poll(cx), Poll::Ready(Err(_))) {
                // The library learns it now.
                continue;
            }
            self.carrier.poll_tails(cx);
            if self.carrier.flood().is_some() {
                return Poll::Ready(End::Flooded);
            }
            self.settle();
            if self.left_at.is_none() && !self.carrier.is_open() {
                // By GOAWAY: what it has not seen is made again elsewhere.
                self.carrier.block().http2_goaways.increment();
                self.leave();
                continue;
            }
            self.hand_on();
            ready!(self.alarm.poll(self.deadline(), cx));
            if let Some(end) = self.overdue(cx) {
                return Poll::Ready(end);
            }
        }
    }

    /// Whether it takes no more by our own will.
    fn is_to_leave(&self) -> bool {
        let carrier = &self.carrier;
        let now = self.shard.net.now();
        let limits = carrier.endpoint.limits();
        let is_old = limits.lifetime_max.is_some_and(|age| now >= carrier.opened.plus(age));
        let is_idle = carrier.session.is_idle();
        let was_idle = is_idle && now >= carrier.session.idle_since.get().plus(limits.idle_age_max);
        let too_many = is_idle && carrier.endpoint.carriers().idle_count() > limits.idle_max;
        is_old
            || was_idle
            || too_many
            || carrier.endpoint.is_retired()
            || carrier.carried() >= REQUESTS_MAX
            || (self.shard.is_draining() && is_idle)
    }

    /// Takes no further request; the library ends the connection with the last one under way.
    fn leave(&mut self) {
        self.left_at = Some(self.shard.net.now());
        self.carrier.drop_tails();
        self.carrier.retire();
        self.carrier.endpoint.carriers().remove(&self.carrier);
    }

    /// Learns how many requests the endpoint allows; the first time, lets those in who wait for it.
    fn settle(&mut self) {
        self.is_settled = self.is_settled || self.carrier.session.follower.borrow().has_settled();
        if self.is_settled {
            let allowed = self.h2.max_concurrent_send_streams();
            self.carrier.allowed.set(Some(u32::try_from(allowed).unwrap_or(u32::MAX)));
            if let Some(opening) = self.opening.take() {
                opening.end(Ok(()));
            }
            self.carrier.settled();
        }
    }

    /// Gives places that are free to the first in line.
    fn hand_on(&self) {
        let permits = self.carrier.endpoint.permits();
        while permits.waiting_count() > 0 && self.carrier.room() > 0 {
            if permits.offer(self.carrier.place()).is_some() {
                return;
            }
        }
    }

    /// When the connection is looked at again, whatever happens on it.
    fn deadline(&self) -> Timestamp {
        let (session, limits) = (&self.carrier.session, self.carrier.endpoint.limits());
        if let Some(left_at) = self.left_at
            && session.is_idle()
        {
            return left_at.max(session.idle_since.get()).plus(budget::GOODBYE);
        }
        let old_at = match (self.left_at, limits.lifetime_max) {
            (None, Some(age)) => self.carrier.opened.plus(age),
            _ => Timestamp::NEVER,
        };
        let settled_at = if self.is_settled { Timestamp::NEVER } else { self.settle_until };
        let looked_at = match (session.is_idle(), self.carrier.sharing().ping) {
            (true, _) => session.idle_since.get().plus(limits.idle_age_max),
            (false, Some(ping)) => self.pinged_at.unwrap_or(session.received_at.get()).plus(ping),
            // It may fall idle without telling.
            (false, None) => self.shard.net.now().plus(limits.idle_age_max),
        };
        looked_at.min(old_at).min(settled_at)
    }

    /// What is to be done now that a deadline has come; nothing where it goes on.
    fn overdue(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let now = self.shard.net.now();
        let session = &self.carrier.session;
        if session.is_idle() && self.left_at.is_some() {
            let expired = self.deadline() <= now;
            return expired.then_some(End::Expired);
        }
        if !self.is_settled && now >= self.settle_until {
            if let Some(opening) = self.opening.take() {
                opening.end(Err(Failure::of(Reason::ConnectTimeout).detail("no-settings")));
            }
            return Some(End::Silent);
        }
        let ping = self.carrier.sharing().ping.filter(|_| !session.is_idle())?;
        let received_at = session.received_at.get();
        match self.pinged_at {
            Some(at) if received_at >= at => {
                self.pinged_at = None;
                if let Some(pings) = &mut self.pings {
                    // Makes room for the next one; its answer has come, or comes still.
                    let _ = pings.poll_pong(cx);
                }
                None
            }
            Some(at) if now >= at.plus(ping) => Some(End::Silent),
            None if now >= received_at.plus(ping) => {
                self.pinged_at = Some(now);
                if let Some(pings) = &mut self.pings {
                    // It fails while one is under way, which will do.
                    let _ = pings.send_ping(Ping::opaque());
                }
                None
            }
            _ => None,
        }
    }
}

impl<N: Net> Drop for Driver<N> {
    fn drop(&mut self) {
        self.carrier.block().http2_connections_open.fall();
        drop(self.carrier.requests.borrow_mut().take());
        self.carrier.drop_tails();
        self.carrier.settled();
        self.carrier.endpoint.carriers().remove(&self.carrier);
        self.carrier.writer().borrow_mut().abort();
    }
}
