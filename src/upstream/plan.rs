//! An upstream as the operator wants it: compiled, immutable, shared by all shards.

use std::sync::Arc;
use std::time::Duration;

use super::budget::BudgetPlan;
use super::health::{EndpointHealth, MarkDown};
use super::pool::PoolLimits;
use crate::base::{Address, EndpointId};
use crate::http::proxy_protocol;

/// The largest weight of an endpoint.
pub const WEIGHT_MAX: u32 = 65_535;
/// Open connections per endpoint on one shard, unless the operator says otherwise.
pub const CONNECTIONS_MAX: u32 = 16_384;
/// Requests that wait for a connection per endpoint on one shard, unless the operator says otherwise.
pub const WAITERS_MAX: u32 = 1_024;

/// A named group of endpoints that serve the same.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamPlan {
    /// Unique among upstreams; state is carried over a reload by it.
    pub name: Arc<str>,
    /// In the order of their [`EndpointId`]s; addresses are unique within an upstream.
    pub endpoints: Vec<EndpointPlan>,
    /// Which PROXY header every connection begins with; each then serves one client's connection alone.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// How the next endpoint is chosen.
    pub balance: Balance,
    /// How idle connections are kept, per endpoint on one shard.
    pub pool: PoolLimits,
    /// Connections, idle and in use, per endpoint on one shard.
    pub connections_max: u32,
    /// Requests that wait for one of them, per endpoint on one shard; beyond it they are refused at once.
    pub waiters_max: u32,
    /// When an endpoint that refuses connections is left alone.
    pub mark_down: MarkDown,
    /// How many requests may be made again.
    pub budget: BudgetPlan,
    /// How long to wait for an endpoint.
    pub timeouts: Timeouts,
    /// What is spoken.
    pub speaks: Speaks,
    /// How many requests share a connection, where that can be.
    pub sharing: Sharing,
    /// Whether trailers of requests are sent over HTTP/1.1.
    pub forwards_trailers: bool,
}

/// The version of HTTP that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1: one request at a time on a connection.
    #[default]
    Http1,
    /// HTTP/2: many.
    Http2,
    /// What the endpoint chooses.
    Either,
}

/// Bounds of a connection that many requests share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Requests under way at once, where the endpoint does not allow fewer.
    pub streams: u32,
    /// Octets of content that an endpoint may send ahead on one stream.
    pub stream_window: u32,
    /// The same over all streams.
    pub connection_window: u32,
    /// The silence, while requests are under way, after which the endpoint is asked whether it lives.
    pub ping: Option<Duration>,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            streams: 100,
            stream_window: 256 * 1024,
            connection_window: 25 * 1024 * 1024,
            ping: Some(Duration::from_secs(20)),
        }
    }
}

/// One address of an upstream.
#[derive(Debug, Clone)]
pub struct EndpointPlan {
    /// Where it listens; connections and counters are carried over a reload by it.
    pub address: Address,
    /// Its share relative to the others, from 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// How logs and metrics call it: the address as the operator wrote it.
    pub name: Arc<str>,
    /// Shared by all shards; a reload carries it over, see [`UpstreamPlan::inherit_health`].
    pub health: Arc<EndpointHealth>,
}

/// How the next endpoint is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The less busy of two chosen at random, by weight.
    LeastRequest,
}

/// How long to wait for an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to be established.
    pub connect: Duration,
    /// From the end of the request to the end of the response head.
    pub response_head: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), response_head: Duration::from_secs(60), idle: Duration::from_secs(60) }
    }
}

impl UpstreamPlan {
    /// An upstream of these endpoints with the defaults for everything else.
    pub fn new(name: Arc<str>, endpoints: Vec<EndpointPlan>) -> Self {
        Self {
            name,
            endpoints,
            proxy_protocol: None,
            balance: Balance::default(),
            pool: PoolLimits::default(),
            connections_max: CONNECTIONS_MAX,
            waiters_max: WAITERS_MAX,
            mark_down: MarkDown::default(),
            budget: BudgetPlan::default(),
            timeouts: Timeouts::default(),
            speaks: Speaks::default(),
            sharing: Sharing::default(),
            forwards_trailers: false,
        }
    }

    /// The endpoint with this id.
    #[inline]
    pub fn endpoint(&self, id: EndpointId) -> &EndpointPlan {
        &self.endpoints[id.index()]
    }

    /// Takes over the health of the endpoints that `previous`, the upstream of the same name, had already.
    pub fn inherit_health(&mut self, previous: &Self) {
        let mut known: ahash::HashMap<&Address, &Arc<EndpointHealth>> =
            previous.endpoints.iter().map(|endpoint| (&endpoint.address, &endpoint.health)).collect();
        for endpoint in &mut self.endpoints {
            if let Some(health) = known.remove(&endpoint.address) {
                endpoint.health = Arc::clone(health);
            }
        }
    }
}

/// The same endpoint with the same history: health is compared by identity.
impl PartialEq for EndpointPlan {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
            && self.weight == other.weight
            && self.name == other.name
            && Arc::ptr_eq(&self.health, &other.health)
    }
}

impl EndpointPlan {
    /// An endpoint of which nothing bad is known.
    pub fn new(address: Address, weight: u32) -> Self {
        let name = Arc::from(address.to_string());
        Self { address, weight: weight.clamp(1, WEIGHT_MAX), name, health: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::upstream::Standing;

    fn endpoint(port: u16) -> EndpointPlan {
        EndpointPlan::new(Address::Ip(([10, 0, 0, 1], port).into()), 1)
    }

    #[test]
    fn health_survives_a_reload_by_address() {
        let old = UpstreamPlan::new("orders".into(), vec![endpoint(1), endpoint(2)]);
        let now = Timestamp::from_nanos(1);
        old.endpoints[1].health.failed(&old.mark_down, now, 0);
        let mut new = UpstreamPlan::new("orders".into(), vec![endpoint(2), endpoint(3)]);
        new.inherit_health(&old);
        let standings: Vec<_> = new.endpoints.iter().map(|endpoint| endpoint.health.standing(now)).collect();
        assert_eq!(standings, [Standing::Down, Standing::Up]);
    }
}
