//! Policies that change messages.

mod headers;

pub use headers::{EditError, HeaderEdits};
