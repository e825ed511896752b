//! Bodies of local replies that operators have overridden.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Overridden bodies by status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorBodies(pub Option<Arc<BTreeMap<u16, ErrorBody>>>);

/// The variants of one body; what a client prefers is sent, else the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorBody {
    pub json: Option<Arc<[u8]>>,
    pub html: Option<Arc<[u8]>>,
}

impl ErrorBody {
    /// The body a client gets and its media type: what it prefers, else the other.
    pub fn variant(&self, html: bool) -> (&[u8], &'static str) {
        match (&self.html, &self.json) {
            (Some(text), _) if html => (text, "text/html; charset=utf-8"),
            (_, Some(text)) => (text, "application/json"),
            (Some(text), None) => (text, "text/html; charset=utf-8"),
            (None, None) => (b"", "text/plain"),
        }
    }
}

impl ErrorBodies {
    /// The override for `status`.
    pub fn of(&self, status: u16) -> Option<&ErrorBody> {
        self.0.as_ref()?.get(&status)
    }
}
