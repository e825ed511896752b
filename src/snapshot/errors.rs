//! Bodies of local replies that operators have overridden.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Overridden bodies by status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorBodies(pub Option<Arc<BTreeMap<u16, ErrorBody>>>);

/// The variants of one body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorBody {
    pub json: Option<Arc<[u8]>>,
    pub html: Option<Arc<[u8]>>,
}

impl ErrorBody {
    /// The override of the variant that a client prefers; an absent one is the built-in.
    pub fn variant(&self, html: bool) -> Option<&[u8]> {
        if html { self.html.as_deref() } else { self.json.as_deref() }
    }
}

impl ErrorBodies {
    /// The override for `status`.
    pub fn of(&self, status: u16) -> Option<&ErrorBody> {
        self.0.as_ref()?.get(&status)
    }
}
