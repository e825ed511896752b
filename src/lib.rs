//! Tidegate: an API gateway and edge proxy on io_uring.
//!
//! The modules stand in the order of their ranks: each uses only those above it, siblings never meet except in
//! `proxy` (`docs/architecture.md` has the table, `tests/tidy.rs` holds it).

pub mod base;

pub mod http;

pub mod config;

pub mod snapshot;

pub mod proxy;

#[cfg(feature = "runtime")]
pub mod runtime;
