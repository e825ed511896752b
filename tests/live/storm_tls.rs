//! HTTP/2 over TLS under load while certificates and the configuration change every second.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::stage::process::Process;
use crate::stage::{ADMIN, Gateway, Nginx, curl, figure, file, noise, wait_until};

const CHANGE_EVERY: Duration = Duration::from_secs(1);
/// Clients of HTTP/2 with so many streams each, and beside them clients of HTTP/1.1.
const CLIENTS: [&str; 2] = ["8", "8"];
const STREAMS: &str = "16";

/// A fresh certificate under the same two names.
fn renew(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    for (name, text) in [("a.key", key.serialize_pem()), ("a.pem", certificate.pem())] {
        let draft = folder.join("draft");
        file(&draft, text.as_bytes());
        std::fs::rename(draft, folder.join(name)).unwrap();
    }
}

/// A configuration that differs with every version, and serves the same.
fn config(version: u64, folder: &Path, upstream: &str) -> String {
    let (chain, key) = (folder.join("a.pem"), folder.join("a.key"));
    // A connection of HTTP/2 that is told to leave is one that h2load never replaces.
    format!(
        "gateway: {{ limits: {{ requests_per_connection: unlimited }} }}\naccess_log: off\nlisteners:\n  public: {{ bind: \
         \"127.0.0.1:0\", tls: {{ certificates: {{ chain: {chain:?}, key: {key:?} }} }} }}\nupstreams:\n  origin: {{ \
         endpoints: {upstream:?} }}\nroutes:\n  - {{ match: {{ path: \"/only/v{version}\" }}, respond: {{ status: 204 }} }}\n  \
         - {{ name: all, match: {{ path: \"/{{*rest}}\" }}, to: origin }}\n{ADMIN}"
    )
}

/// h2load for so long, with these of its own options.
fn load(gateway: &Gateway, seconds: u64, more: &[&str]) -> Process {
    let (_, port) = gateway.address().rsplit_once(':').unwrap();
    let mut command = Command::new("h2load");
    command.args(["--duration", &seconds.to_string(), "--connect-to", &format!("127.0.0.1:{port}")]).args(more);
    command.arg("https://a.test/files/body");
    Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// How many requests succeeded; none may have failed.
fn succeeded(mut load: Process) -> u64 {
    let mut told = String::new();
    std::io::Read::read_to_string(&mut load.child().stdout.take().unwrap(), &mut told).unwrap();
    let line = told.lines().find(|line| line.starts_with("requests:")).unwrap_or_else(|| panic!("no result: {told}"));
    assert!(line.contains(" 0 failed, 0 errored, 0 timeout"), "{told}");
    let number = |words: &str, after: &str| -> u64 {
        let (before, _) = words.split_once(after).unwrap_or_else(|| panic!("no {after}: {told}"));
        before.rsplit([' ', ',']).next().unwrap().parse().unwrap()
    };
    let succeeded = number(line, " succeeded");
    let codes = told.lines().find(|line| line.starts_with("status codes:")).unwrap();
    assert_eq!(number(codes, " 2xx"), succeeded, "{told}");
    succeeded
}

#[test]
fn new_certificates_and_configurations_every_second_fail_no_request() {
    let seconds = figure("TIDEGATE_LIVE_SECONDS", 5);
    let (folder, nginx) = (TempDir::new().unwrap(), Nginx::start());
    file(&nginx.root().join("body"), &noise(1000));
    renew(folder.path());
    let gateway = Gateway::start(&config(0, folder.path(), &nginx.address));
    let multiplexed = load(&gateway, seconds, &["-c", CLIENTS[0], "-m", STREAMS]);
    let plain = load(&gateway, seconds, &["-c", CLIENTS[1], "--h1"]);
    let (began, mut version, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while began.elapsed() < Duration::from_secs(seconds) {
        version += 1;
        let asked = Instant::now();
        // Between the two files and the reload stands nothing that could meet a broken pair.
        renew(folder.path());
        gateway.write(&config(version, folder.path(), &nginx.address));
        let answer = gateway.call("POST", "/config/reload");
        assert_eq!(answer.status, 200, "{}", answer.text());
        slowest = slowest.max(asked.elapsed());
        shows(&gateway, folder.path(), version);
        std::thread::sleep(CHANGE_EVERY.saturating_sub(asked.elapsed()));
    }
    let (by_h2, by_h1) = (succeeded(multiplexed), succeeded(plain));
    println!(
        "storm over TLS: {seconds} s\n  requests by HTTP/2    {by_h2}\n  requests by HTTP/1.1  {by_h1}\n  certificates \
         and configurations  {version}\n  slowest               {} ms\n  failures              0",
        slowest.as_millis()
    );
    assert!(by_h2 > 1000 && by_h1 > 1000 && version > 1);
    wait_until("no stream is left", || gateway.metrics()["tidegate_http2_streams_open"] == 0.0);
}

/// Whether a new client is shown the newest certificate, and the newest configuration is in force.
fn shows(gateway: &Gateway, folder: &Path, version: u64) {
    let (_, port) = gateway.address().rsplit_once(':').unwrap();
    let (chain, place) = (folder.join("a.pem"), format!("a.test:443:127.0.0.1:{port}"));
    let url = format!("https://a.test/only/v{version}");
    let shown = ["--cacert", chain.to_str().unwrap(), "--connect-to", &place, "--write-out", "%{http_code}", &url];
    assert_eq!(curl(&shown), "204");
}
