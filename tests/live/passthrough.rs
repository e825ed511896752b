//! TLS passed on by name, with other people's libraries on both ends: curl and openssl in front, nginx behind.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::stage::{ADMIN, Gateway, Nginx, curl, file, noise, run, wait_until};

/// Certificates for these names in files, their own authorities.
fn certificate(folder: &TempDir, name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let paths = [("pem", certificate.pem()), ("key", key.serialize_pem())].map(|(kind, text)| {
        let path = folder.path().join(format!("{name}.{kind}"));
        file(&path, text.as_bytes());
        path.to_str().unwrap().to_owned()
    });
    paths.into()
}

/// Passes `a.test` and what is below it on to `nginx`; `more` stands below `tls`.
fn config(nginx: &Nginx, upstream: &str, more: &str) -> String {
    format!(
        "listeners:\n  public:\n    bind: \"127.0.0.1:0\"\n    tls: {{ passthrough: {{ sni: [a.test, \"*.a.test\"], to: nginx }}{more} \
         }}\nupstreams:\n  nginx: {{ endpoints: {:?}{upstream} }}\nroutes: [{{ match: {{ path: / }}, respond: {{ status: 200, \
         body: ours }} }}]\naccess_log: {{ fields: [client, sni, protocol, upstream, reason, bytes_out] }}\n{ADMIN}",
        nginx.address
    )
}

/// curl to the gateway from an address, under a name, believing this file.
fn ask(gateway: &Gateway, from: &str, ca: &str, name: &str, path: &str) -> String {
    let (_, port) = gateway.address().rsplit_once(':').unwrap();
    let (to, url) = (format!("{name}:443:127.0.0.1:{port}"), format!("https://{name}{path}"));
    curl(&["--interface", from, "--cacert", ca, "--connect-to", &to, &url])
}

#[test]
fn a_name_reaches_its_server_with_the_servers_own_certificate_and_others_get_ours() {
    let folder = TempDir::new().unwrap();
    let ((a, a_key), (b, b_key)) = (certificate(&folder, "a.test"), certificate(&folder, "b.test"));
    let nginx = Nginx::start_tls(a.clone().into(), a_key.into());
    let ours = format!(", certificates: {{ chain: {b:?}, key: {b_key:?} }}");
    let gateway = Gateway::start(&config(&nginx, "", &ours));
    let content = noise(3_000_000).iter().map(|octet| octet % 26 + b'a').collect::<Vec<_>>();
    file(&nginx.root().join("large"), &content);
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "127.0.0.1", &a, "a.test", "/"), "hello from nginx\n");
        assert!(ask(&gateway, "127.0.0.1", &a, "a.test", "/files/large").as_bytes() == content);
        assert_eq!(ask(&gateway, "127.0.0.1", &b, "b.test", "/"), "ours");
    }
    let line = "\"sni\":\"a.test\",\"protocol\":\"TLS\",\"upstream\":\"nginx\",\"reason\":\"ok\"";
    wait_until("each is logged", || gateway.told().matches(line).count() == 6);
    let metrics = gateway.metrics();
    assert_eq!(metrics["tidegate_passthrough_connections_total"], 6.0);
    assert_eq!(metrics["tidegate_tunnels_open"], 0.0);
}

#[test]
fn a_server_behind_is_told_who_connects() {
    let folder = TempDir::new().unwrap();
    let (a, key) = certificate(&folder, "a.test");
    let nginx = Nginx::start_told(Some((a.clone().into(), key.into())));
    for version in ["v1", "v2"] {
        let gateway = Gateway::start(&config(&nginx, &format!(", proxy_protocol: {version}"), ""));
        for client in ["127.0.0.2", "127.0.0.3"] {
            let told = ask(&gateway, client, &a, "a.test", "/");
            assert_eq!(told, format!("{client} {}\n", gateway.address()), "{version}");
        }
    }
}

#[test]
fn openssl_is_told_that_a_name_is_nobodys() {
    let nginx = Nginx::start();
    let gateway = Gateway::start(&config(&nginx, "", ""));
    for name in [&["-servername", "c.test"][..], &["-noservername"]] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", gateway.address()]).args(name).stdin(Stdio::null());
        let output = run(&mut command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("SSL alert number 112"), "{said}");
    }
    gateway.wait_told("\"sni\":\"c.test\"");
}
