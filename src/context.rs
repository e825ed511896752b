//! The facts of one exchange, as routing, policies, the log and `explain` see them.

mod certificate;

use std::net::IpAddr;

use arrayvec::ArrayVec;

use crate::base::{RouteId, Timestamp};
use crate::http::authority::Authority;
use crate::http::request_id::{REQUEST_ID_BYTES, REQUEST_ID_BYTES_MAX};
use crate::http::target::Target;
use crate::http::trace_context::Trace;
use crate::http::{RequestHead, Span};

pub use certificate::{AlternativeName, ClientCertificate, FINGERPRINT_BYTES, distinguished_name};

/// The id by which an exchange is found in the log: ours, or a trusted peer's.
#[derive(Debug, Default)]
pub struct RequestId(ArrayVec<u8, REQUEST_ID_BYTES_MAX>);

impl RequestId {
    /// A peer's, which was found acceptable; what is beyond the longest acceptable one is cut.
    #[inline]
    pub fn taken(id: &[u8]) -> Self {
        let mut text = ArrayVec::new();
        // What was cut fits.
        let _ = text.try_extend_from_slice(id.get(..REQUEST_ID_BYTES_MAX).unwrap_or(id));
        Self(text)
    }

    /// Becomes one of ours. In place: the room for a peer's is large.
    #[inline]
    pub fn renew(&mut self, id: &[u8; REQUEST_ID_BYTES]) {
        self.0.clear();
        // The longest one of a peer is longer.
        let _ = self.0.try_extend_from_slice(id);
    }

    /// None, again.
    #[inline]
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Its text; empty where ids are off.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is known of one exchange. Texts are spans over the received head, or over the scratch where a canonical form
/// had to be written.
#[derive(Debug, Default)]
pub struct RequestContext {
    /// When its first octet was seen.
    pub started: Timestamp,
    /// The checked target; its spans count from the start of the target.
    pub target: Option<Target>,
    /// Host and port as received, from the target or the Host field; empty where there is none.
    pub authority_text: Span,
    /// The checked authority; its spans count from the start of the authority.
    pub authority: Option<Authority>,
    /// The client's address after the trusted-proxies rules; none on Unix sockets.
    pub client: Option<IpAddr>,
    /// Whether the peer's forwarding fields are believed.
    pub peer_is_trusted: bool,
    pub request_id: RequestId,
    /// None until the exchange is named.
    pub trace: Option<Trace>,
    /// Whether the listener's default host stands in for a missing one.
    pub default_host: bool,
    pub route: Option<RouteId>,
}

impl RequestContext {
    /// Forgets the exchange before, for one whose first octet was seen at `now`. In place, field by field: it is large,
    /// and most of it is not looked at before it is written.
    #[inline]
    pub fn begin(&mut self, now: Timestamp) {
        let Self {
            started,
            target,
            authority_text,
            authority,
            client,
            peer_is_trusted,
            request_id,
            trace,
            default_host,
            route,
        } = self;
        *started = now;
        *target = None;
        *authority_text = Span::default();
        *authority = None;
        *client = None;
        *peer_is_trusted = false;
        request_id.clear();
        *trace = None;
        *default_host = false;
        *route = None;
    }

    /// The canonical path; empty before the target was checked.
    #[inline]
    pub fn path<'a>(&self, head: &RequestHead, bytes: &'a [u8], written: &'a [u8]) -> &'a [u8] {
        self.target.as_ref().map_or(b"", |target| target.path.of(head.target.of(bytes), written))
    }

    /// The query as received, without its question mark.
    #[inline]
    pub fn query<'a>(&self, head: &RequestHead, bytes: &'a [u8]) -> Option<&'a [u8]> {
        Some(self.target.as_ref()?.query?.of(head.target.of(bytes)))
    }

    /// The canonical host without its port; empty where there is none.
    #[inline]
    pub fn host<'a>(&self, bytes: &'a [u8], written: &'a [u8]) -> &'a [u8] {
        self.authority.as_ref().map_or(b"", |authority| authority.host.of(self.authority_text.of(bytes), written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;

    #[test]
    fn nothing_of_the_exchange_before_is_left() {
        let mut written = Vec::new();
        let mut context = RequestContext {
            started: Timestamp::from_nanos(1),
            target: Some(Target::parse(Method::Get, b"/a?b", &mut written).expect("a target")),
            authority_text: Span::new(1, 2),
            authority: Some(Authority::parse(b"a", 80, &mut written).expect("a host")),
            client: Some(IpAddr::from([127, 0, 0, 1])),
            peer_is_trusted: true,
            request_id: RequestId::taken(b"id"),
            trace: Some(Trace::begun(None, false, true, [1, 2])),
            default_host: true,
            route: Some(RouteId(1)),
        };
        context.begin(Timestamp::from_nanos(2));
        let fresh = RequestContext { started: Timestamp::from_nanos(2), ..RequestContext::default() };
        assert_eq!(format!("{context:?}"), format!("{fresh:?}"));
    }
}
