//! What we emit our own strict parser reads the same: request heads, response heads and trailers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::http::h1::{
    ChunkedDecoder, HeadLimits, HeadScanner, Hop, Progress, Step, Trailers, copy_fields, write_chunked,
    write_content_length, write_head_end, write_request_line, write_status_line, write_trailers,
};
use tidegate::http::header::{Field, KnownName};
use tidegate::http::target::{Form, Target};
use tidegate::http::{Body, Method, RequestHead, ResponseHead};
use tidegate_fuzz::choice;

/// Room for what framing of our own adds.
const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 1 << 20,
    field_bytes_max: 1 << 20,
    fields_max: 1 << 16,
    target_bytes_max: 1 << 20,
    http10_without_host: false,
};

fuzz_target!(|input: &[u8]| {
    let (_, bytes) = choice(input);
    request(bytes);
    response(bytes);
    trailers(bytes);
});

/// The fields by name and value.
fn pairs<'b>(fields: &'b [Field], bytes: &'b [u8], skip: impl Fn(&Field) -> bool) -> Vec<(Vec<u8>, &'b [u8])> {
    let kept = fields.iter().filter(|field| !skip(field));
    kept.map(|field| (field.name.of(bytes).to_ascii_lowercase(), field.value.of(bytes))).collect()
}

fn is_framing(field: &Field) -> bool {
    matches!(field.known, Some(KnownName::ContentLength | KnownName::TransferEncoding))
}

fn frame(body: Body, out: &mut Vec<u8>) {
    match body {
        Body::Length(length) => write_content_length(out, length),
        Body::Chunked => write_chunked(out),
        Body::Empty | Body::UntilClose => {}
    }
    write_head_end(out);
}

fn request(bytes: &[u8]) {
    let mut head = RequestHead::default();
    if HeadScanner::default().request(bytes, &mut head, &HeadLimits::default()) != Ok(Progress::Complete) {
        return;
    }
    let Ok(hop) = Hop::of_request(bytes, &head) else { return };
    let mut written = Vec::new();
    let Ok(target) = Target::parse(head.method, head.target.of(bytes), &mut written) else { return };
    if target.form == Form::Authority || !head.fields.has(KnownName::Host) {
        return;
    }
    let mut path = Vec::new();
    target.append_origin_form(head.target.of(bytes), &written, &mut path);
    let drops = |field: &Field| is_framing(field) || hop.drops(field, bytes);
    let mut out = Vec::new();
    write_request_line(&mut out, head.method_text.of(bytes), &path);
    copy_fields(&mut out, bytes, head.fields.as_slice(), drops);
    frame(head.body, &mut out);

    let mut again = RequestHead::default();
    let outcome = HeadScanner::default().request(&out, &mut again, &LIMITS);
    assert_eq!(outcome, Ok(Progress::Complete), "{:?}", String::from_utf8_lossy(&out));
    assert_eq!((again.method, again.body, again.length), (head.method, head.body, out.len()));
    assert_eq!(again.target.of(&out), path);
    assert_eq!(pairs(again.fields.as_slice(), &out, is_framing), pairs(head.fields.as_slice(), bytes, drops));
}

fn response(bytes: &[u8]) {
    let mut head = ResponseHead::default();
    let limits = HeadLimits::default();
    if HeadScanner::default().response(bytes, &mut head, Method::Get, &limits) != Ok(Progress::Complete) {
        return;
    }
    let Ok(hop) = Hop::of_response(bytes, &head) else { return };
    let drops = |field: &Field| is_framing(field) || hop.drops(field, bytes);
    let mut out = Vec::new();
    write_status_line(&mut out, head.status);
    copy_fields(&mut out, bytes, head.fields.as_slice(), drops);
    frame(head.body, &mut out);

    let mut again = ResponseHead::default();
    let outcome = HeadScanner::default().response(&out, &mut again, Method::Get, &LIMITS);
    assert_eq!(outcome, Ok(Progress::Complete), "{:?}", String::from_utf8_lossy(&out));
    assert_eq!((again.status, again.body, again.length), (head.status, head.body, out.len()));
    assert_eq!(pairs(again.fields.as_slice(), &out, is_framing), pairs(head.fields.as_slice(), bytes, drops));
}

fn trailers(bytes: &[u8]) {
    let Some(received) = trailer_section(bytes) else { return };
    let mut out = Vec::new();
    write_trailers(&mut out, &received, |_| false);
    let again = trailer_section(&out).expect("our own trailers are acceptable");
    assert_eq!(
        pairs(again.fields.as_slice(), &again.bytes, |_| false),
        pairs(received.fields.as_slice(), &received.bytes, |_| false)
    );
}

/// The trailers of a complete chunked message.
fn trailer_section(bytes: &[u8]) -> Option<Trailers> {
    let (mut decoder, mut trailers, mut at) = (ChunkedDecoder::default(), Trailers::default(), 0);
    loop {
        match decoder.next(&bytes[at..], &mut trailers, &LIMITS).ok()? {
            Step::Data(range) => at += range.end,
            Step::NeedMore => return None,
            Step::Done { .. } => return Some(trailers),
        }
    }
}
