//! RSA signatures, which are made beside the shard.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};

use crate::GET;
use crate::tls::{Secure, provider};
use crate::world::{Wire, World};

/// Certificates for `a`, as PEM, with their keys: RSA and ECDSA.
static PAIRS: LazyLock<[(String, String); 2]> = LazyLock::new(|| {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    [rsa, KeyPair::generate().unwrap()].map(|key| {
        let certificate = CertificateParams::new(["a".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    })
});

const RSA: &str = "{ chain: rsa.pem, key: rsa.key }";
const ECDSA: &str = "{ chain: ecdsa.pem, key: ecdsa.key }";

fn world(certificates: &str) -> World {
    let world = World::new(1);
    for (stem, (chain, key)) in ["rsa", "ecdsa"].iter().zip(&*PAIRS) {
        world.file(&format!("{stem}.pem"), chain);
        world.file(&format!("{stem}.key"), key);
    }
    world.config(&format!(
        "listeners: {{ public: {{ bind: \"127.0.0.1:8443\", tls: {{ certificates: {certificates} }} }} }}\nroutes: [{{ name: \
         all, match: {{ path: \"/{{*rest}}\" }}, respond: {{ status: 200, body: ok }} }}]\n"
    ))
}

fn config(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for (chain, _) in &*PAIRS {
        roots.add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn client(world: &World, config: &Arc<ClientConfig>) -> Secure<ClientConnection> {
    let session = ClientConnection::new(config.clone(), ServerName::try_from("a").unwrap()).unwrap();
    Secure { peer: world.client(), session, opened: Vec::new() }
}

async fn is_served(client: &mut Secure<ClientConnection>) -> bool {
    client.send(GET).await;
    while !client.opened.ends_with(b"\r\n\r\nok") {
        if !client.receive().await {
            return false;
        }
    }
    client.opened.clear();
    true
}

const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];

#[test]
fn only_rsa_is_signed_beside_the_shard_and_once_for_each_handshake() {
    for (certificates, each) in [(RSA, 1), (ECDSA, 0), (&format!("[{ECDSA}, {RSA}]"), 0)] {
        let world = world(certificates);
        world.run(async {
            for (at, versions) in BOTH.into_iter().enumerate() {
                let config = config(versions);
                assert!(is_served(&mut client(&world, &config)).await, "{certificates}");
                assert_eq!(world.signed(), each * (at as u32 + 1), "{certificates}");
            }
        });
    }
}

#[test]
fn a_hello_in_pieces_is_signed_beside_the_shard_too() {
    for versions in BOTH {
        let world = world(RSA);
        world.client_wire(Wire { pieces: 3, ..Wire::default() });
        world.run(async {
            assert!(is_served(&mut client(&world, &config(versions))).await);
            assert_eq!(world.signed(), 1);
        });
    }
}

#[test]
fn a_hello_in_many_records_is_signed_beside_the_shard_too() {
    for versions in BOTH {
        let world = world(RSA);
        world.client_wire(Wire { pieces: 3, ..Wire::default() });
        let mut small = ClientConfig::clone(&config(versions));
        small.max_fragment_size = Some(64);
        world.run(async {
            assert!(is_served(&mut client(&world, &Arc::new(small))).await);
            assert!(world.signed() > 0);
        });
    }
}

#[test]
fn a_session_signed_beside_the_shard_is_resumed() {
    for versions in BOTH {
        let world = world(RSA);
        world.run(async {
            let config = config(versions);
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let mut client = client(&world, &config);
                assert!(is_served(&mut client).await);
                assert_eq!(client.session.handshake_kind(), Some(kind));
            }
        });
    }
}

#[test]
fn nobody_else_waits_for_a_signature() {
    let world = world(RSA);
    world.run(async {
        let (older, newer) = (config(BOTH[0]), config(BOTH[1]));
        let mut other = client(&world, &newer);
        assert!(is_served(&mut other).await);
        world.signing(Some(Duration::from_secs(3)));
        let then = world.now();
        let mut slow = client(&world, &older);
        slow.flush().await;
        world.sleep(Duration::from_secs(1)).await;
        assert!(is_served(&mut other).await);
        assert!(world.since(then) < Duration::from_secs(2));
        assert!(is_served(&mut slow).await);
        assert!(world.since(then) >= Duration::from_secs(3));
    });
}

#[test]
fn a_handshake_waits_for_its_signature_no_longer_than_its_deadline() {
    let world = world(RSA);
    world.signing(Some(Duration::from_secs(60)));
    world.run(async {
        let then = world.now();
        assert!(!is_served(&mut client(&world, &config(BOTH[1]))).await);
        let took = world.since(then);
        assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(11), "{took:?}");
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.metric("tidegate_tls_handshake_failures_total{detail=\"timeout\"}"), 1);
        assert_eq!((world.metric("tidegate_tls_handshakes_in_flight"), world.open_connections()), (0, 0));
    });
}

#[test]
fn a_handshake_that_finds_no_room_to_be_signed_is_refused_and_counted() {
    let world = world(RSA);
    world.signing(None);
    world.run(async {
        assert!(!is_served(&mut client(&world, &config(BOTH[1]))).await);
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.metric("tidegate_tls_handshake_failures_total{detail=\"signing-overloaded\"}"), 1);
        assert_eq!((world.metric("tidegate_tls_handshakes_in_flight"), world.open_connections()), (0, 0));
        world.signing(Some(Duration::ZERO));
        assert!(is_served(&mut client(&world, &config(BOTH[1]))).await);
    });
}
