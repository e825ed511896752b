//! The compiled configuration: immutable, shared by all shards, swapped whole.

pub mod client_auth;
pub mod compile;
mod draft;
mod errors;
mod gateway;
mod limits;
mod listener;
mod ocsp;
pub mod passthrough;
mod pins;
mod route;
pub mod tls;

use std::sync::Arc;

use crate::base::{ListenerId, RouteId, UpstreamId};
use crate::config::Config;
use crate::observe::{EndpointMetrics, EscapedText, Expiring, ExpiryFigure, LineFormat, UpstreamMetrics};
use crate::route::Table;
use crate::upstream::UpstreamPlan;

pub use draft::Draft;
pub use errors::{ErrorBodies, ErrorBody};
pub use gateway::{ForwardedPlan, GatewayPlan, ServerField};
pub use limits::{Limits, RouteLimits, RouteTimeouts, Timeouts};
pub use listener::{ClientAddressPlan, Http2Plan, ListenerPlan, canonical};
use tls::{ClientTls, PeerName};

pub use route::{Action, CHALLENGES, FixedResponse, Forward, Location, Redirect, RoutePlan, WebsocketPlan};

/// Everything the operator wants, compiled. A request keeps the snapshot it began with.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with every change that was adopted.
    pub generation: u64,
    pub gateway: GatewayPlan,
    /// In the order of their ids. Unchanged objects are shared with the snapshot before.
    pub listeners: Vec<Arc<ListenerPlan>>,
    pub upstreams: Vec<UpstreamEntry>,
    pub routes: Vec<Arc<RoutePlan>>,
    /// Which route a request takes.
    pub table: Table,
    /// How an exchange is written to the access log, where there is one.
    pub log_format: Option<Arc<LineFormat>>,
    /// What it was compiled from; the next compilation compares with it.
    pub config: Arc<Config>,
}

/// One upstream and what is counted for it.
#[derive(Debug, Clone)]
pub struct UpstreamEntry {
    pub plan: Arc<UpstreamPlan>,
    /// The name as the log writes it.
    pub label: EscapedText,
    /// How it is spoken to; nothing for plain text.
    pub tls: Option<Arc<ClientTls>>,
    pub metrics: Arc<UpstreamMetrics>,
    /// In the order of the endpoints' ids.
    pub endpoints: Vec<EndpointEntry>,
}

/// What is counted for one endpoint, and its name as the log writes it.
#[derive(Debug, Clone)]
pub struct EndpointEntry {
    pub label: EscapedText,
    /// The name it must prove by its certificate, where TLS is spoken.
    pub peer: Option<PeerName>,
    pub metrics: Arc<EndpointMetrics>,
}

impl UpstreamEntry {
    /// The names that the endpoints must prove.
    pub fn peers(&self) -> impl Iterator<Item = &Option<PeerName>> {
        self.endpoints.iter().map(|endpoint| &endpoint.peer)
    }
}

impl Snapshot {
    pub fn listener(&self, id: ListenerId) -> &Arc<ListenerPlan> {
        &self.listeners[id.index()]
    }

    pub fn upstream(&self, id: UpstreamId) -> &Arc<UpstreamPlan> {
        &self.upstreams[id.index()].plan
    }

    pub fn route(&self, id: RouteId) -> &Arc<RoutePlan> {
        &self.routes[id.index()]
    }

    /// Everything that ends by itself, for the metrics.
    pub fn expiries(&self) -> Vec<ExpiryFigure<'_>> {
        let mut figures = Vec::new();
        for listener in &self.listeners {
            let Some(tls) = &listener.tls else { continue };
            let mut add = |kind, place, name, valid_until| {
                figures.push(ExpiryFigure { kind, owner: &listener.name, place, name, valid_until });
            };
            for (place, identity) in tls.identities().iter().enumerate() {
                add(Expiring::OfListener, place, identity.name().into(), identity.valid_until);
            }
            let lists = tls.clients().map_or(&[][..], |clients| &clients.revocation_lists);
            for (place, list) in lists.iter().enumerate() {
                add(Expiring::RevocationList, place, list.name().into(), list.valid_until);
            }
        }
        figures.extend(self.upstreams.iter().filter_map(|entry| {
            let identity = entry.tls.as_ref()?.identity()?;
            let (owner, name) = (&*entry.plan.name, identity.name().into());
            Some(ExpiryFigure { kind: Expiring::OfUpstream, owner, place: 0, name, valid_until: identity.valid_until })
        }));
        figures
    }

    /// The upstream of this name; walked only when a snapshot is compiled.
    pub fn upstream_named(&self, name: &str) -> Option<&UpstreamEntry> {
        self.upstreams.iter().find(|entry| &*entry.plan.name == name)
    }

    /// The listener of this name; there are few, so a walk will do.
    pub fn listener_named(&self, name: &str) -> Option<&Arc<ListenerPlan>> {
        self.listeners.iter().find(|listener| &*listener.name == name)
    }
}
