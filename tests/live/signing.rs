//! RSA handshakes, signed by threads of their own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::stage::{ADMIN, Gateway, figure, file};

type Client = StreamOwned<ClientConnection, TcpStream>;

fn connect(gateway: &Gateway, config: &Arc<ClientConfig>) -> Client {
    let session = ClientConnection::new(Arc::clone(config), "a.test".try_into().unwrap()).unwrap();
    StreamOwned::new(session, TcpStream::connect(gateway.address()).unwrap())
}

fn ask(client: &mut Client) {
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").unwrap();
    let (mut answer, mut filled) = ([0; 1024], 0);
    while !answer[..filled].ends_with(b"hello") {
        let count = client.read(&mut answer[filled..]).unwrap();
        assert!(count > 0, "the connection ended");
        filled += count;
    }
}

/// Ticks of processor time that the threads of a process whose names begin so have used.
fn ticks_of(process: u32, threads: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let ticks = |stat: String| {
        let (front, rest) = stat.rsplit_once(')')?;
        let (_, name) = front.split_once('(')?;
        name.starts_with(threads).then_some(())?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
    };
    stats.filter_map(ticks).sum()
}

#[test]
fn rsa_handshakes_are_signed_beside_the_shards_while_others_are_served() {
    let folder = TempDir::new().unwrap();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let certificate = CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let [chain_path, key_path] = ["a.pem", "a.key"].map(|name| folder.path().join(name));
    file(&chain_path, certificate.pem().as_bytes());
    file(&key_path, key.serialize_pem().as_bytes());
    let tls = format!("tls: {{ certificates: {{ chain: {chain_path:?}, key: {key_path:?} }} }}");
    let gateway = Gateway::start(&format!(
        "gateway: {{ workers: 1 }}\nlisteners: {{ public: {{ bind: \"127.0.0.1:0\", {tls} }} }}\nroutes: [{{ match: {{ path: \
         / }}, respond: {{ status: 200, body: hello }} }}]\n{ADMIN}"
    ));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    let mut established = connect(&gateway, &config);
    ask(&mut established);
    let each = figure("TIDEGATE_LIVE_IDLE", 1000) as usize / 16;
    let before = ticks_of(gateway.id(), "sign-");
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        let shake = || (0..each).for_each(|_| ask(&mut connect(&gateway, &config)));
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(shake)).collect();
        while !clients.iter().all(|client| client.is_finished()) {
            let began = Instant::now();
            ask(&mut established);
            times.push(began.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    times.sort_unstable();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    eprintln!("beside {} RSA handshakes: median {median:?}, p99 {p99:?}", 4 * each);
    let metrics = gateway.metrics();
    assert!(metrics["tidegate_tls_handshakes_total{version=\"TLSv1.3\"}"] >= (4 * each) as f64);
    assert!(ticks_of(gateway.id(), "sign-") > before, "they sign, and not the shard");
    assert_eq!(metrics["tidegate_panics_total"], 0.0);
}
