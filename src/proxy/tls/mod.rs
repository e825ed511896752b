//! TLS between a stream and whoever reads and writes it: plain halves in, the same port out.
//!
//! ```text
//! handshake ─▶ Engine (rustls, octets in and out) ─▶ StreamReader / StreamWriter over the halves it was made on
//! ```
//!
//! Nothing here knows sockets or clocks, so that the simulated world runs the same. While a connection waits it holds no
//! buffer: ciphertext is received into one that is lent when there is something to receive, and given back when the last
//! record in it was opened.

mod buffers;
mod engine;
mod handshake;
mod signing;
mod stream;
#[cfg(test)]
mod tests;

pub use buffers::CipherBuffers;
pub use engine::Engine;
pub(super) use handshake::{HandshakeError, PLAIN_TEXT, handshake, turn_away};
pub use signing::Signing;
pub use stream::{StreamReader, StreamWriter, secure};
