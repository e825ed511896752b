//! What the operator is told beside the access log: on standard error, by a thread of its own.
//!
//! Who speaks never waits for who reads, and never ends because of him: `eprintln!` waits where a pipe is full, and panics
//! where a pipe is closed or a disk is full. What is said meanwhile is kept up to a bound, then lost, and that is told.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// Texts that wait to be written.
const TEXTS_MAX: usize = 256;

/// Tells the operator one thing, in a line of its own. Never waits.
pub(super) fn tell(text: &str) {
    show(format!("tidegate: {text}\n"));
}

/// Shows the operator text that is made up already, if there is any. Never waits.
pub(super) fn show(text: String) {
    if let Some(teller) = teller().filter(|_| !text.is_empty()) {
        teller.say(text);
    }
}

/// Waits until everything is told, but not for long: whoever takes nothing from the pipe does not hold the end.
pub(super) fn settle(time: Duration) {
    if let Some(teller) = teller() {
        teller.settle(time);
    }
}

/// The one of this process. None where there can be none; nobody could be told of that either.
fn teller() -> Option<&'static Teller> {
    static TELLER: OnceLock<Option<Teller>> = OnceLock::new();
    // A duplicate: a write that waits must not hold the lock of the standard library's own handle.
    let start = || Teller::start(File::from(io::stderr().as_fd().try_clone_to_owned()?));
    TELLER.get_or_init(|| start().ok()).as_ref()
}

enum Said {
    Text {
        text: String,
        lost_before: u64,
    },
    /// Dropped once everything before it is written.
    Mark {
        _told: Sender<()>,
    },
}

struct Teller {
    said: SyncSender<Said>,
    /// Texts that found no room since the last that did.
    lost: AtomicU64,
}

impl Teller {
    fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (said, heard) = sync_channel(TEXTS_MAX);
        std::thread::Builder::new().name("tell".into()).spawn(move || write_all(&heard, sink))?;
        Ok(Self { said, lost: AtomicU64::new(0) })
    }

    fn say(&self, text: String) {
        let lost_before = self.lost.swap(0, Relaxed);
        if self.said.try_send(Said::Text { text, lost_before }).is_err() {
            self.lost.fetch_add(lost_before + 1, Relaxed);
        }
    }

    fn settle(&self, time: Duration) {
        let (told, wait) = channel();
        // Without room for it there is nobody who reads.
        if self.said.try_send(Said::Mark { _told: told }).is_ok() {
            let _: Result<(), RecvTimeoutError> = wait.recv_timeout(time);
        }
    }
}

/// Writes what is said, for ever. Whom a write does not reach cannot be told so.
fn write_all(heard: &Receiver<Said>, mut sink: impl Write) {
    for said in heard {
        let Said::Text { text, lost_before } = said else { continue };
        if lost_before > 0 {
            let _ =
                sink.write_all(format!("tidegate: {lost_before} messages were lost: nobody took them\n").as_bytes());
        }
        let _ = sink.write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Longer than anything takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_said_is_told_before_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let teller = Teller::start(writer).unwrap();
        teller.say("one\n".into());
        teller.say("two\n".into());
        teller.settle(PATIENCE);
        let mut told = [0; 8];
        reader.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"one\ntwo\n");
    }

    #[test]
    fn who_reads_nothing_holds_nobody_and_learns_what_was_lost() {
        let (mut reader, writer) = io::pipe().unwrap();
        let teller = Teller::start(writer).unwrap();
        // One fills the pipe and holds the thread, many wait, and the rest finds no room.
        teller.say("x".repeat(1 << 20));
        let said = TEXTS_MAX as u64 + 100;
        (0..said).for_each(|n| teller.say(format!("{n}\n")));
        teller.settle(Duration::from_millis(1));
        let lost = teller.lost.load(Relaxed);
        assert!(lost >= 99, "{lost}");
        let reading = std::thread::spawn(move || {
            let mut told = String::new();
            reader.read_to_string(&mut told).unwrap();
            told
        });
        while teller.lost.load(Relaxed) > 0 {
            teller.say("at last\n".into());
            std::thread::yield_now();
        }
        drop(teller);
        let told = reading.join().unwrap();
        assert!(told.contains("messages were lost: nobody took them\nat last\n"), "{}", &told[1 << 20..]);
    }

    #[test]
    fn a_closed_pipe_ends_nobody() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let teller = Teller::start(writer).unwrap();
        for _ in 0..3 {
            teller.say("lost\n".into());
        }
        teller.settle(PATIENCE);
        assert_eq!(teller.lost.load(Relaxed), 0, "the thread lives and takes what is said");
    }
}
