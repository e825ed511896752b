//! What is wrong with a pattern the operator wrote.

use std::borrow::Cow;

/// What is wrong, where in the text, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Offset in bytes of the first wrong character.
    pub at: usize,
    pub problem: Cow<'static, str>,
    pub hint: Cow<'static, str>,
}

impl PatternError {
    pub(super) fn new(at: usize, problem: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { at, problem: problem.into(), hint: hint.into() }
    }

    /// The same error in a text in which this pattern begins at `offset`.
    pub(super) fn shifted(mut self, offset: usize) -> Self {
        self.at += offset;
        self
    }
}

impl std::fmt::Display for PatternError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.problem, self.hint)
    }
}

impl std::error::Error for PatternError {}
