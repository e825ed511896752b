//! The contract between a shard and the worker that runs it: who accepts, who serves, who is told what when.
//!
//! The worker owns the thread, the ring, the listening sockets and the mailbox of [`super::command::Command`]s; the
//! shard owns everything that happens on an accepted stream. All calls come from the shard's own thread.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::{Address, Timestamp};
use crate::snapshot::Snapshot;

use super::net::Net;

/// A client's stream, fresh from the accept queue. Dropping both halves closes it.
pub struct Accepted<N: Net> {
    /// The name of the listener it came through.
    pub listener: Arc<str>,
    /// The client; a Unix client has an empty path.
    pub peer: Address,
    /// Our address as the client used it.
    pub local: Address,
    pub reader: N::Reader,
    pub writer: N::Writer,
}

/// What a worker runs.
pub trait Shard: 'static {
    type Net: Net;

    /// Serves one connection to its end. A panic in it ends only this connection.
    fn serve(self: Rc<Self>, accepted: Accepted<Self::Net>) -> impl Future<Output = ()> + 'static;

    /// Makes ready to adopt `snapshot`; its listening sockets are bound by then. A second call replaces the first.
    fn prepare(&self, snapshot: &Arc<Snapshot>) -> Result<(), String>;

    /// Adopts the prepared snapshot of this generation.
    fn commit(&self, generation: u64);

    /// Forgets what was prepared for this generation.
    fn abort(&self, generation: u64);

    /// Finish: end idle connections, say so on the others. Connections from the accept queue may still follow.
    fn drain(&self);

    /// The time of a drain is up: end every connection.
    fn stop(&self);

    /// Connections whose serving has not ended.
    fn open_connections(&self) -> usize;

    /// Called about ten times a second.
    fn tick(&self, now: Timestamp);
}
