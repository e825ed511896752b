//! The command line. One file per command; what they share is here. Exit codes: 0 fine, 1 findings, 2 misuse.

mod check;
mod explain;
#[cfg(feature = "control")]
mod remote;
#[cfg(feature = "control")]
mod report;
#[cfg(feature = "control")]
mod run;
mod schema;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::Source;

/// Exit code: something was found, or did not work.
const FINDINGS: u8 = 1;
/// Exit code: the command itself makes no sense.
const MISUSE: u8 = 2;

/// The configuration of `run` without `-c`.
const QUICKSTART: &str = include_str!("../../config/quickstart.yaml");
const QUICKSTART_NAME: &str = "quickstart.yaml";

#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about = "An API gateway and edge proxy on io_uring", long_about = None)]
#[command(after_help = "Without a command, `run` is meant.\n\nExit codes: 0 fine, 1 findings, 2 misuse.")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "control")]
    Run(run::Run),
    Check(check::Check),
    Explain(explain::Explain),
    Schema(schema::Schema),
    #[cfg(feature = "control")]
    Status(remote::Status),
    #[cfg(feature = "control")]
    Reload(remote::Reload),
    #[cfg(feature = "control")]
    Drain(remote::Drain),
}

/// How a command writes its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

/// Does what the command line of this process says. `give_back` has the allocator return what the calling thread has
/// freed to the system.
pub fn main(give_back: fn()) -> ExitCode {
    match Arguments::parse().command {
        Some(command) => command.execute(give_back),
        None => without_command(give_back),
    }
}

impl Command {
    fn execute(self, #[cfg_attr(not(feature = "control"), expect(unused))] give_back: fn()) -> ExitCode {
        match self {
            #[cfg(feature = "control")]
            Self::Run(run) => run.execute(give_back),
            Self::Check(check) => check.execute(),
            Self::Explain(explain) => explain.execute(),
            Self::Schema(schema) => schema.execute(),
            #[cfg(feature = "control")]
            Self::Status(status) => status.execute(),
            #[cfg(feature = "control")]
            Self::Reload(reload) => reload.execute(),
            #[cfg(feature = "control")]
            Self::Drain(drain) => drain.execute(),
        }
    }
}

#[cfg(feature = "control")]
fn without_command(give_back: fn()) -> ExitCode {
    run::Run::default().execute(give_back)
}

#[cfg(not(feature = "control"))]
fn without_command(_give_back: fn()) -> ExitCode {
    complain("this build has no `run`: see `tidegate --help`");
    ExitCode::from(MISUSE)
}

/// The configuration a command works on: that of `-c`, or the quickstart.
fn source(path: Option<PathBuf>) -> Source {
    match path {
        Some(path) => Source::Path(path),
        None => Source::text(QUICKSTART_NAME, QUICKSTART),
    }
}

/// Writes the result of a command. Whoever closed the pipe has read enough.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Writes what is wrong. Whom that does not reach still has the exit code.
fn complain(text: &str) {
    show(&format!("tidegate: {text}\n"));
}

/// Writes beside the result.
fn show(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Whether standard output may be coloured.
fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EmptyEnvironment;
    use crate::snapshot::Draft;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Arguments::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("tidegate "), "{}", command.get_name());
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }

    #[test]
    fn the_quickstart_is_sound() {
        let draft = Draft::alone(&source(None), &EmptyEnvironment);
        assert!(draft.findings.is_empty(), "{}", draft.render(false));
        assert_eq!(draft.snapshot.upstreams.len(), 1);
    }

    #[test]
    fn every_example_configuration_is_sound() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let draft = Draft::alone(&Source::Path(path.clone()), &Examples);
                assert!(draft.findings.is_empty(), "{}", draft.render(false));
                count += 1;
            }
        }
        assert!(count >= 4);
    }

    /// The secrets of the examples are there.
    struct Examples;

    impl crate::config::Environment for Examples {
        fn variable(&self, name: &str) -> Option<String> {
            name.ends_with("_TOKEN").then(|| "a-value-that-is-long-enough".into())
        }

        fn file(&self, path: &std::path::Path) -> io::Result<Vec<u8>> {
            static PAIR: std::sync::LazyLock<(String, String)> = std::sync::LazyLock::new(|| {
                let key = rcgen::KeyPair::generate().unwrap();
                let params = rcgen::CertificateParams::new(["www.example.com".to_owned()]).unwrap();
                (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
            });
            let text = match path.extension().and_then(|extension| extension.to_str()) {
                Some("pem") => &PAIR.0,
                Some("key") => &PAIR.1,
                _ => "a-value-that-is-long-enough",
            };
            Ok(text.as_bytes().to_vec())
        }
    }
}
