//! Two engines and the octets between them.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite::TLS13_AES_256_GCM_SHA384};
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ConnectionTrafficSecrets, ContentType, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
    SupportedCipherSuite,
};

use super::buffers::{CipherBuffers, LARGE_BYTES, SMALL_BYTES};
use super::{Engine, StreamReader, StreamWriter, secure};
use crate::base::{Buffer, Timestamp};
use crate::proxy::net::{Patience, Reader, Writer};
use crate::snapshot::tls::{ClientTls, Identity, PeerName, ServerSettings, ServerTls, Trust};

/// Both sides, and the certificate in between.
struct Pair {
    server: Arc<ServerTls>,
    client: ClientTls,
}

static PAIR: LazyLock<Pair> = LazyLock::new(|| pair(false));
static NEWEST: LazyLock<Pair> = LazyLock::new(|| pair(true));

fn pair(newest_only: bool) -> Pair {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let identity = Identity::parse(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let settings = ServerSettings { newest_only, strict_sni: false, http1: true, http2: false };
    let server = Arc::new(ServerTls::new(vec![identity], settings, None, None).unwrap());
    Pair { server, client: ClientTls::new(&Trust::Authorities(certificate.as_bytes()), Vec::new(), None).unwrap() }
}

fn engines(pair: &Pair) -> (Engine, Engine) {
    let buffers = Rc::new(CipherBuffers::default());
    let peer = PeerName::new("a.test").unwrap();
    (
        Engine::client(&pair.client, &peer, &buffers).unwrap(),
        Engine::server(&pair.server, Default::default(), &buffers).unwrap(),
    )
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

/// A client that seals whatever it likes, by the keys of an honest one.
struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

impl Forger {
    /// One, and the server whose hand it has shaken.
    fn new() -> (Self, Engine) {
        let mut config = NEWEST.client.config().as_ref().clone();
        config.enable_secret_extraction = true;
        let buffers = Rc::new(CipherBuffers::default());
        let mut client = Engine::client_of(Arc::new(config), &PeerName::new("a.test").unwrap(), &buffers);
        let mut server = Engine::server(&NEWEST.server, Default::default(), &buffers).unwrap();
        shaken_by(&mut client, &mut server, 4096);
        let (number, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = client.into_secrets() else {
            panic!("the suite")
        };
        let SupportedCipherSuite::Tls13(suite) = TLS13_AES_256_GCM_SHA384 else { panic!("the version") };
        (Self { encrypter: suite.aead_alg.encrypter(key, iv), number }, server)
    }

    fn seal(&mut self, typ: ContentType, content: &[u8]) -> Vec<u8> {
        let version = ProtocolVersion::TLSv1_2;
        let message = OutboundPlainMessage { typ, version, payload: OutboundChunks::Single(content) };
        let sealed = self.encrypter.encrypt(message, self.number).unwrap().encode();
        self.number += 1;
        sealed
    }
}

#[test]
fn an_empty_handshake_message_before_content_disturbs_nothing() {
    let (mut forger, mut server) = Forger::new();
    for round in 0..200usize {
        let content = noise(1 + round * 7 % 900);
        let mut sealed = forger.seal(ContentType::Handshake, b"");
        sealed.extend(forger.seal(ContentType::ApplicationData, &content));
        // Of every second round more is on its way.
        let next = forger.seal(ContentType::ApplicationData, b"next");
        let cut = if round % 2 == 0 { next.len() } else { round % next.len() };
        sealed.extend(&next[..cut]);
        feed(&mut server, &sealed, 4096);
        assert!(server.seal(b"answer").is_ok(), "{round}");
        let mut opened = open_all(&mut server, 100);
        assert!(server.seal(b"answer").is_ok(), "{round}");
        feed(&mut server, &next[cut..], 4096);
        opened.extend(open_all(&mut server, 3000));
        assert!(opened == [&content[..], b"next"].concat(), "{round}");
        // The library never lets go of the empty ones.
        assert!(server.held_bytes() <= LARGE_BYTES + SMALL_BYTES, "{} of round {round}", server.held_bytes());
    }
}

#[test]
fn a_message_in_parts_is_held_while_content_is_sealed_and_has_a_bound() {
    let (mut forger, mut server) = Forger::new();
    // A message of 64 KiB, of which one octet comes at a time.
    let head = forger.seal(ContentType::Handshake, &[24, 0, 0xff, 0xff]);
    feed(&mut server, &head, 4096);
    let mut received = 0;
    while server.seal(b"answer").is_ok() {
        let part = forger.seal(ContentType::Handshake, &[1]);
        received += part.len();
        feed(&mut server, &part, 4096);
        assert!(received < 128 * 1024 && server.held_bytes() < 160 * 1024, "{received}");
    }
    assert!(received > 32 * 1024, "{received}");
    assert!(matches!(server.open(&mut Buffer::with_room(10)), Some(Err(_))));
}

#[test]
fn content_between_the_parts_of_a_message_ends_the_connection() {
    let (mut forger, mut server) = Forger::new();
    let mut sealed = forger.seal(ContentType::Handshake, &[24, 0, 0]);
    sealed.extend(forger.seal(ContentType::ApplicationData, b"x"));
    feed(&mut server, &sealed, 4096);
    assert!(matches!(server.open(&mut Buffer::with_room(10)), Some(Err(_))));
    assert!(server.seal(b"answer").is_err());
}

#[test]
fn who_cannot_be_received_from_can_still_be_answered() {
    let (mut client, mut server) = shaken();
    let sealed = seal_all(&mut client, b"half");
    feed(&mut server, &sealed, 4096);
    let buffer = server.lend();
    server.received(&Err(io::ErrorKind::TimedOut.into()), buffer);
    assert_eq!(open_all(&mut server, 100), b"half");
    let opened = server.open(&mut Buffer::with_room(10)).map(|result| result.map_err(|error| error.kind()));
    assert_eq!(opened, Some(Err(io::ErrorKind::TimedOut)));
    let answer = seal_all(&mut server, b"too late");
    feed(&mut client, &answer, 4096);
    assert_eq!(open_all(&mut client, 100), b"too late");
}

/// A certificate and a key of this algorithm for `a.test`.
fn identity_by(algorithm: &'static rcgen::SignatureAlgorithm) -> Identity {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let certificate = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    Identity::parse(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

#[test]
fn of_two_certificates_for_a_name_each_client_gets_the_first_that_it_can_read() {
    let settings = ServerSettings { newest_only: false, strict_sni: false, http1: true, http2: false };
    let identities = vec![identity_by(&rcgen::PKCS_ECDSA_P256_SHA256), identity_by(&rcgen::PKCS_RSA_SHA256)];
    let lengths = identities.iter().map(|identity| identity.leaf().len()).collect::<Vec<_>>();
    let server = Arc::new(ServerTls::new(identities, settings, None, None).unwrap());
    let buffers = Rc::new(CipherBuffers::default());
    let chosen = |reads: fn(SignatureScheme) -> bool| {
        let mut config = ClientTls::new(&Trust::Anybody, Vec::new(), None).unwrap().config().as_ref().clone();
        config.dangerous().set_certificate_verifier(Arc::new(Reads(reads)));
        let mut client = Engine::client_of(Arc::new(config), &PeerName::new("a.test").unwrap(), &buffers);
        let mut server = Engine::server(&server, Default::default(), &buffers).unwrap();
        shaken_by(&mut client, &mut server, 4096);
        lengths.iter().position(|length| *length == client.peer_certificate_bytes())
    };
    let is_rsa = |scheme| matches!(scheme, SignatureScheme::RSA_PSS_SHA256 | SignatureScheme::RSA_PKCS1_SHA256);
    assert_eq!(chosen(|_| true), Some(0));
    assert_eq!(chosen(is_rsa), Some(1));
    assert_eq!(chosen(|scheme| scheme == SignatureScheme::ECDSA_NISTP256_SHA256), Some(0));
}

/// Believes everybody, and can read some signatures alone.
#[derive(Debug)]
struct Reads(fn(SignatureScheme) -> bool);

impl ServerCertVerifier for Reads {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let all = aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes();
        all.into_iter().filter(|scheme| (self.0)(*scheme)).collect()
    }
}

#[test]
fn who_speaks_the_newest_version_alone_refuses_the_older() {
    let shaken_with = |pair: &Pair| {
        let buffers = Rc::new(CipherBuffers::default());
        let older = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Reads(|_| true)))
            .with_no_client_auth();
        let mut client = Engine::client_of(Arc::new(older), &PeerName::new("a.test").unwrap(), &buffers);
        let mut server = Engine::server(&pair.server, Default::default(), &buffers).unwrap();
        let _ = client.shake_hands();
        feed_hello(&mut server, &queue(&mut client))
    };
    assert_eq!(shaken_with(&PAIR), Ok(false));
    let refused = shaken_with(&NEWEST);
    assert!(matches!(refused, Err((Some(Error::PeerIncompatible(_)), true))), "{refused:?}");
}

/// What a server makes of a hello: whether hands are shaken; or what it has to say against it, and whether it says it.
fn feed_hello(server: &mut Engine, hello: &[u8]) -> Result<bool, (Option<Error>, bool)> {
    let mut buffer = server.lend();
    buffer.vec().extend_from_slice(hello);
    server.received(&Ok(hello.len()), buffer);
    server.shake_hands().map_err(|_| (server.error().cloned(), server.has_queue()))
}

#[test]
fn a_client_must_speak_http_1_above_or_say_nothing_of_it() {
    let shaken_with = |protocols: &[&str]| {
        let buffers = Rc::new(CipherBuffers::default());
        let mut config = PAIR.client.config().as_ref().clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let mut client = Engine::client_of(Arc::new(config), &PeerName::new("a.test").unwrap(), &buffers);
        let mut server = Engine::server(&PAIR.server, Default::default(), &buffers).unwrap();
        let _ = client.shake_hands();
        feed_hello(&mut server, &queue(&mut client))
    };
    assert_eq!(shaken_with(&["h2"]), Err((Some(Error::NoApplicationProtocol), true)));
    assert_eq!(shaken_with(&["h2", "http/1.1"]), Ok(false));
    assert_eq!(shaken_with(&["http/1.0"]), Ok(false));
    assert_eq!(shaken_with(&[]), Ok(false));
}

/// What a socket would have seen, and what it brings.
#[derive(Default)]
struct Wire {
    sent: Vec<u8>,
    /// Whether it takes nothing for now.
    stalled: bool,
    ended: bool,
    brings: Vec<u8>,
}

/// Half of a socket, with the buffer of its operation.
struct Half(Rc<RefCell<Wire>>, Option<Buffer>);

impl Reader for Half {
    fn poll_readable(&mut self, _: &mut Context<'_>, _: Timestamp) -> Poll<io::Result<()>> {
        if self.0.borrow().brings.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn wake(&mut self) {}

    fn begin_read(&mut self, buffer: Buffer, _: Timestamp) {
        self.1 = Some(buffer);
    }

    fn set_read_deadline(&mut self, _: Timestamp) {}

    fn is_reading(&self) -> bool {
        self.1.is_some()
    }

    fn poll_read(&mut self, _: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        let brings = mem::take(&mut self.0.borrow_mut().brings);
        if brings.is_empty() {
            return Poll::Pending;
        }
        let mut buffer = self.1.take().unwrap();
        buffer.vec().extend_from_slice(&brings);
        Poll::Ready((Ok(brings.len()), buffer))
    }
}

impl Writer for Half {
    fn begin_write(&mut self, buffer: Buffer, from: usize, _: Patience) {
        assert_eq!((from, self.1.is_none()), (0, true));
        self.1 = Some(buffer);
    }

    fn is_writing(&self) -> bool {
        self.1.is_some()
    }

    fn poll_write(&mut self, _: &mut Context<'_>) -> Poll<(io::Result<()>, Buffer)> {
        let mut wire = self.0.borrow_mut();
        if wire.stalled {
            return Poll::Pending;
        }
        let buffer = self.1.take().unwrap();
        wire.sent.extend_from_slice(buffer.filled());
        Poll::Ready((Ok(()), buffer))
    }

    fn shutdown(&mut self) {
        assert!(self.1.is_none(), "everything is written before the end");
        self.0.borrow_mut().ended = true;
    }

    fn abort(&mut self) {}
}

/// A client, and the halves of a server's stream that has shaken its hand.
struct Secured {
    client: Engine,
    reader: StreamReader<Half, Half>,
    writer: StreamWriter<Half>,
    wire: Rc<RefCell<Wire>>,
}

impl Secured {
    fn new() -> Self {
        let (client, server) = shaken();
        let wire = Rc::<RefCell<Wire>>::default();
        let mut reader = StreamReader::plain(Half(wire.clone(), None));
        let mut writer = StreamWriter::plain(Half(wire.clone(), None));
        secure(&mut reader, &mut writer, server);
        Self { client, reader, writer, wire }
    }

    fn begin_write(&mut self, content: &[u8]) {
        let patience = Patience { idle: Duration::from_secs(1), until: Timestamp::NEVER };
        self.writer.begin_write(Buffer::from_vec(content.to_vec()), 0, patience);
    }

    fn poll_write(&mut self) -> Poll<Result<(), io::ErrorKind>> {
        let cx = &mut Context::from_waker(Waker::noop());
        self.writer.poll_write(cx).map(|(result, _)| result.map_err(|error| error.kind()))
    }

    /// Begins to read where nothing is read, and says what has come of it.
    fn poll_read(&mut self) -> Poll<Result<usize, io::ErrorKind>> {
        if !self.reader.is_reading() {
            self.reader.begin_read(Buffer::with_room(100), Timestamp::NEVER);
        }
        let cx = &mut Context::from_waker(Waker::noop());
        self.reader.poll_read(cx).map(|(result, _)| result.map_err(|error| error.kind()))
    }

    /// What the client has got, and how that ended.
    fn got(&mut self) -> (Vec<u8>, Option<Result<usize, io::ErrorKind>>) {
        let sent = mem::take(&mut self.wire.borrow_mut().sent);
        feed(&mut self.client, &sent, 60_000);
        let got = open_all(&mut self.client, 100_000);
        (got, self.client.open(&mut Buffer::with_room(1)).map(|result| result.map_err(|error| error.kind())))
    }
}

#[test]
fn nothing_is_sealed_behind_the_last_word() {
    let mut secured = Secured::new();
    secured.begin_write(b"all");
    assert_eq!(secured.poll_write(), Poll::Ready(Ok(())));
    secured.writer.shutdown();
    assert!(secured.wire.borrow().ended);
    assert_eq!(secured.got(), (b"all".to_vec(), Some(Ok(0))));
    secured.begin_write(b"more");
    assert_eq!(secured.poll_write(), Poll::Ready(Err(io::ErrorKind::BrokenPipe)));
    assert!(secured.wire.borrow().sent.is_empty());
}

#[test]
fn a_direction_ends_once_its_last_word_was_sent() {
    let mut secured = Secured::new();
    secured.wire.borrow_mut().stalled = true;
    secured.writer.shutdown();
    assert!(secured.poll_read().is_pending() && !secured.wire.borrow().ended);
    secured.wire.borrow_mut().stalled = false;
    assert!(secured.poll_read().is_pending() && secured.wire.borrow().ended);
    assert_eq!(secured.got(), (Vec::new(), Some(Ok(0))));
}

#[test]
fn an_alert_follows_the_write_under_way() {
    let mut secured = Secured::new();
    let content = noise(200_000);
    secured.wire.borrow_mut().stalled = true;
    secured.begin_write(&content);
    assert!(secured.poll_write().is_pending());
    secured.wire.borrow_mut().brings = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
    assert_eq!(secured.poll_read(), Poll::Ready(Err(io::ErrorKind::InvalidData)));
    secured.wire.borrow_mut().stalled = false;
    assert_eq!(secured.poll_write(), Poll::Ready(Err(io::ErrorKind::InvalidData)));
    let (got, end) = secured.got();
    assert!(!got.is_empty() && content.starts_with(&got) && end == Some(Err(io::ErrorKind::ConnectionAborted)));
}

#[test]
fn what_has_to_be_said_goes_out_while_nobody_writes() {
    let mut secured = Secured::new();
    secured.wire.borrow_mut().brings = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
    assert_eq!(secured.poll_read(), Poll::Ready(Err(io::ErrorKind::InvalidData)));
    assert_eq!(secured.got(), (Vec::new(), Some(Err(io::ErrorKind::ConnectionAborted))));
}
