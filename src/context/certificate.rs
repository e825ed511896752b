//! Who a client is by the certificate that it has shown: what policies, the log and upstreams are told.
//!
//! Whether the certificate is to be believed has been decided before; here it is only read.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::der::{self, Elements};
use crate::base::x509::Certificate;

/// id-ce-subjectAltName.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// Kinds of GeneralName (RFC 5280, section 4.2.1.6), as context-specific tags.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;

/// Octets of a SHA-256 digest.
pub const FINGERPRINT_BYTES: usize = 32;

/// One of the names that a certificate speaks for, beside its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    Dns(Box<str>),
    Uri(Box<str>),
    Email(Box<str>),
    Address(IpAddr),
}

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject as text (RFC 4514), the most specific part first: `CN=ada,O=Example`.
    pub subject: Box<str>,
    /// Who has issued it, in the same form.
    pub issuer: Box<str>,
    /// The serial number in hexadecimal, in capitals, as OpenSSL shows it.
    pub serial: Box<str>,
    /// SHA-256 over the certificate, in hexadecimal.
    pub fingerprint: Box<str>,
    /// What stands in subjectAltName, as far as it is a name we know.
    pub names: Vec<AlternativeName>,
    /// The certificate as DER, then those that the client sent along, in their order.
    pub chain: Vec<Box<[u8]>>,
}

impl ClientCertificate {
    /// Reads what a client has shown, its own certificate first; `digest` is that of its octets.
    pub fn of(chain: Vec<Box<[u8]>>, digest: &[u8; FINGERPRINT_BYTES]) -> Option<Self> {
        let certificate = Certificate::of(chain.first()?)?;
        let names = certificate.extension(ALTERNATIVE_NAMES).map_or_else(Vec::new, alternative_names);
        Some(Self {
            subject: distinguished_name(certificate.subject).into(),
            issuer: distinguished_name(certificate.issuer).into(),
            serial: hexadecimal(without_sign(certificate.serial)).to_ascii_uppercase().into(),
            fingerprint: hexadecimal(digest).into(),
            names,
            chain,
        })
    }
}

/// A zero before a number whose first bit is set says only that it is not negative.
fn without_sign(number: &[u8]) -> &[u8] {
    match number {
        [0, rest @ ..] if !rest.is_empty() => rest,
        number => number,
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        // A string takes everything.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn alternative_names(extension: &[u8]) -> Vec<AlternativeName> {
    let Some(names) = Elements::of_sequence(extension) else { return Vec::new() };
    let text = |octets: &[u8]| octets.is_ascii().then(|| String::from_utf8_lossy(octets).into());
    let name = |name: der::Element<'_>| match name.tag {
        DNS => text(name.content).map(AlternativeName::Dns),
        URI => text(name.content).map(AlternativeName::Uri),
        EMAIL => text(name.content).map(AlternativeName::Email),
        ADDRESS => address(name.content).map(AlternativeName::Address),
        _ => None,
    };
    names.filter_map(name).collect()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(octets).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into())
}

/// A Name as text (RFC 4514): what stands last comes first.
pub fn distinguished_name(name: &[u8]) -> String {
    let mut text = String::new();
    let parts: Vec<&[u8]> = Elements::of_sequence(name).into_iter().flatten().map(|part| part.content).collect();
    for part in parts.into_iter().rev() {
        for (at, attribute) in Elements::of(part).enumerate() {
            if !text.is_empty() {
                text.push(if at == 0 { ',' } else { '+' });
            }
            append_attribute(attribute.content, &mut text);
        }
    }
    text
}

fn append_attribute(attribute: &[u8], text: &mut String) {
    let mut parts = Elements::of(attribute);
    let (Some(id), Some(value)) = (parts.content_of(der::OBJECT_ID), parts.next()) else { return };
    match short_name(id) {
        Some(name) => text.push_str(name),
        None => append_object_id(id, text),
    }
    text.push('=');
    match readable(value).filter(|_| short_name(id).is_some()) {
        Some(value) => append_escaped(&value, text),
        None => {
            text.push('#');
            text.push_str(&hexadecimal(value.whole));
        }
    }
}

/// RFC 4514, section 3, and two that everybody else writes out as well.
fn short_name(id: &[u8]) -> Option<&'static str> {
    Some(match id {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        _ => return None,
    })
}

/// An object identifier in decimal with dots (X.690, section 8.19).
fn append_object_id(id: &[u8], text: &mut String) {
    let (mut number, mut first) = (0_u64, true);
    for octet in id {
        number = number.wrapping_shl(7) | u64::from(octet & 0x7f);
        if octet & 0x80 != 0 {
            continue;
        }
        // A string takes everything.
        let _ = match first {
            true => write!(text, "{}.{}", (number / 40).min(2), number - 40 * (number / 40).min(2)),
            false => write!(text, ".{number}"),
        };
        (number, first) = (0, false);
    }
}

/// The text of a string of one of the usual kinds.
fn readable(value: der::Element<'_>) -> Option<String> {
    const UTF8: u8 = 0x0c;
    const NUMERIC: u8 = 0x12;
    const PRINTABLE: u8 = 0x13;
    const TELETEX: u8 = 0x14;
    const IA5: u8 = 0x16;
    const VISIBLE: u8 = 0x1a;
    const UNIVERSAL: u8 = 0x1c;
    const BMP: u8 = 0x1e;
    match value.tag {
        UTF8 => std::str::from_utf8(value.content).ok().map(str::to_owned),
        NUMERIC | PRINTABLE | IA5 | VISIBLE => {
            value.content.is_ascii().then(|| value.content.iter().map(|octet| char::from(*octet)).collect())
        }
        // In practice it is Latin-1.
        TELETEX => Some(value.content.iter().map(|octet| char::from(*octet)).collect()),
        BMP => {
            let (units, rest) = value.content.as_chunks();
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            char::decode_utf16(units).collect::<Result<_, _>>().ok().filter(|_| rest.is_empty())
        }
        UNIVERSAL => {
            let (units, rest) = value.content.as_chunks();
            units
                .iter()
                .map(|unit| char::from_u32(u32::from_be_bytes(*unit)))
                .collect::<Option<_>>()
                .filter(|_| rest.is_empty())
        }
        _ => None,
    }
}

/// RFC 4514, section 2.4. What would not show is escaped as well, so that no name looks like another by it.
fn append_escaped(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            character if character.is_control() => {
                for octet in character.encode_utf8(&mut [0; 4]).bytes() {
                    // A string takes everything.
                    let _ = write!(text, "\\{octet:02X}");
                }
            }
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType, SerialNumber};

    fn read(params: &CertificateParams) -> ClientCertificate {
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::of(vec![certificate.der().to_vec().into()], &[0xab; FINGERPRINT_BYTES]).unwrap()
    }

    fn named(parts: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        read(&params).subject.into()
    }

    #[test]
    fn a_subject_reads_from_the_most_specific_part_on() {
        let parts = [(DnType::CountryName, "DE"), (DnType::OrganizationName, "Example"), (DnType::CommonName, "ada")];
        assert_eq!(named(&parts), "CN=ada,O=Example,C=DE");
        assert_eq!(named(&[]), "");
    }

    #[test]
    fn no_value_can_pass_for_two() {
        let escaped = |value| named(&[(DnType::CommonName, value)]);
        assert_eq!(escaped("ada,O=Root"), "CN=ada\\,O=Root");
        assert_eq!(escaped(" #a\\b+c "), "CN=\\ #a\\\\b\\+c\\ ");
        assert_eq!(escaped("#1"), "CN=\\#1");
        assert_eq!(escaped("a\0b\u{85}"), "CN=a\\00b\\C2\\85");
    }

    #[test]
    fn an_unknown_attribute_is_shown_by_its_number_and_octets() {
        let unknown = DnType::CustomDnType(vec![2, 5, 4, 65]);
        assert_eq!(named(&[(unknown, "x")]), "2.5.4.65=#0c0178");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, DnValue::BmpString("ä".try_into().unwrap()));
        assert_eq!(&*read(&params).subject, "CN=ä");
    }

    #[test]
    fn serial_fingerprint_and_names_are_read() {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&[0x9a, 0, 1]));
        params.subject_alt_names = vec![
            SanType::DnsName("a.test".try_into().unwrap()),
            SanType::URI("spiffe://example/ada".try_into().unwrap()),
            SanType::Rfc822Name("ada@example.test".try_into().unwrap()),
            SanType::IpAddress(IpAddr::from([10, 0, 0, 1])),
        ];
        let read = read(&params);
        assert_eq!((&*read.serial, &read.fingerprint[..4], read.fingerprint.len()), ("9A0001", "abab", 64));
        let expected = [
            AlternativeName::Dns("a.test".into()),
            AlternativeName::Uri("spiffe://example/ada".into()),
            AlternativeName::Email("ada@example.test".into()),
            AlternativeName::Address(IpAddr::from([10, 0, 0, 1])),
        ];
        assert_eq!(read.names, expected);
    }

    proptest! {
        #[test]
        fn no_octets_make_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = distinguished_name(&octets);
            let _ = alternative_names(&octets);
            let _ = ClientCertificate::of(vec![octets.into()], &[0; FINGERPRINT_BYTES]);
        }

        #[test]
        fn no_changed_octet_makes_a_panic(at in 0usize..400, value in any::<u8>()) {
            let params = CertificateParams::new(["a.test".to_owned()]).unwrap();
            let mut der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
            let at = at % der.len();
            der[at] = value;
            let _ = ClientCertificate::of(vec![der.into()], &[0; FINGERPRINT_BYTES]);
        }
    }
}
