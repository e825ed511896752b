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
