//! What holds for the whole process.

use std::sync::Arc;
use std::time::Duration;

use super::ErrorBodies;
use crate::http::forwarded::Family;
use crate::http::header::HeaderName;
use crate::http::via::Pseudonym;

/// The gateway's own settings.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayPlan {
    /// The pseudonym in `Via`, or none.
    pub via: Option<Pseudonym>,
    /// Times a request may carry the own pseudonym and still be served.
    pub via_hops: u32,
    /// The field of the request id, where it is used.
    pub request_id: Option<HeaderName>,
    /// Whether trusted peers may choose the request id.
    pub request_id_from_trusted: bool,
    pub forwarded: ForwardedPlan,
    /// What becomes of the upstream's `Server` field.
    pub server: ServerField,
    pub errors: ErrorBodies,
    pub drain_delay: Duration,
    pub drain_deadline: Duration,
}

/// Which family of forwarding fields is believed and which is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForwardedPlan {
    pub read: Family,
    pub write_forwarded: bool,
    pub write_x_forwarded: bool,
}

/// The `Server` field of responses.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerField {
    /// The upstream's goes through.
    Pass,
    /// None is sent.
    Remove,
    /// This one is sent.
    Set(Arc<str>),
}

impl Default for GatewayPlan {
    fn default() -> Self {
        Self {
            via: None,
            via_hops: 0,
            request_id: None,
            request_id_from_trusted: true,
            forwarded: ForwardedPlan { read: Family::XForwardedFor, write_forwarded: false, write_x_forwarded: true },
            server: ServerField::Pass,
            errors: ErrorBodies::default(),
            drain_delay: Duration::ZERO,
            drain_deadline: Duration::from_secs(30),
        }
    }
}
