//! Where and how clients are accepted.

use std::net::IpAddr;
use std::sync::Arc;

use super::passthrough::PassthroughPlan;
use super::tls::ServerTls;
use super::{Limits, Location, Redirect, Timeouts};
use crate::base::{Address, CidrSet};
use crate::http::header::HeaderName;
use crate::observe::EscapedText;
use crate::policy::transform::HeaderEdits;

/// Not named in a URL.
const HTTPS_PORT: u16 = 443;

/// One named listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerPlan {
    /// Unique among listeners; state is carried over a reload by it.
    pub name: Arc<str>,
    /// The name as the log writes it.
    pub label: EscapedText,
    /// Every address it binds, at least one.
    pub addresses: Vec<Address>,
    /// Whether a wildcard IPv6 address leaves IPv4 alone; off means dual-stack.
    pub ipv6_only: bool,
    /// Permissions of its Unix sockets; nothing where they are left to the umask.
    pub socket_mode: Option<u32>,
    /// Open connections on one shard beyond which accepting pauses.
    pub connections_max: u32,
    /// How it speaks TLS; nothing for plain text.
    pub tls: Option<Arc<ServerTls>>,
    /// Whose connections are passed on as they are, where some are.
    pub passthrough: Option<PassthroughPlan>,
    /// The port by `https` that every request is sent to instead of being served, but for challenges.
    pub https_port: Option<u16>,
    /// What every answer over TLS says of how to come again.
    pub hsts: Option<HeaderEdits>,
    /// Whether HTTP/1 is spoken.
    pub http1: bool,
    /// How HTTP/2 is spoken, where it is.
    pub http2: Option<Http2Plan>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// Who must begin each connection with a PROXY header, and may; nothing where none is taken.
    pub proxy_protocol: Option<CidrSet>,
    /// Whose forwarding fields are believed.
    pub trusted: CidrSet,
    /// Where the client's address stands when a content delivery network is in front.
    pub client_address: Option<ClientAddressPlan>,
    /// Whether a client that closed its sending side still gets its answer.
    pub serve_half_closed: bool,
    /// The host of HTTP/1.0 requests without one.
    pub default_host: Option<Arc<str>>,
}

/// Bounds of a connection of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Plan {
    /// Requests under way at once.
    pub streams: u32,
    /// Octets of content that a client may send ahead on one stream.
    pub stream_window: u32,
    /// The same over all streams.
    pub connection_window: u32,
}

/// One named header field of listed networks holds the client's address.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientAddressPlan {
    pub field: HeaderName,
    pub from: CidrSet,
}

impl ListenerPlan {
    /// Where every request is sent, if none is served.
    pub fn redirect(&self) -> Option<Redirect> {
        let port = Some(self.https_port?).filter(|port| *port != HTTPS_PORT);
        let location = Location::Parts { scheme: Some("https"), host: None, port, path: None };
        Some(Redirect { status: 308, location })
    }

    /// Whether a PROXY header from `peer` would be believed, where they are taken. Who may open the path of a Unix socket
    /// is a matter of file permissions, and was decided by them.
    pub fn is_introduced_by(&self, peer: &Address) -> bool {
        let from = self.proxy_protocol.as_ref();
        from.is_some_and(|from| peer.ip().is_none_or(|ip| from.contains(ip)))
    }

    /// Whether forwarding fields from `peer` are believed. A Unix socket's peer is whoever may open the path, which
    /// is a matter of file permissions: it is trusted only when the list holds everything.
    pub fn trusts(&self, peer: &Address) -> bool {
        peer.ip().is_some_and(|ip| self.trusted.contains(canonical(ip)))
    }
}

/// IPv4-mapped IPv6 addresses count as the IPv4 addresses they are.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
