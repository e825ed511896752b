//! `timeouts`: how long everything may take, at each level where it can act.

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{Bounded, Period};

/// Any timeout: from a millisecond to a year.
pub type Timeout = Period<1>;

/// Timeouts for every listener, upstream and route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayTimeouts {
    /// From an accepted connection to the end of its TLS handshake; later it is closed. Default: `10s`.
    pub handshake: Option<Timeout>,
    /// From the first byte of a request head to its last; later is answered with 408. Default: `10s`.
    pub head: Option<Timeout>,
    /// How long a connection may wait for its next request; then it is closed silently. Default: `60s`.
    pub keep_alive: Option<Timeout>,
    /// Between two bytes, on either side, of a body, a tunnel or an event stream. Default: `60s`.
    pub idle: Option<Timeout>,
    /// To open a connection to an endpoint; later is a 504. Default: `2s`.
    pub connect: Option<Timeout>,
    /// From the end of a request to the response head of one attempt; later is a 504. Default: `60s`.
    pub response_head: Option<Timeout>,
    /// From the end of the request head to the end of the response head, retries included; later is a 504.
    /// Default: `60s`.
    pub exchange: Option<Timeout>,
    /// From the request head to the last byte of the response. Default: `24h`.
    pub total: Option<Bounded<Timeout>>,
    /// How long a tunnel or an event stream may live; `exchange` and `total` do not apply to these. Default: `24h`.
    pub lifetime: Option<Bounded<Timeout>>,
}

/// Timeouts of one listener; absent ones are those of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTimeouts {
    /// From an accepted connection to the end of its TLS handshake. Default: the gateway's.
    pub handshake: Option<Timeout>,
    /// From the first byte of a request head to its last. Default: the gateway's.
    pub head: Option<Timeout>,
    /// How long a connection may wait for its next request. Default: the gateway's.
    pub keep_alive: Option<Timeout>,
    /// Between two bytes of a body, a tunnel or an event stream. Default: the gateway's.
    pub idle: Option<Timeout>,
    /// From the end of the request head to the end of the response head. Default: the gateway's.
    pub exchange: Option<Timeout>,
    /// From the request head to the last byte of the response. Default: the gateway's.
    pub total: Option<Bounded<Timeout>>,
    /// How long a tunnel or an event stream may live. Default: the gateway's.
    pub lifetime: Option<Bounded<Timeout>>,
}

/// Timeouts of one route; absent ones are those of the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTimeouts {
    /// Between two bytes of a body, a tunnel or an event stream. Default: the listener's.
    pub idle: Option<Timeout>,
    /// From the end of the request head to the end of the response head. Default: the listener's.
    pub exchange: Option<Timeout>,
    /// From the request head to the last byte of the response. Default: the listener's.
    pub total: Option<Bounded<Timeout>>,
    /// How long a tunnel or an event stream may live. Default: the listener's.
    pub lifetime: Option<Bounded<Timeout>>,
}

/// Timeouts of one upstream; absent ones are those of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTimeouts {
    /// To open a connection to an endpoint. Default: the gateway's.
    pub connect: Option<Timeout>,
    /// From the end of a request to the response head of one attempt. Default: the gateway's.
    pub response_head: Option<Timeout>,
}

/// The timeouts of a client's side and of the exchange, every one decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub handshake: Timeout,
    pub head: Timeout,
    pub keep_alive: Timeout,
    pub idle: Timeout,
    pub exchange: Timeout,
    pub total: Bounded<Timeout>,
    pub lifetime: Bounded<Timeout>,
}

const DAY_SECONDS: u64 = 24 * 3600;

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Period::from_secs(10),
            head: Period::from_secs(10),
            keep_alive: Period::from_secs(60),
            idle: Period::from_secs(60),
            exchange: Period::from_secs(60),
            total: Bounded::AtMost(Period::from_secs(DAY_SECONDS)),
            lifetime: Bounded::AtMost(Period::from_secs(DAY_SECONDS)),
        }
    }
}

impl Timeouts {
    /// What holds on a listener before a route is known.
    pub fn on_listener(gateway: &GatewayTimeouts, listener: &ListenerTimeouts) -> Self {
        let default = Self::default();
        Self {
            handshake: listener.handshake.or(gateway.handshake).unwrap_or(default.handshake),
            head: listener.head.or(gateway.head).unwrap_or(default.head),
            keep_alive: listener.keep_alive.or(gateway.keep_alive).unwrap_or(default.keep_alive),
            idle: listener.idle.or(gateway.idle).unwrap_or(default.idle),
            exchange: listener.exchange.or(gateway.exchange).unwrap_or(default.exchange),
            total: listener.total.or(gateway.total).unwrap_or(default.total),
            lifetime: listener.lifetime.or(gateway.lifetime).unwrap_or(default.lifetime),
        }
    }

    /// What holds once the route is known.
    #[must_use]
    pub fn on_route(self, route: &RouteTimeouts) -> Self {
        Self {
            idle: route.idle.unwrap_or(self.idle),
            exchange: route.exchange.unwrap_or(self.exchange),
            total: route.total.unwrap_or(self.total),
            lifetime: route.lifetime.unwrap_or(self.lifetime),
            ..self
        }
    }
}

/// The timeouts of one attempt on an upstream, every one decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptTimeouts {
    pub connect: Timeout,
    pub response_head: Timeout,
}

impl AttemptTimeouts {
    pub fn on_upstream(gateway: &GatewayTimeouts, upstream: &UpstreamTimeouts) -> Self {
        Self {
            connect: upstream.connect.or(gateway.connect).unwrap_or(Period::from_secs(2)),
            response_head: upstream.response_head.or(gateway.response_head).unwrap_or(Period::from_secs(60)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_inherits_from_its_listener_and_that_from_the_gateway() {
        let gateway = GatewayTimeouts { idle: Some(Period::from_secs(3)), ..GatewayTimeouts::default() };
        let listener = ListenerTimeouts { total: Some(Bounded::Unlimited), ..ListenerTimeouts::default() };
        let route = RouteTimeouts { exchange: Some(Period::from_secs(1)), ..RouteTimeouts::default() };
        let timeouts = Timeouts::on_listener(&gateway, &listener).on_route(&route);
        assert_eq!(timeouts.idle, Period::from_secs(3));
        assert_eq!(timeouts.total, Bounded::Unlimited);
        assert_eq!(timeouts.exchange, Period::from_secs(1));
        assert_eq!(timeouts.head, Period::from_secs(10));
    }
}
