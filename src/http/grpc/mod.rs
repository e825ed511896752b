//! gRPC over HTTP, as far as a gateway speaks it: what a message is, by its media type, and the fields and frames that
//! are ours to read and write. Knows no sockets, no clock and no configuration, and of the messages only their framing.

mod base64;
mod code;
pub mod health;
mod media;
mod message;
mod timeout;
mod web;

pub use base64::{Base64Decoder, InvalidBase64, base64_bytes, write_base64};
pub use code::Code;
pub use media::{Family, Media};
pub use message::write_message;
pub use timeout::{InvalidTimeout, parse_timeout, write_timeout};
pub use web::{TRAILERS_FLAG, write_trailers_frame};

/// What a call ended with, in its trailers or its Trailers-Only head.
pub const STATUS: &str = "grpc-status";
/// What there is to say about that, percent-encoded.
pub const MESSAGE: &str = "grpc-message";
/// How long the caller waits.
pub const TIMEOUT: &str = "grpc-timeout";
/// Says that a browser speaks gRPC-Web.
pub const X_GRPC_WEB: &str = "x-grpc-web";

/// What stands before every message: a flag and its length.
pub const PREFIX_BYTES: usize = 5;
