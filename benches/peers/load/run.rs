//! The ways to load a proxy: closed loop, open loop, and idle connections. Every loop here ends by the clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::World;
use crate::command::Command;
use crate::probe::Sample;

/// A run with more faults than this is over: it measures nothing.
const FAULTS_MAX: u64 = 1_000;

/// What is still in flight at the end has this long to be answered.
const DRAIN: Duration = Duration::from_secs(2);

/// Opening idle connections takes no longer than this.
const OPENING: Duration = Duration::from_secs(60);

/// Requests that may wait for a free connection in an open loop; more means the proxy cannot keep the rate.
const BACKLOG_MAX: usize = 100_000;

/// Samples kept of one window: 60 seconds at 100,000 a second.
const SAMPLES_MAX: usize = 6_000_000;

/// Room reserved before a run, so that a window rarely grows it.
const SAMPLES_EXPECTED: usize = 1 << 20;

/// Events an open-loop client handles before it looks at its clock again.
const OPEN_BATCH: usize = 1;

/// One measured stretch of a run: it begins after the warm-up and ends by the clock.
struct Window {
    begin: Instant,
    end: Instant,
    pids: Vec<i32>,
    first: Option<Sample>,
    last: Option<Sample>,
    latencies_ns: Vec<u32>,
    answered: u64,
    unanswered: usize,
}

impl Window {
    fn of(command: &Command) -> Result<Self, String> {
        let begin = Instant::now() + command.seconds("warmup", 0.5)?;
        let end = begin + command.seconds("seconds", 2.0)?;
        let pids = command.pids()?;
        let latencies_ns = Vec::with_capacity(SAMPLES_EXPECTED);
        Ok(Self { begin, end, pids, first: None, last: None, latencies_ns, answered: 0, unanswered: 0 })
    }

    /// Takes the samples at the two edges; says whether the window is over.
    fn edge(&mut self, now: Instant, load_idle: Duration) -> bool {
        if self.first.is_none() && now >= self.begin {
            self.first = Some(Sample::take(&self.pids, load_idle));
        }
        if self.last.is_none() && now >= self.end {
            self.last = Some(Sample::take(&self.pids, load_idle));
        }
        self.last.is_some()
    }

    /// Counts answers given inside the window; their latency runs from the instant they were due.
    fn collect(&mut self, world: &mut World) {
        let inside = self.first.is_some() && self.last.is_none();
        for answer in world.client.answers.drain(..) {
            if inside {
                self.answered += 1;
                self.record(answer.at - answer.due);
            }
        }
    }

    fn record(&mut self, latency: Duration) {
        if self.latencies_ns.len() < SAMPLES_MAX {
            self.latencies_ns.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
        }
    }

    fn report(&mut self, world: &World, extra: &str) -> String {
        let machine = match (&self.first, &self.last) {
            (Some(first), Some(last)) => first.until(last),
            _ => "\"incomplete\":true".to_owned(),
        };
        let client = &world.client;
        format!(
            "{{\"requests\":{},\"total\":{},\"failed\":{},\"faults\":{},\"opened\":{},\"closed_by_peer\":{},\
             \"backend_accepted\":{},\"latency_us\":{},{machine}{extra}}}",
            self.answered,
            client.answered,
            client.faults() + self.unanswered as u64,
            client.faults_json(),
            client.opened,
            client.closed_by_peer,
            world.backend.accepted,
            quantiles_us(&mut self.latencies_ns),
        )
    }
}

/// Keeps every connection busy: the next request leaves when the answer is in.
///
/// It spins: a peer that sleeps must be woken, and the proxy would pay for that, a fast one less than a slow one.
pub fn closed(world: &mut World, command: &Command) -> Result<String, String> {
    let connections = command.value("connections", 64)?;
    world.backend.accepted = 0;
    world.client.open(command.target()?, connections, command.work()?, &world.poller);
    let mut window = Window::of(command)?;
    while !window.edge(Instant::now(), world.idle) && world.client.faults() <= FAULTS_MAX {
        while let Some(id) = world.client.free.pop_front() {
            world.client.send(id, Instant::now(), &world.poller);
        }
        world.client.flush(&world.poller);
        world.turn(Duration::ZERO);
        window.collect(world);
    }
    window.unanswered = drain(world);
    let report = window.report(world, "");
    world.client.close();
    Ok(report)
}

/// Sends at instants fixed in advance, whatever the proxy does; spins, so that it sends on time.
pub fn open(world: &mut World, command: &Command) -> Result<String, String> {
    let rate: f64 = command.value("rate", 1000.0)?;
    if !(1.0..=1_000_000.0).contains(&rate) {
        return Err(format!("rate={rate} is out of range"));
    }
    world.backend.accepted = 0;
    world.client.open(command.target()?, command.value("connections", 64)?, command.work()?, &world.poller);
    let mut window = Window::of(command)?;
    let mut schedule = Schedule::new(Duration::from_secs_f64(1.0 / rate));
    world.poller.batch = OPEN_BATCH;
    while !window.edge(Instant::now(), world.idle) && schedule.backlog.len() < BACKLOG_MAX {
        schedule.send_what_is_due(world, window.first.is_some());
        world.client.flush(&world.poller);
        world.turn(Duration::ZERO);
        window.collect(world);
    }
    window.unanswered = schedule.backlog.len() + drain(world);
    world.poller.batch = usize::MAX;
    let extra = format!(",\"lag_us\":{},\"queued\":{}", quantiles_us(&mut schedule.lags_ns), schedule.queued);
    let report = window.report(world, &extra);
    world.client.close();
    Ok(report)
}

/// When requests are due, and those that still wait for a free connection.
struct Schedule {
    next: Instant,
    interval: Duration,
    backlog: VecDeque<Instant>,
    /// Requests that found no free connection: the proxy's fault, and part of its latency.
    queued: u64,
    /// How late the others left: this generator's own fault.
    lags_ns: Vec<u32>,
}

impl Schedule {
    fn new(interval: Duration) -> Self {
        let lags_ns = Vec::with_capacity(SAMPLES_EXPECTED);
        Self { next: Instant::now(), interval, backlog: VecDeque::new(), queued: 0, lags_ns }
    }

    fn send_what_is_due(&mut self, world: &mut World, measured: bool) {
        while let Some(&due) = self.backlog.front()
            && let Some(id) = world.client.free.pop_front()
        {
            self.backlog.pop_front();
            world.client.send(id, due, &world.poller);
        }
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let due = self.next;
        self.next += self.interval;
        let Some(id) = world.client.free.pop_front() else {
            self.queued += u64::from(measured);
            return self.backlog.push_back(due);
        };
        if measured && self.lags_ns.len() < SAMPLES_MAX {
            self.lags_ns.push(u32::try_from((now - due).as_nanos()).unwrap_or(u32::MAX));
        }
        world.client.send(id, due, &world.poller);
    }
}

/// Waits for what is in flight; returns what never came.
fn drain(world: &mut World) -> usize {
    let end = Instant::now() + DRAIN;
    while world.client.in_flight > 0 && Instant::now() < end {
        world.turn(Duration::from_millis(10));
        world.client.answers.clear();
    }
    world.client.in_flight
}

/// Opens connections that each get one answer and then stay; `release` drops them.
pub fn idle(world: &mut World, command: &Command) -> Result<String, String> {
    const AT_ONCE: usize = 64;
    let count: usize = command.value("connections", 5000)?;
    world.client.open(command.target()?, count, command.work()?, &world.poller);
    let mut waiting = std::mem::take(&mut world.client.free);
    let end = Instant::now() + OPENING;
    while (!waiting.is_empty() || world.client.in_flight > 0) && Instant::now() < end {
        while world.client.in_flight < AT_ONCE
            && let Some(id) = waiting.pop_front()
        {
            world.client.send(id, Instant::now(), &world.poller);
        }
        world.client.flush(&world.poller);
        world.turn(Duration::from_millis(10));
        world.client.answers.clear();
    }
    Ok(format!("{{\"answered\":{},\"failed\":{}}}", world.client.answered, world.client.faults()))
}

/// Drops the idle connections, and says how many the proxy had closed before.
pub fn release(world: &mut World) -> String {
    let report = format!("{{\"closed_by_peer\":{}}}", world.client.closed_by_peer);
    world.client.close();
    report
}

/// Exact quantiles in microseconds, as a JSON object.
fn quantiles_us(samples_ns: &mut [u32]) -> String {
    const WANTED: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];
    samples_ns.sort_unstable();
    let Some(last) = samples_ns.len().checked_sub(1) else { return "null".to_owned() };
    let at = |quantile: f64| f64::from(samples_ns[(last as f64 * quantile).round() as usize]) / 1e3;
    let fields: Vec<_> = WANTED.iter().map(|(name, quantile)| format!("\"{name}\":{:.2}", at(*quantile))).collect();
    format!("{{{}}}", fields.join(","))
}
