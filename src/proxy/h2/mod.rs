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

mod alarm;
mod io;
mod open;
mod serve;
mod session;
mod stream;

pub(super) use open::{is_opened, open};
