//! The functions that every request passes, one by one.
//!
//! ```text
//! cargo bench --no-default-features --bench functions            time
//! cargo bench --no-default-features --bench functions -- --test  that they run at all
//! ```

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::base::{RouteId, Timestamp, UnixTime};
use tidegate::http::authority::Authority;
use tidegate::http::h1::{ChunkedDecoder, HeadLimits, HeadScanner, Hop, Step, Trailers, copy_fields};
use tidegate::http::header::KnownName;
use tidegate::http::target::Target;
use tidegate::http::{Method, RequestHead, ResponseHead};
use tidegate::observe::{
    Escaped, EscapedText, LINE_BYTES_MAX, LineFormat, Reason, Record, RouteBlock, ShardMetrics, Stamp, Times,
};
use tidegate::route::{HostPattern, PathPattern, RouteSpec, Subject, Table};
use tidegate::upstream::balance::Balancer;
use tidegate::upstream::{Balance, Candidate, Never, Parked, Pool, PoolLimits, Tried};

const REQUEST: &[u8] = b"GET /products/42/reviews?page=2 HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example.com/products/42\r\n\
    Cookie: session=0195c2e47a3b7def8123456789abcdef\r\n\
    Connection: keep-alive\r\n\
    Sec-Fetch-Mode: navigate\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: origin/1.0\r\n\
    Date: Tue, 24 Nov 2026 06:00:00 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 1024\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: max-age=60\r\n\
    ETag: \"5f3c-1a2b3c4d\"\r\n\
    Vary: Accept-Encoding\r\n\r\n";

fn request_head() -> RequestHead {
    let mut head = RequestHead::default();
    HeadScanner::default().request(REQUEST, &mut head, &HeadLimits::default()).expect("a sound head");
    head
}

fn heads(criterion: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut request = RequestHead::default();
    criterion.bench_function("head/request", |bencher| {
        bencher.iter(|| {
            request.fields.clear();
            HeadScanner::default().request(black_box(REQUEST), &mut request, &limits).is_ok()
        });
    });
    let mut response = ResponseHead::default();
    criterion.bench_function("head/response", |bencher| {
        bencher.iter(|| {
            response.fields.clear();
            HeadScanner::default().response(black_box(RESPONSE), &mut response, Method::Get, &limits).is_ok()
        });
    });
    criterion.bench_function("head/hop", |bencher| {
        bencher.iter(|| Hop::of_request(black_box(REQUEST), &request).is_ok_and(|hop| hop.persistent));
    });
    let mut out = Vec::with_capacity(4096);
    criterion.bench_function("head/copy", |bencher| {
        bencher.iter(|| {
            out.clear();
            let skip = KnownName::Host.bit() | KnownName::Connection.bit();
            let skips = |field: &tidegate::http::header::Field| field.known.is_some_and(|name| skip & name.bit() != 0);
            copy_fields(&mut out, black_box(REQUEST), request.fields.as_slice(), skips);
            out.len()
        });
    });
}

fn targets(criterion: &mut Criterion) {
    let mut written = Vec::with_capacity(4096);
    for (name, target) in [
        ("target/canonical", b"/products/42/reviews?page=2".as_slice()),
        ("target/rewritten", b"/products/./a%2db/../%7euser//reviews?page=2"),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                written.clear();
                Target::parse(Method::Get, black_box(target), &mut written).is_ok()
            });
        });
    }
    criterion.bench_function("authority", |bencher| {
        bencher.iter(|| {
            written.clear();
            Authority::parse(black_box(b"shop.example.com"), 80, &mut written).is_ok()
        });
    });
}

fn chunks(criterion: &mut Criterion) {
    let body = [b"400\r\n".as_slice(), &[b'x'; 1024], b"\r\n"].concat().repeat(8);
    let body = [body.as_slice(), b"0\r\n\r\n"].concat();
    let limits = HeadLimits::default();
    let mut trailers = Trailers::default();
    criterion.bench_function("chunked/8x1KiB", |bencher| {
        bencher.iter(|| {
            let (mut decoder, mut at, mut octets) = (ChunkedDecoder::default(), 0, 0);
            loop {
                match decoder.next(black_box(&body[at..]), &mut trailers, &limits) {
                    Ok(Step::Data(range)) => {
                        octets += range.len();
                        at += range.end;
                    }
                    Ok(Step::Done { .. } | Step::NeedMore) | Err(_) => return octets,
                }
            }
        });
    });
}

/// A shop's routes: ten paths for each host.
fn table(routes: usize) -> Table {
    let spec = |number: usize| RouteSpec {
        id: RouteId::at(number),
        hosts: vec![HostPattern::parse(&format!("shop-{}.example.com", number / 10)).expect("a host")],
        path: PathPattern::parse(&format!("/v1/area-{}/{{id}}/items", number % 10)).expect("a path"),
        methods: vec!["GET".into(), "PUT".into()],
        headers: Vec::new(),
        queries: Vec::new(),
    };
    Table::build((0..routes).map(spec).collect())
}

fn routes(criterion: &mut Criterion) {
    let head = request_head();
    for count in [10, 10_000] {
        let table = table(count);
        let mut scratch = table.scratch();
        let hosts: Vec<String> = (0..count / 10).map(|number| format!("shop-{number}.example.com")).collect();
        let mut turn = 0;
        criterion.bench_function(&format!("route/{count}"), |bencher| {
            bencher.iter(|| {
                turn = (turn + 7) % hosts.len();
                let subject = Subject {
                    host: hosts[turn].as_bytes(),
                    path: b"/v1/area-3/4711/items",
                    query: None,
                    known_method: Method::Get,
                    method: b"GET",
                    fields: &head.fields,
                    bytes: REQUEST,
                };
                table.find(black_box(&subject), &mut scratch)
            });
        });
    }
}

fn observing(criterion: &mut Criterion) {
    let format = LineFormat::default();
    let mut stamp = Stamp::default();
    let mut window = Box::new([0; LINE_BYTES_MAX]);
    let label = EscapedText::new("catalog");
    let times = Times { parse: Some(12), route: Some(3), connect: Some(0), first_byte: Some(842), total: 911 };
    let record = Record {
        request_id: Escaped::plain(b"0195c2e47a3b7def8123456789abcdef"),
        time: UnixTime::from_nanos(1_795_500_000_123_456_789),
        client: Escaped::plain(b"198.51.100.7"),
        method: Escaped::plain(b"GET"),
        host: Escaped::plain(b"shop.example.com"),
        path: b"/products/42/reviews",
        protocol: Escaped::plain(b"HTTP/1.1"),
        status: 200,
        route: label.as_escaped(),
        upstream: label.as_escaped(),
        endpoint: Escaped::plain(b"10.0.0.11:8080"),
        attempts: 1,
        bytes_in: 470,
        bytes_out: 1306,
        times,
        trace_id: Escaped::plain(b"4bf92f3577b34da6a3ce929d0e0e4736"),
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ..Record::default()
    };
    criterion.bench_function("observe/line", |bencher| {
        bencher.iter(|| format.write(black_box(&record), &mut stamp, &mut window));
    });
    let (shard, route) = (ShardMetrics::default(), RouteBlock::default());
    criterion.bench_function("observe/metrics", |bencher| {
        bencher.iter(|| {
            shard.finish(black_box(Reason::Ok), 470, 1306);
            route.finish(black_box(200), black_box(911), 470, 1306);
        });
    });
}

struct Idle;

impl Parked for Idle {
    type Carrier = Never;

    fn has_ended(&mut self) -> bool {
        false
    }

    fn opened(&self) -> Timestamp {
        Timestamp::default()
    }

    fn requests(&self) -> u32 {
        1
    }
}

fn upstreams(criterion: &mut Criterion) {
    let now = Timestamp::from_nanos(1_000_000_000);
    let candidate = |_| Candidate { weight: 1, health: Arc::default(), in_flight: Rc::default() };
    let candidates: Vec<Candidate> = (0..10).map(candidate).collect();
    let mut random = 0;
    for (name, balance) in
        [("balance/round-robin", Balance::RoundRobin), ("balance/least-request", Balance::LeastRequest)]
    {
        let mut balancer = Balancer::new(balance, &[1; 10], 7);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                random += 1;
                balancer.pick(black_box(&candidates), &Tried::default(), now, random)
            });
        });
    }
    let mut pool = Pool::new(PoolLimits::default());
    (0..8).for_each(|_| pool.put(Idle, now));
    criterion.bench_function("pool/take-and-put", |bencher| {
        bencher.iter(|| {
            let connection = pool.take(black_box(now)).expect("eight are idle");
            pool.put(connection, now);
        });
    });
}

criterion_group!(benches, heads, targets, chunks, routes, observing, upstreams);
criterion_main!(benches);
