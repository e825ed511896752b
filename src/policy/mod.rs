//! What a route demands of its requests and does to its messages, compiled.
//!
//! The order of the policies is the order of the fields below: `proxy/exchange.rs` asks them from top to bottom. A
//! policy that is absent is one predictable branch. A new policy is one file in this folder, one field here and one
//! line there.

pub mod transform;

use transform::HeaderEdits;

/// The policies of one route.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Policies {
    /// Edits of the request head, when it is forwarded.
    pub request_headers: Option<HeaderEdits>,
    /// Edits of the response head, before it is sent to the client.
    pub response_headers: Option<HeaderEdits>,
    /// Whether the upstream is told of the client's certificate, and so may answer by it.
    pub tells_certificate: bool,
}

impl Policies {
    /// Octets that the edits append to a request head.
    pub fn request_bytes(&self) -> usize {
        self.request_headers.as_ref().map_or(0, |edits| edits.lines().len())
    }

    /// Octets that the edits append to a response head.
    pub fn response_bytes(&self) -> usize {
        self.response_headers.as_ref().map_or(0, |edits| edits.lines().len())
    }
}
