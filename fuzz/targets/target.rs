//! Request targets: the canonical form is canonical: parsed again it is itself, and nothing ambiguous is left in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::http::Method;
use tidegate::http::target::{Form, Target};
use tidegate_fuzz::choice;

fuzz_target!(|input: &[u8]| {
    let (first, received) = choice(input);
    let method = [Method::Get, Method::Post, Method::Options, Method::Connect][usize::from(first % 4)];
    let mut written = Vec::new();
    let Ok(target) = Target::parse(method, received, &mut written) else { return };
    assert!(written.len() <= received.len(), "a canonical form is never longer");
    if matches!(target.form, Form::Authority | Form::Asterisk) {
        return;
    }
    let path = target.path.of(received, &written);
    assert_canonical(path);

    let mut once = Vec::new();
    target.append_origin_form(received, &written, &mut once);
    let mut rewritten = Vec::new();
    let again = Target::parse(method, &once, &mut rewritten).expect("our own form is acceptable");
    let mut twice = Vec::new();
    again.append_origin_form(&once, &rewritten, &mut twice);
    assert_eq!(once, twice, "not idempotent");
    assert!(rewritten.is_empty(), "a canonical path is a range of what was received");
    // One that a later `..` removes counts too: an upstream that decodes it would remove another segment.
    assert!(target.encoded_slash || !again.encoded_slash, "an encoded slash appears");
});

fn assert_canonical(path: &[u8]) {
    assert_eq!(path.first(), Some(&b'/'));
    assert!(!path.windows(2).any(|pair| pair == b"//"), "a repeated slash");
    for segment in path.split(|octet| *octet == b'/') {
        assert!(segment != b"." && segment != b".." && !segment.starts_with(b"..;"), "a dot segment");
    }
    for (at, _) in path.iter().enumerate().filter(|(_, octet)| **octet == b'%') {
        let escape = &path[at + 1..at + 3];
        assert!(escape.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F')), "an escape");
        assert!(escape != b"00" && escape != b"5C", "a forbidden escape");
    }
}
