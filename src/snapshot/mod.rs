//! The compiled configuration: immutable, shared by all shards, swapped whole.

mod listener;

use std::sync::Arc;

pub use listener::ListenerPlan;

/// Everything the operator wants, compiled. A request keeps the snapshot it began with.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts up with every change that was adopted.
    pub generation: u64,
    /// In the order of their [`crate::base::ListenerId`]s.
    pub listeners: Vec<Arc<ListenerPlan>>,
}
