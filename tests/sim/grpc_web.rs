//! gRPC-Web, as browsers speak it, bridged to gRPC where a route says so.

use std::time::Duration;

use bytes::Bytes;

use crate::grpc::{OK, Reply, answers, begun};
use crate::world::http2::{content, request};
use crate::world::{Message, World, find};

const WEB: &str = r#"
access_log: { fields: [status, reason, detail, grpc_status] }
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2] } }
upstreams: { app: { endpoints: ["10.0.0.1:80"], protocol: h2 } }
routes:
  - { name: calls, match: { path: "/s/{method}" }, to: app, grpc_web: true }
  - { name: plain, match: { path: "/plain/{method}" }, to: app }
"#;

const DONE: Reply = Reply { trailers: &[("grpc-status", "0"), ("x-a", "b")], ..crate::grpc::DONE };
/// The same as a browser gets it.
const FRAMES: &[u8] = b"\0\0\0\0\x02ok\x80\0\0\0\x18grpc-status: 0\r\nx-a: b\r\n";
/// A message of two octets, and its text.
const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";
const TEXT: &str = "AAAAAAJoaQ==";

fn post(path: &str, content_type: &str, content: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\nx-grpc-web: 1\r\naccept: {content_type}\r\n\
         content-length: {}\r\n\r\n{content}",
        content.len()
    )
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let (mut decoder, mut out) = (tidegate::http::grpc::Base64Decoder::default(), Vec::new());
    decoder.decode(text, &mut out).unwrap();
    assert!(decoder.is_whole());
    out
}

fn message() -> &'static str {
    std::str::from_utf8(MESSAGE).unwrap()
}

#[test]
fn a_binary_call_is_bridged_over_http_1_1() {
    let world = World::new(1).config(WEB);
    let (_, seen) = answers(&world, DONE);
    world.run(async {
        let answer = world.ask(post("/s/m", "application/grpc-web+proto", message())).await;
        assert_eq!((answer.status(), answer.field("content-type")), (200, Some("application/grpc-web+proto")));
        assert_eq!(answer.content, FRAMES);
        assert!(answer.trailers.is_empty());
        let request = seen.borrow_mut().pop().unwrap();
        assert_eq!(
            (request.field("content-type"), request.field("te")),
            (Some("application/grpc+proto"), Some("trailers"))
        );
        assert_eq!((request.field("x-grpc-web"), request.field("accept")), (None, None));
        assert_eq!(request.content, MESSAGE);
        assert_eq!(world.line().await.number("grpc_status"), 0);
        assert_eq!(world.metric("tidegate_grpc_calls_total{route=\"calls\",grpc_status=\"0\"}"), 1);
    });
}

#[test]
fn a_text_call_is_bridged_wherever_its_base64_is_cut() {
    let world = World::new(1).config(WEB);
    let (_, seen) = answers(&world, DONE);
    world.run(async {
        for cut in 0..TEXT.len() {
            let request = post("/s/m", "application/grpc-web-text", TEXT);
            let (front, back) = request.split_at(request.len() - cut);
            let mut client = world.client();
            client.send(front).await;
            client.sleep(Duration::from_millis(10)).await;
            client.send(back).await;
            let answer = client.response().await;
            assert_eq!(answer.field("content-type"), Some("application/grpc-web-text+proto"));
            assert_eq!(decoded(&answer.content), FRAMES);
            let request = seen.borrow_mut().pop().unwrap();
            assert_eq!((request.content.as_slice(), request.field("content-length")), (MESSAGE, None));
            assert_eq!(request.field("content-type"), Some("application/grpc"));
        }
    });
}

#[test]
fn a_call_is_bridged_over_http_2_as_well() {
    let world = World::new(1).config(WEB);
    answers(&world, DONE);
    world.run(async {
        let mut client = world.http2().await;
        let fields = [("content-type", "application/grpc-web"), ("accept", "application/grpc-web-text")];
        let answer = client.ask(request("POST", "/s/m", &fields)).await;
        assert_eq!((answer.field("content-type"), answer.trailers.len()), (Some("application/grpc-web-text+proto"), 0));
        assert_eq!(decoded(&answer.body), FRAMES, "the answer comes as it is accepted");
    });
}

#[test]
fn messages_of_a_stream_are_passed_on_as_they_come() {
    let world = World::new(1).config(WEB);
    let clock = world.clone();
    world.http2_origin("10.0.0.1:80", move |(_, mut to)| {
        let clock = clock.clone();
        async move {
            let mut sending = to.send_response(begun(), false).unwrap();
            for _ in 0..3 {
                sending.send_data(Bytes::from_static(OK), false).unwrap();
                clock.sleep(Duration::from_secs(1)).await;
            }
            let trailers = [(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())];
            sending.send_trailers(trailers.into_iter().collect()).unwrap();
        }
    });
    world.run(async {
        let begun = world.now();
        let mut client = world.client();
        client.send(post("/s/m", "application/grpc-web-text", TEXT)).await;
        for seconds in 0..3 {
            client.read_until("AAAAAAJvaw==").await;
            assert_eq!(world.since(begun).as_secs(), seconds);
        }
        client.read_until("0\r\n\r\n").await;
    });
}

#[test]
fn a_refusal_and_a_status_in_a_head_keep_their_form() {
    let world = World::new(1).config(WEB);
    world.refuses("10.0.0.1:80");
    world.run(async {
        let ask =
            async |path: &str, kind: &str, content: &str| -> Message { world.ask(post(path, kind, content)).await };
        let answer = ask("/s/m", "application/grpc-web+proto", message()).await;
        assert_eq!((answer.status(), answer.field("content-type")), (200, Some("application/grpc-web+proto")));
        assert_eq!((answer.field("grpc-status"), answer.content.len()), (Some("14"), 0));
        let fields = &[("content-type", "application/grpc"), ("grpc-status", "7")];
        answers(&world, Reply { fields, content: b"", trailers: &[], ..DONE });
        let answer = ask("/s/m", "application/grpc-web+proto", message()).await;
        assert_eq!(
            (answer.field("content-type"), answer.field("grpc-status")),
            (Some("application/grpc-web"), Some("7"))
        );
    });
}

#[test]
fn text_that_is_no_base64_is_refused() {
    let world = World::new(1).config(WEB);
    world.http2_origin("10.0.0.1:80", |(request, _to)| async move {
        let _ = content(request.into_body()).await;
    });
    world.run(async {
        for text in ["A===", "AAAA!", "AAAAAAJoaQ", "AAAAAAJoaQ="] {
            let answer = world.ask(post("/s/m", "application/grpc-web-text", text)).await;
            assert_eq!(answer.field("grpc-status"), Some("13"), "{text}");
            assert_eq!(world.log().await.pop().unwrap().text("detail"), "grpc-web-base64");
        }
    });
}

#[test]
fn an_answer_without_a_status_is_given_one_in_a_frame() {
    let world = World::new(1).config(WEB);
    answers(&world, Reply { content: b"", trailers: &[], ..DONE });
    world.run(async {
        let answer = world.ask(post("/s/m", "application/grpc-web", message())).await;
        assert_eq!(answer.content[0], 0x80);
        assert!(find(&answer.content, b"grpc-status: 13\r\n").is_some());
    });
}

#[test]
fn an_answer_that_is_none_of_grpc_passes_as_it_is() {
    let world = World::new(1).config(WEB);
    let fields = &[("content-type", "text/plain"), ("content-length", "2")];
    answers(&world, Reply { status: 404, fields, content: b"no", trailers: &[] });
    world.run(async {
        let answer = world.ask(post("/s/m", "application/grpc-web-text", TEXT)).await;
        assert_eq!(
            (answer.status(), answer.field("content-type"), answer.text().as_str()),
            (404, Some("text/plain"), "no")
        );
    });
}

#[test]
fn without_a_word_from_the_route_nothing_is_bridged() {
    let world = World::new(1).config(WEB);
    let (_, seen) = answers(&world, DONE);
    world.run(async {
        let answer = world.ask(post("/plain/m", "application/grpc-web-text", TEXT)).await;
        assert_eq!((answer.field("content-type"), answer.text().len()), (Some("application/grpc+proto"), 7));
        let request = seen.borrow_mut().pop().unwrap();
        assert_eq!(
            (request.field("content-type"), request.content.as_slice()),
            (Some("application/grpc-web-text"), TEXT.as_bytes())
        );
        assert_eq!(request.field("x-grpc-web"), Some("1"));
    });
}

#[test]
fn http_1_0_is_too_old_for_it() {
    let world = World::new(1).config(WEB);
    answers(&world, DONE);
    world.run(async {
        let text = post("/s/m", "application/grpc-web", message()).replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(world.ask(text).await.field("grpc-status"), Some("13"));
    });
}
