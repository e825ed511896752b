//! What the fuzz targets share: limits chosen by the input, and what must hold of every head that was accepted.

use tidegate::http::h1::{ChunkedDecoder, HeadLimits, HeadScanner, Progress, Step, Trailers};
use tidegate::http::header::{Field, KnownName};
use tidegate::http::{Body, RequestHead};

/// What we send has room for what we add.
pub const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 1 << 20,
    field_bytes_max: 1 << 20,
    fields_max: 1 << 16,
    target_bytes_max: 1 << 20,
    http10_without_host: false,
};

/// Splits the first octet off; an empty input gives 0.
pub fn choice(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (*first, rest))
}

/// Small limits, so that inputs reach them, or the defaults.
pub fn limits(choice: u8) -> HeadLimits {
    let http10_without_host = choice & 1 == 1;
    if choice & 2 == 0 {
        return HeadLimits { http10_without_host, ..HeadLimits::default() };
    }
    HeadLimits { head_bytes_max: 256, field_bytes_max: 64, fields_max: 8, target_bytes_max: 32, http10_without_host }
}

/// RFC 9110, section 5.6.2, written down a second time, so that no target believes the code it tests.
fn is_token(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet)
}

/// Panics unless these fields may be forwarded: nothing in them can be read in two ways.
pub fn assert_fields_are_safe(fields: &[Field], bytes: &[u8]) {
    for field in fields {
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        assert!(!name.is_empty() && name.iter().all(is_token), "a field name is a token");
        assert!(value.iter().all(|octet| *octet == b'\t' || !octet.is_ascii_control()), "a value holds no control");
        assert_eq!(value, value.trim_ascii(), "a value has no white space at its ends");
    }
}

/// Panics unless an accepted request head keeps every promise of the parser.
pub fn assert_request_is_safe(head: &RequestHead, bytes: &[u8], limits: &HeadLimits) {
    assert!(head.length <= bytes.len() && head.length <= limits.head_bytes_max);
    assert!(head.fields.len() <= limits.fields_max);
    assert!(head.target.len() <= limits.target_bytes_max && !head.target.is_empty());
    assert!(head.method_text.of(bytes).iter().all(is_token));
    assert!(head.fields.all(KnownName::Host).count() <= 1, "two hosts");
    let coded = head.fields.has(KnownName::TransferEncoding);
    let sized = head.fields.has(KnownName::ContentLength);
    assert!(!(coded && sized), "two framings");
    assert_eq!(coded, head.body == Body::Chunked);
    assert_eq!(sized, matches!(head.body, Body::Length(_)));
    assert_fields_are_safe(head.fields.as_slice(), bytes);
}

/// Panics unless these octets are requests, the last one perhaps cut.
pub fn assert_requests(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let mut head = RequestHead::default();
        let outcome = HeadScanner::default().request(bytes, &mut head, &LIMITS);
        let shown = String::from_utf8_lossy(bytes);
        match outcome.unwrap_or_else(|error| panic!("the origin got {error}: {shown:?}")) {
            Progress::Partial => return,
            Progress::Complete => assert_request_is_safe(&head, bytes, &LIMITS),
        }
        let Some(rest) = behind_content(head.body, &bytes[head.length..]) else { return };
        bytes = rest;
    }
}

/// What follows the content; none if it is cut.
fn behind_content(body: Body, bytes: &[u8]) -> Option<&[u8]> {
    match body {
        Body::Empty | Body::UntilClose => return Some(bytes),
        Body::Length(length) => return bytes.get(usize::try_from(length).ok()?..),
        Body::Chunked => {}
    }
    let (mut decoder, mut trailers, mut at) = (ChunkedDecoder::default(), Trailers::default(), 0);
    loop {
        let step = decoder.next(&bytes[at..], &mut trailers, &LIMITS);
        match step.unwrap_or_else(|error| panic!("the origin got {error}")) {
            Step::Data(range) => at += range.end,
            Step::NeedMore => return None,
            Step::Done { consumed } => return Some(&bytes[at + consumed..]),
        }
    }
}
