//! `status`, `reload`, `drain`: calls to the admin API of a running process, one bounded exchange each.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{FINDINGS, Format, complain, print};

/// How long the API may be silent; a reload of a large configuration takes its time.
const SILENCE_MAX: Duration = Duration::from_secs(65);
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// A status with thousands of endpoints fits.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Debug, Args)]
struct Remote {
    /// The admin API: host:port, or unix:/path
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901", env = "TIDEGATE_ADMIN")]
    admin: String,
    /// The bearer token; better set by the environment, where no other process list shows it
    #[arg(long, value_name = "TOKEN", env = "TIDEGATE_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Show what a running gateway does
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidegate status\n  tidegate status --admin unix:/run/tidegate/admin.sock --format json"
)]
pub(super) struct Status {
    #[command(flatten)]
    remote: Remote,
}

/// Have a running gateway reload its configuration, and say what came of it
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tidegate reload && echo adopted\n\nExit code 1 means that the old configuration serves on."
)]
pub(super) struct Reload {
    #[command(flatten)]
    remote: Remote,
}

/// Have a running gateway finish what is open and end
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tidegate drain --admin 127.0.0.1:9901")]
pub(super) struct Drain {
    #[command(flatten)]
    remote: Remote,
}

impl Status {
    pub fn execute(self) -> ExitCode {
        self.remote.call("GET", "/status", status_text)
    }
}

impl Reload {
    pub fn execute(self) -> ExitCode {
        self.remote.call("POST", "/config/reload", reload_text)
    }
}

impl Drain {
    pub fn execute(self) -> ExitCode {
        self.remote.call("POST", "/drain", |_| "draining\n".into())
    }
}

impl Remote {
    fn call(&self, method: &str, path: &str, text: fn(&Value) -> String) -> ExitCode {
        let answer = match self.exchange(method, path) {
            Ok(answer) => answer,
            Err(error) => {
                complain(&format!("{}: {error}; is the gateway running, with its admin API there?", self.admin));
                return ExitCode::from(FINDINGS);
            }
        };
        let Ok(value) = serde_json::from_slice::<Value>(&answer.body) else {
            complain(&format!(
                "{}: {} {}",
                self.admin,
                answer.status,
                String::from_utf8_lossy(&answer.body).trim_end()
            ));
            return ExitCode::from(FINDINGS);
        };
        print(&match self.format {
            Format::Json => format!("{value:#}\n"),
            Format::Text => text(&value),
        });
        if (200..300).contains(&answer.status) { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) }
    }

    fn exchange(&self, method: &str, path: &str) -> io::Result<Answer> {
        let request = request(method, path, &self.admin, self.token.as_deref())?;
        match self.admin.strip_prefix("unix:") {
            Some(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                stream.set_write_timeout(Some(CONNECT_MAX))?;
                exchange(stream, &request)
            }
            None => {
                let stream = connect(&self.admin)?;
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                stream.set_write_timeout(Some(CONNECT_MAX))?;
                exchange(stream, &request)
            }
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn request(method: &str, path: &str, admin: &str, token: Option<&str>) -> io::Result<Vec<u8>> {
    let host = if admin.starts_with("unix:") { "localhost" } else { admin };
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n");
    if let Some(token) = token {
        head.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    if head.bytes().any(|octet| octet < b' ' && octet != b'\r' && octet != b'\n') || head.matches('\n').count() > 5 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the address or the token holds a control character"));
    }
    head.push_str("\r\n");
    Ok(head.into_bytes())
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// Sends the request and reads to the end of the connection, which was asked to close.
fn exchange(mut stream: impl Read + Write, request: &[u8]) -> io::Result<Answer> {
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

/// The server is ours: it sends a length, or closes at the end.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let body = &bytes[end..];
    match length {
        Some(length) => Some(Answer { status, body: body.get(..length)?.to_vec() }),
        None => Some(Answer { status, body: body.to_vec() }),
    }
}

fn status_text(status: &Value) -> String {
    let text = |key: &str| match &status[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    };
    let mut out = String::new();
    for (name, key) in [
        ("version", "version"),
        ("phase", "phase"),
        ("generation", "generation"),
        ("uptime", "uptime_seconds"),
        ("driver", "driver"),
        ("connections", "connections_open"),
        ("routes", "routes"),
    ] {
        out.push_str(&format!("{name:<12}{}\n", text(key)));
    }
    for listener in list(&status["listeners"]) {
        let addresses: Vec<_> = list(&listener["addresses"]).filter_map(Value::as_str).collect();
        out.push_str(&format!("listener    {}: {}\n", word(&listener["name"]), addresses.join(", ")));
    }
    for upstream in list(&status["upstreams"]) {
        let one = |endpoint: &Value| format!("{} {}", word(&endpoint["name"]), word(&endpoint["health"]));
        let endpoints: Vec<_> = list(&upstream["endpoints"]).map(one).collect();
        out.push_str(&format!("upstream    {}: {}\n", word(&upstream["name"]), endpoints.join(", ")));
    }
    out
}

fn reload_text(outcome: &Value) -> String {
    let took = &outcome["duration_ms"];
    let mut out = match outcome["adopted"].as_bool() {
        Some(true) => format!("generation {} adopted in {took} ms\n", outcome["generation"]),
        _ => format!("refused; generation {} serves on\n", outcome["generation"]),
    };
    for kind in ["listeners", "upstreams", "routes"] {
        let delta = &outcome["changes"][kind];
        if delta.is_object() {
            let [added, changed, removed, unchanged] =
                ["added", "changed", "removed", "unchanged"].map(|key| &delta[key]);
            out.push_str(&format!("{kind:<12}+{added} ~{changed} -{removed} ={unchanged}\n"));
        }
    }
    if let Some(problem) = outcome["problem"].as_str() {
        out.push_str(&format!("{problem}\n"));
    }
    for key in list(&outcome["needs_restart"]) {
        out.push_str(&format!("not applied before a restart: {}\n", word(key)));
    }
    for finding in list(&outcome["findings"]) {
        let place = format!("{}:{}:{}", word(&finding["file"]), finding["line"], finding["column"]);
        let (severity, problem) = (word(&finding["severity"]), word(&finding["problem"]));
        out.push_str(&format!("{place}: {severity}: {problem} ({})\n", word(&finding["path"])));
    }
    let shown = list(&outcome["findings"]).count() as u64;
    if let more @ 1.. = outcome["findings_total"].as_u64().unwrap_or(shown).saturating_sub(shown) {
        out.push_str(&format!("{more} more findings are not shown\n"));
    }
    out
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_ends_with_its_length_or_with_the_connection() {
        let with = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore").unwrap();
        assert_eq!((with.status, with.body.as_slice()), (200, &b"ok"[..]));
        let without = parse(b"HTTP/1.1 503 X\r\n\r\nall").unwrap();
        assert_eq!((without.status, without.body.as_slice()), (503, &b"all"[..]));
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok").is_none(), "cut off");
        assert!(parse(b"SSH-2.0\r\n\r\n").is_none());
    }

    #[test]
    fn a_token_cannot_add_a_header() {
        assert!(request("GET", "/", "127.0.0.1:1", Some("a\r\nx: y")).is_err());
        assert!(request("GET", "/", "127.0.0.1:1", Some("a")).is_ok());
    }

    #[test]
    fn a_refused_reload_lists_its_findings() {
        let finding = json!({ "file": "g.yaml", "line": 3, "column": 5, "severity": "error", "problem": "unknown key",
                              "path": "routes[0].too" });
        let text = reload_text(&json!({ "adopted": false, "generation": 4, "findings": [&finding] }));
        assert_eq!(text, "refused; generation 4 serves on\ng.yaml:3:5: error: unknown key (routes[0].too)\n");
        let text =
            reload_text(&json!({ "adopted": false, "generation": 4, "findings": [finding], "findings_total": 7 }));
        assert!(text.ends_with("(routes[0].too)\n6 more findings are not shown\n"), "{text}");
    }
}
