//! What a single object can get wrong although every value in it is of the right type.
//!
//! What needs a second object, such as a reference to an upstream, is not here but where snapshots are compiled.

use super::finding::{Finding, Span, join};
use super::interpolate::World;

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
