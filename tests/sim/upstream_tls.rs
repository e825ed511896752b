//! TLS to upstreams that want to know who asks, or that must have a certain key.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::tls::{Secure, provider};
use crate::world::World;
use crate::{GET, OK};

/// A self-signed certificate and its key.
struct Pair {
    certificate: CertificateDer<'static>,
    chain: String,
    key: KeyPair,
}

impl Pair {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["a".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate: certificate.der().clone(), chain: certificate.pem(), key }
    }

    /// As the configuration has it.
    fn pin(&self) -> String {
        let digest = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let digest = digest.common.hash_provider.hash(&self.key.subject_public_key_info());
        let mut text = [0; 44];
        STANDARD.encode_slice(digest.as_ref(), &mut text).unwrap();
        format!("sha256/{}", String::from_utf8(text.to_vec()).unwrap())
    }
}

const UP: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:443"], mark_down: { for: 1ms }, tls: { MORE } } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
access_log: { fields: [reason, detail] }
"#;

fn yaml(more: &str) -> String {
    UP.replace("MORE", more)
}

/// Lets the origin prove itself by `pair`, believe these clients where there are any, and note the certificates it is shown.
fn origin(world: &World, pair: &Pair, clients: Option<&[&Pair]>) -> Rc<RefCell<Vec<Vec<u8>>>> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            clients.iter().for_each(|pair| roots.add(pair.certificate.clone()).unwrap());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::try_from(pair.key.serialize_der()).unwrap();
    let config = Arc::new(builder.with_single_cert(vec![pair.certificate.clone()], key).unwrap());
    let shown = Rc::<RefCell<Vec<Vec<u8>>>>::default();
    let noted = shown.clone();
    world.origin("10.0.0.1:443", move |peer| {
        let mut origin = Secure { peer, session: ServerConnection::new(config.clone()).unwrap(), opened: Vec::new() };
        let noted = noted.clone();
        async move {
            loop {
                while !origin.opened.windows(4).any(|window| window == b"\r\n\r\n") {
                    origin.flush().await;
                    if !origin.receive().await {
                        return;
                    }
                }
                origin.until("\r\n\r\n").await;
                let chain = origin.session.peer_certificates().unwrap_or_default();
                noted.borrow_mut().extend(chain.first().map(|certificate| certificate.to_vec()));
                origin.send(OK).await;
            }
        }
    });
    shown
}

#[test]
fn an_endpoint_that_asks_is_shown_the_certificate_and_the_next_one_once_it_changes() {
    let (server, first, second) = (Pair::new("server"), Pair::new("first"), Pair::new("second"));
    let world = World::new(1);
    let show = |world: &World, pair: &Pair| {
        world.file("own.pem", &pair.chain);
        world.file("own.key", pair.key.serialize_pem());
    };
    world.file("ca.pem", &server.chain);
    show(&world, &first);
    let yaml = yaml("ca: ca.pem, server_name: a, certificate: { chain: own.pem, key: own.key }");
    let world = world.config(&yaml);
    let shown = origin(&world, &server, Some(&[&first, &second]));
    world.run(async {
        for _ in 0..2 {
            assert_eq!(world.ask(GET).await.status(), 200);
        }
        assert_eq!(world.connects().len(), 1);
        show(&world, &second);
        world.reload(&yaml);
        assert_eq!(world.ask(GET).await.status(), 200);
        assert_eq!(
            *shown.borrow(),
            [first.certificate.to_vec(), first.certificate.to_vec(), second.certificate.to_vec()]
        );
    });
}

#[test]
fn an_endpoint_that_asks_in_vain_gets_no_request() {
    let server = Pair::new("server");
    let world = World::new(1);
    world.file("ca.pem", &server.chain);
    let world = world.config(&yaml("ca: ca.pem, server_name: a"));
    origin(&world, &server, Some(&[&server]));
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 502);
        assert!(world.requests().is_empty());
    });
}

#[test]
fn a_pin_holds_beside_all_else() {
    let (server, other) = (Pair::new("server"), Pair::new("other"));
    let (right, wrong) = (server.pin(), other.pin());
    let named = "server_name: a";
    for (tls, outcome) in [
        (format!("ca: ca.pem, {named}, pins: {right}"), ""),
        (format!("ca: ca.pem, {named}, pins: [{wrong}, {right}]"), ""),
        (format!("ca: ca.pem, {named}, pins: {wrong}"), "tls-certificate certificate-pin-mismatch"),
        (format!("ca: other.pem, {named}, pins: {right}"), "tls-certificate certificate-unknown-authority"),
        (format!("ca: ca.pem, server_name: b, pins: {right}"), "tls-certificate certificate-other-name"),
        // Alone, it is the only thing that counts.
        (format!("verify: false, pins: {right}"), ""),
        (format!("verify: false, pins: {wrong}"), "tls-certificate certificate-pin-mismatch"),
    ] {
        let world = World::new(1);
        world.file("ca.pem", &server.chain);
        world.file("other.pem", &other.chain);
        let world = world.config(&yaml(&tls));
        origin(&world, &server, None);
        world.run(async {
            assert_eq!(world.ask(GET).await.status(), if outcome.is_empty() { 200 } else { 502 }, "{tls}");
            let line = world.line().await;
            let expected = if outcome.is_empty() { "ok " } else { outcome };
            assert_eq!(format!("{} {}", line.reason(), line.text("detail")), expected, "{tls}");
        });
    }
}

#[test]
fn a_pin_that_no_longer_fits_ends_what_was_kept() {
    let (server, other) = (Pair::new("server"), Pair::new("other"));
    let world = World::new(1);
    world.file("ca.pem", &server.chain);
    let pinned = |pin: &str| yaml(&format!("ca: ca.pem, server_name: a, pins: {pin}"));
    let world = world.config(&pinned(&server.pin()));
    origin(&world, &server, None);
    world.run(async {
        assert_eq!(world.ask(GET).await.status(), 200);
        world.reload(&pinned(&other.pin()));
        world.sleep(Duration::from_secs(1)).await;
        // Neither a pooled connection nor a resumed session gets around it.
        assert_eq!(world.ask(GET).await.status(), 502);
    });
}
