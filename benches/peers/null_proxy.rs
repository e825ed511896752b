//! The null proxy: what is left of the gateway when it neither parses, routes, logs nor counts. It forwards whatever one
//! side sends to the other, a connection upstream for each of the client's, over the same IO port, worker and ring. A
//! figure of the gateway below its own is an error of measurement.
//!
//! ```text
//! null_proxy LISTEN UPSTREAM      addresses such as 127.0.0.1:18105
//! ```

use std::cell::{Cell, RefCell};
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tidegate::base::{Address, BufferPool, Timestamp};
use tidegate::config::{EmptyEnvironment, Source};
use tidegate::proxy::command::Command;
use tidegate::proxy::net::{Net, Patience, read, readable, write};
use tidegate::proxy::shell::{Accepted, Shard};
use tidegate::runtime::{Driver, DriverChoice, Fleet, LiveNet, SocketStore, Worker, probe};
use tidegate::snapshot::{Draft, Snapshot};

/// Free buffers kept: in every scenario fewer connections are at work at once.
const BUFFERS_FREE_MAX: usize = 1024;
const PATIENCE: Patience = Patience { idle: Duration::from_secs(60), until: Timestamp::NEVER };
const ORDER_TIME_MAX: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [version] if version == "--version" => {
            println!("null {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        [listen, upstream] => run(listen, upstream),
        _ => Err("usage: null_proxy LISTEN UPSTREAM".to_owned()),
    };
    if let Err(error) = outcome {
        eprintln!("null_proxy: {error}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

/// Forwards until the process is ended.
fn run(listen: &str, upstream: &str) -> Result<(), String> {
    let upstream = Address::Ip(upstream.parse().map_err(|error| format!("{upstream}: {error}"))?);
    let driver = probe(DriverChoice::Auto, false).map_err(|error| error.to_string())?.driver;
    let workers = start(driver, upstream).map_err(|error| error.to_string())?;
    let config = format!("admin: off\nlisteners: {{ null: {{ bind: \"{listen}\" }} }}\n");
    let snapshot = Arc::new(Draft::alone(&Source::text("null", config), &EmptyEnvironment).snapshot);
    let generation = snapshot.generation;
    let prepared = order(&workers, |reply| Command::Prepare { snapshot: Arc::clone(&snapshot), reply })?;
    prepared.into_iter().collect::<Result<(), String>>()?;
    order(&workers, |reply| Command::Commit { generation, reply })?;
    loop {
        std::thread::park();
    }
}

fn start(driver: Driver, upstream: Address) -> io::Result<Vec<Worker>> {
    let cpus = tidegate::runtime::allowed_cpus()?;
    let metrics = cpus.iter().map(|_| Arc::default()).collect();
    let sockets = Arc::new(SocketStore::default());
    let fleet = Fleet { driver, cpus, sockets, metrics, give_back: || {} };
    fleet.start(move |net, _| {
        let buffers = BufferPool::new(BUFFERS_FREE_MAX, 0);
        Rc::new(Null { net, upstream: upstream.clone(), buffers, open: Cell::new(0) })
    })
}

/// Gives every worker an order and returns their answers.
fn order<T: Send + 'static>(
    workers: &[Worker],
    command: impl Fn(Box<dyn FnOnce(T) + Send>) -> Command,
) -> Result<Vec<T>, String> {
    let (sender, answers) = mpsc::channel();
    for worker in workers {
        let sender = sender.clone();
        // Nobody listens any more where an earlier worker failed.
        let reply = Box::new(move |answer| drop(sender.send(answer)));
        (worker.handle.send)(command(reply)).map_err(|_| "a worker takes no orders".to_owned())?;
    }
    let answer = |_| answers.recv_timeout(ORDER_TIME_MAX).map_err(|error| error.to_string());
    workers.iter().map(answer).collect()
}

/// One worker's null proxy.
struct Null {
    net: LiveNet,
    upstream: Address,
    buffers: BufferPool,
    open: Cell<usize>,
}

impl Null {
    /// One turn of each side after the other, as the exchanges of one connection come.
    async fn forward(&self, accepted: Accepted<LiveNet>) -> io::Result<()> {
        let client = (RefCell::new(accepted.reader), RefCell::new(accepted.writer));
        readable(&client.0, Timestamp::NEVER).await?;
        let (reader, writer) = self.net.connect(&self.upstream, Timestamp::NEVER).await?;
        let upstream = (RefCell::new(reader), RefCell::new(writer));
        while self.turn(&client.0, &upstream.1).await? && self.turn(&upstream.0, &client.1).await? {}
        Ok(())
    }

    /// Forwards what `from` sends next; `false` at its end.
    async fn turn(
        &self,
        from: &RefCell<<LiveNet as Net>::Reader>,
        to: &RefCell<<LiveNet as Net>::Writer>,
    ) -> io::Result<bool> {
        // No buffer while idle, as in the gateway.
        readable(from, Timestamp::NEVER).await?;
        let (result, buffer) = read(from, self.buffers.small(), Timestamp::NEVER).await;
        if result? == 0 {
            return Ok(false);
        }
        let (result, buffer) = write(to, buffer, 0, PATIENCE).await;
        self.buffers.give(buffer);
        result.map(|()| true)
    }
}

impl Shard for Null {
    type Net = LiveNet;

    async fn serve(self: Rc<Self>, accepted: Accepted<LiveNet>) {
        self.open.set(self.open.get() + 1);
        // A peer that leaves is how every connection ends.
        let _ = self.forward(accepted).await;
        self.open.set(self.open.get() - 1);
    }

    fn prepare(&self, _snapshot: &Arc<Snapshot>) -> Result<(), String> {
        Ok(())
    }

    fn commit(&self, _generation: u64) {}

    fn abort(&self, _generation: u64) {}

    fn drain(&self) {}

    fn stop(&self) {}

    fn open_connections(&self) -> usize {
        self.open.get()
    }

    fn tick(&self, _now: Timestamp) {}
}
