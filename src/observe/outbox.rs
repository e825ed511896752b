//! The way of log lines from a shard to the writer: chunks by a bounded channel, empty ones back by another.
//!
//! Neither end ever waits for the other. At most [`CHUNKS_MAX`] chunks exist for a shard; while the writer holds all of
//! them, lines are dropped and counted. In steady state nothing is allocated: the same chunks go round. What a burst
//! needed beyond [`CHUNKS_KEPT`] is given back when less is written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::{LINE_BYTES_MAX, LineFormat, Record, ShardMetrics, Stamp};
use crate::base::Timestamp;

/// Room of one chunk.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks of one shard, in all places together: what a shard's log may hold in memory is this many chunks, 8 MiB.
pub const CHUNKS_MAX: usize = 128;
/// Chunks that stay when so little is written that they are handed over by age: one for the lines to come, the others
/// on their way.
const CHUNKS_KEPT: usize = 4;
/// How long a line may lie in a chunk that is not full.
pub const CHUNK_AGE_MAX: Duration = Duration::from_millis(100);

const _: () = assert!(LINE_BYTES_MAX <= CHUNK_BYTES / 4, "a chunk must hold several lines");

/// The two ends of one shard's way to the writer.
pub fn outbox(metrics: Arc<ShardMetrics>) -> (Outbox, Collector) {
    let (full_in, full_out) = sync_channel(CHUNKS_MAX);
    let (empty_in, empty_out) = sync_channel(CHUNKS_MAX);
    let chunk = Chunk::default();
    let stamp = Stamp::default();
    let outbox = Outbox { chunk, since: Timestamp::NEVER, chunks: 1, full: full_in, empty: empty_out, stamp, metrics };
    let collector = Collector { full: full_out, empty: empty_in, pending: None };
    (outbox, collector)
}

/// Whole lines, at the front of a room of [`CHUNK_BYTES`].
#[derive(Debug)]
struct Chunk {
    room: Vec<u8>,
    length: usize,
    lines: u64,
}

impl Default for Chunk {
    fn default() -> Self {
        Self { room: vec![0; CHUNK_BYTES], length: 0, lines: 0 }
    }
}

impl Chunk {
    /// Where the next line goes; none when the chunk is full.
    #[inline]
    fn window(&mut self) -> Option<&mut [u8; LINE_BYTES_MAX]> {
        self.room.get_mut(self.length..)?.first_chunk_mut()
    }

    fn is_full(&self) -> bool {
        CHUNK_BYTES - self.length < LINE_BYTES_MAX
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
    stamp: Stamp,
    metrics: Arc<ShardMetrics>,
}

impl Outbox {
    /// Writes a line, or drops and counts it where the writer is too far behind.
    #[inline(always)]
    pub fn write(&mut self, format: &LineFormat, record: &Record<'_>, now: Timestamp) {
        if self.chunk.is_full() {
            self.hand_over();
        }
        let Some(window) = self.chunk.window() else { return self.metrics.log_lines_dropped.increment() };
        self.chunk.length += format.write(record, &mut self.stamp, window);
        self.chunk.lines += 1;
        if self.chunk.lines == 1 {
            self.since = now;
        }
        self.hand_over_old(now);
    }

    /// Hands over a chunk that lay long enough, and lets go of those that a burst has left behind. To be called at least
    /// as often as lines should become visible.
    pub fn tick(&mut self, now: Timestamp) {
        self.hand_over_old(now);
        if self.chunk.lines == 0 {
            self.give_back();
        }
    }

    #[inline]
    fn hand_over_old(&mut self, now: Timestamp) {
        if self.chunk.lines > 0 && now.nanos_since(self.since) >= CHUNK_AGE_MAX.as_nanos() as u64 {
            self.hand_over();
            self.give_back();
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
    fn hand_over(&mut self) {
        let Some(fresh) = self.fresh() else { return };
        let chunk = std::mem::replace(&mut self.chunk, fresh);
        let lines = chunk.lines;
        let sent = self.full.try_send(chunk).is_ok();
        if sent {
            self.metrics.log_lines.add(lines);
        } else {
            self.chunks -= 1;
            self.metrics.log_lines_dropped.add(lines);
        }
    }

    #[cold]
    fn give_back(&mut self) {
        while self.chunks > CHUNKS_KEPT && self.empty.try_recv().is_ok() {
            self.chunks -= 1;
        }
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
        let Chunk { lines, length, .. } = self.chunk;
        let chunk = Chunk { room: std::mem::take(&mut self.chunk.room), length, lines };
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
        while at < chunk.length {
            match sink.write(&chunk.room[at..chunk.length]) {
                Ok(0) => return self.keep(chunk, at, io::ErrorKind::WriteZero.into()),
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.keep(chunk, at, error),
            }
        }
        chunk.length = 0;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (Outbox, Collector, Arc<ShardMetrics>) {
        let metrics = Arc::new(ShardMetrics::default());
        let (outbox, collector) = outbox(metrics.clone());
        (outbox, collector, metrics)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn format() -> LineFormat {
        LineFormat::compile(&["path", "attempts"]).expect("known fields")
    }

    fn record(attempts: u32) -> Record<'static> {
        Record { path: b"/a/path/of/some/length/so/that/chunks/fill/up", attempts, ..Record::default() }
    }

    /// Takes so many octets at a time, and only as long as it has credit.
    struct Sluggish {
        taken: Vec<u8>,
        step: usize,
        credit: usize,
    }

    impl Write for Sluggish {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.step).min(self.credit);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.credit -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_waits_until_the_chunk_is_old_enough() {
        let (mut outbox, mut collector, metrics) = ends();
        let mut sink = Vec::new();
        outbox.write(&format(), &record(1), at(1000));
        outbox.tick(at(1099));
        assert_eq!(collector.drain_into(&mut sink).expect("a vector takes all"), 0);
        outbox.tick(at(1100));
        assert!(outbox.is_empty());
        assert!(collector.drain_into(&mut sink).expect("a vector takes all") > 0);
        assert_eq!((sink.ends_with(b"\"attempts\":1}\n"), metrics.log_lines.value()), (true, 1));
    }

    #[test]
    fn a_full_chunk_is_handed_over_at_once() {
        let (mut outbox, mut collector, _) = ends();
        let mut sink = Vec::new();
        for n in 0..2_000 {
            outbox.write(&format(), &record(n), at(1000));
        }
        collector.drain_into(&mut sink).expect("a vector takes all");
        assert!(sink.len() > CHUNK_BYTES - LINE_BYTES_MAX && sink.ends_with(b"\n"));
    }

    #[test]
    fn a_writer_that_takes_nothing_costs_lines_and_bounded_memory_but_never_a_wait() {
        let (mut outbox, mut collector, metrics) = ends();
        for n in 0..400_000 {
            outbox.write(&format(), &record(n), at(1000));
        }
        let dropped = metrics.log_lines_dropped.value();
        assert!(dropped > 0);
        assert_eq!((outbox.chunks, outbox.chunk.room.capacity()), (CHUNKS_MAX, CHUNK_BYTES));
        let mut sink = Vec::new();
        collector.drain_into(&mut sink).expect("a vector takes all");
        outbox.flush();
        collector.drain_into(&mut sink).expect("a vector takes all");
        let written = sink.iter().filter(|octet| **octet == b'\n').count() as u64;
        assert_eq!((written, written + dropped), (metrics.log_lines.value(), 400_000));
    }

    #[test]
    fn after_the_writer_has_caught_up_lines_are_taken_again() {
        let (mut outbox, mut collector, metrics) = ends();
        for n in 0..400_000 {
            outbox.write(&format(), &record(n), at(1000));
        }
        let dropped = metrics.log_lines_dropped.value();
        collector.drain_into(&mut io::sink()).expect("a sink takes all");
        for n in 0..1_000 {
            outbox.write(&format(), &record(n), at(1001));
        }
        assert_eq!((metrics.log_lines_dropped.value(), outbox.chunks), (dropped, CHUNKS_MAX));
    }

    #[test]
    fn what_a_burst_needed_is_given_back_when_it_is_quiet_and_when_less_is_written() {
        for quiet in [true, false] {
            let (mut outbox, mut collector, metrics) = ends();
            for n in 0..400_000 {
                outbox.write(&format(), &record(n), at(1000));
            }
            assert_eq!(outbox.chunks, CHUNKS_MAX);
            let dropped = metrics.log_lines_dropped.value();
            for round in 0..4 {
                collector.drain_into(&mut io::sink()).expect("a sink takes all");
                if quiet {
                    outbox.flush();
                    outbox.tick(at(1000));
                } else {
                    outbox.write(&format(), &record(1), at(1100 * (round + 1)));
                }
            }
            assert_eq!((outbox.chunks, metrics.log_lines_dropped.value()), (CHUNKS_KEPT, dropped), "{quiet}");
        }
    }

    #[test]
    fn the_same_chunks_go_round() {
        let (mut outbox, mut collector, _) = ends();
        for round in 0..100 {
            for n in 0..1_000 {
                outbox.write(&format(), &record(n), at(1000 + round));
            }
            collector.drain_into(&mut io::sink()).expect("a sink takes all");
        }
        assert!(outbox.chunks <= 4, "{}", outbox.chunks);
    }

    #[test]
    fn a_sink_that_fails_midway_gets_every_line_whole_and_once() {
        let (mut outbox, mut collector, _) = ends();
        let mut sink = Sluggish { taken: Vec::new(), step: 7, credit: 100 };
        for n in 0..100 {
            outbox.write(&format(), &record(n), at(1000));
        }
        outbox.flush();
        while collector.drain_into(&mut sink).is_err() {
            sink.credit = 100;
        }
        let text = String::from_utf8(sink.taken).expect("a log is UTF-8");
        let numbers: Vec<_> = text.lines().map(|l| l.rsplit([':', '}']).nth(1).map(str::to_owned)).collect();
        assert_eq!(numbers, (0..100).map(|n| Some(n.to_string())).collect::<Vec<_>>());
    }

    #[test]
    fn a_dropped_outbox_hands_over_what_is_left() {
        let (mut outbox, mut collector, metrics) = ends();
        outbox.write(&format(), &record(1), at(1000));
        drop(outbox);
        let mut sink = Vec::new();
        collector.drain_into(&mut sink).expect("a vector takes all");
        assert_eq!((sink.is_empty(), metrics.log_lines.value()), (false, 1));
    }

    #[test]
    fn lines_for_a_writer_that_is_gone_are_counted_as_dropped() {
        let (mut outbox, collector, metrics) = ends();
        drop(collector);
        for n in 0..10_000 {
            outbox.write(&format(), &record(n), at(1000));
        }
        outbox.flush();
        assert_eq!((metrics.log_lines.value(), metrics.log_lines_dropped.value()), (0, 10_000));
    }
}
