//! Request heads: what is accepted is safe to forward, and another parser reads the same fields in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::http::RequestHead;
use tidegate::http::h1::{HeadScanner, Progress};
use tidegate_fuzz::{assert_request_is_safe, choice, limits};

fuzz_target!(|input: &[u8]| {
    let (first, bytes) = choice(input);
    let limits = limits(first);
    let mut head = RequestHead::default();
    match HeadScanner::default().request(bytes, &mut head, &limits) {
        Ok(Progress::Complete) => {
            assert_request_is_safe(&head, bytes, &limits);
            compare(bytes, &head);
        }
        Ok(Progress::Partial) => assert!(bytes.len() < limits.head_bytes_max, "a full buffer decides"),
        Err(error) => assert!((400..=505).contains(&error.status()) && !error.reason().is_empty()),
    }
});

/// httparse is more lenient, so that whatever we accept it must accept and read the same way.
fn compare(bytes: &[u8], head: &RequestHead) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(status) => assert_eq!(status, httparse::Status::Complete(head.length)),
        // It knows HTTP/1.0 and 1.1 only.
        Err(httparse::Error::Version) => return,
        Err(error) => panic!("httparse refuses what we accept: {error}"),
    }
    assert_eq!(request.method.map(str::as_bytes), Some(head.method_text.of(bytes)));
    assert_eq!(request.path.map(str::as_bytes), Some(head.target.of(bytes)));
    assert_eq!(request.headers.len(), head.fields.len());
    for (theirs, ours) in request.headers.iter().zip(head.fields.as_slice()) {
        assert_eq!(theirs.name.as_bytes(), ours.name.of(bytes));
        assert_eq!(theirs.value, ours.value.of(bytes));
    }
}
