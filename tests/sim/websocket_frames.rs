//! Frames that pass a tunnel: of every kind, sound or not, whole or in pieces, they are nobody's business but that of the
//! two ends.

use std::time::Duration;

use tidegate::proxy::shell::Shard as _;

use crate::upgrades::{ASK, GOING_AWAY, SWITCH, is_masked_going_away};
use crate::world::World;

const YAML: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: socket, match: { path: "/ws" }, to: app, upgrade: websocket }]
"#;

/// A frame: the first octet as it is, the length in its shortest form.
fn frame(first: u8, mask: Option<[u8; 4]>, content: &[u8]) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = match content.len() {
        0..126 => vec![first, masked | content.len() as u8],
        126..0x1_0000 => [&[first, masked | 126][..], &(content.len() as u16).to_be_bytes()].concat(),
        _ => [&[first, masked | 127][..], &(content.len() as u64).to_be_bytes()].concat(),
    };
    frame.extend(mask.unwrap_or_default().iter().take(mask.map_or(0, |_| 4)));
    let key = mask.unwrap_or_default();
    frame.extend(content.iter().enumerate().map(|(at, octet)| octet ^ key[at % 4]));
    frame
}

/// What the public suites send: each with whether a frame may follow it.
fn cases(mask: Option<[u8; 4]>) -> Vec<(&'static str, Vec<u8>, bool)> {
    let one = |first, content: &[u8]| frame(first, mask, content);
    let long = |length: usize| one(0x82, &vec![0x88; length]);
    vec![
        ("a text", one(0x81, "grüße".as_bytes()), true),
        ("lengths around those of heads", [0, 125, 126, 127, 128].map(long).concat(), true),
        ("longer ones", [65_535, 65_536, 200_000].map(long).concat(), true),
        ("a ping and a pong that nobody asked for", [one(0x89, b"a"), one(0x8a, &[0xfe; 125])].concat(), true),
        (
            "a message in pieces with a ping between",
            [one(1, b"a"), one(0x89, b""), one(0, b"b"), one(0x80, b"")].concat(),
            true,
        ),
        ("a message whose end does not come", one(1, b"a"), true),
        ("compressed", one(0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 7, 0]), true),
        ("reserved bits", [one(0xb1, b"a"), one(0xf2, b"b")].concat(), true),
        (
            "opcodes that nobody has named",
            (3..8).chain(11..16).map(|code| one(0x80 | code, b"?")).collect::<Vec<_>>().concat(),
            true,
        ),
        ("text that is no UTF-8", one(0x81, &[0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xcf, 0xed, 0xa0, 0x80]), true),
        ("a control frame that is too long", one(0x89, &[b'x'; 126]), true),
        ("a control frame in pieces", [one(9, b"a"), one(0x80, b"b")].concat(), true),
        ("a continuation of nothing", one(0x80, b"x"), true),
        (
            "a length in more octets than it needs",
            [&[0x82, 126 | u8::from(mask.is_some()) << 7, 0, 1][..], &vec![7; if mask.is_some() { 5 } else { 1 }]]
                .concat(),
            true,
        ),
        ("a close with a code and a reason", one(0x88, &[&1000_u16.to_be_bytes()[..], b"bye"].concat()), false),
        ("a close without a code", one(0x88, b""), false),
        ("a close with half a code, and more behind it", [one(0x88, &[3]), one(0x81, b"late")].concat(), false),
        ("half a head", one(0x82, &[0; 300])[..3].to_vec(), false),
        ("half a frame", one(0x82, &[0; 300])[..200].to_vec(), false),
        (
            "a frame longer than anything",
            [&[0x82, 127 | u8::from(mask.is_some()) << 7][..], &[0xff; 8], b"and so on"].concat(),
            false,
        ),
    ]
}

#[test]
fn frames_of_every_kind_pass_unchanged_and_a_close_of_ours_stands_between_two_of_them_or_not_at_all() {
    for (at, ((what, masked, may_follow), (_, plain, _))) in
        cases(Some([0x37, 0xfa, 0x21, 0x3d])).into_iter().zip(cases(None)).enumerate()
    {
        let world = World::shuffled(at as u64).config(YAML);
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        world.origin("10.0.0.1:80", {
            let (seen, plain) = (seen.clone(), plain.clone());
            move |mut peer| {
                let (seen, plain) = (seen.clone(), plain.clone());
                async move {
                    peer.request_head().await;
                    peer.send(SWITCH).await;
                    for piece in plain.chunks(977) {
                        peer.send(piece).await;
                    }
                    *seen.borrow_mut() = peer.rest().await.0;
                }
            }
        });
        world.run(async {
            let mut client = world.client();
            client.send(ASK).await;
            assert_eq!(client.response().await.status(), 101);
            for piece in masked.chunks(1009) {
                client.send(piece).await;
            }
            let mut received = client.read_exactly(plain.len()).await;
            world.sleep(Duration::from_secs(1)).await;
            world.shard().stop();
            received.extend(client.rest().await.0);
            world.sleep(Duration::from_secs(3)).await;
            let sent = seen.take();
            assert!(received.starts_with(&plain) && sent.starts_with(&masked), "{what}: {received:?} {sent:?}");
            let (down, up) = (&received[plain.len()..], &sent[masked.len()..]);
            match may_follow {
                true => assert!(down == GOING_AWAY && is_masked_going_away(up), "{what}: {down:?} {up:?}"),
                false => assert!(down.is_empty() && up.is_empty(), "{what}: {down:?} {up:?}"),
            }
        });
    }
}
