//! Which driver this kernel lets us use, found out once per process by doing what a shard will do.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::str::FromStr;

use io_uring::{IoUring, opcode, squeue, types};

/// Rings of older kernels lack what we ask for.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Submission entries of the ring that is tried.
const PROBE_ENTRIES: u32 = 8;
/// How long one operation of the trial may take.
const PROBE_PATIENCE_SECONDS: u64 = 2;

/// What the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring where it works, else epoll.
    #[default]
    Auto,
    /// io_uring or no start.
    IoUring,
    Epoll,
}

impl FromStr for DriverChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            _ => Err(format!("`{text}` is no driver: auto, io_uring or epoll")),
        }
    }
}

/// What the shards run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A ring per shard. With `deferred`, completions wait for the shard to enter the kernel for them.
    IoUring {
        deferred: bool,
    },
    Epoll,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUring { deferred: false } => "io_uring",
            Self::IoUring { deferred: true } => "io_uring with deferred completions",
            Self::Epoll => "epoll",
        })
    }
}

/// The driver of every shard, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub driver: Driver,
    pub reason: String,
}

/// io_uring was asked for and cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("io_uring was asked for, but {reason}; allow it or start with `--driver auto`")]
pub struct ProbeError {
    pub reason: String,
}

/// Finds the driver that `choice` and this kernel allow. `deferred` asks for deferred completions, and is dropped
/// where they are refused.
pub fn probe(choice: DriverChoice, deferred: bool) -> Result<Verdict, ProbeError> {
    decide(choice, deferred, &kernel_release(), |deferred| {
        // On a thread of its own: a ring is taken down late, and interrupts the thread that made it.
        let trial = std::thread::spawn(move || try_ring(deferred));
        trial.join().unwrap_or_else(|_| Err("the trial of a ring panicked".to_owned()))
    })
}

fn decide(
    choice: DriverChoice,
    deferred: bool,
    release: &str,
    mut attempt: impl FnMut(bool) -> Result<(), String>,
) -> Result<Verdict, ProbeError> {
    if choice == DriverChoice::Epoll {
        return Ok(Verdict { driver: Driver::Epoll, reason: "it was asked for".to_owned() });
    }
    let wanted: &[bool] = if deferred { &[true, false] } else { &[false] };
    let mut refusal = None;
    if parse_release(release).is_none_or(|version| version < KERNEL_MIN) {
        refusal = Some(format!("kernel {release} is older than {}.{}", KERNEL_MIN.0, KERNEL_MIN.1));
    } else {
        for deferred in wanted.iter().copied() {
            match attempt(deferred) {
                Ok(()) => {
                    let driver = Driver::IoUring { deferred };
                    return Ok(Verdict { driver, reason: format!("a ring on kernel {release} passed its trial") });
                }
                Err(reason) => refusal = Some(reason),
            }
        }
    }
    let reason = refusal.unwrap_or_default();
    match choice {
        DriverChoice::IoUring => Err(ProbeError { reason }),
        _ => Ok(Verdict { driver: Driver::Epoll, reason }),
    }
}

/// The flags of every ring of ours: `entries` to submit, four times as many to complete.
pub(super) fn ring_builder(entries: u32, deferred: bool) -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_submit_all().setup_cqsize(entries * 4);
    if deferred {
        builder.setup_defer_taskrun();
    } else {
        builder.setup_coop_taskrun();
    }
    builder
}

/// Builds a ring and answers one connection through it.
fn try_ring(deferred: bool) -> Result<(), String> {
    let ring = ring_builder(PROBE_ENTRIES, deferred).build(PROBE_ENTRIES);
    let mut ring = ring.map_err(|error| format!("the kernel refuses a ring: {}", explain(&error)))?;
    echo_once(&mut ring).map_err(|error| format!("a round trip through a ring failed: {}", explain(&error)))
}

fn explain(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => " (seccomp or kernel.io_uring_disabled forbids it)",
        Some(libc::ENOSYS) => " (this kernel or sandbox has no io_uring)",
        Some(libc::EINVAL) => " (the kernel does not know what we ask of it)",
        Some(libc::ENOMEM) => " (raise the limit of locked memory)",
        _ => "",
    };
    format!("{error}{hint}")
}

/// Accepts, receives and sends over loopback, as a filter may allow rings and forbid the rest.
fn echo_once(ring: &mut IoUring) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.write_all(b"?")?;
    let descriptor = types::Fd(listener.as_raw_fd());
    let accepted = run(ring, opcode::Accept::new(descriptor, std::ptr::null_mut(), std::ptr::null_mut()).build())?;
    // SAFETY: the kernel has just given us this descriptor; nobody else knows it.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    let descriptor = types::Fd(accepted.as_raw_fd());
    // Leaked where an operation does not end in time: the kernel may still write to it.
    let octet = Box::leak(Box::new([0u8; 1]));
    let received = run(ring, opcode::Recv::new(descriptor, octet.as_mut_ptr(), 1).build())?;
    let sent = run(ring, opcode::Send::new(descriptor, octet.as_ptr(), 1).build())?;
    let mut answer = [0u8; 1];
    client.read_exact(&mut answer)?;
    if (received, sent, &answer) != (1, 1, b"?") {
        return Err(io::Error::other("what came back is not what was sent"));
    }
    Ok(())
}

/// Submits one operation and waits for its result.
fn run(ring: &mut IoUring, entry: squeue::Entry) -> io::Result<i32> {
    // SAFETY: the descriptors outlive the call, and the only memory an entry names is leaked.
    unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
    let patience = types::Timespec::new().sec(PROBE_PATIENCE_SECONDS);
    ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&patience))?;
    let completion = ring.completion().next().ok_or(io::ErrorKind::TimedOut)?;
    match completion.result() {
        error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
        result => Ok(result),
    }
}

fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Major and minor number of `6.18.44-fc-v669` or `6.1-rc2`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "6.18.44-fc-v669";

    fn refuse(_: bool) -> Result<(), String> {
        Err("the ring is refused".to_owned())
    }

    #[test]
    fn a_working_ring_is_used() {
        let verdict = decide(DriverChoice::Auto, false, NEW, |_| Ok(())).unwrap();
        assert_eq!(verdict.driver, Driver::IoUring { deferred: false });
    }

    #[test]
    fn a_refused_ring_falls_back_to_epoll_and_says_why() {
        let verdict = decide(DriverChoice::Auto, false, NEW, refuse).unwrap();
        assert_eq!(verdict, Verdict { driver: Driver::Epoll, reason: "the ring is refused".to_owned() });
    }

    #[test]
    fn a_refused_ring_that_was_asked_for_is_an_error() {
        assert_eq!(decide(DriverChoice::IoUring, false, NEW, refuse).unwrap_err().reason, "the ring is refused");
    }

    #[test]
    fn refused_deferral_is_dropped_not_the_ring() {
        let only_plain = |deferred: bool| if deferred { refuse(true) } else { Ok(()) };
        let verdict = decide(DriverChoice::Auto, true, NEW, only_plain).unwrap();
        assert_eq!(verdict.driver, Driver::IoUring { deferred: false });
    }

    #[test]
    fn an_old_kernel_is_not_even_tried() {
        let verdict = decide(DriverChoice::Auto, false, "5.15.0-91", |_| panic!("tried")).unwrap();
        assert_eq!(verdict.driver, Driver::Epoll);
    }

    #[test]
    fn releases_are_read_whatever_follows_them() {
        assert_eq!(parse_release("6.1-rc2"), Some((6, 1)));
        assert_eq!(parse_release(NEW), Some((6, 18)));
        assert_eq!(parse_release("mystery"), None);
    }

    #[test]
    fn the_probe_of_this_kernel_gives_a_reason() {
        assert!(!probe(DriverChoice::Auto, false).unwrap().reason.is_empty());
    }
}
