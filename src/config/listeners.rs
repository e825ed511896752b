//! `listeners`: where clients connect.

use schemars::JsonSchema;
use serde::Deserialize;

use super::address::{BindAddress, Network, is_host_name};
use super::check::{Check, Report};
use super::gateway::ClientAddress;
use super::interpolate::World;
use super::limits::ListenerLimits;
use super::shape::OneOrMany;
use super::spanned::{Spanned, Text};
use super::timeouts::ListenerTimeouts;
use super::tls::ListenerTls;
use super::value::Count;

/// An address, or several, where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `"0.0.0.0:8080"`, `"[::]:8080"` (every address, IPv4 included), `unix:/path`, or a list of these.
    pub bind: OneOrMany<BindAddress>,
    /// Whether `"[::]:…"` leaves IPv4 out. Default: `false`.
    #[serde(default)]
    pub ipv6_only: bool,
    /// Speak TLS. Default: plain text.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Send every request to the same URL by `https` on this port, such as `443`, with status 308. Default: they are served.
    #[serde(default)]
    pub redirect_to_https: Option<Count<1, 65_535>>,
    /// Limits; absent ones are those of the gateway.
    #[serde(default)]
    pub limits: ListenerLimits,
    /// Timeouts; absent ones are those of the gateway.
    #[serde(default)]
    pub timeouts: ListenerTimeouts,
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
        if let Some(host) = self.default_host.as_ref().filter(|host| !is_host_name(host)) {
            let hint = "write a name such as `www.example.com`, without a port";
            report.error("bad-value", host.span, "default_host", "this is not a host", hint);
        }
    }
}
