//! `check`: reads and compiles a configuration exactly as `run` does, and says what is wrong with it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{FINDINGS, Format, colour, print};
use crate::config::{ProcessEnvironment, Source};
use crate::snapshot::Draft;

/// Check a configuration: the very code that loads it
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tidegate check -c /etc/tidegate/tidegate.yaml\n  \
                        tidegate check -c conf.d --format json --strict")]
pub(super) struct Check {
    /// A file, or a folder whose *.yaml files are merged
    #[arg(short, long, value_name = "PATH")]
    config: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub fn execute(self) -> ExitCode {
        let draft = Draft::alone(&Source::Path(self.config), &ProcessEnvironment);
        let fine = if self.strict { draft.findings.is_empty() } else { draft.is_sound() };
        print(&match self.format {
            Format::Text => text(&draft),
            Format::Json => {
                let (findings, total) = (draft.to_json(), draft.findings.len());
                format!("{:#}\n", json!({ "ok": fine, "findings": findings, "findings_total": total }))
            }
        });
        if fine { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) }
    }
}

/// The findings, and one line that sums up.
fn text(draft: &Draft) -> String {
    let errors = draft.errors();
    let warnings = draft.findings.len() - errors;
    let snapshot = &draft.snapshot;
    let mut text = draft.render(colour());
    text.push_str(&match (errors, warnings) {
        (0, 0) => format!(
            "ok: {}, {}, {}\n",
            count(snapshot.listeners.len(), "listener"),
            count(snapshot.upstreams.len(), "upstream"),
            count(snapshot.routes.len(), "route"),
        ),
        (0, _) => format!("ok, with {}\n", count(warnings, "warning")),
        (_, 0) => format!("{}\n", count(errors, "error")),
        _ => format!("{}, {}\n", count(errors, "error"), count(warnings, "warning")),
    });
    text
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EmptyEnvironment;

    #[test]
    fn the_last_line_sums_up() {
        let sum = |yaml: &str| {
            let draft = Draft::alone(&Source::text("t.yaml", yaml), &EmptyEnvironment);
            text(&draft).lines().last().unwrap_or_default().to_owned()
        };
        assert_eq!(sum("listeners: { a: { bind: \"127.0.0.1:1\" } }\n"), "ok: 1 listener, 0 upstreams, 0 routes");
        assert_eq!(sum("listners: {}\n"), "1 error");
    }
}
