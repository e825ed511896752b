//! The admin API from outside.

use std::net::TcpListener;

use crate::stage::{Gateway, gateway, wait_until};

fn with_admin(admin: &str) -> String {
    format!(
        "listeners:\n  public: {{ bind: \"127.0.0.1:0\" }}\nroutes:\n  - {{ match: {{ path: \"/\" }}, respond: {{ status: \
         200, body: hello }} }}\nadmin: {admin}\n"
    )
}

#[test]
fn the_status_names_the_driver_of_this_run() {
    let gateway = Gateway::start(&with_admin("\"127.0.0.1:0\""));
    let status = gateway.status();
    match gateway::driver().as_str() {
        "auto" => assert!(status["driver"] == "io_uring" || status["driver"] == "epoll", "{status}"),
        driver => assert_eq!(status["driver"], driver),
    }
    assert_eq!(gateway.command("status").status.code(), Some(0));
}

#[test]
fn a_foreign_host_is_refused() {
    let gateway = Gateway::start(&with_admin("{ bind: \"127.0.0.1:0\", hosts: [gate.test] }"));
    assert_eq!(gateway.call_with("GET", "/status", "host: evil.test\r\n").status, 403);
    assert_eq!(gateway.call_with("GET", "/status", "host: gate.test\r\n").status, 200);
}

#[test]
fn a_mutating_call_from_a_foreign_page_is_refused() {
    let gateway = Gateway::start(&with_admin("\"127.0.0.1:0\""));
    let host = format!("host: {}\r\n", gateway.admin);
    for foreign in ["origin: http://evil.test\r\n", "sec-fetch-site: cross-site\r\n"] {
        let answer = gateway.call_with("POST", "/config/reload", &format!("{host}{foreign}"));
        assert_eq!(answer.status, 403, "{foreign}");
    }
    assert_eq!(gateway.generation(), 1);
}

#[test]
fn a_token_is_asked_for_and_never_told() {
    let token = "a-secret-of-the-operators";
    let config = with_admin("{ bind: \"127.0.0.1:0\", token: \"${LIVE_TOKEN}\" }");
    let gateway = Gateway::start_by(&config, |binary| {
        let mut command = std::process::Command::new(binary);
        command.env("LIVE_TOKEN", token);
        command
    });
    let host = format!("host: {}\r\n", gateway.admin);
    assert_eq!(gateway.call("GET", "/status").status, 401);
    assert_eq!(gateway.call("GET", "/readyz").status, 200);
    let fields = format!("{host}authorization: Bearer {token}\r\n");
    for path in ["/status", "/metrics"] {
        let answer = gateway.call_with("GET", path, &fields);
        assert_eq!(answer.status, 200);
        assert!(!answer.text().contains(token), "{path} tells the token");
    }
    assert_eq!(gateway.call_with("POST", "/config/reload", &fields).status, 200);
    gateway.write("admin: { token: \"${LIVE_TOKEN}\", bind: \"0.0.0.0:nine\" }\nlisteners: \"${LIVE_TOKEN}\"\n");
    let refusal = gateway.call_with("POST", "/config/reload", &fields);
    assert_eq!(refusal.status, 422);
    assert!(!refusal.text().contains(token), "{}", refusal.text());
    wait_until("the refusal is told", || gateway.told().contains("reload refused"));
    assert!(!gateway.told().contains(token), "{}", gateway.told());
}

#[test]
fn a_taken_port_is_an_error_that_names_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Gateway::refused(&with_admin(&format!("\"{}\"", taken.local_addr().unwrap())));
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("admin.bind") && told.contains("in use"), "{told}");
}

const TOKEN: &str = "a-token-of-the-operators";

/// Fields of a call, and the status it earns.
const CALLS: &[(&str, &str, &str, u16)] = &[
    ("GET", "/", "token", 200),
    ("GET", "/healthz", "token", 200),
    ("GET", "/readyz", "token", 200),
    ("GET", "/status", "token", 200),
    ("GET", "/metrics", "token", 200),
    ("GET", "/status?a=b", "token", 200),
    ("GET", "/nothing", "token", 404),
    ("GET", "/status/", "token", 404),
    ("GET", "//status", "token", 404),
    ("POST", "/status", "token", 405),
    ("DELETE", "/metrics", "token", 405),
    ("PUT", "/healthz", "token", 405),
    ("GET", "/config/reload", "token", 405),
    ("GET", "/drain", "token", 405),
    // The token.
    ("GET", "/healthz", "none", 200),
    ("GET", "/readyz", "none", 200),
    ("GET", "/", "none", 401),
    ("GET", "/status", "none", 401),
    ("GET", "/metrics", "none", 401),
    ("GET", "/nothing", "none", 401),
    ("POST", "/config/reload", "none", 401),
    ("POST", "/drain", "none", 401),
    ("GET", "/status", "authorization: Bearer a-token-of-the-operator\r\n", 401),
    ("GET", "/status", "authorization: Bearer a-token-of-the-operators2\r\n", 401),
    ("GET", "/status", "authorization: Bearer\r\n", 401),
    ("GET", "/status", "authorization: Basic a-token-of-the-operators\r\n", 401),
    ("GET", "/status", "authorization: bearer a-token-of-the-operators\r\n", 200),
    ("GET", "/status", "authorization: Bearer x\r\nauthorization: Bearer a-token-of-the-operators\r\n", 401),
    ("GET", "/status?token=a-token-of-the-operators", "none", 401),
    // Who names us how.
    ("GET", "/healthz", "host: evil.test\r\n", 403),
    ("GET", "/healthz", "host: localhost.evil.test\r\n", 403),
    ("GET", "/healthz", "host: 127.0.0.1.evil.test\r\n", 403),
    ("GET", "/healthz", "host: 127.0.0.1@evil.test\r\n", 403),
    ("GET", "/healthz", "host: 192.0.2.1\r\n", 403),
    ("GET", "/healthz", "host: \r\n", 403),
    ("GET", "/healthz", "no host", 403),
    ("GET", "/healthz", "host: localhost:1\r\n", 200),
    ("GET", "/healthz", "host: [::1]:9901\r\n", 200),
    ("GET", "/healthz", "host: GATE.test\r\n", 200),
    ("GET", "http://evil.test/healthz", "token", 403),
    // Pages. Reading is harmless, for no page can see the answer.
    ("POST", "/config/reload", "token+origin: http://evil.test\r\n", 403),
    ("POST", "/drain", "token+origin: null\r\n", 403),
    ("POST", "/drain", "token+origin: \r\n", 403),
    ("POST", "/drain", "token+sec-fetch-site: cross-site\r\n", 403),
    ("POST", "/drain", "token+sec-fetch-site: same-site\r\n", 403),
    ("DELETE", "/status", "token+origin: http://evil.test\r\n", 403),
    ("GET", "/status", "token+origin: http://evil.test\r\n", 200),
    ("POST", "/config/reload", "token+sec-fetch-site: same-origin\r\n", 200),
    ("POST", "/config/reload", "token+sec-fetch-site: none\r\n", 200),
    // Bodies are not for us.
    ("POST", "/config/reload", "token+content-length: 65537\r\n", 413),
    ("POST", "/config/reload", "token+transfer-encoding: chunked\r\n", 413),
];

#[test]
fn every_call_to_the_admin_api_earns_its_status() {
    let gateway =
        Gateway::start(&with_admin(&format!("{{ bind: \"127.0.0.1:0\", hosts: [gate.test], token: {TOKEN} }}")));
    let (ours, token) = (format!("host: {}\r\n", gateway.admin), format!("authorization: Bearer {TOKEN}\r\n"));
    for (method, path, fields, status) in CALLS {
        let sent = match *fields {
            "token" => format!("{ours}{token}"),
            "none" => ours.clone(),
            "no host" => token.clone(),
            host if host.starts_with("host:") => format!("{host}{token}"),
            fields => match fields.strip_prefix("token+") {
                Some(fields) => format!("{ours}{token}{fields}"),
                None => format!("{ours}{fields}"),
            },
        };
        let answer = gateway.call_with(method, path, &sent);
        assert_eq!(answer.status, *status, "{method} {path} {fields:?}");
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{method} {path}");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"), "{method} {path}");
        match status {
            401 => assert!(answer.field("www-authenticate").is_some_and(|asks| asks.starts_with("Bearer")), "{path}"),
            405 => assert!(answer.field("allow").is_some(), "{method} {path}"),
            _ => assert!(!answer.text().contains(TOKEN), "{method} {path}"),
        }
    }
    assert_eq!(gateway.call("GET", "/readyz").status, 200);
}

#[test]
fn a_drain_asked_for_twice_is_one_drain() {
    let mut gateway = Gateway::start(&with_admin("\"127.0.0.1:0\""));
    let mut client = gateway.client();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\n");
    wait_until("the head is on its way", || gateway.status()["connections_open"] == 1);
    for began in [true, false] {
        let answer = gateway.call("POST", "/drain");
        let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &told["began"]), (202, &began.into()));
        assert_eq!(gateway.call("GET", "/readyz").status, 503);
    }
    client.send(b"\r\n");
    assert_eq!(client.response().unwrap().status, 200);
    assert_eq!(gateway.end().code(), Some(0));
}
