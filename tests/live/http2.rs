//! HTTP/2 with other people's clients: curl and h2load.

use std::process::Command;

use crate::stage::{ADMIN, Gateway, Nginx, curl, figure, file, noise, run, wait_until};

/// Both versions in plain text; `/` is answered, the rest forwarded.
fn config(upstream: &str) -> String {
    format!(
        "listeners:\n  public: {{ bind: \"127.0.0.1:0\", protocols: [http1, h2] }}\nupstreams:\n  origin: {{ endpoints: \
         {upstream:?} }}\nroutes:\n  - {{ name: here, match: {{ path: / }}, respond: {{ body: hello }} }}\n  - {{ name: \
         there, match: {{ path: \"/{{*rest}}\" }}, to: origin }}\n{ADMIN}"
    )
}

/// The same with an upstream that speaks HTTP/2.
fn config_to_http2(upstream: &str, tls: &str) -> String {
    let endpoints = format!("endpoints: {upstream:?}");
    config(upstream).replace(&endpoints, &format!("{endpoints}, protocol: h2{tls}"))
}

/// What curl prints by prior knowledge, the version in front.
fn prior_knowledge(gateway: &Gateway, path: &str, more: &[&str]) -> String {
    let url = format!("http://{}{path}", gateway.address());
    curl(&[&["--http2-prior-knowledge", "--write-out", "\n%{http_version} %{http_code}", &url], more].concat())
}

#[test]
fn curl_is_served_by_prior_knowledge_and_by_http_1_1_on_one_listener() {
    let gateway = Gateway::start(&config("127.0.0.1:1"));
    assert_eq!(prior_knowledge(&gateway, "/", &[]), "hello\n2 200");
    assert!(prior_knowledge(&gateway, "/x", &[]).ends_with("\n2 502"));
    let url = format!("http://{}/", gateway.address());
    assert_eq!(curl(&["--write-out", " %{http_version}", &url]), "hello 1.1");
    assert_eq!(gateway.metrics()["tidegate_http2_streams_total"], 2.0);
}

#[test]
fn bodies_pass_whole_both_ways() {
    let nginx = Nginx::start();
    let gateway = Gateway::start(&config(&nginx.address));
    let content = noise(figure("TIDEGATE_LIVE_MIB", 64).min(32) as usize * 1024 * 1024 + 12_345);
    let source = nginx.root().join("body");
    file(&source, &content);
    let got = nginx.root().join("got");
    let output = ["--output", got.to_str().unwrap()];
    assert_eq!(prior_knowledge(&gateway, "/files/body", &output), "\n2 200");
    assert!(std::fs::read(&got).unwrap() == content);
    let upload = ["--upload-file", source.to_str().unwrap()];
    assert!(prior_knowledge(&gateway, "/files/sent", &upload).ends_with("\n2 201"));
    assert!(std::fs::read(nginx.root().join("sent")).unwrap() == content);
}

#[test]
fn many_streams_of_many_connections_are_served_whole() {
    let nginx = Nginx::start();
    let gateway = Gateway::start(&config(&nginx.address));
    file(&nginx.root().join("body"), &noise(1000));
    let url = format!("http://{}/files/body", gateway.address());
    let output = run(Command::new("h2load").args(["-n", "20000", "-c", "8", "-m", "16", &url]));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("20000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
    assert!(told.contains("20000 2xx"), "{told}");
    assert_eq!(gateway.metrics()["tidegate_http2_streams_open"], 0.0);
}

#[test]
fn bodies_pass_whole_both_ways_to_an_upstream_of_http_2() {
    let nginx = Nginx::start_http2(None);
    let gateway = Gateway::start(&config_to_http2(&nginx.address, ""));
    let content = noise(figure("TIDEGATE_LIVE_MIB", 64).min(32) as usize * 1024 * 1024 + 12_345);
    let source = nginx.root().join("body");
    file(&source, &content);
    let got = nginx.root().join("got");
    for (version, by) in [("2", "--http2-prior-knowledge"), ("1.1", "--http1.1")] {
        let curled = |path: &str, more: &[&str]| {
            let url = format!("http://{}{path}", gateway.address());
            curl(&[&[by, "--write-out", "\n%{http_version} %{http_code}", &url], more].concat())
        };
        assert_eq!(curled("/files/body", &["--output", got.to_str().unwrap()]), format!("\n{version} 200"));
        assert!(std::fs::read(&got).unwrap() == content);
        let sent = nginx.root().join("sent");
        let _ = std::fs::remove_file(&sent);
        assert!(curled("/files/sent", &["--upload-file", source.to_str().unwrap()]).ends_with(" 201"));
        assert!(std::fs::read(&sent).unwrap() == content);
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics["tidegate_upstream_http2_streams_total{upstream=\"origin\"}"], 4.0);
    assert_eq!(metrics["tidegate_upstream_http2_streams_open{upstream=\"origin\"}"], 0.0);
}

#[test]
fn many_requests_share_few_connections_to_an_upstream_of_http_2() {
    let nginx = Nginx::start_http2(None);
    let gateway = Gateway::start(&config_to_http2(&nginx.address, ""));
    file(&nginx.root().join("body"), &noise(1000));
    let url = format!("http://{}/files/body", gateway.address());
    for by in [&["-m", "16"][..], &["--h1"]] {
        let output = run(Command::new("h2load").args(["-n", "20000", "-c", "8"]).args(by).arg(&url));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("20000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
        assert!(told.contains("20000 2xx"), "{told}");
    }
    let metrics = gateway.metrics();
    assert!(metrics["tidegate_upstream_connects_total{upstream=\"origin\"}"] < 200.0, "{metrics:?}");
    assert_eq!(metrics["tidegate_upstream_http2_streams_open{upstream=\"origin\"}"], 0.0);
}

#[test]
fn an_upstream_of_http_2_that_dies_is_found_again() {
    let mut nginx = Nginx::start_http2(None);
    let mark = ", mark_down: { for: 1s }";
    let gateway = Gateway::start(&config_to_http2(&nginx.address, mark));
    let get = || gateway.get("/x").status;
    assert_eq!(get(), 200);
    nginx.fall();
    assert!(matches!(get(), 502 | 503));
    assert!(nginx.rise());
    wait_until("the gateway finds the origin again", || get() == 200);
}
