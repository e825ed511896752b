//! Bodies of local replies that operators have overridden.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::http::problem::{HTML_TYPE, JSON_TYPE};

/// Overridden bodies by status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorBodies(pub Option<Arc<BTreeMap<u16, ErrorBody>>>);

/// The variants of one body; what a client prefers is sent, else the built-in one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorBody {
    pub json: Option<Arc<[u8]>>,
    pub html: Option<Arc<[u8]>>,
}

impl ErrorBody {
    /// The body for a client that prefers HTML, or does not, with its media type; none where the built-in one stands.
    pub fn variant(&self, html: bool) -> Option<(&[u8], &'static str)> {
        let (text, media_type) = if html { (&self.html, HTML_TYPE) } else { (&self.json, JSON_TYPE) };
        text.as_deref().map(|text| (text, media_type))
    }
}

impl ErrorBodies {
    /// The override for `status`.
    pub fn of(&self, status: u16) -> Option<&ErrorBody> {
        self.0.as_ref()?.get(&status)
    }
}
