//! What the control side may ask of a shard. Plain data and callbacks: the channel between them is the shells' affair.

use std::time::Duration;

use std::sync::Arc;

use crate::snapshot::Snapshot;

/// Tells who asked how it went; called once, from the shard's thread, and must not block.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// One order to one shard.
pub enum Command {
    /// Makes everything ready that adopting `snapshot` could fail at (listening sockets, above all) and keeps it aside.
    /// A second `Prepare` replaces the first.
    Prepare { snapshot: Arc<Snapshot>, reply: Reply<Result<(), String>> },
    /// Adopts the prepared snapshot of this generation; cannot fail.
    Commit { generation: u64, reply: Reply<()> },
    /// Forgets what was prepared for this generation.
    Abort { generation: u64 },
    /// Serves what the accept queues hold, closes the listeners, finishes what is in flight, and replies when all
    /// connections have ended or `deadline` has passed.
    Drain { deadline: Duration, reply: Reply<()> },
}

/// The control side's end of a shard.
pub struct ShardHandle {
    /// The shard's number, from 0.
    pub number: usize,
    /// Hands a command over without waiting; gives it back when the shard's bounded queue is full or the shard is gone.
    pub send: Box<dyn Fn(Command) -> Result<(), Command> + Send + Sync>,
}
