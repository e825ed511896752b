//! DER (X.690), as far as certificates and what belongs to them are read by ourselves: a cursor over elements.
//!
//! Nothing here allocates or trusts a length; what is not understood is nothing.

use super::UnixTime;

/// Tags that are looked for.
pub const INTEGER: u8 = 0x02;
pub const OCTET_STRING: u8 = 0x04;
pub const OBJECT_ID: u8 = 0x06;
pub const ENUMERATED: u8 = 0x0a;
pub const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The tag of the context-specific element `number` that holds others.
pub const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'d> {
    pub tag: u8,
    pub content: &'d [u8],
    /// All of it: tag, length and content.
    pub whole: &'d [u8],
}

/// What is left of a run of elements.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'d>(&'d [u8]);

impl<'d> Elements<'d> {
    /// The elements in `der`.
    pub fn of(der: &'d [u8]) -> Self {
        Self(der)
    }

    /// The elements in the one sequence that `der` is, and nothing behind it.
    pub fn of_sequence(der: &'d [u8]) -> Option<Self> {
        let mut all = Self(der);
        let sequence = all.content_of(SEQUENCE)?;
        all.0.is_empty().then_some(Self(sequence))
    }

    /// The content of the next element, which must have this tag.
    pub fn content_of(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.take_if(tag).map(|element| element.content)
    }

    /// The next element if it has this tag; else it stays.
    pub fn take_if(&mut self, tag: u8) -> Option<Element<'d>> {
        if self.0.first() == Some(&tag) { self.next() } else { None }
    }

    /// The time that comes next (RFC 5280, section 4.1.2.5).
    pub fn time(&mut self) -> Option<UnixTime> {
        let element = self.next()?;
        time(element.tag, element.content)
    }

    /// The time that comes next, if one does.
    pub fn time_if(&mut self) -> Option<UnixTime> {
        matches!(self.0.first(), Some(&(UTC_TIME | GENERALIZED_TIME))).then(|| self.time())?
    }
}

impl<'d> Iterator for Elements<'d> {
    type Item = Element<'d>;

    fn next(&mut self) -> Option<Element<'d>> {
        let all = self.0;
        let (&tag, rest) = all.split_first()?;
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
        self.0 = rest;
        Some(Element { tag, content, whole: &all[..all.len() - rest.len()] })
    }
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
    use proptest::prelude::*;

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
    fn elements_follow_each_other_and_a_cut_one_is_none() {
        let der = [SEQUENCE, 5, INTEGER, 1, 7, OBJECT_ID, 0];
        let mut inner = Elements::of_sequence(&der).unwrap();
        assert_eq!(inner.take_if(OBJECT_ID), None);
        assert_eq!((inner.content_of(INTEGER), inner.content_of(OBJECT_ID)), (Some(&[7][..]), Some(&[][..])));
        assert_eq!(inner.next(), None);
        assert!(Elements::of_sequence(&der[..6]).is_none());
        assert!(Elements::of_sequence(&[&der[..], &[0]].concat()).is_none());
    }

    proptest! {
        #[test]
        fn no_octets_make_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            for element in Elements::of(&octets) {
                prop_assert!(element.whole.len() >= 2 + element.content.len());
                let _ = Elements::of(element.content).time();
            }
        }
    }
}
