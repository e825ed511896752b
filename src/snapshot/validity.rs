//! From when to when a certificate is valid: the one thing we read of it that the library keeps to itself.

use crate::base::UnixTime;

/// Tags of X.690.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The first and the last second of a certificate; none if it is not one.
pub(super) fn validity(certificate: &[u8]) -> Option<(UnixTime, UnixTime)> {
    // RFC 5280, section 4.1: Certificate { TBSCertificate { version, serial, signature, issuer, validity, … }, … }
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    for _serial_signature_issuer in 0..3 {
        rest = element(rest)?.2;
    }
    let (tag, validity, _) = element(rest)?;
    let (from_tag, from, rest) = element(validity)?;
    let (until_tag, until, _) = element(rest)?;
    (tag == SEQUENCE).then_some(())?;
    Some((time(from_tag, from)?, time(until_tag, until)?))
}

/// Tag and content of the first element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<UnixTime> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let rest = rest.strip_suffix(b"Z").filter(|rest| rest.len() == 10)?;
    let pair = |at: usize| number(&rest[at..at + 2]);
    let (month, day, hour, minute, second) = (pair(0)?, pair(2)?, pair(4)?, pair(6)?, pair(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days(year, month, day).saturating_mul(86_400) + hour * 3600 + minute * 60 + second;
    // Beyond the clock's range it is for ever.
    Some(UnixTime::from_nanos(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000)))
}

fn number(digits: &[u8]) -> Option<i64> {
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years begin in March, so that leap days end them.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        let seconds = |tag, text: &str| time(tag, text.as_bytes()).map(|time| time.as_seconds());
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "261124085059Z"), Some(1_795_510_259));
        assert_eq!(seconds(UTC_TIME, "490228235959Z"), Some(2_498_169_599));
        assert_eq!(seconds(GENERALIZED_TIME, "20000229120000Z"), Some(951_825_600));
        // The end of the clock.
        assert_eq!(seconds(GENERALIZED_TIME, "99991231235959Z"), Some(u64::MAX / 1_000_000_000));
        assert_eq!(seconds(GENERALIZED_TIME, "19500101000000Z"), Some(0));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "7001010000Z", "70010100000aZ", "701301000000Z", "700100000000Z", "700101000000+0100"] {
            assert_eq!(time(UTC_TIME, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_certificate_tells_its_time() {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2024, 2, 29), rcgen::date_time_ymd(2051, 1, 1));
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let (from, until) = validity(certificate.der()).unwrap();
        assert_eq!((from.as_seconds(), until.as_seconds()), (1_709_164_800, 2_556_144_000));
    }

    #[test]
    fn no_prefix_of_a_certificate_is_one_or_a_panic() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        for end in 0..certificate.der().len() {
            assert_eq!(validity(&certificate.der()[..end]), None);
        }
    }
}
