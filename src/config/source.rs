//! Where a configuration comes from: a file, a folder, or text in memory; and the world its `${…}` refer to.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::UnixTime;

/// More than twenty times the size of 10,000 routes.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Certificates and pages fit; a device file ends here.
const INCLUDED_BYTES_MAX: u64 = 1024 * 1024;
/// Files in one configuration folder.
const FOLDER_FILES_MAX: usize = 1_000;

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// One file, or a folder whose `*.yaml` and `*.yml` files are merged in the order of their names.
    Path(PathBuf),
    /// Texts with the names that findings show, merged in this order.
    Texts(Vec<(String, String)>),
}

impl Source {
    /// One text under a name.
    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Texts(vec![(name.into(), text.into())])
    }

    /// The texts, or for each that cannot be read the reason.
    pub(super) fn read(&self) -> Vec<Text> {
        match self {
            Self::Texts(texts) => texts.iter().map(|(name, text)| Text::new(name, Ok(text.clone()))).collect(),
            Self::Path(path) if path.is_dir() => read_folder(path),
            Self::Path(path) => vec![read_file(path)],
        }
    }

    /// The folder to watch, when the source is one.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Path(path) if path.is_dir() => Some(path),
            _ => None,
        }
    }
}

/// One text of the configuration as it was found.
pub(super) struct Text {
    pub name: String,
    /// The file it came from; none for text in memory.
    pub path: Option<PathBuf>,
    pub content: Result<String, String>,
}

impl Text {
    fn new(name: &str, content: Result<String, String>) -> Self {
        Self { name: name.to_owned(), path: None, content }
    }
}

fn read_folder(folder: &Path) -> Vec<Text> {
    let failed = |reason: String| vec![Text::new(&folder.display().to_string(), Err(reason))];
    let mut paths = match yaml_files(folder) {
        Ok(paths) => paths,
        Err(error) => return failed(error.to_string()),
    };
    if paths.is_empty() {
        return failed("the folder holds no *.yaml or *.yml file".into());
    }
    if paths.len() > FOLDER_FILES_MAX {
        return failed(format!("the folder holds more than {FOLDER_FILES_MAX} files"));
    }
    paths.sort();
    paths.iter().map(|path| read_file(path)).collect()
}

fn yaml_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)?.take(10 * FOLDER_FILES_MAX) {
        let path = entry?.path();
        // Editors leave `.gate.yaml.swp` and `.#gate.yaml` behind.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn read_file(path: &Path) -> Text {
    let content = read_bounded(path, FILE_BYTES_MAX)
        .map_err(|error| error.to_string())
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".to_owned()));
    Text { name: path.display().to_string(), path: Some(path.to_owned()), content }
}

fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("the file is larger than {} MiB", bytes_max / (1024 * 1024))));
    }
    Ok(bytes)
}

/// What `${VAR}` and `${file:path}` refer to.
pub trait Environment {
    /// The value of a variable, if it is set.
    fn variable(&self, name: &str) -> Option<String>;

    /// The bytes of a file.
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The certificates of the authorities that this system trusts, as DER.
    fn trust_roots(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The wall clock, by which certificates are judged; where there is none, none has expired.
    fn now(&self) -> UnixTime {
        UnixTime::default()
    }
}

/// The environment of this process and the files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_bounded(path, INCLUDED_BYTES_MAX)
    }

    fn trust_roots(&self) -> Vec<Vec<u8>> {
        // What could not be read of them is missing; none at all is a finding.
        let found = rustls_native_certs::load_native_certs();
        found.certs.iter().map(|certificate| certificate.to_vec()).collect()
    }

    fn now(&self) -> UnixTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime::default().plus(since)
    }
}

/// Nothing is set and no file exists: for text that must stand alone, such as the embedded quickstart.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyEnvironment;

impl Environment for EmptyEnvironment {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}
