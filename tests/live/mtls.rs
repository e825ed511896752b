//! Certificates of clients, with curl and OpenSSL showing them.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use tempfile::TempDir;

use crate::stage::{ADMIN, Gateway, Nginx, file, run, wait_until};

/// An authority, what it has issued, and the folder of its files.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "clients");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let all = Self { folder: TempDir::new().unwrap(), issuer };
        all.write("ca.pem", &all.issuer.pem());
        all.issue("gate", &["a.test"], 1);
        all.issue("ada", &[], 2);
        all.issue("bob", &[], 3);
        all.revoke(&[]);
        all
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        file(&self.path("draft"), text.as_bytes());
        std::fs::rename(self.path("draft"), self.path(name)).unwrap();
    }

    fn issue(&self, name: &str, hosts: &[&str], serial: u64) {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        self.write(&format!("{name}.key"), &key.serialize_pem());
        self.write(&format!("{name}.pem"), &params.signed_by(&key, &self.issuer).unwrap().pem());
    }

    /// Writes the revocation list anew.
    fn revoke(&self, serials: &[u64]) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2025, 1, 1),
            next_update: rcgen::date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("list.pem", &params.signed_by(&self.issuer).unwrap().pem().unwrap());
    }

    fn config(&self, clients: &str, upstream: &str) -> String {
        let (ca, list) = (self.path("ca.pem"), self.path("list.pem"));
        let pair = format!("{{ chain: {:?}, key: {:?} }}", self.path("gate.pem"), self.path("gate.key"));
        format!(
            "listeners:\n  public: {{ bind: \"127.0.0.1:0\", tls: {{ certificates: {pair}, client_certificates: {{ ca: \
             {ca:?}, crl: {list:?}{clients} }} }} }}\nupstreams: {{ origin: {{ endpoints: {upstream:?} }} }}\nroutes:\n  \
             - {{ name: here, match: {{ path: / }}, respond: {{ status: 200, body: hello }} }}\n  - {{ name: there, match: \
             {{ path: \"/{{*rest}}\" }}, to: {{ upstream: origin, client_certificate: leaf }} }}\n{ADMIN}"
        )
    }

    fn curl(&self, gateway: &Gateway, who: Option<&str>, more: &[&str]) -> Output {
        let (_, port) = gateway.address().rsplit_once(':').unwrap();
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "30", "--cacert"]).arg(self.path("ca.pem")).args(more);
        if let Some(who) = who {
            command.arg("--cert").arg(self.path(&format!("{who}.pem")));
            command.arg("--key").arg(self.path(&format!("{who}.key")));
        }
        run(command.args(["--connect-to", &format!("a.test:443:127.0.0.1:{port}")]).arg("https://a.test/"))
    }

    fn is_served(&self, gateway: &Gateway, who: Option<&str>, more: &[&str]) -> bool {
        self.curl(gateway, who, more).stdout == b"hello"
    }
}

const BOTH: [[&str; 3]; 2] = [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]];

#[test]
fn curl_must_show_a_certificate_where_one_is_required() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.config("", "127.0.0.1:1"));
    for version in BOTH {
        for http in ["--http1.1", "--http2"] {
            let more = [&version[..], &[http]].concat();
            assert!(authority.is_served(&gateway, Some("ada"), &more), "{more:?}");
            assert!(!authority.is_served(&gateway, None, &more), "{more:?}");
        }
    }
    assert_eq!(gateway.metrics()["tidegate_tls_handshake_failures_total{detail=\"certificate-missing\"}"], 4.0);
    let optional = Gateway::start(&authority.config(", mode: optional", "127.0.0.1:1"));
    assert!(authority.is_served(&optional, None, &[]) && authority.is_served(&optional, Some("ada"), &[]));
}

#[test]
fn a_revocation_is_taken_up_when_its_file_changes_and_a_broken_list_is_not() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.config("", "127.0.0.1:1"));
    assert!(authority.is_served(&gateway, Some("ada"), &[]));
    authority.revoke(&[2]);
    wait_until("ada is refused", || !authority.is_served(&gateway, Some("ada"), &[]));
    assert!(authority.is_served(&gateway, Some("bob"), &[]));
    assert!(gateway.metrics()["tidegate_tls_handshake_failures_total{detail=\"certificate-revoked\"}"] >= 1.0);
    authority.write("list.pem", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    gateway.wait_told("bad-revocation-list");
    assert!(!authority.is_served(&gateway, Some("ada"), &[]) && authority.is_served(&gateway, Some("bob"), &[]));
}

/// Asks by `openssl s_client` with a certificate, and with a session of before.
fn openssl(authority: &Authority, gateway: &Gateway, who: &str, more: &[&str]) -> String {
    use std::io::Write as _;
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", gateway.address(), "-servername", "a.test", "-ign_eof"]).args(more);
    command.arg("-cert").arg(authority.path(&format!("{who}.pem")));
    command.arg("-key").arg(authority.path(&format!("{who}.key")));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
    client.stdin.take().unwrap().write_all(request).unwrap();
    let output = client.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn openssl_resumes_with_its_certificate_and_not_across_a_revocation() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.config("", "127.0.0.1:1"));
    let session = authority.path("session");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let generation = gateway.generation();
        authority.revoke(&[]);
        // Another list, though it says the same.
        wait_until("the list is taken up", || gateway.generation() > generation);
        let first = openssl(&authority, &gateway, "ada", &[version, "-sess_out", session]);
        assert!(first.contains("New, TLSv1.") && first.contains("hello"), "{first}");
        let again = openssl(&authority, &gateway, "ada", &[version, "-sess_in", session]);
        assert!(again.contains("Reused, TLSv1.") && again.contains("hello"), "{again}");
        authority.revoke(&[2]);
        wait_until("ada is refused", || !authority.is_served(&gateway, Some("ada"), &[]));
        let refused = openssl(&authority, &gateway, "ada", &[version, "-sess_in", session]);
        assert!(!refused.contains("Reused") && !refused.contains("hello"), "{refused}");
        assert!(refused.contains("certificate revoked"), "{refused}");
    }
}

#[test]
fn openssl_gets_the_ocsp_response_that_openssl_has_made() {
    let authority = Authority::new();
    authority.write("ca.key", &authority.issuer.key().serialize_pem());
    authority.write("index.txt", "V\t900101000000Z\t\t01\tunknown\t/CN=gate\n");
    let mut command = Command::new("openssl");
    command.args(["ocsp", "-no_nonce", "-ndays", "1", "-index"]).arg(authority.path("index.txt"));
    for (option, file) in [("-CA", "ca.pem"), ("-rsigner", "ca.pem"), ("-rkey", "ca.key"), ("-issuer", "ca.pem")] {
        command.arg(option).arg(authority.path(file));
    }
    run(command.args(["-serial", "1", "-respout"]).arg(authority.path("gate.der")));
    let config = authority.config(", mode: optional", "127.0.0.1:1");
    let ocsp = format!("{:?}, ocsp: {:?} }}", authority.path("gate.key"), authority.path("gate.der"));
    let gateway = Gateway::start(&config.replace(&format!("{:?} }}", authority.path("gate.key")), &ocsp));
    for version in ["-tls1_2", "-tls1_3"] {
        let said = openssl(&authority, &gateway, "ada", &[version, "-status"]);
        assert!(said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good"), "{said}");
    }
}

#[test]
fn nginx_behind_is_told_of_the_certificate() {
    let (authority, nginx) = (Authority::new(), Nginx::start());
    let gateway = Gateway::start(&authority.config("", &nginx.address));
    let (_, port) = gateway.address().rsplit_once(':').unwrap();
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "--cacert"]).arg(authority.path("ca.pem"));
    command.arg("--cert").arg(authority.path("ada.pem")).arg("--key").arg(authority.path("ada.key"));
    command.args(["--connect-to", &format!("a.test:443:127.0.0.1:{port}"), "https://a.test/files/none"]);
    command.args(["--header", "client-cert: :Zm9v:", "-o", "/dev/null", "-w", "%{http_code}"]);
    // A field of that length is no reason for it to refuse.
    assert_eq!(run(&mut command).stdout, b"404");
}
