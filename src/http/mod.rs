//! HTTP messages and the HTTP/1 codec: bytes in, decisions out. Knows no sockets, no clock and no configuration.

pub mod h1;
pub mod header;
mod message;
mod method;
mod status;

pub use message::{Body, RequestHead, ResponseHead, Span, Version};
pub use method::Method;
pub use status::reason_phrase;
