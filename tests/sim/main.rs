//! Whole exchanges in the simulated world: one file per behaviour.

mod world;

mod allocations;
mod balancing;
mod bodies;
mod chaos;
mod clients_leave;
mod continue_100;
mod errors;
mod event_streams;
mod grpc;
mod grpc_web;
mod headers;
mod http2;
mod http2_floods;
mod http2_upstream;
mod interim;
mod keep_alive;
mod lifecycle;
mod limits;
mod mtls;
mod ocsp;
mod passthrough;
mod pipelining;
mod proxy_protocol;
mod retries;
mod routing;
mod signing;
mod tls;
mod upgrades;
mod upstream_faults;
mod upstream_tls;
mod websocket_frames;
mod websockets_http2;

#[global_allocator]
static ALLOCATOR: world::count::Counting = world::count::Counting;

/// The plainest request.
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
/// The plainest answer.
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
