//! However the input is cut into pieces, a parser sees the same events as in one piece.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::http::h1::{ChunkError, ChunkedDecoder, HeadLimits, HeadScanner, Progress, Step, Trailers};
use tidegate::http::{Method, RequestHead, ResponseHead};
use tidegate_fuzz::{choice, limits};

fuzz_target!(|input: &[u8]| {
    let (first, bytes) = choice(input);
    let limits = limits(first);
    let (whole, cuts) = ([bytes.len()], cuts(bytes.len(), first >> 2));
    assert_eq!(request(bytes, &whole, &limits), request(bytes, &cuts, &limits));
    assert_eq!(response(bytes, &whole, &limits), response(bytes, &cuts, &limits));
    assert_eq!(chunked(bytes, &whole, &limits), chunked(bytes, &cuts, &limits));
});

/// Where the pieces end. A seed of 0 cuts behind every octet.
fn cuts(length: usize, seed: u8) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(seed.into());
    let (mut at, mut cuts) = (0, Vec::new());
    while at < length {
        at = (at + if seed == 0 { 1 } else { random.usize(1..32) }).min(length);
        cuts.push(at);
    }
    cuts
}

/// Everything that was found, or the word of the error.
fn request(bytes: &[u8], cuts: &[usize], limits: &HeadLimits) -> Result<Option<String>, &'static str> {
    let (mut scanner, mut head) = (HeadScanner::default(), RequestHead::default());
    for &cut in cuts {
        match scanner.request(&bytes[..cut], &mut head, limits) {
            Ok(Progress::Partial) => {}
            Ok(Progress::Complete) => return Ok(Some(format!("{head:?}"))),
            Err(error) => return Err(error.reason()),
        }
    }
    Ok(None)
}

fn response(bytes: &[u8], cuts: &[usize], limits: &HeadLimits) -> Result<Option<String>, &'static str> {
    let (mut scanner, mut head) = (HeadScanner::default(), ResponseHead::default());
    for &cut in cuts {
        match scanner.response(&bytes[..cut], &mut head, Method::Get, limits) {
            Ok(Progress::Partial) => {}
            Ok(Progress::Complete) => return Ok(Some(format!("{head:?}"))),
            Err(error) => return Err(error.reason()),
        }
    }
    Ok(None)
}

/// The content, the trailers and, if the message is complete, its length.
type Decoded = (Vec<u8>, Vec<u8>, Option<usize>);

fn chunked(bytes: &[u8], cuts: &[usize], limits: &HeadLimits) -> Result<Decoded, ChunkError> {
    let (mut decoder, mut trailers) = (ChunkedDecoder::default(), Trailers::default());
    let (mut content, mut at) = (Vec::new(), 0);
    for &cut in cuts {
        while at < cut {
            match decoder.next(&bytes[at..cut], &mut trailers, limits)? {
                Step::Data(range) => {
                    content.extend_from_slice(&bytes[at..cut][range.clone()]);
                    at += range.end;
                }
                Step::NeedMore => at = cut,
                Step::Done { consumed } => return Ok((content, trailers.bytes, Some(at + consumed))),
            }
        }
    }
    Ok((content, trailers.bytes, None))
}
