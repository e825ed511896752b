//! HTTP/2 to upstreams: requests share connections, and each is a stream of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Response};

use crate::GET;
use crate::world::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, answer, block, content,
    request, respond,
};
use crate::world::{Ended, World};

/// One upstream that speaks HTTP/2, behind a listener that speaks both versions.
pub const H2_UP: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2] } }
upstreams: { app: { endpoints: ["10.0.0.1:80"], protocol: h2 } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
"#;

#[test]
fn a_request_goes_up_as_a_stream_and_its_answer_comes_back() {
    let world = World::new(1).config(H2_UP);
    let seen = Rc::new(RefCell::new(None));
    let note = seen.clone();
    world.http2_origin("10.0.0.1:80", move |(request, to)| {
        let note = note.clone();
        async move {
            *note.borrow_mut() = Some(request.into_parts().0);
            respond(to, 200, &[("x-b", "c"), ("content-length", "2")], "ok");
        }
    });
    world.run(async {
        let answer =
            world.ask("GET /a/./b?c=d HTTP/1.1\r\nhost: Shop:80\r\nx-a: b\r\nconnection: x-c\r\nx-c: d\r\n\r\n").await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
        assert_eq!((answer.field("x-b"), answer.field("content-length")), (Some("c"), Some("2")));
        let request = seen.borrow_mut().take().unwrap();
        assert_eq!(request.uri.to_string(), "http://Shop:80/a/b?c=d");
        assert_eq!(request.headers.get("x-a").unwrap(), "b");
        assert!(request.headers.get("x-c").is_none() && request.headers.get("host").is_none());
        assert!(request.headers.get("via").is_some());
        assert_eq!(world.line().await.reason(), "ok");
        assert_eq!(world.metric("tidegate_upstream_http2_streams_total{upstream=\"app\"}"), 1);
    });
}

#[test]
fn content_of_declared_length_and_in_chunks_goes_up_and_comes_back() {
    let world = World::new(1).config(H2_UP);
    world.http2_origin("10.0.0.1:80", |(request, to)| async move {
        let declared = request.headers().contains_key("content-length");
        let (body, _) = content(request.into_body()).await.unwrap();
        respond(to, 200, &[], &format!("{declared} {}", String::from_utf8(body).unwrap()));
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe").await;
        client.sleep(Duration::from_millis(5)).await;
        client.send("llo").await;
        assert_eq!(client.response().await.text(), "true hello");
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n").await;
        client.sleep(Duration::from_millis(5)).await;
        client.send("3\r\nllo\r\n0\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "false hello");
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "true ");
    });
}

#[test]
fn many_requests_share_one_connection() {
    let world = World::new(1).config(H2_UP);
    let clock = world.clone();
    let host = world.http2_origin("10.0.0.1:80", move |(_, to)| {
        let clock = clock.clone();
        async move {
            clock.sleep(Duration::from_millis(50)).await;
            respond(to, 200, &[], "ok");
        }
    });
    host.delay(Duration::from_millis(3));
    world.run(async {
        let clients: Vec<_> = (0..50).map(|_| world.client()).collect();
        for client in &clients {
            client.send(GET).await;
        }
        for mut client in clients {
            assert_eq!(client.response().await.text(), "ok");
        }
        assert_eq!(host.accepted(), 1);
        world.sleep(Duration::from_millis(1)).await;
        assert_eq!(world.metric("tidegate_upstream_http2_streams_open{upstream=\"app\"}"), 0);
    });
}

#[test]
fn more_connections_are_opened_as_streams_fill() {
    let world = World::new(1).config(H2_UP);
    let clock = world.clone();
    let (now, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (open, peak) = (now.clone(), most.clone());
    let few = |builder: &mut h2::server::Builder| {
        builder.max_concurrent_streams(10);
    };
    let host = world.http2_origin_with("10.0.0.1:80", few, move |(_, to)| {
        let (clock, open, peak) = (clock.clone(), open.clone(), peak.clone());
        async move {
            open.set(open.get() + 1);
            peak.set(open.get().max(peak.get()));
            clock.sleep(Duration::from_millis(50)).await;
            open.set(open.get() - 1);
            respond(to, 200, &[], "ok");
        }
    });
    world.run(async {
        for _ in 0..2 {
            let clients: Vec<_> = (0..35).map(|_| world.client()).collect();
            for client in &clients {
                client.send(GET).await;
            }
            for mut client in clients {
                assert_eq!(client.response().await.status(), 200);
            }
        }
        assert_eq!((host.accepted(), most.get()), (4, 35));
        assert_eq!(world.sum("tidegate_upstream_http2_resets_total"), 0, "the limit is known before it is met");
    });
}

#[test]
fn who_finds_no_place_waits_in_line_for_the_first_that_is_free() {
    let world = World::new(1).config(&H2_UP.replace("h2 }", "h2, pool: { max_connections: 1 }, h2: { streams: 2 } }"));
    let clock = world.clone();
    let host = world.http2_origin("10.0.0.1:80", move |(_, to)| {
        let clock = clock.clone();
        async move {
            clock.sleep(Duration::from_millis(50)).await;
            respond(to, 200, &[], "ok");
        }
    });
    world.run(async {
        let begun = world.now();
        let clients: Vec<_> = (0..6).map(|_| world.client()).collect();
        for client in &clients {
            client.send(GET).await;
        }
        for mut client in clients {
            assert_eq!(client.response().await.status(), 200);
        }
        let took = world.since(begun);
        assert_eq!(host.accepted(), 1);
        assert!(took >= Duration::from_millis(150) && took < Duration::from_millis(200), "{took:?}");
    });
}

#[test]
fn a_refused_request_is_made_again_whatever_it_is() {
    let world = World::new(1).config(H2_UP);
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    let host = world.http2_origin("10.0.0.1:80", move |(_, mut to)| {
        count.set(count.get() + 1);
        let first = count.get() == 1;
        async move {
            match first {
                true => to.send_reset(Reason::REFUSED_STREAM),
                false => respond(to, 200, &[], "ok"),
            }
        }
    });
    world.run(async {
        let answer = world.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
        assert_eq!((answer.status(), asked.get(), host.accepted()), (200, 2, 2));
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("attempts")), ("ok", 2));
        assert_eq!(world.metric("tidegate_upstream_http2_resets_total{upstream=\"app\"}"), 1);
        assert_eq!(world.metric("tidegate_upstream_replays_total{upstream=\"app\"}"), 1);
    });
}

#[test]
fn a_request_that_was_reset_otherwise_is_not_made_again_unless_it_may_be() {
    let world = World::new(1).config(H2_UP);
    world.http2_origin("10.0.0.1:80", |(_, mut to)| async move { to.send_reset(Reason::INTERNAL_ERROR) });
    world.run(async {
        assert_eq!(world.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await.status(), 502);
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("upstream-reset", "internal-error"));
        assert_eq!(line.number("attempts"), 1);
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(world.log().await[1].number("attempts"), 2);
    });
}

#[test]
fn after_goaway_a_connection_takes_no_more_and_ends_with_what_it_has() {
    let world = World::new(1).config(H2_UP);
    let clock = world.clone();
    let connections = Rc::new(Cell::new(0));
    let count = connections.clone();
    world.origin("10.0.0.1:80", move |peer| {
        count.set(count.get() + 1);
        let (clock, is_first) = (clock.clone(), count.get() == 1);
        async move {
            let mut frames = Frames::of_origin(peer).await;
            while let Some(head) = frames.of_kind(HEADERS).await {
                if is_first {
                    // The second stream comes too late; the first is answered behind the announcement.
                    frames.of_kind(HEADERS).await.unwrap();
                    frames.send(GOAWAY, 0, 0, &[0, 0, 0, head.stream as u8, 0, 0, 0, 0]).await;
                    clock.sleep(Duration::from_secs(1)).await;
                }
                let fields = block(&[(":status", if is_first { "201" } else { "200" })]);
                frames.send(HEADERS, END_HEADERS | END_STREAM, head.stream, &fields).await;
            }
        }
    });
    world.run(async {
        let mut first = world.client();
        first.send("POST /first HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
        first.sleep(Duration::from_millis(5)).await;
        let begun = world.now();
        let late = world.ask("POST /late HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
        assert_eq!((late.status(), connections.get()), (200, 2));
        assert!(world.since(begun) < Duration::from_millis(500));
        assert_eq!(first.response().await.status(), 201);
        assert_eq!(world.ask(GET).await.status(), 200);
        assert_eq!(connections.get(), 2);
        assert_eq!(world.metric("tidegate_upstream_http2_goaways_total{upstream=\"app\"}"), 1);
        world.sleep(Duration::from_secs(3)).await;
        assert_eq!(world.metric("tidegate_upstream_http2_connections_open{upstream=\"app\"}"), 1);
    });
}

#[test]
fn a_reset_behind_the_head_cuts_the_answer_and_is_an_internal_error_to_http_2() {
    let world = World::new(1).config(H2_UP);
    let clock = world.clone();
    world.http2_origin("10.0.0.1:80", move |(_, mut to)| {
        let clock = clock.clone();
        async move {
            let mut sending = to.send_response(Response::new(()), false).unwrap();
            sending.send_data(Bytes::from("half"), false).unwrap();
            clock.sleep(Duration::from_millis(20)).await;
            sending.send_reset(Reason::CANCEL);
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        let cut = client.rest_text().await;
        assert!(cut.ends_with("4\r\nhalf\r\n"), "{cut}");
        let (cut, _) = world.http2().await.send(request("GET", "/", &[]), false).await;
        assert_eq!(answer(cut).await.unwrap_err(), Some(Reason::INTERNAL_ERROR));
        for line in world.log().await {
            assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("upstream-reset", "cancel"));
        }
    });
}

#[test]
fn a_client_that_leaves_cancels_its_stream_and_no_other() {
    let world = World::new(1).config(H2_UP);
    let resets = Rc::new(RefCell::new(Vec::new()));
    let note = resets.clone();
    let host = world.http2_origin("10.0.0.1:80", move |(request, mut to)| {
        let note = note.clone();
        async move {
            if request.uri().path() == "/leave" {
                let reason = std::future::poll_fn(|cx| to.poll_reset(cx)).await;
                note.borrow_mut().push(reason.unwrap());
            } else {
                respond(to, 200, &[], "ok");
            }
        }
    });
    world.run(async {
        for leaves in [true, false] {
            let client = world.client();
            client.send("GET /leave HTTP/1.1\r\nhost: a\r\n\r\n").await;
            client.sleep(Duration::from_millis(10)).await;
            if leaves { client.reset() } else { drop(client) }
        }
        let (left, _) = world.http2().await.send(request("GET", "/leave", &[]), false).await;
        world.sleep(Duration::from_millis(10)).await;
        drop(left);
        world.sleep(Duration::from_millis(10)).await;
        assert_eq!(*resets.borrow(), [Reason::CANCEL; 3]);
        assert_eq!((world.ask(GET).await.status(), host.accepted()), (200, 1));
    });
}

#[test]
fn trailers_go_both_ways() {
    let world = World::new(1).config(H2_UP);
    world.http2_origin("10.0.0.1:80", |(request, mut to)| async move {
        let te = request.headers().get("te").cloned();
        let (_, trailers) = content(request.into_body()).await.unwrap();
        let mut response = Response::builder().status(200);
        if let Some(te) = te {
            response = response.header("x-te", te);
        }
        let mut sending = to.send_response(response.body(()).unwrap(), false).unwrap();
        sending.send_data(Bytes::from("ok"), false).unwrap();
        let mut back = HeaderMap::new();
        back.insert("x-sum", trailers.get("x-sum").cloned().unwrap_or_else(|| "none".parse().unwrap()));
        sending.send_trailers(back).unwrap();
    });
    world.run(async {
        let mut client = world.http2().await;
        let (response, mut sending) = client.send(request("POST", "/", &[("te", "trailers")]), true).await;
        sending.send_data(Bytes::from("hello"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "5".parse().unwrap());
        sending.send_trailers(trailers).unwrap();
        let answer = answer(response).await.unwrap();
        assert_eq!((answer.text().as_str(), answer.field("x-te")), ("ok", Some("trailers")));
        assert_eq!(answer.trailers.get("x-sum").unwrap(), "5");
        let mut client = world.client();
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send(format!("{head}2\r\nhe\r\n0\r\nx-sum: 2\r\ncontent-length: 9\r\n\r\n")).await;
        let text = client.rest_text().await;
        assert!(text.ends_with("2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n"), "{text}");
    });
}

#[test]
fn interim_responses_are_passed_on_and_one_too_many_is_the_end() {
    let world = World::new(1).config(H2_UP);
    world.http2_origin("10.0.0.1:80", |(request, mut to)| async move {
        let count = request.uri().query().unwrap().parse().unwrap();
        for _ in 0..count {
            let hints = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
            to.send_informational(hints).unwrap();
        }
        respond(to, 200, &[], "ok");
    });
    world.run(async {
        let mut client = world.client();
        client.send("GET /?1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let hints = client.response().await;
        assert_eq!((hints.status(), hints.field("link")), (103, Some("</a>")));
        assert_eq!(client.response().await.text(), "ok");
        client.send("GET /?17 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let text = client.rest_text().await;
        assert!(text.contains("HTTP/1.1 502"), "{text}");
        assert_eq!(world.log().await[1].text("detail"), "too-many-interim-responses");
    });
}

#[test]
fn an_expectation_is_met_by_the_upstream() {
    let world = World::new(1).config(H2_UP);
    world.http2_origin("10.0.0.1:80", |(request, mut to)| async move {
        assert_eq!(request.headers().get("expect").unwrap(), "100-continue");
        to.send_informational(Response::builder().status(100).body(()).unwrap()).unwrap();
        let (body, _) = content(request.into_body()).await.unwrap();
        respond(to, 200, &[], std::str::from_utf8(&body).unwrap());
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 100);
        client.send("hi").await;
        assert_eq!(client.response().await.text(), "hi");
    });
}

#[test]
fn both_directions_flow_at_once_to_their_ends() {
    let world = World::new(1).config(H2_UP);
    world.http2_origin("10.0.0.1:80", |(request, mut to)| async move {
        let mut sending = to.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.unwrap();
            body.flow_control().release_capacity(chunk.len()).unwrap();
            sending.send_data(chunk, false).unwrap();
        }
        sending.send_data(Bytes::from("!"), true).unwrap();
    });
    world.run(async {
        let mut client = world.http2().await;
        let (response, mut sending) = client.send(request("POST", "/", &[]), true).await;
        let mut echo = response.await.unwrap().into_body();
        for round in 0..100 {
            let word = format!("word {round}");
            sending.send_data(Bytes::from(word.clone()), false).unwrap();
            let mut back = Vec::new();
            while back.len() < word.len() {
                let chunk = echo.data().await.unwrap().unwrap();
                echo.flow_control().release_capacity(chunk.len()).unwrap();
                back.extend(chunk);
            }
            assert_eq!(back, word.into_bytes());
        }
        sending.send_data(Bytes::new(), true).unwrap();
        assert_eq!(echo.data().await.unwrap().unwrap(), "!");
        while let Some(end) = echo.data().await {
            assert!(end.unwrap().is_empty());
        }
        assert_eq!(world.line().await.reason(), "ok");
    });
}

#[test]
fn an_answer_before_the_end_of_the_upload_arrives_whole() {
    let world = World::new(1).config(H2_UP);
    world.http2_origin("10.0.0.1:80", |(request, to)| async move {
        respond(to, 413, &[("content-length", "3")], "big");
        drop(request);
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\nhello").await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.text().as_str()), (413, "big"));
        let (response, _sending) = world.http2().await.send(request("POST", "/", &[]), true).await;
        let answer = crate::world::http2::answer(response).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    });
}

#[test]
fn a_slow_reader_stops_the_producer_either_way() {
    let world = World::new(1).config(H2_UP);
    let clock = world.clone();
    let sent = Rc::new(Cell::new(0));
    let count = sent.clone();
    world.http2_origin("10.0.0.1:80", move |(request, mut to)| {
        let (clock, count) = (clock.clone(), count.clone());
        async move {
            if request.method() == "POST" {
                // Nothing is read.
                clock.sleep(Duration::from_secs(20)).await;
                return respond(to, 200, &[], "late");
            }
            let mut sending = to.send_response(Response::new(()), false).unwrap();
            loop {
                sending.reserve_capacity(16 * 1024);
                let Some(Ok(room)) = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await else { return };
                if sending.send_data(Bytes::from(vec![b'x'; room]), false).is_err() {
                    return;
                }
                count.set(count.get() + room);
            }
        }
    });
    world.client_wire(crate::world::Wire { room: 64 * 1024, ..Default::default() });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.sleep(Duration::from_secs(5)).await;
        let stalled = sent.get();
        assert!(stalled < 768 * 1024, "{stalled} octets were taken");
        client.sleep(Duration::from_secs(5)).await;
        assert_eq!(sent.get(), stalled, "nothing more is taken");
        client.read_exactly(1024 * 1024).await;
        assert!(sent.get() > stalled);
        drop(client);
        let uploader = world.client();
        let upload = async {
            uploader.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n").await;
            for part in 0..10_000 {
                if crate::world::http2::within(&world, Duration::from_secs(3), uploader.send([b'x'; 10_000]))
                    .await
                    .is_none()
                {
                    return part * 10_000;
                }
            }
            panic!("everything was taken");
        };
        let taken = upload.await;
        assert!(taken < 512 * 1024, "{taken} octets were taken");
    });
}

#[test]
fn a_silent_connection_is_asked_whether_it_lives_and_then_given_up() {
    let world = World::new(1).config(&H2_UP.replace("h2 }", "h2, h2: { ping: 5s } }"));
    let clock = world.clone();
    let answers = Rc::new(Cell::new(true));
    let does_answer = answers.clone();
    world.origin("10.0.0.1:80", move |peer| {
        let (clock, does_answer) = (clock.clone(), does_answer.clone());
        async move {
            let mut frames = Frames::of_origin(peer).await;
            while let Some(frame) = frames.next().await {
                if frame.kind == PING && does_answer.get() {
                    frames.send(PING, ACK, 0, &frame.payload).await;
                }
                if frame.kind == PING && frame.flags == 0 && !does_answer.get() {
                    clock.sleep(Duration::from_secs(3600)).await;
                }
            }
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
        client.sleep(Duration::from_secs(30)).await;
        assert_eq!(world.metric("tidegate_upstream_http2_connections_open{upstream=\"app\"}"), 1, "it answers");
        answers.set(false);
        let begun = world.now();
        assert_eq!(client.response().await.status(), 502);
        let took = world.since(begun);
        assert!(took > Duration::from_secs(4) && took < Duration::from_secs(16), "{took:?}");
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("upstream-reset", "silent"));
        assert_eq!(world.metric("tidegate_upstream_http2_silent_total{upstream=\"app\"}"), 1);
    });
}

#[test]
fn an_idle_connection_is_closed_in_order_and_an_old_one_takes_no_more() {
    let world = World::new(1).config(&H2_UP.replace("h2 }", "h2, pool: { idle: 10s, max_age: 60s } }"));
    let host = world.http2_origin("10.0.0.1:80", |(_, to)| async move { respond(to, 200, &[], "ok") });
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 200);
        world.sleep(Duration::from_secs(9)).await;
        assert_eq!((world.ask(GET).await.status(), host.accepted()), (200, 1));
        world.sleep(Duration::from_secs(11)).await;
        assert_eq!(world.metric("tidegate_upstream_http2_connections_open{upstream=\"app\"}"), 0);
        for _ in 0..16 {
            assert_eq!(world.ask(GET).await.status(), 200);
            world.sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(host.accepted(), 3, "one idled, one grew old");
    });
}

#[test]
fn a_connection_that_the_origin_closes_is_replaced() {
    let world = World::new(1).config(H2_UP);
    let host = world.origin("10.0.0.1:80", |peer| async move {
        let mut frames = Frames::of_origin(peer).await;
        let head = frames.of_kind(HEADERS).await.unwrap();
        frames.send(HEADERS, END_HEADERS | END_STREAM, head.stream, &block(&[(":status", "200")])).await;
        frames.peer.sleep(Duration::from_millis(100)).await;
    });
    world.run(async {
        for connections in 1..4 {
            assert_eq!((world.ask(GET).await.status(), host.accepted()), (200, connections));
            world.sleep(Duration::from_secs(1)).await;
        }
    });
}

#[test]
fn an_origin_that_speaks_no_http_2_is_malformed() {
    let world = World::new(1).config(H2_UP);
    world.origin("10.0.0.1:80", |peer| async move {
        peer.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        peer.sleep(Duration::from_secs(1)).await;
    });
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        assert_eq!(world.line().await.reason(), "upstream-malformed");
    });
}

#[test]
fn one_that_cannot_be_opened_fails_all_who_wait_for_it() {
    let world = World::new(1).config(H2_UP);
    let host = world.refuses("10.0.0.1:80");
    host.delay(Duration::from_millis(100));
    world.run(async {
        let clients: Vec<_> = (0..5).map(|_| world.client()).collect();
        for client in &clients {
            client.send(GET).await;
        }
        let begun = world.now();
        for mut client in clients {
            assert_eq!(client.response().await.status(), 502);
        }
        assert!(world.since(begun) < Duration::from_secs(1));
        assert!(world.log().await.iter().all(|line| line.reason() == "connect-refused"));
        assert!(world.connects().len() <= 3, "{:?}", world.connects());
    });
}

#[test]
fn a_flood_of_an_origin_ends_its_connection_with_a_reason() {
    let many = |kind: u8, payload: &'static [u8]| move |count: usize| (kind, payload, count);
    let cases = [(many(SETTINGS, b"")(30), "settings"), (many(PING, &[0; 8])(600), "pings")];
    for ((kind, payload, count), word) in cases {
        let world = World::new(1).config(H2_UP);
        world.origin("10.0.0.1:80", move |peer| async move {
            let mut frames = Frames::of_origin(peer).await;
            frames.of_kind(HEADERS).await;
            for _ in 0..count {
                frames.send(kind, 0, 0, payload).await;
            }
            frames.peer.sleep(Duration::from_secs(5)).await;
        });
        world.run(async {
            assert_eq!(world.ask(GET).await.status(), 502);
            let line = world.line().await;
            assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("upstream-malformed", word));
            let series = format!("tidegate_upstream_http2_floods_total{{upstream=\"app\",reason=\"{word}\"}}");
            let flooded = world.sum("tidegate_upstream_http2_floods_total");
            assert_eq!(flooded, 1, "{series}");
        });
    }
}

#[test]
fn endless_interim_responses_end_the_connection_of_a_client_that_does_not_read() {
    let world = World::new(1).config(H2_UP);
    world.client_wire(crate::world::Wire { room: 16, ..Default::default() });
    world.origin("10.0.0.1:80", |peer| async move {
        let mut frames = Frames::of_origin(peer).await;
        let head = frames.of_kind(HEADERS).await.unwrap();
        for _ in 0..500 {
            frames.send(HEADERS, END_HEADERS, head.stream, &block(&[(":status", "103"), ("link", "</a>")])).await;
        }
        frames.peer.sleep(Duration::from_secs(5)).await;
    });
    world.run(async {
        let client = world.client();
        client.send(GET).await;
        client.sleep(Duration::from_secs(2)).await;
        assert_eq!(world.sum("tidegate_upstream_http2_floods_total"), 1);
    });
}

#[test]
fn a_response_head_over_the_limit_is_malformed_and_harms_no_other() {
    let world = World::new(1).config(H2_UP);
    let host = world.http2_origin("10.0.0.1:80", |(request, to)| async move {
        let long = "x".repeat(60_000);
        let fields = [("x-long", long.as_str())];
        respond(to, 200, if request.uri().path() == "/long" { &fields } else { &[] }, "ok");
    });
    world.run(async {
        assert_eq!(world.ask("GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 502);
        assert_eq!(world.line().await.reason(), "upstream-malformed");
        assert_eq!((world.ask(GET).await.status(), host.accepted()), (200, 1));
    });
}

#[test]
fn a_drain_lets_requests_end_and_closes_connections_behind_them() {
    let world = World::new(1).config(H2_UP);
    let clock = world.clone();
    world.http2_origin("10.0.0.1:80", move |(_, to)| {
        let clock = clock.clone();
        async move {
            clock.sleep(Duration::from_secs(1)).await;
            respond(to, 200, &[], "ok");
        }
    });
    world.run(async {
        use tidegate::proxy::shell::Shard as _;
        let mut client = world.client();
        client.send(GET).await;
        client.sleep(Duration::from_millis(100)).await;
        world.shard().drain();
        assert_eq!(client.response().await.text(), "ok");
        world.sleep(Duration::from_millis(100)).await;
        assert_eq!(world.metric("tidegate_upstream_http2_connections_open{upstream=\"app\"}"), 0);
    });
}

#[test]
fn a_reload_that_changes_the_upstream_leaves_requests_alone() {
    let world = World::new(1).config(H2_UP);
    let clock = world.clone();
    let host = world.http2_origin("10.0.0.1:80", move |(_, to)| {
        let clock = clock.clone();
        async move {
            clock.sleep(Duration::from_secs(1)).await;
            respond(to, 200, &[], "ok");
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        client.sleep(Duration::from_millis(100)).await;
        world.reload(&H2_UP.replace("h2 }", "h2, h2: { streams: 7 } }"));
        let other = world.ask(GET).await;
        assert_eq!((other.status(), host.accepted()), (200, 2));
        assert_eq!(client.response().await.text(), "ok");
        world.sleep(Duration::from_millis(100)).await;
        assert_eq!(world.metric("tidegate_upstream_http2_connections_open{upstream=\"app\"}"), 1);
    });
}

#[test]
fn a_truncated_answer_never_looks_complete() {
    let world = World::new(1).config(H2_UP);
    world.origin("10.0.0.1:80", |peer| async move {
        let mut frames = Frames::of_origin(peer).await;
        let head = frames.of_kind(HEADERS).await.unwrap();
        frames.send(HEADERS, END_HEADERS, head.stream, &block(&[(":status", "200")])).await;
        frames.send(DATA, 0, head.stream, b"half").await;
        frames.peer.sleep(Duration::from_millis(50)).await;
        // An end without an error, which is none of the stream.
        let code: u32 = if head.stream == 1 { Reason::NO_ERROR.into() } else { Reason::CANCEL.into() };
        frames.send(RST_STREAM, 0, head.stream, &code.to_be_bytes()).await;
        frames.peer.sleep(Duration::from_millis(50)).await;
    });
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        let (octets, ended) = client.rest().await;
        assert!(octets.ends_with(b"4\r\nhalf\r\n"), "{ended:?}");
        assert_ne!(ended, Ended::Reset);
        assert_eq!(world.line().await.reason(), "upstream-reset");
    });
}

#[test]
fn an_answer_that_is_complete_but_for_its_end_is_not_cancelled() {
    let world = World::new(1).config(H2_UP);
    let resets = Rc::new(Cell::new(0));
    let count = resets.clone();
    let host = world.origin("10.0.0.1:80", move |peer| {
        let count = count.clone();
        async move {
            let mut frames = Frames::of_origin(peer).await;
            while let Some(frame) = frames.next().await {
                count.set(count.get() + u32::from(frame.kind == RST_STREAM));
                if frame.kind != HEADERS {
                    continue;
                }
                let head = block(&[(":status", "200"), ("content-length", "2")]);
                frames.send(HEADERS, END_HEADERS, frame.stream, &head).await;
                frames.send(DATA, 0, frame.stream, b"ok").await;
                frames.peer.sleep(Duration::from_millis(20)).await;
                frames.send(DATA, END_STREAM, frame.stream, b"").await;
            }
        }
    });
    world.run(async {
        let mut client = world.client();
        for _ in 0..3 {
            client.send(GET).await;
            assert_eq!(client.response().await.text(), "ok");
            client.sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((resets.get(), host.accepted()), (0, 1));
    });
}

#[test]
fn answers_that_never_end_take_nobodys_place() {
    let world = World::new(1).config(H2_UP);
    let host = world.origin("10.0.0.1:80", |peer| async move {
        let mut frames = Frames::of_origin(peer).await;
        // Two streams at once.
        frames.send(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 2]).await;
        while let Some(frame) = frames.next().await {
            if frame.kind == HEADERS {
                let head = block(&[(":status", "200"), ("content-length", "2")]);
                frames.send(HEADERS, END_HEADERS, frame.stream, &head).await;
                frames.send(DATA, 0, frame.stream, b"ok").await;
            }
        }
    });
    world.run(async {
        let mut client = world.client();
        for _ in 0..5 {
            client.send(GET).await;
            assert_eq!(client.response().await.text(), "ok");
        }
        assert_eq!(host.accepted(), 1);
    });
}

#[test]
fn clients_that_do_not_read_stop_no_other() {
    let world = World::new(1).config(H2_UP);
    let host = world.http2_origin("10.0.0.1:80", |(request, to)| async move {
        let is_long = request.uri().path() == "/long";
        respond(to, 200, &[], &"x".repeat(if is_long { 1 << 20 } else { 2 }));
    });
    world.client_wire(crate::world::Wire { room: 64 * 1024, ..Default::default() });
    world.run(async {
        let stalled: Vec<_> = (0..90).map(|_| world.client()).collect();
        for client in &stalled {
            client.send("GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await;
        }
        world.sleep(Duration::from_secs(1)).await;
        let mut client = world.client();
        client.send(GET).await;
        let answer = crate::world::http2::within(&world, Duration::from_secs(5), client.response()).await;
        assert_eq!(answer.expect("an answer in time").text(), "xx");
        assert_eq!(host.accepted(), 1);
    });
}

#[test]
fn a_burst_of_more_than_one_connection_carries_opens_another() {
    let world = World::new(1).config(&H2_UP.replace("h2 }", "h2, h2: { streams: 4 } }"));
    let clock = world.clone();
    let host = world.http2_origin("10.0.0.1:80", move |(_, to)| {
        let clock = clock.clone();
        async move {
            clock.sleep(Duration::from_secs(1)).await;
            respond(to, 200, &[], "ok");
        }
    });
    host.wire(crate::world::Wire { latency: Duration::from_millis(20), ..Default::default() });
    world.run(async {
        let begun = world.now();
        let clients: Vec<_> = (0..10).map(|_| world.client()).collect();
        for client in &clients {
            client.send(GET).await;
        }
        for mut client in clients {
            assert_eq!(client.response().await.status(), 200);
        }
        assert_eq!(host.accepted(), 3);
        assert!(world.since(begun) < Duration::from_millis(1500));
    });
}
