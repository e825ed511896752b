//! The access log's lines: one JSON object for each exchange, its fields chosen and ordered by the operator.
//!
//! A format is compiled once into the constant pieces between the values, so that writing a line is copying.

use super::line::{FRAME_BYTES_MAX, LINE_BYTES_MAX, Line};
use super::stamp::Stamp;
use super::{Escaped, Record, Transport};

// Beside its name, a field takes at most 9 octets for quotes, colon, comma and the mark of a cut, and a number or a
// time at most 24; names are shorter than 24.
const _: () = assert!(Field::ALL.len() <= u32::BITS as usize, "a set of fields is one word");
const _: () = assert!(Field::ALL.len() * 60 < FRAME_BYTES_MAX, "all fields must fit the line");

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
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it holds, for the documentation.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),+).trim(),)* }
            }

            /// Its name as it stands before its value.
            #[inline(always)]
            fn key(self) -> &'static str {
                match self { $(Self::$name => concat!("\"", $word, "\":"),)* }
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
    /// The name that the client asked for in its TLS handshake.
    Sni = "sni";
}

/// The fields of a line, in their order, unless the operator says otherwise.
pub const DEFAULT_FIELDS: &[Field] = &[
    Field::Time,
    Field::RequestId,
    Field::Client,
    Field::Method,
    Field::Host,
    Field::Path,
    Field::Protocol,
    Field::Status,
    Field::Reason,
    Field::Detail,
    Field::Route,
    Field::Upstream,
    Field::Endpoint,
    Field::Attempts,
    Field::BytesIn,
    Field::BytesOut,
    Field::ParseMicros,
    Field::RouteMicros,
    Field::ConnectMicros,
    Field::FirstByteMicros,
    Field::TotalMicros,
    Field::TraceId,
    Field::UserAgent,
];

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

/// A compiled line format.
#[derive(Clone, Debug)]
pub struct LineFormat {
    fields: Box<[Field]>,
    /// One bit for each of them.
    set: u32,
}

impl Default for LineFormat {
    fn default() -> Self {
        Self::of(DEFAULT_FIELDS)
    }
}

impl LineFormat {
    fn of(fields: &[Field]) -> Self {
        let set = fields.iter().fold(0, |set, field| set | 1 << *field as u32);
        Self { fields: fields.into(), set }
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
        self.set >> field as u32 & 1 != 0
    }

    /// Writes one line at the front of `window` and returns its length. `stamp` is the writer's, from line to line.
    // Not inlined: what it keeps in registers must not compete with what its caller does.
    #[inline(never)]
    pub fn write(&self, record: &Record<'_>, stamp: &mut Stamp, window: &mut [u8; LINE_BYTES_MAX]) -> usize {
        let mut line = Line::begin(window);
        for field in &self.fields {
            // Opaque, or the compiler reads and converts the values of all fields before the loop, needed or not, and
            // keeps them in memory for the want of registers.
            write_field(*field, std::hint::black_box(record), stamp, &mut line);
        }
        line.end()
    }
}

#[inline(always)]
fn write_field(field: Field, record: &Record<'_>, stamp: &mut Stamp, line: &mut Line<'_>) {
    match field {
        Field::Time => line.word(Field::Time.key(), stamp.text(record.time)),
        Field::RequestId => line.escaped(Field::RequestId.key(), record.request_id),
        Field::Listener => line.escaped(Field::Listener.key(), record.listener),
        Field::Client => line.escaped(Field::Client.key(), record.client),
        Field::Method => line.escaped(Field::Method.key(), record.method),
        Field::Host => line.escaped(Field::Host.key(), record.host),
        Field::Path => line.text(Field::Path.key(), record.path),
        Field::Query => line.text(Field::Query.key(), record.query),
        Field::Protocol => line.escaped(Field::Protocol.key(), record.protocol),
        Field::Status => line.maybe(Field::Status.key(), (record.status != 0).then_some(record.status.into())),
        Field::Reason => line.word(Field::Reason.key(), record.reason.word().as_bytes()),
        Field::Detail => line.text(Field::Detail.key(), record.detail.as_bytes()),
        Field::Side => line.word(Field::Side.key(), record.reason.side().word().as_bytes()),
        Field::Route => line.escaped(Field::Route.key(), record.route),
        Field::Upstream => line.escaped(Field::Upstream.key(), record.upstream),
        Field::Endpoint => line.escaped(Field::Endpoint.key(), record.endpoint),
        Field::Attempts => line.number(Field::Attempts.key(), record.attempts.into()),
        Field::BytesIn => line.number(Field::BytesIn.key(), record.bytes_in),
        Field::BytesOut => line.number(Field::BytesOut.key(), record.bytes_out),
        Field::ParseMicros => line.maybe(Field::ParseMicros.key(), record.times.parse),
        Field::RouteMicros => line.maybe(Field::RouteMicros.key(), record.times.route),
        Field::ConnectMicros => line.maybe(Field::ConnectMicros.key(), record.times.connect),
        Field::FirstByteMicros => line.maybe(Field::FirstByteMicros.key(), record.times.first_byte),
        Field::TotalMicros => line.number(Field::TotalMicros.key(), record.times.total),
        Field::TraceId => line.escaped(Field::TraceId.key(), record.trace_id),
        Field::UserAgent => line.text(Field::UserAgent.key(), record.user_agent),
        Field::Referer => line.text(Field::Referer.key(), record.referer),
        Field::ClientReused => line.flag(Field::ClientReused.key(), record.client_reused),
        Field::UpstreamReused => line.flag(Field::UpstreamReused.key(), record.upstream_reused),
        Field::TlsVersion => {
            line.escaped(Field::TlsVersion.key(), record.transport.map_or(Escaped::default(), Transport::version));
        }
        Field::Sni => line.escaped(Field::Sni.key(), record.transport.map_or(Escaped::default(), Transport::name)),
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
