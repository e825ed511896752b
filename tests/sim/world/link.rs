//! A connection: two bounded pipes with a delay, and everything that can go wrong with them.
//!
//! It behaves like TCP where it matters to a proxy: octets arrive late and in pieces, a full pipe stops the sender, an
//! end of stream arrives behind the octets, closing with unread octets resets the peer, a write to a closed peer
//! succeeds once and brings a reset back, and a reset destroys what was not read yet.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::executor::{Executor, Half};

/// One end of a link: 0 has dialled, 1 was dialled.
pub type Side = usize;

/// What goes wrong with a direction, and after how many octets of it were read.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub after: u64,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug)]
pub enum FaultKind {
    /// Both sides see a reset.
    Reset,
    /// Nothing arrives for so long.
    Stall(Duration),
}

/// How a link behaves.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// From one end to the other.
    pub latency: Duration,
    /// Octets that fit between sender and reader, each way.
    pub room: usize,
    /// Reads bring 1 to so many octets at random; 0 for all there are.
    pub pieces: usize,
    /// Writes take 1 to so many octets at random; 0 for all that fit.
    pub sips: usize,
}

impl Default for Wire {
    fn default() -> Self {
        Self { latency: Duration::ZERO, room: 256 * 1024, pieces: 0, sips: 0 }
    }
}

/// One direction, from the side that writes to the other.
#[derive(Debug, Default)]
struct Way {
    octets: VecDeque<u8>,
    /// When how many of them arrive.
    arrivals: VecDeque<(u64, usize)>,
    /// When the end of stream arrives.
    end: Option<u64>,
    /// Octets read so far.
    read: u64,
    /// Octets written so far.
    written: u64,
    faults: Vec<Fault>,
    stalled_until: u64,
}

/// What concerns one end.
#[derive(Debug, Default)]
struct End {
    /// When a reset arrives here.
    reset: Option<u64>,
    /// Both halves were dropped.
    closed: bool,
    /// Both directions were ended from this side.
    aborted: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The earliest timer that looks at each half.
    timers: [u64; 2],
}

#[derive(Debug)]
struct State {
    /// By the side that writes.
    ways: [Way; 2],
    ends: [End; 2],
    wire: Wire,
    random: fastrand::Rng,
}

/// A connection between two sides.
#[derive(Debug)]
pub struct Link {
    state: RefCell<State>,
}

/// What became of an operation.
#[derive(Debug)]
pub enum Outcome {
    Done(io::Result<usize>),
    /// Not yet; look again at this time, or when woken.
    Later(u64),
}

impl Link {
    pub fn new(wire: Wire, seed: u64) -> Rc<Self> {
        let mut ways = [Way::default(), Way::default()];
        for way in &mut ways {
            way.octets.reserve(wire.room.min(1 << 20));
            way.arrivals.reserve(1024);
        }
        let mut ends = [End::default(), End::default()];
        for end in &mut ends {
            end.timers = [u64::MAX; 2];
        }
        let random = fastrand::Rng::with_seed(seed);
        Rc::new(Self { state: RefCell::new(State { ways, ends, wire, random }) })
    }

    /// Plans a fault of the direction that `writer` writes.
    pub fn fault(&self, writer: Side, fault: Fault) {
        self.state.borrow_mut().ways[writer].faults.push(fault);
    }

    /// Reads up to `max` octets that have arrived at `side`.
    pub fn read(&self, side: Side, now: u64, max: usize, out: &mut Vec<u8>) -> Outcome {
        let mut state = self.state.borrow_mut();
        let outcome = state.read(side, now, max, Some(out));
        state.wake_if_done(&outcome, 1 - side, Half::Writing);
        outcome
    }

    /// Whether a read at `side` would bring something.
    pub fn readable(&self, side: Side, now: u64) -> Outcome {
        self.state.borrow_mut().read(side, now, 1, None)
    }

    /// Takes what fits of `octets`.
    pub fn write(&self, side: Side, now: u64, octets: &[u8]) -> Outcome {
        let mut state = self.state.borrow_mut();
        let outcome = state.write(side, now, octets);
        state.wake_if_done(&outcome, 1 - side, Half::Reading);
        outcome
    }

    /// Ends the direction that `side` writes.
    pub fn finish(&self, side: Side, now: u64) {
        let mut state = self.state.borrow_mut();
        let arrival = now + state.latency();
        state.ways[side].end.get_or_insert(arrival);
        state.wake(1 - side, Half::Reading);
    }

    /// Ends both directions from `side`; its own operations end by themselves.
    pub fn abort(&self, side: Side, now: u64) {
        self.finish(side, now);
        let mut state = self.state.borrow_mut();
        state.ends[side].aborted = true;
        state.wake(side, Half::Reading);
        state.wake(side, Half::Writing);
    }

    /// Lets go of the link; what was not read resets the peer.
    pub fn close(&self, side: Side, now: u64) {
        self.finish(side, now);
        let mut state = self.state.borrow_mut();
        state.ends[side].closed = true;
        if !state.ways[1 - side].octets.is_empty() {
            state.reset_arrives(1 - side, now);
        }
        state.ways[1 - side].drain();
        state.wake(1 - side, Half::Writing);
    }

    /// Closes with a reset.
    pub fn reset(&self, side: Side, now: u64) {
        let mut state = self.state.borrow_mut();
        state.ends[side].closed = true;
        state.reset_arrives(1 - side, now);
    }

    /// Octets that `side` has written and nobody has read yet.
    pub fn unread(&self, side: Side) -> usize {
        self.state.borrow().ways[side].octets.len()
    }

    /// Octets that `side` has written altogether.
    pub fn written(&self, side: Side) -> u64 {
        self.state.borrow().ways[side].written
    }

    /// Has `waker` woken when something happens to this half.
    pub fn watch(&self, side: Side, half: Half, waker: &Waker) {
        let mut state = self.state.borrow_mut();
        let end = &mut state.ends[side];
        let place = if half == Half::Reading { &mut end.reader } else { &mut end.writer };
        if !place.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *place = Some(waker.clone());
        }
    }

    pub fn timer_fired(&self, side: Side, half: Half) {
        let mut state = self.state.borrow_mut();
        state.ends[side].timers[half as usize] = u64::MAX;
        state.wake(side, half);
    }
}

/// Has the half looked at when `at` has come.
pub fn look_at(executor: &Executor, link: &Rc<Link>, side: Side, half: Half, at: u64) {
    let sooner = {
        let timer = &mut link.state.borrow_mut().ends[side].timers[half as usize];
        let sooner = at < *timer;
        *timer = (*timer).min(at);
        sooner
    };
    if sooner {
        executor.look_at(at, link, side, half);
    }
}

impl Way {
    fn drain(&mut self) {
        self.octets.clear();
        self.arrivals.clear();
    }

    /// Octets that have arrived.
    fn arrived(&self, now: u64) -> usize {
        self.arrivals.iter().take_while(|(at, _)| *at <= now).map(|(_, count)| count).sum()
    }

    fn take(&mut self, count: usize, out: &mut Vec<u8>) {
        let (front, back) = self.octets.as_slices();
        let from_front = count.min(front.len());
        out.extend_from_slice(&front[..from_front]);
        out.extend_from_slice(&back[..count - from_front]);
        self.octets.drain(..count);
        self.read += count as u64;
        let mut left = count;
        while left > 0 {
            let Some(first) = self.arrivals.front_mut() else { return };
            let taken = left.min(first.1);
            first.1 -= taken;
            left -= taken;
            if first.1 == 0 {
                self.arrivals.pop_front();
            }
        }
    }

    /// The next fault: how many octets may still be read before it.
    fn next_fault(&self) -> Option<(usize, Fault)> {
        let ahead = |fault: &Fault| usize::try_from(fault.after.saturating_sub(self.read)).unwrap_or(usize::MAX);
        self.faults.iter().map(|fault| (ahead(fault), *fault)).min_by_key(|(ahead, _)| *ahead)
    }
}

impl State {
    fn latency(&self) -> u64 {
        self.wire.latency.as_nanos() as u64
    }

    fn wake(&mut self, side: Side, half: Half) {
        let end = &mut self.ends[side];
        let place = if half == Half::Reading { &end.reader } else { &end.writer };
        if let Some(waker) = place {
            waker.wake_by_ref();
        }
    }

    fn wake_if_done(&mut self, outcome: &Outcome, side: Side, half: Half) {
        if matches!(outcome, Outcome::Done(Ok(_))) {
            self.wake(side, half);
        }
    }

    fn reset_arrives(&mut self, side: Side, now: u64) {
        let arrival = now + self.latency();
        self.ends[side].reset.get_or_insert(arrival);
        self.wake(side, Half::Reading);
        self.wake(side, Half::Writing);
    }

    /// Whether the end itself is no longer any good.
    fn broken(&mut self, side: Side, now: u64) -> Option<io::ErrorKind> {
        let end = &self.ends[side];
        if end.aborted {
            return Some(io::ErrorKind::ConnectionAborted);
        }
        if end.reset.is_some_and(|at| at <= now) {
            self.ways[1 - side].drain();
            return Some(io::ErrorKind::ConnectionReset);
        }
        None
    }

    fn read(&mut self, side: Side, now: u64, max: usize, out: Option<&mut Vec<u8>>) -> Outcome {
        if let Some(kind) = self.broken(side, now) {
            return Outcome::Done(Err(kind.into()));
        }
        let writer = 1 - side;
        let allowed = match self.ways[writer].next_fault() {
            Some((0, fault)) => match self.strike(writer, fault, now) {
                Some(outcome) => return outcome,
                None => usize::MAX,
            },
            Some((ahead, _)) => ahead,
            None => usize::MAX,
        };
        let pieces = self.wire.pieces;
        let way = &mut self.ways[writer];
        if way.stalled_until > now {
            return Outcome::Later(way.stalled_until);
        }
        let count = way.arrived(now).min(max).min(allowed);
        if count > 0 {
            let Some(out) = out else { return Outcome::Done(Ok(count)) };
            let count = if pieces > 0 { self.random.usize(1..=count.min(pieces)) } else { count };
            way.take(count, out);
            return Outcome::Done(Ok(count));
        }
        if way.octets.is_empty() && way.end.is_some_and(|at| at <= now) {
            return Outcome::Done(Ok(0));
        }
        let next = [way.arrivals.front().map(|(at, _)| *at), way.end, self.ends[side].reset];
        Outcome::Later(next.into_iter().flatten().filter(|at| *at > now).min().unwrap_or(u64::MAX))
    }

    /// A fault happens; a stall lets the read go on later.
    fn strike(&mut self, writer: Side, fault: Fault, now: u64) -> Option<Outcome> {
        self.ways[writer].faults.retain(|planned| planned.after != fault.after);
        match fault.kind {
            FaultKind::Stall(time) => {
                self.ways[writer].stalled_until = now + time.as_nanos() as u64;
                None
            }
            FaultKind::Reset => {
                for end in &mut self.ends {
                    end.reset = Some(now);
                }
                for side in 0..2 {
                    self.wake(side, Half::Reading);
                    self.wake(side, Half::Writing);
                }
                self.ways[writer].drain();
                Some(Outcome::Done(Err(io::ErrorKind::ConnectionReset.into())))
            }
        }
    }

    fn write(&mut self, side: Side, now: u64, octets: &[u8]) -> Outcome {
        if let Some(kind) = self.broken(side, now) {
            return Outcome::Done(Err(kind.into()));
        }
        if self.ways[side].end.is_some() {
            return Outcome::Done(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let latency = self.latency();
        if self.ends[1 - side].closed {
            // The octets go out; what comes back is a reset.
            self.reset_arrives(side, now + latency);
            return Outcome::Done(Ok(octets.len()));
        }
        let way = &mut self.ways[side];
        let room = self.wire.room.saturating_sub(way.octets.len());
        let fits = room.min(octets.len());
        if fits == 0 {
            return Outcome::Later(self.ends[side].reset.unwrap_or(u64::MAX));
        }
        let count = if self.wire.sips > 0 { self.random.usize(1..=fits.min(self.wire.sips)) } else { fits };
        way.octets.extend(&octets[..count]);
        way.written += count as u64;
        match way.arrivals.back_mut() {
            Some((at, last)) if *at == now + latency => *last += count,
            _ => way.arrivals.push_back((now + latency, count)),
        }
        Outcome::Done(Ok(count))
    }
}
