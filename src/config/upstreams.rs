//! `upstreams`: where requests go.

use schemars::JsonSchema;
use serde::Deserialize;

use super::address::EndpointAddress;
use super::check::{Check, Report};
use super::interpolate::World;
use super::listeners::{ConnectionWindow, StreamWindow, Streams};
use super::shape::{OneOrMany, Shorthand, shorthand_type};
use super::spanned::{Spanned, Text};
use super::timeouts::UpstreamTimeouts;
use super::tls::UpstreamTls;
use super::value::{Bounded, Count, Literal, Period, Size};

/// Endpoints of one upstream.
const ENDPOINTS_MAX: usize = 1024;

/// A named group of endpoints that serve the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The servers: an address, `{ address, weight }`, or a list of these.
    pub endpoints: OneOrMany<Endpoint>,
    /// Speak TLS to the endpoints: `on`, which trusts the system's authorities, or a map. Default: plain text.
    #[serde(default)]
    pub tls: Option<UpstreamTls>,
    /// Begin every connection with a header of the PROXY protocol of this version, which tells the client's address and the
    /// one it connected to. A connection then carries requests of one client's connection alone. Default: `off`.
    #[serde(default)]
    pub proxy_protocol: SentProxyProtocol,
    /// The version of HTTP that is spoken. Default: `http1`.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// Bounds of connections on which HTTP/2 is spoken.
    #[serde(default)]
    pub h2: Option<Spanned<UpstreamHttp2>>,
    /// How an endpoint is chosen. Default: `least_request`.
    #[serde(default)]
    pub balance: Balance,
    /// Kept connections.
    #[serde(default)]
    pub pool: Pool,
    /// Timeouts; absent ones are those of the gateway.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Whether request trailers are sent over HTTP/1.1; HTTP/2 always carries them. Default: `drop`.
    #[serde(default)]
    pub trailers: Trailers,
    /// How host names are resolved.
    #[serde(default)]
    pub dns: Dns,
    /// When an endpoint that does not accept connections is left out, and for how long.
    #[serde(default)]
    pub mark_down: MarkDown,
}

impl Check for Upstream {
    fn take_in(&mut self, world: &mut World<'_>) {
        if let Some(tls) = &mut self.tls {
            tls.take_in(world);
        }
    }

    fn check(&self, report: &mut Report<'_>) {
        if let Some(surplus) = self.endpoints.0.get(ENDPOINTS_MAX) {
            let hint = format!("the most is {ENDPOINTS_MAX}");
            report.error("too-large", surplus.span, "endpoints", "too many endpoints", hint);
        }
        self.check_duplicates(report);
        if let Some(tls) = &self.tls {
            tls.check(&mut report.below("tls"));
            self.check_nameless(tls, report);
        }
        self.check_protocol(report);
        if self.dns.refresh_min > self.dns.refresh_max && report.lacks(&["dns"]) {
            let hint = "`refresh_min` must not be longer than `refresh_max`";
            report.error("bad-value", report.span, "dns", "the least is more than the most", hint);
        }
    }
}

impl Upstream {
    /// What can have no effect by the version that is spoken.
    fn check_protocol(&self, report: &mut Report<'_>) {
        if self.proxy_protocol != SentProxyProtocol::Off && self.protocol != UpstreamProtocol::Http1 {
            let hint = "remove one of the two: `Forwarded` tells of the client by HTTP/2";
            let problem = "connections of HTTP/2 are shared by clients, and a PROXY header names one";
            report.error("conflict", report.span, "proxy_protocol", problem, hint);
        }
        let plain_auto = self.protocol == UpstreamProtocol::Auto && self.tls.is_none();
        if plain_auto {
            let hint = "write `h2`, which needs no choice, or add `tls`";
            let problem = "plain text has no ALPN to choose by, so HTTP/1.1 is spoken";
            report.warning("without-effect", report.span, "protocol", problem, hint);
        }
        if self.protocol == UpstreamProtocol::H2 && self.trailers == Trailers::Forward {
            let hint = "remove the key";
            report.warning("without-effect", report.span, "trailers", "HTTP/2 always carries trailers", hint);
        }
        let Some(h2) = &self.h2 else { return };
        if self.protocol == UpstreamProtocol::Http1 || plain_auto {
            let hint = "write `protocol: h2`, or remove the key";
            report.warning("without-effect", h2.span, "h2", "HTTP/2 is not spoken here", hint);
        }
        if h2.connection_window.bytes() < h2.stream_window.bytes() {
            let problem = "a connection may hold less than one of its streams";
            let hint = format!("write at least {}, which is `stream_window` here", h2.stream_window);
            report.error("too-small", h2.span, "h2.connection_window", problem, hint);
        }
    }

    /// A path has no name that a certificate could hold.
    fn check_nameless(&self, tls: &UpstreamTls, report: &mut Report<'_>) {
        let nameless = |endpoint: &&super::spanned::Spanned<Endpoint>| {
            matches!(endpoint.address.value, EndpointAddress::Unix(_)) && tls.server_name.is_none()
        };
        if let Some(endpoint) = self.endpoints.iter().find(nameless) {
            let hint = "write `server_name` below `tls`";
            report.error("no-server-name", endpoint.span, "tls", "a Unix socket has no name to ask for", hint);
        }
    }

    fn check_duplicates(&self, report: &mut Report<'_>) {
        let mut seen = std::collections::HashSet::new();
        for endpoint in self.endpoints.iter().take(ENDPOINTS_MAX) {
            if !seen.insert(&endpoint.address.value) {
                let hint = "give it a `weight` instead of writing it twice";
                report.error("duplicate", endpoint.span, "endpoints", "this endpoint is written twice", hint);
            }
        }
    }
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: Spanned<EndpointAddress>,
    pub weight: Weight,
}

pub type Weight = Count<1, 1000>;

/// One server in full.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointFull {
    /// `"10.0.0.1:8080"`, `"[::1]:8080"`, `"host.name:8080"` or `unix:/path`. A host name is resolved at load and again
    /// as its records expire.
    pub address: Spanned<EndpointAddress>,
    /// Its share of the requests, relative to the other endpoints. Default: `1`.
    #[serde(default = "one")]
    pub weight: Weight,
}

fn one() -> Weight {
    Count::new(1)
}

impl Shorthand for Endpoint {
    type Full = EndpointFull;
    const EXPECTED: &'static str = "an address or a map with `address`";

    fn of_word(word: Text) -> Result<Self, String> {
        let address = EndpointAddress::of_text(&word)?;
        Ok(Self { address: word.map(|_| address), weight: one() })
    }

    fn of_full(full: EndpointFull) -> Self {
        Self { address: full.address, weight: full.weight }
    }
}

shorthand_type!(Endpoint, { "type": "string", "format": "endpoint address" });

/// The PROXY header that is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SentProxyProtocol {
    /// None.
    #[default]
    Off,
    /// A line of text.
    V1,
    /// The binary one.
    V2,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// Of two at random, the one with fewer open requests.
    #[default]
    LeastRequest,
}

/// Kept connections to each endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// Idle connections that each core keeps per endpoint; `0` keeps none. Default: `256`.
    pub max_idle: Count<0, 65_535>,
    /// How long a connection may stay idle; choose less than the server's own keep-alive. Default: `60s`.
    pub idle: Period,
    /// How old a connection may become before it is closed after an exchange. Default: `1h`.
    pub max_age: Bounded<Period>,
    /// Connections of each core per endpoint; one more request is answered with 503. Default: `4096`.
    pub max_connections: Bounded<Count<1, 65_535>>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_idle: Count::new(256),
            idle: Period::from_secs(60),
            max_age: Bounded::AtMost(Period::from_secs(3600)),
            max_connections: Bounded::AtMost(Count::new(4096)),
        }
    }
}

/// The version of HTTP that an upstream is spoken to with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: in plain text by prior knowledge, over TLS an endpoint must choose it by ALPN.
    H2,
    /// What the endpoint chooses by ALPN; in plain text HTTP/1.1.
    Auto,
}

/// Bounds of one connection of HTTP/2 to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamHttp2 {
    /// Requests under way at once on one connection, where the endpoint does not allow fewer; for more, another is opened,
    /// up to `pool.max_connections`. Default: `100`.
    pub streams: Streams,
    /// Bytes of one response that are held while its client does not take them. Default: `256KiB`.
    pub stream_window: StreamWindow,
    /// The same over all responses of the connection; never less than `stream_window`. Where it is less than
    /// that for each of `streams`, clients that do not read stop the others. Default: `25MiB`.
    pub connection_window: ConnectionWindow,
    /// After so long without a byte, while requests are under way, the endpoint is asked whether it lives; after as long
    /// again without an answer the connection is given up. Default: `20s`.
    pub ping: Bounded<Period>,
}

impl Default for UpstreamHttp2 {
    fn default() -> Self {
        Self {
            streams: Count::new(100),
            stream_window: Size::from_bytes(256 * 1024),
            connection_window: Size::from_bytes(25 * 1024 * 1024),
            ping: Bounded::AtMost(Period::from_secs(20)),
        }
    }
}

/// What happens to request trailers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trailers {
    /// They are removed.
    #[default]
    Drop,
    /// They are sent on.
    Forward,
}

/// How host names are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// The shortest time between two look-ups, whatever the records say. Default: `5s`.
    pub refresh_min: Period,
    /// The longest time between two look-ups. Default: `5m`.
    pub refresh_max: Period,
}

impl Default for Dns {
    fn default() -> Self {
        Self { refresh_min: Period::from_secs(5), refresh_max: Period::from_secs(300) }
    }
}

/// When an endpoint that does not accept connections is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MarkDown {
    /// Failed connects in a row, on one core, after which it is left out. Default: `1`.
    pub failures: Count<1, 1000>,
    /// For how long; the first request after that tries it again. Default: `10s`.
    #[serde(rename = "for")]
    pub period: Period,
}

impl Default for MarkDown {
    fn default() -> Self {
        Self { failures: Count::new(1), period: Period::from_secs(10) }
    }
}
