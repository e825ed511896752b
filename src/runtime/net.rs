//! The IO port of one shard: its connections, its time and its tasks.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use monoio::net::UnixStream as Descriptor;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::base::{Address, Timestamp, UnixTime, WHEEL_TICK};
use crate::observe::WorkerMetrics;
use crate::proxy::net::{Net, Reader, Writer};
use crate::proxy::tls::{self, Engine, Signing, StreamReader, StreamWriter};

use super::accept::is_shortage;
use super::clock;
use super::deadline::{Deadlines, reset_on_close};
use super::probe::Driver;
use super::signers::Signers;
use super::stream::{Common, LiveReader, LiveWriter, halves};
use super::task;

/// How long a connect to a Unix socket rests while that socket's queue is full.
const UNIX_QUEUE_REST: Duration = Duration::from_millis(5);
/// The longest single timer of a sleep; longer sleeps take several.
const SLEEP_STRETCH_MAX: Duration = Duration::from_secs(3600);

/// A turn of the wheel that is later than this follows a stall of the whole shard.
const STALL_MIN_NANOS: u64 = WHEEL_TICK.as_nanos() as u64;
/// What a shard gets after a stall to catch up before deadlines are judged.
const STALL_REST: Duration = Duration::from_millis(1);

/// Both halves of a stream, without TLS at first.
type Halves = (StreamReader<LiveReader, LiveWriter>, StreamWriter<LiveWriter>);

/// One shard's world over a ring or epoll. Clones are the same world.
#[derive(Clone)]
pub struct LiveNet {
    driver: Driver,
    common: Rc<Common>,
    metrics: Arc<WorkerMetrics>,
    signers: Signers,
}

impl LiveNet {
    /// The world of this thread, whose runtime is running on `driver`.
    pub(super) fn new(driver: Driver, metrics: Arc<WorkerMetrics>, signers: Signers) -> Self {
        let common = Rc::new(Common::new(Deadlines::new(clock::now(), Arc::clone(&metrics))));
        Self { driver, common, metrics, signers }
    }

    /// Turns the wheel of deadlines, for ever; `each_tick` is told the time after every turn.
    pub(super) async fn keep_time(self, mut each_tick: impl FnMut(Timestamp)) {
        let mut due = clock::now().plus(WHEEL_TICK);
        loop {
            self.sleep(due).await;
            let now = clock::now();
            let lag = u64::try_from(now.since(due).as_nanos()).unwrap_or(u64::MAX);
            self.metrics.ticks.add(1);
            self.metrics.lag_nanos.add(lag);
            self.metrics.lag_nanos_max.raise(lag);
            if lag > STALL_MIN_NANOS {
                // Data may have come in time and not been looked at yet: the sockets speak first.
                monoio::time::sleep(STALL_REST).await;
            }
            self.common.deadlines.turn(now);
            each_tick(now);
            // What was missed is skipped, not made up for.
            due = due.plus(WHEEL_TICK).max(now);
        }
    }

    /// Frees some of what was not needed of late; to be called a few times a second.
    pub(super) fn trim(&self) {
        self.common.trim();
    }

    /// The driver below.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// The figures of this shard's worker.
    pub fn metrics(&self) -> &Arc<WorkerMetrics> {
        &self.metrics
    }

    /// Takes a connected socket into this world, whatever its blocking mode was.
    pub fn adopt(&self, socket: OwnedFd) -> io::Result<Halves> {
        self.set_mode(&SockRef::from(&socket))?;
        Ok(plain(halves(Descriptor::from_std(socket.into())?, &self.common)))
    }

    /// Takes a socket that was accepted just now, and so is in blocking mode.
    pub(super) fn adopt_accepted(&self, socket: Socket) -> io::Result<Halves> {
        if self.driver == Driver::Epoll {
            socket.set_nonblocking(true)?;
        }
        Ok(plain(halves(Descriptor::from_std(OwnedFd::from(socket).into())?, &self.common)))
    }

    /// A blocking socket would stop the epoll loop; a non-blocking one makes ring operations end with EAGAIN.
    fn set_mode(&self, socket: &Socket) -> io::Result<()> {
        socket.set_nonblocking(self.driver == Driver::Epoll)
    }

    async fn connect_ip(&self, address: SocketAddr, deadline: Timestamp) -> io::Result<Halves> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        let under_way = match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => true,
            outcome => outcome.map(|()| false)?,
        };
        let descriptor = Descriptor::from_std(OwnedFd::from(socket).into())?;
        if under_way {
            self.before(deadline, descriptor.writable(false)).await??;
        }
        // SAFETY: the descriptor stays open while it is borrowed.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor.as_raw_fd()) };
        let socket = SockRef::from(&borrowed);
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        if is_its_own_peer(&socket, address)? {
            // At once, for as long as it is there nobody can listen on the port.
            reset_on_close(descriptor.as_raw_fd());
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.set_mode(&socket)?;
        Ok(plain(halves(descriptor, &self.common)))
    }

    async fn connect_unix(&self, path: &Path, deadline: Timestamp) -> io::Result<Halves> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        let address = SockAddr::unix(path)?;
        loop {
            match socket.connect(&address) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    outcome?;
                    return self.adopt(socket.into());
                }
            }
            if clock::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.sleep(clock::now().plus(UNIX_QUEUE_REST).min(deadline)).await;
        }
    }

    /// The outcome of `future`, unless the deadline comes first; then it is dropped.
    async fn before<F: Future>(&self, deadline: Timestamp, future: F) -> io::Result<F::Output> {
        if deadline == Timestamp::NEVER {
            return Ok(future.await);
        }
        let left = deadline.since(clock::now());
        monoio::time::timeout(left, future).await.map_err(|_| io::ErrorKind::TimedOut.into())
    }
}

/// Whether a socket has connected to itself: where nobody listens on a port of this host from which the kernel also takes
/// ports for clients, in time it takes that very one, and the two ends meet (RFC 9293, section 3.5, simultaneous open).
fn is_its_own_peer(socket: &Socket, peer: SocketAddr) -> io::Result<bool> {
    Ok(socket.local_addr()?.as_socket() == Some(peer))
}

fn plain((reader, writer): (LiveReader, LiveWriter)) -> Halves {
    (StreamReader::plain(reader), StreamWriter::plain(writer))
}

impl Net for LiveNet {
    type Reader = StreamReader<LiveReader, LiveWriter>;
    type Writer = StreamWriter<LiveWriter>;

    #[inline]
    fn now(&self) -> Timestamp {
        clock::now()
    }

    #[inline]
    fn unix_time(&self) -> UnixTime {
        clock::unix_time()
    }

    async fn connect(&self, address: &Address, deadline: Timestamp) -> io::Result<Halves> {
        let connected = match address {
            Address::Ip(address) => self.connect_ip(*address, deadline).await,
            Address::Unix(path) => self.connect_unix(path, deadline).await,
        };
        connected.map_err(|error| match is_shortage(&error) {
            true => io::Error::new(io::ErrorKind::OutOfMemory, error),
            false => error,
        })
    }

    async fn sleep(&self, until: Timestamp) {
        if until == Timestamp::NEVER {
            return pending().await;
        }
        loop {
            let left = until.since(clock::now());
            if left.is_zero() {
                return;
            }
            monoio::time::sleep(left.min(SLEEP_STRETCH_MAX)).await;
        }
    }

    async fn sign(&self, signing: Box<Signing>, deadline: Timestamp) -> io::Result<Box<Signing>> {
        let signed = self.before(deadline, self.signers.sign(signing)).await?;
        signed.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }

    fn secure(&self, reader: &mut Self::Reader, writer: &mut Self::Writer, engine: Engine) {
        tls::secure(reader, writer, engine);
    }

    fn stream(&self, reader: Box<dyn Reader>, writer: Box<dyn Writer>) -> Halves {
        (StreamReader::made(reader), StreamWriter::made(writer))
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        task::spawn(&self.metrics, future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_met_itself_is_known_from_one_that_met_a_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Socket::from(std::net::TcpStream::connect(address).unwrap());
        assert!(!is_its_own_peer(&socket, address).unwrap());
        let alone = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        alone.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = alone.local_addr().unwrap();
        alone.connect(&address).unwrap();
        assert!(is_its_own_peer(&alone, address.as_socket().unwrap()).unwrap());
    }
}
