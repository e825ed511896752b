//! What would become of a request, without sending it: the same parser, the same checks, the same table and the same
//! encoder as for a live one. What only a live exchange knows (its id, its trace) is left out.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::encode::{self, LocationParts, RequestParts};
use super::head;
use crate::base::Address;
use crate::config::{self, HIDDEN, Spanned, Text, ValueMatch};
use crate::context::{RequestContext, RequestId};
use crate::http::authority::Authority;
use crate::http::h1::{HeadScanner, Hop, Progress};
use crate::http::header::KnownName;
use crate::http::target::{Form, Scheme, Target};
use crate::http::{Method, Protocol, RequestHead, Span};
use crate::policy::Policies;
use crate::route::{Captures, NearMiss, Reason, Subject};
use crate::snapshot::compile::shown_edits;
use crate::snapshot::{Action, CHALLENGES, ListenerPlan, Redirect, RoutePlan, Snapshot};

/// Routes that came close, at most.
pub const NEAR_MAX: usize = 5;
/// Stands for the id that each exchange gets.
const REQUEST_ID: &[u8] = b"(new)";

/// What would become of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// The canonical host and path that routes are matched with.
    pub host: String,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<Matched>,
    /// The answer of the gateway itself, which refuses it or ends here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_reply: Option<LocalReply>,
    /// Where that sends the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The routes that came closest and did not answer, closest first.
    pub near: Vec<Near>,
}

/// An answer that no route gives: its status, and the word that the log has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LocalReply {
    pub status: u16,
    pub reason: &'static str,
}

/// The route that answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matched {
    pub route: String,
    #[serde(flatten)]
    pub action: Outcome,
}

/// What the route does with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Outcome {
    Forward { upstream: String, request: String },
    Redirect { status: u16, location: String },
    Respond { status: u16, body_bytes: usize },
}

/// A route that did not answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Near {
    pub route: String,
    pub reason: String,
}

/// Explains the request whose whole head is `bytes`, as it would be received on `listener` by a loopback client.
pub fn explain(snapshot: &Snapshot, listener: &ListenerPlan, bytes: &[u8]) -> Explained {
    let mut asked = Asked::default();
    match asked.read(listener, bytes) {
        Ok(()) if asked.ends_here(bytes) => asked.answer(bytes, Some((204, "local-answer"))),
        Ok(()) => match listener.redirect() {
            Some(plan) if !asked.is_challenge(snapshot, bytes) => asked.redirect(&plan, bytes),
            _ => asked.route(snapshot, listener, bytes),
        },
        Err(refused) => asked.answer(bytes, Some(refused)),
    }
}

/// A request as far as it was understood.
#[derive(Default)]
struct Asked {
    head: RequestHead,
    written: Vec<u8>,
    cx: RequestContext,
    hop: Hop,
}

type Refused = (u16, &'static str);

impl Asked {
    fn read(&mut self, listener: &ListenerPlan, bytes: &[u8]) -> Result<(), Refused> {
        let scanned = HeadScanner::default().request(bytes, &mut self.head, &head::limits(listener));
        if scanned.map_err(|error| (error.status(), error.reason()))? == Progress::Partial {
            return Err((400, "head-incomplete"));
        }
        if matches!(self.head.method, Method::Trace | Method::Connect) {
            return Err((405, "method-refused"));
        }
        self.hop = Hop::of_request(bytes, &self.head).map_err(|error| (400, error.reason()))?;
        let target = Target::parse(self.head.method, self.head.target.of(bytes), &mut self.written);
        let target = target.map_err(|error| (error.status(), error.reason()))?;
        let text = self.authority(&target);
        self.cx.target = Some(target);
        self.cx.peer_is_trusted = listener.trusts(&Address::Ip((Ipv4Addr::LOCALHOST, 0).into()));
        self.cx.client = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
        self.cx.request_id = RequestId::taken(REQUEST_ID);
        let Some(text) = text else {
            self.cx.default_host = true;
            return Ok(());
        };
        let authority = Authority::parse(text.of(bytes), scheme_of(listener).default_port(), &mut self.written);
        self.cx.authority = Some(authority.map_err(|error| (400, error.reason()))?);
        self.cx.authority_text = text;
        Ok(())
    }

    /// The authority of an absolute-form replaces that of Host (RFC 9112, section 3.2.2).
    fn authority(&self, target: &Target) -> Option<Span> {
        let start = self.head.target.start;
        match target.authority.filter(|_| target.form != Form::Origin) {
            Some(span) => Some(Span { start: start + span.start, end: start + span.end }),
            None => self.head.fields.all(KnownName::Host).next().map(|field| field.value),
        }
    }

    /// Whether it asks about the gateway itself.
    fn ends_here(&self, bytes: &[u8]) -> bool {
        let asterisk = self.cx.target.as_ref().is_some_and(|target| target.form == Form::Asterisk);
        let no_further = || encode::max_forwards(&self.head, bytes) == Some(0);
        self.head.method == Method::Options && (asterisk || no_further())
    }

    fn subject<'a>(&'a self, bytes: &'a [u8]) -> Subject<'a> {
        Subject {
            host: self.cx.host(bytes, &self.written),
            path: self.cx.path(&self.head, bytes, &self.written),
            query: self.cx.query(&self.head, bytes),
            known_method: self.head.method,
            method: self.head.method_text.of(bytes),
            fields: &self.head.fields,
            bytes,
        }
    }

    fn route(&self, snapshot: &Snapshot, listener: &ListenerPlan, bytes: &[u8]) -> Explained {
        let explanation = snapshot.table.explain(&self.subject(bytes), NEAR_MAX);
        let near = |miss: &NearMiss| near(snapshot, miss);
        let mut answer = self.answer(bytes, None);
        answer.near = explanation.near.iter().map(near).collect();
        match explanation.matched.map(|id| snapshot.route(id)) {
            None => answer.local_reply = reply((404, "no-route")),
            Some(route) if self.refuses_slash(route) => answer.local_reply = reply((400, "encoded-slash")),
            Some(route) => match self.outcome(snapshot, listener, route, bytes) {
                Ok(action) => answer.matched = Some(Matched { route: route.name.to_string(), action }),
                Err(refused) => answer.local_reply = reply(refused),
            },
        }
        answer
    }

    fn is_challenge(&self, snapshot: &Snapshot, bytes: &[u8]) -> bool {
        let subject = self.subject(bytes);
        let matched = || snapshot.table.explain(&subject, 0).matched;
        subject.path.starts_with(CHALLENGES.as_bytes())
            && matched().is_some_and(|id| snapshot.route(id).answers_challenges)
    }

    /// The answer of a listener that serves nothing by plain text.
    fn redirect(&self, plan: &Redirect, bytes: &[u8]) -> Explained {
        let (captures, mut out) = (&Captures::default(), Vec::new());
        let (head, written, cx) = (&self.head, self.written.as_slice(), &self.cx);
        let parts = LocationParts { head, bytes, written, cx, captures, scheme: Scheme::Http };
        let mut answer = self.answer(bytes, Some((plan.status, "local-answer")));
        match encode::location(&plan.location, &parts, &mut out) {
            Ok(()) => answer.location = Some(text(&out)),
            Err(_) => answer.local_reply = reply((400, "rewrite")),
        }
        answer
    }

    fn refuses_slash(&self, route: &RoutePlan) -> bool {
        !route.encoded_slash && self.cx.target.as_ref().is_some_and(|target| target.encoded_slash)
    }

    fn outcome(
        &self,
        snapshot: &Snapshot,
        listener: &ListenerPlan,
        route: &RoutePlan,
        bytes: &[u8],
    ) -> Result<Outcome, Refused> {
        let mut scratch = snapshot.table.scratch();
        let _ = snapshot.table.find(&self.subject(bytes), &mut scratch);
        let (captures, mut out) = (scratch.captures(), Vec::new());
        let peer = (IpAddr::from(Ipv4Addr::LOCALHOST), "127.0.0.1");
        let model = model(snapshot, &route.name);
        match &route.action {
            Action::Forward(forward) => {
                let parts = RequestParts {
                    head: &self.head,
                    bytes,
                    written: &self.written,
                    cx: &self.cx,
                    hop: &self.hop,
                    gateway: &snapshot.gateway,
                    forward,
                    policies: &shown_policies(route, model),
                    captures,
                    protocol: Protocol::Http11,
                    scheme: scheme_of(listener),
                    peer: Some(peer),
                    trusted: &listener.trusted,
                    span: 0,
                    upgrade: None,
                    call: None,
                    default_host: listener.default_host.as_deref(),
                    secured: None,
                };
                encode::request(&parts, &mut out).map_err(|_| (400, "rewrite"))?;
                Ok(Outcome::Forward {
                    upstream: snapshot.upstream(forward.upstream).name.to_string(),
                    request: shown_request(&text(&out), model, snapshot.config.gateway.value.as_ref()),
                })
            }
            Action::Redirect(redirect) => {
                let (head, written, cx) = (&self.head, self.written.as_slice(), &self.cx);
                let parts = LocationParts { head, bytes, written, cx, captures, scheme: scheme_of(listener) };
                encode::location(&redirect.location, &parts, &mut out).map_err(|_| (400, "rewrite"))?;
                let hidden =
                    model.and_then(|model| model.redirect.as_ref()).is_some_and(|redirect| is_secret(redirect));
                let location = if hidden { HIDDEN.to_owned() } else { text(&out) };
                Ok(Outcome::Redirect { status: redirect.status, location })
            }
            Action::Respond(fixed) => Ok(Outcome::Respond { status: fixed.status, body_bytes: fixed.body.len() }),
        }
    }

    fn answer(&self, bytes: &[u8], refused: Option<Refused>) -> Explained {
        let host = text(self.cx.host(bytes, &self.written));
        let path = text(self.cx.path(&self.head, bytes, &self.written));
        Explained { host, path, matched: None, local_reply: refused.and_then(reply), location: None, near: Vec::new() }
    }
}

/// What requests on a listener are meant for.
fn scheme_of(listener: &ListenerPlan) -> Scheme {
    if listener.tls.is_some() { Scheme::Https } else { Scheme::Http }
}

fn reply((status, reason): Refused) -> Option<LocalReply> {
    Some(LocalReply { status, reason })
}

/// The route as it was written, which knows what came from outside and must not be shown.
fn model<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s config::Route> {
    snapshot.config.routes.iter().find(|object| object.name == name)?.value.as_ref()
}

fn near(snapshot: &Snapshot, miss: &NearMiss) -> Near {
    let route = snapshot.route(miss.route).name.to_string();
    let hidden = model(snapshot, &route).is_some_and(|model| hides(model, miss.reason));
    let reason = if hidden { format!("a predicate that is {HIDDEN} does not fit") } else { miss.text.clone() };
    Near { route, reason }
}

/// Whether the reason repeats something that came from outside.
fn hides(model: &config::Route, reason: Reason) -> bool {
    let matching = &model.matching;
    let value = |value: Option<&Spanned<ValueMatch>>| value.is_some_and(|value| value.secret || value.is_secret());
    match reason {
        Reason::Host => matching.host.iter().any(|host| host.secret),
        Reason::Path { .. } => matching.path.as_ref().is_some_and(|path| path.secret || path.is_secret()),
        Reason::Method => matching.method.iter().any(|method| method.secret),
        Reason::Header { index } => value(matching.headers.0.get(index).map(|(_, value)| value)),
        Reason::Query { index } => value(matching.query.0.get(index).map(|(_, value)| value)),
        Reason::Lost { .. } => false,
    }
}

/// The policies without the values that came from outside.
fn shown_policies(route: &RoutePlan, model: Option<&config::Route>) -> Policies {
    let request_headers = model.and_then(|model| shown_edits(&model.request.headers));
    Policies { request_headers, ..route.policies.clone() }
}

/// The request without what came from outside: what a template made of its first two lines, and the names that the
/// gateway gives to itself and to the id.
fn shown_request(request: &str, model: Option<&config::Route>, gateway: Option<&config::Gateway>) -> String {
    let mut lines: Vec<String> = request.split("\r\n").map(str::to_owned).collect();
    if let Some(to) = model.and_then(|model| model.to.as_ref()) {
        hide_templates(to, &mut lines);
    }
    if let Some(gateway) = gateway {
        hide_own_names(gateway, &mut lines);
    }
    lines.join("\r\n")
}

fn hide_templates(to: &config::To, lines: &mut [String]) {
    let secret = |text: &Option<Text>| text.as_ref().is_some_and(|text| text.secret);
    if secret(&to.path) {
        let method = lines[0].split(' ').next().unwrap_or_default();
        lines[0] = format!("{method} {HIDDEN} HTTP/1.1");
    }
    if secret(&to.host) && lines.len() > 1 {
        lines[1] = format!("host: {HIDDEN}");
    }
}

fn hide_own_names(gateway: &config::Gateway, lines: &mut [String]) {
    let mut replace = |start: &str, shown: &str| {
        // Ours is the last of its name.
        if let Some(line) = lines.iter_mut().rfind(|line| line.starts_with(start)) {
            *line = shown.to_owned();
        }
    };
    if matches!(&gateway.via, config::Via::Named(named) if named.name.secret) {
        replace("via: ", &format!("via: {HIDDEN}"));
    }
    let header = &gateway.request_id.header;
    if header.secret {
        replace(&format!("{}: ", header.value), &format!("{HIDDEN}: {}", String::from_utf8_lossy(REQUEST_ID)));
    }
}

fn is_secret(redirect: &config::Redirect) -> bool {
    [&redirect.to, &redirect.host, &redirect.path].into_iter().flatten().any(|text| text.secret)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EmptyEnvironment, Source};
    use crate::snapshot::Draft;

    const CONFIG: &str = r#"
listeners: { public: { bind: "127.0.0.1:0" } }
upstreams: { orders: { endpoints: "10.0.0.1:80" } }
routes:
  - name: order
    match: { host: api.test, path: "/v1/orders/{id}", method: [GET, PUT] }
    to: { upstream: orders, path: "/orders/{id}" }
    request: { headers: { set: { x-from: gate } } }
  - name: old
    match: { path: { prefix: /old } }
    redirect: { status: 301, host: new.test }
"#;

    fn ask(request: &str) -> Explained {
        ask_of(CONFIG, request)
    }

    fn ask_of(config: &str, request: &str) -> Explained {
        let draft = Draft::alone(&Source::text("t.yaml", config), &EmptyEnvironment);
        assert!(draft.is_sound(), "{}", draft.render(false));
        explain(&draft.snapshot, &draft.snapshot.listeners[0], request.as_bytes())
    }

    #[test]
    fn a_forwarded_request_is_shown_as_it_would_be_sent() {
        let answer = ask("GET /v1/../v1/orders/42?full HTTP/1.1\r\nHost: API.test:80\r\nAccept: */*\r\n\r\n");
        assert_eq!((answer.host.as_str(), answer.path.as_str()), ("api.test", "/v1/orders/42"));
        let Some(Matched { route, action: Outcome::Forward { upstream, request } }) = answer.matched else {
            panic!("{answer:?}")
        };
        assert_eq!((route.as_str(), upstream.as_str()), ("order", "orders"));
        assert!(request.starts_with("GET /orders/42?full HTTP/1.1\r\nhost: "), "{request}");
        assert!(request.to_ascii_lowercase().contains("x-from: gate\r\n"), "{request}");
    }

    #[test]
    fn a_redirect_is_shown_with_its_location() {
        let answer = ask("GET /old/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let location = "http://new.test/old/x".to_owned();
        assert_eq!(answer.matched.map(|m| m.action), Some(Outcome::Redirect { status: 301, location }));
    }

    #[test]
    fn a_listener_that_serves_nothing_is_shown_with_where_it_sends_to() {
        let config = CONFIG.replace("bind: \"127.0.0.1:0\"", "bind: \"127.0.0.1:0\", redirect_to_https: 8443");
        let answer = ask_of(&config, "GET /old/x?y HTTP/1.1\r\nHost: a.test:8080\r\n\r\n");
        assert_eq!(answer.local_reply, reply((308, "local-answer")));
        assert_eq!((answer.location.as_deref(), answer.matched), (Some("https://a.test:8443/old/x?y"), None));
        let path = "match: { path: { prefix: /.well-known/acme-challenge } }";
        let routes = format!("routes:\n  - {{ name: acme, {path}, respond: {{ status: 200 }} }}");
        let request = "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a.test\r\n\r\n";
        let answer = ask_of(&config.replace("routes:", &routes), request);
        assert_eq!(answer.matched.map(|matched| matched.route).as_deref(), Some("acme"));
        assert_eq!(ask_of(&config, request).local_reply, reply((308, "local-answer")));
    }

    #[test]
    fn what_came_close_is_named_with_its_reason() {
        let answer = ask("POST /v1/orders/42 HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(answer.local_reply, reply((404, "no-route")));
        assert_eq!((answer.near[0].route.as_str(), answer.near[0].reason.contains("method")), ("order", true));
    }

    #[test]
    fn a_request_that_is_refused_says_so_as_a_live_one_would() {
        assert_eq!(ask("GET / HTTP/1.1\r\n\r\n").local_reply, reply((400, "missing-host")));
        assert_eq!(ask("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").local_reply, reply((405, "method-refused")));
    }

    #[test]
    fn what_came_from_outside_is_never_shown() {
        struct Secrets;
        impl crate::config::Environment for Secrets {
            fn variable(&self, name: &str) -> Option<String> {
                match name {
                    "S" => Some("s3cret".to_owned()),
                    "METHOD" => Some("S3CRET".to_owned()),
                    _ => None,
                }
            }

            fn file(&self, _: &std::path::Path) -> std::io::Result<Vec<u8>> {
                Err(std::io::ErrorKind::NotFound.into())
            }
        }
        const CONFIG: &str = r#"
gateway: { via: { name: "edge-${S}" }, request_id: { header: "x-${S}" }, server: { set: "${S}" } }
listeners: { public: { bind: "127.0.0.1:0" } }
upstreams: { a: { endpoints: "10.0.0.1:80" } }
routes:
  - match: { path: "/f" }
    to: { upstream: a, path: "/${S}", host: "${S}.test" }
    request: { headers: { set: { authorization: "Bearer ${S}", x-plain: plain }, add: { x-more: ["${S}"] } } }
  - { match: { path: "/r" }, redirect: "https://x.test/${S}" }
  - { match: { path: "/f", headers: { x-key: "${S}" } }, to: a }
  - { match: { path: "/f", query: { key: { regex: "${S}" } } }, to: a }
  - { match: { path: "/${S}" }, to: a }
  - { match: { host: "${S}.test", path: "/f" }, to: a }
  - { match: { path: "/m", method: "${METHOD}" }, to: a }
  - { match: { path: "/p" }, redirect: { path: "/${S}" } }
  - { match: { path: "/h" }, redirect: { host: "${S}.test" } }
"#;
        let draft = Draft::alone(&Source::text("t.yaml", CONFIG), &Secrets);
        assert!(draft.is_sound(), "{}", draft.render(false));
        let ask = |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nVia: 1.1 before\r\n\r\n");
            explain(&draft.snapshot, &draft.snapshot.listeners[0], request.as_bytes())
        };
        for path in ["/f", "/r", "/m", "/p", "/h", "/none"] {
            let answer = serde_json::to_string(&ask(path)).unwrap();
            assert!(!answer.to_ascii_lowercase().contains("s3cret"), "{answer}");
        }
        let Some(Matched { action: Outcome::Forward { request, .. }, .. }) = ask("/f").matched else { panic!() };
        assert!(request.starts_with("GET (hidden) HTTP/1.1\r\nhost: (hidden)\r\n"), "{request}");
        assert!(request.contains("\r\nauthorization: (hidden)\r\nx-plain: plain\r\nx-more: (hidden)\r\n"), "{request}");
        assert!(request.contains("\r\nvia: 1.1 before\r\nvia: (hidden)\r\n(hidden): (new)\r\n"), "{request}");
    }

    #[test]
    fn a_question_about_the_gateway_itself_ends_here() {
        for request in
            ["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS /old HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"]
        {
            assert_eq!(ask(request).local_reply, reply((204, "local-answer")), "{request}");
        }
    }
}
