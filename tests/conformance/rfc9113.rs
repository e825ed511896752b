//! HTTP/2 by the sections of RFC 9113, frame by frame: what a client may not do, and how it is told.

use std::time::Duration;

use h2::Reason;

use crate::OK;
use crate::world::World;
use crate::world::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, get,
};

const YAML: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080", protocols: [http1, h2] } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
"#;

const PADDED: u8 = 8;
const PUSH_PROMISE: u8 = 5;

/// Runs a client that writes frames by hand.
fn speak(script: impl AsyncFn(&mut Frames)) {
    let world = World::new(1).config(YAML);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.frames().await;
        script(&mut client).await;
    });
}

/// How the client is told of its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// By RST_STREAM.
    Stream(Reason),
    /// By GOAWAY, before the connection ends.
    Connection(Reason),
}
use Told::{Connection, Stream};

/// What is told after these frames.
fn told(frames: &[Vec<u8>]) -> Told {
    let told = std::cell::Cell::new(None);
    speak(async |client| {
        client.peer.send(frames.concat()).await;
        told.set(Some(next_told(client).await));
    });
    told.get().unwrap()
}

/// These frames end the connection. The library says `PROTOCOL_ERROR` where the standard names a code for the kind of
/// error; the connection ends in any case.
fn ends(frames: &[Vec<u8>], code: Reason) {
    let told = told(frames);
    assert!(matches!(told, Connection(said) if said == code || said == Reason::PROTOCOL_ERROR), "{told:?} {frames:?}");
}

async fn next_told(client: &mut Frames) -> Told {
    loop {
        match client.next().await.expect("an error should be told") {
            frame @ Frame { kind: RST_STREAM, .. } => return Stream(frame.code(0)),
            frame @ Frame { kind: GOAWAY, .. } => return Connection(frame.code(4)),
            _ => {}
        }
    }
}

fn headers(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &get(&[]))
}

fn setting(id: u8, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat())
}

/// Whether a request on this stream is answered.
async fn is_served(client: &mut Frames, stream: u32) -> bool {
    client.peer.send(headers(stream, END_STREAM)).await;
    loop {
        match client.next().await {
            Some(frame) if frame.kind == DATA && frame.stream == stream => return frame.payload == b"ok",
            Some(frame) if frame.kind == RST_STREAM && frame.stream == stream => return false,
            Some(_) => {}
            None => return false,
        }
    }
}

#[test]
fn rfc9113_3_4_the_server_begins_with_its_settings_and_confirms_those_of_the_client() {
    speak(async |client| {
        let first = client.next().await.unwrap();
        assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0));
        let mut next = client.next().await.unwrap();
        while next.kind != SETTINGS {
            next = client.next().await.unwrap();
        }
        assert_eq!((next.flags, next.payload.len()), (ACK, 0));
    });
}

#[test]
fn rfc9113_4_1_frames_of_unknown_types_and_flags_and_the_reserved_bit_are_ignored() {
    speak(async |client| {
        client.send(0x42, 0xff, 0, b"anything").await;
        client.send(PING, 0xfe, 0, &[7; 8]).await;
        client.send(SETTINGS, 0, 0x8000_0000, b"").await;
        assert!(is_served(client, 1).await);
    });
}

#[test]
fn rfc9113_4_2_a_frame_that_is_larger_than_allowed() {
    let large = vec![0; 16_385];
    ends(&[headers(1, 0), frame(DATA, 0, 1, &large)], Reason::FRAME_SIZE_ERROR);
    ends(&[frame(HEADERS, END_HEADERS, 1, &large)], Reason::FRAME_SIZE_ERROR);
}

#[test]
fn rfc9113_4_3_a_block_that_cannot_be_decoded() {
    // An index that no table has.
    let broken = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f]);
    ends(&[broken], Reason::COMPRESSION_ERROR);
}

#[test]
fn rfc9113_4_3_a_block_in_parts_is_interrupted_by_nothing() {
    let begun = frame(HEADERS, 0, 1, &get(&[]));
    for other in [frame(PING, 0, 0, &[0; 8]), headers(3, END_STREAM), frame(0x42, 0, 0, b""), frame(DATA, 0, 1, b"a")] {
        ends(&[begun.clone(), other], Reason::PROTOCOL_ERROR);
    }
    let other_stream = frame(CONTINUATION, END_HEADERS, 3, &block(&[("x-a", "b")]));
    ends(&[begun, other_stream], Reason::PROTOCOL_ERROR);
}

#[test]
fn rfc9113_5_1_what_an_idle_stream_may_not_receive() {
    for idle in [
        frame(DATA, 0, 1, b"a"),
        frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        frame(CONTINUATION, END_HEADERS, 1, &get(&[])),
    ] {
        ends(std::slice::from_ref(&idle), Reason::PROTOCOL_ERROR);
    }
}

#[test]
fn rfc9113_5_1_what_a_stream_may_not_receive_that_the_client_has_ended() {
    for late in [frame(DATA, 0, 1, b"a"), headers(1, END_STREAM)] {
        let told = told(&[headers(1, END_STREAM), late.clone()]);
        let codes = [Reason::STREAM_CLOSED, Reason::PROTOCOL_ERROR];
        assert!(matches!(told, Stream(said) | Connection(said) if codes.contains(&said)), "{told:?} {late:?}");
    }
}

#[test]
fn rfc9113_5_1_content_behind_its_end_ends_the_connection() {
    speak(async |client| {
        assert!(is_served(client, 1).await);
        client.peer.send(frame(DATA, END_STREAM, 1, b"a")).await;
        assert_eq!(next_told(client).await, Connection(Reason::STREAM_CLOSED));
    });
}

#[test]
fn rfc9113_5_1_1_streams_of_clients_are_odd_and_new_ones_higher() {
    ends(&[headers(2, END_STREAM)], Reason::PROTOCOL_ERROR);
    ends(&[frame(HEADERS, END_HEADERS, 0, &get(&[]))], Reason::PROTOCOL_ERROR);
    let lower = told(&[headers(5, END_STREAM), headers(3, END_STREAM)]);
    assert!(matches!(lower, Connection(Reason::PROTOCOL_ERROR | Reason::STREAM_CLOSED)), "{lower:?}");
}

#[test]
fn rfc9113_5_1_2_streams_beyond_the_limit_are_refused() {
    let world = World::new(1).config(&YAML.replace("protocols", "h2: { streams: 1 }, protocols"));
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.rest().await;
    });
    world.run(async {
        let mut client = world.frames().await;
        client.send(SETTINGS, ACK, 0, b"").await;
        client.peer.send([headers(1, END_STREAM), headers(3, END_STREAM)].concat()).await;
        assert_eq!(client.reset_of(3).await, Reason::REFUSED_STREAM);
    });
}

#[test]
fn rfc9113_5_3_priorities_are_ignored_unless_they_are_none() {
    speak(async |client| {
        client.send(PRIORITY, 0, 3, &[0, 0, 0, 1, 16]).await;
        assert!(is_served(client, 1).await);
    });
    ends(&[headers(1, 0), frame(PRIORITY, 0, 1, &[0; 4])], Reason::FRAME_SIZE_ERROR);
    ends(&[frame(PRIORITY, 0, 0, &[0; 5])], Reason::PROTOCOL_ERROR);
}

#[test]
fn rfc9113_6_1_data_belongs_to_a_stream_and_is_not_padding_alone() {
    ends(&[frame(DATA, 0, 0, b"a")], Reason::PROTOCOL_ERROR);
    let padding = frame(DATA, PADDED | END_STREAM, 1, &[9, b'a']);
    ends(&[headers(1, 0), padding], Reason::PROTOCOL_ERROR);
}

#[test]
fn rfc9113_6_1_padding_is_not_content() {
    let world = World::new(1).config(YAML);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.frames().await;
        client.peer.send(headers(1, 0)).await;
        client.send(DATA, PADDED | END_STREAM, 1, b"\x03hello\0\0\0").await;
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"ok");
        assert_eq!(world.request().text(), "hello");
    });
}

#[test]
fn rfc9113_6_2_a_block_is_not_padding_alone() {
    let padding = frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, &[200, 0x82]);
    ends(&[padding], Reason::PROTOCOL_ERROR);
}

#[test]
fn rfc9113_6_4_a_reset_is_of_a_stream_and_has_a_code() {
    ends(&[frame(RST_STREAM, 0, 0, &[0; 4])], Reason::PROTOCOL_ERROR);
    ends(&[headers(1, 0), frame(RST_STREAM, 0, 1, &[0; 3])], Reason::FRAME_SIZE_ERROR);
}

#[test]
fn rfc9113_6_5_settings_are_whole_and_of_the_connection() {
    ends(&[frame(SETTINGS, ACK, 0, &[0; 6])], Reason::FRAME_SIZE_ERROR);
    ends(&[frame(SETTINGS, 0, 0, &[0; 5])], Reason::FRAME_SIZE_ERROR);
    ends(&[frame(SETTINGS, 0, 1, b"")], Reason::PROTOCOL_ERROR);
}

#[test]
fn rfc9113_6_5_2_settings_have_values_that_can_be() {
    ends(&[setting(2, 2)], Reason::PROTOCOL_ERROR);
    ends(&[setting(4, 0x8000_0000)], Reason::FLOW_CONTROL_ERROR);
    ends(&[setting(5, 16_383)], Reason::PROTOCOL_ERROR);
    ends(&[setting(5, 0x100_0000)], Reason::PROTOCOL_ERROR);
    speak(async |client| {
        client.peer.send(setting(0x99, 7)).await;
        assert!(is_served(client, 1).await, "an unknown one is ignored");
    });
}

#[test]
fn rfc9113_6_6_clients_push_nothing() {
    let promise = frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &get(&[])].concat());
    ends(&[headers(1, 0), promise], Reason::PROTOCOL_ERROR);
}

#[test]
fn rfc9113_6_7_a_ping_comes_back_and_is_of_eight_octets_and_the_connection() {
    speak(async |client| {
        client.send(PING, 0, 0, b"tidegate").await;
        let pong = client.of_kind(PING).await.unwrap();
        assert_eq!((pong.flags, pong.payload.as_slice()), (ACK, &b"tidegate"[..]));
        client.send(PING, ACK, 0, b"unasked!").await;
        assert!(is_served(client, 1).await);
    });
    ends(&[frame(PING, 0, 1, &[0; 8])], Reason::PROTOCOL_ERROR);
    ends(&[frame(PING, 0, 0, &[0; 6])], Reason::FRAME_SIZE_ERROR);
}

#[test]
fn rfc9113_6_8_a_goaway_is_of_the_connection() {
    ends(&[frame(GOAWAY, 0, 1, &[0; 8])], Reason::PROTOCOL_ERROR);
}

#[test]
fn rfc9113_6_9_windows_grow_by_something_and_not_too_far() {
    ends(&[frame(WINDOW_UPDATE, 0, 0, &[0; 4])], Reason::PROTOCOL_ERROR);
    let none = told(&[headers(1, 0), frame(WINDOW_UPDATE, 0, 1, &[0; 4])]);
    assert!(matches!(none, Stream(Reason::PROTOCOL_ERROR) | Connection(Reason::PROTOCOL_ERROR)), "{none:?}");
    ends(&[frame(WINDOW_UPDATE, 0, 0, &[0; 3])], Reason::FRAME_SIZE_ERROR);
    let most = [0x7f, 0xff, 0xff, 0xff];
    ends(&[frame(WINDOW_UPDATE, 0, 0, &most)], Reason::FLOW_CONTROL_ERROR);
    assert_eq!(told(&[headers(1, 0), frame(WINDOW_UPDATE, 0, 1, &most)]), Stream(Reason::FLOW_CONTROL_ERROR));
}

#[test]
fn rfc9113_6_9_1_content_keeps_to_the_window() {
    let world = World::new(1).config(YAML);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request_head().await;
        peer.sleep(Duration::from_secs(100)).await;
    });
    world.run(async {
        let mut client = world.frames().await;
        client.peer.send(headers(1, 0)).await;
        for _ in 0..200 {
            if client.peer.try_send(frame(DATA, 0, 1, &[0; 16_000])).await.is_err() {
                break;
            }
        }
        let told = next_told(&mut client).await;
        assert!(
            matches!(told, Stream(Reason::FLOW_CONTROL_ERROR) | Connection(Reason::FLOW_CONTROL_ERROR)),
            "{told:?}"
        );
    });
}

#[test]
fn rfc9113_6_9_2_a_smaller_window_may_be_below_nothing() {
    speak(async |client| {
        client.peer.send(setting(4, 1)).await;
        client.peer.send(headers(1, END_STREAM)).await;
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"o");
        client.peer.send(setting(4, 0)).await;
        client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).await;
        client.send(PING, 0, 0, &[0; 8]).await;
        assert!(client.of_kind(PING).await.is_some(), "nothing may be sent");
        client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).await;
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"k");
    });
}

#[test]
fn rfc9113_6_10_a_continuation_follows_a_block_that_has_not_ended() {
    let more = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x-a", "b")]));
    ends(&[headers(1, 0), more], Reason::PROTOCOL_ERROR);
    speak(async |client| {
        let fields = get(&[]);
        let (first, second) = fields.split_at(10);
        client.send(HEADERS, END_STREAM, 1, first).await;
        client.send(CONTINUATION, 0, 1, b"").await;
        client.send(CONTINUATION, END_HEADERS, 1, second).await;
        assert_eq!(client.of_kind(DATA).await.unwrap().payload, b"ok");
    });
}

#[test]
fn rfc9113_8_1_trailers_end_their_stream() {
    let trailers = frame(HEADERS, END_HEADERS, 1, &block(&[("x-t", "u")]));
    assert_eq!(told(&[headers(1, 0), frame(DATA, 0, 1, b"a"), trailers]), Stream(Reason::PROTOCOL_ERROR));
}

#[test]
fn rfc9113_8_1_a_pseudo_header_among_trailers_is_malformed() {
    for field in [(":path", "/b"), (":method", "GET"), (":status", "200")] {
        let world = World::new(1).config(YAML);
        world.answers("10.0.0.1:80", OK);
        world.run(async {
            let mut client = world.frames().await;
            let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[field, ("x-t", "u")]));
            client.peer.send([headers(1, 0), frame(DATA, 0, 1, b"a"), trailers].concat()).await;
            assert_eq!(next_told(&mut client).await, Stream(Reason::PROTOCOL_ERROR));
            assert!(is_served(&mut client, 3).await, "the connection goes on");
            assert_eq!(world.requests().iter().filter(|request| request.complete).count(), 1);
        });
    }
}

#[test]
fn rfc9113_8_5_connect_is_refused() {
    speak(async |client| {
        let connect = block(&[(":method", "CONNECT"), (":authority", "b:443")]);
        client.send(HEADERS, END_HEADERS, 1, &connect).await;
        let head = client.of_kind(HEADERS).await.unwrap();
        // In the code of Huffman (RFC 7541, appendix B), as the library writes every text.
        const STATUS_405: [u8; 3] = [0x68, 0x0d, 0xff];
        assert!(head.payload.windows(3).any(|octets| octets == STATUS_405), "{head:?}");
    });
}
