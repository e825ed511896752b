//! The IO port over links and virtual time, with the semantics its documentation promises and no more: what a caller
//! may not do is a panic here.

use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tidegate::base::{Address, Buffer, Timestamp, UnixTime};
use tidegate::proxy::net::{Net, Patience, Reader, Writer};
use tidegate::proxy::tls::{self, Engine, Signing, StreamReader, StreamWriter};

use super::executor::{Half, Kind};
use super::link::{self, Link, Outcome, Side};
use super::{Inner, Peer, Reply};

/// The wall clock at the beginning of time: 2025-10-09T08:53:20Z.
const EPOCH_NANOS: u64 = 1_760_000_000 * 1_000_000_000;

/// One core's world.
#[derive(Clone)]
pub struct SimNet(pub Rc<Inner>);

impl Net for SimNet {
    type Reader = StreamReader<SimReader, SimWriter>;
    type Writer = StreamWriter<SimWriter>;

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.executor.now())
    }

    fn unix_time(&self) -> UnixTime {
        UnixTime::from_nanos(EPOCH_NANOS + self.0.executor.now())
    }

    fn connect(
        &self,
        address: &Address,
        deadline: Timestamp,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer)>> {
        let (inner, address) = (self.0.clone(), address.clone());
        async move {
            inner.connects.borrow_mut().push(address.to_string());
            let host = inner.hosts.borrow().get(&address.to_string()).cloned();
            let host = host.ok_or(io::ErrorKind::HostUnreachable)?;
            assert!(!host.panics.get(), "a scripted panic in connect");
            let patience = deadline.as_nanos().saturating_sub(inner.executor.now());
            let late = host.delay.get().as_nanos() as u64;
            if late > patience {
                inner.sleep(patience).await;
                return Err(io::ErrorKind::TimedOut.into());
            }
            if late > 0 {
                inner.sleep(late).await;
            }
            let reply = host.reply.borrow().clone();
            let serve = match reply {
                Reply::Serve(serve) => serve,
                Reply::Refuse => return Err(io::ErrorKind::ConnectionRefused.into()),
                Reply::Fail(kind) => return Err(kind.into()),
            };
            let link = Link::new(host.wire.get(), inner.random.borrow_mut().u64(..));
            for (writer, fault) in host.faults.borrow_mut().drain(..) {
                link.fault(writer, fault);
            }
            let peer = Peer::new(&inner, &link, 1);
            host.accepted.set(host.accepted.get() + 1);
            inner.executor.spawn(Kind::Script, serve(peer));
            Ok(halves(&inner, &link, 0))
        }
    }

    /// Takes as long as the test says, and refuses where it says nothing.
    fn sign(&self, mut signing: Box<Signing>, deadline: Timestamp) -> impl Future<Output = io::Result<Box<Signing>>> {
        let inner = self.0.clone();
        async move {
            inner.signed.set(inner.signed.get() + 1);
            let delay = inner.signing.get().ok_or(io::ErrorKind::ConnectionRefused)?.as_nanos() as u64;
            let patience = deadline.as_nanos().saturating_sub(inner.executor.now());
            if delay > 0 {
                inner.sleep(delay.min(patience)).await;
            }
            if delay > patience {
                return Err(io::ErrorKind::TimedOut.into());
            }
            signing.run();
            Ok(signing)
        }
    }

    fn sleep(&self, until: Timestamp) -> impl Future<Output = ()> {
        let (inner, until) = (self.0.clone(), until.as_nanos());
        let mut begun = false;
        poll_fn(move |cx| {
            // A sleep that is over already still lets others run first.
            if begun && inner.executor.now() >= until {
                return Poll::Ready(());
            }
            begun = true;
            inner.executor.wake_at(until.max(inner.executor.now()), cx.waker());
            Poll::Pending
        })
    }

    fn secure(&self, reader: &mut Self::Reader, writer: &mut Self::Writer, engine: Engine) {
        tls::secure(reader, writer, engine);
    }

    fn stream(&self, reader: Box<dyn Reader>, writer: Box<dyn Writer>) -> (Self::Reader, Self::Writer) {
        (StreamReader::made(reader), StreamWriter::made(writer))
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.executor.spawn(Kind::Shard, task);
    }
}

/// One end of a link in the shard's hands.
struct Socket {
    inner: Rc<Inner>,
    link: Rc<Link>,
    side: Side,
    /// A read or a write that expired, or an abort, leaves nothing to do on this half but to fail.
    read_expired: std::cell::Cell<bool>,
    write_expired: std::cell::Cell<bool>,
}

impl Socket {
    fn now(&self) -> u64 {
        self.inner.executor.now()
    }

    fn wait(&self, half: Half, cx: &Context<'_>, at: u64) {
        self.link.watch(self.side, half, cx.waker());
        link::look_at(&self.inner.executor, &self.link, self.side, half, at);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.link.close(self.side, self.now());
    }
}

/// Both halves of one end, without TLS at first.
pub fn halves(
    inner: &Rc<Inner>,
    link: &Rc<Link>,
    side: Side,
) -> (StreamReader<SimReader, SimWriter>, StreamWriter<SimWriter>) {
    let socket = Rc::new(Socket {
        inner: inner.clone(),
        link: link.clone(),
        side,
        read_expired: Default::default(),
        write_expired: Default::default(),
    });
    let reader = SimReader { socket: socket.clone(), doing: Doing::Nothing, began: 0, waiter: None };
    let writer = SimWriter { socket, op: None, idle_end: 0, began: 0 };
    (StreamReader::plain(reader), StreamWriter::plain(writer))
}

enum Doing {
    Nothing,
    Waiting,
    Reading(Buffer, u64),
}

pub struct SimReader {
    socket: Rc<Socket>,
    doing: Doing,
    /// The turn in which the operation began; like a ring's, it completes in a later one.
    began: u64,
    /// Who waits.
    waiter: Option<Waker>,
}

impl SimReader {
    fn expired(&self) -> Option<io::Error> {
        let socket = &self.socket;
        if socket.read_expired.get() {
            return Some(io::ErrorKind::TimedOut.into());
        }
        socket.write_expired.get().then(|| io::ErrorKind::ConnectionAborted.into())
    }

    fn is_early(&self, cx: &Context<'_>) -> bool {
        let early = self.began == self.socket.inner.executor.turn();
        if early {
            cx.waker().wake_by_ref();
        }
        early
    }
}

impl Reader for SimReader {
    fn poll_readable(&mut self, cx: &mut Context<'_>, deadline: Timestamp) -> Poll<io::Result<()>> {
        assert!(!matches!(self.doing, Doing::Reading(..)), "a wait may only begin once the read has ended");
        if matches!(self.doing, Doing::Nothing) {
            self.doing = Doing::Waiting;
            self.began = self.socket.inner.executor.turn();
        }
        self.waiter = Some(cx.waker().clone());
        if self.is_early(cx) {
            return Poll::Pending;
        }
        let now = self.socket.now();
        if self.expired().is_some() {
            self.doing = Doing::Nothing;
            return Poll::Ready(Ok(()));
        }
        match self.socket.link.readable(self.socket.side, now) {
            // An error makes a socket readable; the read will tell.
            Outcome::Done(_) => {
                self.doing = Doing::Nothing;
                Poll::Ready(Ok(()))
            }
            Outcome::Later(_) if deadline.as_nanos() <= now => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Outcome::Later(at) => {
                self.socket.wait(Half::Reading, cx, at.min(deadline.as_nanos()));
                Poll::Pending
            }
        }
    }

    fn wake(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    fn begin_read(&mut self, buffer: Buffer, deadline: Timestamp) {
        assert!(matches!(self.doing, Doing::Nothing), "a read may only begin once what was begun has ended");
        assert!(buffer.room() > 0, "a read without room would look like the end of the stream");
        self.doing = Doing::Reading(buffer, deadline.as_nanos());
        self.began = self.socket.inner.executor.turn();
    }

    fn set_read_deadline(&mut self, deadline: Timestamp) {
        if let Doing::Reading(_, until) = &mut self.doing {
            *until = deadline.as_nanos();
            let socket = &self.socket;
            link::look_at(&socket.inner.executor, &socket.link, socket.side, Half::Reading, deadline.as_nanos());
        }
    }

    fn is_reading(&self) -> bool {
        matches!(self.doing, Doing::Reading(..))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        assert!(self.is_reading(), "only a read that was begun has a result");
        if self.is_early(cx) {
            return Poll::Pending;
        }
        let expired = self.expired();
        let Doing::Reading(buffer, deadline) = &mut self.doing else { return Poll::Pending };
        let (socket, now) = (&self.socket, self.socket.now());
        let room = buffer.room();
        let outcome = match expired {
            Some(error) => Outcome::Done(Err(error)),
            None => socket.link.read(socket.side, now, room, buffer.vec()),
        };
        let result = match outcome {
            Outcome::Done(result) => result,
            Outcome::Later(_) if *deadline <= now => {
                socket.read_expired.set(true);
                Err(io::ErrorKind::TimedOut.into())
            }
            Outcome::Later(at) => {
                socket.wait(Half::Reading, cx, at.min(*deadline));
                return Poll::Pending;
            }
        };
        let buffer = std::mem::take(buffer);
        self.doing = Doing::Nothing;
        Poll::Ready((result, buffer))
    }
}

struct Op {
    buffer: Buffer,
    from: usize,
    patience: Patience,
    failed: Option<io::Error>,
}

pub struct SimWriter {
    socket: Rc<Socket>,
    op: Option<Op>,
    idle_end: u64,
    began: u64,
}

impl SimWriter {
    /// Hands over what the link takes now; whether it is all.
    fn push(&mut self) -> bool {
        let now = self.socket.now();
        let Some(op) = &mut self.op else { return true };
        while op.failed.is_none() && op.from < op.buffer.filled().len() {
            let rest = &op.buffer.filled()[op.from..];
            match self.socket.link.write(self.socket.side, now, rest) {
                Outcome::Done(Ok(count)) => {
                    op.from += count;
                    self.idle_end = now.saturating_add(op.patience.idle.as_nanos() as u64);
                }
                Outcome::Done(Err(error)) => op.failed = Some(error),
                Outcome::Later(_) => return false,
            }
        }
        true
    }
}

impl Writer for SimWriter {
    fn begin_write(&mut self, buffer: Buffer, from: usize, patience: Patience) {
        assert!(self.op.is_none(), "a write may only begin once the one before has ended");
        let now = self.socket.now();
        self.began = self.socket.inner.executor.turn();
        self.idle_end = now.saturating_add(patience.idle.as_nanos() as u64);
        let failed = self.socket.write_expired.get().then(|| io::ErrorKind::TimedOut.into());
        self.op = Some(Op { buffer, from, patience, failed });
        self.push();
    }

    fn is_writing(&self) -> bool {
        self.op.is_some()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)> {
        if self.began == self.socket.inner.executor.turn() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.push() {
            let Some(op) = &mut self.op else { return Poll::Pending };
            let until = self.idle_end.min(op.patience.until.as_nanos());
            if until > self.socket.now() {
                self.socket.wait(Half::Writing, cx, until);
                return Poll::Pending;
            }
            self.socket.write_expired.set(true);
            self.socket.link.abort(self.socket.side, self.socket.now());
            op.failed = Some(io::ErrorKind::TimedOut.into());
        }
        let Some(op) = self.op.take() else { panic!("only a write that was begun has a result") };
        Poll::Ready((op.failed.map_or(Ok(()), Err), op.buffer))
    }

    fn shutdown(&mut self) {
        self.socket.link.finish(self.socket.side, self.socket.now());
    }

    fn abort(&mut self) {
        self.socket.link.abort(self.socket.side, self.socket.now());
    }

    fn reset(&mut self) {
        self.socket.link.reset(self.socket.side, self.socket.now());
    }
}
