//! The opening handshake of WebSocket (RFC 6455, section 4): what a request must hold, and what the answer must prove.
//!
//! The caller has seen `Upgrade: websocket` and `Connection: Upgrade` on a GET. Frames are the matter of [`frames`], who may ask at all that
//! of [`origins`].

pub mod frames;
pub mod origins;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The only version (RFC 6455, section 4.1), and the value of the field that a 426 carries (section 4.2.2).
pub const VERSION: &str = "13";
/// A key: 16 bytes in base64.
pub const KEY_BYTES: usize = 24;
/// The proof: a SHA-1 digest in base64.
pub const ACCEPT_BYTES: usize = 28;

/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The client speaks no version or another one: 426, with `sec-websocket-version: 13`.
    Version,
    /// The client's key is absent, repeated or not 16 bytes in base64.
    Key,
    /// The upstream's 101 does not prove that it understood.
    Accept,
}

impl HandshakeError {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            Self::Key => 400,
            Self::Accept => 502,
        }
    }

    /// The word for logs and problem types.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Version => "websocket-version",
            Self::Key => "websocket-key",
            Self::Accept => "websocket-accept",
        }
    }
}

/// A well-formed Sec-WebSocket-Key, kept until the answer has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// Checks the values of Sec-WebSocket-Version and Sec-WebSocket-Key of a request; each must occur exactly once
    /// (RFC 6455, sections 11.3.1 and 11.3.5).
    pub fn of_request<'a>(
        versions: impl Iterator<Item = &'a [u8]>,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, HandshakeError> {
        if only(versions) != Some(VERSION.as_bytes()) {
            return Err(HandshakeError::Version);
        }
        only(keys).and_then(Self::parse).ok_or(HandshakeError::Key)
    }

    /// The key of these random bytes, for a handshake of our own.
    pub fn of_random(random: [u8; 16]) -> Self {
        let mut text = [0; KEY_BYTES];
        let written = STANDARD.encode_slice(random, &mut text);
        debug_assert_eq!(written.ok(), Some(KEY_BYTES), "16 bytes are 24 characters of base64");
        Self(text)
    }

    /// The value of Sec-WebSocket-Key.
    pub fn text(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The value of Sec-WebSocket-Accept that proves this key was read (RFC 6455, section 4.2.2).
    pub fn accept(&self) -> [u8; ACCEPT_BYTES] {
        let mut hash = sha1_smol::Sha1::new();
        hash.update(&self.0);
        hash.update(GUID);
        let mut text = [0; ACCEPT_BYTES];
        let written = STANDARD.encode_slice(hash.digest().bytes(), &mut text);
        debug_assert_eq!(written.ok(), Some(ACCEPT_BYTES), "20 bytes are 28 characters of base64");
        text
    }

    /// Checks the values of Sec-WebSocket-Accept of a 101 answer.
    pub fn verify<'a>(&self, accepts: impl Iterator<Item = &'a [u8]>) -> Result<(), HandshakeError> {
        if only(accepts) == Some(&self.accept()) { Ok(()) } else { Err(HandshakeError::Accept) }
    }

    /// 22 characters carry the 16 bytes; the four bits left over in the last one mean nothing, whatever they are.
    fn parse(text: &[u8]) -> Option<Self> {
        let text: [u8; KEY_BYTES] = text.try_into().ok()?;
        let digit = |&octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
        let well_formed = text[..KEY_BYTES - 2].iter().all(digit) && text.ends_with(b"==");
        well_formed.then_some(Self(text))
    }
}

/// The value that stands there alone.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn key(versions: &[&[u8]], keys: &[&[u8]]) -> Result<Key, HandshakeError> {
        Key::of_request(versions.iter().copied(), keys.iter().copied())
    }

    #[test]
    fn the_example_of_rfc_6455_is_accepted_as_there() {
        let key = key(&[b"13"], &[KEY]).unwrap();
        assert_eq!(key.accept(), ACCEPT);
        assert_eq!(key.verify([ACCEPT].into_iter()), Ok(()));
    }

    #[test]
    fn the_nonce_of_rfc_6455_becomes_its_key() {
        assert_eq!(Key::of_random(*b"the sample nonce").text(), KEY);
    }

    #[test]
    fn another_version_or_none_or_two_are_answered_with_426() {
        for versions in [&[b"8".as_slice()][..], &[], &[b"13", b"13"], &[b"13, 8"], &[b"013"]] {
            let error = key(versions, &[KEY]).unwrap_err();
            assert_eq!((error, error.status()), (HandshakeError::Version, 426));
        }
    }

    #[test]
    fn a_key_that_is_not_sixteen_bytes_of_base64_is_refused() {
        let bad: [&[u8]; 6] = [
            b"",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ=A",
            b"dGhlIHNhbXBsZSBub25j-Q==",
            b"dGhlIHNhbXBsZSBub25jZSEh",
            b"dGhlIHNhbXBsZSBub25jZSEhIQ==",
        ];
        for bad in bad {
            assert_eq!(key(&[b"13"], &[bad]), Err(HandshakeError::Key));
        }
        assert_eq!(key(&[b"13"], &[]), Err(HandshakeError::Key));
        assert_eq!(key(&[b"13"], &[KEY, KEY]), Err(HandshakeError::Key));
    }

    #[test]
    fn an_answer_with_a_wrong_repeated_or_absent_proof_is_a_bad_gateway() {
        let key = key(&[b"13"], &[KEY]).unwrap();
        for accepts in [&[][..], &[ACCEPT, ACCEPT], &[b"s3pPLMBiTxaQ9kYGzzhZRbK+xOO=".as_slice()], &[KEY]] {
            assert_eq!(key.verify(accepts.iter().copied()), Err(HandshakeError::Accept));
        }
        assert_eq!(HandshakeError::Accept.status(), 502);
    }
}
