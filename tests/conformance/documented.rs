//! The table of malformed requests in `docs/security.md`, row by row: what it promises is what a client gets.

use std::time::Duration;

use tidegate::snapshot::{Limits, Timeouts};
use tidegate::upstream;

use crate::world::{PLAIN, VIA_SEED, World};
use crate::{GET, OK};

const PAGE: &str = include_str!("../../docs/security.md");
const WEBSOCKET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// One row of the page.
struct Row {
    fragment: &'static str,
    /// Words of the log, as its detail or as its reason.
    words: Vec<&'static str>,
    statuses: Vec<u16>,
    closes: bool,
}

fn rows() -> Vec<Row> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with("Malformed requests")).expect("the section");
    let lines = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    lines.map(row).collect()
}

fn row(line: &'static str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let [fragment, detail, status, connection] = cells[..] else { panic!("not four cells: {line}") };
    let numbers = status.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    Row {
        fragment,
        words: detail.split('`').skip(1).step_by(2).collect(),
        statuses: numbers.collect(),
        closes: connection == "close",
    }
}

/// A request head with this request line, or with these fields.
fn line(line: &str) -> String {
    format!("{line}\r\nhost: a\r\n\r\n")
}

fn target(target: &str) -> String {
    line(&format!("GET {target} HTTP/1.1"))
}

fn fields(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n")
}

fn host(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

fn length(length: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

fn coding(coding: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n")
}

fn chunked(content: &str) -> String {
    format!("{CHUNKED}{content}")
}

/// What a client sends for a row, by the beginning of its fragment. One character is one octet.
fn requests() -> Vec<(&'static str, Vec<String>)> {
    [lines_and_framing(), hosts(), targets(), hops(), chunks()].concat()
}

fn lines_and_framing() -> Vec<(&'static str, Vec<String>)> {
    vec![
        ("`GET  / HTTP/1.1`", vec![line("GET  / HTTP/1.1"), line("GET /")]),
        ("`G(T / HTTP/1.1`", vec![line("G(T / HTTP/1.1")]),
        ("a method token longer", vec![line(&format!("{} / HTTP/1.1", "M".repeat(33)))]),
        ("`GET / HTTP/2.0`", vec![line("GET / HTTP/2.0"), line("GET / HTTP/3.0")]),
        ("`PRI * HTTP/2.0`", vec!["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()]),
        ("a control octet in the target", vec![target("/a\u{1}b"), target("/a\tb")]),
        ("`TRACE`", vec![line("TRACE / HTTP/1.1"), "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n".into()]),
        ("`Content-Length: 5` with", vec![fields("content-length: 5\r\ntransfer-encoding: chunked")]),
        (
            "two `Content-Length`",
            vec![length("5\r\ncontent-length: 5"), length("5\r\ncontent-length: 6"), length("5, 5")],
        ),
        ("`Content-Length: +5`", ["+5", "-1", "0x5", "9223372036854775808"].map(length).into()),
        ("`Transfer-Encoding` in HTTP/1.0", vec![coding("chunked").replace("HTTP/1.1", "HTTP/1.0")]),
        (
            "`Transfer-Encoding: gzip`",
            ["gzip", "gzip, chunked", "xchunked", "chunked, chunked", "chunked\r\ntransfer-encoding: chunked"]
                .map(coding)
                .into(),
        ),
        ("a line that begins with a space", vec![fields("x: y\r\n z")]),
        ("a space before the first field", vec!["GET / HTTP/1.1\r\n host: a\r\n\r\n".into()]),
        ("`Host : a`", vec!["GET / HTTP/1.1\r\nHost : a\r\n\r\n".into()]),
        ("a field line without a colon", vec![fields("nonsense")]),
        ("`X(Y: 1`", vec![fields("X(Y: 1"), fields(": 1")]),
        ("a CR that no LF follows", vec![fields("x: a\rb")]),
        ("an LF without its CR", vec!["GET / HTTP/1.1\nhost: a\n\n".into(), fields("x: a\ny: b")]),
        ("NUL or another control", vec![fields("x: a\0b"), fields("x: a\u{7}b")]),
    ]
}

fn hosts() -> Vec<(&'static str, Vec<String>)> {
    vec![
        ("no `Host`", vec!["GET / HTTP/1.1\r\n\r\n".into(), "GET / HTTP/1.0\r\n\r\n".into()]),
        ("two `Host` lines", vec![host("a\r\nhost: a")]),
        ("`Host:` empty", vec![host("")]),
        ("`Host: user@a`", vec![host("user@a")]),
        ("`Host: a b`", ["a b", "a/b", "a,b", "b\u{c3}\u{bc}cher"].map(host).into()),
        ("`Host: a..b`", vec![host("a..b")]),
        ("`Host: 127.1`", ["127.1", "[::1", "[fe80::1%25eth0]"].map(host).into()),
        ("`Host: a:0`", ["a:0", "a:65536", "a:80:80"].map(host).into()),
        ("a host over 255 octets", vec![host(&"a.".repeat(140)), host(&"a".repeat(64))]),
    ]
}

fn targets() -> Vec<(&'static str, Vec<String>)> {
    let octets = ["\"", "<", ">", "\\", "^", "`", "{", "}", "|", "\u{e4}"];
    vec![
        ("a target in none of the four forms", vec![target("a"), target("*")]),
        ("`GET ftp://a/`", vec![target("ftp://a/")]),
        ("`/%zz`", vec![target("/%zz"), target("/%4")]),
        ("`/%00`", vec![target("/%00")]),
        ("`/a\"b`", octets.map(|octet| target(&format!("/a{octet}b"))).into()),
        ("`/a%5cb`", vec![target("/a%5cb")]),
        ("`/a#b`", vec![target("/a#b")]),
        ("`/../a`", vec![target("/../a"), target("/a/../../b")]),
        ("`/a/..;/b`", vec![target("/a/..;/b")]),
        ("`/a%2Fb`", vec![target("/a%2Fb")]),
    ]
}

fn hops() -> Vec<(&'static str, Vec<String>)> {
    let protected = ["content-length", "authorization", "x-forwarded-for"];
    vec![
        ("`Connection: content-length`", protected.map(|name| fields(&format!("connection: {name}"))).into()),
        ("`Connection: a(b`", vec![fields("connection: a(b")]),
        ("`Expect: 200-ok`", vec![fields("expect: 200-ok")]),
        (
            "WebSocket of a version",
            vec![format!("{WEBSOCKET}sec-websocket-version: 8\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")],
        ),
        (
            "WebSocket with a malformed key",
            vec![format!("{WEBSOCKET}sec-websocket-version: 13\r\nsec-websocket-key: short\r\n\r\n")],
        ),
        (
            "WebSocket of a page",
            vec![format!(
                "{WEBSOCKET}sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 origin: https://evil.example\r\n\r\n"
            )],
        ),
        ("its own pseudonym in `Via`", vec![fields(&format!("via: 1.1 tidegate-{VIA_SEED:08x}"))]),
    ]
}

fn chunks() -> Vec<(&'static str, Vec<String>)> {
    vec![
        ("chunk size `g`", ["g\r\n", " 5\r\nhello\r\n", "\r\nhello\r\n"].map(chunked).into()),
        ("chunk size of more than", vec![chunked("00000000000000005\r\nhello\r\n")]),
        ("CR or LF within a chunk extension", ["5;a\rb\r\n", "5;a\nhello\r\n", "5;a=\"\r\n"].map(chunked).into()),
        ("chunk data that no CRLF follows", vec![chunked("5\r\nhello!\r\n"), chunked("5\r\nhello\n")]),
        (
            "a trailer that breaks",
            vec![chunked("0\r\nx : y\r\n\r\n"), chunked(&format!("0\r\n{}\r\n", "x: y\r\n".repeat(101)))],
        ),
    ]
}

fn check(row: &Row, request: &str) {
    let octets: Vec<u8> = request.chars().map(|c| u8::try_from(u32::from(c)).expect("one octet")).collect();
    let socket = "to: app, upgrade: websocket, websocket: { origins: https://app.example.com }";
    let world = World::new(1).config(&PLAIN.replace("to: app", socket));
    world.answers("10.0.0.1:80", OK);
    world.run(async {
        let (mut client, what) = (world.client(), format!("{}: {request:?}", row.fragment));
        client.send(octets).await;
        let response = client.response().await;
        assert!(row.statuses.contains(&response.status()), "{what}: {}", response.head);
        assert!(world.requests().is_empty(), "{what} reached the upstream");
        if row.closes {
            assert_eq!(response.field("connection"), Some("close"), "{what}");
            client.send(GET).await;
            assert!(client.closes().await, "{what}");
        } else {
            client.send(GET).await;
            assert_eq!(client.response().await.status(), 200, "{what}");
        }
        let log = world.log().await;
        assert_eq!(log[0].text("client"), "192.0.2.7", "{what}");
        assert_eq!(response.field("x-request-id"), Some(&*log[0].text("request_id")), "{what}");
        let told = [log[0].text("detail"), log[0].reason()];
        let named = row.words.iter().any(|word| told.iter().any(|told| told == word));
        assert!(row.words.is_empty() || named, "{what}: {told:?} and not {:?}", row.words);
    });
}

#[test]
fn every_row_of_the_security_page_holds() {
    let (rows, requests) = (rows(), requests());
    assert!(rows.len() > 40, "{} rows were read", rows.len());
    for row in &rows {
        let own = requests.iter().find(|(start, _)| row.fragment.starts_with(start));
        let (_, requests) = own.unwrap_or_else(|| panic!("nothing is sent for the row {:?}", row.fragment));
        requests.iter().for_each(|request| check(row, request));
    }
}

#[test]
fn every_request_belongs_to_a_row_of_the_security_page() {
    let rows = rows();
    for (start, _) in requests() {
        let count = rows.iter().filter(|row| row.fragment.starts_with(start)).count();
        assert_eq!(count, 1, "rows that begin with {start:?}");
    }
}

/// The limits of the page, by their first words, and their defaults.
fn defaults() -> Vec<(&'static str, String)> {
    let (limits, timeouts, attempt) = (Limits::default(), Timeouts::default(), upstream::Timeouts::default());
    let silence = tidegate::config::Websocket::default().idle_timeout().limit().expect("a finite default");
    let kib = |octets: u32| format!("{} KiB", octets / 1024);
    let seconds = |time: Duration| format!("{} s", time.as_secs());
    vec![
        ("request head", kib(limits.head_bytes)),
        ("one header field", kib(limits.field_bytes)),
        ("header fields", limits.fields.to_string()),
        ("request target", kib(limits.target_bytes)),
        ("request body", format!("{} MiB", limits.body_bytes >> 20)),
        ("body rate", format!("{} KiB/s, after {}", limits.body_rate_min / 1024, seconds(limits.body_grace))),
        ("time for a request head", seconds(timeouts.head)),
        ("time between requests", seconds(timeouts.keep_alive)),
        ("requests on a connection", "100,000".into()),
        ("requests in a row of one pipeline", limits.pipelined.to_string()),
        ("interim responses", limits.interim_responses.to_string()),
        ("connect |", seconds(attempt.connect)),
        ("response head", seconds(attempt.response_head)),
        ("exchange, retries included", seconds(timeouts.exchange)),
        ("silence between bytes", seconds(timeouts.idle)),
        ("whole exchange", format!("{} h", timeouts.total.as_secs() / 3600)),
        ("tunnel or event stream", format!("{} h", timeouts.lifetime.as_secs() / 3600)),
        ("silence of a WebSocket", format!("{} h", silence.get().as_secs() / 3600)),
    ]
}

#[test]
fn the_defaults_on_the_security_page_are_those_of_a_configuration_that_says_nothing() {
    let section = PAGE.split("\n## ").find(|section| section.starts_with("Limits")).expect("the section");
    for (limit, default) in defaults() {
        let row = section.lines().find(|line| line.starts_with(&format!("| {limit}")));
        let row = row.unwrap_or_else(|| panic!("no row for {limit:?}"));
        assert_eq!(row.split('|').nth(2).map(str::trim), Some(&*default), "{limit}");
    }
    assert_eq!(Limits::default().requests_per_connection, 100_000);
}
