//! What only shows when the objects are put together, and that a broken object hides no mistake of its own or of others.

use super::COMPARISONS_MAX;
use crate::config::{Environment, Finding, Source};
use crate::http::header::KnownName;
use crate::policy::transform::HeaderEdits;
use crate::snapshot::Draft;

struct Fixed;

impl Environment for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "SECRET").then(|| "s3cret-s3cret-s3cret".to_owned())
    }

    fn file(&self, _: &std::path::Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn draft(text: &str) -> Draft {
    Draft::alone(&Source::text("gate.yaml", text), &Fixed)
}

/// `line:column code path`, one per finding.
fn findings(text: &str) -> Vec<String> {
    let draft = draft(text);
    assert!(draft.findings.iter().all(|finding| finding.hint.is_some()), "{}", draft.render(false));
    let short = |f: &crate::config::Finding| format!("{}:{} {} {}", f.span.line, f.span.column, f.code, f.path);
    draft.findings.iter().map(short).collect()
}

/// One upstream `app`, and this route.
fn route(rest: &str) -> String {
    format!("upstreams: {{ app: {{ endpoints: \"a:1\" }} }}\nroutes:\n  - {rest}\n")
}

#[test]
fn names_are_passed_on_once_and_to_upstreams_that_are_there_and_without_tls() {
    let listener = |passthrough: &str| {
        let upstreams =
            "upstreams: { app: { endpoints: \"a:1\" }, safe: { endpoints: \"a:1\", tls: { verify: false } } }";
        let tls = format!("tls: {{ passthrough: {passthrough} }}");
        let listeners = format!("listeners: {{ edge: {{ bind: \"127.0.0.1:1\", {tls} }} }}");
        let mut found = findings(&format!("{listeners}\n{upstreams}\n"));
        found.retain(|finding| !finding.contains(" unverified "));
        found.into_iter().map(|finding| finding.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let path = |rest: &str| format!("listeners.edge.tls.passthrough{rest}");
    assert_eq!(listener("[{ sni: [a.test, \"*.a.test\"], to: app }, { sni: \"*\", to: app }]"), [""; 0]);
    assert_eq!(listener("{ sni: a.test, to: ap }"), [format!("unknown-reference {}", path("[0].to"))]);
    assert_eq!(listener("{ sni: a.test, to: safe }"), [format!("conflict {}", path("[0].to"))]);
    assert_eq!(listener("{ sni: [a.test, A.test], to: app }"), [format!("duplicate {}", path("[0].sni"))]);
    let broken = listener("[{ sni: \"*\", to: app }, { sni: [\"*\", \"a b\", \"*.\"], to: app }]");
    let at = path("[1].sni");
    assert_eq!(broken, [format!("duplicate {at}"), format!("bad-pattern {at}"), format!("bad-pattern {at}")]);
}

#[test]
fn tls_needs_a_certificate_or_somebody_who_has_one() {
    let listener =
        |tls: &str| findings(&format!("listeners: {{ edge: {{ bind: \"127.0.0.1:1\", tls: {{ {tls} }} }} }}\n"));
    assert_eq!(listener("strict_sni: true"), ["1:14 missing-key listeners.edge.tls.certificates"]);
    let idle = "passthrough: { sni: a.test, to: app }, strict_sni: true";
    let upstreams = "upstreams: { app: { endpoints: \"a:1\" } }";
    let found =
        findings(&format!("listeners: {{ edge: {{ bind: \"127.0.0.1:1\", tls: {{ {idle} }} }} }}\n{upstreams}\n"));
    assert_eq!(found, ["1:14 without-effect listeners.edge.tls.passthrough"]);
}

const TEN_MISTAKES_OF_ONE_ROUTE: &str = r#"upstreams: { app: { endpoints: "a:1" } }
routes:
  - name: orders
    match:
      host: ["a.test", "a..test"]
      path: "/v1/{id}/{id}"
      method: [GET, put]
      headers: { x-a: { regex: "(" }, "x b": y }
      query: { q: { regex: "[a-" } }
    to: { upstream: ap, host: "a b" }
    upgrade: "web socket"
    retry: { attempts: 9 }
    timeouts: { idle: 5 }
    responce: { headers: { remove: server } }
"#;

#[test]
fn every_mistake_of_one_route_is_told_at_once_and_at_its_place() {
    assert_eq!(
        findings(TEN_MISTAKES_OF_ONE_ROUTE),
        [
            "5:27 bad-pattern routes[0].match.host",
            "6:24 bad-pattern routes[0].match.path",
            "7:21 bad-value routes[0].match.method[1]",
            "8:33 bad-pattern routes[0].match.headers",
            "8:39 bad-value routes[0].match.headers.x b",
            "9:29 bad-pattern routes[0].match.query",
            "10:21 unknown-reference routes[0].to.upstream",
            "11:14 bad-value routes[0].upgrade",
            "12:24 bad-value routes[0].retry.attempts",
            "13:23 bad-value routes[0].timeouts.idle",
            "14:5 unknown-key routes[0].responce",
        ]
    );
}

#[test]
fn a_broken_path_hides_no_unknown_upstream() {
    let text = route("{ match: { path: \"/{\" }, to: ap }");
    assert_eq!(
        findings(&text),
        ["3:24 bad-pattern routes[0].match.path", "3:34 unknown-reference routes[0].to.upstream"]
    );
    let text = route("{ match: {}, to: { upstream: ap } }");
    assert_eq!(findings(&text), ["3:7 empty-key routes[0].match", "3:34 unknown-reference routes[0].to.upstream"]);
}

#[test]
fn a_broken_upstream_is_not_unknown() {
    let text = "upstreams: { app: { endpoints: 5 } }\nroutes: [{ match: { path: /a }, to: app }]\n";
    assert_eq!(findings(text), ["1:32 wrong-type upstreams.app.endpoints"]);
}

#[test]
fn upstreams_that_cannot_be_read_are_not_unknown() {
    let routes = "routes: [{ match: { path: /a }, to: app }]\n";
    for (upstreams, code) in [
        ("upstream: { app: { endpoints: \"a:1\" } }", "unknown-key"),
        ("upstreams: [app]", "wrong-type"),
        ("upstreams: &a { app: 1 }", "yaml-alias"),
        ("upstreams:", "empty-key"),
    ] {
        let found = findings(&format!("{upstreams}\n{routes}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(code), "{found:?}");
    }
    let texts = [("a.yaml", routes), ("b.yaml", "upstreams: [\n")].map(|(name, text)| (name.into(), text.into()));
    let draft = Draft::alone(&Source::Texts(texts.into()), &Fixed);
    assert_eq!(draft.findings.len(), 1, "{}", draft.render(false));
}

#[test]
fn what_was_set_aside_is_not_taken_for_absent() {
    assert_eq!(findings(&route("{ match: { path: /a }, to: 5 }")), ["3:32 wrong-type routes[0].to"]);
    assert_eq!(
        findings(&route("{ match: { path: 5 }, to: { upstream: app, path: \"/{id}\" } }")),
        ["3:22 wrong-type routes[0].match.path"]
    );
    assert_eq!(findings("admin: { bind: \"0.0.0.0:1\", token: ${NOWHERE} }\n"), ["1:36 unset-variable admin.token"]);
}

#[test]
fn a_duplicate_hides_no_mistake_of_its_own() {
    let text =
        "routes:\n  - { name: a, match: { path: /a }, respond: {} }\n  - { name: a, match: { path: /b }, to: x }\n";
    let found = findings(text);
    assert!(found.contains(&"3:41 unknown-reference routes[1].to.upstream".to_owned()), "{found:?}");
    assert!(found.iter().any(|finding| finding.contains("duplicate")), "{found:?}");
}

#[test]
fn a_gateway_that_listens_nowhere_is_a_warning() {
    let draft = draft("admin: off\n");
    assert!(draft.is_sound());
    assert_eq!(draft.findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["no-listener"]);
    assert!(draft.render(false).contains("gate.yaml"), "{}", draft.render(false));
    assert_eq!(findings("listener: { a: { bind: \"0.0.0.0:1\" } }\n"), ["1:1 unknown-key listener"]);
}

#[test]
fn what_edits_refuse_is_refused_where_it_is_written_and_nothing_else_is() {
    for name in KnownName::ALL.iter().map(|name| name.text()) {
        let text =
            route(&format!("{{ match: {{ path: /a }}, to: app, request: {{ headers: {{ set: {{ {name}: x }} }} }} }}"));
        let refused = HeaderEdits::default().set(name, "x").is_err();
        assert_eq!(findings(&text).iter().any(|told| told.contains("framing-field")), refused, "{name}");
    }
}

#[test]
fn the_request_id_frames_no_message_and_names_no_hop() {
    for name in ["content-length", "Host", "transfer-encoding", "via"] {
        let found = findings(&format!("gateway: {{ request_id: {{ header: {name} }} }}\n"));
        assert_eq!(found, ["1:34 framing-field gateway.request_id.header"], "{name}");
    }
}

#[test]
fn a_name_in_via_that_is_too_long_is_told_and_not_left_out() {
    let of = |length| findings(&format!("gateway: {{ via: {{ name: {} }} }}\n", "a".repeat(length)));
    assert_eq!(of(64), ["0:0 no-listener listeners"]);
    assert_eq!(of(65), ["1:25 bad-value gateway.via.name"]);
}

#[test]
fn what_many_routes_may_have_meant_is_looked_for_within_bounds() {
    let count = 1_000;
    let mut text = String::from("upstreams:\n");
    (0..count).for_each(|n| text += &format!("  a{n}: {{ endpoints: \"a:1\" }}\n"));
    text += "routes:\n";
    (0..count).for_each(|n| text += &format!("  - {{ match: {{ path: /{n} }}, to: b{n} }}\n"));
    let draft = draft(&text);
    let meant = |finding: &&Finding| finding.hint.as_ref().is_some_and(|hint| hint.starts_with("did you mean"));
    assert_eq!((draft.findings.len(), draft.findings.iter().filter(meant).count()), (count, COMPARISONS_MAX / count));
}

#[test]
fn a_name_of_a_route_does_not_come_from_outside() {
    assert_eq!(
        findings(&route("{ name: \"${SECRET}\", match: { path: /a }, to: app }")),
        ["3:13 bad-name routes[0].name"]
    );
}

#[test]
fn what_came_from_outside_is_not_described_by_what_it_resembles() {
    for text in [
        route("{ match: { path: /a }, to: \"${NEAR:-apq}\" }"),
        "access_log: { to: stdout, fields: [\"${NEAR:-statis}\"] }\n".to_owned(),
    ] {
        let draft = draft(&text);
        assert!(draft.findings.iter().all(|finding| !finding.hint.as_ref().unwrap().contains("mean")), "{text}");
        assert!(!draft.is_sound());
    }
}

#[test]
fn a_number_where_a_path_is_due_wants_quotes() {
    let draft = draft(&route("{ match: { path: 5 }, to: app }"));
    assert_eq!(draft.findings[0].hint.as_deref(), Some("put it in quotes"));
}

#[test]
fn two_listeners_cannot_bind_one_address() {
    let text = "listeners:\n  a: { bind: \"0.0.0.0:80\" }\n  b: { bind: [\"0.0.0.0:81\", \"0.0.0.0:80\"], limts: 1 }\n";
    assert_eq!(findings(text), ["3:29 duplicate listeners.b.bind", "3:44 unknown-key listeners.b.limts"]);
}

#[test]
fn a_field_or_a_target_larger_than_the_head_is_refused_where_it_is_written() {
    let text = "gateway: { limits: { field: 48KiB, head: 40KiB } }\nlisteners:\n  a: { bind: \"a:1\", limits: { target: 41KiB } }\n";
    let text = text.replace("\"a:1\"", "\"0.0.0.0:1\"");
    assert_eq!(findings(&text), ["1:29 too-large gateway.limits.field", "3:45 too-large listeners.a.limits.target"]);
    assert_eq!(findings("gateway: { limits: { target: 33KiB } }\n"), ["1:30 too-large gateway.limits.target"]);
    let lower =
        "gateway: { limits: { field: 20KiB } }\nlisteners: { a: { bind: \"0.0.0.0:1\", limits: { head: 8KiB } } }\n";
    assert!(findings(lower).is_empty());
}

#[test]
fn a_pattern_that_came_from_outside_is_never_printed() {
    for rest in [
        "{ match: { host: \"${SECRET} x\" }, to: app }",
        "{ match: { path: \"/{${SECRET}\" }, to: app }",
        "{ match: { path: /a, method: \"${SECRET}\" }, to: app }",
        "{ match: { path: { regex: \"(${SECRET}\" } }, to: app }",
        "{ match: { path: /a, headers: { a: { regex: \"(${SECRET}\" } } }, to: app }",
        "{ match: { path: /a }, to: ${SECRET} }",
        "{ match: { path: /a }, to: { upstream: app, path: ${SECRET}, host: \"{${SECRET}}\" } }",
        "{ match: { path: /a }, redirect: { to: \"${SECRET} /\" } }",
        "{ match: { path: /a }, redirect: { path: ${SECRET}, host: \"${SECRET} x\" } }",
    ] {
        tells_no_secret(&route(rest));
    }
}

fn tells_no_secret(text: &str) {
    let draft = draft(text);
    assert!(!draft.findings.is_empty(), "{text}");
    let told = format!("{} {}", draft.render(false), draft.to_json());
    assert!(!told.contains("s3cret"), "{text}\n{told}");
}

#[test]
fn an_address_that_came_from_outside_and_is_bound_twice_is_never_printed() {
    tells_no_secret("listeners: { a: { bind: \"unix:/${SECRET}\" }, b: { bind: \"unix:/${SECRET}\" } }\n");
}

#[test]
fn a_bridge_to_an_upstream_that_does_not_speak_http_2_is_refused() {
    let bridge = "{ name: web, match: { path: /a }, to: app, grpc_web: true }";
    assert_eq!(findings(&route(bridge)), ["3:5 needs-http2 routes[0].grpc_web"]);
    assert_eq!(findings(&route(bridge).replace("\"a:1\"", "\"a:1\", protocol: h2")), ["0:0 no-listener listeners"]);
    let vain = "{ name: web, match: { path: /a }, respond: { status: 204 }, grpc_web: true }";
    assert_eq!(findings(&route(vain)), ["3:5 no-effect routes[0].grpc_web"]);
}
