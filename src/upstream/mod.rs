//! Where requests go: the endpoints of an upstream, which one is next, its connections, and whether a failed attempt
//! may be made again. Decides only: knows no sockets, no clock and no messages.

pub mod balance;
mod budget;
mod carriers;
mod endpoints;
mod health;
mod permit;
mod plan;
mod pool;
mod replay;

pub use balance::{Candidate, TRIED_MAX, Tried};
pub use budget::{Budget, BudgetPlan};
pub use carriers::{Carrier, Carriers, Joined, Never, Opening, Place};
pub use endpoints::{Acquired, Connections, Endpoint, FailedAttempt, InFlight, Pick, UpstreamState};
pub use health::{EndpointHealth, MarkDown, Standing};
pub use permit::{Permit, Permits, Turn, Waiting};
pub use plan::{Balance, EndpointPlan, Sharing, Speaks, Timeouts, UpstreamPlan};
pub use pool::{Discard, Parked, Pool, PoolCounts, PoolLimits};
pub use replay::{ATTEMPTS_MAX, AttemptFailure, GiveUp, Repeatable, RetryPlan, Tries};
