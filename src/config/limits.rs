//! `limits`: how much of everything, at each level where it can act.
//!
//! A route inherits from the listener its request came through, a listener from the gateway, the gateway from the
//! defaults. A key stands only where it can still act: what bounds a head is decided before there is a route.

use schemars::JsonSchema;
use serde::Deserialize;

use super::spanned::Spanned;
use super::value::{Bounded, Count, Period, Rate, Size, Switched};

/// A head must fit 16-bit offsets.
pub const HEAD_BYTES_MAX: u64 = 64 * 1024 - 1;
/// A head smaller than this would refuse ordinary browsers.
pub const HEAD_BYTES_MIN: u64 = 1024;
pub const FIELDS_MAX: u64 = 1000;

/// The size of a head or of a part of it.
pub type HeadSize = Size<HEAD_BYTES_MIN, HEAD_BYTES_MAX>;
/// The size of a body.
pub type BodySize = Size<0>;
pub type Fields = Count<1, FIELDS_MAX>;
pub type Requests = Count<1, { u32::MAX as u64 }>;
pub type Pipelined = Count<1, 1024>;
pub type Connections = Count<1, { u32::MAX as u64 }>;
pub type Interim = Count<0, 1000>;
pub type Grace = Period<1, 3_600_000>;

/// Limits for every listener and route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayLimits {
    /// Bytes of a request head or response head, first line included. More in a request is answered with 431. At most
    /// 65535B. Default: `32KiB`.
    pub head: Option<HeadSize>,
    /// Bytes of one header field, name and value; never more than `head`. More is answered with 431. Default: `16KiB`.
    pub field: Option<Spanned<HeadSize>>,
    /// Header fields in a head. More are answered with 431. Default: `100`.
    pub fields: Option<Fields>,
    /// Bytes of the request target; never more than `head`. More is answered with 414. Default: `16KiB`.
    pub target: Option<Spanned<HeadSize>>,
    /// Bytes of a request body. More is answered with 413. Default: `100MiB`.
    pub body: Option<Bounded<BodySize>>,
    /// The slowest a request body may arrive. Slower is answered with 408. Default: `1KiB/s`.
    pub body_rate: Option<Switched<Rate>>,
    /// How long a body may be slower than `body_rate` before it is refused. Default: `5s`.
    pub body_rate_after: Option<Grace>,
    /// Requests on one connection, which is then closed. Default: `100000`.
    pub requests_per_connection: Option<Bounded<Requests>>,
    /// Requests that a client may send ahead of the answers. Default: `16`.
    pub pipelined: Option<Pipelined>,
    /// Connections of one listener, over all cores. Default: `100000`.
    pub connections: Option<Bounded<Connections>>,
    /// Interim (1xx) responses to one request. Default: `16`.
    pub interim_responses: Option<Interim>,
}

/// Limits of one listener; absent ones are those of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerLimits {
    /// Bytes of a request head. At most 65535B. Default: the gateway's.
    pub head: Option<HeadSize>,
    /// Bytes of one header field, name and value. Default: the gateway's.
    pub field: Option<Spanned<HeadSize>>,
    /// Header fields in a head. Default: the gateway's.
    pub fields: Option<Fields>,
    /// Bytes of the request target. Default: the gateway's.
    pub target: Option<Spanned<HeadSize>>,
    /// Bytes of a request body. Default: the gateway's.
    pub body: Option<Bounded<BodySize>>,
    /// The slowest a request body may arrive. Default: the gateway's.
    pub body_rate: Option<Switched<Rate>>,
    /// How long a body may be slower than `body_rate`. Default: the gateway's.
    pub body_rate_after: Option<Grace>,
    /// Requests on one connection. Default: the gateway's.
    pub requests_per_connection: Option<Bounded<Requests>>,
    /// Requests that a client may send ahead of the answers. Default: the gateway's.
    pub pipelined: Option<Pipelined>,
    /// Connections of this listener, over all cores. Default: the gateway's.
    pub connections: Option<Bounded<Connections>>,
    /// Interim (1xx) responses to one request. Default: the gateway's.
    pub interim_responses: Option<Interim>,
}

/// Limits of one route; absent ones are those of the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteLimits {
    /// Bytes of a request body. Default: the listener's.
    pub body: Option<Bounded<BodySize>>,
    /// The slowest a request body may arrive. Default: the listener's.
    pub body_rate: Option<Switched<Rate>>,
    /// How long a body may be slower than `body_rate`. Default: the listener's.
    pub body_rate_after: Option<Grace>,
    /// Interim (1xx) responses to one request. Default: the listener's.
    pub interim_responses: Option<Interim>,
}

/// The limits that hold, every one decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub head: HeadSize,
    pub field: HeadSize,
    pub fields: Fields,
    pub target: HeadSize,
    pub body: Bounded<BodySize>,
    pub body_rate: Switched<Rate>,
    pub body_rate_after: Grace,
    pub requests_per_connection: Bounded<Requests>,
    pub pipelined: Pipelined,
    pub connections: Bounded<Connections>,
    pub interim_responses: Interim,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Size::from_bytes(32 * 1024),
            field: Size::from_bytes(16 * 1024),
            fields: Count::new(100),
            target: Size::from_bytes(16 * 1024),
            body: Bounded::AtMost(Size::from_bytes(100 * 1024 * 1024)),
            body_rate: Switched::On(Rate::from_bytes_per_second(1024)),
            body_rate_after: Period::from_secs(5),
            requests_per_connection: Bounded::AtMost(Count::new(100_000)),
            pipelined: Count::new(16),
            connections: Bounded::AtMost(Count::new(100_000)),
            interim_responses: Count::new(16),
        }
    }
}

impl Limits {
    /// What holds on a listener before a route is known.
    pub fn on_listener(gateway: &GatewayLimits, listener: &ListenerLimits) -> Self {
        let default = Self::default();
        let head = listener.head.or(gateway.head).unwrap_or(default.head);
        // What is inherited is cut to the head that it is a part of.
        let part = |own: &Option<Spanned<HeadSize>>, inherited: &Option<Spanned<HeadSize>>, default: HeadSize| {
            own.as_ref().or(inherited.as_ref()).map_or(default, |written| written.value).min(head)
        };
        Self {
            head,
            field: part(&listener.field, &gateway.field, default.field),
            fields: listener.fields.or(gateway.fields).unwrap_or(default.fields),
            target: part(&listener.target, &gateway.target, default.target),
            body: listener.body.or(gateway.body).unwrap_or(default.body),
            body_rate: listener.body_rate.or(gateway.body_rate).unwrap_or(default.body_rate),
            body_rate_after: listener.body_rate_after.or(gateway.body_rate_after).unwrap_or(default.body_rate_after),
            requests_per_connection: listener
                .requests_per_connection
                .or(gateway.requests_per_connection)
                .unwrap_or(default.requests_per_connection),
            pipelined: listener.pipelined.or(gateway.pipelined).unwrap_or(default.pipelined),
            connections: listener.connections.or(gateway.connections).unwrap_or(default.connections),
            interim_responses: listener
                .interim_responses
                .or(gateway.interim_responses)
                .unwrap_or(default.interim_responses),
        }
    }

    /// What holds once the route is known.
    #[must_use]
    pub fn on_route(self, route: &RouteLimits) -> Self {
        Self {
            body: route.body.unwrap_or(self.body),
            body_rate: route.body_rate.unwrap_or(self.body_rate),
            body_rate_after: route.body_rate_after.unwrap_or(self.body_rate_after),
            interim_responses: route.interim_responses.unwrap_or(self.interim_responses),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_inherits_from_its_listener_and_that_from_the_gateway() {
        let body = |bytes| Some(Bounded::AtMost(Size::from_bytes(bytes)));
        let gateway = GatewayLimits { body: body(3), pipelined: Some(Count::new(3)), ..GatewayLimits::default() };
        let listener = ListenerLimits { body: body(2), ..ListenerLimits::default() };
        let on_listener = Limits::on_listener(&gateway, &listener);
        assert_eq!((on_listener.body, on_listener.pipelined.get()), (body(2).unwrap(), 3));
        assert_eq!(on_listener.on_route(&RouteLimits::default()).body, body(2).unwrap());
        let route = RouteLimits { body: Some(Bounded::Unlimited), ..RouteLimits::default() };
        assert_eq!(on_listener.on_route(&route).body, Bounded::Unlimited);
    }

    #[test]
    fn an_inherited_part_of_the_head_is_cut_to_the_head() {
        let written = |bytes| Some(Spanned::unwritten(Size::from_bytes(bytes)));
        let gateway = GatewayLimits { field: written(20_000), ..GatewayLimits::default() };
        let listener = ListenerLimits { head: Some(Size::from_bytes(8192)), ..ListenerLimits::default() };
        let limits = Limits::on_listener(&gateway, &listener);
        assert_eq!((limits.field.bytes(), limits.target.bytes()), (8192, 8192));
        assert_eq!(Limits::on_listener(&gateway, &ListenerLimits::default()).field.bytes(), 20_000);
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let limits = Limits::default();
        assert_eq!((limits.head.bytes(), limits.field.bytes(), limits.fields.get()), (32_768, 16_384, 100));
    }
}
