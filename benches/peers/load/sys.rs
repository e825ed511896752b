//! The system calls `std` does not offer, each behind a safe function.

use std::ffi::{c_int, c_long, c_void};
use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

const SOCK_STREAM: c_int = 1;
const SOCK_CLOEXEC: c_int = 0o2_000_000;
const AF_INET: c_int = 2;
const IPPROTO_IP: c_int = 0;
const IP_BIND_ADDRESS_NO_PORT: c_int = 24;
const EPOLL_CLOEXEC: c_int = 0o2_000_000;
const EPOLL_CTL_ADD: c_int = 1;
const EPOLLIN: u32 = 1;
const RLIMIT_NOFILE: c_int = 7;
const CPUCLOCK_SCHED: c_int = 2;

#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
pub struct Event {
    events: u32,
    pub data: u64,
}

#[repr(C)]
#[derive(Default)]
struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

#[repr(C)]
struct Address {
    family: u16,
    port: u16,
    address: u32,
    zero: [u8; 8],
}

#[repr(C)]
#[derive(Default)]
struct Limit {
    current: u64,
    maximum: u64,
}

unsafe extern "C" {
    fn epoll_create1(flags: c_int) -> c_int;
    fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut Event) -> c_int;
    fn epoll_wait(epoll: c_int, events: *mut Event, max: c_int, timeout: c_int) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(fd: c_int, address: *const Address, length: u32) -> c_int;
    fn connect(fd: c_int, address: *const Address, length: u32) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut Limit) -> c_int;
    fn setrlimit(resource: c_int, limit: *const Limit) -> c_int;
    fn sched_setaffinity(pid: c_int, size: usize, mask: *const u64) -> c_int;
    fn getppid() -> c_int;
}

fn checked(result: c_int) -> Result<c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

pub fn epoll() -> Result<RawFd> {
    // SAFETY: no pointer is passed.
    checked(unsafe { epoll_create1(EPOLL_CLOEXEC) })
}

pub fn epoll_add(epoll: RawFd, fd: RawFd, data: u64) -> Result<()> {
    let mut event = Event { events: EPOLLIN, data };
    // SAFETY: `event` outlives the call, which copies it.
    checked(unsafe { epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
}

pub fn epoll_ready(epoll: RawFd, events: &mut [Event], milliseconds: c_int) -> Result<usize> {
    // SAFETY: the kernel writes at most `events.len()` entries.
    let ready = checked(unsafe { epoll_wait(epoll, events.as_mut_ptr(), events.len() as c_int, milliseconds) })?;
    Ok(ready as usize)
}

/// Connects from `source` to `target`; on loopback the handshake is over when this returns.
pub fn connect_from(source: Ipv4Addr, target: SocketAddrV4) -> Result<TcpStream> {
    // SAFETY: no pointer is passed.
    let fd = checked(unsafe { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) })?;
    // SAFETY: `fd` was just opened and has no other owner.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    let one: c_int = 1;
    let size = size_of::<Address>() as u32;
    let local = raw_address(SocketAddrV4::new(source, 0));
    let remote = raw_address(target);
    // SAFETY: every pointer refers to a live value of the length given.
    unsafe {
        checked(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, (&raw const one).cast(), 4))?;
        checked(bind(stream.as_raw_fd(), &local, size))?;
        checked(connect(stream.as_raw_fd(), &remote, size))?;
    }
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

fn raw_address(address: SocketAddrV4) -> Address {
    let ip = u32::from_ne_bytes(address.ip().octets());
    Address { family: AF_INET as u16, port: address.port().to_be(), address: ip, zero: [0; 8] }
}

/// The CPU time a whole process has used, all its threads included, those that ended too.
pub fn process_cpu_ns(pid: i32) -> Result<u64> {
    let mut time = Timespec::default();
    // SAFETY: `time` is a live, writable timespec.
    checked(unsafe { clock_gettime((!pid << 3) | CPUCLOCK_SCHED, &mut time) })?;
    Ok(time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64)
}

/// Raises the descriptor limit to the hard limit; what fails then fails where a descriptor is missing.
pub fn raise_descriptor_limit() {
    let mut limit = Limit::default();
    // SAFETY: `limit` is a live, writable rlimit.
    unsafe {
        if getrlimit(RLIMIT_NOFILE, &mut limit) == 0 {
            limit.current = limit.maximum;
            setrlimit(RLIMIT_NOFILE, &limit);
        }
    }
}

/// Pins the calling thread to `cpu`, one of the first 64.
pub fn pin_thread(cpu: usize) -> Result<()> {
    let mask = 1u64 << (cpu % 64);
    // SAFETY: `mask` is a live value of the length given; pid 0 means the calling thread.
    checked(unsafe { sched_setaffinity(0, size_of::<u64>(), &mask) }).map(drop)
}

/// The cheapest system call there is.
pub fn trivial() {
    // SAFETY: no argument, no effect.
    let _ = unsafe { getppid() };
}
