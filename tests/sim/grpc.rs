//! Calls of gRPC over HTTP/2: what is told to their callers, how long they last, and what is counted.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Response};

use crate::world::http2::{Answer, DATA, END_HEADERS, HEADERS, answer, block, content, request};
use crate::world::{Host, World};

/// One upstream of calls; every line says what they ended with.
const CALLS: &str = r#"
access_log: { fields: [status, reason, detail, attempts, grpc_status] }
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2] } }
upstreams: { app: { endpoints: ["10.0.0.1:80"], protocol: h2 }, old: { endpoints: ["10.0.0.2:80"] } }
routes:
  - { name: calls, match: { path: "/s/{method}" }, to: app }
  - { name: small, match: { path: "/small/{method}" }, to: app, limits: { body: 4B } }
  - { name: quick, match: { path: "/quick/{method}" }, to: app, timeouts: { total: 2s } }
  - { name: old, match: { path: "/old/{method}" }, to: old }
"#;

/// A message of two octets.
const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";
/// The answer to it.
pub const OK: &[u8] = b"\0\0\0\0\x02ok";

/// An answer of an upstream.
#[derive(Clone, Copy)]
pub struct Reply {
    pub status: u16,
    pub fields: &'static [(&'static str, &'static str)],
    pub content: &'static [u8],
    pub trailers: &'static [(&'static str, &'static str)],
}

/// A message and its status.
pub const DONE: Reply = Reply {
    status: 200,
    fields: &[("content-type", "application/grpc+proto")],
    content: OK,
    trailers: &[("grpc-status", "0"), ("x-meta-bin", "AAE")],
};

/// A request as the upstream has seen it.
pub struct Seen {
    pub head: Parts,
    pub content: Vec<u8>,
}

impl Seen {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Lets the upstream answer every call so; what it has seen.
pub fn answers(world: &World, reply: Reply) -> (Rc<Host>, Rc<RefCell<Vec<Seen>>>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let note = seen.clone();
    let host = world.http2_origin("10.0.0.1:80", move |(request, mut to)| {
        let note = note.clone();
        async move {
            let (head, body) = request.into_parts();
            let (received, _) = content(body).await.unwrap();
            note.borrow_mut().push(Seen { head, content: received });
            let mut response = Response::builder().status(reply.status);
            for (name, value) in reply.fields {
                response = response.header(*name, *value);
            }
            let is_empty = reply.content.is_empty() && reply.trailers.is_empty();
            let mut sending = to.send_response(response.body(()).unwrap(), is_empty).unwrap();
            if is_empty {
                return;
            }
            sending.send_data(Bytes::from_static(reply.content), reply.trailers.is_empty()).unwrap();
            if !reply.trailers.is_empty() {
                sending.send_trailers(fields_of(reply.trailers)).unwrap();
            }
        }
    });
    (host, seen)
}

fn fields_of(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

/// The head of an answer that goes on.
pub fn begun() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

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
    let (_, seen) = answers(&world, DONE);
    world.run(async {
        let answer = call(&world, "/s/m", &[("x-a-bin", "AAE"), ("grpc-accept-encoding", "gzip")]).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"\0\0\0\0\x02ok"[..]));
        assert_eq!(answer.trailers.get("grpc-status").unwrap(), "0");
        assert_eq!(answer.trailers.get("x-meta-bin").unwrap(), "AAE");
        let request = seen.borrow_mut().pop().unwrap();
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
    let (_, seen) = answers(&world, DONE);
    world.run(async {
        let mut client = world.http2().await;
        let answer = client.ask(request("POST", "/s/m", &[("content-type", "application/grpc")])).await;
        assert_eq!(answer.trailers.get("grpc-status").unwrap(), "0");
        assert_eq!(seen.borrow()[0].field("te"), Some("trailers"));
    });
}

#[test]
fn a_status_in_a_head_alone_is_read() {
    let world = World::new(1).config(CALLS);
    let fields = &[("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "none")];
    answers(&world, Reply { fields, content: b"", trailers: &[], ..DONE });
    world.run(async {
        let answer = call(&world, "/s/m", &[]).await.unwrap();
        assert_eq!((answer.field("grpc-status"), answer.field("grpc-message")), (Some("5"), Some("none")));
        assert!(answer.trailers.is_empty());
        assert_eq!(world.line().await.number("grpc_status"), 5);
    });
}

#[test]
fn an_answer_that_ends_without_a_status_is_reported_as_internal_and_counts_as_a_failure() {
    let replies = [
        Reply { trailers: &[], ..DONE },
        Reply { content: b"", trailers: &[], ..DONE },
        Reply { trailers: &[("x-a", "b")], ..DONE },
        Reply { fields: &[("content-type", "application/grpc"), ("content-length", "7")], trailers: &[], ..DONE },
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let world = World::new(1).config(CALLS);
        answers(&world, reply);
        world.run(async {
            let answer = call(&world, "/s/m", &[]).await.unwrap();
            assert_eq!(answer.trailers.get("grpc-status").unwrap(), "13", "{number}");
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
    let fields = &[("content-type", "text/html"), ("content-length", "2")];
    answers(&world, Reply { status: 503, fields, content: b"no", trailers: &[] });
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
    let (_, seen) = answers(&world, DONE);
    world.run(async {
        let mut client = world.client();
        client
            .send("POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n")
            .await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.field("grpc-status")), (200, Some("13")));
        assert!(seen.borrow().is_empty());
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("version-unsupported", "grpc-version"));
    });
}

#[test]
fn the_time_that_is_left_goes_on_rounded_down() {
    let world = World::new(1).config(CALLS);
    let (host, seen) = answers(&world, DONE);
    host.delay(Duration::from_millis(300));
    world.run(async {
        call(&world, "/s/m", &[("grpc-timeout", "5S")]).await.unwrap();
        call(&world, "/quick/m", &[("grpc-timeout", "5S")]).await.unwrap();
        let left: Vec<_> =
            seen.borrow().iter().map(|request| request.field("grpc-timeout").unwrap().to_owned()).collect();
        let micros = |text: &str| text.strip_suffix('u').unwrap().parse::<u64>().unwrap();
        assert!((4_600_000..=4_700_000).contains(&micros(&left[0])), "{left:?}");
        assert!((1_600_000..=2_000_000).contains(&micros(&left[1])), "the route's own time is shorter: {left:?}");
        assert_eq!(seen.borrow()[0].head.headers.get_all("grpc-timeout").iter().count(), 1);
    });
}

#[test]
fn a_malformed_timeout_is_refused() {
    let world = World::new(1).config(CALLS);
    let (_, seen) = answers(&world, DONE);
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
        assert!(seen.borrow().is_empty());
    });
}

#[test]
fn a_call_that_takes_too_long_is_told_so_and_cancelled_upstream() {
    let world = World::new(1).config(CALLS);
    let clock = world.clone();
    world.http2_origin("10.0.0.1:80", move |(request, mut to)| {
        let clock = clock.clone();
        async move {
            let begun = clock.now();
            content(request.into_body()).await.unwrap();
            let reset = std::future::poll_fn(|cx| to.poll_reset(cx)).await.unwrap();
            assert_eq!(reset, Reason::CANCEL);
            assert!(clock.since(begun) <= Duration::from_millis(600), "it is cancelled with the call");
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
    world.http2_origin("10.0.0.1:80", |(request, to)| async move {
        assert_eq!(content(request.into_body()).await, Err(Some(Reason::CANCEL)));
        drop(to);
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
    let clock = world.clone();
    world.http2_origin("10.0.0.1:80", move |(_, mut to)| {
        let clock = clock.clone();
        async move {
            let mut sending = to.send_response(begun(), false).unwrap();
            while sending.send_data(Bytes::from_static(OK), false).is_ok() {
                clock.sleep(Duration::from_millis(200)).await;
            }
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
fn a_caller_that_does_not_wait_for_a_connection_fails_nobody_else() {
    let world = World::new(1).config(CALLS);
    let (host, _) = answers(&world, DONE);
    host.delay(Duration::from_millis(100));
    world.run(async {
        let mut client = world.http2().await;
        let fields = [("content-type", "application/grpc+proto"), ("te", "trailers"), ("grpc-timeout", "50m")];
        let mut responses = Vec::new();
        for fields in [&fields[..], &fields[..2]] {
            let (response, mut content) = client.send(request("POST", "/s/m", fields), true).await;
            content.send_data(Bytes::from_static(MESSAGE), true).unwrap();
            responses.push(response);
        }
        let (other, hasty) = (responses.pop().unwrap(), responses.pop().unwrap());
        assert_eq!(refusal(&answer(hasty).await.unwrap()).0, "4");
        assert_eq!(answer(other).await.unwrap().trailers.get("grpc-status").unwrap(), "0");
        let lines = world.log().await;
        assert_eq!(lines.iter().map(|line| line.number("attempts")).collect::<Vec<_>>(), [1, 1]);
    });
}

#[test]
fn a_caller_that_says_too_much_under_way_is_cut() {
    let world = World::new(1).config(CALLS);
    world.http2_origin("10.0.0.1:80", |(request, mut to)| async move {
        let _sending = to.send_response(begun(), false).unwrap();
        let _ = content(request.into_body()).await;
    });
    world.run(async {
        let mut client = world.http2().await;
        let fields = [("content-type", "application/grpc+proto"), ("te", "trailers")];
        let (response, mut sending) = client.send(request("POST", "/small/m", &fields), true).await;
        world.sleep(Duration::from_millis(10)).await;
        sending.send_data(Bytes::from_static(MESSAGE), false).unwrap();
        world.sleep(Duration::from_secs(1)).await;
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("grpc_status")), ("body-too-large", 13));
        assert_eq!(answer(response).await.unwrap_err(), Some(Reason::INTERNAL_ERROR));
    });
}

#[test]
fn time_is_over_for_a_caller_that_does_not_read() {
    static LONG: [u8; 20_000] = [0; 20_000];
    let world = World::new(1).config(CALLS);
    answers(&world, Reply { content: &LONG, ..DONE });
    world.run(async {
        let small = |builder: &mut h2::client::Builder| {
            builder.initial_window_size(1000);
        };
        let mut client = world.http2_with(small).await;
        let fields = [("content-type", "application/grpc+proto"), ("te", "trailers"), ("grpc-timeout", "500m")];
        let (response, mut sending) = client.send(request("POST", "/s/m", &fields), true).await;
        sending.send_data(Bytes::from_static(MESSAGE), true).unwrap();
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(answer(response).await.unwrap_err(), Some(Reason::INTERNAL_ERROR));
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("grpc_status")), ("caller-timeout", 4));
        assert_eq!(world.metric("tidegate_http2_streams_open"), 0);
    });
}

#[test]
fn a_reset_by_the_upstream_is_told_as_what_its_code_means() {
    for (code, status) in [
        (Reason::CANCEL, "1"),
        (Reason::ENHANCE_YOUR_CALM, "8"),
        (Reason::INADEQUATE_SECURITY, "7"),
        (Reason::INTERNAL_ERROR, "13"),
    ] {
        for has_begun in [false, true] {
            let world = World::new(1).config(CALLS);
            let clock = world.clone();
            world.http2_origin("10.0.0.1:80", move |(request, mut to)| {
                let clock = clock.clone();
                async move {
                    content(request.into_body()).await.unwrap();
                    if !has_begun {
                        return to.send_reset(code);
                    }
                    let mut sending = to.send_response(begun(), false).unwrap();
                    sending.send_data(Bytes::from_static(OK), false).unwrap();
                    clock.sleep(Duration::from_millis(10)).await;
                    sending.send_reset(code);
                }
            });
            world.run(async {
                let answer = call(&world, "/s/m", &[]).await.unwrap();
                let fields = if has_begun { &answer.trailers } else { &answer.fields };
                assert_eq!(fields.get("grpc-status").unwrap(), status, "{code:?} {has_begun}");
                let line = world.line().await;
                assert_eq!(
                    (line.reason().as_str(), line.number("grpc_status").to_string().as_str()),
                    ("upstream-reset", status)
                );
            });
        }
    }
}

#[test]
fn an_upstream_that_does_not_speak_http_2_is_not_called() {
    let world = World::new(1).config(CALLS);
    world.answers("10.0.0.2:80", crate::OK);
    world.run(async {
        let answer = call(&world, "/old/m", &[]).await.unwrap();
        assert_eq!(refusal(&answer), ("13", "Upstream does not speak HTTP/2"));
        assert_eq!(world.line().await.reason(), "upstream-version");
        assert!(world.connects().is_empty());
    });
}

/// A stream on which one side says something each `gap` and the other is silent for longer than its idle time.
async fn one_side_speaks(world: &World, client_speaks: bool) -> Result<Answer, Option<Reason>> {
    let clock = world.clone();
    world.http2_origin("10.0.0.1:80", move |(request, mut to)| {
        let clock = clock.clone();
        async move {
            let mut sending = to.send_response(begun(), false).unwrap();
            for _ in 0..5 {
                clock.sleep(Duration::from_secs(40)).await;
                if !client_speaks {
                    let _ = sending.send_data(Bytes::from_static(OK), false);
                }
            }
            let (received, _) = content(request.into_body()).await.unwrap();
            let _ = sending.send_data(Bytes::from(vec![b'x'; received.len()]), false);
            let _ = sending.send_trailers(fields_of(&[("grpc-status", "0")]));
        }
    });
    let mut client = world.http2().await;
    let (response, mut sending) =
        client.send(request("POST", "/s/m", &[("content-type", "application/grpc")]), true).await;
    for _ in 0..5 {
        if client_speaks {
            sending.send_data(Bytes::from_static(MESSAGE), false).unwrap();
        }
        world.sleep(Duration::from_secs(40)).await;
    }
    let _ = sending.send_data(Bytes::from_static(MESSAGE), true);
    answer(response).await
}

#[test]
fn one_side_may_be_silent_while_the_other_is_not() {
    for (client_speaks, length) in [(true, 6 * MESSAGE.len()), (false, 5 * OK.len() + MESSAGE.len())] {
        let world = World::new(1).config(CALLS);
        world.run(async {
            let answer = one_side_speaks(&world, client_speaks).await.unwrap();
            assert_eq!(answer.body.len(), length, "{client_speaks}");
            assert_eq!(answer.trailers.get("grpc-status").unwrap(), "0");
        });
    }
}

#[test]
fn a_stream_on_which_nobody_speaks_ends_after_the_idle_time() {
    let world = World::new(1).config(CALLS);
    world.http2_origin("10.0.0.1:80", |(request, mut to)| async move {
        let _sending = to.send_response(begun(), false).unwrap();
        let _ = content(request.into_body()).await;
    });
    world.run(async {
        let mut client = world.http2().await;
        let begun = world.now();
        let fields = [("content-type", "application/grpc")];
        let (response, _sending) = client.send(request("POST", "/s/m", &fields), true).await;
        let answer = answer(response).await.unwrap();
        assert_eq!(answer.trailers.get("grpc-status").unwrap(), "4");
        assert_eq!(world.since(begun).as_secs(), 60);
        assert_eq!(world.line().await.reason(), "idle-timeout");
    });
}

#[test]
fn messages_pass_both_ways_at_once() {
    let world = World::new(1).config(CALLS);
    world.http2_origin("10.0.0.1:80", |(request, mut to)| async move {
        let mut asked = request.into_body();
        let mut sending = to.send_response(begun(), false).unwrap();
        while let Some(message) = asked.data().await {
            asked.flow_control().release_capacity(message.as_ref().unwrap().len()).unwrap();
            if !message.unwrap().is_empty() {
                sending.send_data(Bytes::from_static(OK), false).unwrap();
            }
        }
        sending.send_trailers(fields_of(&[("grpc-status", "0")])).unwrap();
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
    world.http2_origin("10.0.0.1:80", |(request, _to)| async move {
        assert_eq!(content(request.into_body()).await, Err(Some(Reason::CANCEL)));
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
