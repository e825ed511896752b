//! Hellos of TLS: the name is the same however the octets are cut, and it is one that can be looked up and logged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proxy::client_hello::{Progress, Reader};
use tidegate_fuzz::choice;

fuzz_target!(|input: &[u8]| {
    let (first, bytes) = choice(input);
    let whole = Reader::default().read(bytes);
    let mut reader = Reader::default();
    let mut pieces = Ok(Progress::Partial);
    for piece in bytes.chunks(usize::from(first).max(1)) {
        pieces = reader.read(piece);
        if pieces != Ok(Progress::Partial) {
            break;
        }
    }
    assert_eq!(whole, pieces, "not the same in pieces");
    if let Ok(Progress::Complete(Some(name))) = whole {
        assert!((1..=253).contains(&name.len()));
        assert!(name.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-._".contains(&octet)));
    }
});
