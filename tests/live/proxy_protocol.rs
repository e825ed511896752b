//! The PROXY protocol with other people's implementations: HAProxy and curl in front, nginx behind.

use std::io::Write;
use std::net::TcpStream;

use tempfile::TempDir;

use crate::stage::{ADMIN, Gateway, Haproxy, Nginx, Origin, curl, file, wait_until};

/// A certificate for `a.test` and its key, in files.
fn pair(folder: &TempDir) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let paths = [("a.pem", certificate.pem()), ("a.key", key.serialize_pem())].map(|(name, text)| {
        let path = folder.path().join(name);
        file(&path, text.as_bytes());
        path.to_str().unwrap().to_owned()
    });
    paths.into()
}

/// Listeners in plain text, over TLS and on a path, all of which require the header.
fn required(endpoint: &str, folder: &TempDir) -> String {
    let (chain, key) = pair(folder);
    let from = "proxy_protocol: required, proxy_protocol_from: 127.0.0.0/8";
    let socket = folder.path().join("gateway.sock");
    format!(
        "listeners:\n  plain: {{ bind: \"127.0.0.1:0\", protocols: [http1, h2], {from} }}\n  secure: {{ bind: \
         \"127.0.0.4:0\", {from}, tls: {{ certificates: {{ chain: {chain:?}, key: {key:?} }} }} }}\n  path: {{ bind: \
         \"unix:{}\", mode: \"0600\", proxy_protocol: required }}\nupstreams: {{ origin: {{ endpoints: {endpoint:?} }} \
         }}\nroutes: [{{ match: {{ path: \"/{{*rest}}\" }}, to: origin }}]\naccess_log: {{ fields: [client, peer, reason, \
         protocol, proxy_authority, proxy_tls] }}\n{ADMIN}",
        socket.display()
    )
}

#[test]
fn the_client_in_front_of_haproxy_is_the_client_of_the_gateway() {
    let (origin, folder) = (Origin::start(), TempDir::new().unwrap());
    let gateway = Gateway::start(&required(&origin.address, &folder));
    let socket = folder.path().join("gateway.sock");
    let (plain, secure, path) =
        (gateway.addresses[0].clone(), gateway.addresses[1].clone(), format!("unix@{}", socket.display()));
    for words in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn proxy-v2-options crc32c,unique-id,authority"] {
        for (server, scheme, more) in [
            (&plain, "http", "--http1.1"),
            (&plain, "http", "--http2-prior-knowledge"),
            (&secure, "https", "--http1.1"),
            (&secure, "https", "--http2"),
            (&path, "http", "--http1.1"),
        ] {
            let haproxy = Haproxy::start(server, words);
            let (_, port) = haproxy.address.rsplit_once(':').unwrap();
            let (to, url) = (format!("a.test:{port}:127.0.0.1:{port}"), format!("{scheme}://a.test:{port}/"));
            let got = curl(&["--interface", "127.0.0.2", "--insecure", more, "--connect-to", &to, &url]);
            assert!(
                got.to_ascii_lowercase().contains("x-forwarded-for: 127.0.0.2\r\n"),
                "{words} {server} {more}: {got}"
            );
        }
    }
    wait_until("it is logged", || gateway.told().matches("\"client\":\"127.0.0.2\"").count() == 15);
    assert!(!gateway.told().contains("proxy-header"), "{}", gateway.told());
}

#[test]
fn health_checks_of_haproxy_leave_no_line() {
    let (origin, folder) = (Origin::start(), TempDir::new().unwrap());
    let gateway = Gateway::start(&required(&origin.address, &folder));
    let checks = ["check inter 50ms send-proxy-v2 check-send-proxy", "check inter 50ms", "check inter 50ms send-proxy"];
    let balancers = checks.map(|words| Haproxy::start(&gateway.addresses[0], words));
    let closed = "tidegate_connections_closed_total{reason=\"client-closed\"}";
    wait_until("there were checks", || gateway.metrics().get(closed).is_some_and(|count| *count > 30.0));
    drop(balancers);
    assert!(!gateway.told().contains("\"reason\""), "{}", gateway.told());
}

#[test]
fn curl_sends_the_header_itself_and_is_refused_without() {
    let (origin, folder) = (Origin::start(), TempDir::new().unwrap());
    let gateway = Gateway::start(&required(&origin.address, &folder));
    let got = curl(&["--haproxy-protocol", &gateway.url("/")]);
    assert!(got.contains("127.0.0.1"), "{got}");
    let mut without = gateway.client();
    without.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(without.ends(), "not an octet comes back");
    let failures = "tidegate_proxy_header_failures_total{detail=\"missing\"}";
    wait_until("it is counted", || gateway.metrics().get(failures) == Some(&1.0));
    gateway.wait_told("proxy-header");
}

#[test]
fn a_silent_peer_is_closed_in_time() {
    let (origin, folder) = (Origin::start(), TempDir::new().unwrap());
    let gateway = Gateway::start(&required(&origin.address, &folder));
    let mut silent = gateway.client();
    let mut slow = TcpStream::connect(gateway.address()).unwrap();
    slow.write_all(b"PROXY TCP4 ").unwrap();
    assert!(silent.ends());
    wait_until("both are counted", || {
        gateway.metrics().get("tidegate_proxy_header_failures_total{detail=\"timeout\"}") == Some(&2.0)
    });
}

#[test]
fn nginx_behind_is_told_who_asks() {
    let folder = TempDir::new().unwrap();
    let (chain, key) = pair(&folder);
    for tls in [None, Some((chain.clone().into(), key.into()))] {
        let more =
            if tls.is_some() { format!(", tls: {{ ca: {chain:?}, server_name: a.test }}") } else { String::new() };
        let nginx = Nginx::start_told(tls);
        for version in ["v1", "v2"] {
            for endpoint in [nginx.address.clone(), format!("unix:{}", nginx.socket().display())] {
                if !more.is_empty() && endpoint.starts_with("unix") {
                    continue;
                }
                let gateway = Gateway::start(&format!(
                    "listeners: {{ public: {{ bind: \"127.0.0.1:0\" }} }}\nupstreams: {{ origin: {{ endpoints: {endpoint:?}, \
                     proxy_protocol: {version}{more} }} }}\nroutes: [{{ match: {{ path: \"/{{*rest}}\" }}, to: origin \
                     }}]\n{ADMIN}"
                ));
                for client in ["127.0.0.2", "127.0.0.3", "127.0.0.2"] {
                    let got = curl(&["--interface", client, &gateway.url("/"), &gateway.url("/again")]);
                    assert_eq!(
                        got,
                        format!("{client} {}\n", gateway.address()).repeat(2),
                        "{version} {endpoint}{more}"
                    );
                }
                let (connects, reused) =
                    ("tidegate_upstream_connects_total", "tidegate_upstream_connections_reused_total");
                let metrics = gateway.metrics();
                let of = |name: &str| metrics[&format!("{name}{{upstream=\"origin\"}}")];
                assert_eq!((of(connects), of(reused)), (3.0, 3.0), "a connection for each client, used again");
            }
        }
    }
}
