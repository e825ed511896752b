//! Connections of TLS that are passed on by the name they ask for. The hello is made by hand: nobody here decrypts.

use std::time::Duration;

use tidegate::proxy::shell::Shard as _;

use crate::world::{Ended, Peer, Wire, World};
use crate::{GET, OK};

const YAML: &str = r#"
listeners:
  public:
    bind: "127.0.0.1:8443"
    tls:
      passthrough:
        - { sni: [db.test, "*.db.test"], to: database }
        - { sni: mail.test, to: mail }
upstreams:
  database: { endpoints: ["10.0.0.1:5432"] }
  mail: { endpoints: ["10.0.0.2:993", "10.0.0.3:993"], balance: round_robin }
access_log: { fields: [client, peer, protocol, sni, upstream, endpoint, attempts, reason, detail, bytes_in, bytes_out] }
"#;

/// The alert `unrecognized_name`, fatal.
const UNRECOGNIZED: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// A hello that asks for `name`, or for none.
fn hello(name: &str) -> Vec<u8> {
    let vector = |octets: usize, content: &[u8]| {
        let length = (content.len() as u32).to_be_bytes();
        [&length[4 - octets..], content].concat()
    };
    let list = vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat());
    let server_name = [&[0, 0][..], &vector(2, &list)].concat();
    let extensions = if name.is_empty() { vec![0, 43, 0, 3, 2, 3, 4] } else { server_name };
    let content = [
        &[3, 3][..],
        &[7; 32],
        &vector(1, &[9; 32]),
        &vector(2, &[0x13, 1]),
        &vector(1, &[0]),
        &vector(2, &extensions),
    ];
    let message = [&[1][..], &vector(3, &content.concat())].concat();
    [&[22, 3, 1][..], &vector(2, &message)].concat()
}

/// A peer that answers everything it gets in capitals, to the end.
fn shouting(world: &World, address: &str) {
    world.origin(address, |mut peer| async move {
        loop {
            match peer.read_some(usize::MAX).await {
                Ok(octets) if !octets.is_empty() => peer.send(octets.to_ascii_uppercase()).await,
                _ => break,
            }
        }
        peer.send("BYE").await;
    });
}

#[test]
fn a_connection_is_passed_on_untouched_to_whom_its_name_belongs() {
    for (name, address, pieces) in
        [("db.test", "10.0.0.1:5432", 0), ("a.b.db.test", "10.0.0.1:5432", 1), ("MAIL.test", "10.0.0.2:993", 17)]
    {
        let world = World::new(1).config(YAML);
        world.client_wire(Wire { pieces, ..Wire::default() });
        shouting(&world, address);
        world.run(async {
            let (mut client, hello) = (world.client(), hello(name));
            client.send(&hello).await;
            assert_eq!(client.read_exactly(hello.len()).await, hello.to_ascii_uppercase(), "every octet goes through");
            client.send("more").await;
            assert_eq!(client.read_until("MORE").await, "MORE");
            client.finish();
            assert_eq!(client.rest_text().await, "BYE", "one side may end before the other");
            let line = world.line().await;
            assert_eq!((line.text("sni"), line.text("endpoint")), (name.to_ascii_lowercase(), address.into()));
            assert_eq!((line.text("protocol"), line.reason()), ("TLS".into(), "ok".into()));
            assert_eq!(line.number("bytes_in"), hello.len() as u64 + 4);
            assert_eq!(line.number("bytes_out"), hello.len() as u64 + 7);
            assert_eq!(world.sum("tidegate_passthrough_connections_total"), 1);
            assert_eq!((world.sum("tidegate_tunnels_open"), world.open_connections()), (0, 0));
        });
    }
}

#[test]
fn a_name_that_belongs_to_nobody_is_refused_by_an_alert() {
    let world = World::new(1).config(YAML);
    world.run(async {
        for (nth, name) in ["other.test", "test", ""].into_iter().enumerate() {
            let mut client = world.client();
            client.send(hello(name)).await;
            let (got, ended) = client.rest().await;
            assert_eq!((&got[..], ended), (UNRECOGNIZED, Ended::Finished), "{name}");
            drop(client);
            world.sleep(Duration::from_secs(3)).await;
            let log = world.log().await;
            let line = log.last().expect("it is logged");
            assert_eq!(
                (log.len(), line.text("sni"), line.text("detail")),
                (nth + 1, name.into(), "unknown-name".into())
            );
        }
        assert_eq!(world.metric("tidegate_tls_handshake_failures_total{detail=\"unknown-name\"}"), 3);
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn every_other_name_and_no_name_go_to_whom_the_rest_belongs() {
    let world = World::new(1).config(&YAML.replace("sni: mail.test", "sni: \"*\""));
    shouting(&world, "10.0.0.2:993");
    shouting(&world, "10.0.0.3:993");
    world.run(async {
        for name in ["other.test", ""] {
            let (mut client, hello) = (world.client(), hello(name));
            client.send(&hello).await;
            assert_eq!(client.read_exactly(hello.len()).await, hello.to_ascii_uppercase());
        }
    });
}

#[test]
fn what_is_no_hello_or_comes_too_late_is_ended() {
    let world = World::new(1).config(YAML);
    world.run(async {
        let mut client = world.client();
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 400, "plain text is told so");
        let mut client = world.client();
        client.send([22, 3, 1, 0, 4, 2, 0, 0, 0]).await;
        assert_eq!(client.rest().await.0, [21, 3, 3, 0, 2, 2, 50]);
        let hello = hello("db.test");
        for sent in [0, 1, 5, hello.len() - 1] {
            let (mut client, then) = (world.client(), world.now());
            client.send(&hello[..sent]).await;
            assert!(client.closes().await);
            assert_eq!(world.since(then), Duration::from_secs(10), "{sent} octets");
        }
        assert_eq!(world.metric("tidegate_tls_handshake_failures_total{detail=\"timeout\"}"), 4);
        assert_eq!(world.metric("tidegate_tls_handshake_failures_total{detail=\"plain-text\"}"), 1);
        assert_eq!(world.metric("tidegate_tls_handshake_failures_total{detail=\"malformed\"}"), 1);
        assert!(world.connects().is_empty());
    });
}

#[test]
fn an_endpoint_that_does_not_accept_is_passed_over() {
    let world = World::new(1).config(YAML);
    world.refuses("10.0.0.2:993");
    shouting(&world, "10.0.0.3:993");
    world.run(async {
        for _ in 0..2 {
            let (mut client, hello) = (world.client(), hello("mail.test"));
            client.send(&hello).await;
            assert_eq!(client.read_exactly(hello.len()).await, hello.to_ascii_uppercase());
        }
        assert_eq!(world.connects().iter().filter(|address| *address == "10.0.0.2:993").count(), 1, "it is marked");
    });
}

#[test]
fn where_no_endpoint_accepts_the_client_is_told_and_the_log_says_why() {
    let world = World::new(1).config(YAML);
    world.refuses("10.0.0.1:5432");
    world.run(async {
        let mut client = world.client();
        client.send(hello("db.test")).await;
        assert_eq!(client.rest().await.0, [21, 3, 3, 0, 2, 2, 80]);
        drop(client);
        world.sleep(Duration::from_secs(3)).await;
        let line = world.line().await;
        assert_eq!((line.reason().as_str(), line.text("upstream").as_str()), ("connect-refused", "database"));
    });
}

/// A connection that stands open.
async fn open(world: &World) -> Peer {
    let (mut client, hello) = (world.client(), hello("db.test"));
    client.send(&hello).await;
    client.read_exactly(hello.len()).await;
    client
}

#[test]
fn an_idle_or_an_old_connection_is_ended() {
    for (timeouts, reason, seconds) in [("idle: 30s", "tunnel-idle", 30), ("lifetime: 1m", "lifetime", 60)] {
        let world = World::new(1).config(&format!("{YAML}gateway: {{ timeouts: {{ {timeouts} }} }}\n"));
        shouting(&world, "10.0.0.1:5432");
        world.run(async {
            let (mut client, then) = (open(&world).await, world.now());
            if reason == "lifetime" {
                while client.try_send("x").await.is_ok() && world.since(then) < Duration::from_secs(60) {
                    world.sleep(Duration::from_secs(5)).await;
                }
            }
            client.rest().await;
            assert_eq!(world.since(then), Duration::from_secs(seconds));
            assert_eq!(world.line().await.reason(), reason);
        });
    }
}

#[test]
fn a_drain_lets_a_passed_connection_go_on_until_its_time_is_up() {
    let world = World::new(1).config(YAML);
    shouting(&world, "10.0.0.1:5432");
    world.run(async {
        let mut client = open(&world).await;
        world.shard().drain();
        client.send("still").await;
        assert_eq!(client.read_until("STILL").await, "STILL");
        world.shard().stop();
        client.rest().await;
        assert_eq!(world.line().await.reason(), "draining");
        assert_eq!(world.open_connections(), 0);
    });
}

#[test]
fn a_proxy_header_may_come_in_and_go_out() {
    let yaml = YAML
        .replace("bind:", "proxy_protocol: required\n    proxy_protocol_from: 192.0.2.7\n    bind:")
        .replace("5432\"] }", "5432\"], proxy_protocol: v1 }");
    let world = World::new(1).config(&yaml);
    let header = "PROXY TCP4 198.51.100.1 203.0.113.1 4711 443\r\n";
    let told = hello("db.test");
    world.origin("10.0.0.1:5432", move |mut peer| {
        let told = told.clone();
        async move {
            assert_eq!(peer.read_exactly(header.len()).await, header.as_bytes());
            assert_eq!(peer.read_exactly(told.len()).await, told);
            peer.send(OK).await;
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send([header.as_bytes(), &hello("db.test")].concat()).await;
        assert_eq!(client.rest_text().await, OK);
        client.finish();
        drop(client);
        let line = world.line().await;
        assert_eq!((line.text("client"), line.text("peer")), ("198.51.100.1".into(), "192.0.2.7".into()));
    });
}

#[test]
fn at_the_most_connections_a_passed_one_waits_and_is_then_refused() {
    let world = World::new(1).config(&YAML.replace("5432\"] }", "5432\"], pool: { max_connections: 1 } }"));
    shouting(&world, "10.0.0.1:5432");
    world.run(async {
        let first = open(&world).await;
        let mut second = world.client();
        second.send(hello("db.test")).await;
        assert_eq!(second.rest().await.0, [21, 3, 3, 0, 2, 2, 80]);
        drop((first, second));
        world.sleep(Duration::from_secs(3)).await;
        let log = world.log().await;
        assert!(log.iter().any(|line| line.reason() == "pool-exhausted"));
        open(&world).await;
    });
}
