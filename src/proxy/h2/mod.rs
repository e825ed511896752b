//! HTTP/2 with clients: one task drives the connection, and each of its streams is served by a task of its own, as a
//! connection of one exchange.
//!
//! ```text
//! Connection ─ Io ─ h2 ─┬─ StreamReader / StreamWriter ─ Connection of one stream ─ exchange
//!                       └─ …
//! ```
//!
//! To the exchange a stream is a client that speaks HTTP/1.1: the halves translate. So routing, policies, limits,
//! forwarding and answers are the same for both, and so is the parser that every request has to pass.
//!
//! With upstreams it is the same the other way round: a request takes a place on a connection that others share.
//!
//! ```text
//! exchange ─ Lease ─ AskWriter / AskReader ─┬─ Carrier ─ h2 ─ Io
//! exchange ─ …                             ─┘
//! ```

mod alarm;
mod asking;
mod broken;
mod carrier;
mod drive;
mod inflow;
mod io;
mod open;
mod outflow;
mod sending;
mod serve;
mod session;
mod stream;

pub(super) use broken::Broken;
pub(super) use carrier::{Carrier, CarrierParts, Entered};
pub(super) use drive::carry;
pub(super) use open::{is_opened, open};
