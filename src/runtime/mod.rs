//! The data-plane shell: rings, sockets and clocks. Everything above it is bytes and time in, decisions out.
//!
//! The only place that knows monoio, io_uring, socket2 and libc, and the only one with `unsafe`. One worker thread per
//! CPU runs one shard on one ring; nothing here decides anything about HTTP.

mod accept;
mod boot;
mod clock;
mod cpu;
mod deadline;
mod listen;
mod net;
mod probe;
mod process;
mod signers;
mod stream;
mod task;
#[cfg(test)]
mod tests;
mod worker;

pub use boot::{Descriptors, Fleet, Worker, allowed_cpus, raise_descriptor_limit};
pub use clock::{now, unix_time};
pub use listen::{BindError, SocketStore};
pub use net::LiveNet;
pub use probe::{Driver, DriverChoice, ProbeError, Verdict, probe};
pub use process::{avoid_huge_pages, own_descriptors, yield_to_shards};
pub use stream::{LiveReader, LiveWriter};
