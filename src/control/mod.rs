//! The control-plane shell: one tokio runtime beside the shards. It may wait, allocate and fail; the shards go on.
//!
//! It owns the snapshot in force ([`reload`]), answers operators ([`admin`]), writes the access log ([`log_writer`]),
//! resolves names ([`dns`]) and ends the process in order ([`drain`]). It knows the shards only by their
//! [`ShardHandle`]s and the runtime not at all: whoever starts both passes in what they need of each other.

mod admin;
mod adopt;
mod bounded;
mod changes;
pub mod demo;
mod dns;
mod drain;
mod fingerprint;
mod guard;
mod life;
mod log_writer;
mod outcome;
mod reload;
mod shared;
mod status;
pub mod systemd;
mod watch;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::base::{Address, Timestamp, UnixTime};
use crate::config::{Environment, Loaded, Source};
use crate::observe::{Collector, Registry};
use crate::proxy::command::ShardHandle;
use crate::snapshot::Snapshot;

pub use life::{End, StartError, run};

/// The workers and what else is known of the data side.
pub struct Fleet {
    pub shards: Vec<ShardHandle>,
    /// For each shard a number that grows while its loop turns.
    pub beats: Vec<Box<dyn Fn() -> u64 + Send + Sync>>,
    pub now: fn() -> Timestamp,
    pub unix_time: fn() -> UnixTime,
    /// Where the process really listens for an address, when its port was left to the kernel.
    pub local: LocalAddress,
    /// Appends the workers' own figures to an exposition.
    pub figures: Box<dyn Fn(&mut String) + Send + Sync>,
    pub facts: Facts,
}

/// Where the process listens for an address, IPv6 alone or not, if it does.
pub type LocalAddress = Box<dyn Fn(&Address, bool) -> Option<Address> + Send + Sync>;

/// What was found out at start and does not change.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Facts {
    pub driver: String,
    pub driver_reason: String,
    /// The CPU of each shard.
    pub cpus: Vec<usize>,
    /// How many descriptors may be open.
    pub descriptors_max: u64,
    /// The limit before it was raised.
    #[serde(skip)]
    pub descriptors_before: u64,
}

/// Everything the control side begins with.
pub struct Parts {
    pub fleet: Fleet,
    pub registry: Arc<Registry>,
    /// The writer's ends of the shards' logs.
    pub collectors: Vec<Collector>,
    pub source: Source,
    pub environment: Arc<dyn Environment + Send + Sync>,
    /// What was read from `source`; it was found sound.
    pub loaded: Loaded,
    /// The empty snapshot that the shards began with.
    pub empty: Arc<Snapshot>,
    /// Names this process in `Via`.
    pub via_seed: u32,
    /// The upstream of the quickstart.
    pub demo: Option<std::net::TcpListener>,
    /// Told once, when the first snapshot is in force: the report for the terminal.
    pub started: Box<dyn FnOnce(&Started<'_>) + Send>,
}

/// What can be reported once the first snapshot is in force.
pub struct Started<'a> {
    pub facts: &'a Facts,
    pub snapshot: &'a Snapshot,
    /// Where the process listens: the listener's name and its addresses.
    pub listeners: Vec<(String, Vec<Address>)>,
    /// Where the admin API is, if it is on.
    pub admin: Option<String>,
}

/// How long the end waits for its own words.
const TELL_MAX: Duration = Duration::from_millis(200);

/// Tells the operator that, and how, the process ends. Whoever takes nothing from the pipe does not hold it.
fn tell(text: &str) {
    let (done, told) = channel::<()>();
    let text = text.to_owned();
    let teller = std::thread::Builder::new().spawn(move || {
        eprintln!("{text}");
        drop(done);
    });
    if teller.is_ok() {
        let _ = told.recv_timeout(TELL_MAX);
    }
}
