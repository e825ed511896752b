//! Chunked content: decoding ends, never leaves its input, and what we encode ourselves decodes to the same content.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::http::h1::{ChunkError, ChunkedDecoder, HeadLimits, LAST_CHUNK, Step, Trailers, write_chunk};
use tidegate_fuzz::{assert_fields_are_safe, choice, limits};

fuzz_target!(|input: &[u8]| {
    let (first, bytes) = choice(input);
    let limits = limits(first);
    let mut trailers = Trailers::default();
    let Ok((content, Some(consumed))) = decode(bytes, &mut trailers, &limits) else { return };
    assert!(consumed <= bytes.len());
    assert_fields_are_safe(trailers.fields.as_slice(), &trailers.bytes);

    let mut encoded = Vec::new();
    for piece in content.chunks(1 + usize::from(first)) {
        write_chunk(&mut encoded, piece);
    }
    encoded.extend_from_slice(LAST_CHUNK);
    let again = decode(&encoded, &mut Trailers::default(), &HeadLimits::default());
    assert_eq!(again, Ok((content, Some(encoded.len()))));
});

type Decoded = (Vec<u8>, Option<usize>);

/// The content and, if the message is complete, its length as encoded.
fn decode(bytes: &[u8], trailers: &mut Trailers, limits: &HeadLimits) -> Result<Decoded, ChunkError> {
    let mut decoder = ChunkedDecoder::default();
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        match decoder.next(&bytes[at..], trailers, limits)? {
            Step::Data(range) => {
                assert!(!range.is_empty(), "data is never empty");
                content.extend_from_slice(&bytes[at..][range.clone()]);
                at += range.end;
            }
            Step::NeedMore => return Ok((content, None)),
            Step::Done { consumed } => return Ok((content, Some(at + consumed))),
        }
    }
}
