//! What every layer counts with: ids, time, buffers, timers and restartable futures. Knows nothing of HTTP or IO.

mod address;
mod buffer;
mod cidr;
pub(crate) mod decimal;
pub(crate) mod der;
pub(crate) mod hex;
mod id;
mod join;
mod shelf;
mod slot;
mod time;
mod wheel;
pub(crate) mod word;
pub(crate) mod x509;

pub use address::Address;
pub use buffer::{Buffer, BufferPool, LARGE_BUFFER_BYTES, SMALL_BUFFER_BYTES};
pub use cidr::CidrSet;
pub use id::{EndpointId, ListenerId, RouteId, UpstreamId};
pub use join::try_join;
pub use shelf::Shelf;
pub use slot::Slot;
pub use time::{Timestamp, UnixTime};
pub use wheel::{TimerId, WHEEL_TICK, Wheel};
