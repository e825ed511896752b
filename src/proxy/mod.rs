//! The life of a request: everything between an accepted stream and its answer. Read `exchange.rs` first.

pub mod command;
pub mod net;
pub mod shell;
pub mod tls;

mod admit;
mod adopted;
mod body;
mod bridge;
mod call;
pub mod client_hello;
mod connection;
mod downstream;
pub mod encode;
mod exchange;
pub mod explain;
mod failure;
mod forward;
mod h2;
mod head;
mod identify;
mod introduced;
mod lease;
mod passthrough;
mod proxy_header;
mod relay;
mod respond;
mod secured;
mod shard;
mod terms;
mod transfer;
mod tunnel;
mod upgrade;
mod watch;

pub use shard::{Shard, ShardParts};
