//! WebSocket with other people's parts: the Python libraries `websockets` and `h2`, as Debian has them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::stage::process::Process;
use crate::stage::{ADMIN, Client, Gateway, file, run, wait_until};

/// Debian's own, which has the libraries.
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/stage/websocket.py");

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg(SCRIPT).args(arguments);
    command
}

/// An origin that echoes messages.
struct Echo {
    process: Process,
    port: u16,
}

impl Echo {
    fn start() -> Self {
        let mut process = Process::spawn(python(&["server"]).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, port: line.trim().parse().expect("a port") }
    }
}

/// A listener of both versions before an echo; `more` stands in the listener.
fn config(port: u16, limits: &str, more: &str) -> String {
    format!(
        "gateway: {{ drain: {{ delay: 1ms, deadline: 1s }} }}\nlisteners:\n  public: {{ bind: \"127.0.0.1:0\", protocols: \
         [http1, h2]{more} }}\nupstreams:\n  echo: {{ endpoints: \"127.0.0.1:{port}\" }}\nroutes:\n  - {{ name: socket, match: \
         {{ path: /ws }}, to: echo, upgrade: websocket, websocket: {{ {limits} }} }}\n  - {{ name: plain, match: {{ path: /plain \
         }}, respond: {{ body: hello }} }}\n{ADMIN}"
    )
}

fn passes(arguments: &[&str]) {
    let output = run(&mut python(arguments));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.ends_with("ok\n"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn messages_of_every_kind_pass_by_http_1_1_and_by_http_2() {
    let echo = Echo::start();
    let gateway = Gateway::start(&config(echo.port, "lifetime: 1h", ""));
    passes(&["http1", &format!("ws://{}/ws", gateway.address())]);
    passes(&["http2", gateway.address()]);
    let figures = gateway.metrics();
    assert_eq!(figures["tidegate_websockets_opened_total{protocol=\"HTTP/1.1\"}"], 2.0);
    assert_eq!(figures["tidegate_websockets_opened_total{protocol=\"HTTP/2.0\"}"], 2.0);
    wait_until("all are closed", || gateway.metrics()["tidegate_websockets_open"] == 0.0);
    drop(echo.process);
}

#[test]
fn they_pass_inside_of_tls_as_well() {
    let folder = TempDir::new().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["live.test".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    file(Path::new(&path("a.pem")), certificate.pem().as_bytes());
    file(Path::new(&path("a.key")), key.serialize_pem().as_bytes());
    let tls = format!(", tls: {{ certificates: [{{ chain: {:?}, key: {:?} }}] }}", path("a.pem"), path("a.key"));
    let echo = Echo::start();
    let gateway = Gateway::start(&config(echo.port, "lifetime: 1h", &tls));
    passes(&["http1", &format!("wss://{}/ws#{}", gateway.address(), path("a.pem"))]);
    passes(&["http2", gateway.address(), &path("a.pem")]);
}

#[test]
fn they_pass_from_gateway_to_gateway_by_http_2() {
    let echo = Echo::start();
    let second = Gateway::start(&config(echo.port, "lifetime: 1h", ""));
    let (_, port) = second.address().rsplit_once(':').unwrap();
    let to_second = config(port.parse().unwrap(), "lifetime: 1h", "");
    let endpoint = format!("\"127.0.0.1:{port}\"");
    let to_second = to_second.replace(&endpoint, &format!("{endpoint}, protocol: h2"));
    let first = Gateway::start(&to_second);
    passes(&["http1", &format!("ws://{}/ws", first.address())]);
    passes(&["http2", first.address()]);
    assert_eq!(second.metrics()["tidegate_websockets_opened_total{protocol=\"HTTP/2.0\"}"], 4.0);
    wait_until("all are closed", || second.metrics()["tidegate_websockets_open"] == 0.0);
}

/// A client that waits to be closed, once its WebSocket is open.
fn waiting(gateway: &Gateway) -> (Process, BufReader<std::process::ChildStdout>) {
    let url = format!("ws://{}/ws", gateway.address());
    let mut client = Process::spawn(python(&["wait-close", &url]).stdout(Stdio::piped()));
    let mut told = BufReader::new(client.child().stdout.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert_eq!(line, "open\n");
    (client, told)
}

#[test]
fn a_client_learns_by_its_close_code_that_time_is_over_or_the_gateway_leaves() {
    let echo = Echo::start();
    for limits in ["lifetime: 500ms", "idle_timeout: 500ms", "lifetime: 1h"] {
        let gateway = Gateway::start(&config(echo.port, limits, ""));
        let (_client, mut told) = waiting(&gateway);
        if limits == "lifetime: 1h" {
            gateway.signal("TERM");
        }
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        assert_eq!(line, "1001\n", "{limits}");
    }
}

/// A WebSocket whose other end is ours as well.
fn pair() -> (Gateway, Client, TcpStream) {
    let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::start(&config(origin.local_addr().unwrap().port(), "lifetime: 1h", ""));
    let mut client = gateway.client();
    client.send(String::from_utf8_lossy(crate::tunnel::HANDSHAKE).replace("/socket", "/ws").as_bytes());
    let (mut server, _) = origin.accept().unwrap();
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        server.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
    server
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.head().unwrap().status, 101);
    (gateway, client, server)
}

/// Has the close of this stream be a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[test]
fn a_reset_of_either_side_arrives_as_a_reset_on_the_other_at_once() {
    let (gateway, mut client, server) = pair();
    let then = Instant::now();
    reset(server);
    assert_eq!(client.exactly(1).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let (other, client, mut server) = pair();
    reset(client.into_stream());
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(then.elapsed() < Duration::from_secs(10));
    for (gateway, reason) in [(gateway, "upstream-reset"), (other, "client-closed")] {
        let closed = format!("tidegate_websockets_closed_total{{reason={reason:?}}}");
        wait_until(reason, || gateway.metrics().get(&closed) == Some(&1.0));
    }
}
