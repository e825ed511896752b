//! Readiness for the sockets of both peers, level-triggered.

use std::io::Result;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::sys;

/// Events taken from the kernel at once. An open-loop client takes fewer, to look at its clock in between.
const EVENTS_MAX: usize = 256;

const ROLE_SHIFT: u32 = 32;
const ROLE_COMMAND: u64 = 0;
const ROLE_LISTENER: u64 = 1;
const ROLE_BACKEND: u64 = 2;
const ROLE_CLIENT: u64 = 3;

/// Whose socket is ready.
#[derive(Clone, Copy)]
pub enum Token {
    Command,
    Listener(usize),
    Backend(usize),
    Client(usize),
}

impl Token {
    fn encode(self) -> u64 {
        match self {
            Self::Command => ROLE_COMMAND << ROLE_SHIFT,
            Self::Listener(id) => ROLE_LISTENER << ROLE_SHIFT | id as u64,
            Self::Backend(id) => ROLE_BACKEND << ROLE_SHIFT | id as u64,
            Self::Client(id) => ROLE_CLIENT << ROLE_SHIFT | id as u64,
        }
    }

    fn decode(data: u64) -> Self {
        let id = data as u32 as usize;
        match data >> ROLE_SHIFT {
            ROLE_COMMAND => Self::Command,
            ROLE_LISTENER => Self::Listener(id),
            ROLE_BACKEND => Self::Backend(id),
            _ => Self::Client(id),
        }
    }
}

pub struct Poller {
    epoll: RawFd,
    events: [sys::Event; EVENTS_MAX],
    /// At most this many events per call.
    pub batch: usize,
}

impl Poller {
    pub fn new() -> Result<Self> {
        Ok(Self { epoll: sys::epoll()?, events: [sys::Event::default(); EVENTS_MAX], batch: EVENTS_MAX })
    }

    pub fn add(&self, fd: RawFd, token: Token) -> Result<()> {
        sys::epoll_add(self.epoll, fd, token.encode())
    }

    /// The number of ready sockets; none when the wait was interrupted.
    pub fn wait(&mut self, timeout: Duration) -> usize {
        let batch = self.batch.clamp(1, EVENTS_MAX);
        // Rounded up, or the last millisecond before a deadline would spin.
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000) as i32;
        sys::epoll_ready(self.epoll, &mut self.events[..batch], milliseconds).unwrap_or(0)
    }

    pub fn token(&self, index: usize) -> Token {
        Token::decode(self.events[index].data)
    }
}
