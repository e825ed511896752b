//! What concerns the process as a whole and needs the kernel: inherited descriptors, the size of pages, and who goes first
//! on a CPU.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// How much the calling thread yields to those of normal priority; the least weight is 19. One step: with five, a third of
/// the weight, a reload of 10,000 routes took 1.4 to 2.3 s beside saturated shards and clients on the same CPUs, with none
/// 0.7 s, and the requests served meanwhile did not tell them apart.
const NICENESS: libc::c_int = 1;

/// Owns descriptors that this process was started with. Each number must be named once in the life of the process.
pub fn own_descriptors(numbers: impl IntoIterator<Item = RawFd>) -> io::Result<Vec<OwnedFd>> {
    numbers.into_iter().map(own_descriptor).collect()
}

fn own_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks about a number, whatever it stands for.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by the contract of the caller nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Keeps the memory of this process in small pages. What connections and buffers leave free lies between what they
/// still use, and goes back to the system by the page.
pub fn avoid_huge_pages() -> io::Result<()> {
    // SAFETY: no memory is passed; the option takes a flag, and zeros for what it does not use.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the shards go first where this thread, or one that it starts from now on, competes with them for a CPU.
pub fn yield_to_shards() -> io::Result<()> {
    yield_by(NICENESS)
}

/// The same by so many steps.
pub(super) fn yield_by(niceness: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is passed. On Linux 0 is the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_not_open_is_refused() {
        assert!(own_descriptors([1_000_000]).is_err());
    }
}
