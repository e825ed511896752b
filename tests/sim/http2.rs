//! Requests over HTTP/2: the same as over HTTP/1.1, many at once.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;

use crate::OK;
use crate::world::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, WINDOW_UPDATE, answer, block, get, request,
};
use crate::world::{PLAIN, Wire, World};

/// One upstream behind a listener that speaks both versions.
pub const BOTH: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2] } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
"#;

#[test]
fn a_request_goes_up_as_http_1_1_and_is_logged_as_what_it_was() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        let answer = client.ask(request("GET", "/a/./b?c=d", &[("x-a", "b")])).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        let request = world.request();
        assert_eq!(request.start, "GET /a/b?c=d HTTP/1.1");
        assert_eq!((request.field("host"), request.field("x-a")), (Some("a"), Some("b")));
        assert!(request.field("via").unwrap().starts_with("2.0 "), "{request:?}");
        let line = world.line().await;
        assert_eq!((line.text("protocol").as_str(), line.reason().as_str()), ("HTTP/2.0", "ok"));
        assert_eq!(world.metric("tidegate_http2_streams_total"), 1);
    });
}

#[test]
fn without_its_name_in_the_list_http_2_is_refused_as_a_version() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        let mut client = world.client();
        client.send(crate::world::http2::PREFACE).await;
        assert_eq!(client.response().await.status(), 505);
    });
}

#[test]
fn a_listener_that_speaks_both_hears_http_1_1_as_well() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client();
        for part in ["P", "RI", "NT / HTTP/1.1\r\nhost: a\r\n\r\n"] {
            client.send(part).await;
            client.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(client.response().await.text(), "ok");
        client.send(crate::GET).await;
        assert_eq!(client.response().await.text(), "ok", "the connection goes on");
    });
}

#[test]
fn a_listener_that_speaks_http_2_alone_closes_on_anything_else() {
    let world = World::new(1).config(&BOTH.replace("[http1, h2]", "h2"));
    world.run(async {
        let mut client = world.client();
        client.send(crate::GET).await;
        assert!(client.closes().await);
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"version-unsupported\"}"), 1);
    });
}

#[test]
fn a_slow_request_holds_up_no_other() {
    let world = World::new(1).config(BOTH);
    let note = world.note();
    let clock = world.clone();
    world.origin("10.0.0.1:80", move |mut peer| {
        let (note, clock) = (note.clone(), clock.clone());
        async move {
            while let Some(request) = peer.request().await {
                if request.start.contains("/slow") {
                    clock.sleep(Duration::from_secs(5)).await;
                }
                note(request);
                peer.send(OK).await;
            }
        }
    });
    world.run(async {
        let mut client = world.http2().await;
        let (slow, _) = client.send(request("GET", "/slow", &[]), false).await;
        let begun = world.now();
        for _ in 0..3 {
            assert_eq!(client.get("/quick").await.status, 200);
        }
        assert!(world.since(begun) < Duration::from_secs(1));
        assert_eq!(answer(slow).await.unwrap().status, 200);
    });
}

#[test]
fn crumbs_of_cookies_become_one_field() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        client.ask(request("GET", "/", &[("cookie", "a=b"), ("x-y", "z"), ("cookie", "c=d")])).await;
        assert_eq!(world.request().field("cookie"), Some("a=b; c=d"));
    });
}

#[test]
fn a_host_that_says_what_the_authority_says_is_dropped_and_another_is_refused() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        assert_eq!(client.ask(request("GET", "/", &[("host", "A:80")])).await.status, 200);
        assert_eq!(world.request().field("host"), Some("a"));
        assert_eq!(client.ask(request("GET", "/", &[("host", "b")])).await.status, 400);
        let line = world.log().await.pop().unwrap();
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("malformed", "duplicate-host"));
    });
}

#[test]
fn content_of_declared_length_keeps_it_and_other_content_goes_in_chunks() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        for fields in [&[("content-length", "5")][..], &[]] {
            let (response, mut content) = client.send(request("POST", "/", fields), true).await;
            content.send_data(Bytes::from("he"), false).unwrap();
            world.sleep(Duration::from_millis(5)).await;
            content.send_data(Bytes::from("llo"), true).unwrap();
            assert_eq!(answer(response).await.unwrap().status, 200);
        }
        let requests = world.requests();
        assert_eq!((requests[0].field("content-length"), requests[0].text().as_str()), (Some("5"), "hello"));
        assert_eq!((requests[1].field("transfer-encoding"), requests[1].text().as_str()), (Some("chunked"), "hello"));
    });
}

#[test]
fn content_that_is_not_as_long_as_declared_resets_the_stream() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        for content in ["hell", "hello!"] {
            let mut client = world.frames().await;
            let head = block(&[
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
                ("content-length", "5"),
            ]);
            client.send(HEADERS, END_HEADERS, 1, &head).await;
            client.send(DATA, END_STREAM, 1, content.as_bytes()).await;
            assert_eq!(client.reset_of(1).await, Reason::PROTOCOL_ERROR, "{content}");
        }
        world.sleep(Duration::from_secs(1)).await;
        assert!(world.requests().iter().all(|request| !request.complete), "{:?}", world.requests());
    });
}

#[test]
fn response_trailers_reach_a_client_that_reads_them() {
    let world = World::new(1).config(BOTH);
    world.answers(
        "10.0.0.1:80",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-checksum: 7\r\nset-cookie: a=b\r\n\r\n",
    );
    world.run(async {
        let mut client = world.http2().await;
        let answer = client.ask(request("GET", "/", &[("te", "trailers")])).await;
        assert_eq!((answer.text().as_str(), answer.trailers.len()), ("ok", 1));
        assert_eq!(answer.trailers.get("x-checksum").unwrap(), "7");
        assert_eq!(answer.field("transfer-encoding"), None);
        assert!(client.get("/").await.trailers.is_empty(), "nobody asked for them");
    });
}

#[test]
fn request_trailers_are_dropped_as_those_of_http_1_1_are() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        let (response, mut content) = client.send(request("POST", "/", &[]), true).await;
        content.send_data(Bytes::from("hello"), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-t", http::HeaderValue::from_static("1"));
        content.send_trailers(trailers).unwrap();
        assert_eq!(answer(response).await.unwrap().status, 200);
        let request = world.request();
        assert_eq!((request.text().as_str(), request.trailers.len()), ("hello", 0));
    });
}

#[test]
fn interim_responses_are_passed_on() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{OK}"));
    world.run(async {
        let mut client = world.frames().await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])).await;
        let hints = client.of_kind(HEADERS).await.unwrap();
        assert_eq!((hints.stream, hints.flags & END_STREAM), (1, 0));
        let head = client.of_kind(HEADERS).await.unwrap();
        assert_eq!((head.stream, head.flags & END_STREAM), (1, 0));
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"ok");
    });
}

#[test]
fn an_expectation_is_met_before_the_content_is_sent() {
    let world = World::new(1).config(BOTH);
    world.origin("10.0.0.1:80", |mut peer| async move {
        let head = peer.request_head().await;
        assert_eq!(head.field("expect"), Some("100-continue"));
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(peer.read_exactly(5).await, b"hello");
        peer.send(OK).await;
    });
    world.run(async {
        let mut client = world.frames().await;
        let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        let more = [("content-length", "5"), ("expect", "100-continue")];
        client.send(HEADERS, END_HEADERS, 1, &block(&[&fields[..], &more].concat())).await;
        // The status of a 100 is not in the static table.
        assert!(!client.of_kind(HEADERS).await.unwrap().payload.contains(&0x88));
        client.send(DATA, END_STREAM, 1, b"hello").await;
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"ok");
    });
}

#[test]
fn a_response_without_content_ends_with_its_head() {
    let world = World::new(1).config(BOTH);
    world.origin("10.0.0.1:80", |mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.send(match request.start.split(' ').nth(1).unwrap() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
            })
            .await;
        }
    });
    world.run(async {
        let mut client = world.http2().await;
        assert_eq!(client.get("/204").await.status, 204);
        assert_eq!(client.get("/304").await.field("etag"), Some("\"a\""));
        let answer = client.ask(request("HEAD", "/", &[])).await;
        assert_eq!((answer.status, answer.field("content-length"), answer.body.len()), (200, Some("2"), 0));
    });
}

#[test]
fn the_gateways_own_answers_are_the_same() {
    let world = World::new(1).config(BOTH);
    world.refuses("10.0.0.1:80");
    world.run(async {
        let mut client = world.http2().await;
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.field("content-type")), (502, Some("application/problem+json")));
        assert_eq!(answer.field("connection"), None);
        assert!(answer.text().contains("connect-refused"));
        assert_eq!(client.get("/a%00").await.status, 400);
        assert_eq!(client.ask(request("TRACE", "/", &[])).await.status, 405);
        assert_eq!(client.ask(request("OPTIONS", "/", &[("max-forwards", "0")])).await.status, 204);
        assert!(client.is_open().await, "a refusal costs one stream");
    });
}

#[test]
fn an_answer_before_the_end_of_the_request_is_whole_and_stops_the_rest() {
    let world = World::new(1).config(BOTH);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
        peer.sleep(Duration::from_secs(1)).await;
    });
    world.run(async {
        let mut client = world.frames().await;
        let head =
            block(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("x-a", "b")]);
        client.send(HEADERS, END_HEADERS, 1, &head).await;
        let last = client.of_kind(DATA).await.unwrap();
        assert_eq!((last.payload.as_slice(), last.flags), (&b"no"[..], END_STREAM));
        assert_eq!(client.reset_of(1).await, Reason::NO_ERROR);
    });
}

#[test]
fn a_client_that_resets_its_stream_cancels_the_request_upstream() {
    let world = World::new(1).config(BOTH);
    let ended = world.clone();
    world.origin("10.0.0.1:80", move |mut peer| {
        let ended = ended.clone();
        async move {
            peer.request_head().await;
            let begun = ended.now();
            peer.rest().await;
            assert!(ended.since(begun) < Duration::from_secs(2), "the connection ends at once");
        }
    });
    world.run(async {
        let mut client = world.http2().await;
        let (response, mut content) = client.send(request("GET", "/", &[]), false).await;
        world.sleep(Duration::from_secs(1)).await;
        content.send_reset(Reason::CANCEL);
        drop(response);
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.line().await.reason(), "client-closed");
        assert!(client.is_open().await, "it costs one stream");
    });
}

#[test]
fn a_response_that_is_cut_short_resets_its_stream_alone() {
    let world = World::new(1).config(BOTH);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await;
    });
    world.run(async {
        let mut client = world.http2().await;
        let (response, _) = client.send(request("GET", "/", &[]), false).await;
        assert_eq!(answer(response).await.unwrap_err(), Some(Reason::INTERNAL_ERROR));
        assert_eq!(world.line().await.reason(), "upstream-truncated");
        assert!(client.is_open().await);
    });
}

#[test]
fn a_reader_that_stands_still_stops_the_upstream_and_loses_its_stream() {
    let world = World::new(1).config(BOTH);
    let sent = std::rc::Rc::new(std::cell::Cell::new(0_usize));
    let count = sent.clone();
    world.origin("10.0.0.1:80", move |mut peer| {
        let count = count.clone();
        async move {
            peer.request_head().await;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
            while peer.try_send([0; 10_000]).await.is_ok() {
                count.set(count.get() + 10_000);
            }
        }
    });
    world.run(async {
        let mut client = world.frames().await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])).await;
        world.sleep(Duration::from_secs(30)).await;
        let early = sent.get();
        assert!(early < 400_000, "{early} octets of 100 MB were read from the upstream");
        world.sleep(Duration::from_secs(20)).await;
        assert_eq!(sent.get(), early, "and then no more");
        assert_eq!(client.reset_of(1).await, Reason::INTERNAL_ERROR);
        assert_eq!(world.line().await.reason(), "client-stalled");
    });
}

#[test]
fn a_reader_that_goes_on_gets_everything() {
    let world = World::new(1).config(BOTH);
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let chunked: Vec<u8> = body
        .chunks(7_777)
        .flat_map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())
        .chain(*b"0\r\n\r\n")
        .collect();
    let framed = |head: &str, body: &[u8]| [head.as_bytes(), body].concat();
    world.answers("10.0.0.1:80", framed("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", &body));
    world.answers("10.0.0.2:80", framed("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &chunked));
    let world = world.config(&BOTH.replace("[\"10.0.0.1:80\"]", "[\"10.0.0.1:80\", \"10.0.0.2:80\"]"));
    world.run(async {
        let mut client = world.http2().await;
        for _ in 0..4 {
            assert!(client.get("/").await.body == body);
        }
    });
}

#[test]
fn an_upload_into_a_stalled_upstream_stays_within_its_window() {
    let world = World::new(1).config(BOTH);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.sleep(Duration::from_secs(1000)).await;
    });
    world.run(async {
        let mut client = world.http2().await;
        let (_response, mut content) = client.send(request("POST", "/", &[]), true).await;
        let mut taken = 0;
        content.reserve_capacity(1 << 30);
        loop {
            let capacity = std::future::poll_fn(|cx| content.poll_capacity(cx));
            let next = crate::world::http2::within(&world, Duration::from_secs(20), capacity).await;
            let Some(Some(Ok(capacity))) = next else { break };
            content.send_data(vec![0; capacity].into(), false).unwrap();
            taken += capacity;
            assert!(taken < 1_000_000, "{taken} octets were taken");
        }
        assert!(taken >= 65_536, "{taken}");
    });
}

#[test]
fn draining_announces_the_end_and_answers_what_is_under_way() {
    let world = World::new(1).config(BOTH);
    world.origin("10.0.0.1:80", |mut peer| async move {
        while peer.request().await.is_some() {
            peer.sleep(Duration::from_secs(3)).await;
            peer.send(OK).await;
        }
    });
    world.run(async {
        use tidegate::proxy::shell::Shard as _;
        let mut client = world.http2().await;
        let (response, _) = client.send(request("GET", "/", &[]), false).await;
        world.sleep(Duration::from_secs(1)).await;
        world.shard().drain();
        world.sleep(Duration::from_secs(1)).await;
        assert!(!client.is_open().await, "no further request is taken");
        assert_eq!(answer(response).await.unwrap().status, 200);
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.open_connections(), 0);
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"draining\"}"), 1);
    });
}

#[test]
fn a_silent_connection_is_ended() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        assert_eq!(client.get("/").await.status, 200);
        world.sleep(Duration::from_secs(59)).await;
        assert!(client.is_open().await);
        world.sleep(Duration::from_secs(5)).await;
        assert!(!client.is_open().await);
        assert_eq!(world.open_connections(), 0);
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"keep-alive-timeout\"}"), 1);
        let mut mute = world.frames().await;
        assert_eq!(mute.goaway().await, Reason::NO_ERROR);
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.open_connections(), 0, "it did not answer, and is cut");
    });
}

#[test]
fn a_connection_ends_after_its_last_request() {
    let yaml = BOTH.replace("protocols", "limits: { requests_per_connection: 2 }, protocols");
    let world = World::new(1).config(&yaml);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(client.get("/").await.status, 200);
        world.sleep(Duration::from_secs(1)).await;
        assert!(!client.is_open().await);
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn a_connection_that_is_old_is_asked_to_leave_however_busy() {
    let world = World::new(1).config(&BOTH.replace("protocols", "timeouts: { lifetime: 10m }, protocols"));
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        for _ in 0..19 {
            assert_eq!(client.get("/").await.status, 200);
            world.sleep(Duration::from_secs(30)).await;
        }
        world.sleep(Duration::from_secs(31)).await;
        assert!(!client.is_open().await);
        assert_eq!(world.metric("tidegate_connections_closed_total{reason=\"lifetime\"}"), 1);
    });
}

#[test]
fn a_panic_costs_one_stream() {
    let world = World::new(1).config(BOTH);
    world.allow_panics();
    let host = world.answers("10.0.0.1:80", OK);
    host.panics(true);
    world.run(async {
        let mut client = world.http2().await;
        assert_eq!(client.get("/").await.status, 500);
        host.panics(false);
        assert_eq!(client.get("/").await.status, 200);
    });
}

#[test]
fn a_malformed_request_is_reset_and_the_next_one_served() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    let plain = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let without = |name: &str| plain.into_iter().filter(|(known, _)| *known != name).collect::<Vec<_>>();
    let with = |name: &'static str, value: &'static str| {
        plain.into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect::<Vec<_>>()
    };
    let and = |name: &'static str, value: &'static str| [&plain[..], &[(name, value)]].concat();
    let cases = [
        without(":method"),
        without(":scheme"),
        without(":path"),
        with(":path", ""),
        with(":path", "b"),
        with(":path", "http://b/"),
        with(":path", "*"),
        with(":scheme", "https"),
        with(":scheme", "ftp"),
        with(":method", "G T"),
        with(":authority", "a b"),
        and(":path", "/b"),
        and(":unknown", "b"),
        and("X-A", "b"),
        and("connection", "close"),
        and("keep-alive", "1"),
        and("proxy-connection", "close"),
        and("transfer-encoding", "chunked"),
        and("upgrade", "websocket"),
        and("te", "gzip"),
        and("x-a", " b"),
        and("x-a", "b\r\nx-c: d"),
        and("x-a", "b\0"),
        and("content-length", "5"),
    ];
    world.run(async {
        for case in cases {
            let mut client = world.frames().await;
            client.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&case)).await;
            client.send(HEADERS, END_HEADERS | END_STREAM, 3, &get(&[])).await;
            let mut refused = None;
            let mut served = false;
            while let Some(frame) = client.next().await {
                match frame.kind {
                    RST_STREAM if frame.stream == 1 => refused = Some(frame.code(0)),
                    HEADERS if frame.stream == 1 => panic!("{case:?} was answered"),
                    HEADERS if frame.stream == 3 => served = true,
                    crate::world::http2::GOAWAY => refused = Some(frame.code(4)),
                    _ => {}
                }
                if refused.is_some() && served {
                    break;
                }
            }
            assert_eq!(refused, Some(Reason::PROTOCOL_ERROR), "{case:?}");
        }
    });
}

#[test]
fn a_request_that_http_1_1_would_refuse_is_answered_400() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        for (fields, path) in [
            (&[("content-length", "0"), ("content-length", "0")][..], "/"),
            (&[], "/a%2"),
            (&[], "/%00"),
            (&[], "/../a"),
            (&[("expect", "200-ok")], "/"),
        ] {
            let answer = client.ask(request("GET", path, fields)).await;
            let expected = if fields.iter().any(|(name, _)| *name == "expect") { 417 } else { 400 };
            assert_eq!(answer.status, expected, "{path} {fields:?}");
        }
        assert_eq!(world.requests().len(), 0);
    });
}

#[test]
fn a_window_that_opens_lets_content_through() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.frames().await;
        // No window for any stream.
        client.send(crate::world::http2::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])).await;
        assert_eq!(client.of_kind(HEADERS).await.unwrap().stream, 1);
        client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).await;
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"o");
        client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]).await;
        let last = client.of_kind(DATA).await.unwrap();
        assert_eq!((last.payload.as_slice(), last.flags), (&b"k"[..], END_STREAM));
    });
}

#[test]
fn a_client_that_is_asked_to_leave_and_stays_gets_no_further_request() {
    let yaml = BOTH.replace("protocols", "limits: { requests_per_connection: 2 }, protocols");
    let world = World::new(1).config(&yaml);
    let note = world.note();
    world.origin("10.0.0.1:80", move |mut peer| {
        let note = note.clone();
        async move {
            while let Some(request) = peer.request().await {
                note(request);
                peer.sleep(Duration::from_secs(1)).await;
                peer.send(OK).await;
            }
        }
    });
    world.run(async {
        // It never answers the ping that goes with the announcement, and is never idle.
        let client = world.frames().await;
        for stream in 0..40 {
            client.send(HEADERS, END_HEADERS | END_STREAM, 2 * stream + 1, &get(&[])).await;
            world.sleep(Duration::from_millis(500)).await;
        }
        assert!(world.requests().len() < 10, "{} requests were served", world.requests().len());
        assert!(world.metric("tidegate_http2_streams_refused_total") > 0);
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn the_last_answer_of_a_connection_is_read_whole_while_its_client_writes_on() {
    let yaml = BOTH.replace("protocols", "limits: { requests_per_connection: 1 }, protocols");
    let world = World::new(1).config(&yaml);
    let body = "b".repeat(50_000);
    world.answers("10.0.0.1:80", format!("HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n{body}"));
    world.client_wire(Wire { latency: Duration::from_millis(50), room: 1000, ..Wire::default() });
    world.run(async {
        let mut client = world.frames().await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])).await;
        let mut received = 0;
        while let Some(frame) = client.next().await {
            match frame.kind {
                PING => client.send(PING, ACK, 0, &frame.payload).await,
                DATA => {
                    received += frame.payload.len();
                    client.send(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).await;
                    world.sleep(Duration::from_millis(300)).await;
                }
                _ => {}
            }
        }
        assert_eq!(received, 50_000);
    });
}

#[test]
fn a_head_that_arrives_in_pieces_is_no_refused_one() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.frames().await;
        let octets = crate::world::http2::frame(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[]));
        for piece in octets.chunks(10) {
            client.peer.send(piece).await;
            world.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"ok");
        assert_eq!(world.metric("tidegate_http2_streams_refused_total"), 0);
    });
}

#[test]
fn an_answer_before_the_end_of_the_request_frees_its_stream_at_once() {
    let world = World::new(1).config(&BOTH.replace("to: app", "respond: { status: 403, body: no }"));
    world.run(async {
        let mut client = world.frames().await;
        let head = block(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]);
        let begun = world.now();
        client.send(HEADERS, END_HEADERS, 1, &head).await;
        assert_eq!(client.reset_of(1).await, Reason::NO_ERROR);
        assert!(world.since(begun) < Duration::from_millis(100), "{:?}", world.since(begun));
    });
}

#[test]
fn a_client_that_resets_its_upload_amid_the_answer_cancels_the_request_upstream() {
    let world = World::new(1).config(BOTH);
    let clock = world.clone();
    world.origin("10.0.0.1:80", move |mut peer| {
        let clock = clock.clone();
        async move {
            peer.request_head().await;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel").await;
            let begun = clock.now();
            peer.rest().await;
            assert!(clock.since(begun) < Duration::from_secs(2), "the connection ends at once");
        }
    });
    world.run(async {
        let mut client = world.http2().await;
        let (response, mut content) = client.send(request("POST", "/", &[]), true).await;
        content.send_data(Bytes::from("abc"), false).unwrap();
        let response = response.await.unwrap();
        world.sleep(Duration::from_secs(1)).await;
        content.send_reset(Reason::CANCEL);
        drop(response);
        world.sleep(Duration::from_secs(2)).await;
        assert_eq!(world.line().await.reason(), "client-closed");
    });
}

#[test]
fn a_silent_connection_does_not_hold_up_a_drain() {
    let world = World::new(1).config(BOTH);
    world.run(async {
        use tidegate::proxy::shell::Shard as _;
        let (_silent, begun) = (world.client(), world.client());
        begun.send("PRI * HTTP").await;
        world.sleep(Duration::from_millis(100)).await;
        world.shard().drain();
        world.sleep(Duration::from_secs(3)).await;
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn what_would_be_another_request_in_http_1_1_reaches_no_upstream() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    let plain = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let with = |name: &'static str, value: &'static str| {
        plain.into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect::<Vec<_>>()
    };
    let and = |more: &[(&'static str, &'static str)]| [&plain[..], more].concat();
    let cases = [
        and(&[("content-length", "0"), ("content-length", "5")]),
        and(&[("content-length", "5"), ("content-length", "0")]),
        and(&[("content-length", "2, 2")]),
        and(&[("content-length", "+2")]),
        and(&[("content-length", "")]),
        and(&[("host", "b"), ("host", "a")]),
        with(":authority", "u@a"),
        with(":authority", "a,b"),
        with(":authority", ""),
        with(":path", "/a b"),
        with(":path", "/a\u{7f}"),
        with(":path", "/\u{fc}"),
        with(":path", "/ HTTP/1.1\r\nx: y"),
        with(":path", "?a"),
        with(":method", ""),
        with(":method", "CONNECT"),
        with(":method", "GET /x HTTP/1.1\r\nx:"),
        vec![(":method", "CONNECT"), (":authority", "a:80")],
    ];
    world.run(async {
        for case in cases {
            let client = world.frames().await;
            client.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&case)).await;
            client.send(HEADERS, END_HEADERS, 3, &block(&case)).await;
            client.send(DATA, END_STREAM, 3, b"GE").await;
            world.sleep(Duration::from_secs(1)).await;
            assert_eq!(world.requests().len(), 0, "{case:?}: {:?}", world.requests());
        }
    });
}

#[test]
fn a_listener_sends_every_request_to_the_same_url_by_https() {
    let world = World::new(1).config(&BOTH.replace("protocols", "redirect_to_https: 8443, protocols"));
    world.run(async {
        let mut client = world.http2().await;
        for (method, path) in [("GET", "/b?c=d"), ("HEAD", "/b?c=d"), ("POST", "/b?c=d")] {
            let (response, mut content) = client.send(request(method, path, &[]), method == "POST").await;
            if method == "POST" {
                content.send_data(Bytes::from("abc"), true).unwrap();
            }
            let answer = answer(response).await.unwrap();
            assert_eq!((answer.status, answer.field("location")), (308, Some("https://a:8443/b?c=d")), "{method}");
            assert_eq!((answer.body.len(), answer.field("strict-transport-security")), (0, None));
        }
        assert_eq!((world.connects().len(), world.metric("tidegate_http2_streams_open")), (0, 0));
    });
}

#[test]
fn an_upload_larger_than_its_window_arrives_whole() {
    let world = World::new(1).config(BOTH);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.http2().await;
        let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let (response, mut content) = client.send(request("POST", "/", &[]), true).await;
        let mut sent = 0;
        while sent < body.len() {
            content.reserve_capacity(body.len() - sent);
            let capacity = std::future::poll_fn(|cx| content.poll_capacity(cx));
            let capacity = crate::world::http2::within(&world, Duration::from_secs(5), capacity).await;
            let capacity = capacity.expect("the window opens again").unwrap().unwrap();
            content.send_data(Bytes::copy_from_slice(&body[sent..sent + capacity]), false).unwrap();
            sent += capacity;
        }
        content.send_data(Bytes::new(), true).unwrap();
        assert_eq!(answer(response).await.unwrap().status, 200);
        assert!(world.request().content == body);
    });
}

#[test]
fn the_windows_are_those_of_the_listener() {
    let world = World::new(1).config(&BOTH.replace("protocols", "h2: { stream_window: 17KiB, streams: 7 }, protocols"));
    world.run(async {
        let settings = world.frames().await.of_kind(crate::world::http2::SETTINGS).await.unwrap().payload;
        let settings: Vec<_> = settings.chunks(6).map(|entry| (entry[1], entry[4..].to_vec())).collect();
        assert!(settings.contains(&(4, (17_u16 * 1024).to_be_bytes().to_vec())), "{settings:?}");
        assert!(settings.contains(&(3, vec![0, 7])), "{settings:?}");
    });
}

#[test]
fn a_reader_that_takes_a_little_within_every_idle_time_keeps_its_stream() {
    let world = World::new(1).config(&BOTH.replace("protocols", "timeouts: { idle: 10s }, protocols"));
    world.answers("10.0.0.1:80", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd");
    world.run(async {
        let mut client = world.frames().await;
        client.send(crate::world::http2::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])).await;
        for octet in [b"a", b"b", b"c", b"d"] {
            world.sleep(Duration::from_secs(6)).await;
            client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).await;
            assert_eq!(client.of_kind(DATA).await.unwrap().payload, octet);
        }
    });
}

#[test]
fn a_client_that_reads_nothing_has_little_held_for_it_whatever_its_window() {
    let world = World::new(1).config(BOTH);
    let sent = std::rc::Rc::new(std::cell::Cell::new(0_usize));
    let count = sent.clone();
    world.origin("10.0.0.1:80", move |mut peer| {
        let count = count.clone();
        async move {
            peer.request_head().await;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
            while peer.try_send([0; 10_000]).await.is_ok() {
                count.set(count.get() + 10_000);
            }
        }
    });
    world.client_wire(Wire { room: 10_000, ..Wire::default() });
    world.run(async {
        let client = world.frames().await;
        client.send(crate::world::http2::SETTINGS, 0, 0, &[0, 4, 0x40, 0, 0, 0]).await;
        client.send(WINDOW_UPDATE, 0, 0, &[0x40, 0, 0, 0]).await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])).await;
        world.sleep(Duration::from_secs(20)).await;
        assert!(sent.get() < 500_000, "{} octets were read from the upstream", sent.get());
    });
}

#[test]
fn a_trusted_proxy_may_name_the_scheme_that_its_client_spoke() {
    let world = World::new(1).config(&BOTH.replace("protocols", "trusted_proxies: [\"192.0.2.0/24\"], protocols"));
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.frames().await;
        let fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a")];
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)).await;
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"ok");
    });
}

#[test]
fn a_connection_that_is_old_is_asked_to_leave_while_a_request_is_under_way() {
    let world = World::new(1).config(&BOTH.replace("protocols", "timeouts: { lifetime: 10s }, protocols"));
    world.origin("10.0.0.1:80", |mut peer| async move {
        while peer.request().await.is_some() {
            peer.sleep(Duration::from_secs(20)).await;
            peer.send(OK).await;
        }
    });
    world.run(async {
        let mut client = world.http2().await;
        let (response, _) = client.send(request("GET", "/", &[]), false).await;
        world.sleep(Duration::from_secs(11)).await;
        assert!(!client.is_open().await);
        assert_eq!(answer(response).await.unwrap().status, 200);
    });
}
