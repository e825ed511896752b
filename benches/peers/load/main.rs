//! The load process: a backend and a client in one event loop, told what to do line by line on standard input.
//!
//! One thread plays both peers of the proxy, so two CPUs suffice: the proxy owns one, this process the other, and the
//! open-loop client may spin without starving the backend. Every answer is one line of JSON. An example of the crate only
//! to have rustls at hand: it knows `std` and the few system calls of `sys.rs`, and must not know which proxy it measures.

mod backend;
mod calibrate;
mod client;
mod command;
mod h2;
mod h2_backend;
mod h2_client;
mod message;
mod poll;
mod probe;
mod run;
mod sys;
mod transport;

use std::io::{BufRead, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use backend::Backend;
use client::Client;
use command::Command;
use poll::{Poller, Token};

/// How long the loop sleeps between commands.
const TICK: Duration = Duration::from_millis(200);

/// The two peers and the poller they share.
pub struct World {
    poller: Poller,
    backend: Backend,
    client: Client,
    /// Time spent in turns that found nothing to do, sleeping or spinning.
    idle: Duration,
}

impl World {
    /// Waits for events, at most `timeout`, and lets the backend and the client handle them.
    fn turn(&mut self, timeout: Duration) -> bool {
        let mut spoken_to = false;
        let start = Instant::now();
        let ready = self.poller.wait(timeout);
        if ready == 0 {
            self.idle += start.elapsed();
        }
        for index in 0..ready {
            match self.poller.token(index) {
                Token::Command => spoken_to = true,
                Token::Listener(id) => self.backend.accept(id, &self.poller),
                Token::Backend(id) => self.backend.readable(id),
                Token::Client(id) => self.client.readable(id, &self.poller),
            }
        }
        spoken_to
    }
}

fn main() {
    let places: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = serve(&places) {
        eprintln!("load: {error}");
        std::process::exit(1);
    }
}

/// Serves the backend on `places` and obeys commands until standard input ends.
fn serve(places: &[String]) -> std::io::Result<()> {
    sys::raise_descriptor_limit();
    let poller = Poller::new()?;
    let backend = Backend::bind(places, &poller)?;
    let input = std::io::stdin();
    poller.add(input.as_raw_fd(), Token::Command)?;
    let mut world = World { poller, backend, client: Client::default(), idle: Duration::ZERO };
    let mut lines = input.lock();
    loop {
        if !world.turn(TICK) {
            continue;
        }
        // One command is answered before the next is sent, so a buffered reader never hides a second line.
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = obey(&mut world, &line).unwrap_or_else(|problem| format!("{{\"error\":{problem:?}}}"));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
}

fn obey(world: &mut World, line: &str) -> Result<String, String> {
    let command = Command::parse(line)?;
    match command.name {
        "closed" => run::closed(world, &command),
        "open" => run::open(world, &command),
        "idle" => run::idle(world, &command),
        "release" => Ok(run::release(world)),
        "request" => Ok(format!("{{\"request\":{:?}}}", String::from_utf8_lossy(message::REQUEST))),
        "seen" => {
            Ok(format!("{{\"head\":{:?},\"fields\":{}}}", world.backend.last_head(), world.backend.last_fields()))
        }
        "calibrate" => calibrate::all(&command),
        other => Err(format!("unknown command {other:?}")),
    }
}
