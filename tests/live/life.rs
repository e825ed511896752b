//! The ends of the process that are not orderly drains.

use crate::stage::{Gateway, Origin, forwarding_with, wait_until};

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let origin = Origin::start();
    let mut gateway = Gateway::start(&forwarding_with(&[&origin.address], "gateway: { drain: { delay: 60s } }\n"));
    gateway.signal("TERM");
    gateway.wait_told("draining");
    gateway.signal("TERM");
    assert_eq!(gateway.end().code(), Some(1));
}

#[test]
fn a_signal_after_a_drain_by_the_api_does_not_cut_it_short() {
    let origin = Origin::start();
    let mut gateway = Gateway::start(&forwarding_with(&[&origin.address], "gateway: { drain: { delay: 1s } }\n"));
    assert_eq!(gateway.call("POST", "/drain").status, 202);
    gateway.signal("TERM");
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(gateway.end().code(), Some(0));
}

#[test]
fn readiness_is_withdrawn_while_clients_are_still_served() {
    let origin = Origin::start();
    let mut gateway = Gateway::start(&forwarding_with(&[&origin.address], "gateway: { drain: { delay: 1s } }\n"));
    assert_eq!(gateway.call("GET", "/readyz").status, 200);
    gateway.signal("TERM");
    wait_until("readiness is withdrawn", || gateway.call("GET", "/readyz").status == 503);
    assert_eq!(gateway.call("GET", "/healthz").status, 200);
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(gateway.end().code(), Some(0));
}

#[test]
fn what_is_odd_about_a_configuration_is_told_at_the_start() {
    let origin = Origin::start();
    let twice = forwarding_with(&[&origin.address], "").replace(
        "upgrade: websocket }",
        "upgrade: websocket }\n  - { name: \
        again, match: { path: \"/{*rest}\" }, respond: { status: 204 } }",
    );
    let gateway = Gateway::start(&twice);
    gateway.wait_told("warning[shadowed-route]");
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn an_interrupt_drains_too() {
    let origin = Origin::start();
    let mut gateway = Gateway::start(&forwarding_with(&[&origin.address], ""));
    gateway.signal("INT");
    assert_eq!(gateway.end().code(), Some(0));
}
