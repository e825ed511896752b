//! Base64 (RFC 4648, section 4) in pieces: gRPC-Web sends each flush as text of its own, padding included, so that padding
//! may stand in the middle, and a piece may end anywhere.

use std::fmt;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Stands for no letter of the alphabet.
const NONE: u8 = u8::MAX;
static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut at = 0;
    while at < ALPHABET.len() {
        table[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    table
}

/// Text that is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBase64;

impl InvalidBase64 {
    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        "grpc-web-base64"
    }
}

impl fmt::Display for InvalidBase64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for InvalidBase64 {}

/// Decodes piece by piece. After an error it must not be used again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Base64Decoder {
    /// The bits of the group so far.
    bits: u32,
    /// Letters of the group so far.
    letters: u8,
    /// Padding of the group so far.
    padding: u8,
}

impl Base64Decoder {
    /// Appends what `text` stands for.
    pub fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidBase64> {
        for &octet in text {
            if octet == b'=' {
                self.pad(out)?;
                continue;
            }
            let value = VALUES[usize::from(octet)];
            if value == NONE || self.padding > 0 {
                return Err(InvalidBase64);
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.letters += 1;
            if self.letters == 4 {
                out.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                *self = Self::default();
            }
        }
        Ok(())
    }

    /// A group of two or three letters is filled up to four.
    fn pad(&mut self, out: &mut Vec<u8>) -> Result<(), InvalidBase64> {
        self.padding += 1;
        if self.letters < 2 || self.letters + self.padding > 4 {
            return Err(InvalidBase64);
        }
        if self.letters + self.padding < 4 {
            return Ok(());
        }
        let octets = usize::from(self.letters - 1);
        let bits = self.bits << (6 * u32::from(self.padding));
        // Bits that stand for nothing are zero, or the same octets had several texts.
        if bits.trailing_zeros() < 8 * (3 - octets as u32) && bits != 0 {
            return Err(InvalidBase64);
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..=octets]);
        *self = Self::default();
        Ok(())
    }

    /// Whether the text may end here.
    pub fn is_whole(&self) -> bool {
        self.letters == 0
    }
}

/// How long the text of so many octets is.
pub const fn base64_bytes(octets: usize) -> usize {
    octets.div_ceil(3) * 4
}

/// Appends the text of `content`, padded.
pub fn write_base64(content: &[u8], out: &mut Vec<u8>) {
    let (groups, rest) = content.as_chunks::<3>();
    out.reserve(base64_bytes(content.len()));
    for [a, b, c] in groups {
        out.extend_from_slice(&letters(*a, *b, *c));
    }
    match *rest {
        [a] => out.extend_from_slice(&[letters(a, 0, 0)[0], letters(a, 0, 0)[1], b'=', b'=']),
        [a, b] => {
            let [first, second, third, _] = letters(a, b, 0);
            out.extend_from_slice(&[first, second, third, b'=']);
        }
        _ => {}
    }
}

fn letters(a: u8, b: u8, c: u8) -> [u8; 4] {
    let bits = u32::from_be_bytes([0, a, b, c]);
    [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_base64(content, &mut out);
        out
    }

    fn decoded(text: &[u8]) -> Result<Vec<u8>, InvalidBase64> {
        let (mut decoder, mut out) = (Base64Decoder::default(), Vec::new());
        decoder.decode(text, &mut out)?;
        if decoder.is_whole() { Ok(out) } else { Err(InvalidBase64) }
    }

    #[test]
    fn rfc_4648_section_10_the_test_vectors() {
        for (content, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(content.as_bytes()), text.as_bytes());
            assert_eq!(decoded(text.as_bytes()).unwrap(), content.as_bytes());
        }
    }

    #[test]
    fn padding_may_stand_in_the_middle() {
        assert_eq!(decoded(b"Zg==Zm8=Zm9v").unwrap(), b"ffofoo");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for text in ["=", "Z=", "Zg=a", "Zg===", "Z", "Zg", "Zg=", "Zm9v=", "Zm9\n", "Zm-_", "Zh==", "Zm9=", "A==="] {
            assert_eq!(decoded(text.as_bytes()), Err(InvalidBase64), "{text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_decode_to_what_was_encoded_wherever_they_are_cut(
            flushes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..5),
            cut in 1..9_usize,
        ) {
            let text: Vec<u8> = flushes.iter().flat_map(|flush| encoded(flush)).collect();
            prop_assert_eq!(text.len(), flushes.iter().map(|flush| base64_bytes(flush.len())).sum::<usize>());
            let (mut decoder, mut out) = (Base64Decoder::default(), Vec::new());
            for piece in text.chunks(cut) {
                decoder.decode(piece, &mut out).unwrap();
            }
            prop_assert!(decoder.is_whole());
            prop_assert_eq!(out, flushes.concat());
        }
    }
}
