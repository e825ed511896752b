//! What this machine charges for the primitives every proxy is made of, to be kept beside the results.

use std::io::{PipeReader, PipeWriter, Read, Result, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::Command;
use crate::sys;

const TRIVIAL_CALLS: u32 = 500_000;
const ROUND_TRIPS: u32 = 20_000;

/// Every primitive, as one JSON object; round trips are between the two CPUs given.
pub fn all(command: &Command) -> std::result::Result<String, String> {
    let cpus = (command.value("near", 0usize)?, command.value("far", 1usize)?);
    let syscall = trivial_ns();
    let pipe = in_a_thread(move || pipe_round_trip(cpus)).map_err(|error| format!("pipe: {error}"))?;
    let tcp = in_a_thread(move || tcp_round_trip(cpus)).map_err(|error| format!("tcp: {error}"))?;
    Ok(format!(
        "{{\"syscall_ns\":{syscall:.1},\"pipe_round_trip_us\":{:.2},\"tcp_round_trip_us\":{:.2}}}",
        micros(pipe),
        micros(tcp)
    ))
}

fn micros(total: Duration) -> f64 {
    total.as_secs_f64() * 1e6 / f64::from(ROUND_TRIPS)
}

fn trivial_ns() -> f64 {
    let start = Instant::now();
    (0..TRIVIAL_CALLS).for_each(|_| sys::trivial());
    start.elapsed().as_secs_f64() * 1e9 / f64::from(TRIVIAL_CALLS)
}

/// Pinning must not outlive the measurement, so it happens in threads of their own.
fn in_a_thread(measure: impl FnOnce() -> Result<Duration> + Send + 'static) -> Result<Duration> {
    thread::spawn(measure).join().unwrap_or_else(|_| Err(std::io::Error::other("the measuring thread ended")))
}

fn pipe_round_trip((near, far): (usize, usize)) -> Result<Duration> {
    let (there_out, there_in): (PipeReader, PipeWriter) = pipe()?;
    let (back_out, back_in) = pipe()?;
    let echo = thread::spawn(move || echo(far, there_out, back_in));
    let taken = ping(near, back_out, there_in);
    let _ = echo.join();
    taken
}

fn tcp_round_trip((near, far): (usize, usize)) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let there = TcpStream::connect(listener.local_addr()?)?;
    let (back, _) = listener.accept()?;
    there.set_nodelay(true)?;
    back.set_nodelay(true)?;
    let reader = back.try_clone()?;
    let echo = thread::spawn(move || echo(far, reader, back));
    let taken = ping(near, there.try_clone()?, there);
    let _ = echo.join();
    taken
}

/// One byte there and back, [`ROUND_TRIPS`] times; dropping the writer ends the echo.
fn ping(cpu: usize, mut from: impl Read, mut to: impl Write) -> Result<Duration> {
    sys::pin_thread(cpu)?;
    let mut byte = [0];
    let start = Instant::now();
    for _ in 0..ROUND_TRIPS {
        to.write_all(&byte)?;
        from.read_exact(&mut byte)?;
    }
    Ok(start.elapsed())
}

fn echo(cpu: usize, mut from: impl Read, mut to: impl Write) -> Result<()> {
    sys::pin_thread(cpu)?;
    let mut byte = [0];
    for _ in 0..ROUND_TRIPS {
        from.read_exact(&mut byte)?;
        to.write_all(&byte)?;
    }
    Ok(())
}
