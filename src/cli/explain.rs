//! `explain`: what would become of a request, and why.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{FINDINGS, Format, MISUSE, complain, print, show, source};
use crate::config::{Endpoint, ProcessEnvironment, Spanned};
use crate::proxy::explain::{Explained, Outcome, explain};
use crate::snapshot::{Draft, ListenerPlan, Snapshot};

/// Explain a request: the route that answers, those that came close, and what is sent upstream
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tidegate explain GET http://api.example.com/v1/orders/42 -c gateway.yaml\n  \
                        tidegate explain POST /v1/orders -H 'host: api.example.com' -H 'x-tenant: a' -c gateway.yaml\n\n\
                        Exit code 1 means that no route answers, or that the request is refused.")]
pub(super) struct Explain {
    /// The method, such as GET
    method: String,
    /// A URL, or a path
    url: String,
    /// A header field of the request, as 'name: value'
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A file, or a folder whose *.yaml files are merged; the quickstart without
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The listener it arrives on; the first without
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Explain {
    pub fn execute(self) -> ExitCode {
        let head = match request_head(&self.method, &self.url, &self.headers) {
            Ok(head) => head,
            Err(problem) => return misuse(&problem),
        };
        let draft = Draft::alone(&source(self.config), &ProcessEnvironment);
        if !draft.is_sound() {
            show(&draft.render(false));
            complain("the configuration is not sound, so nothing can be said of the request");
            return ExitCode::from(FINDINGS);
        }
        let Some(listener) = listener(&draft.snapshot, self.listener.as_deref()) else {
            return misuse("there is no such listener");
        };
        let answer = explain(&draft.snapshot, listener, head.as_bytes());
        print(&match self.format {
            Format::Text => text(&answer, &draft.snapshot),
            Format::Json => serde_json::to_string_pretty(&answer).unwrap_or_default() + "\n",
        });
        if answer.matched.is_some() { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) }
    }
}

fn misuse(problem: &str) -> ExitCode {
    complain(problem);
    ExitCode::from(MISUSE)
}

fn listener<'s>(snapshot: &'s Snapshot, name: Option<&str>) -> Option<&'s ListenerPlan> {
    match name {
        Some(name) => snapshot.listener_named(name).map(|plan| &**plan),
        None => snapshot.listeners.first().map(|plan| &**plan),
    }
}

/// The request as a client would send it.
fn request_head(method: &str, url: &str, headers: &[String]) -> Result<String, String> {
    let (authority, target) = split(url)?;
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    let fields: Vec<(&str, &str)> = headers.iter().map(|header| field(header)).collect::<Result<_, _>>()?;
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        let _ = write!(head, "Host: {}\r\n", authority.unwrap_or("localhost"));
    }
    for (name, value) in fields {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if head.bytes().filter(|octet| *octet == b'\n').count() != head.matches("\r\n").count() {
        return Err("a line break inside of the request".into());
    }
    Ok(head + "\r\n")
}

/// The authority, if there is one, and the target in origin-form.
fn split(url: &str) -> Result<(Option<&str>, &str), String> {
    if url.starts_with('/') || url == "*" {
        return Ok((None, url));
    }
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| format!("`{url}` is neither a URL with http:// or https:// nor a path with /"))?;
    let rest = rest.split('#').next().unwrap_or_default();
    match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => Ok((Some(&rest[..at]), &rest[at..])),
        Some(_) => Err("write a `/` before the query".into()),
        None => Ok((Some(rest), "/")),
    }
}

fn field(header: &str) -> Result<(&str, &str), String> {
    let (name, value) = header.split_once(':').ok_or_else(|| format!("`{header}` is not 'name: value'"))?;
    Ok((name.trim(), value.trim()))
}

/// The answer for people.
fn text(answer: &Explained, snapshot: &Snapshot) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "request   host {}, path {}", or_none(&answer.host), or_none(&answer.path));
    match (&answer.matched, &answer.local_reply) {
        (Some(matched), _) => {
            let _ = writeln!(out, "route     {}", matched.route);
            action(&matched.action, snapshot, &mut out);
        }
        (None, Some(reply)) => {
            let _ = writeln!(out, "answer    {} by the gateway: {}", reply.status, reply.reason);
            if let Some(location) = &answer.location {
                let _ = writeln!(out, "location  {location}");
            }
        }
        (None, None) => {}
    }
    if !answer.near.is_empty() {
        out.push_str("\ncame close\n");
        let width = answer.near.iter().map(|near| near.route.len()).max().unwrap_or_default();
        for near in &answer.near {
            let _ = writeln!(out, "  {:width$}  {}", near.route, near.reason);
        }
    }
    out
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

fn action(action: &Outcome, snapshot: &Snapshot, out: &mut String) {
    let _ = match action {
        Outcome::Redirect { status, location } => writeln!(out, "redirect  {status} to {location}"),
        Outcome::Respond { status, body_bytes } => writeln!(out, "respond   {status} with {body_bytes} bytes"),
        Outcome::Forward { upstream, request } => {
            let _ = writeln!(out, "upstream  {upstream}: {}", endpoints(upstream, snapshot));
            out.push_str("sends\n");
            request.trim_end().lines().try_for_each(|line| writeln!(out, "  {line}"))
        }
    };
}

/// The endpoints as they are written, names unresolved.
fn endpoints(upstream: &str, snapshot: &Snapshot) -> String {
    let object = snapshot.config.upstreams.iter().find(|object| object.name == upstream);
    let Some(model) = object.and_then(|object| object.value.as_ref()) else { return String::new() };
    let one = |endpoint: &Spanned<Endpoint>| match endpoint.weight.get() {
        1 => endpoint.address.shown().to_string(),
        weight => format!("{} (weight {weight})", endpoint.address.shown()),
    };
    model.endpoints.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_host_and_target() {
        let head = request_head("GET", "https://a.test:8443/x?y#z", &[]).unwrap();
        assert_eq!(head, "GET /x?y HTTP/1.1\r\nHost: a.test:8443\r\n\r\n");
        assert_eq!(request_head("GET", "http://a.test", &[]).unwrap(), "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }

    #[test]
    fn a_written_host_wins() {
        let head = request_head("PUT", "/x", &["host: b.test".into(), "X-A:1".into()]).unwrap();
        assert_eq!(head, "PUT /x HTTP/1.1\r\nhost: b.test\r\nX-A: 1\r\n\r\n");
    }

    #[test]
    fn what_is_no_request_is_misuse() {
        for url in ["a.test/x", "ftp://a.test/", "http://a.test?x"] {
            assert!(request_head("GET", url, &[]).is_err(), "{url}");
        }
        assert!(request_head("GET", "/", &["no colon".into()]).is_err());
        assert!(request_head("GET", "/", &["a: b\nc: d".into()]).is_err());
    }

    #[test]
    fn the_answer_names_route_upstream_and_request() {
        let draft = Draft::alone(&source(None), &crate::config::EmptyEnvironment);
        let head = request_head("GET", "/", &[]).unwrap();
        let answer = explain(&draft.snapshot, listener(&draft.snapshot, None).unwrap(), head.as_bytes());
        let text = text(&answer, &draft.snapshot);
        assert!(text.contains("\nroute     "), "{text}");
        assert!(text.contains("\nupstream  demo: "), "{text}");
        assert!(text.contains("\n  GET / HTTP/1.1\n"), "{text}");
    }
}
