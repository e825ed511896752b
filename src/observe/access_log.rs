//! The access log's lines: one JSON object for each exchange, its fields chosen and ordered by the operator.
//!
//! A format is compiled once into the constant pieces between the values, so that writing a line is copying.

use super::line::{FRAME_BYTES_MAX, LINE_BYTES_MAX, Line, PIECE_BYTES_MAX, Piece, Value};
use super::stamp::Stamp;
use super::{Escaped, Introduction, Record, Recorded, Transport};

// A piece, and the mark of a cut or a number behind it.
const _: () = assert!(Field::ALL.len() <= u64::BITS as usize, "a set of fields is one word");
const _: () = assert!(Field::ALL.len() * (PIECE_BYTES_MAX + 24) < FRAME_BYTES_MAX, "all fields must fit the line");
const _: () = assert!(longest_word() + 7 < PIECE_BYTES_MAX, "a name and its marks must fit a piece");

const fn longest_word() -> usize {
    let (mut longest, mut at) = (0, 0);
    while at < Field::ALL.len() {
        let length = Field::ALL[at].word().len();
        longest = if longest < length { length } else { longest };
        at += 1;
    }
    longest
}

macro_rules! fields {
    ($($(#[doc = $meaning:literal])+ $name:ident = $word:literal;)*) => {
        /// A field of the access log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Field {
            $($(#[doc = $meaning])+ $name,)*
        }

        impl Field {
            /// Every field there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in the configuration and in the line.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it holds, for the documentation.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),+).trim(),)* }
            }

            /// Appends it to a line. In each arm the compiler knows the field, and thus the kind of its value.
            #[inline(always)]
            fn push(self, piece: &Piece, record: &Record<'_>, stamp: &mut Stamp, line: &mut Line<'_>) {
                match self { $(Self::$name => line.push(piece, || value(Self::$name, record, stamp)),)* }
            }
        }
    };
}

fields! {
    /// When the exchange ended, RFC 3339 in UTC with milliseconds.
    Time = "time";
    /// The request id, as sent upstream and back.
    RequestId = "request_id";
    /// The listener's name.
    Listener = "listener";
    /// The client's address, from a trusted proxy's word where one is configured.
    Client = "client";
    /// The method.
    Method = "method";
    /// The host asked for, normalised.
    Host = "host";
    /// The canonical path, without the query.
    Path = "path";
    /// The query. Not logged by default: it may hold secrets.
    Query = "query";
    /// The client's protocol.
    Protocol = "protocol";
    /// The final status sent to the client; null when none was.
    Status = "status";
    /// Why the exchange ended as it did.
    Reason = "reason";
    /// What exactly, where the reason leaves it open.
    Detail = "detail";
    /// Whose doing the outcome is: client, upstream, gateway or nobody.
    Side = "side";
    /// The route's name.
    Route = "route";
    /// The upstream's name.
    Upstream = "upstream";
    /// The endpoint of the last attempt.
    Endpoint = "endpoint";
    /// Tries made upstream, the first included.
    Attempts = "attempts";
    /// Bytes received from the client, head included.
    BytesIn = "bytes_in";
    /// Bytes sent to the client, head included.
    BytesOut = "bytes_out";
    /// Microseconds from the first byte of the request to its parsed head.
    ParseMicros = "parse_us";
    /// Microseconds from the parsed head to the decision of route and policies.
    RouteMicros = "route_us";
    /// Microseconds from the decision to an upstream connection, fresh or reused.
    ConnectMicros = "connect_us";
    /// Microseconds from the connection to the upstream's response head.
    FirstByteMicros = "first_byte_us";
    /// Microseconds from the first byte of the request to the end of the exchange.
    TotalMicros = "total_us";
    /// The trace id of the trace context.
    TraceId = "trace_id";
    /// The User-Agent field.
    UserAgent = "user_agent";
    /// The Referer field. Not logged by default: it may hold secrets.
    Referer = "referer";
    /// Whether an earlier request came over the client's connection.
    ClientReused = "client_reused";
    /// Whether the upstream connection came from the pool.
    UpstreamReused = "upstream_reused";
    /// The version of TLS on the client's connection; empty for plain text.
    TlsVersion = "tls_version";
    /// The cipher suite of that, as IANA names it.
    TlsCipher = "tls_cipher";
    /// The name that the client asked for in its TLS handshake.
    Sni = "sni";
    /// What a call of gRPC has ended with, as a number; null for any other exchange.
    GrpcStatus = "grpc_status";
    /// The subject of the certificate that the client has shown (RFC 4514); empty where there is none.
    ClientCertSubject = "client_cert_subject";
    /// The serial number of that certificate, in hexadecimal.
    ClientCertSerial = "client_cert_serial";
    /// SHA-256 over that certificate, in hexadecimal.
    ClientCertFingerprint = "client_cert_sha256";
    /// The address at the other end of the client's socket: a load balancer's, where one speaks for the client.
    Peer = "peer";
    /// The host that the client asked for, as its PROXY header claims.
    ProxyAuthority = "proxy_authority";
    /// The version of TLS that the client spoke, as its PROXY header claims.
    ProxyTls = "proxy_tls";
    /// The id of the client's connection, as its PROXY header claims: text, or hexadecimal digits.
    ProxyUniqueId = "proxy_unique_id";
}

impl Field {
    /// Whether its value stands in quotes.
    const fn is_text(self) -> bool {
        let count = matches!(self, Self::Status | Self::Attempts | Self::BytesIn | Self::BytesOut | Self::TotalMicros);
        let count = count || matches!(self, Self::GrpcStatus);
        let flag = matches!(self, Self::ClientReused | Self::UpstreamReused);
        let part = matches!(self, Self::ParseMicros | Self::RouteMicros | Self::ConnectMicros | Self::FirstByteMicros);
        !(count | flag | part)
    }
}

macro_rules! default_fields {
    ($($name:ident)*) => {
        /// The fields of a line, in their order, unless the operator says otherwise.
        pub const DEFAULT_FIELDS: &[Field] = &[$(Field::$name,)*];

        /// Writes a line of the default fields as [`LineFormat::write_any`] writes one of any: here the compiler knows them.
        // Inlined, so that no record is put together whose fields it then takes apart.
        #[inline(always)]
        fn write_default(record: &Record<'_>, stamp: &mut Stamp, window: &mut [u8; LINE_BYTES_MAX]) -> usize {
            let mut line = Line::begin(window);
            $(Field::$name.push(const { &piece_of(DEFAULT_FIELDS, Field::$name) }, record, stamp, &mut line);)*
            line.end(const { &last_piece(DEFAULT_FIELDS) })
        }
    };
}

default_fields! {
    Time
    RequestId
    Client
    Method
    Host
    Path
    Protocol
    Status
    Reason
    Detail
    Route
    Upstream
    Endpoint
    Attempts
    BytesIn
    BytesOut
    ParseMicros
    RouteMicros
    ConnectMicros
    FirstByteMicros
    TotalMicros
    TraceId
    UserAgent
}

/// What is wrong with one entry of a list of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Its place in the list.
    pub index: usize,
    pub problem: FieldProblem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldProblem {
    /// No field has this name.
    Unknown,
    /// The field was listed before.
    Repeated,
}

impl std::fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no such field",
            Self::Repeated => "the field is listed twice",
        })
    }
}

/// What stands before the value of `field`, one of `fields`.
const fn piece_of(fields: &[Field], field: Field) -> Piece {
    let mut at = 0;
    while fields[at] as u8 != field as u8 {
        at += 1;
    }
    let before = match at {
        0 => "{\"",
        _ if fields[at - 1].is_text() => "\",\"",
        _ => ",\"",
    };
    Piece::new(&[before, field.word(), if field.is_text() { "\":\"" } else { "\":" }])
}

/// What closes the line.
const fn last_piece(fields: &[Field]) -> Piece {
    match fields {
        [] => Piece::new(&["{}\n"]),
        [.., last] if last.is_text() => Piece::new(&["\"}\n"]),
        _ => Piece::new(&["}\n"]),
    }
}

/// A compiled line format.
#[derive(Clone, Debug)]
pub struct LineFormat {
    steps: Box<[Step]>,
    last: Piece,
    /// One bit for each of the fields.
    set: u64,
    /// Whether the fields are those of [`DEFAULT_FIELDS`].
    is_default: bool,
}

/// One field of a line, and what stands before its value.
#[derive(Clone, Debug)]
struct Step {
    piece: Piece,
    field: Field,
}

impl Default for LineFormat {
    fn default() -> Self {
        Self::of(DEFAULT_FIELDS)
    }
}

impl LineFormat {
    fn of(fields: &[Field]) -> Self {
        let set = fields.iter().fold(0, |set, field| set | 1_u64 << *field as u32);
        let steps = fields.iter().map(|field| Step { piece: piece_of(fields, *field), field: *field }).collect();
        Self { steps, last: last_piece(fields), set, is_default: fields == DEFAULT_FIELDS }
    }

    /// The format with the fields of these names, or everything that is wrong with them.
    pub fn compile(names: &[&str]) -> Result<Self, Vec<FieldError>> {
        let mut fields = Vec::new();
        let mut errors = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match Field::ALL.iter().find(|field| field.word() == *name) {
                None => errors.push(FieldError { index, problem: FieldProblem::Unknown }),
                Some(field) if fields.contains(field) => {
                    errors.push(FieldError { index, problem: FieldProblem::Repeated });
                }
                Some(field) => fields.push(*field),
            }
        }
        if errors.is_empty() { Ok(Self::of(&fields)) } else { Err(errors) }
    }

    /// Whether a line holds `field`: a value that must be looked for need not be where it does not.
    #[inline]
    pub fn has(&self, field: Field) -> bool {
        self.set >> field as u64 & 1 != 0
    }

    /// Writes one line at the front of `window` and returns its length. `stamp` is the writer's, from line to line.
    #[inline(always)]
    pub fn write(&self, exchange: &impl Recorded, stamp: &mut Stamp, window: &mut [u8; LINE_BYTES_MAX]) -> usize {
        // Made in each branch: in the first the compiler makes no more of it than the line holds.
        if self.is_default {
            write_default(&exchange.record(), stamp, window)
        } else {
            self.write_any(&exchange.record(), stamp, window)
        }
    }

    #[inline(never)]
    fn write_any(&self, record: &Record<'_>, stamp: &mut Stamp, window: &mut [u8; LINE_BYTES_MAX]) -> usize {
        let mut line = Line::begin(window);
        for Step { piece, field } in &self.steps {
            // Opaque, or the compiler reads and converts the values of all fields before the loop, needed or not, and
            // keeps them in memory for the want of registers.
            field.push(piece, std::hint::black_box(record), stamp, &mut line);
        }
        line.end(&self.last)
    }
}

const NULL: Escaped<'static> = Escaped::word(b"null                            ");
const TRUE: Escaped<'static> = Escaped::word(b"true                            ");
const FALSE: Escaped<'static> = Escaped::word(b"false                           ");

#[inline(always)]
fn value<'a>(field: Field, record: &Record<'a>, stamp: &'a mut Stamp) -> Value<'a> {
    let maybe = |number: Option<u64>| number.map_or(Value::Bare(NULL), Value::Number);
    let flag = |flag: bool| Value::Bare(if flag { TRUE } else { FALSE });
    match field {
        Field::Time => Value::Escaped(stamp.text(record.time)),
        Field::RequestId => Value::Escaped(record.request_id),
        Field::Listener => Value::Escaped(record.listener),
        Field::Client => Value::Escaped(record.client),
        Field::Method => Value::Escaped(record.method),
        Field::Host => Value::Escaped(record.host),
        Field::Path => Value::Foreign(record.path),
        Field::Query => Value::Foreign(record.query),
        Field::Protocol => Value::Escaped(record.protocol),
        Field::Status => maybe((record.status != 0).then_some(record.status.into())),
        Field::Reason => Value::Escaped(Escaped::plain(record.reason.word().as_bytes())),
        Field::Detail => Value::Foreign(record.detail.as_bytes()),
        Field::Side => Value::Escaped(Escaped::plain(record.reason.side().word().as_bytes())),
        Field::Route => Value::Escaped(record.route),
        Field::Upstream => Value::Escaped(record.upstream),
        Field::Endpoint => Value::Escaped(record.endpoint),
        Field::Attempts => Value::Number(record.attempts.into()),
        Field::BytesIn => Value::Number(record.bytes_in),
        Field::BytesOut => Value::Number(record.bytes_out),
        Field::ParseMicros => maybe(record.times.parse),
        Field::RouteMicros => maybe(record.times.route),
        Field::ConnectMicros => maybe(record.times.connect),
        Field::FirstByteMicros => maybe(record.times.first_byte),
        Field::TotalMicros => Value::Number(record.times.total),
        Field::TraceId => Value::Escaped(record.trace_id),
        Field::UserAgent => Value::Foreign(record.user_agent),
        Field::Referer => Value::Foreign(record.referer),
        Field::ClientReused => flag(record.client_reused),
        Field::UpstreamReused => flag(record.upstream_reused),
        Field::TlsVersion => Value::Escaped(record.transport.map_or(Escaped::default(), Transport::version)),
        Field::TlsCipher => Value::Escaped(record.transport.map_or(Escaped::default(), Transport::cipher)),
        Field::GrpcStatus => maybe(record.grpc_status.map(u64::from)),
        Field::Sni => Value::Escaped(record.transport.map_or(Escaped::default(), Transport::name)),
        Field::ClientCertSubject => Value::Escaped(record.transport.map_or(Escaped::default(), Transport::subject)),
        Field::ClientCertSerial => Value::Escaped(record.transport.map_or(Escaped::default(), Transport::serial)),
        Field::ClientCertFingerprint => {
            Value::Escaped(record.transport.map_or(Escaped::default(), Transport::fingerprint))
        }
        Field::Peer => Value::Escaped(record.peer),
        Field::ProxyAuthority => {
            Value::Escaped(record.introduction.map_or(Escaped::default(), Introduction::authority))
        }
        Field::ProxyTls => Value::Escaped(record.introduction.map_or(Escaped::default(), Introduction::tls_version)),
        Field::ProxyUniqueId => Value::Escaped(record.introduction.map_or(Escaped::default(), Introduction::unique_id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnixTime;
    use crate::observe::{EscapedText, Reason, Times};
    use proptest::prelude::*;
    use serde_json::Value;

    fn line(format: &LineFormat, record: &Record<'_>) -> String {
        let mut window = [0; LINE_BYTES_MAX];
        let length = format.write(record, &mut Stamp::default(), &mut window);
        String::from_utf8(window[..length].to_vec()).expect("a line is UTF-8")
    }

    fn all_fields() -> LineFormat {
        LineFormat::of(Field::ALL)
    }

    #[test]
    fn a_line_holds_the_chosen_fields_in_their_order() {
        let format =
            LineFormat::compile(&["status", "path", "connect_us", "total_us", "reason"]).expect("known fields");
        let times = Times { total: 1234, ..Times::default() };
        let record = Record { status: 404, path: b"/a\"b", times, reason: Reason::NoRoute, ..Record::default() };
        let expected = r#"{"status":404,"path":"/a\"b","connect_us":null,"total_us":1234,"reason":"no-route"}"#;
        assert_eq!(line(&format, &record), format!("{expected}\n"));
    }

    #[test]
    fn texts_at_both_ends_are_closed() {
        let format = LineFormat::compile(&["host", "attempts", "method"]).expect("known fields");
        let record =
            Record { host: Escaped::plain(b"h"), attempts: 12, method: Escaped::plain(b"GET"), ..Record::default() };
        assert_eq!(line(&format, &record), "{\"host\":\"h\",\"attempts\":12,\"method\":\"GET\"}\n");
    }

    #[test]
    fn no_fields_make_an_empty_object() {
        assert_eq!(line(&LineFormat::compile(&[]).expect("nothing is wrong"), &Record::default()), "{}\n");
    }

    #[test]
    fn all_wrong_fields_are_reported_at_once() {
        let errors = LineFormat::compile(&["path", "pfad", "status", "path"]).expect_err("two are wrong");
        let expected = [(1, FieldProblem::Unknown), (3, FieldProblem::Repeated)];
        assert_eq!(errors.iter().map(|e| (e.index, e.problem)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_may_hold_secrets_is_not_logged_by_default() {
        let record = Record { query: b"key=s3cret", referer: b"https://a/?key=s3cret", ..Record::default() };
        assert!(!line(&LineFormat::default(), &record).contains("s3cret"));
    }

    #[test]
    fn no_status_is_null() {
        let format = LineFormat::compile(&["status"]).expect("a known field");
        assert_eq!(line(&format, &Record::default()), "{\"status\":null}\n");
    }

    #[test]
    fn a_line_of_the_longest_texts_stays_within_its_bound() {
        let long = vec![b'"'; 64 * 1024];
        let name = EscapedText::new(&"é".repeat(32 * 1024));
        let (most, time) = (Some(u64::MAX), UnixTime::from_nanos(u64::MAX));
        let times = Times { parse: most, route: most, connect: most, first_byte: most, total: u64::MAX };
        let (bytes_in, bytes_out, attempts) = (u64::MAX, u64::MAX, u32::MAX);
        let record = Record { time, times, bytes_in, bytes_out, attempts, ..texts(&long, &name) };
        let line = line(&all_fields(), &record);
        assert!(line.len() <= LINE_BYTES_MAX && line.len() > LINE_BYTES_MAX - FRAME_BYTES_MAX, "{}", line.len());
        serde_json::from_str::<Value>(&line).expect("a cut line is still JSON");
    }

    #[test]
    fn wherever_a_text_ends_what_follows_has_room() {
        let (long, name) = (vec![b'a'; 3 * 1024], EscapedText::new(&"n".repeat(256)));
        let (most, format) = (Some(u64::MAX), all_fields());
        let times = Times { parse: most, route: most, connect: most, first_byte: most, total: u64::MAX };
        for (path, agent) in (0..2_060).step_by(17).flat_map(|path| [(path, 0), (path, 2_048), (path, 2_049)]) {
            for query in [0, 1_000, 2_048] {
                let record = Record {
                    path: &long[..path],
                    query: &long[..query],
                    user_agent: &long[..agent],
                    times,
                    bytes_in: u64::MAX,
                    bytes_out: u64::MAX,
                    attempts: u32::MAX,
                    ..texts(&long, &name)
                };
                let line = line(&format, &record);
                assert!(line.ends_with("}\n"), "{path} {query} {agent}");
                let value: Value = serde_json::from_str(&line).expect("a line is JSON");
                assert_eq!(value.as_object().expect("an object").len(), Field::ALL.len());
            }
        }
    }

    /// A record with these in all texts.
    fn texts<'a>(bytes: &'a [u8], name: &'a EscapedText) -> Record<'a> {
        let name = name.as_escaped();
        Record {
            request_id: name,
            listener: name,
            client: name,
            method: name,
            host: name,
            path: bytes,
            query: bytes,
            route: name,
            upstream: name,
            endpoint: name,
            protocol: name,
            trace_id: name,
            user_agent: bytes,
            referer: bytes,
            ..Record::default()
        }
    }

    /// The characters a value stands for: what is not UTF-8 as the characters of its octets.
    fn characters(bytes: &[u8]) -> String {
        let chunks = bytes.utf8_chunks();
        chunks.flat_map(|c| c.valid().chars().chain(c.invalid().iter().map(|b| char::from(*b)))).collect()
    }

    proptest! {
        #[test]
        fn any_octets_make_one_line_of_json_that_says_them(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), name in ".{0,40}",
        ) {
            let escaped = EscapedText::new(&name);
            let line = line(&all_fields(), &texts(&bytes, &escaped));
            prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            prop_assert!(!line.trim_end_matches('\n').contains(char::is_control));
            let value: Value = serde_json::from_str(&line).expect("a line is JSON");
            prop_assert_eq!(value.as_object().expect("an object").len(), Field::ALL.len());
            prop_assert_eq!(value["route"].as_str(), Some(name.as_str()));
            let path = characters(&bytes);
            prop_assert_eq!(value["path"].as_str(), Some(path.as_str()));
        }
    }
}
