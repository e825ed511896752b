//! Calls of gRPC over HTTP/2: what is told to their callers, how long they last, and what is counted.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;

use crate::world::World;
use crate::world::http2::{Answer, DATA, END_HEADERS, HEADERS, answer, block, request};

/// One upstream of calls; every line says what they ended with.
const CALLS: &str = r#"
access_log: { fields: [status, reason, detail, grpc_status] }
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2] } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - { name: calls, match: { path: "/s/{method}" }, to: app }
  - { name: small, match: { path: "/small/{method}" }, to: app, limits: { body: 4B } }
  - { name: quick, match: { path: "/quick/{method}" }, to: app, timeouts: { total: 2s } }
"#;

/// A message of two octets.
const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";
/// The answer to a call, a message and its status.
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n\
    7\r\n\0\0\0\0\x02ok\r\n0\r\ngrpc-status: 0\r\nx-meta-bin: AAE\r\n\r\n";

/// A call of one message with these fields.
async fn call(world: &World, path: &str, fields: &[(&str, &str)]) -> Result<Answer, Option<Reason>> {
    let mut client = world.http2().await;
    let fields = [&[("content-type", "application/grpc+proto"), ("te", "trailers")], fields].concat();
    let (response, mut content) = client.send(request("POST", path, &fields), true).await;
    content.send_data(Bytes::from_static(MESSAGE), true).unwrap();
    answer(response).await
}

/// What a refusal says, which has no content and no trailers.
fn refusal(answer: &Answer) -> (&str, &str) {
    assert_eq!((answer.status, answer.body.len(), answer.trailers.len()), (200, 0, 0), "{answer:?}");
    assert_eq!(answer.field("content-type"), Some("application/grpc+proto"));
    (answer.field("grpc-status").unwrap(), answer.field("grpc-message").unwrap())
}

fn calls(world: &World, series: &str) -> u64 {
    world.metric(&format!("tidegate_grpc_calls_total{{{series}}}"))
}

#[test]
fn a_call_goes_through_with_its_trailers_and_is_counted_by_its_status() {
    let world = World::new(1).config(CALLS);
    world.answers("10.0.0.1:80", DONE);
    world.run(async {
        let answer = call(&world, "/s/m", &[("x-a-bin", "AAE"), ("grpc-accept-encoding", "gzip")]).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"\0\0\0\0\x02ok"[..]));
        assert_eq!(answer.trailers.get("grpc-status").unwrap(), "0");
        assert_eq!(answer.trailers.get("x-meta-bin").unwrap(), "AAE");
        let request = world.request();
        assert_eq!(request.content, MESSAGE);
        assert_eq!((request.field("te"), request.field("x-a-bin")), (Some("trailers"), Some("AAE")));
        assert_eq!(request.field("content-type"), Some("application/grpc+proto"));
        assert_eq!((request.field("grpc-accept-encoding"), request.field("grpc-timeout")), (Some("gzip"), None));
        assert_eq!(world.line().await.number("grpc_status"), 0);
        assert_eq!(calls(&world, "route=\"calls\",grpc_status=\"0\""), 1);
        assert_eq!(world.metric("tidegate_upstream_grpc_calls_total{upstream=\"app\",grpc_status=\"0\"}"), 1);
    });
}

#[test]
fn trailers_reach_a_caller_that_did_not_ask_for_them() {
    let world = World::new(1).config(CALLS);
    world.answers("10.0.0.1:80", DONE);
    world.run(async {
        let mut client = world.http2().await;
        let answer = client.ask(request("POST", "/s/m", &[("content-type", "application/grpc")])).await;
        assert_eq!(answer.trailers.get("grpc-status").unwrap(), "0");
        assert_eq!(world.request().field("te"), Some("trailers"));
    });
}

#[test]
fn a_status_in_a_head_alone_is_read() {
    let world = World::new(1).config(CALLS);
    world.answers(
        "10.0.0.1:80",
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: none\r\n\
         content-length: 0\r\n\r\n",
    );
    world.run(async {
        let answer = call(&world, "/s/m", &[]).await.unwrap();
        assert_eq!((answer.field("grpc-status"), answer.field("grpc-message")), (Some("5"), Some("none")));
        assert!(answer.trailers.is_empty());
        assert_eq!(world.line().await.number("grpc_status"), 5);
    });
}

#[test]
fn an_answer_that_ends_without_a_status_is_reported_as_internal_and_counts_as_a_failure() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n";
    let answers = [
        format!("{head}content-length: 7\r\n\r\n\0\0\0\0\x02ok"),
        format!("{head}content-length: 0\r\n\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\n7\r\n\0\0\0\0\x02ok\r\n0\r\n\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\n0\r\nx-a: b\r\n\r\n"),
    ];
    for text in answers {
        let world = World::new(1).config(CALLS);
        world.answers("10.0.0.1:80", &text);
        world.run(async {
            let answer = call(&world, "/s/m", &[]).await.unwrap();
            assert_eq!(answer.trailers.get("grpc-status").unwrap(), "13", "{text}");
            let line = world.line().await;
            assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("upstream-malformed", "no-grpc-status"));
            assert_eq!(line.number("grpc_status"), 13);
            let series = "tidegate_endpoint_failures_total{upstream=\"app\",endpoint=\"10.0.0.1:80\",reason=\"upstream-malformed\"}";
            assert_eq!(world.metric(series), 1);
        });
    }
}

#[test]
fn an_answer_that_is_none_of_grpc_passes_and_counts_as_what_clients_read() {
    let world = World::new(1).config(CALLS);
    world.answers(
        "10.0.0.1:80",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nno",
    );
    world.run(async {
        let answer = call(&world, "/s/m", &[]).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (503, "no"));
        assert_eq!(world.line().await.number("grpc_status"), 14);
    });
}

#[test]
fn refusals_are_statuses_of_grpc_that_say_nothing_of_the_inside() {
    let world = World::new(1).config(CALLS);
    world.refuses("10.0.0.1:80");
    world.run(async {
        for (path, fields, expected) in [
            ("/other", &[][..], ("12", "No route matches")),
            ("/s/a%00", &[], ("13", "Request target refused")),
            ("/s/a%2fb", &[], ("13", "Encoded slash in the path")),
            ("/s/m", &[("expect", "x")], ("13", "Expectation failed")),
            ("/small/m", &[("content-length", "7")], ("8", "Content too large")),
            ("/s/m", &[], ("14", "Upstream refused the connection")),
        ] {
            assert_eq!(refusal(&call(&world, path, fields).await.unwrap()), expected, "{path}");
        }
        let line = world.log().await.pop().unwrap();
        assert_eq!((line.number("status"), line.number("grpc_status")), (200, 14));
        assert_eq!(line.reason(), "connect-refused");
        assert_eq!(calls(&world, "route=\"small\",grpc_status=\"8\""), 1);
    });
}

#[test]
fn others_are_refused_as_before() {
    let world = World::new(1).config(CALLS);
    world.run(async {
        let mut client = world.http2().await;
        for fields in [&[("content-type", "application/json")][..], &[("content-type", "application/grpc-web")], &[]] {
            let answer = client.ask(request("POST", "/other", fields)).await;
            assert_eq!((answer.status, answer.field("content-type")), (404, Some("application/problem+json")));
        }
        let answer = client.ask(request("GET", "/other", &[("content-type", "application/grpc")])).await;
        assert_eq!(answer.status, 404, "a call is a POST");
    });
}

#[test]
fn a_call_over_http_1_1_is_refused() {
    let world = World::new(1).config(CALLS);
    world.answers("10.0.0.1:80", DONE);
    world.run(async {
        let mut client = world.client();
        client
            .send("POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n")
            .await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.field("grpc-status")), (200, Some("13")));
        assert!(world.requests().is_empty());
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("version-unsupported", "grpc-version"));
    });
}

#[test]
fn the_time_that_is_left_goes_on_rounded_down() {
    let world = World::new(1).config(CALLS);
    let host = world.answers("10.0.0.1:80", DONE);
    host.delay(Duration::from_millis(300));
    world.run(async {
        call(&world, "/s/m", &[("grpc-timeout", "5S")]).await.unwrap();
        call(&world, "/quick/m", &[("grpc-timeout", "5S")]).await.unwrap();
        let left: Vec<_> =
            world.requests().iter().map(|request| request.field("grpc-timeout").unwrap().to_owned()).collect();
        let micros = |text: &str| text.strip_suffix('u').unwrap().parse::<u64>().unwrap();
        assert!((4_600_000..=4_700_000).contains(&micros(&left[0])), "{left:?}");
        assert!((1_600_000..=2_000_000).contains(&micros(&left[1])), "the route's own time is shorter: {left:?}");
        assert_eq!(world.requests()[0].all("grpc-timeout").len(), 1);
    });
}

#[test]
fn a_malformed_timeout_is_refused() {
    let world = World::new(1).config(CALLS);
    world.answers("10.0.0.1:80", DONE);
    world.run(async {
        for fields in [
            &[("grpc-timeout", "1s")][..],
            &[("grpc-timeout", "123456789m")],
            &[("grpc-timeout", "")],
            &[("grpc-timeout", "1S"), ("grpc-timeout", "1S")],
        ] {
            let answer = call(&world, "/s/m", fields).await.unwrap();
            assert_eq!(refusal(&answer).0, "13", "{fields:?}");
            assert_eq!(world.log().await.pop().unwrap().text("detail"), "grpc-timeout");
        }
        assert!(world.requests().is_empty());
    });
}

#[test]
fn a_call_that_takes_too_long_is_told_so_and_cancelled_upstream() {
    let world = World::new(1).config(CALLS);
    let clock = world.clone();
    world.origin("10.0.0.1:80", move |mut peer| {
        let clock = clock.clone();
        async move {
            peer.request().await;
            let begun = clock.now();
            peer.rest().await;
            assert!(clock.since(begun) <= Duration::from_millis(600), "the connection ends with the call");
        }
    });
    world.run(async {
        let begun = world.now();
        let answer = call(&world, "/s/m", &[("grpc-timeout", "500m")]).await.unwrap();
        assert_eq!(refusal(&answer), ("4", "Deadline exceeded"));
        assert!(world.since(begun) < Duration::from_millis(700));
        world.sleep(Duration::from_secs(1)).await;
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("grpc_status")), ("caller-timeout", 4));
        assert_eq!(world.sum("tidegate_endpoint_failures_total"), 0, "no fault of the endpoint");
        let answer = call(&world, "/s/m", &[("grpc-timeout", "0S")]).await.unwrap();
        assert_eq!(refusal(&answer).0, "4");
    });
}

#[test]
fn time_is_over_for_a_caller_that_is_still_sending() {
    let world = World::new(1).config(CALLS);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.http2().await;
        let fields = [("content-type", "application/grpc+proto"), ("grpc-timeout", "500m")];
        let (response, mut content) = client.send(request("POST", "/s/m", &fields), true).await;
        content.send_data(Bytes::from_static(MESSAGE), false).unwrap();
        assert_eq!(refusal(&answer(response).await.unwrap()).0, "4");
        assert_eq!(world.line().await.reason(), "caller-timeout");
    });
}

#[test]
fn a_stream_that_outlives_its_time_ends_with_a_status() {
    let world = World::new(1).config(CALLS);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n").await;
        loop {
            peer.send("7\r\n\0\0\0\0\x02ok\r\n").await;
            peer.sleep(Duration::from_millis(200)).await;
        }
    });
    world.run(async {
        let answer = call(&world, "/s/m", &[("grpc-timeout", "1S")]).await.unwrap();
        assert_eq!((answer.status, answer.body.len() % 7), (200, 0));
        assert!(answer.body.len() >= 4 * 7, "{}", answer.body.len());
        assert_eq!(answer.trailers.get("grpc-status").unwrap(), "4");
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("grpc_status")), ("caller-timeout", 4));
    });
}

#[test]
fn an_answer_that_is_cut_resets_the_stream_and_counts_as_what_the_caller_reads() {
    let world = World::new(1).config(CALLS);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n7\r\n\0\0\0\0\x02ok\r\n")
            .await;
    });
    world.run(async {
        assert_eq!(call(&world, "/s/m", &[]).await.unwrap_err(), Some(Reason::INTERNAL_ERROR));
        assert_eq!(world.line().await.number("grpc_status"), 13);
    });
}

#[test]
fn messages_pass_both_ways_at_once() {
    let world = World::new(1).config(CALLS);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..3 {
            assert_eq!(peer.read_exactly(12).await, b"7\r\n\0\0\0\0\x02hi\r\n");
            peer.send("7\r\n\0\0\0\0\x02ok\r\n").await;
        }
        peer.read_until("0\r\n\r\n").await;
        peer.send("0\r\ngrpc-status: 0\r\n\r\n").await;
    });
    world.run(async {
        let mut client = world.frames().await;
        let head = [(":method", "POST"), (":scheme", "http"), (":path", "/s/m"), (":authority", "a")];
        let head = block(&[&head[..], &[("content-type", "application/grpc"), ("te", "trailers")]].concat());
        client.send(HEADERS, END_HEADERS, 1, &head).await;
        assert_eq!(client.of_kind(HEADERS).await.unwrap().stream, 1);
        for _ in 0..3 {
            client.send(DATA, 0, 1, MESSAGE).await;
            assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"\0\0\0\0\x02ok");
        }
        client.send(DATA, 1, 1, b"").await;
        let trailers = client.of_kind(HEADERS).await.unwrap();
        assert_eq!(trailers.flags & 1, 1, "they end the stream");
    });
}

#[test]
fn a_caller_that_cancels_is_counted_so() {
    let world = World::new(1).config(CALLS);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.http2().await;
        let fields = [("content-type", "application/grpc")];
        let (response, mut content) = client.send(request("POST", "/s/m", &fields), true).await;
        world.sleep(Duration::from_secs(1)).await;
        content.send_reset(Reason::CANCEL);
        drop(response);
        world.sleep(Duration::from_secs(1)).await;
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("grpc_status")), ("client-closed", 1));
    });
}
