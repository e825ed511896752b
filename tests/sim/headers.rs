//! What becomes of header fields on their way.

use crate::OK;
use crate::world::{PLAIN, World};

const TRUSTING: &str = r#"
gateway: { trusted_proxies: [10.1.0.0/16] }
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
"#;

/// The request the origin gets when a client at `peer` sends these lines.
fn forwarded(yaml: &str, peer: &str, lines: &str) -> crate::world::Message {
    let world = World::new(1).config(yaml);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client_from(peer);
        client.send(format!("GET /p HTTP/1.1\r\nhost: a.example\r\n{lines}\r\n")).await;
        assert_eq!(client.response().await.status(), 200);
        world.request()
    })
}

/// The response the client gets when the origin sends these lines.
fn relayed(yaml: &str, lines: &str) -> crate::world::Message {
    let world = World::new(1).config(yaml);
    world.answers("10.0.0.1:80", format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{lines}\r\nok"));
    world.run(async { world.ask(crate::GET).await })
}

#[test]
fn end_to_end_fields_pass_in_their_order_octet_for_octet() {
    let request = forwarded(PLAIN, "192.0.2.7:1", "X-One: 1\r\ncookie: a=b\r\nX-one: two,  three\r\nx-raw: \u{e4}\r\n");
    assert_eq!(request.all("x-one"), ["1", "two,  three"]);
    assert_eq!((request.field("cookie"), request.field("x-raw")), (Some("a=b"), Some("\u{e4}")));
    assert!(request.head.find("X-One: 1").unwrap() < request.head.find("X-one: two").unwrap());
}

#[test]
fn hop_by_hop_fields_end_here() {
    let request = forwarded(
        PLAIN,
        "192.0.2.7:1",
        "connection: x-mine, keep-alive\r\nx-mine: 1\r\nkeep-alive: 5\r\nproxy-connection: x\r\nte: gzip\r\n\
         upgrade: h2c\r\nhttp2-settings: AAA\r\nproxy-authorization: basic x\r\ntrailer: x\r\nx-other: 2\r\n",
    );
    let gone = ["connection", "x-mine", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings", "trailer"];
    for name in gone.into_iter().chain(["proxy-authorization"]) {
        assert!(request.all(name).is_empty(), "{name} in {}", request.head);
    }
    assert_eq!(request.field("x-other"), Some("2"));
}

#[test]
fn hop_by_hop_fields_of_responses_end_here() {
    let lines = "connection: x-mine\r\nx-mine: 1\r\nkeep-alive: 5\r\nproxy-authenticate: basic\r\nupgrade: h2\r\n\
                 x-other: 2\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n";
    let response = relayed(PLAIN, lines);
    for name in ["connection", "x-mine", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert!(response.all(name).is_empty(), "{name} in {}", response.head);
    }
    assert_eq!((response.field("x-other"), response.all("set-cookie")), (Some("2"), vec!["a=b", "c=d"]));
}

#[test]
fn a_connection_option_that_would_delete_what_matters_is_400() {
    for option in ["content-length", "host", "authorization", "x-forwarded-for", "cookie", "cache-control", "a b"] {
        let world = World::new(1).config(PLAIN);
        world.run(async {
            let response = world.ask(format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: {option}\r\n\r\n")).await;
            assert_eq!(response.status(), 400, "{option}");
            assert!(world.connects().is_empty());
        });
    }
}

#[test]
fn via_names_this_hop_on_requests() {
    let request = forwarded(PLAIN, "192.0.2.7:1", "via: 1.0 fred\r\n");
    let via = request.all("via");
    assert_eq!(via.len(), 2);
    assert_eq!(via[0], "1.0 fred");
    assert!(via[1].starts_with("1.1 tidegate-"), "{via:?}");
}

#[test]
fn a_request_that_has_passed_here_before_is_508() {
    let yaml = format!("gateway: {{ via: {{ name: edge }} }}\n{PLAIN}");
    let world = World::new(1).config(&yaml);
    world.run(async {
        let response = world.ask("GET / HTTP/1.1\r\nhost: a\r\nvia: 1.1 other, 1.1 edge\r\n\r\n").await;
        assert_eq!(response.status(), 508);
        assert_eq!(world.line().await.reason(), "loop");
    });
}

#[test]
fn via_may_pass_as_often_as_hops_says() {
    let yaml = format!("gateway: {{ via: {{ name: edge, hops: 1 }} }}\n{PLAIN}");
    let world = World::new(1).config(&yaml);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        assert_eq!(world.ask("GET / HTTP/1.1\r\nhost: a\r\nvia: 1.1 edge\r\n\r\n").await.status(), 200);
        assert_eq!(world.ask("GET / HTTP/1.1\r\nhost: a\r\nvia: 1.1 edge, 1.1 edge\r\n\r\n").await.status(), 508);
    });
}

#[test]
fn via_off_writes_none_and_passes_others() {
    let yaml = format!("gateway: {{ via: off }}\n{PLAIN}");
    assert_eq!(forwarded(&yaml, "192.0.2.7:1", "via: 1.0 fred\r\n").all("via"), ["1.0 fred"]);
}

#[test]
fn what_an_untrusted_client_says_about_itself_is_replaced() {
    let request = forwarded(
        TRUSTING,
        "192.0.2.7:1",
        "x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\nx-forwarded-port: 1\r\n\
         x-forwarded-server: x\r\nx-real-ip: 1.2.3.4\r\nforwarded: for=1.2.3.4\r\nx_forwarded_for: 1.2.3.4\r\n",
    );
    assert_eq!(request.field("x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("a.example"));
    for name in ["x-forwarded-port", "x-forwarded-server", "x-real-ip", "forwarded", "x_forwarded_for"] {
        assert!(request.all(name).is_empty(), "{name} in {}", request.head);
    }
}

#[test]
fn what_a_trusted_proxy_says_is_extended() {
    let lines = "x-forwarded-for: 1.2.3.4, 10.1.0.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: a.example\r\n";
    let request = forwarded(TRUSTING, "10.1.2.3:1", lines);
    assert_eq!(request.field("x-forwarded-for"), Some("1.2.3.4, 10.1.0.9, 10.1.2.3"));
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
}

#[test]
fn the_client_in_the_log_is_the_first_untrusted_address_from_the_right() {
    let world = World::new(1).config(TRUSTING);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let mut client = world.client_from("10.1.2.3:1");
        client.send("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6, 1.2.3.4, 10.1.0.9\r\n\r\n").await;
        client.response().await;
        assert_eq!(world.line().await.text("client"), "1.2.3.4");
    });
}

#[test]
fn forwarded_is_written_where_asked_for() {
    let yaml = format!("gateway: {{ forwarded: both }}\n{PLAIN}");
    let request = forwarded(&yaml, "[2001:db8::1]:9", "forwarded: for=evil\r\n");
    assert_eq!(request.field("forwarded"), Some(r#"for="[2001:db8::1]";host=a.example;proto=http"#));
    assert_eq!(request.field("x-forwarded-for"), Some("2001:db8::1"));
}

#[test]
fn a_delivery_network_names_the_client_in_its_field_and_nobody_else_does() {
    let yaml = r#"
gateway: { client_address: { header: CF-Connecting-IP, from: 10.2.0.0/16 } }
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes: [{ name: all, match: { path: "/{*rest}" }, to: app }]
"#;
    for (peer, client) in [("10.2.0.1:1", "7.7.7.7"), ("10.3.0.1:1", "10.3.0.1")] {
        let world = World::new(1).config(yaml);
        world.answers("10.0.0.1:80", OK);
        world.run(async {
            let mut connection = world.client_from(peer);
            connection.send("GET / HTTP/1.1\r\nhost: a\r\ncf-connecting-ip: 7.7.7.7\r\n\r\n").await;
            connection.response().await;
            assert_eq!(world.line().await.text("client"), client);
        });
    }
}

#[test]
fn a_request_id_is_made_sent_both_ways_and_logged() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let response = world.ask("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: chosen-by-client\r\n\r\n").await;
        let id = response.field("x-request-id").expect("an id").to_owned();
        assert_ne!(id, "chosen-by-client");
        assert_eq!(world.request().field("x-request-id"), Some(id.as_str()));
        assert_eq!(world.line().await.text("request_id"), id);
    });
}

#[test]
fn a_trusted_peers_request_id_is_kept() {
    assert_eq!(forwarded(TRUSTING, "10.1.2.3:1", "x-request-id: abc-1\r\n").field("x-request-id"), Some("abc-1"));
}

#[test]
fn an_untrusted_trace_is_restarted_and_a_trusted_one_continued() {
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\n";
    let restarted = forwarded(TRUSTING, "192.0.2.7:1", parent);
    let trace = restarted.field("traceparent").unwrap();
    assert!(trace.starts_with("00-") && !trace.contains("0af7651916cd43dd8448eb211c80319c"), "{trace}");
    assert_eq!(restarted.field("tracestate"), None);
    let continued = forwarded(TRUSTING, "10.1.2.3:1", parent);
    let trace = continued.field("traceparent").unwrap();
    assert!(
        trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && !trace.contains("b7ad6b7169203331"),
        "{trace}"
    );
    assert!(trace.ends_with("-01"));
    assert_eq!(continued.field("tracestate"), Some("a=1"));
}

#[test]
fn the_absolute_form_replaces_host() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        world.ask("GET http://B.example:80/p?q HTTP/1.1\r\nhost: other\r\n\r\n").await;
        let request = world.request();
        assert_eq!(request.start, "GET /p?q HTTP/1.1");
        assert!(request.field("host").unwrap().eq_ignore_ascii_case("b.example:80"), "{}", request.head);
    });
}

#[test]
fn edits_of_requests_remove_then_set_then_add() {
    let yaml = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - match: { path: "/{*rest}" }
    to: app
    request: { headers: { remove: [x-gone, cookie], set: { x-set: new, x-new: "1" }, add: { x-more: [a, b] } } }
"#;
    let lines = "x-gone: 1\r\ncookie: a=b\r\nx-set: old\r\nX-Set: older\r\nx-more: first\r\n";
    let request = forwarded(yaml, "192.0.2.7:1", lines);
    assert!(request.all("x-gone").is_empty() && request.all("cookie").is_empty());
    assert_eq!((request.all("x-set"), request.all("x-new")), (vec!["new"], vec!["1"]));
    assert_eq!(request.all("x-more"), ["first", "a", "b"]);
}

#[test]
fn edits_of_responses_remove_then_set_then_add() {
    let yaml = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - match: { path: "/{*rest}" }
    to: app
    response: { headers: { remove: x-powered-by, set: { cache-control: no-store }, add: { vary: origin } } }
"#;
    let response = relayed(yaml, "x-powered-by: PHP\r\nCache-Control: public\r\nvary: accept\r\n");
    assert!(response.all("x-powered-by").is_empty());
    assert_eq!((response.all("cache-control"), response.all("vary")), (vec!["no-store"], vec!["accept", "origin"]));
}

#[test]
fn server_passes_is_removed_or_is_ours() {
    for (word, expected) in [("pass", Some("Apache")), ("remove", None)] {
        let yaml = format!("gateway: {{ server: {word} }}\n{PLAIN}");
        assert_eq!(relayed(&yaml, "server: Apache\r\n").field("server"), expected, "{word}");
    }
}

#[test]
fn a_response_without_date_gets_one_and_a_date_is_kept() {
    assert_eq!(relayed(PLAIN, "").field("date"), Some("Thu, 09 Oct 2025 08:53:21 GMT"));
    let date = "Thu, 01 Jan 1998 00:00:00 GMT";
    assert_eq!(relayed(PLAIN, &format!("date: {date}\r\n")).field("date"), Some(date));
}

#[test]
fn a_unix_peer_has_no_address() {
    let request = forwarded(TRUSTING, "unix", "x-forwarded-for: 1.2.3.4\r\n");
    assert!(request.all("x-forwarded-for").is_empty(), "{}", request.head);
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
}

#[test]
fn an_upstream_may_be_a_unix_socket() {
    let yaml = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["unix:/run/app.sock"] } }
routes: [{ match: { path: "/{*rest}" }, to: app }]
"#;
    let world = World::new(1).config(yaml);
    world.answers("unix:/run/app.sock", OK);
    world.run(async { assert_eq!(world.ask(crate::GET).await.text(), "ok") });
}

#[test]
fn options_that_may_go_no_further_is_answered_here_and_others_lose_a_hop() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let response = world.ask("OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n").await;
        assert_eq!(response.status(), 204);
        assert!(response.field("allow").is_some_and(|allow| allow.contains("OPTIONS")));
        assert!(world.connects().is_empty());
        world.ask("OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 3\r\n\r\n").await;
        assert_eq!(world.request().field("max-forwards"), Some("2"));
    });
}

#[test]
fn edits_replace_what_the_gateway_writes_itself() {
    let yaml = r#"
gateway: { server: { set: edge }, forwarded: both }
listeners: { public: { bind: "127.0.0.1:8080" } }
upstreams: { app: { endpoints: ["10.0.0.1:80"] } }
routes:
  - match: { path: "/" }
    to: app
    request:
      headers: { set: { x-forwarded-proto: https, x-request-id: mine }, remove: [x-forwarded-for, forwarded] }
    response: { headers: { set: { date: never, server: me }, remove: [x-request-id] } }
"#;
    let world = World::new(1).config(yaml);
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let response = world.ask("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: http\r\n\r\n").await;
        assert_eq!((response.field("date"), response.field("server")), (Some("never"), Some("me")));
        assert_eq!(response.field("x-request-id"), None);
        let request = world.request();
        assert_eq!((request.field("x-forwarded-proto"), request.field("x-request-id")), (Some("https"), Some("mine")));
        assert_eq!((request.field("x-forwarded-for"), request.field("forwarded")), (None, None));
        assert!(request.field("via").is_some() && request.field("x-forwarded-host").is_some());
    });
}

#[test]
fn edits_replace_fields_of_fixed_answers_and_redirects() {
    let yaml = r#"
listeners: { public: { bind: "127.0.0.1:8080" } }
routes:
  - match: { path: "/fixed" }
    respond: { body: x, content_type: text/html, headers: { x-a: "1", x-b: "1" } }
    response: { headers: { set: { content-type: text/css, x-a: "2" }, remove: [x-b], add: { x-c: "3" } } }
  - { match: { path: "/moved" }, redirect: /x, response: { headers: { set: { location: /y }, remove: [date] } } }
"#;
    let world = World::new(1).config(yaml);
    world.run(async {
        let fixed = world.ask("GET /fixed HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((fixed.field("content-type"), fixed.field("x-a")), (Some("text/css"), Some("2")));
        assert_eq!((fixed.field("x-b"), fixed.field("x-c"), fixed.text().as_str()), (None, Some("3"), "x"));
        let moved = world.ask("GET /moved HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((moved.field("location"), moved.field("date")), (Some("/y"), None));
    });
}
