//! TLS with other people's libraries on the other end: curl and nginx.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::stage::{ADMIN, Gateway, Nginx, figure, file, noise, run, wait_until};

/// Files of certificates, in a folder of their own.
struct Certificates(TempDir);

impl Certificates {
    /// One each for `a.test` and `b.test`.
    fn new() -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.make("a", &["a.test"]);
        folder.make("b", &["b.test", "*.b.test"]);
        folder
    }

    /// Makes a certificate, in place of the one before.
    fn make(&self, stem: &str, names: &[&str]) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        // The key first: between the two the pair is broken, which changes nothing.
        for (path, text) in [(self.key(stem), key.serialize_pem()), (self.chain(stem), certificate.pem())] {
            let draft = path.with_extension("draft");
            file(&draft, text.as_bytes());
            std::fs::rename(draft, path).unwrap();
        }
    }

    fn chain(&self, stem: &str) -> PathBuf {
        self.0.path().join(stem).with_extension("pem")
    }

    fn key(&self, stem: &str) -> PathBuf {
        self.0.path().join(stem).with_extension("key")
    }

    /// A gateway over TLS that answers by itself on `/`, and forwards the rest.
    fn config(&self, more_tls: &str, upstream: &str) -> String {
        let pair = |stem| format!("{{ chain: {:?}, key: {:?} }}", self.chain(stem), self.key(stem));
        format!(
            "listeners:\n  public: {{ bind: \"127.0.0.1:0\", tls: {{ certificates: [{}, {}]{more_tls} }} }}\n\
             upstreams:\n  origin: {{ {upstream} }}\nroutes:\n  - {{ name: here, match: {{ path: / }}, respond: {{ \
             status: 200, body: hello }} }}\n  - {{ name: there, match: {{ path: \"/{{*rest}}\" }}, to: origin }}\n{ADMIN}",
            pair("a"),
            pair("b"),
        )
    }
}

const NOWHERE: &str = "endpoints: \"127.0.0.1:1\"";

/// curl to the gateway under a name, believing this file.
fn curl(gateway: &Gateway, ca: &Path, name: &str, path: &str, more: &[&str]) -> Output {
    let (_, port) = gateway.address().rsplit_once(':').unwrap();
    let mut command = Command::new("curl");
    command.args(["-sS", "--http1.1", "--max-time", "30", "--cacert"]).arg(ca).args(more);
    command.args(["--connect-to", &format!("{name}:443:127.0.0.1:{port}")]).arg(format!("https://{name}{path}"));
    run(&mut command)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_is_served_by_both_versions_and_gets_the_certificate_of_the_name() {
    let certificates = Certificates::new();
    let gateway = Gateway::start(&certificates.config("", NOWHERE));
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        for (stem, name) in [("a", "a.test"), ("b", "b.test"), ("b", "www.b.test")] {
            let output = curl(&gateway, &certificates.chain(stem), name, "/", &version);
            assert_eq!(text(&output), "hello", "{name} {version:?} {output:?}");
        }
    }
    // Another authority, and an unknown name, which is shown the first certificate.
    assert_eq!(curl(&gateway, &certificates.chain("b"), "a.test", "/", &[]).status.code(), Some(60));
    assert_eq!(curl(&gateway, &certificates.chain("a"), "c.test", "/", &[]).status.code(), Some(60));
    assert_eq!(text(&curl(&gateway, &certificates.chain("a"), "c.test", "/", &["--insecure"])), "hello");
    let misdirected = ["--header", "host: b.test", "--write-out", "%{http_code}", "--output", "/dev/null"];
    assert_eq!(text(&curl(&gateway, &certificates.chain("a"), "a.test", "/", &misdirected)), "421");
    let metrics = gateway.metrics();
    assert!(metrics["tidegate_tls_handshakes_total{version=\"TLSv1.2\"}"] >= 3.0);
    assert!(metrics["tidegate_tls_handshakes_total{version=\"TLSv1.3\"}"] >= 3.0);
    let expiry = "tidegate_certificate_expiry_timestamp_seconds{listener=\"public\",certificate=\"0\",name=\"a.test\"}";
    assert!(metrics[expiry] > 1e9);
}

#[test]
fn curl_chooses_http_2_and_is_sent_away_with_an_authority_of_another_certificate() {
    let certificates = Certificates::new();
    let gateway = Gateway::start(&certificates.config("", NOWHERE));
    let told = ["--http2", "--write-out", " %{http_version} %{http_code}"];
    let got = curl(&gateway, &certificates.chain("a"), "a.test", "/", &told);
    assert_eq!(text(&got), "hello 2 200");
    let other = [&told[..], &["--header", "host: b.test"]].concat();
    assert!(text(&curl(&gateway, &certificates.chain("a"), "a.test", "/", &other)).ends_with(" 2 421"));
}

#[test]
fn curl_is_told_by_http_2_to_come_by_tls_alone_with_every_answer() {
    let (certificates, nginx) = (Certificates::new(), Nginx::start());
    let upstream = format!("endpoints: {:?}", nginx.address);
    let gateway = Gateway::start(&certificates.config(", hsts: 365d", &upstream));
    // By the gateway itself, by its upstream, by an error of its own, and to another authority.
    for (path, more, status) in
        [("/", "a: b", "200"), ("/files/none", "a: b", "404"), ("/%zz", "a: b", "400"), ("/", "host: b.test", "421")]
    {
        let told = ["--http2", "--header", more, "--output", "/dev/null", "--dump-header", "-"];
        let head = text(&curl(&gateway, &certificates.chain("a"), "a.test", path, &told));
        assert!(head.starts_with(&format!("HTTP/2 {status}")), "{head}");
        let said: Vec<_> = head.lines().filter(|line| line.starts_with("strict-transport")).collect();
        assert_eq!(said, ["strict-transport-security: max-age=31536000"], "{head}");
    }
}

#[test]
fn a_modern_and_strict_listener_refuses_the_old_and_the_unknown() {
    let certificates = Certificates::new();
    let gateway = Gateway::start(&certificates.config(", policy: modern, strict_sni: true", NOWHERE));
    assert_eq!(text(&curl(&gateway, &certificates.chain("a"), "a.test", "/", &[])), "hello");
    let old = curl(&gateway, &certificates.chain("a"), "a.test", "/", &["--tls-max", "1.2"]);
    assert_eq!(old.status.code(), Some(35), "{old:?}");
    let unknown = curl(&gateway, &certificates.chain("a"), "c.test", "/", &["--insecure"]);
    assert_eq!(unknown.status.code(), Some(35), "{unknown:?}");
    assert_eq!(gateway.metrics()["tidegate_tls_handshake_failures_total{detail=\"unknown-name\"}"], 1.0);
}

/// What `openssl s_client` says of a connection on which it sends this.
fn openssl(gateway: &Gateway, request: &str, more: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", gateway.address(), "-servername", "a.test", "-ign_eof"]).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().unwrap();
    // It ends when the gateway ends the connection.
    client.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    let output = client.wait_with_output().unwrap();
    text(&output) + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn openssl_resumes_on_every_shard_and_what_is_old_or_unknown_is_refused() {
    const CLOSE: &str = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
    let certificates = Certificates::new();
    let config = format!("gateway: {{ workers: 2 }}\n{}", certificates.config("", NOWHERE));
    let gateway = Gateway::start(&config);
    let session = certificates.0.path().join("session");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let first = openssl(&gateway, CLOSE, &[version, "-sess_out", session]);
        assert!(first.contains("New, TLSv1.") && first.contains("hello"), "{first}");
        for _ in 0..8 {
            let again = openssl(&gateway, CLOSE, &[version, "-sess_in", session]);
            assert!(again.contains("Reused, TLSv1.") && again.contains("hello"), "{again}");
        }
        let other = openssl(&gateway, CLOSE, &[version, "-sess_in", session, "-servername", "b.test"]);
        assert!(other.contains("New, TLSv1."), "{other}");
    }
    assert_eq!(gateway.metrics()["tidegate_tls_handshakes_resumed_total"], 16.0);
    for (more, word) in [
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "AES128-SHA"], "alert handshake failure"),
        (&["-alpn", "spdy/3"], "alert no application protocol"),
    ] {
        let refused = openssl(&gateway, CLOSE, more);
        assert!(refused.contains(word) && !refused.contains("hello"), "{more:?} {refused}");
    }
    let older = openssl(&gateway, CLOSE, &["-alpn", "spdy/3,http/1.1"]);
    assert!(older.contains("ALPN protocol: http/1.1"), "{older}");
    let metrics = gateway.metrics();
    assert_eq!(metrics["tidegate_tls_handshake_failures_total{detail=\"incompatible\"}"], 2.0);
    assert_eq!(metrics["tidegate_tls_handshake_failures_total{detail=\"no-common-protocol\"}"], 1.0);
    assert_eq!(metrics["tidegate_panics_total"], 0.0);
}

#[test]
fn bodies_pass_whole_both_ways_with_tls_on_both_sides() {
    let certificates = Certificates::new();
    let nginx = Nginx::start_tls(certificates.chain("b"), certificates.key("b"));
    let tls = format!("tls: {{ ca: {:?}, server_name: b.test }}", certificates.chain("b"));
    let gateway = Gateway::start(&certificates.config("", &format!("endpoints: {:?}, {tls}", nginx.address)));
    let mib = figure("TIDEGATE_LIVE_MIB", 64).min(32) as usize;
    let content = noise(mib * 1024 * 1024 + 12_345);
    file(&nginx.root().join("body"), &content);
    let got = curl(&gateway, &certificates.chain("a"), "a.test", "/files/body", &[]);
    assert!(got.stdout == content, "{} of {} octets", got.stdout.len(), content.len());
    let memory = gateway.memory_kib("VmHWM");
    assert!(memory < 200 * 1024, "{memory} KiB");
}

#[test]
fn an_upstream_without_a_trusted_certificate_is_not_spoken_to() {
    let certificates = Certificates::new();
    let nginx = Nginx::start_tls(certificates.chain("b"), certificates.key("b"));
    let upstream = |tls: &str| format!("endpoints: {:?}, mark_down: {{ for: 1ms }}, tls: {{ {tls} }}", nginx.address);
    let status = ["--write-out", "%{http_code}", "--output", "/dev/null"];
    for (tls, expected) in [
        (format!("ca: {:?}, server_name: b.test", certificates.chain("b")), "200"),
        (format!("ca: {:?}, server_name: a.test", certificates.chain("b")), "502"),
        (format!("ca: {:?}", certificates.chain("b")), "502"),
        (format!("ca: {:?}, server_name: b.test", certificates.chain("a")), "502"),
        ("verify: false".to_owned(), "200"),
    ] {
        let gateway = Gateway::start(&certificates.config("", &upstream(&tls)));
        let output = curl(&gateway, &certificates.chain("a"), "a.test", "/there", &status);
        assert_eq!(text(&output), expected, "{tls}");
        assert_eq!(gateway.told().contains("unverified"), tls.starts_with("verify"), "{}", gateway.told());
    }
}

#[test]
fn a_renewed_certificate_is_taken_up_under_load_and_a_broken_one_is_not() {
    let certificates = Certificates::new();
    let gateway = Gateway::start(&certificates.config("", NOWHERE));
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::atomic::AtomicU32::new(0)));
    std::thread::scope(|scope| {
        let (stopped, counted, gateway_ref, ca) = (&stop, &served, &gateway, certificates.chain("a"));
        scope.spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let output = curl(gateway_ref, &ca, "a.test", "/", &["--insecure"]);
                assert_eq!(text(&output), "hello", "{output:?}");
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        for round in 0..3 {
            let (before, generation) = (served.load(Ordering::SeqCst), gateway.generation());
            certificates.make("a", &["a.test"]);
            wait_until("the new certificate is shown", || {
                gateway.generation() > generation
                    && text(&curl(&gateway, &certificates.chain("a"), "a.test", "/", &[])) == "hello"
            });
            wait_until("requests go on", || served.load(Ordering::SeqCst) > before + round);
        }
        stop.store(true, Ordering::SeqCst);
    });
    // Whoever reads the file sees that the old one stays.
    let old = certificates.0.path().join("old.pem");
    std::fs::copy(certificates.chain("a"), &old).unwrap();
    let generation = gateway.generation();
    file(&certificates.chain("a"), b"-----BEGIN CERTIFICATE-----\nbroken\n");
    gateway.wait_told("bad-pem");
    assert_eq!(gateway.generation(), generation);
    assert_eq!(text(&curl(&gateway, &old, "a.test", "/", &[])), "hello");
    assert!(!gateway.told().contains("PRIVATE"), "a key is never told");
}

#[test]
fn stalled_handshakes_cost_little_and_end_in_time() {
    let certificates = Certificates::new();
    let config = certificates.config("", NOWHERE);
    let config = format!("gateway: {{ timeouts: {{ handshake: 3s }} }}\n{config}");
    let gateway = Gateway::start(&config);
    assert_eq!(text(&curl(&gateway, &certificates.chain("a"), "a.test", "/", &[])), "hello");
    let count = figure("TIDEGATE_LIVE_IDLE", 1000) as usize / 2;
    let before = gateway.memory_kib("VmRSS");
    let began = Instant::now();
    // The first octets of a hello, and then nothing.
    let connect = |_| {
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]).unwrap();
        stream
    };
    let mut stalled: Vec<_> = (0..count).map(connect).collect();
    wait_until("all shake hands", || gateway.metrics()["tidegate_tls_handshakes_in_flight"] == count as f64);
    assert_eq!(text(&curl(&gateway, &certificates.chain("a"), "a.test", "/", &[])), "hello");
    let each = gateway.memory_kib("VmRSS").saturating_sub(before) as f64 / count as f64;
    eprintln!("{each:.1} KiB for each stalled handshake");
    assert!(each <= 16.0, "{each:.1} KiB each");
    for stream in &mut stalled {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.read(&mut [0; 64]);
    }
    assert!(began.elapsed() < Duration::from_secs(15));
    wait_until("none is left", || gateway.metrics()["tidegate_tls_handshakes_in_flight"] == 0.0);
}

#[test]
fn an_idle_connection_costs_little() {
    let certificates = Certificates::new();
    let gateway = Gateway::start(&certificates.config("", NOWHERE));
    let (stem, count) = ("a", figure("TIDEGATE_LIVE_IDLE", 1000) as usize / 2);
    let connect = || {
        use rustls::pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_file(certificates.chain(stem)).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        let session = rustls::ClientConnection::new(Arc::new(config), "a.test".try_into().unwrap()).unwrap();
        let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(gateway.address()).unwrap());
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").unwrap();
        let mut answer = [0; 1024];
        let mut filled = 0;
        while !answer[..filled].ends_with(b"hello") {
            filled += stream.read(&mut answer[filled..]).unwrap();
        }
        stream
    };
    // What the first ones leave in the pools is no cost of the others.
    let warm: Vec<_> = (0..20).map(|_| connect()).collect();
    let before = gateway.memory_kib("VmRSS");
    let idle: Vec<_> = (0..count).map(|_| connect()).collect();
    let each = gateway.memory_kib("VmRSS").saturating_sub(before) as f64 / count as f64;
    eprintln!("{each:.1} KiB for each idle connection");
    assert!(each <= 12.0, "{each:.1} KiB each");
    drop((warm, idle));
}
