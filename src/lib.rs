//! Tidegate: an API gateway and edge proxy on io_uring.
//!
//! The modules stand in the order of their ranks: each uses only those of the groups above its own, and siblings never
//! meet except in `proxy` (`docs/architecture.md` has the table, `tests/tidy.rs` holds it).

pub mod base;

pub mod config;
pub mod http;

pub mod context;

pub mod observe;
pub mod policy;
pub mod route;
pub mod upstream;

pub mod snapshot;

pub mod proxy;

#[cfg(feature = "runtime")]
pub mod runtime;

#[cfg(feature = "control")]
pub mod control;

pub mod cli;
