//! Certificates of clients: who is let in, what is said of them, and what becomes of it later.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};

use crate::tls::{Secure, provider};
use crate::world::http2::{END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame};
use crate::world::{Line, Message, World, text};
use crate::{GET, OK};

/// An authority, which also has the certificate of the gateway made.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as DER, and those above it.
#[derive(Clone)]
struct Id {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn client_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0x0b]));
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, params: CertificateParams) -> Id {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Id { chain: vec![certificate.der().clone()], key: key.serialize_der() }
    }

    /// An authority below this one, and its certificate.
    fn middle(&self) -> (Self, CertificateDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let middle = CertifiedIssuer::signed_by(authority_params("middle"), key, &self.0).unwrap();
        let der = middle.der().clone();
        (Self(middle), der)
    }

    fn client(&self, name: &str) -> Id {
        self.issue(client_params(name))
    }

    /// Its revocation list, due anew in this year, with these serial numbers.
    fn list(&self, until: i32, serials: &[&[u8]]) -> String {
        self.list_of(2025, until, serials)
    }

    /// The same of the beginning of this year.
    fn list_of(&self, year: i32, until: i32, serials: &[&[u8]]) -> String {
        let revoked = |serial: &&[u8]| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(year, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// A world in which the gateway asks for certificates of `authority`, and believes it for itself.
struct Gate {
    world: World,
    authority: Authority,
    yaml: String,
}

const GATE: &str = r#"
listeners:
  public:
    bind: "127.0.0.1:8443"
    tls: { certificates: { chain: a.pem, key: a.key }, client_certificates: { ca: ca.pem } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - { name: leaf, match: { path: "/leaf" }, to: { upstream: app, client_certificate: leaf } }
  - { name: chain, match: { path: "/chain" }, to: { upstream: app, client_certificate: chain } }
  - { name: all, match: { path: "/{*rest}" }, to: app }
access_log: { fields: [reason, detail, status, client, client_cert_subject, client_cert_serial, client_cert_sha256] }
"#;

impl Gate {
    /// `clients` stands behind the authority.
    fn new(clients: &str) -> Self {
        Self::with(clients, |_| String::new())
    }

    fn with(clients: &str, list: impl FnOnce(&Authority) -> String) -> Self {
        let world = World::new(1);
        let authority = Authority::new("clients");
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["a".to_owned()]).unwrap().signed_by(&key, &authority.0).unwrap();
        world.file("ca.pem", authority.0.pem());
        world.file("a.pem", own.pem());
        world.file("a.key", key.serialize_pem());
        world.file("list.pem", list(&authority));
        let yaml = GATE.replace("ca: ca.pem", &format!("ca: ca.pem{clients}"));
        let world = world.config(&yaml);
        world.answers("10.0.0.1:80", OK);
        Self { world, authority, yaml }
    }

    /// A client with this certificate, or none; `more` changes what it is made with.
    fn config(&self, id: Option<&Id>, more: impl FnOnce(&mut ClientConfig)) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match id {
            Some(id) => {
                let key = PrivateKeyDer::try_from(id.key.clone()).unwrap();
                builder.with_client_auth_cert(id.chain.clone(), key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        more(&mut config);
        Arc::new(config)
    }

    fn client(&self, config: &Arc<ClientConfig>) -> Secure<ClientConnection> {
        let mut session = ClientConnection::new(config.clone(), ServerName::try_from("a").unwrap()).unwrap();
        session.set_buffer_limit(None);
        Secure { peer: self.world.client(), session, opened: Vec::new() }
    }

    /// Asks by a connection of its own and says how hands were shaken, unless it was refused.
    async fn ask(&self, config: &Arc<ClientConfig>, request: &str) -> Option<HandshakeKind> {
        let mut client = self.client(config);
        client.send(request).await;
        let served = loop {
            if client.opened.ends_with(b"\r\n\r\nok") {
                break true;
            }
            if !client.receive().await {
                break false;
            }
        };
        served.then(|| client.session.handshake_kind().unwrap())
    }

    async fn is_served(&self, id: Option<&Id>) -> bool {
        self.ask(&self.config(id, |_| {}), GET).await.is_some()
    }
}

/// The lines of refused clients, which have all that an operator asks first.
async fn refusals(world: &World) -> Vec<String> {
    let refused = |line: &Line| line.reason() == "handshake-failed";
    let said = |line: &Line| format!("{} {}", line.text("detail"), line.text("client_cert_subject"));
    world.log().await.iter().filter(|line| refused(line)).map(said).collect()
}

fn byte_sequence(der: &[u8]) -> String {
    let mut encoded = vec![0; der.len() * 2 + 4];
    let length = STANDARD.encode_slice(der, &mut encoded).unwrap();
    format!(":{}:", text(&encoded[..length]))
}

#[test]
fn a_client_of_the_authority_is_served_and_named_in_the_log() {
    let gate = Gate::new("");
    let id = gate.authority.client("ada");
    gate.world.run(async {
        assert!(gate.is_served(Some(&id)).await);
        let line = gate.world.line().await;
        assert_eq!([line.text("client_cert_subject"), line.text("client_cert_serial")], ["CN=ada", "0A0B"]);
        assert_eq!(line.text("client_cert_sha256").len(), 64);
        assert_eq!(gate.world.request().field("client-cert"), None);
    });
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let gate = Gate::new("");
    gate.world.run(async {
        assert!(!gate.is_served(None).await);
        assert_eq!(refusals(&gate.world).await, ["certificate-missing "]);
        let counted = "tidegate_tls_handshake_failures_total{detail=\"certificate-missing\"}";
        assert_eq!(gate.world.metric(counted), 1);
        assert!(gate.world.connects().is_empty());
    });
}

#[test]
fn a_client_without_a_certificate_is_served_where_one_is_optional_and_a_wrong_one_refuses_it() {
    let gate = Gate::new(", mode: optional");
    let (id, stranger) = (gate.authority.client("ada"), Authority::new("others").client("eve"));
    gate.world.run(async {
        assert!(gate.is_served(None).await);
        assert!(gate.is_served(Some(&id)).await);
        let subjects: Vec<_> = gate.world.log().await.iter().map(|line| line.text("client_cert_subject")).collect();
        assert_eq!(subjects, ["", "CN=ada"]);
        assert!(!gate.is_served(Some(&stranger)).await);
        assert_eq!(refusals(&gate.world).await, ["certificate-unknown-authority CN=eve"]);
    });
}

#[test]
fn a_refused_certificate_says_why_and_whose_it_is() {
    let gate = Gate::new("");
    let stranger = Authority::new("others").client("eve");
    let mut old = client_params("old");
    old.not_after = date_time_ymd(2025, 1, 1);
    let mut young = client_params("young");
    young.not_before = date_time_ymd(2090, 1, 1);
    let mut server = client_params("server");
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let others = [old, young, server].map(|params| gate.authority.issue(params));
    gate.world.run(async {
        for id in [&stranger].into_iter().chain(&others) {
            assert!(!gate.is_served(Some(id)).await);
        }
        let expected = [
            "certificate-unknown-authority CN=eve",
            "certificate-expired CN=old",
            "certificate-not-yet-valid CN=young",
            "certificate-other-purpose CN=server",
        ];
        assert_eq!(refusals(&gate.world).await, expected);
        assert_eq!(gate.world.metric("tidegate_connections_closed_total{reason=\"handshake-failed\"}"), 4);
    });
}

#[test]
fn who_is_refused_behind_a_load_balancer_is_told_apart_from_it() {
    let gate = Gate::new("");
    let introduced = "    proxy_protocol: required\n    proxy_protocol_from: 192.0.2.7\n    bind:";
    let yaml = gate.yaml.replace("    bind:", introduced).replace(" client,", " client, peer,");
    gate.world.run(async {
        gate.world.reload(&yaml);
        let mut client = gate.client(&gate.config(None, |_| {}));
        client.peer.send("PROXY TCP4 198.51.100.1 203.0.113.1 4711 443\r\n").await;
        client.send(GET).await;
        while client.receive().await {}
        let line = gate.world.line().await;
        assert_eq!((line.reason().as_str(), line.text("detail").as_str()), ("handshake-failed", "certificate-missing"));
        assert_eq!((line.text("client"), line.text("peer")), ("198.51.100.1".into(), "192.0.2.7".into()));
    });
}

#[test]
fn a_revoked_certificate_is_refused_and_another_of_the_authority_is_not() {
    let gate = Gate::with(", crl: list.pem", |authority| authority.list(2090, &[&[0x0a, 0x0b]]));
    let revoked = gate.authority.client("ada");
    let mut other = client_params("bob");
    other.serial_number = Some(SerialNumber::from_slice(&[0x0c]));
    let other = gate.authority.issue(other);
    gate.world.run(async {
        assert!(gate.is_served(Some(&other)).await);
        assert!(!gate.is_served(Some(&revoked)).await);
        assert_eq!(refusals(&gate.world).await, ["certificate-revoked CN=ada"]);
    });
}

#[test]
fn of_several_lists_of_an_authority_the_newest_counts_wherever_it_stands() {
    for (first, second) in [(2024, 2025), (2025, 2024)] {
        let serial: &[u8] = if first == 2024 { &[0x0c] } else { &[0x0a, 0x0b] };
        let other: &[u8] = if first == 2024 { &[0x0a, 0x0b] } else { &[0x0c] };
        let gate = Gate::with(", crl: list.pem", |authority| {
            authority.list_of(first, 2090, &[serial]) + &authority.list_of(second, 2090, &[other])
        });
        let revoked = gate.authority.client("ada");
        gate.world.run(async {
            assert!(!gate.is_served(Some(&revoked)).await, "{first}");
            assert_eq!(refusals(&gate.world).await, ["certificate-revoked CN=ada"]);
        });
    }
}

#[test]
fn an_expired_revocation_list_refuses_everybody_of_its_authority_unless_it_is_accepted() {
    for (accept, served) in [("", false), (", expired_crl: accept", true)] {
        let gate = Gate::with(&format!(", crl: list.pem{accept}"), |authority| authority.list(2026, &[&[0x0c]]));
        let id = gate.authority.client("ada");
        let mut revoked = client_params("bob");
        revoked.serial_number = Some(SerialNumber::from_slice(&[0x0c]));
        let revoked = gate.authority.issue(revoked);
        gate.world.run(async {
            assert_eq!(gate.is_served(Some(&id)).await, served);
            assert!(!gate.is_served(Some(&revoked)).await);
            let reasons =
                if served { &["certificate-revoked CN=bob"][..] } else { &["certificate-crl-expired CN=ada"; 1] };
            assert_eq!(refusals(&gate.world).await[..1], *reasons);
        });
    }
}

#[test]
fn where_there_are_lists_every_authority_between_needs_one() {
    let gate = Gate::with(", crl: list.pem", |authority| authority.list(2090, &[]));
    let (middle, middle_der) = gate.authority.middle();
    let (id, mut below) = (gate.authority.client("ada"), middle.client("bob"));
    below.chain.push(middle_der);
    gate.world.run(async {
        assert!(gate.is_served(Some(&id)).await);
        assert!(!gate.is_served(Some(&below)).await);
        assert_eq!(refusals(&gate.world).await, ["certificate-without-crl CN=bob"]);
        gate.world.file("list.pem", gate.authority.list(2090, &[]) + &middle.list(2090, &[]));
        gate.world.reload(&gate.yaml);
        assert!(gate.is_served(Some(&below)).await);
    });
}

#[test]
fn an_upstream_is_told_of_the_certificate_where_the_route_says_so_and_never_by_the_client() {
    let gate = Gate::new("");
    let (middle, middle_der) = gate.authority.middle();
    let mut id = middle.client("ada");
    id.chain.push(middle_der.clone());
    let claims =
        "client-cert: :Zm9v:\r\nclient_cert: :Zm9v:\r\nClient-Cert-Chain: :Zm9v:\r\nClient_Cert-chain: :Zm9v:\r\n";
    gate.world.run(async {
        let config = gate.config(Some(&id), |_| {});
        for path in ["/leaf", "/chain", "/"] {
            assert!(gate.ask(&config, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n{claims}\r\n")).await.is_some());
        }
        let (leaf, middle) = (byte_sequence(&id.chain[0]), byte_sequence(&middle_der));
        let told = |request: &Message| {
            let names = ["client-cert", "client-cert-chain", "client_cert", "client_cert-chain"];
            names.map(|name| request.all(name).join(" | "))
        };
        let requests: Vec<_> = gate.world.requests().iter().map(told).collect();
        let empty = String::new;
        let expected = [
            [leaf.clone(), empty(), empty(), empty()],
            [leaf, middle, empty(), empty()],
            [empty(), empty(), empty(), empty()],
        ];
        assert_eq!(requests, expected);
    });
}

#[test]
fn nobody_claims_a_certificate_by_plain_text_not_even_in_trailers() {
    let gate = Gate::new("");
    gate.world.reload(&gate.yaml.replace("listeners:", "listeners:\n  plain: { bind: \"127.0.0.1:8080\" }"));
    let world = &gate.world;
    world.run(async {
        let claims =
            "client-cert: :Zm9v:\r\nClient_Cert: :Zm9v:\r\nCLIENT-CERT-CHAIN: :Zm9v:\r\nclient_cert_chain: :Zm9v:\r\n";
        let head =
            "POST /chain HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: client-cert\r\nte: trailers\r\n";
        let mut client = world.client_of("plain", "192.0.2.1:1");
        client.send(format!("{head}{claims}\r\n1\r\nx\r\n0\r\n{claims}\r\n")).await;
        assert_eq!(client.response().await.status(), 200);
        let request = world.request();
        assert!(request.fields.iter().all(|(name, _)| !name.to_ascii_lowercase().starts_with("client")));
        assert!(!format!("{request:?}").contains("Zm9v"), "{request:?}");
    });
}

#[test]
fn what_tells_of_the_certificate_counts_for_the_head() {
    let gate = Gate::new("");
    let id = gate.authority.client("ada");
    gate.world
        .reload(&gate.yaml.replace("    tls:", "    limits: { head: 1KiB, field: 1KiB, target: 1KiB }\n    tls:"));
    gate.world.run(async {
        let config = gate.config(Some(&id), |_| {});
        let filler = format!("x: {}\r\n", "x".repeat(800));
        let mut client = gate.client(&config);
        client.send(format!("GET /leaf HTTP/1.1\r\nhost: a\r\n{filler}\r\n")).await;
        assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 431 "));
        assert!(gate.ask(&config, "GET /leaf HTTP/1.1\r\nhost: a\r\n\r\n").await.is_some());
        assert!(gate.ask(&config, &format!("GET / HTTP/1.1\r\nhost: a\r\n{filler}\r\n")).await.is_some());
        let line = &gate.world.log().await[0];
        assert_eq!([line.reason(), line.text("detail")], ["head-too-large", "client-certificate"]);
    });
}

#[test]
fn an_answer_that_varies_by_the_certificate_varies_by_everything_outside() {
    let gate = Gate::new("");
    let id = gate.authority.client("ada");
    let vary = "HTTP/1.1 200 OK\r\nvary: accept\r\nvary: x, Client-Cert\r\ncontent-length: 2\r\n\r\nok";
    gate.world.answers("10.0.0.1:80", vary);
    gate.world.run(async {
        let mut client = gate.client(&gate.config(Some(&id), |_| {}));
        for (path, expected) in [("/leaf", &["vary: *"][..]), ("/", &["vary: accept", "vary: x, Client-Cert"])] {
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            let head = client.until("\r\n\r\n").await;
            client.until("ok").await;
            let said: Vec<_> = head.lines().filter(|line| line.starts_with("vary")).collect();
            assert_eq!(said, expected);
        }
    });
}

#[test]
fn http_2_tells_of_the_certificate_too() {
    let gate = Gate::new("");
    let id = gate.authority.client("ada");
    gate.world.run(async {
        let mut client = gate.client(&gate.config(Some(&id), |config| config.alpn_protocols = vec![b"h2".to_vec()]));
        let fields = [(":method", "GET"), (":scheme", "https"), (":path", "/leaf"), (":authority", "a")];
        let fields = [&fields[..], &[("client-cert", ":Zm9v:"), ("client_cert", ":Zm9v:")]].concat();
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        client.send([PREFACE.as_bytes(), &frame(SETTINGS, 0, 0, b""), &head].concat()).await;
        client.until("ok").await;
        let request = gate.world.request();
        assert_eq!(request.all("client-cert"), [byte_sequence(&id.chain[0])]);
        assert_eq!(request.field("client_cert"), None);
        assert_eq!(gate.world.line().await.text("client_cert_subject"), "CN=ada");
    });
}

#[test]
fn a_resumed_session_keeps_its_certificate() {
    let gate = Gate::new("");
    let id = gate.authority.client("ada");
    gate.world.run(async {
        for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
            let mut roots = RootCertStore::empty();
            roots.add(gate.authority.0.der().clone()).unwrap();
            let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
            let key = PrivateKeyDer::try_from(id.key.clone()).unwrap();
            let builder = builder.with_root_certificates(roots);
            let config = Arc::new(builder.with_client_auth_cert(id.chain.clone(), key).unwrap());
            let request = "GET /leaf HTTP/1.1\r\nhost: a\r\n\r\n";
            assert_eq!(gate.ask(&config, request).await, Some(HandshakeKind::Full));
            assert_eq!(gate.ask(&config, request).await, Some(HandshakeKind::Resumed));
        }
        let expected = byte_sequence(&id.chain[0]);
        assert!(gate.world.requests().iter().all(|request| request.all("client-cert") == [&expected[..]]));
        let subjects: Vec<_> = gate.world.log().await.iter().map(|line| line.text("client_cert_subject")).collect();
        assert_eq!(subjects, ["CN=ada"; 4]);
    });
}

#[test]
fn a_session_of_other_rules_is_not_resumed() {
    let gate = Gate::with(", crl: list.pem", |authority| authority.list(2090, &[]));
    let id = gate.authority.client("ada");
    gate.world.run(async {
        let config = gate.config(Some(&id), |_| {});
        assert_eq!(gate.ask(&config, GET).await, Some(HandshakeKind::Full));
        // What concerns others leaves sessions alone.
        gate.world.reload(&gate.yaml.replace("name: all", "name: rest"));
        assert_eq!(gate.ask(&config, GET).await, Some(HandshakeKind::Resumed));
        gate.world.reload(&gate.yaml.replace("tls: {", "tls: { hsts: 1d,"));
        assert_eq!(gate.ask(&config, GET).await, Some(HandshakeKind::Resumed));
        // So does a file that was written anew with what it held.
        gate.world.file("ca.pem", gate.authority.0.pem());
        gate.world.reload(&gate.yaml);
        assert_eq!(gate.ask(&config, GET).await, Some(HandshakeKind::Resumed));
        gate.world.file("list.pem", gate.authority.list(2090, &[&[0x0a, 0x0b]]));
        gate.world.reload(&gate.yaml);
        assert_eq!(gate.ask(&config, GET).await, None);
        gate.world.file("list.pem", gate.authority.list(2090, &[&[0x0c]]));
        gate.world.reload(&gate.yaml);
        assert_eq!(gate.ask(&config, GET).await, Some(HandshakeKind::Full));
        gate.world.file("ca.pem", Authority::new("others").0.pem());
        gate.world.reload(&gate.yaml.replace(", crl: list.pem", ""));
        assert_eq!(gate.ask(&config, GET).await, None);
        let expected = ["certificate-revoked CN=ada", "certificate-unknown-authority CN=ada"];
        assert_eq!(refusals(&gate.world).await, expected);
    });
}

#[test]
fn a_session_whose_certificate_is_no_longer_good_is_not_gone_on_with() {
    let gate = Gate::new("");
    // By the clock of this world it begins later; the library goes by that of the machine.
    let mut params = client_params("ada");
    params.not_before = date_time_ymd(2025, 11, 1);
    let id = gate.authority.issue(params);
    gate.world.run(async {
        let config = gate.config(Some(&id), |_| {});
        assert_eq!(gate.ask(&config, GET).await, Some(HandshakeKind::Full));
        assert_eq!(gate.ask(&config, GET).await, None);
        assert_eq!(refusals(&gate.world).await, ["certificate-not-yet-valid CN=ada"]);
        assert_eq!(gate.world.connects().len(), 1);
    });
}

#[test]
fn a_chain_that_no_ticket_holds_is_served_without_one() {
    let gate = Gate::new("");
    let mut params = client_params("ada");
    let long = "x".repeat(9_000);
    params.distinguished_name.push(DnType::OrganizationName, long.as_str());
    let id = gate.authority.issue(params);
    gate.world.run(async {
        let config = gate.config(Some(&id), |config| config.resumption = Resumption::in_memory_sessions(8));
        for _ in 0..2 {
            assert_eq!(gate.ask(&config, GET).await, Some(HandshakeKind::Full));
        }
    });
}

#[test]
fn a_connection_keeps_its_client_across_a_reload() {
    let gate = Gate::new("");
    let id = gate.authority.client("ada");
    gate.world.run(async {
        let mut client = gate.client(&gate.config(Some(&id), |_| {}));
        client.send(GET).await;
        client.until("\r\n\r\nok").await;
        gate.world.file("ca.pem", Authority::new("others").0.pem());
        gate.world.reload(&gate.yaml);
        client.send(GET).await;
        client.until("\r\n\r\nok").await;
        gate.world.sleep(Duration::from_secs(1)).await;
        assert_eq!(gate.world.log().await[1].text("client_cert_subject"), "CN=ada");
    });
}
