//! The simulated world: a whole shard over virtual time and scripted peers, in one thread and without a socket.
//!
//! A test reads like this: a configuration, origins, then a script of what clients do and see.
//!
//! ```ignore
//! let world = World::new(1).config(PLAIN);
//! world.answers("10.0.0.1:80", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
//! world.run(async {
//!     let mut client = world.client();
//!     client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
//!     assert_eq!(client.response().await.text(), "ok");
//! });
//! ```

#![allow(dead_code, reason = "each suite uses its part")]

pub mod count;
mod executor;
pub mod http2;
mod link;
mod message;
mod net;
mod peer;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tidegate::base::{Address, Timestamp};
use tidegate::config::{self, Environment, Source};
use tidegate::observe::{Bounds, Collector, Registry, outbox};
use tidegate::proxy::shell::{Accepted, Shard as _};
use tidegate::proxy::{Shard, ShardParts};
use tidegate::snapshot::Snapshot;
use tidegate::snapshot::compile::{self, compile};

use executor::{Executor, Kind};
#[allow(unused_imports, reason = "each suite uses its part")]
pub use link::{Fault, FaultKind, Link, Wire};
pub use message::Message;
use net::{SimNet, halves};
#[allow(unused_imports, reason = "each suite uses its part")]
pub use peer::{Ended, Peer, find, text};

/// Polls of tasks after which a run is taken for a livelock.
const STEPS_MAX: u64 = 3_000_000;
/// Virtual time after which a run is taken for a deadlock.
const TIME_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// The clock at the beginning: not zero, so that a mistaken zero shows.
const START: u64 = 1_000_000_000;
/// Names the gateway in `Via`.
pub const VIA_SEED: u32 = 0x5eed;

/// One upstream behind one listener, and everything goes there.
pub const PLAIN: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
"#;

type Script = Pin<Box<dyn Future<Output = ()>>>;

/// What an address does with a connection.
#[derive(Clone)]
pub enum Reply {
    Refuse,
    Fail(io::ErrorKind),
    Serve(Rc<dyn Fn(Peer) -> Script>),
}

/// An address that upstream connections may lead to.
pub struct Host {
    reply: RefCell<Reply>,
    delay: Cell<Duration>,
    panics: Cell<bool>,
    wire: Cell<Wire>,
    /// Of the next connection, by the side that writes: 0 the gateway, 1 the origin.
    faults: RefCell<Vec<(usize, Fault)>>,
    accepted: Cell<u32>,
}

impl Host {
    /// Connections accepted so far.
    pub fn accepted(&self) -> u32 {
        self.accepted.get()
    }

    /// How long a connect takes.
    pub fn delay(&self, delay: Duration) {
        self.delay.set(delay);
    }

    /// Makes `connect` itself panic.
    pub fn panics(&self, panics: bool) {
        self.panics.set(panics);
    }

    /// Refuses connections from now on.
    pub fn refuse(&self) {
        *self.reply.borrow_mut() = Reply::Refuse;
    }

    /// Lets connects fail from now on.
    pub fn fail(&self, kind: io::ErrorKind) {
        *self.reply.borrow_mut() = Reply::Fail(kind);
    }

    /// How further links behave.
    pub fn wire(&self, wire: Wire) {
        self.wire.set(wire);
    }

    /// Plans a fault of what the origin sends on its next connection.
    pub fn fault(&self, fault: Fault) {
        self.faults.borrow_mut().push((1, fault));
    }
}

/// What all parts of a world share.
pub struct Inner {
    executor: Executor,
    hosts: RefCell<HashMap<String, Rc<Host>>>,
    connects: RefCell<Vec<String>>,
    random: RefCell<fastrand::Rng>,
    /// Steps of handshakes that were to be signed beside the shard.
    signed: Cell<u32>,
    /// How long that takes; none refuses it.
    signing: Cell<Option<Duration>>,
}

impl Inner {
    async fn sleep(&self, nanos: u64) {
        let until = self.executor.now().saturating_add(nanos);
        let mut begun = false;
        poll_fn(|cx| {
            if begun && self.executor.now() >= until {
                return Poll::Ready(());
            }
            begun = true;
            self.executor.wake_at(until, cx.waker());
            Poll::Pending
        })
        .await;
    }
}

/// The simulated world.
#[derive(Clone)]
pub struct World {
    seed: u64,
    inner: Rc<Inner>,
    registry: Rc<Registry>,
    gateway: RefCell<Option<Rc<Gateway>>>,
    client_wire: Cell<Wire>,
    requests: Rc<RefCell<Vec<Message>>>,
    panics_allowed: Cell<bool>,
    clients: Cell<u16>,
    /// What the configuration may name.
    files: RefCell<Files>,
    /// What names stand for.
    names: RefCell<compile::Resolved>,
}

/// Files by path, and no variables.
#[derive(Clone, Default)]
struct Files(HashMap<PathBuf, Vec<u8>>);

impl Environment for Files {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

/// The gateway in the world.
struct Gateway {
    shard: Rc<Shard<SimNet>>,
    snapshot: RefCell<Arc<Snapshot>>,
    collector: RefCell<Collector>,
    lines: RefCell<Vec<u8>>,
}

/// One line of the access log.
#[derive(Clone, Debug)]
pub struct Line(serde_json::Value);

impl Line {
    /// A field as text; empty if there is none.
    pub fn text(&self, field: &str) -> String {
        match &self.0[field] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// A field as a number.
    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_else(|| panic!("{field} is no number in {}", self.0))
    }

    /// Why the exchange ended.
    pub fn reason(&self) -> String {
        self.text("reason")
    }
}

impl World {
    /// A world where `seed` decides everything that chance decides.
    pub fn new(seed: u64) -> Self {
        Self::with_order(seed, None)
    }

    /// A world that also runs its tasks in random order.
    pub fn shuffled(seed: u64) -> Self {
        Self::with_order(seed, Some(seed))
    }

    fn with_order(seed: u64, order: Option<u64>) -> Self {
        let inner = Inner {
            executor: Executor::new(START, order),
            hosts: RefCell::default(),
            connects: RefCell::new(Vec::with_capacity(1024)),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            signed: Cell::default(),
            signing: Cell::new(Some(Duration::ZERO)),
        };
        Self {
            seed,
            inner: Rc::new(inner),
            registry: Rc::new(Registry::new(1, Bounds::default())),
            gateway: RefCell::default(),
            client_wire: Cell::default(),
            requests: Rc::default(),
            panics_allowed: Cell::new(false),
            clients: Cell::new(0),
            files: RefCell::default(),
            names: RefCell::default(),
        }
    }

    /// Lets the configuration name a file.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        self.files.borrow_mut().0.insert(path.into(), content.as_ref().into());
    }

    /// Lets a name of the configuration stand for an address.
    pub fn name(&self, name: &str, address: &str) {
        self.names.borrow_mut().insert(name.into(), vec![address.parse().unwrap()]);
    }

    /// Starts the gateway with this configuration.
    #[must_use]
    pub fn config(self, yaml: &str) -> Self {
        let snapshot = Arc::new(self.compile(yaml, None));
        let metrics = self.registry.shard(0);
        let (log, collector) = outbox(metrics.clone());
        let net = SimNet(self.inner.clone());
        let parts = ShardParts { net, number: 0, shards: 1, snapshot: snapshot.clone(), metrics, log, seed: self.seed };
        let gateway = Gateway {
            shard: Shard::new(parts),
            snapshot: RefCell::new(snapshot),
            collector: RefCell::new(collector),
            lines: RefCell::default(),
        };
        *self.gateway.borrow_mut() = Some(Rc::new(gateway));
        self
    }

    fn compile(&self, yaml: &str, previous: Option<&Snapshot>) -> Snapshot {
        let loaded = config::load(&Source::text("test.yaml", yaml), &*self.files.borrow());
        assert!(loaded.all_findings().is_empty(), "{}", config::render(&loaded.all_findings(), &loaded.sources, false));
        let resolved = self.names.borrow();
        let world = compile::World { previous, registry: &self.registry, resolved: &resolved, via_seed: VIA_SEED };
        let compiled = compile(&Arc::new(loaded.config), &world);
        assert!(compiled.findings.is_empty(), "{:?}", compiled.findings);
        compiled.snapshot
    }

    /// Swaps the configuration, as a reload does.
    pub fn reload(&self, yaml: &str) {
        let gateway = self.gateway();
        let snapshot = Arc::new(self.compile(yaml, Some(&gateway.snapshot.borrow())));
        gateway.shard.prepare(&snapshot).expect("a simulated shard is always ready");
        gateway.shard.commit(snapshot.generation);
        *gateway.snapshot.borrow_mut() = snapshot;
    }

    fn gateway(&self) -> Rc<Gateway> {
        self.gateway.borrow().clone().expect("a configuration comes first")
    }

    pub fn shard(&self) -> Rc<Shard<SimNet>> {
        self.gateway().shard.clone()
    }

    /// Lets an origin serve each connection to `address` with `serve`.
    pub fn origin<F: Future<Output = ()> + 'static>(
        &self,
        address: &str,
        serve: impl Fn(Peer) -> F + 'static,
    ) -> Rc<Host> {
        let host = self.host(address);
        *host.reply.borrow_mut() = Reply::Serve(Rc::new(move |peer| Box::pin(serve(peer))));
        host
    }

    /// Lets an origin answer every request to `address` with these octets, and notes the requests.
    pub fn answers(&self, address: &str, response: impl AsRef<[u8]>) -> Rc<Host> {
        let response: Rc<[u8]> = response.as_ref().into();
        let requests = self.requests.clone();
        self.origin(address, move |mut peer| {
            let (response, requests) = (response.clone(), requests.clone());
            async move {
                while let Some(request) = peer.request().await {
                    requests.borrow_mut().push(request);
                    peer.send(&response).await;
                }
            }
        })
    }

    /// Lets connections to `address` be refused.
    pub fn refuses(&self, address: &str) -> Rc<Host> {
        self.host(address)
    }

    fn host(&self, address: &str) -> Rc<Host> {
        let mut hosts = self.inner.hosts.borrow_mut();
        let fresh = || {
            Rc::new(Host {
                reply: RefCell::new(Reply::Refuse),
                delay: Cell::default(),
                panics: Cell::default(),
                wire: Cell::default(),
                faults: RefCell::default(),
                accepted: Cell::default(),
            })
        };
        hosts.entry(address.to_owned()).or_insert_with(fresh).clone()
    }

    /// The requests that origins have noted.
    pub fn requests(&self) -> Vec<Message> {
        self.requests.borrow().clone()
    }

    /// The only request that origins have noted.
    pub fn request(&self) -> Message {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }

    /// Notes a request as the origins of [`Self::answers`] do.
    pub fn note(&self) -> impl Fn(Message) + Clone + 'static {
        let requests = self.requests.clone();
        move |request| requests.borrow_mut().push(request)
    }

    /// Addresses that were dialled, in order.
    pub fn connects(&self) -> Vec<String> {
        self.inner.connects.borrow().clone()
    }

    /// How further client links behave.
    pub fn client_wire(&self, wire: Wire) {
        self.client_wire.set(wire);
    }

    /// A client of the listener `public`.
    pub fn client(&self) -> Peer {
        self.client_from("192.0.2.7:40000")
    }

    /// A client with this address; `unix` is one without.
    pub fn client_from(&self, address: &str) -> Peer {
        self.client_of("public", address)
    }

    /// A client of this listener.
    pub fn client_of(&self, listener: &str, address: &str) -> Peer {
        let link = Link::new(self.client_wire.get(), self.inner.random.borrow_mut().u64(..));
        let (reader, writer) = halves(&self.inner, &link, 1);
        let peer = match address {
            "unix" => Address::Unix(Path::new("").into()),
            _ => Address::Ip(address.parse().expect("an address")),
        };
        let local = Address::Ip(([127, 0, 0, 1], 8080).into());
        let accepted = Accepted { listener: listener.into(), peer, local, reader, writer };
        self.inner.executor.spawn(Kind::Shard, self.shard().serve(accepted));
        Peer::new(&self.inner, &link, 0)
    }

    /// Lets one client send one request on a connection of its own, and reads the answer.
    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Message {
        let mut client = self.client();
        client.send(request).await;
        client.response().await
    }

    /// Runs a script beside the test.
    pub fn spawn(&self, script: impl Future<Output = ()> + 'static) {
        self.inner.executor.spawn(Kind::Script, script);
    }

    /// Lets a signature beside the shard take so long; none refuses it.
    pub fn signing(&self, delay: Option<Duration>) {
        self.inner.signing.set(delay);
    }

    /// How many were asked for.
    pub fn signed(&self) -> u32 {
        self.inner.signed.get()
    }

    /// Lets time pass.
    pub async fn sleep(&self, time: Duration) {
        self.inner.sleep(time.as_nanos() as u64).await;
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.inner.executor.now())
    }

    /// Time since `then`.
    pub fn since(&self, then: Timestamp) -> Duration {
        self.now().since(then)
    }

    /// Takes what the shard has logged, as the writer does from time to time.
    pub fn collect_log(&self) {
        let gateway = self.gateway();
        gateway.shard.tick(self.now().plus(Duration::from_millis(100)));
        let mut lines = gateway.lines.borrow_mut();
        gateway.collector.borrow_mut().drain_into(&mut *lines).expect("memory takes everything");
    }

    /// The lines of the access log so far, after a moment for the last ones to be written.
    pub async fn log(&self) -> Vec<Line> {
        self.sleep(Duration::from_millis(1)).await;
        let gateway = self.gateway();
        self.collect_log();
        let lines = gateway.lines.borrow();
        let parse = |line: &[u8]| serde_json::from_slice(line).unwrap_or_else(|_| panic!("{}", text(line)));
        lines.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()).map(|line| Line(parse(line))).collect()
    }

    /// The only line of the access log.
    pub async fn line(&self) -> Line {
        let lines = self.log().await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    }

    /// The value of a metric: its name with its labels, as it is exposed.
    pub fn metric(&self, series: &str) -> u64 {
        let mut text = String::new();
        self.registry.render(&mut text);
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
    }

    /// The sum of a metric over all its labels.
    pub fn sum(&self, name: &str) -> u64 {
        let mut text = String::new();
        self.registry.render(&mut text);
        let values = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().expect("a number")).sum()
    }

    /// Expects panics of the shard: they do not fail the test.
    pub fn allow_panics(&self) {
        self.panics_allowed.set(true);
    }

    /// Connections the shard serves.
    pub fn open_connections(&self) -> usize {
        self.shard().open_connections()
    }

    /// Runs `test` to its end; everything else runs beside it.
    pub fn run<T: 'static>(&self, test: impl Future<Output = T>) -> T {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run_to_end(test)));
        let cleared = catch_unwind(AssertUnwindSafe(|| self.inner.executor.clear()));
        self.inner.hosts.borrow_mut().clear();
        let result = outcome.and_then(|result| cleared.map(|()| result));
        result.unwrap_or_else(|panic| {
            eprintln!("the seed was {}", self.seed);
            resume_unwind(panic)
        })
    }

    fn run_to_end<T: 'static>(&self, test: impl Future<Output = T>) -> T {
        let mut test = std::pin::pin!(test);
        let woken = Arc::new(Woken(std::sync::atomic::AtomicBool::new(true)));
        let waker = woken.clone().into();
        let mut cx = std::task::Context::from_waker(&waker);
        let executor = &self.inner.executor;
        let (mut steps, mut ticked) = (0, START);
        loop {
            if woken.0.swap(false, std::sync::atomic::Ordering::Relaxed)
                && let Poll::Ready(result) = test.as_mut().poll(&mut cx)
            {
                self.check_panics();
                return result;
            }
            let woken = woken.0.load(std::sync::atomic::Ordering::Relaxed);
            if !executor.step() && !woken {
                assert!(executor.advance(), "deadlock: nobody waits for time, and nobody can go on");
                let now = executor.now();
                assert!(now - START < TIME_MAX.as_nanos() as u64, "deadlock: only timers go on");
                if now - ticked >= 1_000_000_000 {
                    ticked = now;
                    self.shard().tick(self.now());
                }
            }
            steps += 1;
            assert!(steps < STEPS_MAX, "livelock: {STEPS_MAX} steps");
        }
    }

    fn check_panics(&self) {
        let panics = self.inner.executor.panics.get() + self.registry.shard(0).panics.value();
        assert!(panics == 0 || self.panics_allowed.get(), "the shard panicked {panics} times");
    }
}

struct Woken(std::sync::atomic::AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
