//! Messages of every shape between curl and nginx.

use std::process::Command;

use crate::stage::{Gateway, Nginx, curl, figure, file, forwarding, noise, run};

/// Buffers, the connections and the noise of the allocator; far below the body.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

#[test]
fn get_post_and_head_pass_between_curl_and_nginx() {
    let nginx = Nginx::start();
    let gateway = Gateway::start(&forwarding(&[&nginx.address]));
    assert_eq!(curl(&[&gateway.url("/")]), "hello from nginx\n");
    assert_eq!(curl(&["-d", "a=1", &gateway.url("/")]), "hello from nginx\n");
    let head = curl(&["-I", &gateway.url("/")]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-length: 17\r\n"), "{head}");
}

#[test]
fn a_chunked_upload_arrives_whole() {
    let nginx = Nginx::start();
    let gateway = Gateway::start(&forwarding(&[&nginx.address]));
    let body = noise(300_000);
    let path = gateway.folder().join("body");
    file(&path, &body);
    let url = gateway.url("/files/chunked");
    let status = curl(&["-T", path.to_str().unwrap(), "-H", "transfer-encoding: chunked", "-w", "%{http_code}", &url]);
    assert_eq!(status, "201");
    assert!(std::fs::read(nginx.root().join("chunked")).unwrap() == body, "the file differs");
}

#[test]
fn a_client_that_asks_whether_to_continue_is_told_to() {
    let nginx = Nginx::start();
    let gateway = Gateway::start(&forwarding(&[&nginx.address]));
    let path = gateway.folder().join("body");
    file(&path, &noise(100_000));
    let url = gateway.url("/files/continued");
    let path = path.to_str().unwrap();
    let output = run(Command::new("curl")
        .args(["-sv", "--max-time", "20", "-H", "expect: 100-continue"])
        .args(["-T", path, &url]));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("< HTTP/1.1 100") && told.contains("< HTTP/1.1 201"), "{told}");
}

#[test]
fn a_large_upload_and_download_arrive_whole_and_leave_memory_flat() {
    let nginx = Nginx::start();
    let gateway =
        Gateway::start(&format!("gateway: {{ limits: {{ body: unlimited }} }}\n{}", forwarding(&[&nginx.address])));
    let path = gateway.folder().join("body");
    let block = noise(1 << 20);
    file(&path, &block.repeat(figure("TIDEGATE_LIVE_MIB", 64) as usize));
    let (path, url) = (path.to_str().unwrap().to_owned(), gateway.url("/files/large"));
    curl(&["-o", "/dev/null", &gateway.url("/")]);
    let before = gateway.memory_kib("VmRSS");
    assert_eq!(curl(&["-T", &path, "-w", "%{http_code}", &url]), "201");
    let back = gateway.folder().join("back");
    curl(&["-o", back.to_str().unwrap(), &url]);
    let growth = gateway.memory_kib("VmHWM").saturating_sub(before);
    println!("the peak of memory grew by {growth} KiB");
    assert!(growth < GROWTH_KIB_MAX, "memory grew by {growth} KiB");
    let same = run(Command::new("cmp").arg(&path).arg(&back)).status.success();
    assert!(same && run(Command::new("cmp").arg(&path).arg(nginx.root().join("large"))).status.success());
}
