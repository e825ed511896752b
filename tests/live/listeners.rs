//! Where the gateway listens.

use crate::stage::{ADMIN, Client, Gateway, Nginx, curl};

fn at(bind: &str, endpoint: &str) -> String {
    format!(
        "listeners:\n  public: {{ bind: {bind} }}\nupstreams:\n  origin: {{ endpoints: \"{endpoint}\" }}\nroutes:\n  - {{ \
         match: {{ path: \"/{{*rest}}\" }}, to: origin }}\n{ADMIN}"
    )
}

#[test]
fn a_unix_socket_listens_and_a_unix_socket_is_forwarded_to() {
    let nginx = Nginx::start();
    let socket = nginx.root().join("gateway.sock");
    let socket = socket.to_str().unwrap();
    let config = at(&format!("\"unix:{socket}\""), &format!("unix:{}", nginx.socket().display()));
    let mut gateway = Gateway::start(&config);
    assert_eq!(curl(&["--unix-socket", socket, "http://live.test/"]), "hello from nginx\n");
    gateway.signal("TERM");
    assert_eq!(gateway.end().code(), Some(0));
}

#[test]
fn an_ipv6_listener_answers() {
    let nginx = Nginx::start();
    let gateway = Gateway::start(&at("\"[::1]:0\"", &nginx.address));
    assert!(gateway.address().starts_with("[::1]:"));
    assert_eq!(curl(&["-g", &gateway.url("/")]), "hello from nginx\n");
}

#[test]
fn a_dual_stack_listener_answers_both_families() {
    let nginx = Nginx::start();
    let gateway = Gateway::start(&at("\"[::]:0\"", &nginx.address));
    let port = gateway.address().rsplit_once(':').unwrap().1.to_owned();
    for host in ["127.0.0.1", "[::1]"] {
        assert_eq!(Client::connect(&format!("{host}:{port}")).get("/").status, 200, "{host}");
    }
}

#[test]
fn every_address_of_a_list_answers() {
    let nginx = Nginx::start();
    let gateway = Gateway::start(&at("[\"127.0.0.1:0\", \"127.0.0.2:0\", \"[::1]:0\"]", &nginx.address));
    assert_eq!(gateway.addresses.len(), 3);
    for address in &gateway.addresses {
        assert_eq!(Client::connect(address).get("/").status, 200, "{address}");
    }
}
