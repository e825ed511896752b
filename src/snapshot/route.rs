//! What happens to a request that a route matched.

use std::sync::Arc;
use std::time::Duration;

use super::{ErrorBodies, RouteLimits, RouteTimeouts};
use crate::base::UpstreamId;
use crate::config::CertificateForward;
use crate::http::header::HeaderName;
use crate::http::websocket::origins::Origins;
use crate::observe::{EscapedText, RouteMetrics};
use crate::policy::Policies;
use crate::route::Template;
use crate::upstream::RetryPlan;

/// Where authorities look, in plain text, for the proof that a host is its owner's (RFC 8555, section 8.3).
pub const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// One route.
#[derive(Debug)]
pub struct RoutePlan {
    /// Unique among routes; state is carried over a reload by it.
    pub name: Arc<str>,
    /// The name as the log writes it.
    pub label: EscapedText,
    pub action: Action,
    pub policies: Policies,
    pub limits: RouteLimits,
    pub timeouts: RouteTimeouts,
    /// Whether `%2F` in the path is kept encoded; refused otherwise.
    pub encoded_slash: bool,
    /// Whether it was made for [`CHALLENGES`] alone, so that it serves where everybody else is sent to https.
    pub answers_challenges: bool,
    /// Whether gRPC-Web is bridged to gRPC.
    pub grpc_web: bool,
    /// Bodies of local replies, before the gateway's.
    pub errors: ErrorBodies,
    /// What is counted for it.
    pub metrics: Arc<RouteMetrics>,
}

/// What a route does.
#[derive(Debug, Clone)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Respond(FixedResponse),
}

/// Sends the request on.
#[derive(Debug, Clone)]
pub struct Forward {
    pub upstream: UpstreamId,
    /// The path to ask for instead; its query replaces the received one when it has one.
    pub path: Option<Template>,
    /// The host to ask for instead.
    pub host: Option<Template>,
    /// Whether the client's certificate is handed on, and how much of it.
    pub client_certificate: Option<CertificateForward>,
    /// When a failed attempt is made again; none leaves only the one replay that is always safe.
    pub retry: Option<RetryPlan>,
    /// Protocols that may be upgraded to, in lower case.
    pub upgrade: Vec<Box<str>>,
    /// What holds for its WebSockets.
    pub websocket: WebsocketPlan,
}

/// What holds for the WebSockets of a route.
#[derive(Debug, Clone)]
pub struct WebsocketPlan {
    /// Without an octet in either direction.
    pub idle: Duration,
    /// However busy; none leaves it to the route's timeouts.
    pub lifetime: Option<Duration>,
    /// Whose pages may open one.
    pub origins: Origins,
}

/// Sends the client elsewhere.
#[derive(Debug, Clone)]
pub struct Redirect {
    pub status: u16,
    pub location: Location,
}

/// Where to.
#[derive(Debug, Clone)]
pub enum Location {
    /// A whole reference.
    To(Template),
    /// The received one with parts replaced.
    Parts { scheme: Option<&'static str>, host: Option<Template>, port: Option<u16>, path: Option<Template> },
}

/// Answers without an upstream.
#[derive(Debug, Clone)]
pub struct FixedResponse {
    pub status: u16,
    pub headers: Vec<(HeaderName, Box<str>)>,
    pub body: Arc<[u8]>,
}
