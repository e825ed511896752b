//! Writing the access log: one plain thread takes the shards' chunks and gives each to the kernel in one call.
//!
//! It looks at the shards at intervals instead of being woken for every chunk; under load a look finds many. No shard
//! ever waits for it: one that it leaves behind drops lines and counts them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::{AccessLog, LogTarget};
use crate::observe::{CHUNK_BYTES, CHUNKS_MAX, Collector, LINE_BYTES_MAX, Registry};

/// Between two looks when little is written: a line is seen this much later.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks when much is written.
const LOOK_BUSY: Duration = Duration::from_millis(10);
/// A look that found more than this from one shard was late.
const BUSY_BYTES: usize = CHUNK_BYTES * 4;
/// What a shard writes that saturates its CPU with short exchanges: 46 MB, and some room.
const SATURATED_BYTES_PER_SECOND: u128 = 50_000_000;
/// How long this thread may wait for a CPU that shards saturate, before anything is lost.
const TURN_MAX: Duration = Duration::from_millis(90);
const _: () = {
    let kept = SATURATED_BYTES_PER_SECOND * (LOOK.as_millis() + TURN_MAX.as_millis()) / 1000;
    // A chunk with less room than a line may need is full.
    let room = CHUNKS_MAX * (CHUNK_BYTES - LINE_BYTES_MAX);
    assert!(kept <= room as u128, "a shard keeps what it writes until the writer has its turn");
};
/// Tries to write what is left at the end, where each fails at once.
const FINAL_TRIES_MAX: usize = 100;
/// The log may hold what is not for everybody.
const FILE_MODE: u32 = 0o640;

/// Where lines go.
pub(super) struct Sink {
    target: LogTarget,
    file: Option<File>,
    /// Octets taken and not yet counted.
    taken: u64,
}

impl Sink {
    /// Opens the target, for appending; a file is created if it is not there.
    pub fn open(target: &LogTarget) -> io::Result<Self> {
        let file = match target {
            LogTarget::Off => None,
            // Duplicates, as the standard library's own handles write line by line.
            LogTarget::Stdout => Some(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            LogTarget::Stderr => Some(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
            LogTarget::File(path) => {
                Some(OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path.as_str())?)
            }
        };
        Ok(Self { target: target.clone(), file, taken: 0 })
    }

    /// Where the lines of this configuration go.
    pub fn target_of(log: Option<&AccessLog>) -> LogTarget {
        log.map_or(LogTarget::Off, |log| log.to.value.clone())
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.file {
            Some(file) => file.write(bytes)?,
            None => bytes.len(),
        };
        self.taken += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Order {
    Reopen,
    Replace(Sink),
    Finish,
}

/// The control side's end of the thread.
pub(super) struct LogWriter {
    orders: Sender<Order>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl LogWriter {
    /// Starts the thread.
    pub fn start(collectors: Vec<Collector>, sink: Sink, registry: Arc<Registry>) -> io::Result<Self> {
        let (orders, told) = channel();
        let (end, ended) = channel();
        let writer = Writer { collectors, sink, registry, failing: false };
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            writer.run(&told);
            drop(end);
        })?;
        Ok(Self { orders, ended: Mutex::new(ended) })
    }

    /// Opens the file anew, after its rotation.
    pub fn reopen(&self) {
        // Refused only when the thread has ended, and then there is nothing left to write.
        let _ = self.orders.send(Order::Reopen);
    }

    /// Writes to `sink` from now on.
    pub fn replace(&self, sink: Sink) {
        let _ = self.orders.send(Order::Replace(sink));
    }

    /// Writes what has been handed over so far and ends; whether it has, before `time` was over. A pipe that nobody reads
    /// holds the thread for ever, but not the process.
    pub fn finish(&self, time: Duration) -> bool {
        let _ = self.orders.send(Order::Finish);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(ended.recv_timeout(time), Err(RecvTimeoutError::Disconnected))
    }
}

struct Writer {
    collectors: Vec<Collector>,
    sink: Sink,
    registry: Arc<Registry>,
    /// Whether the last write failed; only the first of a row is told.
    failing: bool,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut pause = LOOK;
        loop {
            match orders.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Reopen) => self.reopen(),
                Ok(Order::Replace(sink)) => self.replace(sink),
                Ok(Order::Finish) | Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
            pause = pause_after(self.look());
        }
    }

    /// Writes what has arrived; returns how much that was from the shard that wrote the most.
    fn look(&mut self) -> usize {
        let mut most = 0;
        let mut drain = |collector: &mut Collector| collector.drain_into(&mut self.sink).map(|n| most = most.max(n));
        let outcome = self.collectors.iter_mut().try_for_each(&mut drain);
        self.registry.control().log_bytes.add(std::mem::take(&mut self.sink.taken));
        match outcome {
            Ok(()) => self.failing = false,
            Err(error) => self.failed(&error),
        }
        most
    }

    fn failed(&mut self, error: &io::Error) {
        self.registry.control().log_write_errors.increment();
        if !std::mem::replace(&mut self.failing, true) {
            eprintln!("tidegate: the access log cannot be written: {error}; lines are kept, then dropped and counted");
        }
    }

    fn reopen(&mut self) {
        self.look();
        match Sink::open(&self.sink.target) {
            Ok(sink) => self.sink = sink,
            Err(error) => eprintln!("tidegate: the access log cannot be reopened: {error}; the old file is kept"),
        }
    }

    /// What came before goes to the old sink.
    fn replace(&mut self, sink: Sink) {
        self.look();
        self.sink = sink;
    }

    fn finish(mut self) {
        for _ in 0..FINAL_TRIES_MAX {
            if self.look() == 0 && !self.failing {
                break;
            }
            if self.failing {
                std::thread::sleep(LOOK_BUSY);
            }
        }
        let _ = self.sink.flush();
    }
}

/// How long until the next look, after one that found so much from one shard.
fn pause_after(most: usize) -> Duration {
    if most > BUSY_BYTES { LOOK_BUSY } else { LOOK }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::config::Text;
    use crate::observe::{Bounds, LineFormat, Outbox, Record, outbox};
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    /// Longer than the end takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn start(path: &Path) -> (LogWriter, Outbox) {
        let registry = Arc::new(Registry::new(1, Bounds::default()));
        let (outbox, collector) = outbox(registry.shard(0));
        let sink = Sink::open(&file(path)).unwrap();
        (LogWriter::start(vec![collector], sink, registry).unwrap(), outbox)
    }

    fn file(path: &Path) -> LogTarget {
        LogTarget::File(Text::unwritten(path.display().to_string()))
    }

    fn to_descriptor(end: impl Into<OwnedFd>) -> Sink {
        Sink { target: LogTarget::Stdout, file: Some(File::from(end.into())), taken: 0 }
    }

    fn write(outbox: &mut Outbox) {
        let format = LineFormat::compile(&["status"]).unwrap();
        outbox.write(&format, &Record { status: 200, ..Record::default() }, Default::default());
        outbox.flush();
    }

    #[test]
    fn everything_handed_over_is_written_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (writer, mut outbox) = start(&path);
        write(&mut outbox);
        assert!(writer.finish(PATIENCE));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"status\":200}\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
    }

    #[test]
    fn after_a_rotation_lines_go_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
        let (writer, mut outbox) = start(&path);
        write(&mut outbox);
        std::fs::rename(&path, &rotated).unwrap();
        writer.reopen();
        // Only once the file is there again has the order been obeyed.
        while !path.exists() {
            std::thread::yield_now();
        }
        write(&mut outbox);
        assert!(writer.finish(PATIENCE));
        for path in [&path, &rotated] {
            assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"status\":200}\n");
        }
    }

    #[test]
    fn a_new_target_takes_the_lines_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("log"), folder.path().join("other"));
        let (writer, mut outbox) = start(&path);
        write(&mut outbox);
        writer.replace(Sink::open(&file(&other)).unwrap());
        assert!(writer.finish(PATIENCE));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"status\":200}\n");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "");
    }

    #[test]
    fn a_pipe_that_nobody_reads_does_not_hold_the_end() {
        let (_reader, pipe) = io::pipe().unwrap();
        let registry = Arc::new(Registry::new(1, Bounds::default()));
        let (mut outbox, collector) = outbox(registry.shard(0));
        let format = LineFormat::compile(&["status"]).unwrap();
        // More than a pipe takes.
        for _ in 0..6_000 {
            outbox.write(&format, &Record { status: 200, ..Record::default() }, Default::default());
        }
        outbox.flush();
        let sink = to_descriptor(pipe);
        let writer = LogWriter::start(vec![collector], sink, registry).unwrap();
        assert!(!writer.finish(Duration::from_millis(200)));
    }

    #[test]
    fn the_next_look_is_sooner_once_a_shard_has_written_much() {
        assert_eq!((pause_after(0), pause_after(BUSY_BYTES)), (LOOK, LOOK));
        assert_eq!(pause_after(BUSY_BYTES + 1), LOOK_BUSY);
    }

    #[test]
    fn one_busy_shard_among_idle_ones_is_busy() {
        let registry = Arc::new(Registry::new(16, Bounds::default()));
        let (mut outboxes, collectors): (Vec<_>, Vec<_>) = (0..16).map(|n| outbox(registry.shard(n))).unzip();
        let format = LineFormat::compile(&["path"]).unwrap();
        for _ in 0..2 * BUSY_BYTES / 1000 {
            outboxes[7].write(&format, &Record { path: &[b'a'; 1000], ..Record::default() }, Default::default());
        }
        let mut writer = Writer { collectors, sink: Sink::open(&LogTarget::Off).unwrap(), registry, failing: false };
        assert_eq!(pause_after(writer.look()), LOOK_BUSY);
        assert_eq!(pause_after(writer.look()), LOOK);
    }

    #[test]
    fn a_saturated_shard_loses_nothing_while_the_writer_has_its_turn() {
        let registry = Registry::new(1, Bounds::default());
        let (mut outbox, mut collector) = outbox(registry.shard(0));
        let format = LineFormat::compile(&["path"]).unwrap();
        let record = Record { path: &[b'a'; 1000], ..Record::default() };
        let nanos_per_line = 1_000_000_000 * (1000 + "{'path':''}\n".len() as u64) / SATURATED_BYTES_PER_SECOND as u64;
        let at = |elapsed: Duration| Timestamp::from_nanos(elapsed.as_nanos() as u64);
        let (mut now, mut next_look) = (Duration::ZERO, LOOK + TURN_MAX);
        while now < Duration::from_secs(1) {
            outbox.write(&format, &record, at(now));
            now += Duration::from_nanos(nanos_per_line);
            if now >= next_look {
                next_look = now + pause_after(collector.drain_into(&mut io::sink()).unwrap()) + TURN_MAX;
            }
        }
        assert_eq!(registry.shard(0).log_lines_dropped.value(), 0);
    }

    #[test]
    fn what_is_written_before_a_failure_is_counted() {
        let (mut reader, end) = UnixStream::pair().unwrap();
        for stream in [&reader, &end] {
            stream.set_nonblocking(true).unwrap();
        }
        let registry = Arc::new(Registry::new(1, Bounds::default()));
        let (mut outbox, collector) = outbox(registry.shard(0));
        let format = LineFormat::compile(&["path"]).unwrap();
        // More than a socket takes.
        for _ in 0..4000 {
            outbox.write(&format, &Record { path: &[b'a'; 1000], ..Record::default() }, Default::default());
        }
        let mut writer = Writer { collectors: vec![collector], sink: to_descriptor(end), registry, failing: false };
        writer.look();
        assert!(writer.failing);
        let mut taken = Vec::new();
        // It ends with an error as well: nothing more is there yet.
        let _ = reader.read_to_end(&mut taken);
        assert_eq!(writer.registry.control().log_bytes.value(), taken.len() as u64);
        assert!(!taken.is_empty());
    }

    #[test]
    fn nowhere_is_a_target_too() {
        assert_eq!(Sink::open(&LogTarget::Off).unwrap().write(b"line").unwrap(), 4);
    }
}
