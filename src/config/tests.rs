//! The front-end as a whole: text in, objects and findings out.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::typing::OBJECT_FINDINGS_MAX;
use super::*;

struct Fixed;

impl Environment for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "HOST" => "10.0.0.9",
            "SECRET" => "s3cret-s3cret-s3cret",
            "NUMBER" => "7",
            "YES" => "true",
            "CONTROL" => "s3cret\nx-evil: 1",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("token") => Ok(b"s3cret-from-a-file\n".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn loaded(text: &str) -> Loaded {
    load(&Source::text("gate.yaml", text), &Fixed)
}

/// `line:column code path`, one per finding.
fn findings(text: &str) -> Vec<String> {
    let loaded = loaded(text);
    let short = |f: &&Finding| format!("{}:{} {} {}", f.span.line, f.span.column, f.code, f.path);
    loaded.all_findings().iter().map(short).collect()
}

fn hints(text: &str) -> Vec<String> {
    loaded(text).all_findings().iter().map(|f| f.hint.clone().unwrap_or_default()).collect()
}

fn sound(text: &str) -> Config {
    let loaded = loaded(text);
    assert!(loaded.is_sound(), "{}", loaded.render(false));
    loaded.config
}

#[test]
fn settings_of_an_upstream_that_cannot_act_are_told() {
    let upstream = |rest: &str| findings(&format!("upstreams:\n  a:\n    endpoints: \"127.0.0.1:1\"\n{rest}"));
    assert_eq!(upstream("    h2: { streams: 10 }\n"), ["4:9 without-effect upstreams.a.h2"]);
    assert_eq!(upstream("    protocol: auto\n"), ["2:3 without-effect upstreams.a.protocol"]);
    assert_eq!(upstream("    protocol: h2\n    trailers: forward\n"), ["2:3 without-effect upstreams.a.trailers"]);
    assert!(upstream("    protocol: h2\n    h2: { streams: 10, ping: unlimited }\n").is_empty());
    // What is said of `tls` is another matter.
    let secured = upstream("    protocol: auto\n    tls: on\n    h2: { streams: 10 }\n");
    assert!(!secured.iter().any(|finding| finding.contains("without-effect")), "{secured:?}");
    let windows = "    protocol: h2\n    h2: { stream_window: 1MiB, connection_window: 512KiB }\n";
    assert_eq!(upstream(windows), ["5:9 too-small upstreams.a.h2.connection_window"]);
}

#[test]
fn settings_of_http_2_need_it_to_be_spoken_and_fit_together() {
    let listener = |rest: &str| findings(&format!("listeners:\n  a:\n    bind: \"127.0.0.1:1\"\n{rest}"));
    assert_eq!(listener("    h2: { streams: 10 }\n"), ["4:9 without-effect listeners.a.h2"]);
    assert!(listener("    protocols: [http1, h2]\n    h2: { streams: 10 }\n").is_empty());
    let windows = "    protocols: h2\n    h2: { stream_window: 2MiB }\n";
    assert_eq!(listener(windows), ["5:9 too-small listeners.a.h2.connection_window"]);
    assert_eq!(listener("    protocols: h3\n").len(), 1);
}

/// A route that is sound but for `rest`.
fn route(rest: &str) -> String {
    format!("routes:\n  - match: {{ path: /a }}\n    {rest}\n")
}

const FULL: &str = r#"
gateway:
  workers: 4
  driver: epoll
  limits: { head: 48KiB, body: unlimited, body_rate: off, requests_per_connection: 1000 }
  timeouts: { connect: 1s, total: 1h, lifetime: unlimited }
  via: { name: edge, hops: 1 }
  trusted_proxies: [10.0.0.0/8, "::1"]
  client_address: { header: CF-Connecting-IP, from: [173.245.48.0/20] }
  forwarded: both
  request_id: { header: X-Request-Id, from_trusted: false }
  server: { set: edge }
  errors: { 404: { json: '{"title":"gone"}', html: "<h1>gone</h1>" } }
  drain: { delay: 5s, deadline: 1m }
listeners:
  public: { bind: ["0.0.0.0:8080", "[::]:8080"], half_close: serve, default_host: www.example.com }
  local:
    bind: unix:/run/tidegate.sock
    limits: { head: 16KiB, connections: 100 }
    timeouts: { head: 5s }
    trusted_proxies: []
upstreams:
  orders:
    endpoints: ["10.0.0.11:8080", { address: "10.0.0.12:8080", weight: 2 }, orders.internal:80]
    balance: round_robin
    pool: { max_idle: 8, idle: 5s, max_age: unlimited, max_connections: 100 }
    timeouts: { connect: 500ms }
    trailers: forward
    dns: { refresh_min: 1s, refresh_max: 10s }
    mark_down: { failures: 3, for: 30s }
  one: { endpoints: "unix:/run/app.sock" }
routes:
  - name: order-by-id
    match:
      host: [api.example.com, "*.example.org"]
      path: "/v1/orders/{id}"
      method: [GET, PUT]
      headers: { x-a: "1", x-b: { regex: "^b" }, x-c: { present: false } }
      query: { debug: { exact: "on" } }
    to: { upstream: orders, path: "/orders/{id}", host: orders.internal }
    request: { headers: { set: { x-from: edge }, add: { x-n: ["1", "2"] }, remove: [cookie] } }
    response: { headers: { remove: server } }
    upgrade: [websocket]
    websocket: { idle_timeout: unlimited, lifetime: 1h, origins: ["https://*.example.com"] }
    retry: { attempts: 3 }
    timeouts: { exchange: 5s }
    limits: { body: 1MiB }
    encoded_slash: keep
  - match: { host: old.example.com, path: { prefix: / } }
    redirect: { scheme: https, status: 308 }
  - { match: { path: { regex: "/x[0-9]+" } }, redirect: "https://example.com/" }
  - { match: { path: { exact: "/{x}" } }, respond: { status: 404, body: none, headers: { x-a: b } } }
  - { match: { path: "/{*rest}" }, to: one }
admin: { bind: "127.0.0.1:9901", token: "${SECRET}", hosts: [admin.internal] }
access_log: { to: { file: access.log }, format: json, fields: [status, route] }
"#;

#[test]
fn limits_of_websockets_need_them_to_be_offered_and_fit_together() {
    let route = |rest: &str| {
        let upstream = "upstreams: { a: { endpoints: \"10.0.0.1:1\" } }\n";
        findings(&format!("{upstream}routes:\n  - match: {{ path: /a }}\n{rest}"))
    };
    assert_eq!(route("    to: a\n    websocket: { idle_timeout: 1s }\n"), ["5:16 no-effect routes[0].websocket"]);
    assert_eq!(
        route("    to: a\n    upgrade: chat\n    websocket: { lifetime: 1s }\n"),
        ["6:16 no-effect routes[0].websocket"]
    );
    assert_eq!(
        route("    respond: { status: 204 }\n    websocket: { lifetime: 1s }\n"),
        ["5:16 no-effect routes[0].websocket"]
    );
    assert!(route("    to: a\n    upgrade: [chat, websocket]\n    websocket: { lifetime: 1s }\n").is_empty());
    let vain = "    to: a\n    upgrade: websocket\n    websocket: { lifetime: 1s, idle_timeout: 1s }\n";
    assert_eq!(route(vain), ["6:16 without-effect routes[0].websocket.idle_timeout"]);
    let wrong = "    to: a\n    upgrade: websocket\n    websocket: { origins: [https://a, https://a/b, wss://a] }\n";
    let paths: Vec<_> = route(wrong).iter().map(|found| found.split(' ').next_back().unwrap().to_owned()).collect();
    assert_eq!(paths, ["routes[0].websocket.origins[1]", "routes[0].websocket.origins[2]"]);
}

#[test]
fn every_key_is_read() {
    let config = sound(FULL);
    let gateway = config.gateway.value.unwrap();
    assert_eq!(gateway.workers, Workers::Exactly(Count::new(4)));
    assert_eq!(gateway.server, ServerField::Set(Spanned::unwritten(FieldValue::parse("edge").unwrap())));
    assert_eq!(config.listeners.len(), 2);
    let orders = config.upstreams[0].value.as_ref().unwrap();
    let endpoints: Vec<String> =
        orders.endpoints.iter().map(|e| format!("{} {}", e.address.value, e.weight.get())).collect();
    assert_eq!(endpoints, ["10.0.0.11:8080 1", "10.0.0.12:8080 2", "orders.internal:80 1"]);
    assert_eq!(config.routes.len(), 5);
    assert_eq!((&*config.routes[0].name, &*config.routes[1].name), ("order-by-id", "routes[1]"));
    let first = config.routes[0].value.as_ref().unwrap();
    assert_eq!(first.to.as_ref().unwrap().upstream.value, "orders");
    assert_eq!(
        first.matching.path.as_ref().unwrap().value,
        PathMatch::Pattern(Spanned::unwritten("/v1/orders/{id}".into()))
    );
}

#[test]
fn what_is_not_written_has_its_default() {
    let config = sound(&route("to: x"));
    assert_eq!(config.gateway.value.unwrap(), Gateway::default());
    assert_eq!(config.admin.value.unwrap().bind.value.clone(), Admin::default().bind.value);
    assert!(config.listeners.is_empty());
}

#[test]
fn every_shorthand_reads_as_its_full_form() {
    for (short, full) in [
        ("to: x", "to: { upstream: x }"),
        ("redirect: /b", "redirect: { to: /b }"),
        ("to: x\n    upgrade: websocket", "to: x\n    upgrade: [websocket]"),
    ] {
        let value = |text: &str| sound(&route(text)).routes.remove(0).value.unwrap();
        assert_eq!(value(short), value(full), "{short}");
    }
    let admin = |text: &str| sound(&format!("admin: {text}\n")).admin.value.unwrap();
    assert_eq!(admin("off"), admin("{ bind: off }"));
    assert_eq!(admin("\"[::1]:1\""), admin("{ bind: \"[::1]:1\" }"));
    let log = |text: &str| sound(&format!("access_log: {text}\n")).access_log.value.unwrap();
    assert_eq!(log("stderr"), log("{ to: stderr }"));
    let upstream =
        |text: &str| sound(&format!("upstreams: {{ a: {{ endpoints: {text} }} }}\n")).upstreams.remove(0).value;
    assert_eq!(upstream("\"a:1\""), upstream("[{ address: \"a:1\", weight: 1 }]"));
}

#[test]
fn a_duplicate_name_is_told_where_it_stands() {
    let text = "routes:\n  - { match: { path: /a }, name: r, to: x }\n  - { match: { path: /b }, name: r, to: x }\n";
    assert_eq!(findings(text), ["3:34 duplicate routes[1].name"]);
}

#[test]
fn what_is_absent_is_told_beside_what_is_wrong() {
    assert_eq!(
        findings("admin: { bind: \"0.0.0.0:9901\", hosts: x }\n"),
        ["1:16 open-admin admin.bind", "1:39 wrong-type admin.hosts"]
    );
    assert_eq!(findings("admin: { bind: \"0.0.0.0:9901\", tokn: x }\n"), ["1:32 unknown-key admin.tokn"]);
    assert_eq!(findings(&route("name: 5")), ["2:5 missing-key routes[0]", "3:11 wrong-type routes[0].name"]);
    assert_eq!(findings(&route("redirct: /b")), ["3:5 unknown-key routes[0].redirct"]);
}

#[test]
fn the_mistakes_of_one_object_are_told_up_to_a_bound() {
    for mistake in ["get", "\"${NOWHERE}\"", "!tag GET"] {
        let methods = [mistake; 2 * OBJECT_FINDINGS_MAX].join(", ");
        let text = format!("routes: [{{ match: {{ path: /a, method: [{methods}] }}, to: x }}]\n");
        assert_eq!(findings(&text).len(), OBJECT_FINDINGS_MAX, "{mistake}");
    }
}

const TEN_MISTAKES: &str = r#"listeners:
  public: { bind: "0.0.0.0" }
  other: { bind: "0.0.0.0:81", limts: { head: 16KiB } }
upstreams:
  orders:
    endpoints: ["10.0.0.1:8080"]
    balance: least_requests
    timeouts: { connect: 5 }
  empty:
    balance: round_robin
routes:
  - match: { path: /a, method: GET }
    to: { upstreem: orders }
  - match: {}
    to: orders
  - match: { path: /b }
    retry: { attempts: "3" }
    to: orders
    respond:
gatway: {}
"#;

#[test]
fn ten_different_mistakes_are_ten_findings_each_at_its_place() {
    assert_eq!(
        findings(TEN_MISTAKES),
        [
            "2:19 bad-value listeners.public.bind",
            "3:32 unknown-key listeners.other.limts",
            "7:14 unknown-word upstreams.orders.balance",
            "8:26 bad-value upstreams.orders.timeouts.connect",
            "9:3 missing-key upstreams.empty",
            "13:11 unknown-key routes[0].to.upstreem",
            "14:5 empty-key routes[1].match",
            "17:24 bad-value routes[2].retry.attempts",
            "19:5 empty-key routes[2].respond",
            "20:1 unknown-key gatway",
        ]
    );
}

#[test]
fn every_mistake_has_a_hint() {
    let hints = hints(TEN_MISTAKES);
    assert!(hints.iter().all(|hint| !hint.is_empty()), "{hints:#?}");
    assert_eq!(hints[1], "did you mean `limits`?");
    assert_eq!(hints[2], "did you mean `least_request`?");
    assert_eq!(hints[7], "write a number from 1 to 8, without quotes");
    assert_eq!(hints[9], "did you mean `gateway`?");
}

#[test]
fn a_finding_is_rendered_with_its_line() {
    let text = loaded(TEN_MISTAKES).render(false);
    let block = "error[unknown-key]: unknown key `upstreem`\n  --> gate.yaml:13:11\n   |\n13 |     to: { upstreem: orders }\n   |           ^^^^^^^^ routes[0].to.upstreem\n   |\n   = help: did you mean `upstream`?\n";
    assert!(text.contains(block), "{text}");
}

#[test]
fn a_key_cannot_write_control_characters_to_the_terminal() {
    let text = loaded("\"\\e[31mroutes\": 1\nroutes: [{ \"\\e[2J\": 1 }]\n").render(false);
    assert!(text.contains("unknown key"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn a_broken_object_keeps_its_name_and_leaves_the_others_alone() {
    let config = loaded(TEN_MISTAKES).config;
    assert_eq!(config.upstreams[0].name, "orders");
    assert!(config.upstreams[0].value.is_none());
    assert_eq!(config.upstreams[0].findings.len(), 2);
    assert_eq!(config.routes.len(), 3);
    let config = loaded("upstreams:\n  a: { endpoints: \"a:1\" }\n  b: { endpoints: 5 }\n").config;
    assert!(config.upstreams[0].value.is_some() && config.upstreams[1].value.is_none());
}

#[test]
fn a_key_where_it_cannot_act_is_unknown_there() {
    assert_eq!(findings(&route("to: x\n    limits: { head: 16KiB }")), ["4:15 unknown-key routes[0].limits.head"]);
    assert_eq!(
        findings(&route("to: x\n    timeouts: { connect: 1s }")),
        ["4:17 unknown-key routes[0].timeouts.connect"]
    );
    assert_eq!(
        findings("listeners: { a: { bind: \"[::]:1\", timeouts: { connect: 1s } } }\n"),
        ["1:47 unknown-key listeners.a.timeouts.connect"]
    );
    assert_eq!(
        findings("upstreams: { a: { endpoints: \"a:1\", timeouts: { exchange: 1s } } }\n"),
        ["1:49 unknown-key upstreams.a.timeouts.exchange"]
    );
    assert_eq!(findings(&route("to: x\n    use: [a]")), ["4:5 unknown-key routes[0].use"]);
}

#[test]
fn an_unknown_key_without_a_neighbour_lists_the_allowed_ones() {
    assert_eq!(hints(&route("to: x\n    retry: { attempts: 1, backoff: 1s }")), ["allowed here: attempts"]);
}

#[test]
fn scalars_are_strict() {
    for (rest, code) in [
        ("to: 5", "wrong-type"),
        ("to: true", "wrong-type"),
        ("to: { upstream: 5 }", "wrong-type"),
        ("to: [x]", "wrong-type"),
        ("to: x\n    retry: { attempts: \"1\" }", "bad-value"),
        ("to: x\n    retry: { attempts: 0 }", "bad-value"),
        ("to: x\n    retry: { attempts: 1.5 }", "wrong-type"),
        ("to: x\n    retry: { attempts: -1 }", "bad-value"),
        ("to: x\n    request: { headers: { set: { x-a: 1 } } }", "wrong-type"),
        ("to: x\n    limits: { body: 5 }", "bad-value"),
        ("to: x\n    limits: { body: 5K }", "bad-value"),
        ("to: x\n    name: ~", "empty-key"),
    ] {
        let found = loaded(&route(rest));
        let codes: Vec<_> = found.all_findings().iter().map(|f| f.code).collect();
        assert_eq!(codes, [code], "{rest}\n{}", found.render(false));
    }
}

#[test]
fn a_boolean_in_words_is_told_how_to_write_it() {
    for word in ["yes", "no", "on", "off", "\"true\""] {
        let text = format!("gateway: {{ request_id: {{ from_trusted: {word} }} }}\n");
        assert_eq!(hints(&text), ["write `true` or `false`, without quotes"], "{word}");
    }
}

#[test]
fn text_that_looks_like_a_number_is_told_to_be_quoted() {
    assert_eq!(hints(&route("to: x\n    request: { headers: { set: { x-a: 1 } } }")), ["put it in quotes"]);
}

#[test]
fn a_scalar_where_a_map_is_due_is_told_its_keys() {
    assert_eq!(hints("gateway: { drain: 5s }\n"), ["write a map; its keys are: delay, deadline"]);
    assert_eq!(hints("gateway: { driver: [a] }\n"), ["possible are: auto, io_uring, epoll"]);
    assert_eq!(findings("gateway: { server: { pass: a } }\n").len(), 1);
    assert_eq!(findings("gateway: { server: set }\n").len(), 1);
    assert_eq!(hints("gateway: { trusted_proxies: 10.0.0.0/8 }\n"), ["write a list: `[…]`"]);
}

#[test]
fn exactly_one_action_per_route() {
    assert_eq!(findings(&route("name: a")), ["2:5 missing-key routes[0]"]);
    assert_eq!(findings(&route("to: x\n    redirect: /b")), ["4:15 one-of routes[0].redirect"]);
    assert_eq!(
        findings(&route("respond: { status: 200 }\n    retry: { attempts: 2 }")),
        ["2:5 no-effect routes[0].retry"]
    );
    assert_eq!(findings("routes:\n  - to: x\n"), ["2:5 missing-key routes[0]"]);
}

#[test]
fn one_form_of_a_path_excludes_the_others() {
    let text = "routes:\n  - { match: { path: { prefix: /a, regex: b } }, to: x }\n";
    assert_eq!(findings(text), ["2:36 one-of routes[0].match.path.regex"]);
}

#[test]
fn framing_fields_are_the_gateways_own() {
    let text = route("to: x\n    request: { headers: { set: { Content-Length: \"1\" }, remove: [host] } }");
    assert_eq!(
        findings(&text),
        ["4:34 framing-field routes[0].request.headers.set", "4:66 framing-field routes[0].request.headers.remove"]
    );
}

#[test]
fn a_name_that_breaks_logs_is_refused() {
    assert_eq!(findings("upstreams: { \"a b\": { endpoints: \"a:1\" } }\n"), ["1:14 bad-name upstreams.a b"]);
}

#[test]
fn references_work_plain_quoted_and_in_flow_maps() {
    let config = sound(
        "upstreams:\n  a: { endpoints: [\"${HOST}:80\", { address: ${HOST}:81, weight: ${NUMBER} }] }\n\
         gateway: { workers: ${NUMBER}, request_id: { from_trusted: ${YES} } }\n\
         admin: { token: ${file:token}, bind: \"${BIND:-[::1]:9}\" }\n",
    );
    let upstream = config.upstreams[0].value.as_ref().unwrap();
    assert_eq!(upstream.endpoints.0[0].address.value.to_string(), "10.0.0.9:80");
    assert_eq!(upstream.endpoints.0[1].weight.get(), 7);
    assert!(upstream.endpoints.0[1].address.secret);
    assert_eq!(config.gateway.value.unwrap().workers, Workers::Exactly(Count::new(7)));
    let admin = config.admin.value.unwrap();
    assert_eq!(admin.token.as_ref().unwrap().value, "s3cret-from-a-file");
}

#[test]
fn a_reference_keeps_the_place_of_what_follows_it() {
    let text = "gateway: { workers: ${NUMBER}, driver: ebpf }\n";
    assert_eq!(findings(text), ["1:40 unknown-word gateway.driver"]);
}

#[test]
fn what_cannot_be_resolved_is_one_finding_and_no_more() {
    let text = "upstreams:\n  a: { endpoints: ${NOWHERE} }\nadmin: { token: \"${file:missing}\" }\n";
    assert_eq!(findings(text), ["2:19 unset-variable upstreams.a.endpoints", "3:17 unreadable-file admin.token"]);
}

#[test]
fn a_resolved_value_is_never_printed() {
    for text in [
        "gateway: { driver: ${SECRET} }\n".to_owned(),
        "gateway: { workers: ${SECRET} }\n".to_owned(),
        "gateway: { request_id: ${SECRET} }\n".to_owned(),
        "gateway: { request_id: { from_trusted: ${SECRET}, header: \"${SECRET} x\" } }\n".to_owned(),
        "gateway: { limits: { head: ${SECRET} }, timeouts: { head: \"${SECRET}\" }, forwarded: ${SECRET}, via: ${SECRET} }\n".to_owned(),
        "gateway: { trusted_proxies: [${SECRET}], errors: { 404: ${SECRET} } }\n".to_owned(),
        "listeners: { a: { bind: ${SECRET}, default_host: ${SECRET} } }\n".to_owned(),
        "upstreams: { a: { endpoints: [${SECRET}, { address: ${SECRET} }] } }\n".to_owned(),
        "admin: { token: ${SECRET}, bind: ${SECRET} }\n".to_owned(),
        "admin: ${SECRET}\n".to_owned(),
        "access_log: ${SECRET}\n".to_owned(),
        "routes: [${SECRET}]\n".to_owned(),
        "routes: ${SECRET}\n".to_owned(),
        "${SECRET}\n".to_owned(),
        route("to: ${SECRET}\n    request: { headers: { set: { authorization: \"Bearer ${SECRET}\" } } }"),
        route("respond: { body: ${SECRET}, status: ${SECRET} }"),
        route("name: ${SECRET}\n    to: { upstream: ${SECRET}, path: ${SECRET} }"),
        route("redirect: { to: ${SECRET}, host: ${SECRET} }"),
        route("to: x\n    request: { headers: { set: { x-a: ${CONTROL} } } }"),
        "routes:\n  - { match: { host: ${SECRET}, path: ${SECRET}, method: ${SECRET}, query: { a: ${SECRET} } }, to: x }\n".to_owned(),
    ] {
        let loaded = loaded(&text);
        let json = to_json(&loaded.all_findings(), &loaded.sources).to_string();
        let output = format!("{:?} {} {json}", loaded.config, loaded.render(false));
        assert!(!output.contains("s3cret"), "{text}\n{output}");
    }
}

#[test]
fn aliases_and_duplicates_are_told_with_the_rest_of_their_object() {
    let text = "upstreams:\n  a:\n    endpoints: &e [\"a:1\"]\n    balance: x\n    balance: round_robin\n";
    assert_eq!(
        findings(text),
        [
            "3:19 yaml-alias upstreams.a.endpoints",
            "4:14 unknown-word upstreams.a.balance",
            "5:5 duplicate-key upstreams.a.balance"
        ]
    );
}

#[test]
fn broken_yaml_is_a_finding() {
    let found = findings("routes: [\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("yaml-syntax"), "{found:?}");
    assert_eq!(findings("# nothing\n"), ["0:0 empty-file "]);
    assert_eq!(findings("- a\n"), ["1:1 wrong-type "]);
    assert_eq!(
        findings("routes:\nupstreams: 5\nlisteners: {}\n"),
        ["1:1 empty-key routes", "2:1 wrong-type upstreams", "3:1 empty-key listeners"]
    );
}

fn several(texts: &[(&str, &str)]) -> Loaded {
    let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    load(&Source::Texts(texts.collect()), &Fixed)
}

#[test]
fn several_files_are_merged_in_their_order() {
    let loaded = several(&[
        ("a.yaml", "upstreams: { a: { endpoints: \"a:1\" } }\nroutes: [{ match: { path: /a }, to: a }]\n"),
        ("b.yaml", "upstreams: { b: { endpoints: \"b:1\" } }\nroutes: [{ match: { path: /b }, to: b }]\n"),
    ]);
    assert!(loaded.is_sound(), "{}", loaded.render(false));
    let upstreams: Vec<_> = loaded.config.upstreams.iter().map(|upstream| &*upstream.name).collect();
    let routes: Vec<_> = loaded.config.routes.iter().map(|route| (&*route.name, &*route.path)).collect();
    assert_eq!(upstreams, ["a", "b"]);
    assert_eq!(routes, [("routes[0]", "routes[0]"), ("routes[1]", "routes[0]")]);
}

#[test]
fn the_same_name_in_two_files_names_both_places() {
    let loaded = several(&[
        (
            "a.yaml",
            "admin: off\nupstreams: { a: { endpoints: \"a:1\" } }\nroutes: [{ name: r, match: { path: /a }, to: a }]\n",
        ),
        (
            "b.yaml",
            "\nadmin: off\nupstreams: { a: { endpoints: \"b:1\" } }\nroutes: [{ name: r, match: { path: /b }, to: a }]\n",
        ),
    ]);
    let found = loaded.all_findings();
    let places: Vec<_> = found.iter().map(|f| (f.span.line, f.related[0].span.line, &*f.path)).collect();
    assert_eq!(places, [(2, 1, "admin"), (3, 2, "upstreams.a"), (4, 3, "routes[0].name")]);
    let text = loaded.render(false);
    assert!(text.contains("a.yaml:1:1") && text.contains("b.yaml:2:1"), "{text}");
}

#[test]
fn a_folder_is_read_in_the_order_of_names_and_every_file_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("20-b.yml", "routes: [{ match: { path: /b }, to: b }]\n");
    write("10-a.yaml", "routes: [{ match: { path: /a }, respond: { body: \"${file:page.txt}\" } }]\n");
    write("page.txt", "hello\n");
    write("notes.txt", "not yaml: [\n");
    write(".hidden.yaml", "[\n");
    let loaded = load(&Source::Path(folder.path().to_owned()), &ProcessEnvironment);
    assert!(loaded.is_sound(), "{}", loaded.render(false));
    let respond = loaded.config.routes[0].value.as_ref().unwrap().respond.clone().unwrap();
    assert_eq!(respond.body.as_ref().unwrap().value, "hello");
    let names: Vec<_> = loaded.files.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(names[1..], ["10-a.yaml", "20-b.yml", "page.txt"]);
}

#[test]
fn a_path_that_is_not_there_is_a_finding() {
    let loaded = load(&Source::Path("/nowhere/gate.yaml".into()), &EmptyEnvironment);
    assert_eq!(loaded.all_findings()[0].code, "unreadable-file");
    assert!(loaded.render(false).contains("/nowhere/gate.yaml"));
}

#[test]
fn an_admin_api_that_others_reach_needs_a_token() {
    assert_eq!(findings("admin: \"0.0.0.0:9901\"\n"), ["1:8 open-admin admin.bind"]);
    assert_eq!(findings("admin: { bind: \"0.0.0.0:9901\", token: short }\n"), ["1:39 bad-value admin.token"]);
    sound("admin: { bind: \"0.0.0.0:9901\", token: \"${SECRET}\" }\n");
}

#[test]
fn a_head_is_never_larger_than_its_hard_bound() {
    assert_eq!(findings("gateway: { limits: { head: 64KiB } }\n"), ["1:28 bad-value gateway.limits.head"]);
    sound("gateway: { limits: { head: 65535B } }\n");
}

fn many_routes(number: usize) -> String {
    let mut text = String::from("upstreams: { orders: { endpoints: \"a:1\" } }\nroutes:\n");
    for n in 0..number {
        let _ = write!(
            text,
            "  - name: route-{n}\n    match: {{ host: api.example.com, path: \"/v1/orders/{n}/{{id}}\", method: [GET, PUT] }}\n    to: orders\n"
        );
    }
    text
}

#[test]
fn twenty_thousand_routes_are_within_every_bound() {
    assert_eq!(sound(&many_routes(20_000)).routes.len(), 20_000);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Text near the model: real keys and values in a wrong order, with damage.
    fn near_yaml() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "routes:",
            "listeners:",
            "upstreams:",
            "gateway:",
            "admin:",
            "  ",
            "\n",
            "\n  ",
            "\n    ",
            "- ",
            "{ ",
            " }",
            "[",
            "]",
            ", ",
            ": ",
            "match",
            "path",
            "/a",
            "to",
            "x",
            "${HOST}",
            "${",
            "$${",
            "}",
            "\"",
            "'",
            "&a ",
            "*a",
            "<<",
            "!t ",
            "|\n",
            "5",
            "5s",
            "16KiB",
            "true",
            "~",
            "limits",
            "timeouts",
            "bind",
            "endpoints",
            "#",
            "é",
            "\u{E000}",
            "\t",
            "---\n",
            "errors",
            "404",
            "unlimited",
            "off",
            "regex",
            "? ",
        ]);
        prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
    }

    fn probe(text: &str) {
        let loaded = loaded(text);
        loaded.render(false);
        let silent: Vec<_> = loaded.all_findings().into_iter().filter(|finding| finding.hint.is_none()).collect();
        assert!(silent.is_empty(), "{silent:?}");
        to_json(&loaded.all_findings(), &loaded.sources);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|[ -~\n]{0,200}") {
            probe(&text);
        }

        #[test]
        fn no_text_near_the_model_panics(text in near_yaml()) {
            probe(&text);
        }

        #[test]
        fn no_damage_to_a_real_configuration_panics(at in 0..FULL.len(), cut in 0..40_usize, piece in near_yaml()) {
            let end = (at + cut).min(FULL.len());
            if let (Some(before), Some(after)) = (FULL.get(..at), FULL.get(end..)) {
                probe(&format!("{before}{piece}{after}"));
                probe(&format!("{before}{after}"));
            }
        }

        #[test]
        fn no_reference_prints_what_it_holds(at in 0..FULL.len()) {
            if let (Some(before), Some(after)) = (FULL.get(..at), FULL.get(at..)) {
                let text = format!("{before}${{SECRET}}{after}");
                let loaded = loaded(&text);
                let output = format!("{:?} {}", loaded.config, loaded.render(false));
                prop_assert!(!output.contains("s3cret"), "{}", output);
            }
        }
    }
}
