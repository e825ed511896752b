//! HTTP/2 (RFC 9113) as the `h2` crate speaks it, in our terms: requests as the head that a client of HTTP/1.1 would
//! have sent, heads and trailers of HTTP/1.1 as what goes back, and what a client may do to a connection.
//!
//! What is written here is read by the parser of HTTP/1, so that a translated request is as strict as a received one.

pub mod budget;
mod connect;
mod request;
mod response;
mod strict;
mod upstream;

pub use connect::{Connect, connect_of, websocket_key, write_switched, write_websocket};
pub use request::{Content, MalformedRequest, write_request, write_trailers};
pub use response::{head_of, switched, trailers_of};
pub use upstream::{Asked, MalformedResponse, Unsayable, request_of, write_interim, write_response};
