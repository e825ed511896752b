//! `run`: puts the pieces together and starts them. The only place that knows both shells.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};

use super::{FINDINGS, complain, report, source};
use crate::config::{self, Config, EmptyEnvironment, Environment, Loaded, ProcessEnvironment, Source, Workers};
use crate::control::{self, End, Facts, Fleet, Parts};
use crate::observe::{Bounds, Outbox, Registry, outbox};
use crate::proxy::{Shard, ShardParts};
use crate::runtime::{self, Descriptors, DriverChoice, SocketStore, Verdict, Worker};
use crate::snapshot::{Draft, Snapshot};

/// The variable by which the quickstart finds the demo upstream.
const DEMO_VARIABLE: &str = "DEMO_UPSTREAM";

/// Run the gateway
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:\n  tidegate run                          the quickstart, with a demo upstream\n  \
                        tidegate run -c /etc/tidegate/tidegate.yaml\n\nSignals: TERM and INT drain (a second one ends \
                        at once), HUP reloads, USR1 reopens the log.")]
pub(super) struct Run {
    /// A file, or a folder whose *.yaml files are merged; the quickstart without
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// How workers talk to the kernel, instead of `gateway.driver`
    #[arg(long, value_enum)]
    driver: Option<DriverArgument>,
    /// How many workers, instead of `gateway.workers`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DriverArgument {
    Auto,
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

impl Run {
    pub fn execute(self, give_back: fn()) -> ExitCode {
        match self.live(give_back) {
            Ok(End::Drained) => ExitCode::SUCCESS,
            Ok(End::AtOnce) => ExitCode::from(FINDINGS),
            Err(problem) => {
                complain(problem.trim_end());
                ExitCode::from(FINDINGS)
            }
        }
    }

    fn live(self, give_back: fn()) -> Result<End, String> {
        // A kernel without huge pages has none to avoid.
        let _ = runtime::avoid_huge_pages();
        let quickstart = self.config.is_none();
        let demo = if quickstart { Some(control::demo::bind().map_err(text)?) } else { None };
        let environment = environment(demo.as_ref()).map_err(text)?;
        let source = source(self.config.clone());
        let loaded = load(&source, &*environment)?;
        let verdict = self.probe(&loaded.config)?;
        let cpus = self.cpus(&loaded.config).map_err(text)?;
        let descriptors = runtime::raise_descriptor_limit().map_err(text)?;
        let sockets = Arc::new(activated_sockets().map_err(text)?);
        let registry = Arc::new(Registry::new(cpus.len(), Bounds::default()));
        let empty = Arc::new(empty_snapshot());
        let (outboxes, collectors) = (0..cpus.len()).map(|number| outbox(registry.shard(number))).unzip();
        let metrics = (0..cpus.len()).map(|number| registry.worker(number)).collect();
        let sockets_of_all = Arc::clone(&sockets);
        let data = runtime::Fleet { driver: verdict.driver, cpus, sockets: sockets_of_all, metrics, give_back };
        let workers = start_shards(&data, outboxes, &registry, &empty).map_err(text)?;
        // Not everybody may: then the kernel shares the CPUs evenly.
        let _ = runtime::yield_to_shards();
        let fleet = fleet(workers, sockets, facts(&data, &verdict, descriptors));
        control::run(Parts {
            fleet,
            registry,
            collectors,
            source,
            environment,
            loaded,
            empty,
            via_seed: fastrand::u32(..),
            demo,
            started: Box::new(move |started| report::print(started, quickstart)),
        })
        .map_err(text)
    }

    fn probe(&self, config: &Config) -> Result<Verdict, String> {
        let configured = config.gateway.value.as_ref().map(|gateway| gateway.driver).unwrap_or_default();
        let choice = match (self.driver, configured) {
            (Some(DriverArgument::Auto), _) | (None, config::Driver::Auto) => DriverChoice::Auto,
            (Some(DriverArgument::IoUring), _) | (None, config::Driver::IoUring) => DriverChoice::IoUring,
            (Some(DriverArgument::Epoll), _) | (None, config::Driver::Epoll) => DriverChoice::Epoll,
        };
        runtime::probe(choice, false).map_err(text)
    }

    /// A CPU for each worker; where there are more workers than CPUs, these are shared.
    fn cpus(&self, config: &Config) -> io::Result<Vec<usize>> {
        let allowed = runtime::allowed_cpus()?;
        let configured = match config.gateway.value.as_ref().map(|gateway| gateway.workers) {
            Some(Workers::Exactly(count)) => count.get() as usize,
            _ => allowed.len(),
        };
        let count = self.workers.map_or(configured, usize::from);
        Ok(allowed.into_iter().cycle().take(count).collect())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Reads the configuration; one with errors does not even begin.
fn load(source: &Source, environment: &dyn Environment) -> Result<Loaded, String> {
    let loaded = config::load(source, environment);
    if loaded.is_sound() {
        return Ok(loaded);
    }
    Err(format!("the configuration is refused\n\n{}", loaded.render(false)))
}

/// What the shards begin with: nothing.
fn empty_snapshot() -> Snapshot {
    let draft = Draft::alone(&Source::text("empty", "admin: off\n"), &EmptyEnvironment);
    Snapshot { generation: 0, ..draft.snapshot }
}

fn activated_sockets() -> io::Result<SocketStore> {
    SocketStore::new(runtime::own_descriptors(control::systemd::activated()?)?)
}

fn start_shards(
    data: &runtime::Fleet,
    outboxes: Vec<Outbox>,
    registry: &Arc<Registry>,
    empty: &Arc<Snapshot>,
) -> io::Result<Vec<Worker>> {
    let shards = outboxes.len() as u32;
    let logs = Mutex::new(outboxes.into_iter().map(Some).collect::<Vec<_>>());
    let (registry, empty) = (Arc::clone(registry), Arc::clone(empty));
    data.start(move |net, number| {
        let log = logs.lock().unwrap_or_else(PoisonError::into_inner)[number].take();
        Shard::new(ShardParts {
            net,
            number,
            shards,
            snapshot: Arc::clone(&empty),
            metrics: registry.shard(number),
            log: log.expect("each worker makes one shard"),
            seed: fastrand::u64(..),
        })
    })
}

fn facts(data: &runtime::Fleet, verdict: &Verdict, descriptors: Descriptors) -> Facts {
    Facts {
        driver: verdict.driver.to_string(),
        driver_reason: verdict.reason.clone(),
        cpus: data.cpus.clone(),
        descriptors_max: descriptors.now,
        descriptors_before: descriptors.before,
    }
}

/// The workers as the control side sees them.
fn fleet(workers: Vec<Worker>, sockets: Arc<SocketStore>, facts: Facts) -> Fleet {
    let beat = |worker: &Worker| {
        let metrics = Arc::clone(&worker.metrics);
        Box::new(move || metrics.ticks.value()) as Box<dyn Fn() -> u64 + Send + Sync>
    };
    let driver = facts.driver.clone();
    Fleet {
        beats: workers.iter().map(beat).collect(),
        shards: workers.into_iter().map(|worker| worker.handle).collect(),
        now: runtime::now,
        unix_time: runtime::unix_time,
        local: Box::new(move |address, ipv6_only| sockets.local(address, ipv6_only)),
        figures: Box::new(move |out| report::driver_info(&driver, out)),
        facts,
    }
}

fn environment(demo: Option<&std::net::TcpListener>) -> io::Result<Arc<dyn Environment + Send + Sync>> {
    Ok(match demo {
        Some(listener) => Arc::new(Quickstart { demo: listener.local_addr()?.to_string() }),
        None => Arc::new(ProcessEnvironment),
    })
}

/// The world of the quickstart: nothing but the demo upstream.
struct Quickstart {
    demo: String,
}

impl Environment for Quickstart {
    fn variable(&self, name: &str) -> Option<String> {
        (name == DEMO_VARIABLE).then(|| self.demo.clone())
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        EmptyEnvironment.file(path)
    }
}
