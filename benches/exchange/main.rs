//! The whole exchange on the pure core: a browser's request, routed, forwarded, answered with 1 KiB, logged and counted.
//!
//! ```text
//! cargo bench --no-default-features --bench exchange                      time
//! cargo bench --no-default-features --bench exchange -- --callgrind 2000  instructions, held to a bound
//! cargo bench --no-default-features --bench exchange -- --memory          allocations and sizes
//! ```

mod allocations;
mod callgrind;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use criterion::Criterion;

use self::world::{Pace, World};

/// Instructions one exchange may take, where every operation ends at once: what it takes now and 3 %, to be lowered with
/// every gain. An incremental build inlines less and takes 150 more. The goal is 5,000.
const INSTRUCTIONS_MAX: f64 = 8_780.0;
/// Exchanges after which pools and buffers are as full as they get.
const WARM_UP: u64 = 2_000;
/// Exchanges over which allocations and clock reads are counted.
const COUNTED: u64 = 10_000;
/// Connections over which the memory of an idle one is averaged.
const IDLE_CONNECTIONS: u64 = 1_000;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.parse().ok()
    };
    let pending = arguments.iter().any(|argument| argument == PENDING);
    if let Some(count) = number("--exchanges") {
        World::new(if pending { Pace::Pending } else { Pace::AtOnce }).exchanges(count);
    } else if let Some(count) = number("--callgrind") {
        return instructions(count);
    } else if arguments.iter().any(|argument| argument == "--memory") {
        return memory();
    } else {
        time();
    }
    ExitCode::SUCCESS
}

/// Runs the exchanges in a world where operations pend once.
const PENDING: &str = "--pending";

fn time() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, pace) in [("exchange", Pace::AtOnce), ("exchange/pending", Pace::Pending)] {
        let mut world = World::new(pace);
        world.exchanges(WARM_UP);
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let start = Instant::now();
                world.exchanges(count);
                start.elapsed()
            });
        });
    }
    criterion.final_summary();
}

fn instructions(exchanges: u64) -> ExitCode {
    let counted = callgrind::count(exchanges, "").and_then(|at_once| {
        let pending = callgrind::count(exchanges, PENDING)?;
        Ok((at_once, pending))
    });
    match counted {
        Ok((at_once, pending)) => {
            println!("{}", at_once.functions);
            println!("instructions per exchange: {:.1}", at_once.per_exchange);
            println!("where every operation pends once: {:.1}", pending.per_exchange);
            if at_once.per_exchange <= INSTRUCTIONS_MAX {
                return ExitCode::SUCCESS;
            }
            println!("more than the {INSTRUCTIONS_MAX} that are allowed");
        }
        Err(error) => eprintln!("the instructions could not be counted: {error}"),
    }
    ExitCode::FAILURE
}

fn memory() -> ExitCode {
    let mut world = World::new(Pace::Pending);
    world.exchanges(WARM_UP);
    let (calls, before) = (allocations::calls(), world.reads_and_polls());
    world.exchanges(COUNTED);
    let (calls, after) = (allocations::calls() - calls, world.reads_and_polls());
    let each = |after: u64, before: u64| (after - before) as f64 / COUNTED as f64;
    println!("allocations in {COUNTED} exchanges: {calls}");
    println!("reads of the clock per exchange: {:.2}", each(after.0, before.0));
    println!("reads of the wall clock per exchange: {:.2}", each(after.1, before.1));
    println!("polls per exchange: {:.2}", each(after.2, before.2));
    println!("octets of a response: {}", world.response_bytes());
    println!("octets of a log line: {:.1}", world.log_bytes as f64 / (WARM_UP + COUNTED) as f64);
    let bytes = allocations::bytes_in_use();
    let mut task = 0;
    for _ in 0..IDLE_CONNECTIONS {
        task = world.accept();
        world.exchanges(1);
    }
    let idle = (allocations::bytes_in_use() - bytes) / IDLE_CONNECTIONS;
    println!("octets of an idle connection: {idle}, of which its task: {task}");
    if calls == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
