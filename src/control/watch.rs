//! Noticing that a file of the configuration may have changed. Whether it has is for its content to say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::fingerprint::{folders_to_watch, is_yaml};
use super::tell::tell;

/// Editors write in several steps; this long after the last one they are done.
const QUIET: Duration = Duration::from_millis(200);
/// A folder that never rests is looked at after so long all the same.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);

/// Watches the folders of the configuration's files.
pub(super) struct FileWatch {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    files: Arc<Mutex<BTreeSet<PathBuf>>>,
    stirred: Arc<Notify>,
}

impl FileWatch {
    /// Watches nothing yet. Where the system has no watch left to give, changes are only seen when they are asked for.
    pub fn new() -> Self {
        let stirred = Arc::new(Notify::new());
        let files = Arc::<Mutex<BTreeSet<PathBuf>>>::default();
        let (wake, known) = (Arc::clone(&stirred), Arc::clone(&files));
        let on_event = move |event: notify::Result<Event>| {
            let files = known.lock().unwrap_or_else(PoisonError::into_inner);
            if event.is_ok_and(|event| matters(&event, &files)) {
                wake.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(on_event)
            .inspect_err(|error| tell(&format!("files are not watched: {error}; reload by SIGHUP")));
        Self { watcher: watcher.ok(), folders: BTreeSet::new(), files, stirred }
    }

    /// What to await for the next change.
    pub fn stirred(&self) -> Arc<Notify> {
        Arc::clone(&self.stirred)
    }

    /// Watches these files from now on, and no others.
    pub fn set(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        let folders: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders_to_watch(file)).collect();
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files.iter().filter_map(|f| name(f)).collect();
        for gone in self.folders.difference(&folders) {
            // A folder that was removed has taken its watch with it.
            let _ = watcher.unwatch(gone);
        }
        for folder in &folders {
            // Again for those watched already: one that was replaced is another folder under the same name.
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tell(&format!("{} is not watched: {error}; reload by SIGHUP", folder.display()));
            }
        }
        self.folders = folders;
    }
}

fn name(path: &Path) -> Option<PathBuf> {
    path.file_name().map(PathBuf::from)
}

/// Whether the event can mean another content. Writing counts for the files we know by name, since a log may be written
/// in the same folder; entries that come, go or are renamed always count, as links do so.
fn matters(event: &Event, files: &BTreeSet<PathBuf>) -> bool {
    let known = || event.paths.iter().any(|path| is_yaml(path) || name(path).is_some_and(|name| files.contains(&name)));
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => known(),
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => known(),
        _ => true,
    }
}

/// When to look after events that come in bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Debounce<T> {
    first: T,
    last: T,
}

impl<T: Copy + Ord + std::ops::Add<Duration, Output = T>> Debounce<T> {
    /// A first event.
    pub fn begin(now: T) -> Self {
        Self { first: now, last: now }
    }

    /// A further event.
    pub fn again(&mut self, now: T) {
        self.last = now;
    }

    /// When it has been quiet long enough, as far as is known.
    pub fn due(&self) -> T {
        (self.last + QUIET).min(self.first + QUIET_WAIT_MAX)
    }
}

/// Waits for a change and then for the quiet after it.
pub(super) async fn settled(stirred: &Notify) {
    stirred.notified().await;
    let mut debounce = Debounce::begin(Instant::now());
    loop {
        tokio::select! {
            () = sleep_until(debounce.due()) => return,
            () = stirred.notified() => debounce.again(Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, RenameMode};

    fn matters_to(kind: EventKind, path: &str) -> bool {
        matters(&Event::new(kind).add_path(PathBuf::from(path)), &BTreeSet::from([PathBuf::from("key.pem")]))
    }

    #[test]
    fn a_burst_is_looked_at_once_it_is_over() {
        let mut debounce = Debounce::begin(Duration::ZERO);
        assert_eq!(debounce.due(), QUIET);
        debounce.again(Duration::from_millis(150));
        assert_eq!(debounce.due(), Duration::from_millis(350));
    }

    #[test]
    fn a_folder_that_never_rests_is_looked_at_in_the_end() {
        let mut debounce = Debounce::begin(Duration::ZERO);
        for millis in (0..5000).step_by(100) {
            debounce.again(Duration::from_millis(millis));
        }
        assert_eq!(debounce.due(), QUIET_WAIT_MAX);
    }

    #[test]
    fn reading_is_no_change_and_a_log_beside_the_configuration_is_none_either() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(!matters_to(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/etc/t/gate.yaml"));
        assert!(!matters_to(written, "/etc/t/access.log"));
        assert!(matters_to(written, "/etc/t/gate.yaml") && matters_to(written, "/etc/t/key.pem"));
    }

    #[test]
    fn a_swapped_link_is_a_change_whatever_its_name() {
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert!(matters_to(renamed, "/etc/t/..data"));
        assert!(matters_to(EventKind::Create(CreateKind::Any), "/etc/t/..data"));
    }
}
