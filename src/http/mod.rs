//! HTTP messages and the HTTP/1 codec: bytes in, decisions out. Knows no sockets, no clock and no configuration.

pub mod accept;
pub mod authority;
pub mod client_cert;
pub mod date;
pub mod forwarded;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod header;
mod message;
mod method;
pub mod problem;
pub mod proxy_protocol;
pub mod request_id;
pub mod status;
pub mod target;
pub mod trace_context;
pub mod via;
pub mod websocket;
mod window;

pub use message::{Body, Protocol, RequestHead, ResponseHead, Span, Version};
pub use method::Method;
