//! OCSP responses (RFC 6960) to be stapled: whether one is fit to be shown, and until when. Whether it is signed by the right
//! authority is for clients to find out, which have to do so anyway.

use crate::base::UnixTime;
use crate::base::der::{self, Elements};

/// id-pkix-ocsp-basic.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const SUCCESSFUL: &[u8] = &[0];
/// How a certificate stands (section 4.2.1): good and unknown are primitive, revoked holds when and why.
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;

/// What is wrong with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OcspProblem {
    #[error("the file holds no OCSP response")]
    Malformed,
    #[error("the responder has refused to answer")]
    Unsuccessful,
    #[error("the OCSP response is about another certificate")]
    OtherCertificate,
    #[error("the OCSP response says that the certificate was revoked")]
    Revoked,
    #[error("the responder does not know the certificate")]
    Unknown,
}

impl OcspProblem {
    /// A stable word for scripts.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "bad-ocsp-response",
            Self::Unsuccessful => "ocsp-unsuccessful",
            Self::OtherCertificate => "ocsp-other-certificate",
            Self::Revoked => "ocsp-revoked",
            Self::Unknown => "ocsp-unknown",
        }
    }
}

/// A response that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staple {
    pub response: Vec<u8>,
    pub valid_from: UnixTime,
    /// For ever where it does not say.
    pub valid_until: UnixTime,
}

impl Staple {
    /// Reads a response about the certificate of this serial number.
    pub fn parse(response: &[u8], serial: &[u8]) -> Result<Self, OcspProblem> {
        let mut outer = Elements::of_sequence(response).ok_or(OcspProblem::Malformed)?;
        let status = outer.content_of(der::ENUMERATED).ok_or(OcspProblem::Malformed)?;
        if status != SUCCESSFUL {
            return Err(OcspProblem::Unsuccessful);
        }
        let mut answers = outer.content_of(der::context(0)).and_then(answers).ok_or(OcspProblem::Malformed)?;
        let found = answers.find_map(|answer| Answer::about(answer.content, serial));
        let answer = found.ok_or(OcspProblem::OtherCertificate)?;
        match answer.status {
            GOOD => {}
            REVOKED => return Err(OcspProblem::Revoked),
            _ => return Err(OcspProblem::Unknown),
        }
        Ok(Self { response: response.to_vec(), valid_from: answer.this_update, valid_until: answer.next_update })
    }
}

/// The answers in the bytes of a response (RFC 6960, section 4.2.1).
fn answers(bytes: &[u8]) -> Option<Elements<'_>> {
    // ResponseBytes { id-pkix-ocsp-basic, OCTET STRING of BasicOCSPResponse { ResponseData { … }, … } }
    let mut bytes = Elements::of_sequence(bytes)?;
    (bytes.content_of(der::OBJECT_ID)? == BASIC).then_some(())?;
    let mut basic = Elements::of_sequence(bytes.content_of(der::OCTET_STRING)?)?;
    let mut data = Elements::of(basic.content_of(der::SEQUENCE)?);
    data.take_if(der::context(0));
    let _responder = data.next()?;
    let _produced_at = data.time()?;
    Some(Elements::of(data.content_of(der::SEQUENCE)?))
}

/// What one answer says.
struct Answer {
    status: u8,
    this_update: UnixTime,
    next_update: UnixTime,
}

impl Answer {
    /// If it is about this certificate.
    fn about(answer: &[u8], serial: &[u8]) -> Option<Self> {
        // SingleResponse { CertID { algorithm, issuer's name, issuer's key, serial }, status, thisUpdate, nextUpdate, … }
        let mut parts = Elements::of(answer);
        let mut id = Elements::of(parts.content_of(der::SEQUENCE)?);
        (id.find(|part| part.tag == der::INTEGER)?.content == serial).then_some(())?;
        let status = parts.next()?.tag;
        let this_update = parts.time()?;
        let next_update = match parts.content_of(der::context(0)) {
            Some(next) => Elements::of(next).time()?,
            None => UnixTime::from_nanos(u64::MAX),
        };
        Some(Self { status, this_update, next_update })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
        element(der::SEQUENCE, &parts.concat())
    }

    /// A response about this serial number, with this status, between these times; unsigned.
    pub fn response(serial: &[u8], status: u8, from: &str, until: Option<&str>) -> Vec<u8> {
        let time = |text: &str| element(0x18, text.as_bytes());
        let id = sequence(&[
            sequence(&[]),
            element(der::OCTET_STRING, b"name"),
            element(der::OCTET_STRING, b"key"),
            element(der::INTEGER, serial),
        ]);
        let mut answer = vec![id, element(status, &[]), time(from)];
        answer.extend(until.map(|until| element(der::context(0), &time(until))));
        let data = sequence(&[element(0xa2, b""), time(from), sequence(&[sequence(&answer)])]);
        let basic = sequence(&[data, sequence(&[]), element(3, b"\0")]);
        let bytes = sequence(&[element(der::OBJECT_ID, BASIC), element(der::OCTET_STRING, &basic)]);
        sequence(&[element(der::ENUMERATED, SUCCESSFUL), element(der::context(0), &bytes)])
    }

    const FROM: &str = "20250101000000Z";
    const UNTIL: &str = "20260101000000Z";

    #[test]
    fn a_response_says_until_when_it_holds() {
        let read = Staple::parse(&response(&[7], GOOD, FROM, Some(UNTIL)), &[7]).unwrap();
        assert_eq!((read.valid_from.as_seconds(), read.valid_until.as_seconds()), (1_735_689_600, 1_767_225_600));
        let read = Staple::parse(&response(&[7], GOOD, FROM, None), &[7]).unwrap();
        assert_eq!(read.valid_until, UnixTime::from_nanos(u64::MAX));
    }

    #[test]
    fn what_must_not_be_shown_says_why() {
        let parse = |response: &[u8]| Staple::parse(response, &[7]).unwrap_err();
        assert_eq!(parse(&response(&[8], GOOD, FROM, None)), OcspProblem::OtherCertificate);
        assert_eq!(parse(&response(&[7], REVOKED, FROM, None)), OcspProblem::Revoked);
        assert_eq!(parse(&response(&[7], 0x82, FROM, None)), OcspProblem::Unknown);
        assert_eq!(parse(&sequence(&[element(der::ENUMERATED, &[6])])), OcspProblem::Unsuccessful);
        assert_eq!(parse(b"-----BEGIN"), OcspProblem::Malformed);
    }

    #[test]
    fn no_prefix_of_a_response_is_one() {
        let whole = response(&[7], GOOD, FROM, Some(UNTIL));
        for end in 0..whole.len() {
            assert!(Staple::parse(&whole[..end], &[7]).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_changed_octet_makes_a_panic(at in 0usize..150, value in any::<u8>()) {
            let mut response = response(&[7], GOOD, FROM, Some(UNTIL));
            let at = at % response.len();
            response[at] = value;
            let _ = Staple::parse(&response, &[7]);
        }
    }
}
