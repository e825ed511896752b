//! The life of a request: everything between an accepted stream and its answer.

pub mod command;
pub mod net;
pub mod shell;
