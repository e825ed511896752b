//! gRPC with other people's client and server: those of the Python package, whose processes and packages `grpc/calls.py` names.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::stage::process::Process;
use crate::stage::{ADMIN, Gateway, file, run};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/grpc/calls.py");
const PACKAGES: [&str; 3] = ["grpcio==1.85.3", "grpcio-health-checking==1.85.1", "grpcio-reflection==1.85.1"];

/// A Python that has the packages; they are installed once for each build folder.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpc-1.85.3");
    let python = folder.join("bin/python");
    let is_whole = folder.join("whole");
    if !is_whole.exists() {
        succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES));
        file(&is_whole, b"");
    }
    python
});

fn succeeds(command: &mut Command) -> String {
    let output = run(command);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{told}{}", String::from_utf8_lossy(&output.stderr));
    told
}

/// A server, and its port.
fn server() -> (Process, String) {
    let mut command = Command::new(&*PYTHON);
    command.args([SCRIPT, "serve"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    let mut port = String::new();
    BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut port).unwrap();
    (process, port.trim().to_owned())
}

/// TLS and HTTP/2 in front, plain HTTP/2 behind.
fn config(folder: &Path, port: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    file(&folder.join("a.pem"), certificate.pem().as_bytes());
    file(&folder.join("a.key"), key.serialize_pem().as_bytes());
    let echo = "{ upstream: up, path: \"/test.Echo/{m}\" }";
    format!(
        "listeners:\n  public: {{ bind: \"127.0.0.1:0\", tls: {{ certificates: [{{ chain: {:?}, key: {:?} }}] }} }}\nupstreams:\n  \
         up: {{ endpoints: \"127.0.0.1:{port}\", protocol: h2 }}\n  gone: {{ endpoints: \"127.0.0.1:1\", protocol: h2 }}\nroutes:\n  \
         - {{ name: echo, match: {{ path: \"/test.Echo/{{m}}\" }}, to: up, grpc_web: true }}\n  \
         - {{ name: quick, match: {{ path: \"/test.Quick/{{m}}\" }}, to: {echo}, timeouts: {{ total: 1s }} }}\n  \
         - {{ name: nowhere, match: {{ path: \"/test.Nowhere/{{m}}\" }}, to: gone }}\n  \
         - {{ name: health, match: {{ path: \"/grpc.health.v1.Health/{{m}}\" }}, to: up }}\n  \
         - {{ name: reflection, match: {{ path: \"/grpc.reflection.v1alpha.ServerReflection/{{m}}\" }}, to: up }}\n{ADMIN}",
        folder.join("a.pem"),
        folder.join("a.key"),
    )
}

#[test]
fn every_kind_of_call_passes_between_their_client_and_their_server() {
    let folder = TempDir::new().unwrap();
    let (_server, port) = server();
    let gateway = Gateway::start(&config(folder.path(), &port));
    let mut call = Command::new(&*PYTHON);
    call.args([SCRIPT, "call", gateway.address()]).arg(folder.path().join("a.pem"));
    let told = succeeds(&mut call);
    assert!(told.ends_with(" things held\n"), "{told}");
    let metrics = gateway.metrics();
    let calls =
        |status| metrics.get(&format!("tidegate_grpc_calls_total{{route=\"echo\",grpc_status=\"{status}\"}}")).copied();
    assert!(calls(0).is_some_and(|count| count > 500.0), "{:?}", calls(0));
    assert_eq!((calls(9), calls(15)), (Some(3.0), Some(1.0)), "failures of the server");
    assert!(calls(1).is_some() && calls(4).is_some(), "cancelled by the caller, and out of time");
    assert_eq!(metrics["tidegate_http2_streams_open"], 0.0);
    assert_eq!(metrics["tidegate_upstream_http2_streams_open{upstream=\"up\"}"], 0.0);
}
