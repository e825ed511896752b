//! The owner of the snapshot in force. Changes come one at a time; requests that arrive meanwhile share the next one.
//!
//! ```text
//! request ─▶ read ─▶ resolve names ─▶ compile ─▶ prepare on all shards ─▶ commit on all ─▶ the old one rests here
//!              └──────────┴──────────────┴───────────────┴── anything wrong: the plan in force serves on
//! ```
//!
//! Reading, compiling and freeing happen on the blocking pool: no data core and no admin call waits for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::adopt;
use super::changes::{Changes, needs_restart};
use super::dns::{Dns, names_of};
use super::fingerprint::Fingerprints;
use super::log_writer::{LogWriter, Sink};
use super::outcome::{Outcome, Trigger};
use super::shared::{Phase, Shared};
use super::systemd;
use super::tell::{self, tell};
use super::watch::{self, FileWatch};
use crate::config::{self, Environment, Loaded, Source, Sources};
use crate::snapshot::compile::{Resolved, World};
use crate::snapshot::{Draft, Snapshot};

/// Requests that may wait; one more is answered that the others are enough.
const REQUESTS_MAX: usize = 64;
/// Snapshots that are out of force but in use, by long exchanges; beyond it the oldest are left to their last user.
const RETIRED_MAX: usize = 64;
/// How often it is looked whether one of them is free.
const RETIRED_LOOK: Duration = Duration::from_secs(1);

/// A request for a reload.
struct Request {
    trigger: Trigger,
    reply: Option<oneshot::Sender<Arc<Outcome>>>,
}

/// Asks the owner for a reload.
#[derive(Clone)]
pub(super) struct Reloads(mpsc::Sender<Request>);

impl Reloads {
    /// Asks for one and does not wait. When too many wait already, the next one sees this change too.
    pub fn ask(&self, trigger: Trigger) {
        let _ = self.0.try_send(Request { trigger, reply: None });
    }

    /// Asks for one and waits for what came of it; nothing when too many wait already.
    pub async fn ask_and_wait(&self, trigger: Trigger) -> Option<Arc<Outcome>> {
        let (reply, outcome) = oneshot::channel();
        self.0.try_send(Request { trigger, reply: Some(reply) }).ok()?;
        outcome.await.ok()
    }
}

/// What a reload begins with.
pub(super) struct ReloadParts {
    pub shared: Arc<Shared>,
    pub source: Source,
    pub environment: Arc<dyn Environment + Send + Sync>,
    pub dns: Arc<Dns>,
    pub log: Arc<LogWriter>,
    pub via_seed: u32,
}

pub(super) struct Reloader {
    parts: ReloadParts,
    requests: mpsc::Receiver<Request>,
    fingerprints: Arc<Fingerprints>,
    /// Of the files as they were last read.
    seen: u64,
    files: Vec<PathBuf>,
    watch: FileWatch,
    retired: Vec<Arc<Snapshot>>,
    /// What the process was started with; some keys are only read then.
    first: Option<Arc<config::Config>>,
}

/// What was read, and the fingerprint of the files before that.
struct Read {
    loaded: Loaded,
    fingerprint: u64,
}

/// Why a change is refused.
enum Refused {
    Findings { shown: serde_json::Value, total: usize, rendered: String },
    Problem(String),
}

impl Reloader {
    /// The owner and the way to ask it.
    pub fn new(parts: ReloadParts) -> (Self, Reloads) {
        let (ask, requests) = mpsc::channel(REQUESTS_MAX);
        let reloader = Self {
            parts,
            requests,
            fingerprints: Arc::default(),
            seen: 0,
            files: Vec::new(),
            watch: FileWatch::new(),
            retired: Vec::new(),
            first: None,
        };
        (reloader, Reloads(ask))
    }

    /// Puts the first configuration in force; it was read already.
    pub async fn start(&mut self, loaded: Loaded) -> Arc<Outcome> {
        let read = Read { fingerprint: self.fingerprints.of(&loaded.files), loaded };
        self.change(Trigger::Start, Some(read)).await
    }

    /// Serves requests and file changes for ever.
    pub async fn run(mut self) {
        let stirred = self.watch.stirred();
        let mut settling = Box::pin(watch::settled(&stirred));
        loop {
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                () = &mut settling => {
                    settling.set(watch::settled(&stirred));
                    self.files_stirred().await;
                }
                () = tokio::time::sleep(RETIRED_LOOK), if !self.retired.is_empty() => self.free_retired(),
            }
        }
    }

    /// Serves a request together with all that wait behind it.
    async fn serve(&mut self, first: Request) {
        let mut trigger = first.trigger;
        let mut replies: Vec<_> = first.reply.into_iter().collect();
        while let Ok(next) = self.requests.try_recv() {
            trigger = trigger.max(next.trigger);
            replies.extend(next.reply);
        }
        let outcome = self.change(trigger, None).await;
        for reply in replies {
            // Who asked may have gone.
            let _ = reply.send(Arc::clone(&outcome));
        }
    }

    /// Reloads if the files say something new.
    async fn files_stirred(&mut self) {
        let (fingerprints, files) = (Arc::clone(&self.fingerprints), self.files.clone());
        let now = spawn_blocking(move || fingerprints.of(&files)).await;
        if now.is_ok_and(|now| now != self.seen) {
            self.change(Trigger::File, None).await;
        } else {
            // A folder may have been replaced by an equal one, which is not the one that is watched.
            self.watch.set(&self.files);
        }
    }

    /// One change from beginning to end, told and counted.
    async fn change(&mut self, trigger: Trigger, read: Option<Read>) -> Arc<Outcome> {
        let shared = Arc::clone(&self.parts.shared);
        let begin = (shared.fleet.now)();
        if trigger != Trigger::Start {
            systemd::reloading();
        }
        let before = shared.current();
        let mut outcome = Outcome::new(trigger, before.generation, (shared.fleet.unix_time)());
        match self.try_change(trigger, read, &before, &mut outcome).await {
            Ok(snapshot) => self.adopted(before, &snapshot, &mut outcome),
            Err(refused) => self.refused(&before, refused, &mut outcome),
        }
        outcome.took((shared.fleet.now)().since(begin));
        self.tell(outcome)
    }

    /// Makes the next snapshot and has every shard adopt it.
    async fn try_change(
        &mut self,
        trigger: Trigger,
        read: Option<Read>,
        before: &Arc<Snapshot>,
        outcome: &mut Outcome,
    ) -> Result<Arc<Snapshot>, Refused> {
        if self.parts.shared.phase() == Phase::Draining {
            return Err(Refused::Problem("the process is draining".into()));
        }
        let loaded = match trigger {
            Trigger::Names => self.in_force(before),
            _ => self.read(read).await?,
        };
        let names = names_of(&loaded.config);
        let resolved = match trigger {
            Trigger::Names => self.parts.dns.known(),
            _ => self.parts.dns.resolve(&names).await,
        };
        let resolved = Arc::new(resolved);
        let draft = self.compile(loaded, Arc::clone(&resolved), before).await?;
        if trigger != Trigger::Names {
            (outcome.findings, outcome.findings_total) = (draft.to_json(), draft.findings.len());
            outcome.rendered = draft.render(false);
        }
        let sink = self.sink(before, &draft.snapshot)?;
        let snapshot = Arc::new(draft.snapshot);
        if let Err(refusal) = adopt::adopt(&self.parts.shared.fleet.shards, &snapshot).await {
            // A shard may not have forgotten it yet, and must not be the one that frees it.
            self.retire(snapshot);
            return Err(Refused::Problem(refusal.to_string()));
        }
        if let Some(sink) = sink {
            self.parts.log.replace(sink);
        }
        self.parts.dns.adopted(&names, &resolved);
        Ok(snapshot)
    }

    /// The configuration in force once more, for other addresses of its names.
    fn in_force(&self, before: &Snapshot) -> Loaded {
        let config = config::Config::clone(&before.config);
        Loaded { config, findings: Vec::new(), sources: Sources::default(), files: self.files.clone() }
    }

    async fn read(&mut self, read: Option<Read>) -> Result<Loaded, Refused> {
        let read = match read {
            Some(read) => read,
            None => self.read_again().await?,
        };
        self.seen = read.fingerprint;
        self.files.clone_from(&read.loaded.files);
        self.watch.set(&self.files);
        Ok(read.loaded)
    }

    async fn read_again(&self) -> Result<Read, Refused> {
        let (source, environment) = (self.parts.source.clone(), Arc::clone(&self.parts.environment));
        let (fingerprints, files) = (Arc::clone(&self.fingerprints), self.files.clone());
        let read = move || {
            // Before reading: what is written from now on is another content.
            let before = fingerprints.of(&files);
            let loaded = config::load(&source, &*environment);
            let fingerprint = if loaded.files == files { before } else { fingerprints.of(&loaded.files) };
            Read { loaded, fingerprint }
        };
        spawn_blocking(read).await.map_err(|_| Refused::Problem("reading the configuration panicked".into()))
    }

    async fn compile(&self, loaded: Loaded, resolved: Arc<Resolved>, before: &Arc<Snapshot>) -> Result<Draft, Refused> {
        let (registry, before) = (Arc::clone(&self.parts.shared.registry), Arc::clone(before));
        let via_seed = self.parts.via_seed;
        let compile = move || {
            let world = World { previous: Some(&before), registry: &registry, resolved: &resolved, via_seed };
            let draft = Draft::of(loaded, &world);
            if draft.is_sound() {
                return Ok(draft);
            }
            let (shown, total) = (draft.to_json(), draft.findings.len());
            Err(Refused::Findings { shown, total, rendered: draft.render(false) })
        };
        let compiled = spawn_blocking(compile).await;
        compiled.unwrap_or_else(|_| Err(Refused::Problem("compiling the configuration panicked".into())))
    }

    /// The new log file, if the log goes elsewhere from now on; one that cannot be opened refuses the change.
    fn sink(&self, before: &Snapshot, after: &Snapshot) -> Result<Option<Sink>, Refused> {
        let target = |snapshot: &Snapshot| Sink::target_of(snapshot.config.access_log.value.as_ref());
        let target_after = target(after);
        // The empty snapshot before the first one has opened nothing.
        if before.generation > 0 && target(before) == target_after {
            return Ok(None);
        }
        let sink = Sink::open(&target_after);
        sink.map(Some).map_err(|problem| Refused::Problem(format!("access_log.to: {problem}")))
    }

    fn adopted(&mut self, before: Arc<Snapshot>, snapshot: &Arc<Snapshot>, outcome: &mut Outcome) {
        outcome.adopted = true;
        outcome.generation = snapshot.generation;
        outcome.changes = Some(Changes::between(&before, snapshot));
        let first = self.first.get_or_insert_with(|| Arc::clone(&snapshot.config));
        outcome.needs_restart = needs_restart(first, &snapshot.config);
        self.parts.shared.replace(Arc::clone(snapshot));
        self.retire(before);
    }

    fn refused(&self, before: &Snapshot, refused: Refused, outcome: &mut Outcome) {
        // What only names have changed is tried again as they are looked up, not at once.
        if outcome.trigger != Trigger::Names {
            self.parts.dns.refused(&names_of(&before.config));
        }
        match refused {
            Refused::Findings { shown, total, rendered } => {
                (outcome.findings, outcome.findings_total, outcome.rendered) = (shown, total, rendered);
            }
            Refused::Problem(problem) => outcome.problem = Some(problem),
        }
    }

    fn retire(&mut self, snapshot: Arc<Snapshot>) {
        self.retired.push(snapshot);
        if self.retired.len() > RETIRED_MAX {
            self.retired.remove(0);
        }
    }

    /// Frees the snapshots that nobody uses any more: here, since on a shard it would delay its requests.
    fn free_retired(&mut self) {
        let free: Vec<_> = self.retired.extract_if(.., |snapshot| Arc::strong_count(snapshot) == 1).collect();
        if !free.is_empty() {
            drop(spawn_blocking(move || drop(free)));
        }
    }

    fn tell(&self, outcome: Outcome) -> Arc<Outcome> {
        let shared = &self.parts.shared;
        let outcome = Arc::new(outcome);
        shared.set_last_reload(Arc::clone(&outcome));
        if outcome.trigger == Trigger::Start {
            // Who starts tells what refuses it; what is only warned of has no other place.
            if outcome.adopted {
                tell::show(outcome.rendered.clone());
            }
            return outcome;
        }
        systemd::ready();
        let control = shared.registry.control();
        if outcome.adopted {
            control.reloads_adopted.increment()
        } else {
            control.reloads_refused.increment()
        }
        tell::show(outcome.rendered.clone());
        tell(&outcome.line());
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Timestamp, UnixTime};
    use crate::config::ProcessEnvironment;
    use crate::control::{Facts, Fleet};
    use crate::observe::{Bounds, Registry};
    use crate::proxy::command::{Command, ShardHandle};
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    const GOOD: &str =
        "routes:\n  - { name: a, match: { path: /a }, respond: { status: 200 } }\nadmin: off\naccess_log: off\n";

    /// A reloader over one fake shard, which refuses to prepare while `refuses` is set.
    struct Bench {
        folder: tempfile::TempDir,
        refuses: Arc<AtomicBool>,
        runtime: tokio::runtime::Runtime,
    }

    impl Bench {
        fn new() -> Self {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let bench = Self { folder: tempfile::tempdir().unwrap(), refuses: Arc::default(), runtime };
            bench.write(GOOD);
            bench
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("gate.yaml")
        }

        fn write(&self, text: &str) {
            fs::write(self.file(), text).unwrap();
        }

        /// A reloader that has put the file in force.
        async fn started(&self) -> (Reloader, Reloads) {
            let shared = Arc::new(shared(Arc::clone(&self.refuses)));
            let registry = Arc::clone(&shared.registry);
            let sink = Sink::open(&crate::config::LogTarget::Off).unwrap();
            let log = Arc::new(LogWriter::start(Vec::new(), sink, registry).unwrap());
            let (source, environment) = (Source::Path(self.file()), Arc::new(ProcessEnvironment));
            let loaded = config::load(&source, &*environment);
            let parts = ReloadParts { shared, source, environment, dns: Dns::new(), log, via_seed: 1 };
            let (mut reloader, reloads) = Reloader::new(parts);
            assert!(reloader.start(loaded).await.adopted);
            (reloader, reloads)
        }
    }

    fn shared(refuses: Arc<AtomicBool>) -> Shared {
        let send = move |command| {
            match command {
                Command::Prepare { reply, .. } if refuses.load(Ordering::Relaxed) => reply(Err("taken".into())),
                Command::Prepare { reply, .. } => reply(Ok(())),
                Command::Commit { reply, .. } => reply(()),
                _ => {}
            }
            Ok(())
        };
        let facts = Facts {
            driver: String::new(),
            driver_reason: String::new(),
            cpus: vec![0],
            descriptors_max: 0,
            descriptors_before: 0,
        };
        let fleet = Fleet {
            shards: vec![ShardHandle { number: 0, send: Box::new(send) }],
            beats: Vec::new(),
            now: Timestamp::default,
            unix_time: UnixTime::default,
            local: Box::new(|_, _| None),
            facts,
        };
        let empty = Draft::alone(&Source::text("empty", "admin: off\n"), &config::EmptyEnvironment).snapshot;
        let empty = Arc::new(Snapshot { generation: 0, ..empty });
        Shared::new(fleet, Arc::new(Registry::new(1, Bounds::default())), empty)
    }

    #[test]
    fn an_adopted_change_counts_what_it_changed() {
        let bench = Bench::new();
        bench.runtime.block_on(async {
            let (mut reloader, _reloads) = bench.started().await;
            bench.write(&GOOD.replace("status: 200", "status: 204"));
            let outcome = reloader.change(Trigger::Api, None).await;
            assert_eq!((outcome.adopted, outcome.generation), (true, 2));
            assert_eq!(outcome.changes.map(|changes| changes.routes.changed), Some(1));
            assert_eq!(reloader.parts.shared.registry.control().reloads_adopted.value(), 1);
        });
    }

    #[test]
    fn what_waits_for_a_restart_is_told_until_it_comes() {
        let bench = Bench::new();
        bench.runtime.block_on(async {
            let (mut reloader, _reloads) = bench.started().await;
            bench.write(&GOOD.replace("admin: off", "admin: \"127.0.0.1:1\""));
            for _ in 0..2 {
                assert_eq!(reloader.change(Trigger::Api, None).await.needs_restart, ["admin.bind"]);
            }
            bench.write(GOOD);
            assert!(reloader.change(Trigger::Api, None).await.needs_restart.is_empty());
        });
    }

    #[test]
    fn a_configuration_with_findings_changes_nothing() {
        let bench = Bench::new();
        bench.runtime.block_on(async {
            let (mut reloader, _reloads) = bench.started().await;
            bench.write("bogus: 1\n");
            let outcome = reloader.change(Trigger::Signal, None).await;
            assert_eq!((outcome.adopted, outcome.generation), (false, 1));
            assert_eq!((&outcome.findings[0]["code"], outcome.findings_total), (&"unknown-key".into(), 1));
            assert_eq!(reloader.parts.shared.current().routes.len(), 1);
        });
    }

    #[test]
    fn a_refused_configuration_forgets_no_name_of_the_one_in_force() {
        let bench = Bench::new();
        // The hosts file knows it.
        let named = format!("{GOOD}upstreams: {{ u: {{ endpoints: [\"localhost:1\"] }} }}\n");
        bench.write(&named);
        bench.runtime.block_on(async {
            let (mut reloader, _reloads) = bench.started().await;
            let known = reloader.parts.dns.known();
            assert!(known.contains_key("localhost"));
            for refused in [
                "bogus: 1\n",
                "upstreams: {",
                &named.replace("localhost", "127.0.0.1").replace("status: 200", "statu: 2"),
            ] {
                bench.write(refused);
                assert!(!reloader.change(Trigger::File, None).await.adopted, "{refused}");
                assert_eq!(reloader.parts.dns.known(), known, "{refused}");
            }
            bench.write(GOOD);
            assert!(reloader.change(Trigger::File, None).await.adopted);
            assert!(reloader.parts.dns.known().is_empty());
        });
    }

    #[test]
    fn a_shard_that_refuses_keeps_the_plan_before() {
        let bench = Bench::new();
        bench.runtime.block_on(async {
            let (mut reloader, _reloads) = bench.started().await;
            bench.refuses.store(true, Ordering::Relaxed);
            let outcome = reloader.change(Trigger::Api, None).await;
            assert_eq!((outcome.adopted, outcome.problem.as_deref()), (false, Some("taken")));
            assert_eq!(reloader.parts.shared.current().generation, 1);
        });
    }

    #[test]
    fn requests_that_wait_share_one_reload() {
        let bench = Bench::new();
        bench.runtime.block_on(async {
            let (mut reloader, reloads) = bench.started().await;
            reloads.ask(Trigger::Signal);
            let waiting = reloads.ask_and_wait(Trigger::Api);
            let serving = async {
                let first = reloader.requests.recv().await.unwrap();
                reloader.serve(first).await;
            };
            let (outcome, ()) = tokio::join!(waiting, serving);
            let outcome = outcome.unwrap();
            assert_eq!((outcome.generation, outcome.trigger), (2, Trigger::Api));
            assert!(reloader.requests.try_recv().is_err());
        });
    }

    #[test]
    fn files_that_say_the_same_are_no_change() {
        let bench = Bench::new();
        bench.runtime.block_on(async {
            let (mut reloader, _reloads) = bench.started().await;
            bench.write(GOOD);
            reloader.files_stirred().await;
            assert_eq!(reloader.parts.shared.current().generation, 1);
            bench.write(&GOOD.replace("/a", "/b"));
            reloader.files_stirred().await;
            assert_eq!(reloader.parts.shared.current().generation, 2);
        });
    }

    #[test]
    fn names_are_compiled_from_what_is_in_force_not_from_the_disk() {
        let bench = Bench::new();
        bench.runtime.block_on(async {
            let (mut reloader, _reloads) = bench.started().await;
            bench.write("bogus: 1\n");
            let outcome = reloader.change(Trigger::Names, None).await;
            assert_eq!((outcome.adopted, outcome.generation), (true, 2));
        });
    }

    #[test]
    fn a_log_file_that_cannot_be_opened_refuses_the_change() {
        let bench = Bench::new();
        bench.runtime.block_on(async {
            let (mut reloader, _reloads) = bench.started().await;
            for (path, name) in [("/nonexistent/log", "/nonexistent/log"), ("/nonexistent/${PATH}", "(hidden)")] {
                bench.write(&GOOD.replace("access_log: off", &format!("access_log: {{ to: {{ file: \"{path}\" }} }}")));
                let outcome = reloader.change(Trigger::Api, None).await;
                let expected = format!("access_log.to: {name} cannot be opened: ");
                assert!(outcome.problem.as_ref().is_some_and(|problem| problem.starts_with(&expected)), "{outcome:?}");
            }
        });
    }

    #[test]
    fn an_old_snapshot_is_kept_until_nobody_uses_it() {
        let bench = Bench::new();
        bench.runtime.block_on(async {
            let (mut reloader, _reloads) = bench.started().await;
            let used = reloader.parts.shared.current();
            reloader.change(Trigger::Api, None).await;
            reloader.free_retired();
            assert_eq!(reloader.retired.len(), 1, "the empty one is free, the used one is not");
            drop(used);
            reloader.free_retired();
            assert!(reloader.retired.is_empty());
        });
    }
}
