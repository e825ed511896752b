//! Where and how clients are accepted.

use std::sync::Arc;

use crate::base::Address;

/// One named listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerPlan {
    /// Unique among listeners; state is carried over a reload by it.
    pub name: Arc<str>,
    /// Every address it binds, at least one.
    pub addresses: Vec<Address>,
    /// Whether a wildcard IPv6 address leaves IPv4 alone; off means dual-stack.
    pub ipv6_only: bool,
    /// Open connections on one shard beyond which accepting pauses.
    pub connections_max: u32,
}
