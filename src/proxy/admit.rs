//! What is decided before a request is answered: the limits of its route, then its policies from top to bottom.

use super::exchange::Exchange;
use super::failure::Failure;
use super::net::Net;
use crate::http::Body;
use crate::observe::Reason;
use crate::snapshot::RoutePlan;

/// Admits the request to its route, or says why not.
pub(super) fn admit<N: Net>(x: &mut Exchange<'_, N>, route: &RoutePlan) -> Result<(), Failure> {
    let encoded_slash = x.cx.target.as_ref().is_some_and(|target| target.encoded_slash);
    if encoded_slash && !route.encoded_slash {
        return Err(Failure::of(Reason::EncodedSlash));
    }
    // Authentication, authorization and limits take their places here, in the order of `policy/mod.rs`.
    if let Body::Length(length) = x.memory.request.body
        && length > x.terms.body_bytes()
    {
        return Err(Failure::of(Reason::BodyTooLarge).detail("declared"));
    }
    Ok(())
}
