//! One running gateway.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::process::{Process, run_with_stdin};
use super::{Client, PATIENCE, Response, run, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
/// Begins the last line of the start-up report.
const READY: &str = "  config      ";

pub struct Gateway {
    process: Process,
    folder: TempDir,
    told: Arc<Mutex<String>>,
    /// Where it listens, in the order of the configuration.
    pub addresses: Vec<String>,
    pub admin: String,
}

impl Gateway {
    /// Starts a gateway and waits until it is ready.
    pub fn start(config: &str) -> Self {
        Self::start_by(config, |binary| Command::new(binary))
    }

    /// The same, with a command of the caller's making.
    pub fn start_by(config: &str, command: impl FnOnce(&str) -> Command) -> Self {
        let (folder, mut command) = Self::prepare(config, command);
        let mut gateway = Self::launch(folder, &mut command, None);
        gateway.wait_ready();
        gateway
    }

    fn prepare(config: &str, command: impl FnOnce(&str) -> Command) -> (TempDir, Command) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, config).unwrap();
        let mut command = command(BINARY);
        command.arg("run").arg("-c").arg(&path).args(["--driver", &driver()]);
        (folder, command)
    }

    /// The same, but once it is ready nobody holds the other end of its standard error.
    pub fn start_unheard(config: &str) -> Self {
        let (folder, mut command) = Self::prepare(config, |binary| Command::new(binary));
        let mut gateway = Self::launch(folder, &mut command, Some(READY));
        gateway.wait_ready();
        gateway
    }

    /// Starts what must not start: its exit status and what it told.
    pub fn refused(config: &str) -> Output {
        Self::refused_by(config, |binary| {
            let mut command = Command::new(binary);
            command.stdin(Stdio::null());
            command
        })
    }

    /// The same, with a command of the caller's making.
    pub fn refused_by(config: &str, command: impl FnOnce(&str) -> Command) -> Output {
        let (_folder, mut command) = Self::prepare(config, command);
        run_with_stdin(&mut command)
    }

    /// Starts the embedded quickstart; what it told may be that its ports are taken.
    pub fn quickstart() -> Result<Self, String> {
        let mut command = Command::new(BINARY);
        command.args(["run", "--driver", &driver()]);
        let mut gateway = Self::launch(TempDir::new().unwrap(), &mut command, None);
        wait_until("the quickstart starts or ends", || {
            gateway.is_ready() || gateway.process.child().try_wait().unwrap().is_some()
        });
        if !gateway.is_ready() {
            return Err(gateway.told());
        }
        gateway.wait_told("Then write your own");
        gateway.wait_ready();
        Ok(gateway)
    }

    /// Starts the process and listens to it, to its standard error until a line with `last` at most.
    fn launch(folder: TempDir, command: &mut Command, last: Option<&'static str>) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command);
        let told = Arc::new(Mutex::new(String::new()));
        listen(process.child().stderr.take().unwrap(), &told, last);
        listen(process.child().stdout.take().unwrap(), &told, None);
        Self { process, folder, told, addresses: Vec::new(), admin: String::new() }
    }

    fn is_ready(&self) -> bool {
        self.told().contains(READY)
    }

    /// Reads the start-up report.
    fn wait_ready(&mut self) {
        let mut ended = false;
        wait_until("the gateway starts", || {
            ended = self.process.child().try_wait().unwrap().is_some();
            ended || self.is_ready()
        });
        let told = self.told();
        assert!(!ended, "the gateway ended at once:\n{told}");
        for line in told.lines() {
            if let Some(listener) = line.strip_prefix("  listener    ") {
                let (_, addresses) = listener.split_once(": ").unwrap();
                self.addresses.extend(addresses.split(", ").map(str::to_owned));
            }
            if let Some(admin) = line.strip_prefix("  admin       ") {
                self.admin = admin.to_owned();
            }
        }
    }

    /// Where it listens first.
    pub fn address(&self) -> &str {
        &self.addresses[0]
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// A new connection to the first listener.
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// The answer to one GET on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        self.client().get(path)
    }

    /// One call to the admin API.
    pub fn call(&self, method: &str, path: &str) -> Response {
        self.call_with(method, path, &format!("host: {}\r\n", self.admin))
    }

    /// One call with these fields and no others.
    pub fn call_with(&self, method: &str, path: &str, fields: &str) -> Response {
        let mut client = Client::connect(&self.admin);
        client.send(format!("{method} {path} HTTP/1.1\r\n{fields}connection: close\r\n\r\n").as_bytes());
        client.response().unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.call("GET", "/status").body).unwrap()
    }

    pub fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().unwrap()
    }

    /// Every sample of `/metrics`, by name and labels.
    pub fn metrics(&self) -> HashMap<String, f64> {
        let text = self.call("GET", "/metrics").text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
                (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no value: {line}")))
            })
            .collect()
    }

    /// A command of the command line that talks to this gateway.
    pub fn command(&self, name: &str) -> Output {
        run(Command::new(BINARY).args([name, "--admin", &self.admin]))
    }

    /// Overwrites the configuration, as one step.
    pub fn write(&self, config: &str) {
        let (path, draft) = (self.folder.path().join("gateway.yaml"), self.folder.path().join("draft"));
        std::fs::write(&draft, config).unwrap();
        std::fs::rename(draft, path).unwrap();
    }

    /// What it wrote to its standard outputs so far.
    pub fn told(&self) -> String {
        self.told.lock().unwrap().clone()
    }

    pub fn wait_told(&self, text: &str) {
        wait_until(&format!("{text:?} is told, not {:?}", self.told()), || self.told().contains(text));
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// How it ends, within the patience of a test.
    pub fn end(&mut self) -> ExitStatus {
        let end = self.process.end_within(PATIENCE);
        end.unwrap_or_else(|| panic!("the gateway does not end:\n{}", self.told()))
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A figure of `/proc/PID/status` in KiB, such as `VmRSS`.
    pub fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

fn listen(pipe: impl Read + Send + 'static, told: &Arc<Mutex<String>>, last: Option<&'static str>) {
    let told = Arc::clone(told);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut told = told.lock().unwrap();
            told.push_str(&line);
            told.push('\n');
            if last.is_some_and(|last| line.contains(last)) {
                return;
            }
        }
    });
}

/// The driver that this run of the suite is for.
pub fn driver() -> String {
    std::env::var("TIDEGATE_TEST_DRIVER").unwrap_or_else(|_| "auto".into())
}
