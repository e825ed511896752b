//! `routes`: which requests, and what happens to them.

use std::borrow::Cow;
use std::collections::HashSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::check::{Check, Report};
use super::errors::ErrorBodies;
use super::finding::Span;
use super::limits::RouteLimits;
use super::shape::{Entries, FieldName, FieldValue, Method, Name, OneOrMany, Protocol, Shorthand, shorthand_type};
use super::spanned::{Spanned, Text};
use super::timeouts::RouteTimeouts;
use super::value::{Count, Literal, REFERENCE_PATTERN, literal, literal_type};
use super::websocket::Websocket;

/// What a fixed response may hold.
const RESPOND_BODY_BYTES_MAX: usize = 256 * 1024;

/// Which requests, and what happens to them: exactly one of `to`, `redirect` and `respond`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name in logs, metrics and messages, not from `${…}`; state survives a reload by it. Default: its place, as
    /// `routes[3]`.
    #[serde(default)]
    pub name: Option<Spanned<Name>>,
    /// Which requests. A route for all others matches `path: "/{*rest}"`.
    #[serde(rename = "match")]
    pub matching: Match,
    /// Forward to an upstream: its name, or a map that also rewrites.
    #[serde(default)]
    pub to: Option<Spanned<To>>,
    /// Answer with a redirect: the target, or a map.
    #[serde(default)]
    pub redirect: Option<Spanned<Redirect>>,
    /// Answer with this.
    #[serde(default)]
    pub respond: Option<Spanned<Respond>>,
    /// Edits of the request before it is forwarded.
    #[serde(default)]
    pub request: Edits,
    /// Edits of the response before it is sent.
    #[serde(default)]
    pub response: Edits,
    /// Protocols that a client may upgrade to on this route, such as `[websocket]`. Default: none.
    #[serde(default)]
    pub upgrade: OneOrMany<Protocol>,
    /// Whether requests of gRPC-Web, which browsers send, are bridged to gRPC. Default: `false`.
    #[serde(default)]
    pub grpc_web: bool,
    /// Limits of the WebSockets that the route is upgraded to, and who may open one.
    #[serde(default)]
    pub websocket: Option<Spanned<Websocket>>,
    /// Trying again after a failed attempt. Default: only the one replay that is always safe.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// Timeouts; absent ones are those of the listener.
    #[serde(default)]
    pub timeouts: RouteTimeouts,
    /// Limits; absent ones are those of the listener.
    #[serde(default)]
    pub limits: RouteLimits,
    /// Bodies of responses that the gateway itself makes on this route, per status.
    #[serde(default)]
    pub errors: ErrorBodies,
    /// What happens to `%2F` in a path: `refuse` with 400, or `keep` it encoded. Default: `refuse`.
    #[serde(default)]
    pub encoded_slash: EncodedSlash,
}

/// Which requests: all of the predicates must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The host, without port: exact, or `*.example.com` for every name below; one or a list. Default: any.
    pub host: OneOrMany<String>,
    /// The path: a pattern such as `"/orders/{id}"` (exact; `{name}` takes a segment, a last `{*rest}` the rest), or
    /// `{ prefix: "/orders" }`, or `{ regex: "…" }`. Default: any.
    pub path: Option<Spanned<PathMatch>>,
    /// The method, or a list; `GET` does not include `HEAD`. Default: any.
    pub method: OneOrMany<Method>,
    /// Header fields by name: an exact value, `{ regex: "…" }` or `{ present: true }`.
    pub headers: Entries<FieldName, Spanned<ValueMatch>>,
    /// Query parameters by name: an exact value, `{ regex: "…" }` or `{ present: true }`.
    pub query: Entries<String, Spanned<ValueMatch>>,
}

/// Which paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    Pattern(Text),
    Exact(Text),
    Prefix(Text),
    Regex(Text),
}

/// Which paths, as a map.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathMatchFull {
    /// Exactly this path, braces included.
    Exact(Text),
    /// This path and every path below it, by whole segments.
    Prefix(Text),
    /// Paths that this expression matches from the first to the last character.
    Regex(Text),
}

impl PathMatch {
    /// Whether the text came from `${…}`.
    pub fn is_secret(&self) -> bool {
        let (Self::Pattern(text) | Self::Exact(text) | Self::Prefix(text) | Self::Regex(text)) = self;
        text.secret
    }

    /// Whether it says in so many words that what it matches is in `folder`, which ends with a slash.
    pub fn is_within(&self, folder: &str) -> bool {
        match self {
            Self::Pattern(text) | Self::Exact(text) => text.starts_with(folder),
            Self::Prefix(text) => text.starts_with(folder) || folder.strip_suffix('/') == Some(text.as_str()),
            Self::Regex(_) => false,
        }
    }
}

impl Shorthand for PathMatch {
    type Full = PathMatchFull;
    const EXPECTED: &'static str = "a path such as `\"/orders/{id}\"`, or a map with `exact`, `prefix` or `regex`";

    fn of_word(word: Text) -> Result<Self, String> {
        if !word.starts_with('/') {
            return Err(
                "a path begins with `/`\nwrite `\"/orders\"`, `{ prefix: \"/orders\" }` or `{ regex: \"…\" }`".into()
            );
        }
        Ok(Self::Pattern(word))
    }

    fn of_full(full: PathMatchFull) -> Self {
        match full {
            PathMatchFull::Exact(path) => Self::Exact(path),
            PathMatchFull::Prefix(path) => Self::Prefix(path),
            PathMatchFull::Regex(expression) => Self::Regex(expression),
        }
    }
}

shorthand_type!(PathMatch, { "type": "string", "pattern": "^(/|\\$\\{)" });

/// Which values of a header field or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(Text),
    Regex(Text),
    Present(bool),
}

/// Which values, as a map.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueMatchFull {
    /// Exactly this value.
    Exact(Text),
    /// Values that this expression matches from the first to the last character.
    Regex(Text),
    /// Whether it is there at all, with any value.
    Present(bool),
}

impl ValueMatch {
    /// Whether the value came from `${…}`.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Exact(text) | Self::Regex(text) if text.secret)
    }
}

impl Shorthand for ValueMatch {
    type Full = ValueMatchFull;
    const EXPECTED: &'static str = "a string, or a map with `exact`, `regex` or `present`";

    fn of_word(word: Text) -> Result<Self, String> {
        Ok(Self::Exact(word))
    }

    fn of_full(full: ValueMatchFull) -> Self {
        match full {
            ValueMatchFull::Exact(value) => Self::Exact(value),
            ValueMatchFull::Regex(expression) => Self::Regex(expression),
            ValueMatchFull::Present(present) => Self::Present(present),
        }
    }
}

shorthand_type!(ValueMatch, { "type": "string" });

/// Forward to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    pub upstream: Text,
    pub path: Option<Text>,
    pub host: Option<Text>,
    pub client_certificate: Option<Spanned<CertificateForward>>,
}

/// Forward to an upstream, in full.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToFull {
    /// The name of the upstream.
    pub upstream: Text,
    /// The path to ask for, with `{name}` for what the match captured. The query is kept unless this has one. Default:
    /// the path as it came.
    #[serde(default)]
    pub path: Option<Text>,
    /// The `Host` to send. Default: as it came.
    #[serde(default)]
    pub host: Option<Text>,
    /// Hand on the certificate that the client has shown (RFC 9440): `leaf` sends it as `Client-Cert`, `chain` also what came
    /// with it as `Client-Cert-Chain`. Default: neither is sent.
    #[serde(default)]
    pub client_certificate: Option<Spanned<CertificateForward>>,
}

/// How much an upstream is told of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateForward {
    /// The certificate.
    Leaf,
    /// The certificate, and those that came with it.
    Chain,
}

impl Shorthand for To {
    type Full = ToFull;
    const EXPECTED: &'static str = "the name of an upstream as a string, or a map with `upstream`";

    fn of_word(word: Text) -> Result<Self, String> {
        Ok(Self { upstream: word, path: None, host: None, client_certificate: None })
    }

    fn of_full(full: ToFull) -> Self {
        let ToFull { upstream, path, host, client_certificate } = full;
        Self { upstream, path, host, client_certificate }
    }
}

shorthand_type!(To, { "type": "string" });

/// Answer with a redirect. Either `to`, or the parts that differ from the request's own URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    pub to: Option<Text>,
    pub scheme: Option<Spanned<Scheme>>,
    pub host: Option<Text>,
    pub port: Option<Count<1, 65_535>>,
    pub path: Option<Text>,
    pub status: RedirectStatus,
}

/// A redirect in full.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectFull {
    /// The whole target, with `{name}` for what the match captured; not together with the parts.
    pub to: Option<Text>,
    /// The scheme. Default: the request's.
    pub scheme: Option<Spanned<Scheme>>,
    /// The host. Default: the request's.
    pub host: Option<Text>,
    /// The port. Default: the scheme's own where `scheme` is written, else the request's.
    pub port: Option<Count<1, 65_535>>,
    /// The path, with `{name}` for what the match captured. The query is kept unless this has one. Default: the
    /// request's.
    pub path: Option<Text>,
    /// 301, 302, 303, 307 or 308. Default: `302`.
    pub status: RedirectStatus,
}

impl Shorthand for Redirect {
    type Full = RedirectFull;
    const EXPECTED: &'static str = "a URL as a string, or a map";

    fn of_word(word: Text) -> Result<Self, String> {
        Ok(Self { to: Some(word), ..Self::default() })
    }

    fn of_full(full: RedirectFull) -> Self {
        let RedirectFull { to, scheme, host, port, path, status } = full;
        Self { to, scheme, host, port, path, status }
    }
}

shorthand_type!(Redirect, { "type": "string" });

/// The scheme of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    Http,
    Https,
}

/// The status of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectStatus(u16);

impl RedirectStatus {
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for RedirectStatus {
    fn default() -> Self {
        Self(302)
    }
}

impl Literal for RedirectStatus {
    const EXPECTED: &'static str = "the status of a redirect as a number";

    fn of_text(_: &str) -> Result<Self, String> {
        Err("expected a status\nwrite 301, 302, 303, 307 or 308, without quotes".into())
    }

    fn of_number(number: u64) -> Result<Self, String> {
        match number {
            301 => Ok(Self(301)),
            302 => Ok(Self(302)),
            303 => Ok(Self(303)),
            307 => Ok(Self(307)),
            308 => Ok(Self(308)),
            _ => Err("this is not the status of a redirect\nwrite 301, 302, 303, 307 or 308".into()),
        }
    }
}

literal_type!([] RedirectStatus, "redirect status", |_generator| {
    json_schema!({ "anyOf": [
        { "enum": [301, 302, 303, 307, 308] },
        { "type": "string", "pattern": REFERENCE_PATTERN },
    ] })
});

/// Answer with a fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Respond {
    /// The status. Default: `200`.
    pub status: Count<200, 599>,
    /// The body. Default: empty.
    pub body: Option<Text>,
    /// The type of the body. Default: `text/plain; charset=utf-8`.
    pub content_type: Option<Spanned<FieldValue>>,
    /// Further header fields.
    pub headers: Entries<FieldName, Spanned<FieldValue>>,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: Count::new(200), body: None, content_type: None, headers: Entries::default() }
    }
}

/// Edits of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Edits {
    /// Edits of the header fields.
    pub headers: HeaderEdits,
}

/// Edits of header fields: `remove` first, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Replace the field, or add it where it is absent.
    pub set: Entries<FieldName, Spanned<FieldValue>>,
    /// Add a field beside those of the same name; one value or a list.
    pub add: Entries<FieldName, OneOrMany<FieldValue>>,
    /// Remove every field of the name.
    pub remove: OneOrMany<FieldName>,
}

/// Trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How often a request is tried altogether, the first time included.
    pub attempts: Count<1, 8>,
}

/// What happens to `%2F` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlash {
    /// 400.
    #[default]
    Refuse,
    /// It stays encoded, for matching and for the upstream.
    Keep,
}

impl Check for Route {
    fn check(&self, report: &mut Report<'_>) {
        if let Some(name) = self.name.as_ref().filter(|name| name.secret) {
            let hint = "names stand in logs and metrics: write it out";
            report.error("bad-name", name.span, "name", "a name cannot come from `${…}`", hint);
        }
        self.check_action(report);
        self.matching.check(&mut report.below("match"));
        self.request.headers.check(&mut report.below("request.headers"));
        self.response.headers.check(&mut report.below("response.headers"));
        self.errors.check(&mut report.below("errors"));
        if let Some(websocket) = &self.websocket {
            self.check_websocket(websocket.span, report);
            let mut report = report.below("websocket");
            report.span = websocket.span;
            websocket.check(&mut report);
        }
        if let Some(redirect) = &self.redirect {
            redirect.check(&mut report.below("redirect"));
        }
        if let Some(respond) = &self.respond {
            respond.check(&mut report.below("respond"));
        }
    }
}

impl Route {
    fn check_action(&self, report: &mut Report<'_>) {
        let actions = [
            self.to.as_ref().map(|to| ("to", to.span)),
            self.redirect.as_ref().map(|redirect| ("redirect", redirect.span)),
            self.respond.as_ref().map(|respond| ("respond", respond.span)),
        ];
        let mut written = actions.into_iter().flatten();
        match (written.next(), written.next()) {
            (None, _) if report.lacks(&["to", "redirect", "respond"]) => {
                let hint = "add `to: upstream`, `redirect:` or `respond:`";
                report.error("missing-key", report.span, "", "the route does nothing", hint);
            }
            (Some((first, _)), Some((second, span))) => {
                let problem = format!("`{first}` and `{second}` exclude each other");
                report.error("one-of", span, second, problem, "keep exactly one of `to`, `redirect` and `respond`");
            }
            (Some(_), None) if report.lacks(&["to"]) => self.check_forwarding(report),
            _ => {}
        }
    }

    /// Limits of what cannot be are a mistake.
    fn check_websocket(&self, span: Span, report: &mut Report<'_>) {
        let is_offered = self.upgrade.iter().any(|protocol| protocol.as_str() == "websocket");
        if self.to.is_some() && !is_offered && report.lacks(&["upgrade"]) {
            let problem = "`websocket` has no effect where no client may upgrade to it";
            report.error("no-effect", span, "websocket", problem, "add `upgrade: websocket`, or remove it");
        }
    }

    /// Keys that act only on forwarded requests must not be written in vain.
    fn check_forwarding(&self, report: &mut Report<'_>) {
        if self.to.is_some() {
            return;
        }
        let span = self.upgrade.iter().next().map_or(report.span, |upgrade| upgrade.span);
        let vain = [
            ("upgrade", span, !self.upgrade.is_empty()),
            ("grpc_web", report.span, self.grpc_web),
            ("websocket", self.websocket.as_ref().map_or(report.span, |set| set.span), self.websocket.is_some()),
            ("retry", report.span, self.retry.is_some()),
            ("request", report.span, self.request != Edits::default()),
        ];
        for (key, span, _) in vain.into_iter().filter(|(_, _, written)| *written) {
            let problem = format!("`{key}` has no effect on a route that does not forward");
            report.error("no-effect", span, key, problem, "remove it, or forward with `to`");
        }
    }
}

impl Check for Match {
    fn check(&self, report: &mut Report<'_>) {
        duplicates(self.headers.iter().map(|(name, _)| name), "headers", report);
        if let Some(path) = &self.path {
            let text = match &path.value {
                PathMatch::Exact(text) | PathMatch::Prefix(text) => text,
                PathMatch::Pattern(_) | PathMatch::Regex(_) => return,
            };
            if !text.starts_with('/') {
                let hint = "write `{ prefix: \"/orders\" }`";
                report.error("bad-value", text.span, "path", "a path begins with `/`", hint);
            }
        }
    }
}

/// Names that differ only in case are one name.
fn duplicates<'a>(names: impl Iterator<Item = &'a Spanned<FieldName>>, key: &str, report: &mut Report<'_>) {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name.as_str()) {
            let problem = format!("`{}` is written twice", name.shown());
            report.error("duplicate", name.span, key, problem, "keep one of the two");
        }
    }
}

/// Fields that frame a message, belong to one connection or name the hop: only the gateway itself writes them.
const FRAMING_FIELDS: [&str; 11] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "host",
];

impl Check for HeaderEdits {
    fn check(&self, report: &mut Report<'_>) {
        duplicates(self.set.iter().map(|(name, _)| name), "set", report);
        duplicates(self.add.iter().map(|(name, _)| name), "add", report);
        duplicates(self.remove.iter(), "remove", report);
        check_fields("set", self.set.iter().map(|(name, _)| name), report);
        check_fields("add", self.add.iter().map(|(name, _)| name), report);
        check_fields("remove", self.remove.iter(), report);
    }
}

pub(super) fn check_fields<'a>(
    key: &str,
    names: impl Iterator<Item = &'a Spanned<FieldName>>,
    report: &mut Report<'_>,
) {
    for name in names.filter(|name| FRAMING_FIELDS.contains(&name.as_str())) {
        let hint = match name.as_str() {
            "host" => "write `to: { host: … }`",
            "via" => "write `gateway: { via: … }`",
            _ => "the gateway writes it as the message and the connection need",
        };
        report.error("framing-field", name.span, key, format!("`{}` cannot be edited", name.shown()), hint);
    }
}

impl Check for Redirect {
    fn check(&self, report: &mut Report<'_>) {
        let parts = self.scheme.is_some() || self.host.is_some() || self.port.is_some() || self.path.is_some();
        match &self.to {
            Some(to) if parts => {
                let hint = "write the whole target, or only the parts that differ";
                report.error("one-of", to.span, "to", "`to` and the parts of the target exclude each other", hint);
            }
            None if !parts && report.lacks(&["to", "scheme", "host", "port", "path"]) => {
                let hint = "write `to`, or the parts that differ: `scheme`, `host`, `port`, `path`";
                report.error("missing-key", report.span, "", "the redirect has no target", hint);
            }
            _ => {}
        }
    }
}

impl Check for Respond {
    fn check(&self, report: &mut Report<'_>) {
        check_fields("headers", self.headers.iter().map(|(name, _)| name), report);
        let Some(body) = &self.body else { return };
        if matches!(self.status.get(), 204 | 205 | 304) && !body.is_empty() {
            report.error("bad-value", body.span, "body", "a response of this status has no body", "remove the body");
        }
        if body.len() > RESPOND_BODY_BYTES_MAX {
            let hint = format!("the most is {} KiB", RESPOND_BODY_BYTES_MAX / 1024);
            report.error("too-large", body.span, "body", "the body is too large", hint);
        }
    }
}
