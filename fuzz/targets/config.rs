//! Configurations: loading and compiling never panics, and no resolved value ever shows in a finding.

#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidegate::config::{self, Environment, Finding, Source};
use tidegate::observe::{Bounds, Registry};
use tidegate::snapshot::compile::{World, compile};

/// What every variable and every file holds.
const SECRET: &str = "hunter2-correct-horse";

struct Secrets;

impl Environment for Secrets {
    fn variable(&self, _: &str) -> Option<String> {
        Some(SECRET.into())
    }

    fn file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(SECRET.into())
    }
}

fuzz_target!(|text: &str| {
    let loaded = config::load(&Source::text("fuzz.yaml", text), &Secrets);
    let mut findings: Vec<Finding> = loaded.all_findings().into_iter().cloned().collect();
    let registry = Registry::new(1, Bounds::default());
    let resolved = BTreeMap::new();
    let world = World { previous: None, registry: &registry, resolved: &resolved, via_seed: 1 };
    findings.extend(compile(&Arc::new(loaded.config), &world).findings);

    let shown: Vec<&Finding> = findings.iter().collect();
    let rendered = config::render(&shown, &loaded.sources, false);
    let json = config::to_json(&shown, &loaded.sources).to_string();
    if !text.contains(SECRET) {
        assert!(!rendered.contains(SECRET) && !json.contains(SECRET), "a secret shows");
    }
    assert!(findings.iter().all(|finding| !finding.problem.is_empty()));
});
