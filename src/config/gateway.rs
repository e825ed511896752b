//! `gateway`: what holds for the whole process.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::address::Network;
use super::check::{Check, Report};
use super::errors::ErrorBodies;
use super::limits::GatewayLimits;
use super::routes::check_fields;
use super::shape::{FieldName, FieldValue, OneOrMany, Shorthand, shorthand_type};
use super::spanned::{Spanned, Text};
use super::timeouts::GatewayTimeouts;
use super::value::{Count, Literal, Period, REFERENCE_PATTERN, literal, literal_type};

/// What a name in `Via` may hold.
pub const VIA_NAME_BYTES_MAX: usize = 64;

/// What holds for the whole process, and what listeners and routes inherit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// Worker threads, each with its own core: `auto` is one per CPU this process may use. Default: `auto`.
    pub workers: Workers,
    /// How a worker talks to the kernel; `auto` is io_uring where it works, else epoll. Default: `auto`.
    pub driver: Driver,
    /// Limits, inherited by listeners and routes.
    pub limits: GatewayLimits,
    /// Timeouts, inherited by listeners, upstreams and routes.
    pub timeouts: GatewayTimeouts,
    /// The `Via` field on forwarded messages, which also ends request loops: `off`, or a name shared by a group of
    /// gateways. Default: a random name per process.
    pub via: Via,
    /// Networks whose `X-Forwarded-*` or `Forwarded` fields are believed. Default: none.
    pub trusted_proxies: Vec<Spanned<Network>>,
    /// Take the client's address from one header field that a content delivery network sets. Default: not.
    pub client_address: Option<ClientAddress>,
    /// The fields that tell an upstream about the client: `x_forwarded`, `forwarded` or `both`, or a map. Default:
    /// `x_forwarded`.
    pub forwarded: Forwarded,
    /// The request id: logged, sent upstream and back to the client.
    pub request_id: RequestId,
    /// The `Server` field of responses. Default: `pass`.
    pub server: ServerField,
    /// Bodies of responses that the gateway itself makes, per status.
    pub errors: ErrorBodies,
    /// How the process ends.
    pub drain: Drain,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            workers: Workers::Auto,
            driver: Driver::Auto,
            limits: GatewayLimits::default(),
            timeouts: GatewayTimeouts::default(),
            via: Via::Random,
            trusted_proxies: Vec::new(),
            client_address: None,
            forwarded: Forwarded::default(),
            request_id: RequestId::default(),
            server: ServerField::Pass,
            errors: ErrorBodies::default(),
            drain: Drain::default(),
        }
    }
}

impl Check for Gateway {
    fn check(&self, report: &mut Report<'_>) {
        check_fields("header", std::iter::once(&self.request_id.header), &mut report.below("request_id"));
        if let Via::Named(ViaName { name, .. }) = &self.via
            && name.as_str().len() > VIA_NAME_BYTES_MAX
        {
            let hint = format!("the most is {VIA_NAME_BYTES_MAX} characters");
            report.error("bad-value", name.span, "via.name", "the name is too long", hint);
        }
        self.errors.check(&mut report.below("errors"));
    }
}

/// How many worker threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per CPU that the affinity mask and the cgroup quota allow.
    Auto,
    Exactly(Count<1, 1024>),
}

impl Literal for Workers {
    const EXPECTED: &'static str = "`auto` or a number";

    fn of_text(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => Err("expected `auto` or a number\nwrite `auto`, or a number without quotes".into()),
        }
    }

    fn of_number(number: u64) -> Result<Self, String> {
        Count::of_number(number).map(Self::Exactly)
    }
}

literal_type!([] Workers, "workers", |_generator| {
    json_schema!({ "anyOf": [
        { "const": "auto" },
        { "type": "integer", "minimum": 1, "maximum": 1024 },
        { "type": "string", "pattern": REFERENCE_PATTERN },
    ] })
});

/// How a worker talks to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// io_uring where a probe at start finds it working, else epoll.
    #[default]
    Auto,
    /// io_uring, or no start.
    IoUring,
    /// epoll.
    Epoll,
}

/// The `Via` field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A name of this process alone.
    Random,
    /// No field: does not conform to RFC 9110, section 7.6.3, and loops are not seen.
    Off,
    Named(ViaName),
}

/// A `Via` name shared by a group of gateways.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ViaName {
    /// The pseudonym, a token.
    pub name: Spanned<FieldName>,
    /// How often a request may already have passed this name; one more is a loop and answered with 508. Default: `0`.
    #[serde(default = "no_hops")]
    pub hops: Count<0, 100>,
}

fn no_hops() -> Count<0, 100> {
    Count::new(0)
}

impl Shorthand for Via {
    type Full = ViaName;
    const EXPECTED: &'static str = "`off` or a map with `name`";

    fn of_word(word: Text) -> Result<Self, String> {
        match word.as_str() {
            "off" => Ok(Self::Off),
            _ => Err("expected `off` or a map with `name`\nwrite `via: { name: edge }`".into()),
        }
    }

    fn of_full(full: ViaName) -> Self {
        Self::Named(full)
    }
}

shorthand_type!(Via, { "const": "off" });

/// The client's address from one header field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAddress {
    /// The field that holds exactly one address, such as `CF-Connecting-IP`.
    pub header: Spanned<FieldName>,
    /// The networks whose connections may say so.
    pub from: OneOrMany<Network>,
}

/// The forwarding fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    pub read: ForwardedRead,
    pub write: ForwardedWrite,
}

/// The forwarding fields in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardedFull {
    /// The fields believed when a trusted proxy sends them; the others are removed. Default: `x_forwarded`.
    #[serde(default)]
    pub read: ForwardedRead,
    /// The fields sent to upstreams. Default: `x_forwarded`.
    #[serde(default)]
    pub write: ForwardedWrite,
}

/// The one family of fields that is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedRead {
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The families of fields that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedWrite {
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both families.
    Both,
}

impl Shorthand for Forwarded {
    type Full = ForwardedFull;
    const EXPECTED: &'static str = "`x_forwarded`, `forwarded`, `both` or a map with `read` and `write`";

    fn of_word(word: Text) -> Result<Self, String> {
        match word.as_str() {
            "x_forwarded" => Ok(Self::default()),
            "forwarded" => Ok(Self { read: ForwardedRead::Forwarded, write: ForwardedWrite::Forwarded }),
            "both" => Ok(Self { read: ForwardedRead::XForwarded, write: ForwardedWrite::Both }),
            _ => Err("unknown word\npossible are: x_forwarded, forwarded, both".into()),
        }
    }

    fn of_full(full: ForwardedFull) -> Self {
        Self { read: full.read, write: full.write }
    }
}

shorthand_type!(Forwarded, { "enum": ["x_forwarded", "forwarded", "both"] });

/// The request id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestId {
    /// The header field that carries it. Default: `x-request-id`.
    pub header: Spanned<FieldName>,
    /// Whether the id of a trusted proxy is kept instead of making a new one. Default: `true`.
    pub from_trusted: bool,
}

impl Default for RequestId {
    fn default() -> Self {
        Self { header: Spanned::unwritten(FieldName::fixed("x-request-id")), from_trusted: true }
    }
}

/// The `Server` field of responses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerField {
    /// As the upstream wrote it.
    Pass,
    /// Removed.
    Remove,
    /// Overwritten with this.
    Set(Spanned<FieldValue>),
}

/// How the process ends, after SIGTERM, SIGINT or `POST /drain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long `/readyz` says 503 before the listeners close, so that load balancers look away first. Default: `0s`.
    pub delay: Period<0>,
    /// How long open exchanges may take to finish after that. Default: `30s`.
    pub deadline: Period<0>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Period::from_millis(0), deadline: Period::from_secs(30) }
    }
}
