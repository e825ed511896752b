//! Real rings, real sockets, real peers: the whole process between clients and origins on loopback ports.
//!
//! `TIDEGATE_TEST_DRIVER` names the driver (`auto`), `TIDEGATE_LIVE_SECONDS` (5) and `TIDEGATE_LIVE_CONNECTIONS` (50) the
//! extent of the runs under load, `TIDEGATE_LIVE_IDLE` (1000) the idle connections, `TIDEGATE_LIVE_MIB` (64) the body.

mod admin;
mod bodies;
mod drain;
mod grpc;
mod http2;
mod life;
mod limits;
mod listeners;
mod mtls;
mod observe;
mod passthrough;
mod proxy_protocol;
mod quickstart;
mod reload;
mod signing;
mod smuggling;
mod stage;
mod stalled;
mod storm;
mod storm_tls;
mod systemd;
mod tls;
mod tunnel;
mod upstreams;
mod websocket;
