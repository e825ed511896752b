//! Random requests, responses, faults and orders: whatever happens, nothing panics or hangs, every connection ends, and
//! what goes upstream is always something that our own strict parser accepts.
//!
//! `TIDEGATE_SEEDS=n` runs n seeds instead of the usual number; a failure prints its seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tidegate::http::RequestHead;
use tidegate::http::h1::{HeadLimits, HeadScanner, Progress};

use crate::world::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, get,
};
use crate::world::{Fault, FaultKind, Peer, Wire, World, text};

/// Enough to find what is common, few enough to be run every time.
const SEEDS: u64 = 300;
/// Clients of one run, and requests of one client.
const CLIENTS: usize = 4;
const REQUESTS: usize = 4;
/// Frames of a client that speaks HTTP/2.
const FRAMES: usize = 20;

const YAML: &str = r#"
gateway:
  timeouts: { idle: 5s, head: 3s, exchange: 20s, total: 60s, lifetime: 30s, keep_alive: 10s }
  limits: { body: 50000B, head: 4KiB, field: 2KiB, target: 1KiB, requests_per_connection: 7, pipelined: 2 }
  forwarded: both
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2], h2: { streams: 4 } } }
upstreams:
  app: { endpoints: ["10.0.0.1:80", "10.0.0.2:80"], pool: { max_connections: 3, idle: 3s }, timeouts: { response_head: 5s } }
routes:
  - { match: { path: "/ws" }, to: app, upgrade: websocket }
  - { match: { path: "/fixed" }, respond: { body: hello } }
  - { match: { path: { prefix: "/retry" } }, to: app, retry: { attempts: 3 } }
  - { match: { path: "/{*rest}" }, to: app }
"#;

const REQUEST_PARTS: &[&str] = &[
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /fixed HTTP/1.1\r\nhost: a\r\n\r\n",
    "HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /retry HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "OPTIONS /x HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
    "POST /fixed HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
    "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nt: u\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    "hello",
    "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "GET http://b:80/../x HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n",
];

const RESPONSE_PARTS: &[&str] = &[
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nt: u\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil close",
    "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: x\n\n",
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhi",
];

type Random = Rc<RefCell<fastrand::Rng>>;

/// One of the parts, sometimes garbled.
fn part(random: &Random, parts: &[&str]) -> Vec<u8> {
    let random = &mut *random.borrow_mut();
    let mut octets = parts[random.usize(..parts.len())].as_bytes().to_vec();
    if random.u8(..) < 50 {
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..octets.len());
            match random.u8(..4) {
                0 => octets[at] = random.u8(..),
                1 => octets.insert(at, *random.choice(b"\r\n :\t,;0\0").unwrap()),
                2 => octets.truncate(at + 1),
                _ => drop(octets.remove(at)),
            }
            if octets.is_empty() {
                octets.push(b'x');
            }
        }
    }
    if random.u8(..) < 10 {
        octets.extend(std::iter::repeat_n(b'x', random.usize(..80_000)));
    }
    octets
}

fn wire(random: &Random) -> Wire {
    let random = &mut *random.borrow_mut();
    let one_of = |random: &mut fastrand::Rng, choices: [usize; 4]| choices[random.usize(..4)];
    Wire {
        latency: Duration::from_micros(u64::from(random.u16(..2000))),
        room: one_of(random, [100, 1000, 20_000, 200_000]),
        pieces: one_of(random, [0, 1, 7, 3000]),
        sips: one_of(random, [0, 0, 5, 1000]),
    }
}

fn fault(random: &Random) -> Option<Fault> {
    let random = &mut *random.borrow_mut();
    let after = random.u64(..300);
    match random.u8(..8) {
        0 => Some(Fault { after, kind: FaultKind::Reset }),
        1 => Some(Fault { after, kind: FaultKind::Stall(Duration::from_millis(random.u64(..8000))) }),
        _ => None,
    }
}

async fn pause(random: &Random, peer: &Peer) {
    let millis = if random.borrow().clone().u8(..) < 200 { 0 } else { random.borrow_mut().u64(..3000) };
    random.borrow_mut().u8(..);
    peer.sleep(Duration::from_millis(millis)).await;
}

/// An origin that reads whatever comes and answers with whatever it likes; all it has read must be requests.
async fn origin(random: Random, mut peer: Peer) {
    let mut received = Vec::new();
    let life = random.borrow_mut().usize(1..6);
    let mut switched = false;
    for _ in 0..life {
        match peer.read_some(usize::MAX).await {
            Ok(octets) if !octets.is_empty() => received.extend(octets),
            _ => break,
        }
        pause(&random, &peer).await;
        let answers = random.borrow_mut().usize(..3);
        for _ in 0..answers {
            let answer = part(&random, RESPONSE_PARTS);
            switched |= answer.starts_with(b"HTTP/1.1 101");
            peer.send(answer).await;
        }
    }
    if !switched {
        check_requests(&received);
    }
    if random.borrow_mut().u8(..4) == 0 {
        peer.reset();
    }
}

/// Whatever was sent upstream begins with a head that the strict parser takes, or the beginning of one.
fn check_requests(received: &[u8]) {
    let mut head = RequestHead::default();
    let progress = HeadScanner::default().request(received, &mut head, &HeadLimits::default());
    let progress = progress.unwrap_or_else(|error| panic!("{error} in {:?}", text(received)));
    if progress == Progress::Complete {
        let raw = text(&received[..head.length]);
        assert!(raw.contains("\r\nhost: ") && raw.contains("\r\nvia: "), "not of our making: {raw}");
    }
}

async fn client(random: Random, mut peer: Peer) {
    if let Some(fault) = fault(&random) {
        peer.link().fault(0, fault);
    }
    for _ in 0..REQUESTS {
        let octets = part(&random, REQUEST_PARTS);
        pause(&random, &peer).await;
        if peer.try_send(octets).await.is_err() {
            return;
        }
    }
    match random.borrow_mut().u8(..5) {
        0 => return peer.reset(),
        1 => return,
        2 => peer.finish(),
        _ => {}
    }
    let (all, _) = peer.rest().await;
    assert!(all.is_empty() || all.starts_with(b"HTTP/1.1 "), "{:?}", text(&all));
}

/// A frame that may be sent, or may not; `stream` is the next one to open.
fn any_frame(random: &mut fastrand::Rng, stream: &mut u32) -> Vec<u8> {
    let post = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a")];
    let more: &[(&str, &str)] = random.choice([&[][..], &[("content-length", "5")], &[("te", "trailers")]]).unwrap();
    let known = random.u32(..*stream + 3);
    let ends = if random.bool() { END_STREAM } else { 0 };
    match random.u8(..14) {
        0..=4 => {
            let fields = if random.bool() { get(more) } else { block(&[&post[..], more].concat()) };
            let opened = *stream;
            *stream += 2;
            let whole = if random.u8(..) < 230 { END_HEADERS } else { 0 };
            frame(HEADERS, whole | ends, opened, &fields)
        }
        5..=6 => frame(DATA, ends, known | 1, &vec![b'x'; *random.choice([0, 5, 16_000].iter()).unwrap()]),
        7 => frame(RST_STREAM, 0, known | 1, &[0, 0, 0, 8]),
        8 => frame(WINDOW_UPDATE, 0, known, &random.u32(..100_000).to_be_bytes()),
        9 => frame(SETTINGS, 0, 0, &[&[0, 4][..], &random.u32(..100_000).to_be_bytes()].concat()),
        10 => frame(PING, 0, 0, &[0; 8]),
        11 => frame(PRIORITY, 0, known | 1, &[0, 0, 0, 0, 1]),
        12 => frame(HEADERS, END_HEADERS | END_STREAM, known | 1, &block(&[("x-t", "u")])),
        _ => match random.u8(..4) {
            0 => frame(CONTINUATION, END_HEADERS, known | 1, &block(&[("x-c", "d")])),
            1 => frame(GOAWAY, 0, 0, &[0; 8]),
            2 => frame(0x42, 0, 0, b"?"),
            _ => (0..random.usize(..40)).map(|_| random.u8(..)).collect(),
        },
    }
}

async fn http2_client(random: Random, mut peer: Peer) {
    if let Some(fault) = fault(&random) {
        peer.link().fault(0, fault);
    }
    let mut octets = [PREFACE.as_bytes(), &frame(SETTINGS, 0, 0, b"")].concat();
    let mut stream = 1;
    for _ in 0..FRAMES {
        pause(&random, &peer).await;
        if peer.try_send(&octets).await.is_err() {
            return;
        }
        octets = any_frame(&mut random.borrow_mut(), &mut stream);
    }
    match random.borrow_mut().u8(..5) {
        0 => return peer.reset(),
        1 => return,
        2 => peer.finish(),
        _ => {}
    }
    peer.rest().await;
}

fn run(seed: u64) {
    let world = World::shuffled(seed).config(YAML);
    let random: Random = Rc::new(RefCell::new(fastrand::Rng::with_seed(seed)));
    for address in ["10.0.0.1:80", "10.0.0.2:80"] {
        let shared = random.clone();
        let host = world.origin(address, move |peer| origin(shared.clone(), peer));
        host.wire(wire(&random));
        host.delay(Duration::from_millis(random.borrow_mut().u64(..3) * 900));
        fault(&random).into_iter().for_each(|fault| host.fault(fault));
        if random.borrow_mut().u8(..10) == 0 {
            host.refuse();
        }
    }
    world.run(async {
        for _ in 0..CLIENTS {
            world.client_wire(wire(&random));
            match random.borrow_mut().bool() {
                true => world.spawn(client(random.clone(), world.client())),
                false => world.spawn(http2_client(random.clone(), world.client())),
            }
        }
        if random.borrow_mut().u8(..4) == 0 {
            world.sleep(Duration::from_millis(500)).await;
            world.reload(&YAML.replace("max_connections: 3", "max_connections: 4"));
        }
        if random.borrow_mut().u8(..4) == 0 {
            world.sleep(Duration::from_millis(500)).await;
            tidegate::proxy::shell::Shard::drain(&*world.shard());
        }
        world.sleep(Duration::from_secs(600)).await;
        assert_eq!(world.open_connections(), 0, "every connection ends");
        assert_eq!(world.metric("tidegate_http2_streams_open"), 0, "and every stream");
        check_figures(&world).await;
    });
}

/// After the last exchange nothing counts as under way, and each request was recorded once.
async fn check_figures(world: &World) {
    for gauge in [
        "tidegate_connections_open",
        "tidegate_exchanges_in_flight",
        "tidegate_tunnels_open",
        "tidegate_endpoint_attempts_in_flight",
        "tidegate_upstream_connections_open",
        "tidegate_upstream_connections_idle",
        "tidegate_upstream_requests_waiting",
    ] {
        assert_eq!(world.sum(gauge), 0, "{gauge}");
    }
    let lines = world.log().await;
    let count = lines.len() as u64;
    for counter in ["tidegate_requests_received_total", "tidegate_exchanges_total"] {
        assert_eq!(world.sum(counter), count, "{counter}");
    }
    assert_eq!(world.sum("tidegate_connections_closed_total"), CLIENTS as u64);
    for (field, counter) in
        [("bytes_in", "tidegate_client_received_bytes_total"), ("bytes_out", "tidegate_client_sent_bytes_total")]
    {
        assert_eq!(world.sum(counter), lines.iter().map(|line| line.number(field)).sum::<u64>(), "{counter}");
    }
}

#[test]
fn whatever_peers_do_every_connection_ends_and_only_well_formed_requests_go_upstream() {
    let seeds = std::env::var("TIDEGATE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let first = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    (first..first + seeds).for_each(run);
}
