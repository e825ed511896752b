//! From a configuration that was read to one that could be adopted: the one way for `run`, reload, `check` and `explain`.

use std::path::PathBuf;
use std::sync::Arc;

use super::Snapshot;
use super::compile::{self, Resolved, World};
use crate::config::{self, Environment, Finding, Loaded, Severity, Source, Sources, Span};
use crate::observe::{Bounds, Registry};

/// A compiled configuration, with everything that was said about it.
pub struct Draft {
    pub snapshot: Snapshot,
    /// Of reading and of compiling, in the order of files and lines.
    pub findings: Vec<Finding>,
    pub sources: Sources,
    /// Every file, and the folder, whose change may change the configuration.
    pub files: Vec<PathBuf>,
}

impl Draft {
    /// Compiles what was read.
    pub fn of(loaded: Loaded, world: &World<'_>) -> Self {
        let mut findings: Vec<Finding> = loaded.all_findings().into_iter().cloned().collect();
        let config = Arc::new(loaded.config);
        let compiled = compile::compile(&config, world);
        findings.extend(compiled.findings);
        findings.sort_by(Finding::order);
        let mut draft = Self { snapshot: compiled.snapshot, findings, sources: loaded.sources, files: loaded.files };
        if draft.is_sound() && draft.snapshot.listeners.is_empty() {
            draft.findings.push(without_listener());
        }
        draft
    }

    /// Reads and compiles a configuration for its own sake: nothing is in force, and no name is resolved.
    pub fn alone(source: &Source, environment: &dyn Environment) -> Self {
        let registry = Registry::new(1, Bounds::default());
        let world = World { previous: None, registry: &registry, resolved: &Resolved::new(), via_seed: 0 };
        Self::of(config::load(source, environment), &world)
    }

    /// Whether it may be adopted: any error refuses the whole change.
    pub fn is_sound(&self) -> bool {
        self.errors() == 0
    }

    /// How many findings refuse the change.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// The findings for a terminal.
    pub fn render(&self, colour: bool) -> String {
        config::render(&self.findings.iter().collect::<Vec<_>>(), &self.sources, colour)
    }

    /// The findings as a JSON array.
    pub fn to_json(&self) -> serde_json::Value {
        config::to_json(&self.findings.iter().collect::<Vec<_>>(), &self.sources)
    }
}

/// Sound, and of no use.
fn without_listener() -> Finding {
    Finding::warning("no-listener", Span::default(), "listeners", "no listener is written: nobody can connect")
        .hint("write `listeners: { public: { bind: \"0.0.0.0:8080\" } }`")
}
