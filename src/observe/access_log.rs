//! The access log's lines: one JSON object for each exchange, its fields chosen and ordered by the operator.
//!
//! A format is compiled once into the constant pieces between the values, so that writing a line is copying.

use super::Record;
use super::json::{VALUE_BYTES_MAX, push_string};
use crate::base::UnixTime;

/// Longest line, its end included. Values are cut to fit.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// What all names, numbers and marks of a line may take; the rest is for texts.
const FRAME_BYTES_MAX: usize = 2 * 1024;
/// What the texts of one line may take together.
const TEXT_BYTES_MAX: usize = LINE_BYTES_MAX - FRAME_BYTES_MAX;

const _: () = assert!(VALUE_BYTES_MAX < TEXT_BYTES_MAX, "the longest value must fit the line");
// Beside its name, a field takes at most 9 octets for quotes, colon, comma and the mark of a cut, and a number at most
// 24; names are shorter than 24.
const _: () = assert!(Field::ALL.len() * 60 < FRAME_BYTES_MAX, "all fields must fit the line");

macro_rules! fields {
    ($($(#[doc = $meaning:literal])+ $name:ident = $word:literal, $text:literal;)*) => {
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

            /// Whether it is written between quotes.
            fn is_text(self) -> bool {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

fields! {
    /// When the exchange ended, RFC 3339 in UTC with milliseconds.
    Time = "time", true;
    /// The request id, as sent upstream and back.
    RequestId = "request_id", true;
    /// The listener's name.
    Listener = "listener", true;
    /// The client's address, from a trusted proxy's word where one is configured.
    Client = "client", true;
    /// The method.
    Method = "method", true;
    /// The host asked for, normalised.
    Host = "host", true;
    /// The canonical path, without the query.
    Path = "path", true;
    /// The query. Not logged by default: it may hold secrets.
    Query = "query", true;
    /// The client's protocol.
    Protocol = "protocol", true;
    /// The final status sent to the client; null when none was.
    Status = "status", false;
    /// Why the exchange ended as it did.
    Reason = "reason", true;
    /// What exactly, where the reason leaves it open.
    Detail = "detail", true;
    /// Whose doing the outcome is: client, upstream, gateway or nobody.
    Side = "side", true;
    /// The route's name.
    Route = "route", true;
    /// The upstream's name.
    Upstream = "upstream", true;
    /// The endpoint of the last attempt.
    Endpoint = "endpoint", true;
    /// Tries made upstream, the first included.
    Attempts = "attempts", false;
    /// Bytes received from the client, head included.
    BytesIn = "bytes_in", false;
    /// Bytes sent to the client, head included.
    BytesOut = "bytes_out", false;
    /// Microseconds from the first byte of the request to its parsed head.
    ParseMicros = "parse_us", false;
    /// Microseconds from the parsed head to the decision of route and policies.
    RouteMicros = "route_us", false;
    /// Microseconds from the decision to an upstream connection, fresh or reused.
    ConnectMicros = "connect_us", false;
    /// Microseconds from the connection to the upstream's response head.
    FirstByteMicros = "first_byte_us", false;
    /// Microseconds from the first byte of the request to the end of the exchange.
    TotalMicros = "total_us", false;
    /// The trace id of the trace context.
    TraceId = "trace_id", true;
    /// The User-Agent field.
    UserAgent = "user_agent", true;
    /// The Referer field. Not logged by default: it may hold secrets.
    Referer = "referer", true;
    /// Whether an earlier request came over the client's connection.
    ClientReused = "client_reused", false;
    /// Whether the upstream connection came from the pool.
    UpstreamReused = "upstream_reused", false;
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
    pieces: Box<[Piece]>,
    /// What follows the last value.
    tail: Box<[u8]>,
}

/// A value and the constant text before it.
#[derive(Clone, Debug)]
struct Piece {
    before: Box<[u8]>,
    field: Field,
}

impl Default for LineFormat {
    fn default() -> Self {
        Self::of(DEFAULT_FIELDS)
    }
}

impl LineFormat {
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

    fn of(fields: &[Field]) -> Self {
        let mut before = String::from("{");
        let mut pieces = Vec::with_capacity(fields.len());
        for (index, &field) in fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let quote = quote(field);
            let piece = format!("{before}{comma}\"{}\":{quote}", field.word());
            pieces.push(Piece { before: piece.into_bytes().into(), field });
            before = quote.to_owned();
        }
        Self { pieces: pieces.into(), tail: format!("{before}}}\n").into_bytes().into() }
    }

    /// Appends one line of at most [`LINE_BYTES_MAX`] octets.
    pub fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let mut line = Line { out, text_left: TEXT_BYTES_MAX };
        for piece in &self.pieces {
            line.out.extend_from_slice(&piece.before);
            line.value(piece.field, record);
        }
        out.extend_from_slice(&self.tail);
        debug_assert!(out.len() - start <= LINE_BYTES_MAX, "frame and texts are bounded");
    }
}

fn quote(field: Field) -> &'static str {
    if field.is_text() { "\"" } else { "" }
}

/// A line being written.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    /// Octets that texts may still take.
    text_left: usize,
}

impl Line<'_> {
    #[inline]
    fn value(&mut self, field: Field, record: &Record<'_>) {
        match field {
            Field::Time => self.time(record.time),
            Field::RequestId => self.text(record.request_id),
            Field::Listener => self.text(record.listener.as_bytes()),
            Field::Client => self.text(record.client),
            Field::Method => self.text(record.method),
            Field::Host => self.text(record.host),
            Field::Path => self.text(record.path),
            Field::Query => self.text(record.query),
            Field::Protocol => self.text(record.protocol.as_bytes()),
            Field::Status => self.maybe((record.status != 0).then_some(record.status.into())),
            Field::Reason => self.word(record.reason.word()),
            Field::Detail => self.text(record.detail.as_bytes()),
            Field::Side => self.word(record.reason.side().word()),
            Field::Route => self.text(record.route.as_bytes()),
            Field::Upstream => self.text(record.upstream.as_bytes()),
            Field::Endpoint => self.text(record.endpoint),
            Field::Attempts => self.number(record.attempts.into()),
            Field::BytesIn => self.number(record.bytes_in),
            Field::BytesOut => self.number(record.bytes_out),
            Field::ParseMicros => self.maybe(record.times.parse),
            Field::RouteMicros => self.maybe(record.times.route),
            Field::ConnectMicros => self.maybe(record.times.connect),
            Field::FirstByteMicros => self.maybe(record.times.first_byte),
            Field::TotalMicros => self.number(record.times.total),
            Field::TraceId => self.text(record.trace_id),
            Field::UserAgent => self.text(record.user_agent),
            Field::Referer => self.text(record.referer),
            Field::ClientReused => self.flag(record.client_reused),
            Field::UpstreamReused => self.flag(record.upstream_reused),
        }
    }

    /// Text of others: escaped, and cut to what is left.
    #[inline]
    fn text(&mut self, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        let before = self.out.len();
        push_string(value, self.text_left.min(VALUE_BYTES_MAX), self.out);
        self.text_left = self.text_left.saturating_sub(self.out.len() - before);
    }

    /// Text of ours: short and plain.
    #[inline]
    fn word(&mut self, word: &'static str) {
        self.out.extend_from_slice(word.as_bytes());
    }

    #[inline]
    fn number(&mut self, number: u64) {
        if number < 10 {
            self.out.push(b'0' + number as u8);
        } else {
            self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }

    #[inline]
    fn maybe(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.number(number),
            None => self.word("null"),
        }
    }

    #[inline]
    fn flag(&mut self, flag: bool) {
        self.word(if flag { "true" } else { "false" });
    }

    #[inline]
    fn time(&mut self, time: UnixTime) {
        self.out.extend_from_slice(&rfc3339(time));
    }
}

/// `2026-11-24T05:17:22.123Z`. Beyond the year 9999 the year wraps.
fn rfc3339(time: UnixTime) -> [u8; 24] {
    let millis = (time.as_nanos() / 1_000_000 % 1_000) as u32;
    let second = (time.as_seconds() % 86_400) as u32;
    let (year, month, day) = date((time.as_seconds() / 86_400) as u32);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    pair(&mut text, 0, year / 100 % 100);
    pair(&mut text, 2, year % 100);
    pair(&mut text, 5, month);
    pair(&mut text, 8, day);
    pair(&mut text, 11, second / 3_600);
    pair(&mut text, 14, second / 60 % 60);
    pair(&mut text, 17, second % 60);
    pair(&mut text, 20, millis / 10);
    text[22] = b'0' + (millis % 10) as u8;
    text
}

#[inline]
fn pair(text: &mut [u8; 24], at: usize, number: u32) {
    text[at] = b'0' + (number / 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

/// Year, month and day of a day since the epoch, in the Gregorian calendar. The year is taken to begin in March, so
/// that the leap day is its last.
#[inline]
fn date(days: u32) -> (u32, u32, u32) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Reason, Times};
    use proptest::prelude::*;
    use serde_json::Value;

    fn line(format: &LineFormat, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        format.write(record, &mut out);
        String::from_utf8(out).expect("a line is UTF-8")
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
        let record = Record { host: b"h", attempts: 12, method: b"GET", ..Record::default() };
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
    fn time_is_written_in_utc() {
        let text = |seconds: u64, millis: u64| {
            let time = UnixTime::from_nanos(seconds * 1_000_000_000 + millis * 1_000_000);
            String::from_utf8(rfc3339(time).to_vec()).expect("ASCII")
        };
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_827_696, 7), "2000-02-29T12:34:56.007Z");
        assert_eq!(text(1_795_497_442, 999), "2026-11-24T05:17:22.999Z");
        assert_eq!(text(4_107_542_399, 0), "2100-02-28T23:59:59.000Z");
        assert_eq!(text(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_line_of_the_longest_texts_stays_within_its_bound() {
        let long = vec![b'"'; 64 * 1024];
        let text = "é".repeat(32 * 1024);
        let times = Times { total: u64::MAX, ..Times::default() };
        let record = Record { times, bytes_in: u64::MAX, ..texts(&long, &text) };
        let line = line(&all_fields(), &record);
        assert!(line.len() <= LINE_BYTES_MAX && line.len() > TEXT_BYTES_MAX, "{}", line.len());
        serde_json::from_str::<Value>(&line).expect("a cut line is still JSON");
    }

    /// A record with these in all texts.
    fn texts<'a>(bytes: &'a [u8], text: &'a str) -> Record<'a> {
        Record {
            request_id: bytes,
            listener: text,
            client: bytes,
            method: bytes,
            host: bytes,
            path: bytes,
            query: bytes,
            route: text,
            upstream: text,
            endpoint: bytes,
            detail: text,
            trace_id: bytes,
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
            bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,80}",
        ) {
            let line = line(&all_fields(), &texts(&bytes, &text));
            prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            prop_assert!(!line.trim_end_matches('\n').contains(char::is_control));
            let value: Value = serde_json::from_str(&line).expect("a line is JSON");
            prop_assert_eq!(value.as_object().expect("an object").len(), Field::ALL.len());
            prop_assert_eq!(value["route"].as_str(), Some(text.as_str()));
            let request_id = characters(&bytes);
            prop_assert_eq!(value["request_id"].as_str(), Some(request_id.as_str()));
        }

        #[test]
        fn any_day_is_written_as_the_next_one_after_the_day_before(days in 1u32..2_900_000) {
            let (before, today) = (date(days - 1), date(days));
            let next_day = today.0 == before.0 && today.1 == before.1 && today.2 == before.2 + 1;
            let next_month = today.0 == before.0 && today.1 == before.1 + 1 && today.2 == 1 && before.2 >= 28;
            let next_year = today == (before.0 + 1, 1, 1) && before.1 == 12 && before.2 == 31;
            prop_assert!(next_day || next_month || next_year, "{:?} {:?}", before, today);
        }
    }
}
