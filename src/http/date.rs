//! Dates as text: the IMF-fixdate of HTTP (RFC 9110, section 5.6.7) and the RFC 3339 form of logs.

use crate::base::UnixTime;

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub const IMF_FIXDATE_BYTES: usize = 29;
/// `1994-11-06T08:49:37.123Z`.
pub const RFC_3339_BYTES: usize = 24;

const SECONDS_PER_DAY: u64 = 86_400;

/// The date of an HTTP field.
pub fn imf_fixdate(time: UnixTime) -> [u8; IMF_FIXDATE_BYTES] {
    const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed"; // the epoch was a Thursday
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (days, day) = (time.as_seconds() / SECONDS_PER_DAY, civil(time));
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(&WEEKDAYS[(days % 7) as usize * 3..][..3]);
    text[5..7].copy_from_slice(&two_digits(day.day));
    text[8..11].copy_from_slice(&MONTHS[(day.month - 1) as usize * 3..][..3]);
    text[12..16].copy_from_slice(&four_digits(day.year));
    put_clock(&mut text[17..25], time);
    text
}

/// The date of a log line: UTC with milliseconds.
pub fn rfc_3339(time: UnixTime) -> [u8; RFC_3339_BYTES] {
    let day = civil(time);
    let millis = (time.as_nanos() / 1_000_000 % 1000) as u32;
    let mut text = *b"1970-01-01T00:00:00.000Z";
    text[..4].copy_from_slice(&four_digits(day.year));
    text[5..7].copy_from_slice(&two_digits(day.month));
    text[8..10].copy_from_slice(&two_digits(day.day));
    put_clock(&mut text[11..19], time);
    text[20] = b'0' + (millis / 100) as u8;
    text[21..23].copy_from_slice(&two_digits(millis % 100));
    text
}

/// The date field's value, formatted anew only when the second has changed. One per shard.
#[derive(Clone, Debug)]
pub struct DateCache {
    second: u64,
    text: [u8; IMF_FIXDATE_BYTES],
}

impl Default for DateCache {
    fn default() -> Self {
        Self { second: 0, text: imf_fixdate(UnixTime::default()) }
    }
}

impl DateCache {
    /// The IMF-fixdate of `now`.
    #[inline]
    pub fn at(&mut self, now: UnixTime) -> &[u8; IMF_FIXDATE_BYTES] {
        if self.second != now.as_seconds() {
            self.second = now.as_seconds();
            self.text = imf_fixdate(now);
        }
        &self.text
    }
}

/// A day of the proleptic Gregorian calendar.
#[derive(Debug, PartialEq, Eq)]
struct Day {
    year: u32,
    month: u32,
    day: u32,
}

/// The day of `time`, counted in years that begin in March so that the leap day comes last. A [`UnixTime`] ends in
/// the year 2554, so four digits are enough and nothing overflows.
fn civil(time: UnixTime) -> Day {
    const DAYS_FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097; // 400 years
    let days = time.as_seconds() / SECONDS_PER_DAY + DAYS_FROM_MARCH_OF_YEAR_0;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on repeat lengths 31, 30, 31, 30, 31: 153 days in five months.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    Day { year: year as u32, month: month as u32, day: day as u32 }
}

/// Writes `hh:mm:ss` over eight bytes.
fn put_clock(text: &mut [u8], time: UnixTime) {
    let second = (time.as_seconds() % SECONDS_PER_DAY) as u32;
    text[..2].copy_from_slice(&two_digits(second / 3600));
    text[3..5].copy_from_slice(&two_digits(second / 60 % 60));
    text[6..8].copy_from_slice(&two_digits(second % 60));
}

#[inline]
fn two_digits(number: u32) -> [u8; 2] {
    debug_assert!(number < 100, "only days, months and parts of a clock come here");
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

#[inline]
fn four_digits(number: u32) -> [u8; 4] {
    let ([a, b], [c, d]) = (two_digits(number / 100), two_digits(number % 100));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_example_of_rfc_9110_is_written_as_there() {
        assert_eq!(&imf_fixdate(at(784_111_777)), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn the_epoch_and_the_last_moment_have_a_date() {
        assert_eq!(&imf_fixdate(at(0)), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&imf_fixdate(UnixTime::from_nanos(u64::MAX)), b"Sun, 21 Jul 2554 23:34:33 GMT");
    }

    #[test]
    fn leap_days_are_counted() {
        assert_eq!(&imf_fixdate(at(951_782_400)), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&imf_fixdate(at(951_868_799)), b"Tue, 29 Feb 2000 23:59:59 GMT");
        assert_eq!(&imf_fixdate(at(951_868_800)), b"Wed, 01 Mar 2000 00:00:00 GMT");
        assert_eq!(&imf_fixdate(at(4_107_542_400)), b"Mon, 01 Mar 2100 00:00:00 GMT");
    }

    #[test]
    fn every_day_is_followed_by_the_next_of_the_calendar() {
        let length = |year: u32, month: u32| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut expected = Day { year: 1970, month: 1, day: 1 };
        while expected.year < 2554 {
            let days = 0..length(expected.year, expected.month);
            let (year, month) = (expected.year, expected.month);
            for _ in days {
                let number = day_number(&expected);
                assert_eq!(civil(at(number * SECONDS_PER_DAY)), expected);
                expected.day += 1;
            }
            expected = if month == 12 {
                Day { year: year + 1, month: 1, day: 1 }
            } else {
                Day { year, month: month + 1, day: 1 }
            };
        }
    }

    /// Days since the epoch, counted the plain way.
    fn day_number(day: &Day) -> u64 {
        let before = u64::from(day.year - 1);
        let leaps = |years: u64| years / 4 - years / 100 + years / 400;
        let leap_year = leaps(before + 1) > leaps(before);
        let months = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let in_year = months[day.month as usize - 1] + u64::from(leap_year && day.month > 2) + u64::from(day.day) - 1;
        (before - 1969) * 365 + leaps(before) - leaps(1969) + in_year
    }

    #[test]
    fn a_log_date_has_milliseconds_cut_not_rounded() {
        assert_eq!(&rfc_3339(UnixTime::from_nanos(784_111_777_129_999_999)), b"1994-11-06T08:49:37.129Z");
        assert_eq!(&rfc_3339(UnixTime::from_nanos(5_000_000)), b"1970-01-01T00:00:00.005Z");
    }

    #[test]
    fn the_cache_follows_the_clock_in_both_directions() {
        let mut cache = DateCache::default();
        assert_eq!(cache.at(at(0)), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(cache.at(at(784_111_777)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(cache.at(at(59)), b"Thu, 01 Jan 1970 00:00:59 GMT");
    }
}
