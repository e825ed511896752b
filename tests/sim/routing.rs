//! Which route answers, and what it makes of the request.

use crate::world::{Message, World};

const YAML: &str = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams:
  app: { endpoints: ["10.0.0.1:80"] }
routes:
  - { name: exact-host, match: { host: api.example, path: "/{*rest}" }, to: app }
  - { name: wildcard, match: { host: "*.example", path: "/{*rest}" }, to: app }
  - { name: id, match: { path: "/orders/{id}", method: GET }, to: { upstream: app, path: "/o/{id}?fixed=1", host: internal } }
  - { name: post, match: { path: "/orders/{id}", method: POST }, to: app }
  - { name: flag, match: { path: "/orders/{id}", method: GET, headers: { x-flag: "on" } }, to: app }
  - { name: query, match: { path: "/orders/{id}", method: GET, query: { debug: { present: true } } }, to: app }
  - { name: prefix, match: { path: { prefix: "/static" } }, to: app }
  - { name: regex, match: { path: { regex: "/v[0-9]+/.*" } }, to: app }
  - { name: rest, match: { path: "/files/{*rest}" }, to: { upstream: app, path: "/f/{rest}" } }
  - { name: moved, match: { path: "/old/{*rest}" }, redirect: { path: "/new/{rest}", status: 301 } }
  - { name: secure, match: { path: "/login" }, redirect: { scheme: https } }
  - { name: away, match: { path: "/away/{x}" }, redirect: "https://other.example/{x}" }
  - { name: hello, match: { path: "/hello" }, respond: { status: 418, body: "short and stout", headers: { x-a: b } } }
  - { name: keep, match: { path: { prefix: "/keep" } }, to: app, encoded_slash: keep }
"#;

/// The answer to a request line with these further lines, and the name of the route that gave it.
fn ask(request: &str) -> (Message, String, Option<Message>) {
    let world = World::new(1).config(YAML);
    world.answers("10.0.0.1:80", crate::OK);
    world.run(async {
        let host = if request.contains("host:") { "" } else { "host: plain\r\n" };
        let (line, rest) = request.split_once("\r\n").unwrap_or((request, ""));
        let response = world.ask(format!("{line} HTTP/1.1\r\n{host}{rest}\r\n")).await;
        (response, world.line().await.text("route"), world.requests().pop())
    })
}

fn route(request: &str) -> String {
    ask(request).1
}

fn forwarded(request: &str) -> Message {
    ask(request).2.expect("forwarded")
}

#[test]
fn the_most_specific_route_answers() {
    assert_eq!(route("GET /orders/7\r\nhost: api.example\r\n"), "exact-host");
    assert_eq!(route("GET /orders/7\r\nhost: API.example:80\r\n"), "exact-host");
    assert_eq!(route("GET /orders/7\r\nhost: a.b.example\r\n"), "wildcard");
    assert_eq!(route("GET /orders/7"), "id");
    assert_eq!(route("POST /orders/7"), "post");
    assert_eq!(route("GET /orders/7\r\nx-flag: on\r\n"), "flag");
    assert_eq!(route("GET /orders/7?debug"), "query");
    assert_eq!(route("GET /static"), "prefix");
    assert_eq!(route("GET /static/a/b"), "prefix");
    assert_eq!(route("GET /v2/x"), "regex");
}

#[test]
fn what_no_route_matches_is_404() {
    for request in ["GET /nothing", "GET /staticx", "HEAD /orders/7", "GET /orders/7/", "DELETE /orders/7"] {
        let (response, route, forwarded) = ask(request);
        assert_eq!((response.status(), route.as_str(), forwarded.is_none()), (404, "", true), "{request}");
    }
}

#[test]
fn the_path_is_matched_and_forwarded_in_its_canonical_form() {
    let request = forwarded("GET /static/./a/../b//%63%2d%c3%a4?Q=%41");
    assert_eq!(request.start, "GET /static/b/c-%C3%A4?Q=%41 HTTP/1.1");
}

#[test]
fn a_path_that_climbs_out_or_hides_is_400() {
    for path in ["/static/../../x", "/static/%00", "/static/%5cx", "/static/a%2", "/static/..;/x", "/static/a%2Fb"] {
        assert_eq!(ask(&format!("GET {path}")).0.status(), 400, "{path}");
    }
}

#[test]
fn an_encoded_slash_is_kept_where_the_route_says_so() {
    assert_eq!(forwarded("GET /keep/a%2fb").start, "GET /keep/a%2Fb HTTP/1.1");
}

#[test]
fn the_path_and_the_host_are_rewritten() {
    let request = forwarded("GET /orders/a%20b?lost=1");
    assert_eq!(request.start, "GET /o/a%20b?fixed=1 HTTP/1.1");
    assert_eq!(request.field("host"), Some("internal"));
    assert_eq!(forwarded("GET /files/x/y?kept=1").start, "GET /f/x/y?kept=1 HTTP/1.1");
}

#[test]
fn redirects_keep_what_they_do_not_change() {
    let (response, route, _) = ask("GET /old/a/b?c=d\r\nhost: www.plain:8080\r\n");
    assert_eq!((response.status(), route.as_str()), (301, "moved"));
    assert_eq!(response.field("location"), Some("http://www.plain:8080/new/a/b?c=d"));
    assert_eq!(response.field("content-length"), Some("0"));
    let (response, ..) = ask("GET /login?next=1");
    assert_eq!((response.status(), response.field("location")), (302, Some("https://plain/login?next=1")));
    let (response, ..) = ask("GET /away/1");
    assert_eq!(response.field("location"), Some("https://other.example/1"));
}

#[test]
fn a_fixed_answer_is_given_as_written() {
    let (response, route, _) = ask("GET /hello");
    assert_eq!((response.status(), response.text().as_str(), route.as_str()), (418, "short and stout", "hello"));
    assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.field("x-a"), Some("b"));
}

#[test]
fn a_fixed_answer_to_head_has_no_content() {
    let world = World::new(1).config(YAML);
    world.run(async {
        let mut client = world.client();
        client.send("HEAD /hello HTTP/1.1\r\nhost: a\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let response = client.response_to_head().await;
        assert_eq!((response.status(), response.field("content-length")), (418, Some("15")));
        assert_eq!(client.response().await.text(), "short and stout");
        assert_eq!(world.log().await[0].reason(), "local-answer");
    });
}

#[test]
fn a_small_body_before_a_local_answer_is_discarded_and_the_connection_goes_on() {
    let world = World::new(1).config(YAML);
    world.run(async {
        let mut client = world.client();
        client.send("POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234").await;
        assert_eq!(client.response().await.status(), 418);
        client.send("56789GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 418);
    });
}

#[test]
fn a_large_body_before_a_local_answer_ends_the_connection() {
    let world = World::new(1).config(YAML);
    world.run(async {
        let mut client = world.client();
        client.send("POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n01234").await;
        let response = client.response().await;
        assert_eq!((response.status(), response.field("connection")), (418, Some("close")));
        assert!(client.closes().await);
    });
}
