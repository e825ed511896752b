//! Processes that never outlive their owner, and commands that never hang.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use super::{PATIENCE, holds_within};

/// A process of ours: killed and reaped when dropped.
pub struct Process(Child);

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status().unwrap();
        assert!(status.success(), "cannot send {name}");
    }

    /// How the process ended, if it does so in time.
    pub fn end_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let mut status = None;
        holds_within(time, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end, at most 60 seconds.
pub fn run(command: &mut Command) -> Output {
    run_with_stdin(command.stdin(Stdio::null()))
}

/// The same, with the standard input that the command has.
pub fn run_with_stdin(command: &mut Command) -> Output {
    let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let out = drain(process.child().stdout.take().unwrap());
    let err = drain(process.child().stderr.take().unwrap());
    let status = process.end_within(4 * PATIENCE).unwrap_or_else(|| panic!("{command:?} does not end"));
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// What curl prints for these arguments; it must succeed.
pub fn curl(arguments: &[&str]) -> String {
    let output = run(Command::new("curl").args(["-sS", "--max-time", "45"]).args(arguments));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "curl {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
