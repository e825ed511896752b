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
use crate::observe::{CHUNK_BYTES, Collector, Registry};

/// Between two looks when little is written: a line is seen this much later.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks when much is written.
const LOOK_BUSY: Duration = Duration::from_millis(10);
/// A look that found more than this from one shard, on average, was late: a shard writes 50 MB/s at most, and what it may
/// keep must outlast a pause and the wait for a CPU that the shard saturates.
const BUSY_BYTES: usize = CHUNK_BYTES * 4;
/// Tries to write what is left at the end, where each fails at once.
const FINAL_TRIES_MAX: usize = 100;
/// The log may hold what is not for everybody.
const FILE_MODE: u32 = 0o640;

/// Where lines go.
pub(super) struct Sink {
    target: LogTarget,
    file: Option<File>,
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
        Ok(Self { target: target.clone(), file })
    }

    /// Where the lines of this configuration go.
    pub fn target_of(log: Option<&AccessLog>) -> LogTarget {
        log.map_or(LogTarget::Off, |log| log.to.value.clone())
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Ok(bytes.len()),
        }
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
            let written = self.look();
            pause = if written > BUSY_BYTES * self.collectors.len() { LOOK_BUSY } else { LOOK };
        }
    }

    /// Writes what has arrived; returns how much that was.
    fn look(&mut self) -> usize {
        let mut total = 0;
        for collector in &mut self.collectors {
            match collector.drain_into(&mut self.sink) {
                Ok(written) => total += written,
                Err(error) => {
                    self.failed(&error);
                    return total;
                }
            }
        }
        self.failing = false;
        self.registry.control().log_bytes.add(total as u64);
        total
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Text;
    use crate::observe::{Bounds, LineFormat, Outbox, Record, outbox};
    use std::os::unix::fs::PermissionsExt;
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
        let sink = Sink { target: LogTarget::Stdout, file: Some(File::from(std::os::fd::OwnedFd::from(pipe))) };
        let writer = LogWriter::start(vec![collector], sink, registry).unwrap();
        assert!(!writer.finish(Duration::from_millis(200)));
    }

    #[test]
    fn nowhere_is_a_target_too() {
        assert_eq!(Sink::open(&LogTarget::Off).unwrap().write(b"line").unwrap(), 4);
    }
}
