//! Limits and timeouts as numbers, every one decided.

use std::time::Duration;

/// What a client may send. Bytes are octets; an unlimited one is the type's maximum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub head_bytes: u32,
    pub field_bytes: u32,
    pub fields: u32,
    pub target_bytes: u32,
    pub body_bytes: u64,
    /// Octets per second a body must have on average; 0 for none.
    pub body_rate_min: u64,
    /// How long a body may be slower.
    pub body_grace: Duration,
    pub requests_per_connection: u32,
    /// Requests served from bytes that were sent ahead, in one go.
    pub pipelined: u32,
    pub interim_responses: u32,
}

/// How long each phase may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeouts {
    /// Of TLS, on a fresh connection.
    pub handshake: Duration,
    pub head: Duration,
    pub keep_alive: Duration,
    pub idle: Duration,
    pub exchange: Duration,
    pub total: Duration,
    pub lifetime: Duration,
}

/// What a route decides anew; the rest is its listener's.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RouteLimits {
    pub body_bytes: Option<u64>,
    pub body_rate_min: Option<u64>,
    pub body_grace: Option<Duration>,
    pub interim_responses: Option<u32>,
}

/// What a route decides anew; the rest is its listener's.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RouteTimeouts {
    pub idle: Option<Duration>,
    pub exchange: Option<Duration>,
    pub total: Option<Duration>,
    pub lifetime: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 32 * 1024,
            field_bytes: 16 * 1024,
            fields: 100,
            target_bytes: 16 * 1024,
            body_bytes: 100 * 1024 * 1024,
            body_rate_min: 1024,
            body_grace: Duration::from_secs(5),
            requests_per_connection: 100_000,
            pipelined: 16,
            interim_responses: 16,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            exchange: Duration::from_secs(60),
            total: DAY,
            lifetime: DAY,
        }
    }
}
