//! A certificate (RFC 5280) taken apart, as far as something of ours asks for a part. Whether it is to be believed is for
//! others to say.

use super::UnixTime;
use super::der::{self, Elements};

/// Versions but the first stand in this.
const VERSION: u8 = der::context(0);
/// Extensions stand in this.
const EXTENSIONS: u8 = der::context(3);

/// The parts of a certificate, borrowed from its DER.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'d> {
    /// The octets of the serial number, the first of which may be a zero for the sign.
    pub serial: &'d [u8],
    /// Who has issued it: the whole Name.
    pub issuer: &'d [u8],
    pub valid_from: UnixTime,
    pub valid_until: UnixTime,
    /// Whom it speaks of: the whole Name.
    pub subject: &'d [u8],
    /// The public key with its algorithm: the whole SubjectPublicKeyInfo.
    pub public_key: &'d [u8],
    /// The elements of the extensions.
    extensions: &'d [u8],
}

impl<'d> Certificate<'d> {
    /// None if it is not one.
    pub fn of(der: &'d [u8]) -> Option<Self> {
        // RFC 5280, section 4.1: Certificate { TBSCertificate { version, serial, signature, issuer, validity, … }, … }
        let mut outer = Elements::of_sequence(der)?;
        let mut inner = Elements::of(outer.content_of(der::SEQUENCE)?);
        inner.take_if(VERSION);
        let serial = inner.content_of(der::INTEGER)?;
        let _signature = inner.content_of(der::SEQUENCE)?;
        let issuer = inner.take_if(der::SEQUENCE)?.whole;
        let mut validity = Elements::of(inner.content_of(der::SEQUENCE)?);
        let (valid_from, valid_until) = (validity.time()?, validity.time()?);
        let subject = inner.take_if(der::SEQUENCE)?.whole;
        let public_key = inner.take_if(der::SEQUENCE)?.whole;
        let extensions = inner.find(|element| element.tag == EXTENSIONS).map_or(&[][..], |element| element.content);
        let extensions = Elements::of(extensions).content_of(der::SEQUENCE).unwrap_or_default();
        Some(Self { serial, issuer, valid_from, valid_until, subject, public_key, extensions })
    }

    /// What the extension of this identifier holds.
    pub fn extension(&self, id: &[u8]) -> Option<&'d [u8]> {
        Elements::of(self.extensions).find_map(|extension| {
            let mut parts = Elements::of(extension.content);
            (parts.content_of(der::OBJECT_ID)? == id).then_some(())?;
            // Whether it is critical may stand in between.
            parts.find(|part| part.tag == der::OCTET_STRING).map(|part| part.content)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_tells_its_time() {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2024, 2, 29), rcgen::date_time_ymd(2051, 1, 1));
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let read = Certificate::of(certificate.der()).unwrap();
        assert_eq!((read.valid_from.as_seconds(), read.valid_until.as_seconds()), (1_709_164_800, 2_556_144_000));
        assert!(read.issuer == read.subject && !read.public_key.is_empty());
    }

    #[test]
    fn no_prefix_of_a_certificate_is_one_or_a_panic() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        for end in 0..certificate.der().len() {
            assert!(Certificate::of(&certificate.der()[..end]).is_none());
        }
    }

    #[test]
    fn an_extension_is_found_by_its_identifier() {
        let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let read = Certificate::of(certificate.der()).unwrap();
        assert!(read.extension(&[0x55, 0x1d, 0x11]).is_some_and(|names| names.ends_with(b"a.example")));
        assert_eq!(read.extension(&[0x55, 0x1d, 0x63]), None);
    }
}
