//! The way of log lines from a shard to the writer: chunks by a bounded channel, empty ones back by another.
//!
//! Neither end ever waits for the other. At most [`CHUNKS_MAX`] chunks exist for a shard; while the writer holds all of
//! them, lines are dropped and counted. In steady state nothing is allocated: the same chunks go round.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::{LINE_BYTES_MAX, LineFormat, Record, ShardMetrics};
use crate::base::Timestamp;

/// Room of one chunk.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks of one shard, in all places together: what a shard's log may hold in memory is this many chunks.
pub const CHUNKS_MAX: usize = 32;
/// How long a line may lie in a chunk that is not full.
pub const CHUNK_AGE_MAX: Duration = Duration::from_millis(100);

const _: () = assert!(LINE_BYTES_MAX <= CHUNK_BYTES / 4, "a chunk must hold several lines");

/// The two ends of one shard's way to the writer.
pub fn outbox(metrics: Arc<ShardMetrics>) -> (Outbox, Collector) {
    let (full_in, full_out) = sync_channel(CHUNKS_MAX);
    let (empty_in, empty_out) = sync_channel(CHUNKS_MAX);
    let chunk = Chunk::default();
    let outbox = Outbox { chunk, since: Timestamp::NEVER, chunks: 1, full: full_in, empty: empty_out, metrics };
    let collector = Collector { full: full_out, empty: empty_in, pending: None };
    (outbox, collector)
}

/// Whole lines.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    lines: u64,
}

impl Default for Chunk {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(CHUNK_BYTES), lines: 0 }
    }
}

/// The shard's end. Dropping it hands over what is left.
#[derive(Debug)]
pub struct Outbox {
    chunk: Chunk,
    /// When the oldest line of the chunk was written.
    since: Timestamp,
    /// Chunks that exist, wherever they are.
    chunks: usize,
    full: SyncSender<Chunk>,
    empty: Receiver<Chunk>,
    metrics: Arc<ShardMetrics>,
}

impl Outbox {
    /// Writes a line, or drops and counts it where the writer is too far behind.
    #[inline]
    pub fn write(&mut self, format: &LineFormat, record: &Record<'_>, now: Timestamp) {
        if CHUNK_BYTES - self.chunk.bytes.len() < LINE_BYTES_MAX && !self.hand_over() {
            self.metrics.log_lines_dropped.increment();
            return;
        }
        if self.chunk.lines == 0 {
            self.since = now;
        }
        format.write(record, &mut self.chunk.bytes);
        self.chunk.lines += 1;
        self.tick(now);
    }

    /// Hands over a chunk that lay long enough. To be called at least as often as lines should become visible.
    #[inline]
    pub fn tick(&mut self, now: Timestamp) {
        if self.chunk.lines > 0 && now.since(self.since) >= CHUNK_AGE_MAX {
            self.hand_over();
        }
    }

    /// Whether lines wait for [`Self::tick`].
    pub fn is_empty(&self) -> bool {
        self.chunk.lines == 0
    }

    /// Hands over what there is, whatever its age.
    pub fn flush(&mut self) {
        if self.chunk.lines > 0 {
            self.hand_over();
        }
    }

    /// Exchanges the chunk for an empty one; keeps it where there is none. The channel has room for all chunks there
    /// are, so it only refuses when the writer is gone: then the lines are lost, and counted.
    #[cold]
    fn hand_over(&mut self) -> bool {
        let Some(fresh) = self.fresh() else { return false };
        let chunk = std::mem::replace(&mut self.chunk, fresh);
        let lines = chunk.lines;
        let sent = self.full.try_send(chunk).is_ok();
        if sent {
            self.metrics.log_lines.add(lines);
        } else {
            self.chunks -= 1;
            self.metrics.log_lines_dropped.add(lines);
        }
        true
    }

    fn fresh(&mut self) -> Option<Chunk> {
        if let Ok(chunk) = self.empty.try_recv() {
            return Some(chunk);
        }
        (self.chunks < CHUNKS_MAX).then(|| {
            self.chunks += 1;
            Chunk::default()
        })
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if self.chunk.lines == 0 {
            return;
        }
        let chunk = Chunk { bytes: std::mem::take(&mut self.chunk.bytes), lines: self.chunk.lines };
        let lines = chunk.lines;
        match self.full.try_send(chunk) {
            Ok(()) => self.metrics.log_lines.add(lines),
            Err(_) => self.metrics.log_lines_dropped.add(lines),
        }
    }
}

/// The writer's end.
#[derive(Debug)]
pub struct Collector {
    full: Receiver<Chunk>,
    empty: SyncSender<Chunk>,
    /// A chunk whose writing failed after so many octets.
    pending: Option<(Chunk, usize)>,
}

impl Collector {
    /// Writes what has arrived, at most [`CHUNKS_MAX`] chunks, and says how many octets that was. After an error nothing
    /// is lost: the next call goes on at the same octet.
    pub fn drain_into(&mut self, sink: &mut impl Write) -> io::Result<usize> {
        let mut total = 0;
        for _ in 0..CHUNKS_MAX {
            let Some((chunk, from)) = self.pending.take().or_else(|| Some((self.full.try_recv().ok()?, 0))) else {
                break;
            };
            total += self.write_chunk(chunk, from, sink)?;
        }
        Ok(total)
    }

    fn write_chunk(&mut self, mut chunk: Chunk, from: usize, sink: &mut impl Write) -> io::Result<usize> {
        let mut at = from;
        while at < chunk.bytes.len() {
            match sink.write(&chunk.bytes[at..]) {
                Ok(0) => return self.keep(chunk, at, io::ErrorKind::WriteZero.into()),
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.keep(chunk, at, error),
            }
        }
        chunk.bytes.clear();
        chunk.lines = 0;
        // Room for every chunk there is; refused only when the shard is gone.
        let _ = self.empty.try_send(chunk);
        Ok(at - from)
    }

    fn keep(&mut self, chunk: Chunk, at: usize, error: io::Error) -> io::Result<usize> {
        self.pending = Some((chunk, at));
        Err(error)
    }
}
