//! What is counted, and under which names it is published: each block beside the table of its metrics.
//!
//! Blocks are aligned to cache lines, so that shards never write to the same one.

use std::sync::OnceLock;

use super::exposition::{Kind, Read, Spec};
use super::{ByReason, Counter, Gauge, Histogram, Reason, Side, Words};

/// Versions of TLS, the older first.
const TLS_VERSIONS: &[&str] = &["TLSv1.2", "TLSv1.3"];

/// What clients speak that open a WebSocket.
const WEBSOCKET_PROTOCOLS: &[&str] = &["HTTP/1.1", "HTTP/2.0"];

/// Labels of [`status_class`].
const STATUS_CLASSES: &[&str] = &["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Codes of gRPC by their numbers.
const GRPC_CODES: &[&str] =
    &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];

/// Calls of gRPC by what they ended with. Only who serves calls has room for them.
#[derive(Debug, Default)]
pub struct Calls(OnceLock<Box<[Counter; GRPC_CODES.len()]>>);

impl Calls {
    /// Counts a call that ended with the code of this number.
    pub fn count(&self, number: u8) {
        let counters = self.0.get_or_init(Box::default);
        if let Some(counter) = counters.get(usize::from(number)) {
            counter.increment();
        }
    }

    fn value(&self, at: usize) -> u64 {
        self.0.get().map_or(0, |counters| counters[at].value())
    }
}

/// The place of a status in [`STATUS_CLASSES`]; no status at all is 0.
#[inline]
fn status_class(status: u16) -> usize {
    usize::from(status / 100).min(STATUS_CLASSES.len() - 1)
}

/// What one shard counts for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ShardMetrics {
    pub connections_accepted: Counter,
    pub connections_open: Gauge,
    pub connections_closed: ByReason,
    /// Request heads that began, malformed ones included.
    pub requests: Counter,
    pub exchanges: ByReason,
    /// Connections whose requests are being served, each with one exchange at a time.
    pub exchanges_in_flight: Gauge,
    pub local_replies: ByReason,
    /// Time limits that ended something: an exchange, an attempt or a connection.
    pub timeouts: ByReason,
    pub malformed_requests: Words,
    pub malformed_responses: Words,
    /// Octets received from clients.
    pub bytes_in: Counter,
    /// Octets sent to clients.
    pub bytes_out: Counter,
    pub tunnels_open: Gauge,
    pub websockets_open: Gauge,
    websockets: [Counter; WEBSOCKET_PROTOCOLS.len()],
    pub websockets_closed: ByReason,
    /// Connections of TLS that were passed on as they are.
    pub passed_connections: Counter,
    /// PROXY headers that were taken.
    pub proxy_headers: Counter,
    /// Connections closed for the want of one.
    pub proxy_header_failures: Words,
    pub handshakes_in_flight: Gauge,
    handshakes: [Counter; TLS_VERSIONS.len()],
    handshakes_resumed: Counter,
    pub handshake_failures: Words,
    handshake: Histogram,
    pub http2_connections_open: Gauge,
    /// Requests taken from connections of HTTP/2.
    pub http2_streams: Counter,
    pub http2_streams_open: Gauge,
    /// Streams that ended before there was a request: malformed, too many at once, reset at once.
    pub http2_streams_refused: Counter,
    pub http2_floods: Words,
    pub panics: Counter,
    pub log_lines: Counter,
    pub log_lines_dropped: Counter,
    pub snapshots_adopted: Counter,
    pub generation: Gauge,
}

impl ShardMetrics {
    /// Counts a TLS handshake with a client that was completed.
    pub fn handshake_done(&self, tls13: bool, resumed: bool, micros: u64) {
        self.handshakes[usize::from(tls13)].increment();
        self.handshakes_resumed.add(u64::from(resumed));
        self.handshake.record(micros);
    }

    /// Counts a WebSocket that was opened.
    pub fn websocket_opened(&self, over_http2: bool) {
        self.websockets[usize::from(over_http2)].increment();
    }

    /// Counts a finished exchange.
    #[inline]
    pub fn finish(&self, reason: Reason, bytes_in: u64, bytes_out: u64) {
        self.exchanges.increment(reason);
        self.bytes_in.add(bytes_in);
        self.bytes_out.add(bytes_out);
    }
}

pub(super) static SHARD: &[Spec<ShardMetrics>] = &[
    Spec {
        name: "tidegate_connections_accepted_total",
        help: "Client connections accepted.",
        read: Read::Counter(|b| b.connections_accepted.value()),
    },
    Spec {
        name: "tidegate_connections_open",
        help: "Client connections open now.",
        read: Read::Gauge(|b| b.connections_open.value()),
    },
    Spec {
        name: "tidegate_connections_closed_total",
        help: "Client connections closed, by reason; ok is an orderly end.",
        read: Read::Reasons { of: |b| &b.connections_closed, shown: |_| true },
    },
    Spec {
        name: "tidegate_requests_received_total",
        help: "Request heads that began to arrive, malformed ones included.",
        read: Read::Counter(|b| b.requests.value()),
    },
    Spec {
        name: "tidegate_exchanges_total",
        help: "Exchanges that ended, by reason; client-closed is an aborted client.",
        read: Read::Reasons { of: |b| &b.exchanges, shown: |_| true },
    },
    Spec {
        name: "tidegate_exchanges_in_flight",
        help: "Exchanges under way now.",
        read: Read::Gauge(|b| b.exchanges_in_flight.value()),
    },
    Spec {
        name: "tidegate_local_replies_total",
        help: "Responses made by the gateway itself, by reason.",
        read: Read::Reasons { of: |b| &b.local_replies, shown: |r| r != Reason::Ok },
    },
    Spec {
        name: "tidegate_timeouts_total",
        help: "Time limits that ended an exchange, an attempt or a connection, by reason.",
        read: Read::Reasons { of: |b| &b.timeouts, shown: Reason::is_timeout },
    },
    Spec {
        name: "tidegate_malformed_requests_total",
        help: "Requests refused by the parser, by detail.",
        read: Read::Words(|b| &b.malformed_requests),
    },
    Spec {
        name: "tidegate_malformed_responses_total",
        help: "Upstream responses refused by the parser, by detail.",
        read: Read::Words(|b| &b.malformed_responses),
    },
    Spec {
        name: "tidegate_client_received_bytes_total",
        help: "Bytes received from clients, heads included.",
        read: Read::Counter(|b| b.bytes_in.value()),
    },
    Spec {
        name: "tidegate_client_sent_bytes_total",
        help: "Bytes sent to clients, heads included.",
        read: Read::Counter(|b| b.bytes_out.value()),
    },
    Spec {
        name: "tidegate_tunnels_open",
        help: "Upgraded and passed-on connections and streams open now, WebSockets included.",
        read: Read::Gauge(|b| b.tunnels_open.value()),
    },
    Spec {
        name: "tidegate_websockets_open",
        help: "WebSockets open now.",
        read: Read::Gauge(|b| b.websockets_open.value()),
    },
    Spec {
        name: "tidegate_websockets_opened_total",
        help: "WebSockets opened, by what their clients speak.",
        read: Read::Labelled {
            kind: Kind::Counter,
            label: "protocol",
            words: WEBSOCKET_PROTOCOLS,
            of: |b, at| b.websockets[at].value(),
        },
    },
    Spec {
        name: "tidegate_websockets_closed_total",
        help: "WebSockets closed, by reason; ok is one that both sides ended.",
        read: Read::Reasons { of: |b| &b.websockets_closed, shown: Reason::may_end_a_tunnel },
    },
    Spec {
        name: "tidegate_panics_total",
        help: "Panics that ended one exchange or task.",
        read: Read::Counter(|b| b.panics.value()),
    },
    Spec {
        name: "tidegate_log_lines_total",
        help: "Access log lines handed to the writer.",
        read: Read::Counter(|b| b.log_lines.value()),
    },
    Spec {
        name: "tidegate_log_lines_dropped_total",
        help: "Access log lines dropped because the writer was too slow.",
        read: Read::Counter(|b| b.log_lines_dropped.value()),
    },
    Spec {
        name: "tidegate_snapshots_adopted_total",
        help: "Configurations adopted, each shard counted.",
        read: Read::Counter(|b| b.snapshots_adopted.value()),
    },
    Spec {
        name: "tidegate_snapshot_generation",
        help: "Generation of the configuration that every shard has reached.",
        read: Read::Lowest(|b| b.generation.value()),
    },
    Spec {
        name: "tidegate_http2_connections_open",
        help: "Client connections of HTTP/2 open now.",
        read: Read::Gauge(|b| b.http2_connections_open.value()),
    },
    Spec {
        name: "tidegate_http2_streams_total",
        help: "Requests taken from client connections of HTTP/2.",
        read: Read::Counter(|b| b.http2_streams.value()),
    },
    Spec {
        name: "tidegate_http2_streams_open",
        help: "Of these, the ones under way now.",
        read: Read::Gauge(|b| b.http2_streams_open.value()),
    },
    Spec {
        name: "tidegate_http2_streams_refused_total",
        help: "Streams of HTTP/2 that ended before there was a request: malformed, too large, too many at once, or reset.",
        read: Read::Counter(|b| b.http2_streams_refused.value()),
    },
    Spec {
        name: "tidegate_http2_floods_total",
        help: "Client connections of HTTP/2 ended over budget, by what was flooded.",
        read: Read::Words(|b| &b.http2_floods),
    },
    Spec {
        name: "tidegate_passthrough_connections_total",
        help: "Client connections of TLS passed on to an upstream without being decrypted; the open ones are tunnels.",
        read: Read::Counter(|b| b.passed_connections.value()),
    },
    Spec {
        name: "tidegate_proxy_headers_total",
        help: "Client connections that began with a PROXY header, those of health checks included.",
        read: Read::Counter(|b| b.proxy_headers.value()),
    },
    Spec {
        name: "tidegate_proxy_header_failures_total",
        help: "Client connections closed because their PROXY header was missing, malformed or late, or not theirs to send, by \
               detail.",
        read: Read::Words(|b| &b.proxy_header_failures),
    },
    Spec {
        name: "tidegate_tls_handshakes_total",
        help: "TLS handshakes with clients that were completed, by version.",
        read: Read::Labelled {
            kind: Kind::Counter,
            label: "version",
            words: TLS_VERSIONS,
            of: |b, at| b.handshakes[at].value(),
        },
    },
    Spec {
        name: "tidegate_tls_handshakes_resumed_total",
        help: "Of these, the ones that resumed an earlier connection.",
        read: Read::Counter(|b| b.handshakes_resumed.value()),
    },
    Spec {
        name: "tidegate_tls_handshake_failures_total",
        help: "TLS handshakes with clients that failed, by detail.",
        read: Read::Words(|b| &b.handshake_failures),
    },
    Spec {
        name: "tidegate_tls_handshakes_in_flight",
        help: "TLS handshakes with clients under way now.",
        read: Read::Gauge(|b| b.handshakes_in_flight.value()),
    },
    Spec {
        name: "tidegate_tls_handshake_seconds",
        help: "Time from an accepted connection to the end of its TLS handshake.",
        read: Read::Histogram(|b| &b.handshake),
    },
];

/// What the worker below one shard counts: sockets, operations and the wheel.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerMetrics {
    /// Connections accepted and handed to the shard.
    pub accepted: Counter,
    /// Accepts that failed, whatever the cause.
    pub accept_errors: Counter,
    /// Connections taken from a queue and closed at once, because no descriptor was left.
    pub accept_shed: Counter,
    /// Times a listener stopped accepting because its connections were at their maximum.
    pub accept_pauses: Counter,
    /// Waits, receives and sends handed to the driver.
    pub operations: Counter,
    /// Reads, writes and waits that their deadline ended.
    pub deadlines_passed: Counter,
    /// Tasks that ended in a panic.
    pub panics: Counter,
    /// Turns of the deadline wheel.
    pub ticks: Counter,
    /// By how much those turns were late, altogether: the loop's lag.
    pub lag_nanos: Counter,
    /// By how much the latest of them was, since the start.
    pub lag_nanos_max: Gauge,
}

/// Written with the shard's number as a label, since what matters is how shards differ.
pub(super) static WORKER: &[Spec<WorkerMetrics>] = &[
    Spec {
        name: "tidegate_shard_accepted_total",
        help: "Connections accepted by the worker.",
        read: Read::Counter(|b| b.accepted.value()),
    },
    Spec {
        name: "tidegate_shard_accept_errors_total",
        help: "Accepts that failed.",
        read: Read::Counter(|b| b.accept_errors.value()),
    },
    Spec {
        name: "tidegate_shard_accept_shed_total",
        help: "Connections closed at once, because no descriptor was left.",
        read: Read::Counter(|b| b.accept_shed.value()),
    },
    Spec {
        name: "tidegate_shard_accept_pauses_total",
        help: "Times a listener was at its most connections.",
        read: Read::Counter(|b| b.accept_pauses.value()),
    },
    Spec {
        name: "tidegate_shard_operations_total",
        help: "Waits, receives and sends handed to the driver: entries of the ring, where there is one.",
        read: Read::Counter(|b| b.operations.value()),
    },
    Spec {
        name: "tidegate_shard_deadlines_total",
        help: "Operations that their deadline ended.",
        read: Read::Counter(|b| b.deadlines_passed.value()),
    },
    Spec {
        name: "tidegate_shard_task_panics_total",
        help: "Tasks that ended in a panic.",
        read: Read::Counter(|b| b.panics.value()),
    },
    Spec {
        name: "tidegate_shard_ticks_total",
        help: "Turns of the deadline wheel.",
        read: Read::Counter(|b| b.ticks.value()),
    },
    Spec {
        name: "tidegate_shard_lag_seconds_total",
        help: "Time by which those turns were late.",
        read: Read::Nanos { kind: Kind::Counter, of: |b| b.lag_nanos.value() },
    },
    Spec {
        name: "tidegate_shard_lag_max_seconds",
        help: "The most by which one of them was late since the start.",
        read: Read::Nanos { kind: Kind::Gauge, of: |b| b.lag_nanos_max.value() },
    },
];

/// What one shard counts for one route.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct RouteBlock {
    requests: [Counter; STATUS_CLASSES.len()],
    duration: Histogram,
    bytes_in: Counter,
    bytes_out: Counter,
    pub calls: Calls,
    pub websockets_open: Gauge,
}

impl RouteBlock {
    /// Counts a finished exchange; `status` is 0 when no response was begun.
    #[inline]
    pub fn finish(&self, status: u16, total_micros: u64, bytes_in: u64, bytes_out: u64) {
        self.requests[status_class(status)].increment();
        self.duration.record(total_micros);
        self.bytes_in.add(bytes_in);
        self.bytes_out.add(bytes_out);
    }
}

pub(super) static ROUTE: &[Spec<RouteBlock>] = &[
    Spec {
        name: "tidegate_requests_total",
        help: "Requests answered, by class of the final status.",
        read: Read::Labelled {
            kind: Kind::Counter,
            label: "status",
            words: STATUS_CLASSES,
            of: |b, at| b.requests[at].value(),
        },
    },
    Spec {
        name: "tidegate_request_duration_seconds",
        help: "Time from the first byte of a request to the last byte of its response.",
        read: Read::Histogram(|b| &b.duration),
    },
    Spec {
        name: "tidegate_request_bytes_total",
        help: "Bytes received from clients for exchanges of the route.",
        read: Read::Counter(|b| b.bytes_in.value()),
    },
    Spec {
        name: "tidegate_response_bytes_total",
        help: "Bytes sent to clients for exchanges of the route.",
        read: Read::Counter(|b| b.bytes_out.value()),
    },
    Spec {
        name: "tidegate_grpc_calls_total",
        help: "Calls of gRPC, refused ones included, by the status they ended with.",
        read: Read::Counted { label: "grpc_status", words: GRPC_CODES, of: |b, at| b.calls.value(at) },
    },
    Spec {
        name: "tidegate_route_websockets_open",
        help: "WebSockets of the route open now.",
        read: Read::Gauge(|b| b.websockets_open.value()),
    },
];

/// What one shard counts for one upstream.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct UpstreamBlock {
    first_byte: Histogram,
    pub connects: Counter,
    pub connect_failures: Counter,
    /// Attempts over a connection from the pool.
    pub reused: Counter,
    /// As of the last look at the pools, like the next two.
    pub connections_open: Gauge,
    pub pool_idle: Gauge,
    /// Requests in line for a connection.
    pub waiting: Gauge,
    /// Idle connections closed by age, by number, or because they ended.
    pub pool_evicted: Counter,
    /// Further attempts by configuration.
    pub retries: Counter,
    /// Immediate further attempts of requests that were provably not processed.
    pub replays: Counter,
    pub http2_connections_open: Gauge,
    /// Requests sent over HTTP/2.
    pub http2_streams: Counter,
    pub http2_streams_open: Gauge,
    /// Of these, reset by the upstream.
    pub http2_resets: Counter,
    /// Connections that the upstream asked to leave.
    pub http2_goaways: Counter,
    /// Connections given up since they no longer answered.
    pub http2_silent: Counter,
    pub http2_floods: Words,
    pub calls: Calls,
}

impl UpstreamBlock {
    /// Counts a response head that came, so long after its connection was ready.
    #[inline]
    pub fn first_byte(&self, micros: u64) {
        self.first_byte.record(micros);
    }
}

pub(super) static UPSTREAM: &[Spec<UpstreamBlock>] = &[
    Spec {
        name: "tidegate_upstream_first_byte_seconds",
        help: "Time from a ready connection to the head of the final response.",
        read: Read::Histogram(|b| &b.first_byte),
    },
    Spec {
        name: "tidegate_upstream_connects_total",
        help: "Connections established.",
        read: Read::Counter(|b| b.connects.value()),
    },
    Spec {
        name: "tidegate_upstream_connect_failures_total",
        help: "Connections that could not be established.",
        read: Read::Counter(|b| b.connect_failures.value()),
    },
    Spec {
        name: "tidegate_upstream_connections_reused_total",
        help: "Attempts over a connection from the pool.",
        read: Read::Counter(|b| b.reused.value()),
    },
    Spec {
        name: "tidegate_upstream_connections_open",
        help: "Connections open, idle ones included; looked at once a second, like the next two.",
        read: Read::Gauge(|b| b.connections_open.value()),
    },
    Spec {
        name: "tidegate_upstream_connections_idle",
        help: "Connections in the pool.",
        read: Read::Gauge(|b| b.pool_idle.value()),
    },
    Spec {
        name: "tidegate_upstream_requests_waiting",
        help: "Requests in line for a connection.",
        read: Read::Gauge(|b| b.waiting.value()),
    },
    Spec {
        name: "tidegate_upstream_connections_evicted_total",
        help: "Idle connections closed: too old, too many, or closed by the upstream.",
        read: Read::Counter(|b| b.pool_evicted.value()),
    },
    Spec {
        name: "tidegate_upstream_retries_total",
        help: "Further attempts made by a configured retry.",
        read: Read::Counter(|b| b.retries.value()),
    },
    Spec {
        name: "tidegate_upstream_replays_total",
        help: "Immediate further attempts of requests that were not processed.",
        read: Read::Counter(|b| b.replays.value()),
    },
    Spec {
        name: "tidegate_upstream_http2_connections_open",
        help: "Connections of HTTP/2 open now.",
        read: Read::Gauge(|b| b.http2_connections_open.value()),
    },
    Spec {
        name: "tidegate_upstream_http2_streams_total",
        help: "Requests sent over HTTP/2.",
        read: Read::Counter(|b| b.http2_streams.value()),
    },
    Spec {
        name: "tidegate_upstream_http2_streams_open",
        help: "Requests that have a place on a connection of HTTP/2 now.",
        read: Read::Gauge(|b| b.http2_streams_open.value()),
    },
    Spec {
        name: "tidegate_upstream_http2_resets_total",
        help: "Requests over HTTP/2 that the upstream reset, those it refused included.",
        read: Read::Counter(|b| b.http2_resets.value()),
    },
    Spec {
        name: "tidegate_upstream_http2_goaways_total",
        help: "Connections of HTTP/2 that the upstream asked to leave, by GOAWAY.",
        read: Read::Counter(|b| b.http2_goaways.value()),
    },
    Spec {
        name: "tidegate_upstream_http2_silent_total",
        help: "Connections of HTTP/2 given up since the upstream did not answer a ping.",
        read: Read::Counter(|b| b.http2_silent.value()),
    },
    Spec {
        name: "tidegate_upstream_http2_floods_total",
        help: "Connections of HTTP/2 ended over budget, by what the upstream has flooded.",
        read: Read::Words(|b| &b.http2_floods),
    },
    Spec {
        name: "tidegate_upstream_grpc_calls_total",
        help: "Calls of gRPC that were sent to it, by the status they ended with.",
        read: Read::Counted { label: "grpc_status", words: GRPC_CODES, of: |b, at| b.calls.value(at) },
    },
];

/// What one shard counts for one endpoint.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct EndpointBlock {
    responses: [Counter; STATUS_CLASSES.len()],
    failures: ByReason,
    pub attempts_in_flight: Gauge,
}

impl EndpointBlock {
    /// Counts an attempt that brought a final response head.
    #[inline]
    pub fn answered(&self, status: u16) {
        self.responses[status_class(status)].increment();
    }

    /// Counts an attempt that brought none.
    #[inline]
    pub fn failed(&self, reason: Reason) {
        self.failures.increment(reason);
    }
}

pub(super) static ENDPOINT: &[Spec<EndpointBlock>] = &[
    Spec {
        name: "tidegate_endpoint_responses_total",
        help: "Attempts that brought a response, by class of its status.",
        read: Read::Labelled {
            kind: Kind::Counter,
            label: "status",
            words: STATUS_CLASSES,
            of: |b, at| b.responses[at].value(),
        },
    },
    Spec {
        name: "tidegate_endpoint_failures_total",
        help: "Attempts that failed, by reason.",
        read: Read::Reasons { of: |b| &b.failures, shown: |r| r.side() != Side::Nobody },
    },
    Spec {
        name: "tidegate_endpoint_attempts_in_flight",
        help: "Attempts under way now.",
        read: Read::Gauge(|b| b.attempts_in_flight.value()),
    },
];

/// What the control side counts; each figure is written by one of its threads.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    /// How workers talk to the kernel: known once they have begun.
    pub driver: OnceLock<String>,
    pub reloads_adopted: Counter,
    pub reloads_refused: Counter,
    /// 1 while new traffic is welcome.
    pub ready: Gauge,
    pub log_bytes: Counter,
    pub log_write_errors: Counter,
}

pub(super) static CONTROL: &[Spec<ControlMetrics>] = &[
    Spec {
        name: "tidegate_build_info",
        help: "Always 1; the version is the label.",
        read: Read::Labelled { kind: Kind::Gauge, label: "version", words: &[env!("CARGO_PKG_VERSION")], of: |_, _| 1 },
    },
    Spec {
        name: "tidegate_driver_info",
        help: "Always 1; how workers talk to the kernel is the label.",
        read: Read::Info { label: "driver", of: |b| b.driver.get().map(String::as_str) },
    },
    Spec {
        name: "tidegate_reloads_total",
        help: "Changes of the configuration, by outcome.",
        read: Read::Labelled {
            kind: Kind::Counter,
            label: "outcome",
            words: &["adopted", "refused"],
            of: |b, at| if at == 0 { b.reloads_adopted.value() } else { b.reloads_refused.value() },
        },
    },
    Spec {
        name: "tidegate_ready",
        help: "1 while new traffic is welcome, 0 while draining.",
        read: Read::Gauge(|b| b.ready.value()),
    },
    Spec {
        name: "tidegate_log_written_bytes_total",
        help: "Bytes of the access log written.",
        read: Read::Counter(|b| b.log_bytes.value()),
    },
    Spec {
        name: "tidegate_log_write_errors_total",
        help: "Writes of the access log that failed.",
        read: Read::Counter(|b| b.log_write_errors.value()),
    },
];
