//! What a request costs in steady state.

use crate::OK;
use crate::world::{World, count, http2};

const YAML: &str = r#"
gateway: { forwarded: both, trusted_proxies: [192.0.2.0/24] }
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80", "10.0.0.2:80"] } }
routes:
  - { name: one, match: { host: api.example, path: "/orders/{id}", method: GET }, to: { upstream: app, path: "/o/{id}" },
      request: { headers: { set: { x-a: b }, remove: cookie } }, response: { headers: { add: { x-c: d } } } }
  - { name: two, match: { path: "/{*rest}" }, to: app }
  - { name: fixed, match: { path: "/fixed" }, respond: { body: hello } }
"#;

/// Requests that warm everything up, and requests that must then allocate nothing.
const WARM: usize = 200;
const STEADY: usize = 1000;

fn steady(request: &'static str, response: &'static str) {
    let world = World::new(1).config(YAML);
    for address in ["10.0.0.1:80", "10.0.0.2:80"] {
        world.origin(address, move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.send(response).await;
            }
        });
    }
    world.run(async {
        let mut client = world.client();
        for n in 0..WARM + STEADY {
            if n % 50 == 0 {
                world.collect_log();
            }
            let before = count::allocations();
            client.send(request).await;
            assert!(client.response().await.complete);
            let after = count::allocations();
            assert!(n < WARM || before == after, "request {n} allocated: {before:?}, then {after:?}");
        }
    });
}

#[test]
fn a_forwarded_request_allocates_nothing() {
    steady(
        "GET /orders/%37?x=1 HTTP/1.1\r\nhost: API.example:80\r\nuser-agent: t\r\ncookie: a=b\r\nx-forwarded-for: 1.2.3.4\r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\naccept: */*\r\n\r\n",
        OK,
    );
}

#[test]
fn a_forwarded_body_allocates_nothing() {
    steady("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", OK);
}

#[test]
fn a_chunked_response_allocates_nothing() {
    steady(
        "GET /x HTTP/1.1\r\nhost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
}

#[test]
fn a_local_answer_allocates_nothing() {
    steady("GET /fixed HTTP/1.1\r\nhost: a\r\n\r\n", OK);
}

#[test]
fn a_refusal_by_the_router_allocates_nothing() {
    steady("GET /a%2Fb HTTP/1.1\r\nhost: a\r\naccept: text/html\r\n\r\n", OK);
}

/// What one exchange over HTTP/2 may allocate, streams' state, tables of fields and copies of what waits for its window
/// included: what it takes now, to be lowered with every gain.
const HTTP2_ALLOCATIONS_MAX: u64 = 15;
const HTTP2_OCTETS_MAX: u64 = 2560;

#[test]
fn an_exchange_over_http_2_allocates_no_more_than_is_stated() {
    let yaml = YAML.replace("public: {", "public: { protocols: h2,");
    let world = World::new(1).config(&yaml);
    for address in ["10.0.0.1:80", "10.0.0.2:80"] {
        world.origin(address, move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.send(OK).await;
            }
        });
    }
    world.run(async {
        let mut client = world.http2().await;
        let fields = [("user-agent", "t"), ("cookie", "a=b"), ("x-forwarded-for", "1.2.3.4"), ("accept", "*/*")];
        let mut before = (0, 0);
        for n in 0..WARM + STEADY {
            if n % 50 == 0 {
                world.collect_log();
            }
            if n == WARM {
                before = count::allocations();
            }
            assert_eq!(client.ask(http2::request("GET", "/orders/7", &fields)).await.status, 200);
        }
        let after = count::allocations();
        let each = |after: u64, before: u64| (after - before).div_ceil(STEADY as u64);
        let (calls, octets) = (each(after.0, before.0), each(after.1, before.1));
        println!("an exchange over HTTP/2 allocates {calls} times, {octets} octets");
        assert!(calls <= HTTP2_ALLOCATIONS_MAX && octets <= HTTP2_OCTETS_MAX, "{calls} times, {octets} octets");
    });
}
