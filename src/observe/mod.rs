//! What can be seen of the gateway: metrics and the access log. Knows records and counters, not who fills or reads them.
//!
//! Every figure has one writer, the shard, and is read by the scraper from another thread: plain loads and stores, no
//! lock, no shared cache line. Every log line goes into a chunk of the shard and leaves it by a bounded channel.
//! Neither ever waits: what does not fit is dropped and counted. All label sets are closed or bounded by name.

mod access_log;
mod certificates;
mod counter;
mod exposition;
mod histogram;
mod json;
mod line;
mod metrics;
mod outbox;
mod reason;
mod record;
mod reference;
mod registry;
mod stamp;
mod timing;

pub use access_log::{DEFAULT_FIELDS, Field, FieldError, FieldProblem, LineFormat};
pub use certificates::{Expiring, ExpiryFigure, render_expiries};
pub use counter::{ByReason, Counter, Gauge, Raised, WORDS_MAX, Words};
pub use histogram::{BUCKETS, Histogram};
pub use json::{ESCAPED_BYTES_MAX, Escaped, EscapedText, VALUE_BYTES_MAX};
pub use line::LINE_BYTES_MAX;
pub use metrics::{ControlMetrics, EndpointBlock, RouteBlock, ShardMetrics, UpstreamBlock, WorkerMetrics};
pub use outbox::{CHUNK_AGE_MAX, CHUNK_BYTES, CHUNKS_MAX, Collector, Outbox, outbox};
pub use reason::{Reason, Side};
pub use record::{Introduction, Record, Recorded, Transport};
pub use reference::reference;
pub use registry::{
    Bounds, ENDPOINTS_MAX, EndpointMetrics, LABEL_BYTES_MAX, PerShard, ROUTES_MAX, Registration, Registry,
    RouteMetrics, UPSTREAMS_MAX, UpstreamMetrics,
};
pub use stamp::Stamp;
pub use timing::{Times, Timing};
