//! Uploads by HTTP/2 into an upstream that takes nothing: what is held for them stays what the configuration says.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::stage::process::Process;
use crate::stage::{ADMIN, Gateway, figure, wait_until};

const GIB: u64 = 1 << 30;
/// Uploads that fill the pools, and those that are measured beside them.
const FIRST: usize = 4;
const UPLOADS: usize = 12;
const STREAM_WINDOW_KIB: u64 = 64;
/// What one upload and its connection take beside its window: a buffer on each side, the library's own, and what the
/// allocator keeps around them.
const EACH_KIB_MAX: u64 = STREAM_WINDOW_KIB + 192;

/// Accepts every connection and reads from none.
fn deaf_origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Ends with the process of the test.
    thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    address
}

#[test]
fn a_gib_into_a_stalled_upstream_takes_no_more_than_its_window() {
    let gateway = Gateway::start(&format!(
        "gateway: {{ limits: {{ body: 2GiB }} }}\nlisteners:\n  public: {{ bind: \"127.0.0.1:0\", protocols: [http1, h2], \
         h2: {{ stream_window: {STREAM_WINDOW_KIB}KiB, connection_window: 256KiB }} }}\nupstreams:\n  deaf: {{ endpoints: \
         {:?} }}\nroutes:\n  - {{ name: here, match: {{ path: / }}, respond: {{ body: hello }} }}\n  - {{ match: {{ path: \
         \"/{{*rest}}\" }}, to: deaf }}\n{ADMIN}",
        deaf_origin()
    ));
    let folder = TempDir::new().unwrap();
    let source = folder.path().join("gib");
    File::create(&source).unwrap().set_len(GIB).unwrap();
    let upload = |path: &str| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--http2-prior-knowledge", "--max-time", "60", "--upload-file"]).arg(&source);
        let url = format!("http://{}{path}", gateway.address());
        Process::spawn(command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    };
    let begin = |count: usize| (0..count).map(|number| upload(&format!("/{number}"))).collect::<Vec<_>>();
    let open = || gateway.metrics()["tidegate_http2_streams_open"];
    let mut uploads = begin(FIRST);
    wait_until("the first are under way", || open() == FIRST as f64);
    let look = |time: Duration| {
        let (end, mut most) = (Instant::now() + time, 0);
        while Instant::now() < end {
            most = most.max(gateway.memory_kib("VmRSS"));
            assert_eq!(gateway.get("/").text(), "hello", "others are served");
            sleep(Duration::from_millis(50));
        }
        most
    };
    let before = look(Duration::from_secs(2));
    uploads.extend(begin(UPLOADS));
    wait_until("all are under way", || open() == (FIRST + UPLOADS) as f64);
    let most = look(Duration::from_secs(figure("TIDEGATE_LIVE_SECONDS", 5).min(20))).saturating_sub(before);
    for upload in &mut uploads {
        assert!(upload.child().try_wait().unwrap().is_none(), "an upload has ended");
    }
    eprintln!("{most} KiB at most for {UPLOADS} uploads of a GiB");
    assert!(most <= EACH_KIB_MAX * UPLOADS as u64, "{most} KiB");
}
