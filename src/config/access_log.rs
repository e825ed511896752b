//! `access_log`: one line per exchange.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::{Check, Report};
use super::shape::{Shorthand, shorthand_type};
use super::spanned::{Spanned, Text};

/// One line per exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    pub to: Spanned<LogTarget>,
    pub format: LogFormat,
    /// None means the default ones.
    pub fields: Option<Vec<Text>>,
}

/// The access log in full.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogFull {
    /// Where lines go: `stdout`, `stderr`, `off`, or `{ file: path }`, which SIGUSR1 reopens. Default: `stdout`.
    pub to: Spanned<LogTarget>,
    /// How a line is written. Default: `json`.
    pub format: LogFormat,
    /// The fields of a line, in this order. Default: those marked in docs/observability.md; `query` and `referer` are not.
    pub fields: Option<Vec<Text>>,
}

impl Default for AccessLogFull {
    fn default() -> Self {
        Self { to: Spanned::unwritten(LogTarget::Stdout), format: LogFormat::Json, fields: None }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self::of_full(AccessLogFull::default())
    }
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// The end of this file.
    File(Text),
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
}

impl Shorthand for AccessLog {
    type Full = AccessLogFull;
    const EXPECTED: &'static str = "`stdout`, `stderr`, `off` or a map with `to`";

    fn of_word(word: Text) -> Result<Self, String> {
        let to = match word.as_str() {
            "stdout" => LogTarget::Stdout,
            "stderr" => LogTarget::Stderr,
            "off" => LogTarget::Off,
            _ => return Err("unknown word\nwrite `stdout`, `stderr`, `off`, or `{ to: { file: path } }`".into()),
        };
        Ok(Self { to: word.map(|_| to), ..Self::default() })
    }

    fn of_full(full: AccessLogFull) -> Self {
        Self { to: full.to, format: full.format, fields: full.fields }
    }
}

shorthand_type!(AccessLog, { "enum": ["stdout", "stderr", "off"] });

impl Check for AccessLog {
    fn check(&self, report: &mut Report<'_>) {
        if self.fields.as_ref().is_some_and(Vec::is_empty) && report.lacks(&["fields"]) {
            let hint = "name the fields, remove the key, or write `access_log: off`";
            report.error("empty-key", report.span, "fields", "a log line without fields", hint);
        }
        if let LogTarget::File(path) = &self.to.value
            && path.is_empty()
        {
            report.error("bad-value", path.span, "to.file", "the path is empty", "write a path, such as `access.log`");
        }
    }
}
