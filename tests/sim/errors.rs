//! The answers that the gateway makes for errors (RFC 9457).

use crate::GET;
use crate::world::{PLAIN, World};

#[test]
fn an_error_is_a_problem_document_with_the_request_id_and_no_internals() {
    let world = World::new(1).config(PLAIN);
    world.refuses("10.0.0.1:80");
    world.run(async {
        let response = world.ask(GET).await;
        assert_eq!(response.status(), 502);
        assert_eq!(response.field("content-type"), Some("application/problem+json"));
        assert_eq!(response.field("cache-control"), Some("no-store"));
        let problem = response.json();
        assert_eq!(problem["type"], "https://tidegate.dev/problems/connect-refused");
        assert_eq!(problem["status"], 502);
        assert_eq!(problem["instance"].as_str(), response.field("x-request-id"));
        assert!(problem["title"].is_string() && !response.text().contains("10.0.0.1"));
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.number("status")), ("connect-refused", 502));
    });
}

#[test]
fn a_browser_gets_a_page() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        let response = world.ask("GET / HTTP/1.1\r\nhost: a\r\naccept: text/html,*/*;q=0.8\r\n\r\n").await;
        assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"));
        assert!(response.text().starts_with("<!doctype html>"));
    });
}

#[test]
fn an_error_for_head_has_no_content() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        let mut client = world.client();
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let response = client.response_to_head().await;
        assert_eq!(response.status(), 502);
        assert!(client.closes().await);
    });
}

#[test]
fn the_operators_bodies_replace_ours_by_status_and_accept() {
    let yaml = r#"
gateway: { errors: { "404": { json: '{"no":"way"}', html: "<p>global" } } }
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - { match: { path: "/a" }, to: app, errors: { "502": { html: "<p>sorry" } } }
"#;
    let world = World::new(1).config(yaml);
    world.run(async {
        let html = "accept: text/html\r\n";
        let get = |path: &str, accept: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n{accept}\r\n");
        let response = world.ask(get("/none", "")).await;
        assert_eq!((response.status(), response.text().as_str()), (404, r#"{"no":"way"}"#));
        assert_eq!(world.ask(get("/none", html)).await.text(), "<p>global");
        let response = world.ask(get("/a", html)).await;
        assert_eq!((response.status(), response.text().as_str()), (502, "<p>sorry"));
        assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(world.ask(get("/a", "")).await.json()["status"], 502, "no JSON was written: the built-in one");
    });
}

#[test]
fn an_upstreams_own_error_passes_unchanged() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", "HTTP/1.1 503 Busy\r\ncontent-type: text/x\r\ncontent-length: 4\r\n\r\nbusy");
    world.run(async {
        let response = world.ask(GET).await;
        assert_eq!((response.status(), response.text().as_str()), (503, "busy"));
        assert_eq!(world.line().await.reason(), "ok");
    });
}

#[test]
fn trace_and_connect_are_405_with_allow() {
    for line in ["TRACE / HTTP/1.1", "CONNECT a:80 HTTP/1.1"] {
        let world = World::new(1).config(PLAIN);
        world.run(async {
            let response = world.ask(format!("{line}\r\nhost: a:80\r\n\r\n")).await;
            assert_eq!(response.status(), 405, "{line}");
            assert_eq!(response.field("allow"), Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        });
    }
}
