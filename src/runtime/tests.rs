//! The port over real sockets on loopback, on both drivers.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use crate::base::{Address, Buffer, CidrSet, Timestamp};
use crate::observe::{EscapedText, WorkerMetrics};
use crate::proxy::command::Command;
use crate::proxy::net::{Net, Patience, Reader, Writer};
use crate::proxy::shell::{Accepted, Shard};
use crate::route::Table;
use crate::snapshot::{GatewayPlan, Limits, ListenerPlan, Snapshot, Timeouts};

use super::accept::{Gate, Listening};
use super::boot::{Fleet, Worker};
use super::clock::now;
use super::listen::SocketStore;
use super::net::LiveNet;
use super::probe::{Driver, DriverChoice, probe};
use super::signers::Signers;
use super::{task, worker};

type LiveReader = <LiveNet as Net>::Reader;
type LiveWriter = <LiveNet as Net>::Writer;

const NEVER: Timestamp = Timestamp::NEVER;
const PATIENT: Patience = Patience { idle: Duration::from_secs(10), until: NEVER };

fn in_millis(millis: u64) -> Timestamp {
    now().plus(Duration::from_millis(millis))
}

/// epoll, and io_uring where this machine allows it.
fn drivers() -> Vec<Driver> {
    let verdict = probe(DriverChoice::Auto, false).unwrap();
    if verdict.driver == Driver::Epoll {
        eprintln!("io_uring is not tested: {}", verdict.reason);
        return vec![Driver::Epoll];
    }
    vec![verdict.driver, Driver::Epoll]
}

/// Runs `body` in a world of its own on each driver.
fn on_each_driver<B, F>(body: B)
where
    B: Fn(LiveNet) -> F + Sync,
    F: Future<Output = ()>,
{
    for driver in drivers() {
        let world = || async {
            let net = LiveNet::new(driver, Arc::new(WorkerMetrics::default()), Signers::start(1).unwrap());
            task::spawn(net.metrics(), net.clone().keep_time(|_| {}));
            body(net).await;
        };
        let run = || worker::run(driver, world()).unwrap();
        let outcome = std::thread::scope(|scope| scope.spawn(run).join());
        outcome.unwrap_or_else(|_| panic!("with {driver}"));
    }
}

/// One of our streams and its peer.
async fn pair(net: &LiveNet) -> (LiveReader, LiveWriter, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Ip(listener.local_addr().unwrap());
    let (reader, writer) = net.connect(&address, in_millis(5000)).await.unwrap();
    (reader, writer, listener.accept().unwrap().0)
}

async fn readable(reader: &mut LiveReader, deadline: Timestamp) -> io::Result<()> {
    poll_fn(|cx| reader.poll_readable(cx, deadline)).await
}

async fn read(reader: &mut LiveReader, buffer: Buffer, deadline: Timestamp) -> (io::Result<usize>, Buffer) {
    reader.begin_read(buffer, deadline);
    poll_fn(|cx| reader.poll_read(cx)).await
}

async fn write(writer: &mut LiveWriter, buffer: Buffer, from: usize, patience: Patience) -> (io::Result<()>, Buffer) {
    writer.begin_write(buffer, from, patience);
    poll_fn(|cx| writer.poll_write(cx)).await
}

fn buffer() -> Buffer {
    Buffer::with_room(1024)
}

fn filled(bytes: &[u8]) -> Buffer {
    Buffer::from_vec(bytes.to_vec())
}

#[test]
fn what_is_written_is_read_back() {
    on_each_driver(|net| async move {
        let (mut reader, mut writer, mut peer) = pair(&net).await;
        write(&mut writer, filled(b"..ping"), 2, PATIENT).await.0.unwrap();
        let mut got = [0; 4];
        peer.read_exact(&mut got).unwrap();
        peer.write_all(&got).unwrap();
        readable(&mut reader, in_millis(5000)).await.unwrap();
        let (result, buffer) = read(&mut reader, filled(b"").with_more_room(), in_millis(5000)).await;
        assert_eq!((result.unwrap(), buffer.filled()), (4, &b"ping"[..]));
    });
}

impl Buffer {
    fn with_more_room(mut self) -> Self {
        self.vec().reserve_exact(64);
        self
    }
}

#[test]
fn a_read_appends_to_what_is_there() {
    on_each_driver(|net| async move {
        let (mut reader, _writer, mut peer) = pair(&net).await;
        peer.write_all(b"cd").unwrap();
        let (result, buffer) = read(&mut reader, filled(b"ab").with_more_room(), in_millis(5000)).await;
        assert_eq!((result.unwrap(), buffer.filled()), (2, &b"abcd"[..]));
    });
}

#[test]
fn an_expired_read_returns_its_buffer() {
    on_each_driver(|net| async move {
        let (mut reader, mut writer, mut peer) = pair(&net).await;
        let begun = now();
        let (result, buffer) = read(&mut reader, buffer(), in_millis(80)).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(buffer.capacity(), 1024);
        assert!(now().since(begun) >= Duration::from_millis(80));
        // The other direction is left alone.
        write(&mut writer, filled(b"late"), 0, PATIENT).await.0.unwrap();
        peer.read_exact(&mut [0; 4]).unwrap();
    });
}

#[test]
fn a_read_after_a_wait_expires_too() {
    on_each_driver(|net| async move {
        for begin_waiting in [true, false] {
            let (mut reader, _writer, mut peer) = pair(&net).await;
            if begin_waiting {
                assert!(poll_fn(|cx| Poll::Ready(reader.poll_readable(cx, NEVER).is_pending())).await);
            } else {
                peer.write_all(b"x").unwrap();
                readable(&mut reader, in_millis(5000)).await.unwrap();
                assert_eq!(read(&mut reader, buffer(), in_millis(5000)).await.0.unwrap(), 1);
            }
            reader.begin_read(buffer(), in_millis(80));
            let expiring = monoio::time::timeout(Duration::from_secs(5), poll_fn(|cx| reader.poll_read(cx)));
            let (result, _) = expiring.await.expect("the read never ends");
            assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
        }
    });
}

#[test]
fn an_expired_wait_leaves_the_stream_alone() {
    on_each_driver(|net| async move {
        let (mut reader, _writer, mut peer) = pair(&net).await;
        let error = readable(&mut reader, in_millis(80)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        peer.write_all(b"still here").unwrap();
        readable(&mut reader, in_millis(5000)).await.unwrap();
        assert_eq!(read(&mut reader, buffer(), in_millis(5000)).await.0.unwrap(), 10);
    });
}

#[test]
fn an_abandoned_wait_does_no_harm() {
    on_each_driver(|net| async move {
        let (mut reader, _writer, mut peer) = pair(&net).await;
        let first_look = poll_fn(|cx| Poll::Ready(reader.poll_readable(cx, in_millis(60)))).await;
        assert!(first_look.is_pending());
        net.sleep(in_millis(200)).await;
        peer.write_all(b"x").unwrap();
        readable(&mut reader, in_millis(5000)).await.unwrap();
        assert_eq!(read(&mut reader, buffer(), in_millis(5000)).await.0.unwrap(), 1);
    });
}

#[test]
fn a_parked_read_notices_the_close_although_nobody_polled_it() {
    on_each_driver(|net| async move {
        let (mut reader, _writer, peer) = pair(&net).await;
        reader.begin_read(buffer(), NEVER);
        let look = |reader: &mut LiveReader| {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            reader.poll_read(&mut cx)
        };
        assert!(look(&mut reader).is_pending());
        net.sleep(in_millis(20)).await;
        assert!(look(&mut reader).is_pending());
        drop(peer);
        net.sleep(in_millis(20)).await;
        let Poll::Ready((result, _)) = look(&mut reader) else { panic!("the close went unnoticed") };
        assert_eq!(result.unwrap(), 0);
    });
}

#[test]
fn a_deadline_may_move_while_the_read_is_under_way() {
    on_each_driver(|net| async move {
        let (mut reader, _writer, _peer) = pair(&net).await;
        let begun = now();
        reader.begin_read(buffer(), in_millis(60_000));
        reader.set_read_deadline(in_millis(60));
        let (result, _) = poll_fn(|cx| reader.poll_read(cx)).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(now().since(begun) < Duration::from_secs(5));
    });
}

#[test]
fn a_large_write_is_all_sent() {
    on_each_driver(|net| async move {
        let (_reader, mut writer, mut peer) = pair(&net).await;
        let everything: Vec<u8> = (0..20_000_000u32).map(|n| n as u8).collect();
        let expected = everything.clone();
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got == expected
        });
        write(&mut writer, Buffer::from_vec(everything), 0, PATIENT).await.0.unwrap();
        writer.shutdown();
        assert!(reader.join().unwrap());
    });
}

#[test]
fn a_write_to_a_peer_that_does_not_read_expires() {
    on_each_driver(|net| async move {
        let (_reader, mut writer, _peer) = pair(&net).await;
        let patience = Patience { idle: Duration::from_millis(60), until: NEVER };
        let (result, buffer) = write(&mut writer, Buffer::from_vec(vec![0; 64 << 20]), 0, patience).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(buffer.filled().len(), 64 << 20);
    });
}

#[test]
fn what_has_ended_in_time_has_no_deadline_any_more() {
    on_each_driver(|net| async move {
        let (mut reader, mut writer, mut peer) = pair(&net).await;
        let soon = Patience { idle: Duration::from_millis(60), until: NEVER };
        write(&mut writer, filled(b"x"), 0, soon).await.0.unwrap();
        peer.write_all(b"y").unwrap();
        readable(&mut reader, in_millis(60)).await.unwrap();
        net.sleep(in_millis(250)).await;
        assert_eq!(read(&mut reader, buffer(), in_millis(60)).await.0.unwrap(), 1);
        net.sleep(in_millis(250)).await;
        assert_eq!(net.metrics().deadlines_passed.value(), 0);
        write(&mut writer, filled(b"z"), 0, soon).await.0.unwrap();
        peer.write_all(b"y").unwrap();
        assert_eq!(read(&mut reader, buffer(), in_millis(5000)).await.0.unwrap(), 1);
    });
}

#[test]
fn a_stall_of_the_loop_is_counted_and_ends_nothing_that_came_in_time() {
    on_each_driver(|net| async move {
        let (mut reader, _writer, mut peer) = pair(&net).await;
        let deadline = in_millis(150);
        assert!(poll_fn(|cx| Poll::Ready(reader.poll_readable(cx, deadline).is_pending())).await);
        net.sleep(in_millis(20)).await;
        peer.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(400));
        readable(&mut reader, deadline).await.unwrap();
        assert_eq!(read(&mut reader, buffer(), deadline).await.0.unwrap(), 1);
        net.sleep(in_millis(60)).await;
        let lag = net.metrics().lag_nanos_max.value();
        let all = net.metrics().lag_nanos.value();
        assert!(lag > 200_000_000 && (lag..lag + 200_000_000).contains(&all), "{lag} {all}");
        reader.begin_read(buffer(), in_millis(5000));
        assert!(poll_fn(|cx| Poll::Ready(reader.poll_read(cx).is_pending())).await);
        net.sleep(in_millis(20)).await;
        peer.write_all(b"y").unwrap();
        assert_eq!(poll_fn(|cx| reader.poll_read(cx)).await.0.unwrap(), 1);
    });
}

#[test]
fn an_expired_write_is_no_end_of_the_stream() {
    on_each_driver(|net| async move {
        let (mut reader, mut writer, _peer) = pair(&net).await;
        reader.begin_read(buffer(), NEVER);
        let patience = Patience { idle: Duration::from_millis(60), until: NEVER };
        write(&mut writer, Buffer::from_vec(vec![0; 64 << 20]), 0, patience).await.0.unwrap_err();
        let (result, _) = poll_fn(|cx| reader.poll_read(cx)).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    });
}

#[test]
fn an_abort_is_no_end_of_stream() {
    on_each_driver(|net| async move {
        let (mut reader, mut writer, _peer) = pair(&net).await;
        reader.begin_read(buffer(), NEVER);
        writer.abort();
        let (result, _) = poll_fn(|cx| reader.poll_read(cx)).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    });
}

#[test]
fn a_reset_is_no_orderly_end_for_the_peer() {
    on_each_driver(|net| async move {
        for reading in [false, true] {
            let (mut reader, mut writer, mut peer) = pair(&net).await;
            if reading {
                reader.begin_read(buffer(), NEVER);
            }
            writer.reset();
            drop((reader, writer));
            net.sleep(in_millis(10)).await;
            peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn dropping_both_halves_closes_whatever_is_under_way() {
    on_each_driver(|net| async move {
        let (mut reader, mut writer, mut peer) = pair(&net).await;
        reader.begin_read(buffer(), NEVER);
        writer.begin_write(Buffer::from_vec(vec![0; 64 << 20]), 0, PATIENT);
        let ended =
            poll_fn(|cx| Poll::Ready(reader.poll_read(cx).is_ready() || writer.poll_write(cx).is_ready())).await;
        assert!(!ended);
        net.sleep(in_millis(10)).await;
        drop((reader, writer));
        net.sleep(in_millis(10)).await;
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let end = io::copy(&mut peer, &mut io::sink());
        assert!(!matches!(end, Err(error) if error.kind() == ErrorKind::WouldBlock), "the stream is still open");
    });
}

#[test]
fn a_refused_connect_says_so() {
    on_each_driver(|net| async move {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = net.connect(&Address::Ip(address), in_millis(5000)).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_connect_to_a_full_queue_expires() {
    on_each_driver(|net| async move {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = Address::Ip(listener.local_addr().unwrap().as_socket().unwrap());
        let mut open = Vec::new();
        let error = loop {
            match net.connect(&address, in_millis(100)).await {
                Ok(halves) => open.push(halves),
                Err(error) => break error,
            }
            assert!(open.len() < 10, "the queue never fills");
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn unix_sockets_carry_streams_too() {
    on_each_driver(|net| async move {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = Address::Unix(Arc::from(path.as_path()));
        assert!(net.connect(&address, in_millis(100)).await.is_err(), "nobody listens yet");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut reader, mut writer) = net.connect(&address, in_millis(5000)).await.unwrap();
        let mut peer = listener.accept().unwrap().0;
        write(&mut writer, filled(b"ping"), 0, PATIENT).await.0.unwrap();
        peer.read_exact(&mut [0; 4]).unwrap();
        peer.write_all(b"pong").unwrap();
        assert_eq!(read(&mut reader, buffer(), in_millis(5000)).await.0.unwrap(), 4);
        let error = read(&mut reader, buffer(), in_millis(60)).await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_connect_to_a_full_unix_queue_expires() {
    on_each_driver(|net| async move {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let address = Address::Unix(Arc::from(path.as_path()));
        let mut open = Vec::new();
        let error = loop {
            match net.connect(&address, in_millis(60)).await {
                Ok(halves) => open.push(halves),
                Err(error) => break error,
            }
            assert!(open.len() < 10, "the queue never fills");
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_panic_ends_its_task_alone() {
    on_each_driver(|net| async move {
        let survivor = Rc::new(Cell::new(false));
        let flag = Rc::clone(&survivor);
        net.spawn(async { panic!("planted") });
        net.spawn(async move { flag.set(true) });
        net.sleep(in_millis(5)).await;
        assert!(survivor.get());
        assert_eq!(net.metrics().panics.value(), 1);
    });
}

#[test]
fn a_listener_that_can_accept_nothing_any_more_does_not_spin() {
    on_each_driver(|net| async move {
        let activated = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(activated.local_addr().unwrap());
        let store = SocketStore::new(vec![activated.try_clone().unwrap().into()]).unwrap();
        let bound = store.open(&address, false, None).unwrap();
        let listening = Listening::new(address, false, bound, Gate::new(Arc::from("l"), 1)).unwrap();
        let running = (net.clone(), Rc::clone(&listening));
        net.spawn(async move { running.1.run(&running.0, |_, _| {}).await });
        socket2::SockRef::from(&activated).shutdown(Shutdown::Both).unwrap();
        net.sleep(in_millis(250)).await;
        let errors = net.metrics().accept_errors.value();
        assert!((1..400).contains(&errors), "{errors}");
        listening.stop();
    });
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Counts descriptors, so it must be alone in its process: started by the test below.
#[test]
#[ignore = "started in a process of its own by `no_descriptor_is_lost`"]
fn no_descriptor_is_lost_alone() {
    on_each_driver(|net| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(listener.local_addr().unwrap());
        net.sleep(in_millis(20)).await;
        let before = open_descriptors();
        for turn in 0..1000 {
            let (mut reader, writer) = net.connect(&address, in_millis(5000)).await.unwrap();
            let peer = listener.accept().unwrap().0;
            match turn % 3 {
                0 => reader.begin_read(buffer(), NEVER),
                1 => assert!(poll_fn(|cx| Poll::Ready(reader.poll_readable(cx, NEVER).is_pending())).await),
                _ => peer.shutdown(Shutdown::Both).unwrap(),
            }
            drop((reader, writer));
        }
        net.sleep(in_millis(100)).await;
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn no_descriptor_is_lost() {
    run_alone("no_descriptor_is_lost_alone");
}

/// Runs an ignored test in a process of its own.
fn run_alone(test: &str) {
    let name = format!("runtime::tests::{test}");
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--ignored", "--exact", &name, "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Sends back what it reads; `!` makes it panic.
struct Echo {
    net: LiveNet,
    open: Cell<usize>,
    generation: Cell<u64>,
    stopped: Cell<bool>,
}

impl Echo {
    fn new(net: LiveNet, _number: usize) -> Rc<Self> {
        Rc::new(Self { net, open: Cell::new(0), generation: Cell::new(0), stopped: Cell::new(false) })
    }

    async fn echo(&self, accepted: Accepted<LiveNet>) -> io::Result<()> {
        let (mut reader, mut writer) = (accepted.reader, accepted.writer);
        loop {
            while let Err(error) = readable(&mut reader, self.net.now().plus(Duration::from_millis(60))).await {
                if error.kind() != ErrorKind::TimedOut || self.stopped.get() {
                    return Err(error);
                }
            }
            let (result, mut buffer) = read(&mut reader, Buffer::with_room(1024), NEVER).await;
            if result? == 0 {
                return Ok(());
            }
            assert!(buffer.filled() != b"!", "planted");
            buffer.vec().extend_from_slice(format!(" {} {}", accepted.listener, self.generation.get()).as_bytes());
            write(&mut writer, buffer, 0, PATIENT).await.0?;
        }
    }
}

struct Open(Rc<Echo>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

impl Shard for Echo {
    type Net = LiveNet;

    async fn serve(self: Rc<Self>, accepted: Accepted<LiveNet>) {
        self.open.set(self.open.get() + 1);
        let open = Open(self);
        let _ = open.0.echo(accepted).await;
    }

    fn prepare(&self, snapshot: &Arc<Snapshot>) -> Result<(), String> {
        if snapshot.generation == 13 { Err("unlucky".to_owned()) } else { Ok(()) }
    }

    fn commit(&self, generation: u64) {
        self.generation.set(generation);
    }

    fn abort(&self, _generation: u64) {}

    fn drain(&self) {}

    fn stop(&self) {
        self.stopped.set(true);
    }

    fn open_connections(&self) -> usize {
        self.open.get()
    }

    fn tick(&self, _now: Timestamp) {}
}

/// Two workers with echoing shards.
struct Echoes {
    workers: Vec<Worker>,
    sockets: Arc<SocketStore>,
}

impl Echoes {
    fn start(driver: Driver) -> Self {
        let sockets = Arc::new(SocketStore::default());
        let cpus = vec![super::allowed_cpus().unwrap()[0]; 2];
        let metrics = cpus.iter().map(|_| Arc::default()).collect();
        let fleet = Fleet { driver, cpus, sockets: Arc::clone(&sockets), metrics, give_back: || {} };
        Self { workers: fleet.start(Echo::new).unwrap(), sockets }
    }

    fn ask<T: Send + 'static>(&self, order: impl Fn(Box<dyn FnOnce(T) + Send>) -> Command) -> Vec<T> {
        let (sender, answers) = mpsc::channel();
        for worker in &self.workers {
            let sender = sender.clone();
            let reply = Box::new(move |answer| sender.send(answer).unwrap());
            assert!((worker.handle.send)(order(reply)).is_ok());
        }
        self.workers.iter().map(|_| answers.recv_timeout(Duration::from_secs(10)).unwrap()).collect()
    }

    fn prepare(&self, snapshot: &Arc<Snapshot>) -> Vec<Result<(), String>> {
        self.ask(|reply| Command::Prepare { snapshot: Arc::clone(snapshot), reply })
    }

    fn adopt(&self, generation: u64, listeners: &[(&str, &Address)]) {
        let snapshot = snapshot(generation, listeners, 100);
        assert!(self.prepare(&snapshot).iter().all(Result::is_ok));
        self.ask(|reply| Command::Commit { generation, reply });
    }

    fn drain(&self, deadline: Duration) {
        self.ask(|reply| Command::Drain { deadline, reply });
    }

    /// Where a listening address of port 0 ended up.
    fn where_is(&self, address: &Address) -> SocketAddr {
        let Some(Address::Ip(local)) = self.sockets.local(address, false) else { panic!("nobody listens there") };
        local
    }
}

/// A snapshot of listeners alone.
fn snapshot(generation: u64, listeners: &[(&str, &Address)], connections_max: u32) -> Arc<Snapshot> {
    let plan = |(name, address): &(&str, &Address)| {
        Arc::new(ListenerPlan {
            name: Arc::from(*name),
            label: EscapedText::new(name),
            addresses: vec![(*address).clone()],
            ipv6_only: false,
            socket_mode: None,
            connections_max,
            tls: None,
            passthrough: None,
            https_port: None,
            hsts: None,
            http1: true,
            http2: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            proxy_protocol: None,
            trusted: CidrSet::default(),
            client_address: None,
            serve_half_closed: false,
            default_host: None,
        })
    };
    Arc::new(Snapshot {
        generation,
        gateway: GatewayPlan::default(),
        listeners: listeners.iter().map(plan).collect(),
        upstreams: Vec::new(),
        routes: Vec::new(),
        table: Table::build(Vec::new()),
        log_format: None,
        config: Arc::default(),
    })
}

fn say(client: &mut (impl Read + Write), text: &str) -> String {
    client.write_all(text.as_bytes()).unwrap();
    heard(client)
}

fn heard(client: &mut impl Read) -> String {
    let mut answer = [0; 256];
    let count = client.read(&mut answer).unwrap();
    String::from_utf8(answer[..count].to_vec()).unwrap()
}

fn any_port(ip: &str) -> Address {
    Address::Ip(format!("{ip}:0").parse().unwrap())
}

#[test]
fn workers_adopt_snapshots_and_keep_what_did_not_change() {
    for driver in drivers() {
        let echoes = Echoes::start(driver);
        let (kept, dropped) = (any_port("127.0.0.1"), any_port("127.0.0.2"));
        echoes.adopt(1, &[("kept", &kept), ("dropped", &dropped)]);
        let (kept_at, dropped_at) = (echoes.where_is(&kept), echoes.where_is(&dropped));
        let mut client = TcpStream::connect(kept_at).unwrap();
        assert_eq!(say(&mut client, "a"), "a kept 1");
        echoes.adopt(2, &[("renamed", &kept)]);
        assert_eq!(say(&mut client, "b"), "b kept 2", "an open connection lives on");
        assert_eq!(say(&mut TcpStream::connect(kept_at).unwrap(), "c"), "c renamed 2");
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(TcpStream::connect(dropped_at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_failed_prepare_changes_nothing() {
    for driver in drivers() {
        let echoes = Echoes::start(driver);
        let address = any_port("127.0.0.1");
        echoes.adopt(1, &[("main", &address)]);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = Address::Ip(taken.local_addr().unwrap());
        let errors = echoes.prepare(&snapshot(2, &[("main", &address), ("second", &other)], 100));
        let error = errors[0].clone().unwrap_err();
        assert!(error.starts_with(&format!("listener `second`: cannot listen on {other}: ")), "{error}");
        assert!(echoes.prepare(&snapshot(13, &[("main", &address)], 100)).iter().all(Result::is_err));
        echoes.ask(|reply| Command::Commit { generation: 13, reply });
        assert_eq!(say(&mut TcpStream::connect(echoes.where_is(&address)).unwrap(), "x"), "x main 1");
    }
}

#[test]
fn a_panic_while_serving_costs_one_connection() {
    for driver in drivers() {
        let echoes = Echoes::start(driver);
        let address = any_port("127.0.0.1");
        echoes.adopt(1, &[("main", &address)]);
        let address = echoes.where_is(&address);
        assert_eq!(say(&mut TcpStream::connect(address).unwrap(), "!"), "", "closed");
        for _ in 0..8 {
            assert_eq!(say(&mut TcpStream::connect(address).unwrap(), "x"), "x main 1");
        }
        assert_eq!(echoes.workers.iter().map(|worker| worker.metrics.panics.value()).sum::<u64>(), 1);
    }
}

#[test]
fn accepting_pauses_at_the_maximum_of_connections() {
    for driver in drivers() {
        let (echoes, _, mut served, mut waiting) = at_the_maximum(driver);
        served.pop();
        assert_eq!(heard(&mut waiting), "c main 1", "a place became free");
        assert!(echoes.workers[0].metrics.accept_pauses.value() > 0);
    }
}

/// One worker that has accepted as many connections as it may, and a client that waits and has sent `c`.
fn at_the_maximum(driver: Driver) -> (Echoes, Address, Vec<TcpStream>, TcpStream) {
    let mut echoes = Echoes::start(driver);
    echoes.workers.truncate(1);
    let address = any_port("127.0.0.1");
    assert!(echoes.prepare(&snapshot(1, &[("main", &address)], 2)).iter().all(Result::is_ok));
    echoes.ask(|reply| Command::Commit { generation: 1, reply });
    let local = echoes.where_is(&address);
    let mut served: Vec<_> = (0..2).map(|_| TcpStream::connect(local).unwrap()).collect();
    for client in &mut served {
        assert_eq!(say(client, "a"), "a main 1");
    }
    let mut waiting = TcpStream::connect(local).unwrap();
    waiting.write_all(b"c").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(waiting.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
    waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (echoes, address, served, waiting)
}

#[test]
fn a_change_that_makes_room_serves_who_waits() {
    for driver in drivers() {
        // The same listener with a higher maximum, and another one on its address.
        for name in ["main", "other"] {
            let (echoes, address, _served, mut waiting) = at_the_maximum(driver);
            echoes.adopt(2, &[(name, &address)]);
            assert_eq!(heard(&mut waiting), format!("c {name} 2"));
        }
    }
}

#[test]
fn a_change_of_something_else_keeps_what_a_listener_has_counted() {
    for driver in drivers() {
        let (echoes, address, served, mut waiting) = at_the_maximum(driver);
        assert!(echoes.prepare(&snapshot(2, &[("main", &address)], 2)).iter().all(Result::is_ok));
        echoes.ask(|reply| Command::Commit { generation: 2, reply });
        waiting.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(waiting.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(served);
        waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(heard(&mut waiting), "c main 2");
    }
}

#[test]
fn a_drain_serves_even_what_waits_beyond_the_maximum() {
    for driver in drivers() {
        let (echoes, _, _served, mut waiting) = at_the_maximum(driver);
        let hearing = std::thread::spawn(move || heard(&mut waiting));
        echoes.drain(Duration::from_millis(500));
        assert_eq!(hearing.join().unwrap(), "c main 1");
    }
}

fn limit_descriptors(most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: 4096 };
    // SAFETY: the pointer is to a live structure that the kernel reads.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

#[test]
#[ignore = "started in a process of its own by `without_descriptors_it_sheds_and_recovers`"]
fn without_descriptors_it_sheds_and_recovers_alone() {
    for driver in drivers() {
        let mut echoes = Echoes::start(driver);
        echoes.workers.truncate(1);
        let address = any_port("127.0.0.1");
        echoes.adopt(1, &[("main", &address)]);
        let at = socket2::SockAddr::from(echoes.where_is(&address));
        let new_socket = |_| socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let mut clients: Vec<_> = (0..8).map(new_socket).collect();
        limit_descriptors(64);
        let fillers: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        clients.iter().for_each(|client| client.connect(&at).unwrap());
        clients.iter().for_each(|client| client.set_read_timeout(Some(Duration::from_secs(5))).unwrap());
        assert_eq!(clients[0].read(&mut [0; 16]).unwrap(), 0, "the first is shed");
        drop(fillers);
        let last = clients.last_mut().unwrap();
        assert_eq!(say(last, "x"), "x main 1", "who waited is served");
        let metrics = &echoes.workers[0].metrics;
        assert!((1..20).contains(&metrics.accept_errors.value()), "it does not spin");
        assert!(metrics.accept_shed.value() > 0);
    }
}

#[test]
fn without_descriptors_it_sheds_and_recovers() {
    run_alone("without_descriptors_it_sheds_and_recovers_alone");
}

#[test]
fn a_drain_serves_what_waits_and_then_refuses() {
    for driver in drivers() {
        let echoes = Echoes::start(driver);
        let address = any_port("127.0.0.1");
        echoes.adopt(1, &[("main", &address)]);
        let address = echoes.where_is(&address);
        let client = move || {
            let mut served = 0;
            loop {
                match TcpStream::connect(address) {
                    Ok(mut client) => assert_eq!(say(&mut client, "x"), "x main 1"),
                    Err(error) => break (served, error.kind()),
                }
                served += 1;
            }
        };
        let clients: Vec<_> = (0..4).map(|_| std::thread::spawn(client)).collect();
        std::thread::sleep(Duration::from_millis(50));
        echoes.drain(Duration::from_secs(5));
        for client in clients {
            let (served, end) = client.join().unwrap();
            assert!(served > 0);
            assert_eq!(end, ErrorKind::ConnectionRefused);
        }
    }
}

#[test]
fn a_worker_that_drains_takes_no_change_not_even_one_that_it_has_prepared() {
    for driver in drivers() {
        let echoes = Echoes::start(driver);
        let (first, second) = (any_port("127.0.0.1"), any_port("127.0.0.2"));
        echoes.adopt(1, &[("main", &first)]);
        assert!(echoes.prepare(&snapshot(2, &[("other", &second)], 100)).iter().all(Result::is_ok));
        let prepared = echoes.where_is(&second);
        echoes.drain(Duration::from_secs(5));
        echoes.ask(|reply| Command::Commit { generation: 2, reply });
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(TcpStream::connect(prepared).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(echoes.prepare(&snapshot(3, &[("main", &first)], 100)).iter().all(Result::is_err));
    }
}

#[test]
fn a_drain_ends_at_its_deadline() {
    for driver in drivers() {
        let echoes = Echoes::start(driver);
        let address = any_port("127.0.0.1");
        echoes.adopt(1, &[("main", &address)]);
        let mut client = TcpStream::connect(echoes.where_is(&address)).unwrap();
        assert_eq!(say(&mut client, "x"), "x main 1");
        let begun = now();
        echoes.drain(Duration::from_millis(200));
        assert!(now().since(begun) >= Duration::from_millis(200));
        assert_eq!(client.read(&mut [0; 16]).unwrap(), 0, "stopped");
    }
}

#[test]
fn a_unix_path_is_served_by_all_workers() {
    for driver in drivers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let echoes = Echoes::start(driver);
        echoes.adopt(1, &[("local", &Address::Unix(Arc::from(path.as_path())))]);
        for _ in 0..8 {
            assert_eq!(say(&mut UnixStream::connect(&path).unwrap(), "x"), "x local 1");
        }
        echoes.drain(Duration::from_secs(5));
        assert!(!path.exists());
    }
}
