//! The life of the process on the control side: start, signals, drain, end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::admin::{self, AdminSocket, AdminState};
use super::dns::Dns;
use super::drain::DrainSwitch;
use super::log_writer::{LogWriter, Sink};
use super::outcome::Trigger;
use super::reload::{ReloadParts, Reloader, Reloads};
use super::shared::{Phase, Shared};
use super::{Parts, Started, demo, status, systemd, tell};
use crate::config::{LogTarget, Switched};

/// The process could not begin its work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Drained, or out of the time for it.
    Drained,
    /// Told a second time.
    AtOnce,
}

impl End {
    /// How long the access log may take to be written to its end.
    fn patience(self) -> Duration {
        match self {
            Self::Drained => Duration::from_secs(2),
            Self::AtOnce => Duration::from_millis(100),
        }
    }
}

/// Runs the control side until the process is to end. The shards are still there afterwards: exit, do not return.
pub fn run(parts: Parts) -> Result<End, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::of)?;
    let end = runtime.block_on(live(parts));
    // Tasks on the blocking pool must not hold the end.
    runtime.shutdown_background();
    end
}

async fn live(parts: Parts) -> Result<End, StartError> {
    let bind = parts.loaded.config.admin.value.as_ref().map(|admin| admin.bind.value.clone());
    let admin = admin::bind(&bind.unwrap_or(Switched::Off)).map_err(StartError::of)?;
    let signals = Signals::new().map_err(StartError::of)?;
    let shared = Arc::new(Shared::new(parts.fleet, Arc::clone(&parts.registry), parts.empty));
    let nowhere = Sink::open(&LogTarget::Off).map_err(StartError::of)?;
    let log = LogWriter::start(parts.collectors, nowhere, parts.registry).map_err(StartError::of)?;
    let log = Arc::new(log);
    if let Some(listener) = parts.demo {
        tokio::spawn(demo::serve(listener));
    }
    let dns = Dns::new();
    let (mut reloader, reloads) = Reloader::new(ReloadParts {
        shared: Arc::clone(&shared),
        source: parts.source,
        environment: parts.environment,
        dns: Arc::clone(&dns),
        log: Arc::clone(&log),
        via_seed: parts.via_seed,
    });
    let first = reloader.start(parts.loaded).await;
    if !first.adopted {
        let _ = remove_socket_file(admin.as_ref().and_then(AdminSocket::path));
        return Err(StartError(first.problem.clone().unwrap_or_else(|| first.rendered.clone())));
    }
    tokio::spawn(reloader.run());
    let names_changed = reloads.clone();
    tokio::spawn(dns.refresh(move || names_changed.ask(Trigger::Names)));
    tokio::spawn(systemd::watch(Arc::clone(&shared)));
    let drain = DrainSwitch::default();
    let socket_file = admin.as_ref().and_then(AdminSocket::path);
    if let Some(socket) = admin {
        shared.set_admin(socket.address());
        let unix = socket.is_unix();
        let state = AdminState { shared: Arc::clone(&shared), reloads: reloads.clone(), drain: drain.clone(), unix };
        tokio::spawn(admin::serve(socket, state));
    }
    shared.enter(Phase::Ready);
    systemd::ready();
    report(&shared, parts.started);
    let end = signals.until_end(&shared, &reloads, &drain, &log).await;
    if !log.finish(end.patience()) {
        tell("tidegate: the end of the access log could not be written: nobody takes it");
    }
    let _ = remove_socket_file(socket_file);
    Ok(end)
}

fn report(shared: &Shared, started: Box<dyn FnOnce(&Started<'_>) + Send>) {
    let snapshot = shared.current();
    let listeners = snapshot.listeners.iter().map(|plan| (plan.name.to_string(), status::listening(shared, plan)));
    started(&Started {
        facts: &shared.fleet.facts,
        snapshot: &snapshot,
        listeners: listeners.collect(),
        admin: shared.admin(),
    });
}

fn remove_socket_file(path: Option<PathBuf>) -> std::io::Result<()> {
    path.map_or(Ok(()), std::fs::remove_file)
}

/// The signals we listen to. Shards block all of them.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Obeys signals until the process is drained, or told to end a second time.
    async fn until_end(mut self, shared: &Shared, reloads: &Reloads, drain: &DrainSwitch, log: &LogWriter) -> End {
        let drained = drain.drained(shared);
        tokio::pin!(drained);
        let mut told = false;
        loop {
            let ending = tokio::select! {
                () = &mut drained => return End::Drained,
                _ = self.hang_up.recv() => { reloads.ask(Trigger::Signal); false }
                _ = self.user1.recv() => { log.reopen(); false }
                _ = self.terminate.recv() => true,
                _ = self.interrupt.recv() => true,
            };
            // A drain that the API began is no first signal: an orchestrator's follows it, and must not cut it short.
            if ending && std::mem::replace(&mut told, true) {
                return End::AtOnce;
            }
            if ending {
                drain.press(shared);
            }
        }
    }
}
