//! Changes of the configuration of a running gateway.

use crate::stage::{ADMIN, Gateway, wait_until};

fn saying(word: &str) -> String {
    format!(
        "listeners:\n  public: {{ bind: \"127.0.0.1:0\" }}\nroutes:\n  - {{ match: {{ path: \"/\" }}, respond: {{ status: \
         200, body: \"{word}\" }} }}\n{ADMIN}"
    )
}

const BROKEN: &str = "listeners:\n  public: { bnid: \"127.0.0.1:0\" }\nroutes: []\nadmin: \"127.0.0.1:0\"\n";

#[test]
fn a_changed_file_is_adopted_by_itself() {
    let gateway = Gateway::start(&saying("one"));
    let mut client = gateway.client();
    assert_eq!(client.get("/").text(), "one");
    gateway.write(&saying("two"));
    wait_until("the new file answers", || client.get("/").text() == "two");
    gateway.wait_told("trigger file");
}

#[test]
fn a_hang_up_signal_reloads() {
    let gateway = Gateway::start(&saying("one"));
    gateway.signal("HUP");
    gateway.wait_told("trigger signal");
    wait_until("a new generation", || gateway.generation() == 2);
}

#[test]
fn a_call_reloads_and_says_what_changed() {
    let gateway = Gateway::start(&saying("one"));
    let answer = gateway.call("POST", "/config/reload");
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("\"adopted\":true"), "{}", answer.text());
}

#[test]
fn the_command_reloads_and_its_exit_code_tells() {
    let gateway = Gateway::start(&saying("one"));
    assert_eq!(gateway.command("reload").status.code(), Some(0));
    gateway.write(BROKEN);
    assert_eq!(gateway.command("reload").status.code(), Some(1));
}

#[test]
fn a_broken_file_changes_nothing_and_says_why() {
    let gateway = Gateway::start(&saying("one"));
    let mut client = gateway.client();
    assert_eq!(client.get("/").text(), "one");
    gateway.write(BROKEN);
    let answer = gateway.call("POST", "/config/reload");
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("did you mean `bind`?"), "{}", answer.text());
    gateway.wait_told("unknown key `bnid`");
    assert_eq!(client.get("/").text(), "one");
    assert_eq!(gateway.get("/").text(), "one");
    assert_eq!(gateway.generation(), 1);
    gateway.write(&saying("two"));
    wait_until("the repaired file answers", || client.get("/").text() == "two");
}
