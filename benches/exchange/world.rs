//! A world of one client and its origins, in memory: every operation ends as soon as its peer has spoken, so that
//! polling the one task of the client's connection runs whole exchanges and nothing else.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tidegate::base::{Address, Buffer, Timestamp, UnixTime};
use tidegate::config::{EmptyEnvironment, Source, load};
use tidegate::observe::{Bounds, Collector, Registry, outbox};
use tidegate::proxy::net::{Net, Patience, Reader, Writer};
use tidegate::proxy::shell::{Accepted, Shard as _};
use tidegate::proxy::tls::{Engine, Signing};
use tidegate::proxy::{Shard, ShardParts};
use tidegate::snapshot::compile;

const CONFIG: &str = r#"
listeners:
  public: { bind: "127.0.0.1:8080" }
upstreams:
  catalog: { endpoints: ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"] }
  orders: { endpoints: ["10.0.1.11:8080"] }
routes:
  - name: order-by-id
    match: { host: shop.example.com, path: "/v1/orders/{id}", method: [GET, PUT] }
    to: orders
  - name: catalog
    match: { host: shop.example.com, path: { prefix: "/products" } }
    response: { headers: { set: { x-frame-options: DENY } } }
    to: catalog
  - name: everything-else
    match: { path: "/{*rest}" }
    to: orders
"#;

/// Nine fields as a browser sends them.
pub const REQUEST: &[u8] = b"GET /products/42/reviews?page=2 HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example.com/products/42\r\n\
    Cookie: session=0195c2e47a3b7def8123456789abcdef\r\n\
    Connection: keep-alive\r\n\
    Sec-Fetch-Mode: navigate\r\n\r\n";

/// Eight fields; the content follows.
const RESPONSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: origin/1.0\r\n\
    Date: Tue, 24 Nov 2026 06:00:00 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 1024\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: max-age=60\r\n\
    ETag: \"5f3c-1a2b3c4d\"\r\n\
    Vary: Accept-Encoding\r\n\r\n";
const CONTENT_BYTES: usize = 1024;

/// Time that passes from one request to the next.
const REQUEST_NANOS: u64 = 20_000;
/// Lines are fetched so often that none is dropped.
const REQUESTS_PER_DRAIN: u64 = 100;
/// After so many requests another client connects: the gateway ends a connection after 100,000.
const REQUESTS_PER_CLIENT: u64 = 50_000;

/// Whether an operation ends when it is first polled, or pends once as it does in a ring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    AtOnce,
    Pending,
}

/// What all peers share.
struct Peers {
    pace: Pace,
    response: Vec<u8>,
    now: Cell<u64>,
    clock_reads: Cell<u64>,
    wall_clock_reads: Cell<u64>,
    polls: Cell<u64>,
    /// Requests the clients may still send.
    credit: Cell<u64>,
    answered: Cell<u64>,
    answered_bytes: Cell<u64>,
}

/// The port of this world.
#[derive(Clone)]
pub struct Memory(Rc<Peers>);

impl Net for Memory {
    type Reader = Half;
    type Writer = Half;

    fn now(&self) -> Timestamp {
        self.0.clock_reads.set(self.0.clock_reads.get() + 1);
        Timestamp::from_nanos(self.0.now.get())
    }

    fn unix_time(&self) -> UnixTime {
        self.0.wall_clock_reads.set(self.0.wall_clock_reads.get() + 1);
        UnixTime::from_nanos(1_795_500_000_000_000_000 + self.0.now.get())
    }

    async fn connect(&self, _address: &Address, _deadline: Timestamp) -> io::Result<(Half, Half)> {
        Ok(halves(&self.0, Peer::Origin))
    }

    async fn sleep(&self, _until: Timestamp) {}

    async fn sign(&self, _signing: Box<Signing>, _deadline: Timestamp) -> io::Result<Box<Signing>> {
        unreachable!("an exchange speaks plain text");
    }

    fn secure(&self, _reader: &mut Half, _writer: &mut Half, _engine: Engine) {
        unreachable!("an exchange speaks plain text");
    }

    fn stream(&self, _reader: Box<dyn Reader>, _writer: Box<dyn Writer>) -> (Half, Half) {
        unreachable!("an exchange makes no streams");
    }

    fn spawn(&self, _task: impl Future<Output = ()> + 'static) {
        unreachable!("an exchange spawns nothing");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Client,
    Origin,
}

/// One half of a stream.
pub struct Half {
    peers: Rc<Peers>,
    peer: Peer,
    /// Whether the peer waits for an answer, or owes one.
    turn: Rc<Cell<bool>>,
    buffer: Option<Buffer>,
    pended: bool,
}

fn halves(peers: &Rc<Peers>, peer: Peer) -> (Half, Half) {
    let turn = Rc::new(Cell::new(false));
    let half = || Half { peers: peers.clone(), peer, turn: turn.clone(), buffer: None, pended: false };
    (half(), half())
}

impl Half {
    /// Whether the peer has sent something.
    fn has_input(&self) -> bool {
        match self.peer {
            Peer::Client => !self.turn.get() && self.peers.credit.get() > 0,
            Peer::Origin => self.turn.get(),
        }
    }

    /// Whether an operation that could end does.
    fn passes(&mut self) -> bool {
        if self.peers.pace == Pace::AtOnce {
            return true;
        }
        self.pended = !self.pended;
        !self.pended
    }
}

impl Reader for Half {
    fn poll_readable(&mut self, _cx: &mut Context<'_>, _deadline: Timestamp) -> Poll<io::Result<()>> {
        if self.has_input() && self.passes() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn wake(&mut self) {}

    fn begin_read(&mut self, buffer: Buffer, _deadline: Timestamp) {
        self.buffer = Some(buffer);
    }

    fn set_read_deadline(&mut self, _deadline: Timestamp) {}

    fn is_reading(&self) -> bool {
        self.buffer.is_some()
    }

    // Not inlined, so that it can be left out of the count: what it does the kernel does elsewhere.
    #[inline(never)]
    fn poll_read(&mut self, _cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        if !self.has_input() || !self.passes() {
            return Poll::Pending;
        }
        let Some(mut buffer) = self.buffer.take() else { return Poll::Pending };
        let bytes = match self.peer {
            Peer::Client => {
                self.peers.credit.set(self.peers.credit.get() - 1);
                self.peers.now.set(self.peers.now.get() + REQUEST_NANOS);
                REQUEST
            }
            Peer::Origin => &self.peers.response,
        };
        self.turn.set(self.peer == Peer::Client);
        buffer.vec().extend_from_slice(bytes);
        Poll::Ready((Ok(bytes.len()), buffer))
    }
}

impl Writer for Half {
    fn begin_write(&mut self, buffer: Buffer, _from: usize, _patience: Patience) {
        self.buffer = Some(buffer);
    }

    fn is_writing(&self) -> bool {
        self.buffer.is_some()
    }

    // Not inlined, as above.
    #[inline(never)]
    fn poll_write(&mut self, _cx: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)> {
        if !self.passes() {
            return Poll::Pending;
        }
        let Some(buffer) = self.buffer.take() else { return Poll::Pending };
        if self.peer == Peer::Client {
            self.peers.answered.set(self.peers.answered.get() + 1);
            self.peers.answered_bytes.set(buffer.filled().len() as u64);
        }
        self.turn.set(self.peer == Peer::Origin);
        Poll::Ready((Ok(()), buffer))
    }

    fn shutdown(&mut self) {}

    fn abort(&mut self) {}
}

/// A shard, its log, and the connections of its clients.
pub struct World {
    shard: Rc<Shard<Memory>>,
    peers: Rc<Peers>,
    log: RefCell<Collector>,
    connections: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    /// Requests of the newest client.
    requests: u64,
    pub log_bytes: u64,
}

impl World {
    /// A gateway as configured above, with every default, and one client.
    pub fn new(pace: Pace) -> Self {
        let loaded = load(&Source::text("exchange.yaml", CONFIG), &EmptyEnvironment);
        assert!(loaded.is_sound(), "{}", loaded.render(false));
        let registry = Registry::new(1, Bounds::default());
        let resolved = compile::Resolved::default();
        let world = compile::World { previous: None, registry: &registry, resolved: &resolved, via_seed: 7 };
        let compiled = compile::compile(&Arc::new(loaded.config), &world);
        let (log, collector) = outbox(registry.shard(0));
        let peers = Rc::new(Peers {
            pace,
            response: [RESPONSE_HEAD, &[b'x'; CONTENT_BYTES]].concat(),
            now: Cell::new(1_000_000_000),
            clock_reads: Cell::new(0),
            wall_clock_reads: Cell::new(0),
            polls: Cell::new(0),
            credit: Cell::new(0),
            answered: Cell::new(0),
            answered_bytes: Cell::new(0),
        });
        let shard = Shard::new(ShardParts {
            net: Memory(peers.clone()),
            number: 0,
            shards: 1,
            snapshot: Arc::new(compiled.snapshot),
            metrics: registry.shard(0),
            log,
            seed: 7,
        });
        let mut world =
            Self { shard, peers, log: RefCell::new(collector), connections: Vec::new(), requests: 0, log_bytes: 0 };
        world.accept();
        world
    }

    /// Another client connects. Returns the size of the task that serves it.
    pub fn accept(&mut self) -> usize {
        let (reader, writer) = halves(&self.peers, Peer::Client);
        let client = Address::Ip("198.51.100.7:40000".parse().expect("an address"));
        let local = Address::Ip("127.0.0.1:8080".parse().expect("an address"));
        let accepted = Accepted { listener: "public".into(), peer: client, local, reader, writer };
        let serve = self.shard.clone().serve(accepted);
        let size = size_of_val(&serve);
        self.connections.push(Box::pin(serve));
        self.requests = 0;
        size
    }

    /// The newest client makes this many requests.
    pub fn exchanges(&mut self, count: u64) {
        let mut left = count;
        while left > 0 {
            let batch = left.min(REQUESTS_PER_DRAIN);
            if self.requests + batch > REQUESTS_PER_CLIENT {
                self.connections.pop();
                self.accept();
            }
            self.requests += batch;
            self.batch(batch);
            self.drain_log();
            left -= batch;
        }
    }

    fn batch(&mut self, count: u64) {
        let goal = self.peers.answered.get() + count;
        self.peers.credit.set(count);
        let connection = self.connections.last_mut().expect("there is a client");
        let mut cx = Context::from_waker(Waker::noop());
        // Once more behind the last answer, so that the exchange ends and the connection waits.
        let mut done = false;
        while !done {
            done = self.peers.answered.get() == goal;
            self.peers.polls.set(self.peers.polls.get() + 1);
            assert!(connection.as_mut().poll(&mut cx).is_pending(), "the connection stays open");
        }
    }

    fn drain_log(&mut self) {
        let drained = self.log.borrow_mut().drain_into(&mut io::sink());
        self.log_bytes += drained.expect("a sink takes all") as u64;
    }

    /// Reads of the monotonic clock and of the wall clock, and polls of the task, so far.
    pub fn reads_and_polls(&self) -> (u64, u64, u64) {
        (self.peers.clock_reads.get(), self.peers.wall_clock_reads.get(), self.peers.polls.get())
    }

    /// Octets of the last response.
    pub fn response_bytes(&self) -> u64 {
        self.peers.answered_bytes.get()
    }
}
