//! The configuration as an operator writes it, typed, and everything that is wrong with it.
//!
//! ```text
//! Source ─▶ tree (spans) ─▶ interpolate ${…} ─▶ typing (serde) ─▶ check ─▶ Config, object by object, with findings
//! ```
//!
//! This module knows the model, one file per top-level key, and nothing of what a snapshot makes of it: it never resolves
//! a reference from one object to another. [`load()`] loses nothing: an object that is wrong is there by name, without a
//! value and with its findings, so that whoever compiles decides in one place what a finding refuses.

mod access_log;
mod address;
mod admin;
mod check;
mod errors;
mod finding;
mod gateway;
mod interpolate;
mod limits;
mod listeners;
#[expect(clippy::result_large_err, reason = "a finding is made once and ends what it is about")]
mod load;
mod passthrough;
mod pin;
mod routes;
mod schema;
mod shape;
mod source;
mod spanned;
mod suggest;
mod timeouts;
mod tls;
#[expect(clippy::result_large_err, reason = "a finding is made once and ends what it is about")]
mod tree;
mod typing;
mod upstreams;
mod value;
mod websocket;

pub use access_log::{AccessLog, LogFormat, LogTarget};
pub use address::{BindAddress, EndpointAddress, Network, SocketMode};
pub use admin::Admin;
pub use errors::{ErrorBodies, ErrorBody, ErrorStatus};
pub use finding::{FileId, Finding, Related, Severity, Sources, Span, join, render, to_json};
pub use gateway::{
    ClientAddress, Drain, Driver, Forwarded, ForwardedRead, ForwardedWrite, Gateway, RequestId, ServerField,
    VIA_NAME_BYTES_MAX, Via, ViaName, Workers,
};
pub use limits::{GatewayLimits, HEAD_BYTES_MAX, HeadSize, Limits, ListenerLimits, RouteLimits};
pub use listeners::{HalfClose, Http2, HttpVersion, Listener, ProxyProtocol};
pub use load::{Config, Loaded, Object, load};
pub use passthrough::Passthrough;
pub use pin::Pin;
pub use routes::{
    CertificateForward, Edits, EncodedSlash, HeaderEdits, Match, PathMatch, Redirect, RedirectStatus, Respond, Retry,
    Route, Scheme, To, ValueMatch,
};
pub use schema::{reference, schema};
pub use shape::{Entries, FieldName, FieldValue, Method, Name, OneOrMany, Protocol};
pub use source::{EmptyEnvironment, Environment, ProcessEnvironment, Source};
pub use spanned::{HIDDEN, Spanned, Text};
pub use suggest::nearest;
pub use timeouts::{
    AttemptTimeouts, GatewayTimeouts, ListenerTimeouts, RouteTimeouts, Timeout, Timeouts, UpstreamTimeouts,
};
pub use tls::{
    Certificate, ClientCertificateMode, ClientCertificates, ExpiredCrl, Hsts, HstsAge, ListenerTls, PemFile, TlsPolicy,
    TlsVersion, UpstreamTls,
};
pub use upstreams::{
    Balance, Dns, Endpoint, MarkDown, Pool, SentProxyProtocol, Trailers, Upstream, UpstreamHttp2, UpstreamProtocol,
};
pub use value::{Bounded, Count, Period, Rate, Size, Switched};
pub use websocket::{Origin, Websocket};

#[cfg(test)]
mod tests;
