//! What came of a change of the configuration, for the log, the status and whoever asked for it.

use std::time::Duration;

use serde::Serialize;

use super::changes::Changes;
use crate::base::UnixTime;

/// Why the configuration was looked at. Of several at once the greatest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trigger {
    /// A host name resolves to other addresses; nothing is read again.
    Names,
    File,
    Signal,
    Api,
    Start,
}

impl Trigger {
    pub fn text(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
            Self::Start => "start",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub trigger: Trigger,
    pub adopted: bool,
    /// The generation in force afterwards.
    pub generation: u64,
    pub duration_ms: f64,
    pub at_unix_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Keys whose new value waits for a restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<&'static str>,
    /// Those that are shown.
    pub findings: serde_json::Value,
    pub findings_total: usize,
    /// What else was in the way, such as an address that cannot be bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The findings for a terminal.
    #[serde(skip)]
    pub rendered: String,
}

impl Outcome {
    pub fn new(trigger: Trigger, generation: u64, at: UnixTime) -> Self {
        Self {
            trigger,
            adopted: false,
            generation,
            duration_ms: 0.0,
            at_unix_seconds: at.as_seconds(),
            changes: None,
            needs_restart: Vec::new(),
            findings: serde_json::Value::Array(Vec::new()),
            findings_total: 0,
            problem: None,
            rendered: String::new(),
        }
    }

    pub fn took(&mut self, duration: Duration) {
        self.duration_ms = (duration.as_secs_f64() * 100_000.0).round() / 100.0;
    }

    /// One line for the log.
    pub fn line(&self) -> String {
        let (trigger, generation, took) = (self.trigger.text(), self.generation, self.duration_ms);
        let Some(changes) = self.changes.as_ref().filter(|_| self.adopted) else {
            let count = self.findings_total;
            let why = self
                .problem
                .clone()
                .unwrap_or_else(|| if count == 1 { "1 finding".into() } else { format!("{count} findings") });
            return format!("reload refused: {why}; generation {generation} serves on (trigger {trigger}, {took} ms)");
        };
        let mut line = format!("generation {generation} adopted: {changes} (trigger {trigger}, {took} ms)");
        if !self.needs_restart.is_empty() {
            line.push_str(&format!("; not applied before a restart: {}", self.needs_restart.join(", ")));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_and_what_serves_on() {
        let mut outcome = Outcome::new(Trigger::Signal, 7, UnixTime::default());
        outcome.problem = Some("listener `a`: cannot listen on 127.0.0.1:1".into());
        let line = outcome.line();
        assert!(line.starts_with("reload refused: listener `a`: cannot listen on 127.0.0.1:1; generation 7 serves on"));
    }

    #[test]
    fn what_waits_for_a_restart_is_named() {
        let mut outcome = Outcome::new(Trigger::File, 2, UnixTime::default());
        (outcome.adopted, outcome.changes) = (true, Some(Changes::default()));
        outcome.needs_restart = vec!["admin.bind"];
        assert!(outcome.line().ends_with("not applied before a restart: admin.bind"), "{}", outcome.line());
    }
}
