//! The two halves of a stream to an upstream: to the exchange a server of HTTP/1.1, to the library the user of a stream.
//!
//! The sending half takes a request of HTTP/1.1 apart; the receiving half gives the response as the head of HTTP/1.1 that
//! means the same, and its content. Windows are opened again for what the exchange has passed on, which it shows by asking
//! for more; and a write ends when the window had room for all of it. So a slow reader on either side stops the other.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::Reason as Code;
use h2::client::ResponseFuture;
use http::Request;
use http::header::CONTENT_LENGTH;

use super::alarm::Alarm;
use super::broken::{Broken, code_word};
use super::carrier::Carrier;
use super::inflow::{Begun, Inflow};
use super::outflow::{Outflow, Outgoing};
use crate::base::{Buffer, Timestamp};
use crate::http::Body;
use crate::http::h1::{HeadLimits, HeadScanner, Progress};
use crate::http::h2::{
    Asked, Content, connect_of, request_of, websocket_key, write_interim, write_response, write_switched,
};
use crate::http::header::KnownName;
use crate::http::websocket::Key;
use crate::proxy::net::{Net, Patience, Reader, Writer};
use crate::proxy::shard::Shard;

/// What bounds a head that we have written ourselves: nothing that matters.
const OWN_HEAD: HeadLimits = HeadLimits {
    head_bytes_max: 1 << 30,
    field_bytes_max: 1 << 30,
    fields_max: u16::MAX as usize,
    target_bytes_max: 1 << 30,
    http10_without_host: false,
};

/// One request and its response, shared by both halves.
pub(super) struct Asking<N: Net> {
    carrier: Rc<Carrier<N>>,
    stage: Stage,
    /// The content of the request, once its head was sent.
    outgoing: Option<Outgoing>,
    /// By which a WebSocket was asked for.
    key: Option<Key>,
    /// Who reads.
    reader: Option<Waker>,
}

/// ```text
/// Waiting ──(head sent)──▶ Asked ──(head received)──▶ Answered
///    └────────────────────── Failed ◀─────┘
/// ```
enum Stage {
    /// Nothing was sent.
    Waiting,
    Asked(Box<ResponseFuture>, Asked),
    Answered,
    Failed(io::ErrorKind),
}

impl<N: Net> Asking<N> {
    pub fn new(carrier: Rc<Carrier<N>>) -> Self {
        Self { carrier, stage: Stage::Waiting, outgoing: None, key: None, reader: None }
    }

    /// Sends the head that begins `octets`; how long it is. A WebSocket is asked for once the endpoint has said whether it
    /// may be.
    fn poll_ask(&mut self, octets: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let shard = Rc::clone(&self.carrier.shard);
        let mut scratch = shard.scratch();
        let head = &mut scratch.memory.request;
        let progress = HeadScanner::default().request(octets, head, &OWN_HEAD);
        // What we write has a head that we can read, in one piece.
        if !matches!(progress, Ok(Progress::Complete)) {
            shard.give_scratch(scratch);
            return Poll::Ready(Err(self.fail(io::ErrorKind::InvalidData)));
        }
        let (length, body) = (head.length, head.body);
        let asked = Asked { method: head.method, te_trailers: head.fields.has(KnownName::Te) };
        self.key = websocket_key(head, octets);
        let may_ask = if self.key.is_some() { self.carrier.poll_connects(cx) } else { Poll::Ready(true) };
        let request = may_ask
            .is_ready()
            .then(|| request_of(head, &Bytes::copy_from_slice(&octets[..length]), self.carrier.scheme));
        shard.give_scratch(scratch);
        if !ready!(may_ask) {
            return Poll::Ready(Err(self.fail(io::ErrorKind::Unsupported)));
        }
        let Some(Ok(request)) = request else { return Poll::Ready(Err(self.fail(io::ErrorKind::InvalidInput))) };
        Poll::Ready(self.ask(request, body, asked).map(|()| length))
    }

    /// Sends a request whose content is delimited as `body` says.
    fn ask(&mut self, mut request: Request<()>, body: Body, asked: Asked) -> io::Result<()> {
        let shard = &self.carrier.shard;
        if self.key.is_some() {
            request = connect_of(request);
        }
        let ends = self.key.is_none() && matches!(body, Body::Empty | Body::Length(0));
        // One of its own for each: it remembers whether its last stream is still to be opened.
        let requests = self.carrier.requests.borrow().clone();
        let sent = requests.map(|mut requests| requests.send_request(request, ends));
        match sent {
            Some(Ok((response, content))) => {
                self.carrier.session.follower.borrow_mut().asked(shard.net.now());
                self.carrier.block().http2_streams.increment();
                self.stage = Stage::Asked(Box::new(response), asked);
                self.outgoing = Some(match self.key {
                    Some(_) => Outgoing::tunnel(content),
                    None => Outgoing::new(content, body),
                });
                self.wake();
                Ok(())
            }
            // Nothing of it has left.
            Some(Err(error)) if error.is_io() || error.is_go_away() => Err(self.fail(io::ErrorKind::ConnectionRefused)),
            None => Err(self.fail(io::ErrorKind::ConnectionRefused)),
            Some(Err(_)) => Err(self.fail(io::ErrorKind::InvalidInput)),
        }
    }

    fn fail(&mut self, kind: io::ErrorKind) -> io::Error {
        self.stage = Stage::Failed(kind);
        self.wake();
        kind.into()
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Why the stream has failed, in terms of a connection that carries one.
    fn failure(&self, error: &h2::Error) -> io::Error {
        let carrier = &self.carrier;
        if let Some(flood) = carrier.flood() {
            return Broken::malformed(flood.word());
        }
        if error.is_go_away() && error.is_remote() {
            return io::ErrorKind::ConnectionRefused.into();
        }
        if error.is_reset() && error.is_remote() {
            carrier.block().http2_resets.increment();
            if error.reason() == Some(Code::REFUSED_STREAM) {
                carrier.refused();
                return io::ErrorKind::ConnectionRefused.into();
            }
            return Broken::reset(error.reason().map_or("", code_word));
        }
        match carrier.broken.get() {
            Some(word) => Broken::reset(word),
            None if error.is_io() => io::ErrorKind::ConnectionReset.into(),
            None => Broken::malformed(error.reason().map_or("http2", code_word)),
        }
    }
}

/// The response.
pub(super) struct AskReader<N: Net> {
    asking: Rc<RefCell<Asking<N>>>,
    inflow: Inflow,
    reading: Option<(Buffer, Timestamp)>,
    alarm: Alarm<N>,
}

impl<N: Net> AskReader<N> {
    pub fn new(shard: &Rc<Shard<N>>, asking: &Rc<RefCell<Asking<N>>>) -> Self {
        let inflow = Inflow::default();
        Self { asking: Rc::clone(asking), inflow, reading: None, alarm: Alarm::new(shard) }
    }

    /// Whether there is something to read; false at the end.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.inflow.release();
        loop {
            if !self.inflow.is_empty() {
                return Poll::Ready(Ok(true));
            }
            let mut asking = self.asking.borrow_mut();
            if !matches!(asking.stage, Stage::Answered) {
                let content = ready!(asking.poll_head(cx, &mut self.inflow.framing))?;
                self.inflow.begin(content);
                continue;
            }
            return match ready!(self.inflow.poll(cx)) {
                Ok(more) => Poll::Ready(Ok(more)),
                Err(error) => Poll::Ready(Err(asking.failure(&error))),
            };
        }
    }

    /// The same, until `deadline`.
    fn poll_until(&mut self, deadline: Timestamp, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Poll::Ready(input) = self.poll_input(cx) {
            return Poll::Ready(input);
        }
        ready!(self.alarm.poll(deadline, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<N: Net> Drop for AskReader<N> {
    /// Letting go of a stream cancels it: one that is complete but for its end is left to end.
    fn drop(&mut self) {
        let Ok(asking) = self.asking.try_borrow() else { return };
        let is_sent = asking.outgoing.as_ref().is_some_and(Outgoing::is_over);
        if is_sent && let Some(tail) = self.inflow.take_unended() {
            asking.carrier.leave_to_end(tail);
        }
    }
}

impl<N: Net> Asking<N> {
    /// Writes the next head; what is behind it, if it is a final one.
    fn poll_head(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<Option<Begun>>> {
        let (response, asked) = match &mut self.stage {
            Stage::Asked(response, asked) => (response, *asked),
            Stage::Failed(kind) => return Poll::Ready(Err((*kind).into())),
            Stage::Waiting if !self.carrier.is_open() => {
                return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
            }
            Stage::Waiting | Stage::Answered => {
                self.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
        };
        let malformed = |word| Poll::Ready(Err(Broken::malformed(word)));
        match response.poll_informational(cx) {
            Poll::Ready(Some(Ok(interim))) => {
                return match write_interim(&interim, out) {
                    Ok(()) => Poll::Ready(Ok(None)),
                    Err(error) => malformed(error.reason()),
                };
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.failure(&error))),
            Poll::Ready(None) | Poll::Pending => {}
        }
        let response = match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(self.failure(&error))),
        };
        let written = match &self.key {
            Some(key) if response.status().is_success() => {
                write_switched(&response, key, out).map(|()| Content::Tunnel)
            }
            _ => write_response(&response, response.body().is_end_stream(), asked, out),
        };
        match written {
            Ok(framing) => {
                self.stage = Stage::Answered;
                let length =
                    response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
                let content = response.into_body();
                Poll::Ready(Ok(Some(Begun { content, framing, length: length.unwrap_or(u64::MAX) })))
            }
            Err(error) => malformed(error.reason()),
        }
    }
}

impl<N: Net> Reader for AskReader<N> {
    fn poll_readable(&mut self, cx: &mut Context<'_>, deadline: Timestamp) -> Poll<io::Result<()>> {
        self.poll_until(deadline, cx).map_ok(drop)
    }

    /// A stream is told by its connection.
    fn wake(&mut self) {}

    fn begin_read(&mut self, buffer: Buffer, deadline: Timestamp) {
        self.reading = Some((buffer, deadline));
    }

    fn set_read_deadline(&mut self, deadline: Timestamp) {
        if let Some((_, until)) = &mut self.reading {
            *until = deadline;
        }
    }

    fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        let Some(deadline) = self.reading.as_ref().map(|(_, deadline)| *deadline) else { return Poll::Pending };
        let input = ready!(self.poll_until(deadline, cx));
        let Some((mut buffer, _)) = self.reading.take() else { return Poll::Pending };
        let result = input.map(|more| if more { self.inflow.fill(&mut buffer, cx) } else { 0 });
        Poll::Ready((result, buffer))
    }
}

/// The request.
pub(super) struct AskWriter<N: Net> {
    asking: Rc<RefCell<Asking<N>>>,
    outflow: Outflow<N>,
}

impl<N: Net> AskWriter<N> {
    pub fn new(shard: &Rc<Shard<N>>, asking: Rc<RefCell<Asking<N>>>) -> Self {
        Self { asking, outflow: Outflow::new(shard) }
    }
}

impl<N: Net> Writer for AskWriter<N> {
    fn begin_write(&mut self, buffer: Buffer, from: usize, patience: Patience) {
        self.outflow.begin(buffer, from, patience);
    }

    fn is_writing(&self) -> bool {
        self.outflow.is_writing()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)> {
        let mut asking = self.asking.borrow_mut();
        self.outflow.poll(cx, |octets, cx| {
            if asking.outgoing.is_none() {
                return asking.poll_ask(octets, cx);
            }
            match &mut asking.outgoing {
                Some(outgoing) => outgoing.poll(octets, cx),
                None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        })
    }

    /// A request has ended before, or is cut: letting go of the stream says so. A tunnel ends here.
    fn shutdown(&mut self) {
        if let Some(outgoing) = &mut self.asking.borrow_mut().outgoing {
            outgoing.finish();
        }
    }

    fn abort(&mut self) {}
}
