//! Pins of public keys.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::value::{Literal, REFERENCE_PATTERN, literal, literal_type};

/// Octets of a SHA-256 digest.
const DIGEST_BYTES: usize = 32;
const PATTERN: &str = "^sha256/[A-Za-z0-9+/]{43}=$";

/// SHA-256 over a public key with its algorithm (SubjectPublicKeyInfo), as in RFC 7469, section 2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin([u8; DIGEST_BYTES]);

impl Pin {
    /// The digest.
    pub fn digest(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }
}

impl Literal for Pin {
    const EXPECTED: &'static str = "a pin such as `sha256/…=`";

    fn of_text(text: &str) -> Result<Self, String> {
        const HINT: &str = "`openssl x509 -pubkey -noout -in CERT | openssl pkey -pubin -outform der | openssl dgst -sha256 \
                            -binary | base64` prints what follows `sha256/`";
        let Some(digits) = text.strip_prefix("sha256/") else {
            return Err(format!("a pin begins with `sha256/`\n{HINT}"));
        };
        // As much as the encoding of a digest may say it takes.
        let mut digest = [0; DIGEST_BYTES + 4];
        match STANDARD.decode_slice(digits, &mut digest) {
            Ok(DIGEST_BYTES) => Ok(Self(std::array::from_fn(|at| digest[at]))),
            _ => Err(format!("this is not SHA-256 in base64\n{HINT}")),
        }
    }

    fn of_number(_: u64) -> Result<Self, String> {
        Err("expected a pin\nwrite `sha256/` and the digest of the public key in base64".into())
    }
}

literal_type!([] Pin, "pin", |_generator| {
    json_schema!({ "anyOf": [
        { "type": "string", "pattern": PATTERN },
        { "type": "string", "pattern": REFERENCE_PATTERN },
    ] })
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_a_whole_digest() {
        let sound = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(Pin::of_text(sound).unwrap().digest()[31], 31);
        for broken in [
            "",
            "sha256/",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIj",
            "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIj",
            "sha1/AAECAwQFBgcICQoLDA0ODxAREhM=",
        ] {
            assert!(Pin::of_text(broken).is_err(), "{broken}");
        }
    }
}
