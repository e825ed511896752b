//! OCSP responses that are stapled while they hold.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, SerialNumber};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::GET;
use crate::tls::{Secure, provider};
use crate::world::World;

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// A response (RFC 6960, section 4.2.1) that calls the certificate 7 good, from the beginning of 2025 on; unsigned.
fn response(until: &str) -> Vec<u8> {
    let from = element(0x18, b"20250101000000Z");
    let id = sequence(&[sequence(&[]), element(4, b"name"), element(4, b"key"), element(2, &[7])]);
    let answer = sequence(&[id, element(0x80, &[]), from.clone(), element(0xa0, &element(0x18, until.as_bytes()))]);
    let data = sequence(&[element(0xa2, b""), from, sequence(&[answer])]);
    let basic = sequence(&[data, sequence(&[]), element(3, b"\0")]);
    let bytes = sequence(&[element(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]), element(4, &basic)]);
    sequence(&[element(0x0a, &[0]), element(0xa0, &bytes)])
}

/// Believes whom the library believes, and keeps what was stapled.
#[derive(Debug)]
struct Keeps(Arc<WebPkiServerVerifier>, Arc<Mutex<Vec<u8>>>);

impl ServerCertVerifier for Keeps {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.1.lock().unwrap() = ocsp.to_vec();
        self.0.verify_server_cert(certificate, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

const YAML: &str = r#"
listeners:
  public: { bind: "127.0.0.1:8443", tls: { certificates: { chain: a.pem, key: a.key, ocsp: a.der } } }
routes: [{ name: all, match: { path: "/{*rest}" }, respond: { status: 200, body: ok } }]
"#;

#[test]
fn a_response_is_stapled_while_it_holds_and_its_successor_once_the_file_changes() {
    let world = World::new(1);
    let (mut params, key) = (CertificateParams::new(["a".to_owned()]).unwrap(), KeyPair::generate().unwrap());
    params.serial_number = Some(SerialNumber::from_slice(&[7]));
    let certificate = params.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    // The world begins at 08:53:20.
    let (first, second) = (response("20251009100000Z"), response("20251010100000Z"));
    world.file("a.pem", certificate.pem());
    world.file("a.key", key.serialize_pem());
    world.file("a.der", &first);
    let world = world.config(YAML);
    let stapled = async |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let builder =
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Keeps(verifier.clone(), kept.clone())));
        let config = Arc::new(builder.with_no_client_auth());
        let session = ClientConnection::new(config, ServerName::try_from("a").unwrap()).unwrap();
        let mut client = Secure { peer: world.client(), session, opened: Vec::new() };
        client.send(GET).await;
        client.until("\r\n\r\nok").await;
        kept.lock().unwrap().clone()
    };
    world.run(async {
        for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
            assert!(stapled(versions).await == first);
        }
        world.sleep(Duration::from_secs(2 * 3600)).await;
        assert!(stapled(&[&rustls::version::TLS13]).await.is_empty());
        world.file("a.der", &second);
        world.reload(YAML);
        assert!(stapled(&[&rustls::version::TLS13]).await == second);
    });
}
