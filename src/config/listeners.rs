//! `listeners`: where clients connect.

use schemars::JsonSchema;
use serde::Deserialize;

use super::address::{BindAddress, Network, SocketMode, is_host_name};
use super::check::{Check, Report};
use super::gateway::ClientAddress;
use super::interpolate::World;
use super::limits::ListenerLimits;
use super::shape::OneOrMany;
use super::spanned::{Spanned, Text};
use super::timeouts::ListenerTimeouts;
use super::tls::ListenerTls;
use super::value::{Count, Size};

/// An address, or several, where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `"0.0.0.0:8080"`, `"[::]:8080"` (every address, IPv4 included), `unix:/path`, or a list of these.
    pub bind: OneOrMany<BindAddress>,
    /// Who may connect to the Unix sockets that are bound, as permissions of the file such as `"0660"`; one that systemd has
    /// opened keeps its own. Default: what the umask of the process leaves.
    #[serde(default)]
    pub mode: Option<Spanned<SocketMode>>,
    /// Whether `"[::]:…"` leaves IPv4 out. Default: `false`.
    #[serde(default)]
    pub ipv6_only: bool,
    /// Speak TLS. Default: plain text.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Send every request to the same URL by `https` on this port, such as `443`, with status 308, but for those below
    /// `/.well-known/acme-challenge/` where a route has that very path. Default: they are served.
    #[serde(default)]
    pub redirect_to_https: Option<Count<1, 65_535>>,
    /// The versions of HTTP that are spoken: `http1`, `h2`, or a list. Over TLS the client chooses one of them by ALPN; in
    /// plain text it begins with one, `h2` by prior knowledge. Default: both over TLS, `http1` in plain text.
    #[serde(default)]
    pub protocols: OneOrMany<HttpVersion>,
    /// Bounds of connections on which `h2` is spoken.
    #[serde(default)]
    pub h2: Option<Spanned<Http2>>,
    /// Limits; absent ones are those of the gateway.
    #[serde(default)]
    pub limits: ListenerLimits,
    /// Timeouts; absent ones are those of the gateway.
    #[serde(default)]
    pub timeouts: ListenerTimeouts,
    /// Whether every connection begins with a header of the PROXY protocol, version 1 or 2, whose address is the client's:
    /// `required` closes a connection without one, `off` takes it for a malformed request. Default: `off`.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// The networks of the load balancers that send these headers; all others are closed. Required with `proxy_protocol`,
    /// unless only Unix sockets are bound, whose `mode` says who may connect.
    #[serde(default)]
    pub proxy_protocol_from: OneOrMany<Network>,
    /// Networks whose forwarding fields are believed, instead of the gateway's; `[]` believes nobody.
    #[serde(default)]
    pub trusted_proxies: Option<Vec<Spanned<Network>>>,
    /// Take the client's address from one header field, instead of the gateway's.
    #[serde(default)]
    pub client_address: Option<ClientAddress>,
    /// What a client means that closes its sending side before the answer: `cancel` takes it for gone, `serve` answers.
    /// Default: `cancel`.
    #[serde(default)]
    pub half_close: HalfClose,
    /// The host of HTTP/1.0 requests without `Host`. Default: they are refused with 400.
    #[serde(default)]
    pub default_host: Option<Text>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HttpVersion {
    /// HTTP/1.1 and HTTP/1.0.
    Http1,
    /// HTTP/2.
    H2,
}

/// Requests under way on one connection.
pub type Streams = Count<1, 1000>;
/// Content that is received ahead on one stream.
pub type StreamWindow = Size<{ 16 * 1024 }, { 16 * 1024 * 1024 }>;
/// Content that is received ahead on one connection.
pub type ConnectionWindow = Size<{ 64 * 1024 }, { 256 * 1024 * 1024 }>;

/// Bounds of one connection of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2 {
    /// Requests under way at once; more are refused, and the client may repeat them. Default: `100`.
    pub streams: Streams,
    /// Bytes of one request's content that are held while its upstream does not take them. Default: `64KiB`.
    pub stream_window: StreamWindow,
    /// The same over all requests of the connection; never less than `stream_window`. Default: `1MiB`.
    pub connection_window: ConnectionWindow,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            streams: Count::new(100),
            stream_window: Size::from_bytes(64 * 1024),
            connection_window: Size::from_bytes(1024 * 1024),
        }
    }
}

impl Listener {
    /// Whether a version of HTTP is spoken.
    pub fn speaks(&self, version: HttpVersion) -> bool {
        match self.protocols.is_empty() {
            true => version == HttpVersion::Http1 || self.tls.is_some(),
            false => self.protocols.iter().any(|spoken| spoken.value == version),
        }
    }
}

/// Whether connections begin with a PROXY header. There is nothing between: a header that may be absent is one that anybody
/// may bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// They do not.
    #[default]
    Off,
    /// All of them do.
    Required,
}

/// What a half-closed client means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HalfClose {
    /// It has gone: the upstream request is cancelled.
    #[default]
    Cancel,
    /// It waits for the answer.
    Serve,
}

impl Check for Listener {
    fn take_in(&mut self, world: &mut World<'_>) {
        if let Some(tls) = &mut self.tls {
            tls.take_in(world);
        }
    }

    fn check(&self, report: &mut Report<'_>) {
        if let Some(tls) = &self.tls {
            tls.check(&mut report.below("tls"));
        }
        if self.tls.is_some() && self.redirect_to_https.is_some() {
            let hint = "keep it on the listener of port 80, which has no `tls`";
            report.error("conflict", report.span, "redirect_to_https", "requests come by https here", hint);
        }
        if let Some(h2) = &self.h2 {
            self.check_h2(h2, report);
        }
        self.check_proxy_protocol(report);
        let reached_by_path = self.bind.iter().any(|bind| matches!(bind.value, BindAddress::Unix(_)));
        if let Some(mode) = self.mode.as_ref().filter(|_| !reached_by_path) {
            let hint = "bind a `unix:/path`, or remove the key";
            report.warning("without-effect", mode.span, "mode", "no Unix socket is bound here", hint);
        }
        if let Some(host) = self.default_host.as_ref().filter(|host| !is_host_name(host)) {
            let hint = "write a name such as `www.example.com`, without a port";
            report.error("bad-value", host.span, "default_host", "this is not a host", hint);
        }
    }
}

impl Listener {
    fn check_proxy_protocol(&self, report: &mut Report<'_>) {
        let key = "proxy_protocol_from";
        let (required, from) = (self.proxy_protocol == ProxyProtocol::Required, &self.proxy_protocol_from);
        let reached = self.bind.iter().any(|bind| matches!(bind.value, BindAddress::Ip(_)));
        if required && reached && from.is_empty() && report.lacks(&[key]) {
            let problem = "whoever connects could claim any address: nobody is named who may send PROXY headers";
            let hint = "name the load balancers' networks: `proxy_protocol_from: [\"10.0.0.0/8\"]`";
            report.error("missing-key", report.span, key, problem, hint);
        }
        if let Some(first) = from.iter().next().filter(|_| !required) {
            let hint = "write `proxy_protocol: required`, or remove the key";
            report.warning("without-effect", first.span, key, "no PROXY headers are taken here", hint);
        }
        if let Some(all) = from.iter().find(|network| network.value.get().prefix_len() == 0) {
            let problem = "this is everybody: whoever connects can claim any address";
            report.warning("trusts-everybody", all.span, key, problem, "name the load balancers' networks alone");
        }
    }

    fn check_h2(&self, h2: &Spanned<Http2>, report: &mut Report<'_>) {
        if !self.speaks(HttpVersion::H2) {
            let hint = "add `h2` to `protocols`, or remove the key";
            report.warning("without-effect", h2.span, "h2", "HTTP/2 is not spoken here", hint);
        }
        if h2.connection_window.bytes() < h2.stream_window.bytes() {
            let problem = "a connection may hold less than one of its streams";
            let hint = format!("write at least {}, which is `stream_window` here", h2.stream_window);
            report.error("too-small", h2.span, "h2.connection_window", problem, hint);
        }
    }
}
