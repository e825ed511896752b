//! RFC 9112: the syntax and the connections of HTTP/1.1.

use crate::world::{PLAIN, World};
use crate::{GET, OK, answered, forwarded, relayed, status};

#[test]
fn rfc9112_2_2_an_empty_line_before_the_request_line_is_ignored() {
    assert_eq!(status(&format!("\r\n{GET}")), 200);
}

#[test]
fn rfc9112_2_2_whitespace_before_the_first_field_is_400() {
    assert_eq!(status("GET / HTTP/1.1\r\n host: a\r\n\r\n"), 400);
}

#[test]
fn rfc9112_2_2_a_bare_cr_is_400() {
    assert_eq!(status("GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n"), 400);
}

#[test]
fn rfc9112_2_2_what_is_no_http_message_is_400_and_close() {
    let response = answered("\u{16}\u{3}\u{1}\0\u{5}hello\r\n\r\n");
    assert_eq!((response.status(), response.field("connection")), (400, Some("close")));
}

#[test]
fn rfc9112_2_3_the_version_sent_is_our_own() {
    assert!(forwarded("GET / HTTP/1.0\r\nhost: a\r\n\r\n").start.ends_with(" HTTP/1.1"));
    assert!(relayed("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").start.starts_with("HTTP/1.1 "));
    assert!(forwarded("GET / HTTP/1.7\r\nhost: a\r\n\r\n").start.ends_with(" HTTP/1.1"));
}

#[test]
fn rfc9112_3_a_request_line_of_8000_octets_is_supported() {
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(7985))), 200);
}

#[test]
fn rfc9112_3_a_target_longer_than_any_is_414() {
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(20_000))), 414);
}

#[test]
fn rfc9112_3_a_method_longer_than_any_is_501() {
    assert_eq!(status(&format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "M".repeat(100))), 501);
}

#[test]
fn rfc9112_3_2_a_request_without_host_is_400() {
    assert_eq!(status("GET / HTTP/1.1\r\nx: y\r\n\r\n"), 400);
}

#[test]
fn rfc9112_3_2_a_request_with_two_hosts_is_400() {
    assert_eq!(status("GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n"), 400);
}

#[test]
fn rfc9112_3_2_a_request_with_an_invalid_host_is_400() {
    assert_eq!(status("GET / HTTP/1.1\r\nhost: a b\r\n\r\n"), 400);
}

#[test]
fn rfc9112_3_2_host_comes_first_among_the_fields_sent() {
    let request = forwarded("GET / HTTP/1.1\r\nx: y\r\nhost: a\r\n\r\n");
    assert!(request.fields[0].0.eq_ignore_ascii_case("host"), "{}", request.head);
}

#[test]
fn rfc9112_3_2_1_an_empty_path_of_an_absolute_form_becomes_a_slash() {
    assert_eq!(forwarded("GET http://b HTTP/1.1\r\nhost: b\r\n\r\n").start, "GET / HTTP/1.1");
}

#[test]
fn rfc9112_3_2_2_the_absolute_form_is_accepted_and_its_authority_replaces_host() {
    let request = forwarded("GET http://b/x?y HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((request.start.as_str(), request.field("host")), ("GET /x?y HTTP/1.1", Some("b")));
}

#[test]
fn rfc9112_3_2_2_a_query_alone_keeps_its_slash() {
    assert_eq!(forwarded("GET http://b?y HTTP/1.1\r\nhost: b\r\n\r\n").start, "GET /?y HTTP/1.1");
}

#[test]
fn rfc9112_3_2_4_the_asterisk_is_for_options_only() {
    assert_eq!(status("GET * HTTP/1.1\r\nhost: a\r\n\r\n"), 400);
}

#[test]
fn rfc9112_4_a_status_line_that_is_none_is_502() {
    for line in ["HTTP/1.1 2000 OK", "HTTP/1.1  200 OK", "HTTP/1.1 abc", "ICY 200 OK"] {
        assert_eq!(relayed(&format!("{line}\r\n\r\n")).status(), 502, "{line}");
    }
}

#[test]
fn rfc9112_4_an_absent_reason_phrase_is_fine() {
    for line in ["HTTP/1.1 200 ", "HTTP/1.1 200"] {
        assert_eq!(relayed(&format!("{line}\r\ncontent-length: 0\r\n\r\n")).status(), 200, "{line:?}");
    }
}

#[test]
fn rfc9112_5_whitespace_around_a_value_is_no_part_of_it() {
    assert_eq!(forwarded("GET / HTTP/1.1\r\nhost: a\r\nx: \t y \t\r\n\r\n").field("x"), Some("y"));
}

#[test]
fn rfc9112_5_1_whitespace_before_the_colon_is_400_in_a_request_and_never_passed_in_a_response() {
    assert_eq!(status("GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n"), 400);
    assert_eq!(relayed("HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 0\r\n\r\n").status(), 502);
}

#[test]
fn rfc9112_5_2_a_folded_line_is_400_in_a_request_and_502_in_a_response() {
    assert_eq!(status("GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n\tz\r\n\r\n"), 400);
    assert_eq!(relayed("HTTP/1.1 200 OK\r\nx: y\r\n z\r\ncontent-length: 0\r\n\r\n").status(), 502);
}

#[test]
fn rfc9112_5_2_a_folded_line_is_400_whatever_the_field_would_earn() {
    for field in ["transfer-encoding:\r\n chunked", "transfer-encoding: gzip\r\n\t, chunked", "content-length: x\r\n 5"]
    {
        assert_eq!(status(&format!("POST / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n")), 400, "{field:?}");
    }
    let later = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\nx: y\r\n z\r\n\r\n";
    assert_eq!(status(later), 400);
}

#[test]
fn rfc9112_6_1_content_length_with_transfer_encoding_is_400() {
    let response =
        answered("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!((response.status(), response.field("connection")), (400, Some("close")));
}

#[test]
fn rfc9112_6_1_an_unknown_coding_is_501() {
    assert_eq!(status("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: foo\r\n\r\n"), 501);
}

#[test]
fn rfc9112_6_1_transfer_encoding_in_http10_is_faulty() {
    assert_eq!(status("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
    assert_eq!(relayed("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").status(), 502);
}

#[test]
fn rfc9112_6_1_no_transfer_encoding_is_sent_with_204_or_1xx() {
    let response = relayed("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n");
    assert!(response.status() == 502 || response.all("transfer-encoding").is_empty(), "{}", response.head);
}

#[test]
fn rfc9112_6_2_a_length_is_digits_alone() {
    for length in ["+1", "1.0", "0x1", "1a", "", "1,1"] {
        assert_eq!(
            status(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\nx")),
            400,
            "{length}"
        );
    }
}

#[test]
fn rfc9112_6_3_a_request_without_framing_has_no_content() {
    let request = forwarded(&format!("POST / HTTP/1.1\r\nhost: a\r\n\r\n{GET}"));
    assert!(request.content.is_empty());
}

#[test]
fn rfc9112_6_3_an_invalid_length_of_a_response_is_502() {
    assert_eq!(relayed("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nx").status(), 502);
}

#[test]
fn rfc9112_6_3_a_response_with_length_and_coding_is_502() {
    let response = relayed("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(response.status(), 502);
}

#[test]
fn rfc9112_7_1_zeros_before_a_chunk_size_mean_nothing() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(forwarded(&format!("{head}0000000000000005\r\nhello\r\n000\r\n\r\n")).text(), "hello");
}

#[test]
fn rfc9112_7_1_a_chunk_size_that_overflows_is_400() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let status = status(&format!("{head}fffffffffffffffff\r\nhello\r\n0\r\n\r\n"));
    assert_eq!(status, 400);
}

#[test]
fn rfc9112_7_1_the_largest_chunk_size_is_no_way_around_the_limit() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let world = World::new(1).config(&format!("gateway: {{ limits: {{ body: 3B }} }}\n{PLAIN}"));
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        assert_eq!(world.ask(format!("{head}ffffffffffffffff\r\nhello")).await.status(), 413);
    });
}

#[test]
fn rfc9112_7_1_1_unknown_chunk_extensions_are_ignored() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(forwarded(&format!("{head}5;a=b;c=\"d;\\\"e\"\r\nhello\r\n0;f\r\n\r\n")).text(), "hello");
}

#[test]
fn rfc9112_7_1_1_the_length_of_chunk_extensions_is_bounded() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(status(&format!("{head}5;a={}\r\nhello\r\n0\r\n\r\n", "b".repeat(5000))), 400);
    let many = "1;abcdefgh\r\nx\r\n".repeat(600);
    assert_eq!(status(&format!("{head}{many}0\r\n\r\n")), 400);
}

#[test]
fn rfc9112_7_1_2_trailers_never_become_header_fields() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let request = forwarded(&format!("{head}0\r\nauthorization: x\r\nx-user: admin\r\n\r\n"));
    assert!(request.all("authorization").is_empty() && request.all("x-user").is_empty());
}

#[test]
fn rfc9112_7_1_2_trailers_are_bounded() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(status(&format!("{head}0\r\n{}\r\n", "x: y\r\n".repeat(200))), 431);
}

#[test]
fn rfc9112_9_2_responses_are_in_the_order_of_the_requests() {
    let world = World::new(1).config(PLAIN);
    world.origin("10.0.0.1:80", |mut peer| async move {
        while let Some(request) = peer.request().await {
            let path = &request.start[4..6];
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{path}")).await;
        }
    });
    world.run(async {
        let mut client = world.client();
        client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((client.response().await.text(), client.response().await.text()), ("/1".into(), "/2".into()));
    });
}

#[test]
fn rfc9112_9_3_connections_persist_unless_a_side_says_close() {
    assert_eq!(answered(GET).field("connection"), None);
    assert_eq!(answered("GET / HTTP/1.1\r\nhost: a\r\nconnection: ClOsE\r\n\r\n").field("connection"), Some("close"));
    assert_eq!(
        answered("GET / HTTP/1.1\r\nhost: a\r\nconnection: x, close\r\n\r\n").field("connection"),
        Some("close")
    );
}

#[test]
fn rfc9112_9_6_the_last_answer_is_not_lost_to_a_reset() {
    let world = World::new(1).config(PLAIN);
    world.run(async {
        let mut client = world.client();
        client.send(format!("BROKEN\r\n\r\n{}", "x".repeat(50_000))).await;
        assert_eq!(client.response().await.status(), 400);
        assert_eq!(client.rest().await.1, crate::world::Ended::Finished);
    });
}
