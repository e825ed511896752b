//! Response heads: what is accepted is safe to relay, and another parser reads the same fields in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::http::h1::{HeadScanner, Progress};
use tidegate::http::{Body, Method, ResponseHead};
use tidegate_fuzz::{assert_fields_are_safe, choice, limits};

fuzz_target!(|input: &[u8]| {
    let (first, bytes) = choice(input);
    let limits = limits(first);
    let method = if first & 4 == 0 { Method::Get } else { Method::Head };
    let mut head = ResponseHead::default();
    let outcome = HeadScanner::default().response(bytes, &mut head, method, &limits);
    if outcome != Ok(Progress::Complete) {
        assert!(outcome.is_err() || bytes.len() < limits.head_bytes_max, "a full buffer decides");
        return;
    }
    assert!(head.length <= bytes.len() && (100..=999).contains(&head.status));
    assert_fields_are_safe(head.fields.as_slice(), bytes);
    if method == Method::Head || matches!(head.status, 100..=199 | 204 | 304) {
        assert_eq!(head.body, Body::Empty);
    }
    compare(bytes, &head);
});

/// httparse is more lenient, so that whatever we accept it must accept and read the same way.
fn compare(bytes: &[u8], head: &ResponseHead) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(status) => assert_eq!(status, httparse::Status::Complete(head.length)),
        // It knows HTTP/1.0 and 1.1 only.
        Err(httparse::Error::Version) => return,
        Err(error) => panic!("httparse refuses what we accept: {error}"),
    }
    assert_eq!(response.code, Some(head.status));
    assert_eq!(response.headers.len(), head.fields.len());
    for (theirs, ours) in response.headers.iter().zip(head.fields.as_slice()) {
        assert_eq!(theirs.name.as_bytes(), ours.name.of(bytes));
        assert_eq!(theirs.value, ours.value.of(bytes));
    }
}
