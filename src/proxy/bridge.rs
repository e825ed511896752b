//! What is done to the content of a call on its way: the status in its trailers is read, or said where it is missing; to and
//! from browsers, base64 and trailers take the form of gRPC-Web. Messages are not looked at.

use super::call::{append_status, code_in};
use crate::http::grpc::{self, Base64Decoder, Code, Family, InvalidBase64, write_base64, write_trailers_frame};
use crate::http::h1::{LAST_CHUNK, NOT_IN_TRAILERS, Trailers, copy_fields, write_chunk};
use crate::http::header::Field;

/// What a body is passed through.
#[derive(Debug)]
pub(super) enum Codec {
    /// The request of a browser, out of base64.
    Decode(Base64Decoder),
    /// The answer to a call.
    Answer(Answer),
}

impl Codec {
    /// Appends content as chunks.
    pub fn content(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidBase64> {
        match self {
            Self::Decode(decoder) => {
                let mut decoded = Vec::with_capacity(content.len());
                decoder.decode(content, &mut decoded)?;
                if !decoded.is_empty() {
                    write_chunk(out, &decoded);
                }
            }
            Self::Answer(answer) => answer.content(content, out),
        }
        Ok(())
    }

    /// Appends the end of the message, whose trailers are those received.
    pub fn end(&mut self, trailers: Option<&Trailers>, out: &mut Vec<u8>) -> Result<(), InvalidBase64> {
        match self {
            Self::Decode(decoder) if !decoder.is_whole() => return Err(InvalidBase64),
            Self::Decode(_) => out.extend_from_slice(LAST_CHUNK),
            Self::Answer(answer) => answer.end(trailers, out),
        }
        Ok(())
    }

    /// How much longer than what was received that may be which is written for it.
    pub fn growth_bytes(&self, received: usize) -> usize {
        match self {
            Self::Answer(Answer { family: Family::WebText, .. }) => received / 3 + 1024,
            _ => 1024,
        }
    }
}

/// The answer to a call, for a caller that speaks `family`.
#[derive(Debug)]
pub(super) struct Answer {
    family: Family,
    /// What the trailers have said.
    code: Option<Code>,
}

impl Answer {
    pub fn new(family: Family) -> Self {
        Self { family, code: None }
    }

    /// What the trailers have said, if they have said it.
    pub fn code(&self) -> Option<Code> {
        self.code
    }

    fn content(&self, content: &[u8], out: &mut Vec<u8>) {
        if self.family == Family::WebText {
            let mut text = Vec::new();
            write_base64(content, &mut text);
            write_chunk(out, &text);
        } else {
            write_chunk(out, content);
        }
    }

    fn end(&mut self, trailers: Option<&Trailers>, out: &mut Vec<u8>) {
        let Some((trailers, code)) =
            trailers.and_then(|trailers| Some((trailers, code_in(&trailers.fields, &trailers.bytes)?)))
        else {
            return self.end_with(Code::Internal, "The upstream's answer has no status", out);
        };
        self.code = Some(code);
        let skip = |field: &Field| field.known.is_some_and(|known| NOT_IN_TRAILERS & known.bit() != 0);
        if self.family == Family::Grpc {
            out.extend_from_slice(b"0\r\n");
            copy_fields(out, &trailers.bytes, trailers.fields.as_slice(), skip);
            return out.extend_from_slice(b"\r\n");
        }
        let kept = trailers.fields.as_slice().iter().filter(|field| !skip(field));
        let bytes = &trailers.bytes;
        self.end_with_frame(kept.map(|field| (field.name.of(bytes), field.value.of(bytes))), out);
    }

    /// Appends an end of ours.
    pub fn end_with(&self, code: Code, message: &str, out: &mut Vec<u8>) {
        if self.family == Family::Grpc {
            out.extend_from_slice(b"0\r\n");
            append_status(code, message, out);
            return out.extend_from_slice(b"\r\n");
        }
        let mut encoded = Vec::new();
        grpc::write_message(message, &mut encoded);
        let fields = [(grpc::STATUS.as_bytes(), code.text().as_bytes()), (grpc::MESSAGE.as_bytes(), &encoded[..])];
        self.end_with_frame(fields.into_iter(), out);
    }

    fn end_with_frame<'f>(&self, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, out: &mut Vec<u8>) {
        let mut frame = Vec::new();
        write_trailers_frame(fields, &mut frame);
        self.content(&frame, out);
        out.extend_from_slice(LAST_CHUNK);
    }
}
