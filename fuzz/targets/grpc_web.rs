//! What gRPC reads and writes: base64 decodes to the same wherever it is cut, what we encode decodes to what it was, a
//! timeout that we write is one that we read, and no answer of a health check is too odd.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::http::grpc::{
    Base64Decoder, Family, InvalidBase64, Media, base64_bytes, health, parse_timeout, write_base64, write_timeout,
    write_trailers_frame,
};
use tidegate_fuzz::choice;

fuzz_target!(|input: &[u8]| {
    let (first, bytes) = choice(input);
    let cut = 1 + usize::from(first);
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(whole, decode(bytes, cut), "a cut changes the meaning");

    let mut text = Vec::new();
    for flush in bytes.chunks(cut) {
        write_base64(flush, &mut text);
    }
    assert_eq!(text.len(), bytes.chunks(cut).map(|flush| base64_bytes(flush.len())).sum::<usize>());
    assert_eq!(decode(&text, cut), Ok((bytes.to_vec(), true)));

    if let Ok(timeout) = parse_timeout(bytes) {
        let mut written = Vec::new();
        write_timeout(timeout, &mut written);
        assert_eq!(parse_timeout(&written), Ok(timeout), "every timeout that can be read can be told");
    }
    if let Some(media) = Media::of(bytes) {
        let mut written = Vec::new();
        media.write_as(Family::Grpc, &mut written);
        assert_eq!(Media::of(&written), Some(Media { family: Family::Grpc, ..media }));
    }
    let mut frame = Vec::new();
    write_trailers_frame([(bytes, bytes)].into_iter(), &mut frame);
    assert_eq!(frame[1..5], ((frame.len() - 5) as u32).to_be_bytes());
    let _ = health::read_response(bytes);
});

/// The content, and whether the text ends here; or that it is none.
fn decode(text: &[u8], cut: usize) -> Result<(Vec<u8>, bool), InvalidBase64> {
    let (mut decoder, mut out) = (Base64Decoder::default(), Vec::new());
    for piece in text.chunks(cut) {
        decoder.decode(piece, &mut out)?;
    }
    Ok((out, decoder.is_whole()))
}
