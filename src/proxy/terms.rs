//! The limits and timeouts that hold for an exchange: its route's, where that decides, else its listener's.
//!
//! Looked up when asked for: an exchange needs a few of them, and most of those once.

use std::time::Duration;

use crate::http::h1::HeadLimits;
use crate::snapshot::{ListenerPlan, RouteLimits, RoutePlan, RouteTimeouts};

/// What holds for one exchange.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    listener: &'a ListenerPlan,
    route: Option<&'a RoutePlan>,
}

impl<'a> Terms<'a> {
    /// Those of a listener, for as long as no route is known.
    pub fn of(listener: &'a ListenerPlan) -> Self {
        Self { listener, route: None }
    }

    /// Those that hold once the route is known.
    pub fn on_route(self, route: &'a RoutePlan) -> Self {
        Self { route: Some(route), ..self }
    }

    /// The bounds of a head, on either side.
    pub fn head_limits(&self) -> HeadLimits {
        super::head::limits(self.listener)
    }

    pub fn requests_per_connection(&self) -> u32 {
        self.listener.limits.requests_per_connection
    }

    pub fn body_bytes(&self) -> u64 {
        self.limit(|route| route.body_bytes).unwrap_or(self.listener.limits.body_bytes)
    }

    pub fn body_rate_min(&self) -> u64 {
        self.limit(|route| route.body_rate_min).unwrap_or(self.listener.limits.body_rate_min)
    }

    pub fn body_grace(&self) -> Duration {
        self.limit(|route| route.body_grace).unwrap_or(self.listener.limits.body_grace)
    }

    pub fn interim_responses(&self) -> u32 {
        self.limit(|route| route.interim_responses).unwrap_or(self.listener.limits.interim_responses)
    }

    pub fn head(&self) -> Duration {
        self.listener.timeouts.head
    }

    pub fn idle(&self) -> Duration {
        self.timeout(|route| route.idle).unwrap_or(self.listener.timeouts.idle)
    }

    pub fn exchange(&self) -> Duration {
        self.timeout(|route| route.exchange).unwrap_or(self.listener.timeouts.exchange)
    }

    pub fn total(&self) -> Duration {
        self.timeout(|route| route.total).unwrap_or(self.listener.timeouts.total)
    }

    pub fn lifetime(&self) -> Duration {
        self.timeout(|route| route.lifetime).unwrap_or(self.listener.timeouts.lifetime)
    }

    #[inline]
    fn limit<T>(&self, of: impl FnOnce(&RouteLimits) -> Option<T>) -> Option<T> {
        of(&self.route?.limits)
    }

    #[inline]
    fn timeout<T>(&self, of: impl FnOnce(&RouteTimeouts) -> Option<T>) -> Option<T> {
        of(&self.route?.timeouts)
    }
}
