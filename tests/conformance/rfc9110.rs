//! RFC 9110: what messages mean, as far as a gateway is concerned.

use crate::world::{PLAIN, World};
use crate::{GET, OK, answered, forwarded, relayed, status};

#[test]
fn rfc9110_5_3_the_order_of_fields_of_one_name_is_kept() {
    assert_eq!(forwarded("GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\ny: 0\r\nX: 2\r\n\r\n").all("x"), ["1", "2"]);
}

#[test]
fn rfc9110_5_5_octets_beyond_ascii_in_values_are_opaque() {
    assert_eq!(forwarded("GET / HTTP/1.1\r\nhost: a\r\nx: \u{fc}\r\n\r\n").field("x"), Some("\u{fc}"));
}

#[test]
fn rfc9110_6_6_1_a_response_without_date_gets_one() {
    assert!(relayed(OK).field("date").is_some_and(|date| date.ends_with(" GMT")));
}

#[test]
fn rfc9110_7_6_1_fields_that_connection_names_are_removed() {
    let request = forwarded("GET / HTTP/1.1\r\nhost: a\r\nconnection: x-a\r\nX-A: 1\r\nx-b: 2\r\n\r\n");
    assert_eq!((request.field("x-a"), request.field("connection"), request.field("x-b")), (None, None, Some("2")));
    let response = relayed("HTTP/1.1 200 OK\r\nconnection: x-a\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n");
    assert_eq!((response.field("x-a"), response.field("connection")), (None, None));
}

#[test]
fn rfc9110_7_6_1_hop_by_hop_fields_are_removed_though_not_named() {
    for name in ["proxy-connection", "keep-alive", "te", "upgrade"] {
        let request = forwarded(&format!("GET / HTTP/1.1\r\nhost: a\r\n{name}: x\r\n\r\n"));
        assert_eq!(request.field(name), None);
    }
}

#[test]
fn rfc9110_7_6_2_options_with_no_forwards_left_is_answered_here() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        let response = world.ask("OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n").await;
        assert_eq!(response.status(), 204);
        assert!(world.connects().is_empty());
    });
}

#[test]
fn rfc9110_7_6_2_the_forwards_left_of_options_are_counted_down() {
    let request = forwarded("OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 10\r\n\r\n");
    assert_eq!(request.field("max-forwards"), Some("9"));
}

#[test]
fn rfc9110_7_6_3_a_gateway_adds_via_to_requests() {
    assert!(forwarded(GET).field("via").is_some_and(|via| via.starts_with("1.1 tidegate-")));
    let via = forwarded("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    assert!(via.field("via").is_some_and(|via| via.starts_with("1.0 ")), "{}", via.head);
}

#[test]
fn rfc9110_7_8_an_upgrade_is_not_forwarded_unless_configured() {
    let request = forwarded("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!((request.field("upgrade"), request.field("connection")), (None, None));
}

#[test]
fn rfc9110_7_8_a_101_that_was_not_asked_for_is_502() {
    assert_eq!(relayed("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").status(), 502);
}

#[test]
fn rfc9110_8_6_no_content_length_is_sent_with_204() {
    assert_eq!(relayed("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").field("content-length"), None);
}

#[test]
fn rfc9110_9_2_2_an_unsafe_request_is_not_repeated() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        peer.request().await;
    });
    world.run(async {
        let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(world.ask(request).await.status(), 502);
        assert_eq!(world.connects().len(), 1);
    });
}

#[test]
fn rfc9110_9_3_2_an_answer_to_head_has_no_content() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    world.run(async {
        let mut client = world.client();
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\nHEAD /none%2F HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.response_to_head().await.field("content-length"), Some("5"));
        assert_eq!(client.response_to_head().await.status(), 400);
    });
}

#[test]
fn rfc9110_9_3_6_and_9_3_8_connect_and_trace_are_not_offered() {
    assert_eq!(status("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n"), 405);
    assert_eq!(status("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n"), 405);
}

#[test]
fn rfc9110_9_3_7_options_about_the_server_as_a_whole_are_answered_here() {
    for target in ["*", "http://a"] {
        let world = World::new(1).config(PLAIN);
        world.run(async {
            let mut client = world.client();
            client.send(format!("OPTIONS {target} HTTP/1.1\r\nhost: a\r\n\r\n").repeat(2)).await;
            for _ in 0..2 {
                let response = client.response().await;
                assert_eq!((response.status(), response.field("content-length")), (204, None), "{target}");
                assert!(response.field("allow").is_some_and(|allow| allow.contains("OPTIONS")), "{target}");
            }
            assert!(world.connects().is_empty());
        });
    }
}

#[test]
fn rfc9110_9_1_an_unknown_method_is_forwarded() {
    assert_eq!(forwarded("BREW /pot HTTP/1.1\r\nhost: a\r\n\r\n").start, "BREW /pot HTTP/1.1");
}

#[test]
fn rfc9110_10_1_1_an_expectation_that_cannot_be_met_is_417() {
    assert_eq!(status("GET / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n"), 417);
}

#[test]
fn rfc9110_10_1_1_an_expectation_is_case_insensitive_and_forwarded() {
    let request = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(forwarded(request).field("expect"), Some("100-continue"));
}

#[test]
fn rfc9110_10_1_1_an_expectation_of_http10_is_ignored() {
    let request = "POST / HTTP/1.0\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(forwarded(request).field("expect"), None);
}

#[test]
fn rfc9110_10_1_4_te_trailers_is_for_one_hop_and_says_so() {
    let request = forwarded("GET / HTTP/1.1\r\nhost: a\r\nte: trailers, gzip\r\nconnection: te\r\n\r\n");
    assert_eq!((request.field("te"), request.field("connection")), (Some("trailers"), Some("te")));
}

#[test]
fn rfc9110_15_2_interim_responses_are_not_sent_to_http10() {
    let world = World::new(1).config(PLAIN);
    world.answers("10.0.0.1:80", format!("HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n{OK}"));
    world.run(async { assert_eq!(world.ask("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await.status(), 200) });
}

#[test]
fn rfc9110_15_3_6_and_15_4_5_statuses_without_content_end_with_their_head() {
    for (code, length) in [(204, None), (304, Some("7"))] {
        let world = World::new(1).config(PLAIN);
        world.answers("10.0.0.1:80", format!("HTTP/1.1 {code} X\r\ncontent-length: 7\r\n\r\n"));
        world.run(async {
            let mut client = world.client();
            client.send(GET.repeat(2)).await;
            for _ in 0..2 {
                let response = client.response().await;
                assert_eq!((response.status(), response.field("content-length")), (code, length));
            }
        });
    }
}

#[test]
fn rfc9110_15_5_6_a_405_names_what_is_allowed() {
    assert!(answered("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n").field("allow").is_some());
}

#[test]
fn rfc9110_15_5_22_a_426_names_the_protocol() {
    let yaml = PLAIN.replace("to: app", "to: app, upgrade: websocket");
    let world = World::new(1).config(&yaml);
    world.run(async {
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 7\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let response = world.ask(request).await;
        assert_eq!((response.status(), response.field("upgrade")), (426, Some("websocket")));
        let connection = response.field("connection").expect("RFC 9110, section 7.8: Upgrade is named by Connection");
        assert!(connection.contains("upgrade"), "{connection}");
    });
}
