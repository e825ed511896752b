//! Whether the files of a configuration say something new, and where to look for that.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use ahash::RandomState;

/// Symbolic links followed on the way to one file, as the kernel counts them.
const LINKS_MAX: usize = 40;
/// As much as a configuration may hold; of a larger file only this is looked at, and its length.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// Tells contents apart, within this process only.
#[derive(Default)]
pub(super) struct Fingerprints {
    state: RandomState,
}

impl Fingerprints {
    /// Of all these files; a folder counts with the YAML files in it, and what cannot be read counts as such.
    pub fn of(&self, files: &[PathBuf]) -> u64 {
        let mut hasher = self.state.build_hasher();
        for file in files {
            file.hash(&mut hasher);
            match fs::metadata(file) {
                Ok(found) if found.is_dir() => yaml_files(file).hash(&mut hasher),
                Ok(found) if found.is_file() => (found.len(), read(file).ok()).hash(&mut hasher),
                // A device has no end, and a pipe may have no beginning.
                _ => {}
            }
        }
        hasher.finish()
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The names in a folder that a configuration is made of. Their contents count where they are named themselves.
fn yaml_files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(ENTRIES_MAX);
    entries.flatten().map(|entry| entry.path()).filter(|path| is_yaml(path)).collect()
}

pub(super) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// The folders in which a change can give `path` another content: its own, and that of every symbolic link on the way.
pub(super) fn folders_to_watch(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for _ in 0..LINKS_MAX {
        match first_link(&path) {
            Some((folder, target)) => {
                folders.insert(folder);
                path = target;
            }
            None => break,
        }
    }
    if path.is_dir() {
        folders.insert(path);
    } else if let Some(folder) = path.parent() {
        folders.insert(folder.to_owned());
    }
    folders
}

/// The folder of the first symbolic link on the way to `path`, and the path with that link replaced by its target.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut walked = PathBuf::new();
    let mut components = path.components();
    while let Some(component) = components.next() {
        if component == Component::ParentDir {
            walked.pop();
            continue;
        }
        walked.push(component);
        if let Ok(target) = fs::read_link(&walked) {
            let folder = walked.parent()?.to_owned();
            let path = folder.join(target).join(components.as_path());
            return Some((folder, path));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_another_content_is_another_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        let fingerprints = Fingerprints::default();
        let files = [folder.path().to_owned(), file.clone()];
        fs::write(&file, "one").unwrap();
        let first = fingerprints.of(&files);
        fs::write(&file, "one").unwrap();
        assert_eq!(fingerprints.of(&files), first);
        fs::write(&file, "two").unwrap();
        assert_ne!(fingerprints.of(&files), first);
    }

    #[test]
    fn what_has_no_end_or_no_writer_is_not_read_and_a_huge_file_only_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, huge) = (folder.path().join("pipe"), folder.path().join("huge"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
        let fingerprints = Fingerprints::default();
        let files = [pipe, PathBuf::from("/dev/zero"), huge.clone()];
        let first = fingerprints.of(&files);
        assert_eq!(fingerprints.of(&files), first);
        fs::File::create(&huge).unwrap().set_len(1 << 39).unwrap();
        assert_ne!(fingerprints.of(&files), first);
    }

    #[test]
    fn another_yaml_file_in_the_folder_is_another_fingerprint_and_a_log_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let fingerprints = Fingerprints::default();
        let files = [folder.path().to_owned()];
        let first = fingerprints.of(&files);
        fs::write(folder.path().join("access.log"), "line").unwrap();
        assert_eq!(fingerprints.of(&files), first);
        fs::write(folder.path().join("b.yml"), "").unwrap();
        assert_ne!(fingerprints.of(&files), first);
    }

    #[test]
    fn every_link_on_the_way_is_watched() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for folder in ["mount/..one", "elsewhere"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("mount/..one/gate.yaml"), "").unwrap();
        symlink("..one", root.join("mount/..data")).unwrap();
        symlink("..data/gate.yaml", root.join("mount/gate.yaml")).unwrap();
        symlink(root.join("mount/gate.yaml"), root.join("elsewhere/g.yaml")).unwrap();
        let watched = folders_to_watch(&root.join("elsewhere/g.yaml"));
        let expected = ["elsewhere", "mount", "mount/..one"].map(|folder| root.join(folder));
        assert_eq!(watched, BTreeSet::from(expected));
    }

    #[test]
    fn a_ring_of_links_ends() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(!folders_to_watch(&root.path().join("a")).is_empty());
    }
}
