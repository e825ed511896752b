//! Two engines and the octets between them.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::Engine;
use super::buffers::CipherBuffers;
use crate::base::Buffer;
use crate::snapshot::tls::{ClientTls, Identity, PeerName, ServerSettings, ServerTls, Trust};

/// Both sides, and the certificate in between.
struct Pair {
    server: ServerTls,
    client: ClientTls,
}

static PAIR: LazyLock<Pair> = LazyLock::new(|| pair(false));
static NEWEST: LazyLock<Pair> = LazyLock::new(|| pair(true));

fn pair(newest_only: bool) -> Pair {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let identity = Identity::parse(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let settings = ServerSettings { newest_only, strict_sni: false, http1: true, http2: false };
    let server = ServerTls::new(vec![identity], settings, None).unwrap();
    Pair { server, client: ClientTls::new(&Trust::Authorities(certificate.as_bytes())).unwrap() }
}

fn engines(pair: &Pair) -> (Engine, Engine) {
    let buffers = Rc::new(CipherBuffers::default());
    let peer = PeerName::new("a.test").unwrap();
    (Engine::client(&pair.client, &peer, &buffers).unwrap(), Engine::server(&pair.server, &buffers).unwrap())
}

/// Lets an engine receive octets in pieces of at most `piece`.
fn feed(engine: &mut Engine, mut octets: &[u8], piece: usize) {
    while !octets.is_empty() {
        let mut buffer = engine.lend();
        let (now, later) = octets.split_at(octets.len().min(piece).min(buffer.room()));
        buffer.vec().extend_from_slice(now);
        engine.received(&Ok(now.len()), buffer);
        // What is complete is looked at, as after every read.
        engine.is_readable();
        octets = later;
    }
}

fn queue(engine: &mut Engine) -> Vec<u8> {
    engine.take_queue().into_vec()
}

fn shaken_by(client: &mut Engine, server: &mut Engine, piece: usize) {
    for _ in 0..8 {
        let done = (client.shake_hands().unwrap(), server.shake_hands().unwrap());
        let (up, down) = (queue(client), queue(server));
        if done == (true, true) && up.is_empty() && down.is_empty() {
            return;
        }
        let slowly = |engine: &mut Engine, octets: &[u8]| {
            for part in octets.chunks(piece) {
                let mut buffer = engine.lend();
                buffer.vec().extend_from_slice(part);
                engine.received(&Ok(part.len()), buffer);
                engine.shake_hands().unwrap();
            }
        };
        slowly(server, &up);
        slowly(client, &down);
    }
    panic!("hands are not shaken");
}

fn shaken() -> (Engine, Engine) {
    let (mut client, mut server) = engines(&PAIR);
    shaken_by(&mut client, &mut server, 4096);
    (client, server)
}

fn seal_all(engine: &mut Engine, mut content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while !content.is_empty() {
        let (sealed, count) = engine.seal(content).unwrap();
        out.extend_from_slice(sealed.filled());
        engine.give(sealed);
        content = &content[count..];
    }
    out
}

/// Everything that can be opened now, with readers of this room.
fn open_all(engine: &mut Engine, room: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut reader = Buffer::with_room(room);
        match engine.open(&mut reader) {
            Some(Ok(count)) if count > 0 => all.extend_from_slice(reader.filled()),
            _ => return all,
        }
    }
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_split_of_the_ciphertext_gives_the_same_plaintext(
        lengths in proptest::collection::vec(1usize..70_000, 1..4),
        piece in prop_oneof![1usize..64, 1000usize..70_000],
        room in prop_oneof![1usize..100, 1000usize..70_000],
        newest in any::<bool>(),
    ) {
        let (mut client, mut server) = engines(if newest { &NEWEST } else { &PAIR });
        shaken_by(&mut client, &mut server, 700);
        let mut opened = Vec::new();
        let mut content = Vec::new();
        for length in lengths {
            let part = noise(length);
            let sealed = seal_all(&mut client, &part);
            for octets in sealed.chunks(piece.max(sealed.len() / 500)) {
                feed(&mut server, octets, piece.max(16));
                opened.extend(open_all(&mut server, room.max(length / 500)));
            }
            content.extend(part);
        }
        prop_assert!(opened == content);
        prop_assert_eq!(server.held_bytes(), 0);
    }

    #[test]
    fn no_octets_make_a_server_panic(octets in proptest::collection::vec(any::<u8>(), 0..400), piece in 1usize..64) {
        let (_, mut server) = engines(&PAIR);
        for part in octets.chunks(piece) {
            let mut buffer = server.lend();
            buffer.vec().extend_from_slice(part);
            server.received(&Ok(part.len()), buffer);
            if server.shake_hands().is_err() {
                break;
            }
        }
    }

    #[test]
    fn a_changed_octet_ends_the_connection_with_an_alert(at in 0usize..200, bit in 0u8..8) {
        let (mut client, mut server) = shaken();
        let mut sealed = seal_all(&mut client, &noise(180));
        // The head tells little: the library takes its type and version from what is sealed, and a longer length waits.
        let at = (5 + at).min(sealed.len() - 1);
        sealed[at] ^= 1 << bit;
        feed(&mut server, &sealed, 4096);
        let mut reader = Buffer::with_room(1000);
        let opened = server.open(&mut reader);
        prop_assert!(matches!(opened, Some(Err(_))), "{:?}", opened.map(|result| result.is_ok()));
        prop_assert!(server.has_queue(), "the peer is told");
        prop_assert!(server.seal(b"more").is_err());
    }
}

#[test]
fn a_write_while_plaintext_waits_loses_nothing() {
    let (mut client, mut server) = shaken();
    let request = noise(40_000);
    let sealed = seal_all(&mut client, &request);
    feed(&mut server, &sealed, 60_000);
    assert!(server.is_readable());
    let answer = seal_all(&mut server, b"early");
    feed(&mut client, &answer, 10);
    assert_eq!(open_all(&mut client, 100), b"early");
    assert!(open_all(&mut server, 7000) == request);
}

#[test]
fn an_end_that_was_not_announced_is_an_error_and_an_announced_one_is_none() {
    let (mut client, mut server) = shaken();
    let sealed = seal_all(&mut client, b"content");
    feed(&mut server, &sealed[..sealed.len() - 1], 4096);
    let buffer = server.lend();
    server.received(&Ok(0), buffer);
    let mut reader = Buffer::with_room(100);
    let opened = server.open(&mut reader).map(|result| result.map_err(|error| error.kind()));
    assert_eq!(opened, Some(Err(io::ErrorKind::UnexpectedEof)));

    let (mut client, mut server) = shaken();
    let mut sealed = seal_all(&mut client, b"content");
    client.close();
    sealed.extend(queue(&mut client));
    feed(&mut server, &sealed, 4096);
    let buffer = server.lend();
    server.received(&Ok(0), buffer);
    assert_eq!(open_all(&mut server, 100), b"content");
    assert_eq!(server.open(&mut reader).map(|result| result.map_err(|error| error.kind())), Some(Ok(0)));
    // Our direction is open still.
    assert!(server.seal(b"last").is_ok());
}

#[test]
fn new_keys_are_answered_and_nothing_is_lost() {
    let (mut client, mut server) = shaken();
    client.refresh_keys();
    let sealed = seal_all(&mut client, b"with new keys");
    feed(&mut server, &sealed, 3);
    assert_eq!(open_all(&mut server, 100), b"with new keys");
    let answer = seal_all(&mut server, b"answered");
    feed(&mut client, &answer, 3);
    assert_eq!(open_all(&mut client, 100), b"answered");
    assert_eq!((client.held_bytes(), server.held_bytes()), (0, 0));
}

#[test]
fn writes_go_on_while_a_message_of_the_library_arrives_in_parts() {
    let mut config = PAIR.server.config().as_ref().clone();
    // A ticket takes many records.
    config.max_fragment_size = Some(64);
    let buffers = Rc::new(CipherBuffers::default());
    let (mut client, _) = engines(&PAIR);
    let mut server = Engine::server_of(Arc::new(config), &buffers);
    let mut late = Vec::new();
    for _ in 0..8 {
        let _ = client.shake_hands().unwrap();
        let up = queue(&mut client);
        feed_shaking(&mut server, &up);
        let down = queue(&mut server);
        if client.shake_hands().unwrap() {
            late = down;
            break;
        }
        feed_shaking(&mut client, &down);
    }
    assert!(late.len() > 500, "the tickets come last: {}", late.len());
    for octet in late {
        feed(&mut client, &[octet], 1);
        let sealed = seal_all(&mut client, b"x");
        feed(&mut server, &sealed, 4096);
        assert_eq!(open_all(&mut server, 10), b"x");
    }
    let answer = seal_all(&mut server, b"done");
    feed(&mut client, &answer, 4096);
    assert_eq!(open_all(&mut client, 10), b"done");
}

fn feed_shaking(engine: &mut Engine, octets: &[u8]) {
    for part in octets.chunks(1000) {
        let mut buffer = engine.lend();
        buffer.vec().extend_from_slice(part);
        engine.received(&Ok(part.len()), buffer);
        let _ = engine.shake_hands().unwrap();
    }
}

#[test]
fn a_second_connection_resumes_the_first() {
    let pair = pair(false);
    let (mut client, mut server) = engines(&pair);
    shaken_by(&mut client, &mut server, 4096);
    assert!(!server.is_resumed() && server.is_tls13());
    // The tickets have come with the handshake; reading takes them in.
    let answer = seal_all(&mut server, b"x");
    feed(&mut client, &answer, 4096);
    assert_eq!(open_all(&mut client, 10), b"x");
    let (mut client, mut again) = engines(&pair);
    shaken_by(&mut client, &mut again, 4096);
    assert!(again.is_resumed());
    assert_eq!(again.asked_name(), Some("a.test"));
}

#[test]
fn what_is_no_tls_is_refused_with_an_alert() {
    let (_, mut server) = engines(&PAIR);
    let mut buffer = server.lend();
    buffer.vec().extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    server.received(&Ok(18), buffer);
    assert!(server.shake_hands().is_err());
    assert!(server.has_queue());
}
