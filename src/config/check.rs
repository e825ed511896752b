//! What a single object can get wrong although every value in it is of the right type.
//!
//! What needs a second object, such as a reference to an upstream, is not here but where snapshots are compiled.

use super::finding::{Finding, Span, join};
use super::interpolate::World;
use super::suggest::nearest;

/// An object that knows its own rules.
pub(super) trait Check {
    /// Reads the files that the object names.
    fn take_in(&mut self, _world: &mut World<'_>) {}

    /// Reports everything wrong within the object.
    fn check(&self, report: &mut Report<'_>);
}

/// Where an object reports to.
pub(super) struct Report<'f> {
    path: String,
    /// The place for what is absent.
    pub span: Span,
    findings: &'f mut Vec<Finding>,
}

impl<'f> Report<'f> {
    pub fn new(path: &str, span: Span, findings: &'f mut Vec<Finding>) -> Self {
        Self { path: path.to_owned(), span, findings }
    }

    /// The same report for a part of the object.
    pub fn below(&mut self, key: &str) -> Report<'_> {
        Report { path: join(&self.path, key), span: self.span, findings: self.findings }
    }

    /// Whether these keys are absent because nobody wrote them, and not because what was written was set aside.
    pub fn lacks(&self, keys: &[&'static str]) -> bool {
        let below = |finding: &Finding| finding.path.strip_prefix(&self.path)?.strip_prefix('.').map(str::to_owned);
        let first = |path: &str| path.split(['.', '[']).next().and_then(|key| nearest(key, keys.iter().copied()));
        !self.findings.iter().filter_map(below).any(|path| first(&path).is_some())
    }

    pub fn error(
        &mut self,
        code: &'static str,
        span: Span,
        key: &str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let path = if key.is_empty() { self.path.clone() } else { join(&self.path, key) };
        self.findings.push(Finding::error(code, span, path, problem).hint(hint));
    }

    pub fn warning(
        &mut self,
        code: &'static str,
        span: Span,
        key: &str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.findings.push(Finding::warning(code, span, join(&self.path, key), problem).hint(hint));
    }
}
