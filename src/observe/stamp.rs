//! Wall-clock time as text, in UTC. The last text is kept, for the next line is often of the same millisecond and
//! rarely of another second.

use super::Escaped;
use crate::base::UnixTime;

/// Octets of a time as text.
const STAMP_BYTES: usize = 24;
/// Room for them that is copied at once.
const ROOM_BYTES: usize = 32;

const MILLISECOND_NANOS: u64 = 1_000_000;

/// The last time written.
#[derive(Debug)]
pub struct Stamp {
    /// Where its millisecond begins.
    millisecond: UnixTime,
    text: [u8; ROOM_BYTES],
}

impl Default for Stamp {
    fn default() -> Self {
        Self { millisecond: UnixTime::default(), text: *b"1970-01-01T00:00:00.000Z        " }
    }
}

impl Stamp {
    /// The time as RFC 3339 writes it, with milliseconds: `2026-11-24T05:17:22.123Z`.
    #[inline]
    pub(super) fn text(&mut self, time: UnixTime) -> Escaped<'_> {
        if time.as_nanos().wrapping_sub(self.millisecond.as_nanos()) >= MILLISECOND_NANOS {
            self.advance(time);
        }
        Escaped::front_of(&self.text, STAMP_BYTES)
    }

    #[inline(never)]
    fn advance(&mut self, time: UnixTime) {
        if time.as_seconds() != self.millisecond.as_seconds() {
            self.renew(time.as_seconds());
        }
        let number = time.as_nanos() / MILLISECOND_NANOS;
        self.millisecond = UnixTime::from_nanos(number * MILLISECOND_NANOS);
        let millis = (number % 1_000) as u32;
        pair(&mut self.text, 20, millis / 10);
        self.text[22] = b'0' + (millis % 10) as u8;
    }

    #[cold]
    fn renew(&mut self, second: u64) {
        let (year, month, day) = date((second / 86_400) as u32);
        let of_day = (second % 86_400) as u32;
        let parts = [(2, year % 100), (5, month), (8, day)];
        let times = [(11, of_day / 3_600), (14, of_day / 60 % 60), (17, of_day % 60)];
        pair(&mut self.text, 0, year / 100);
        for (at, number) in parts.into_iter().chain(times) {
            pair(&mut self.text, at, number);
        }
    }
}

/// Two digits. A wall clock in nanoseconds ends long before the year 10000.
#[inline]
fn pair(text: &mut [u8; ROOM_BYTES], at: usize, number: u32) {
    text[at] = b'0' + (number / 10 % 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

/// Year, month and day of a day since the epoch, in the Gregorian calendar. The year is taken to begin in March, so
/// that the leap day is its last.
fn date(days: u32) -> (u32, u32, u32) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(stamp: &mut Stamp, second: u64, millis: u64) -> String {
        let time = UnixTime::from_nanos(second * 1_000_000_000 + millis * 1_000_000);
        String::from_utf8(stamp.text(time).bytes().to_vec()).expect("ASCII")
    }

    #[test]
    fn time_is_written_in_utc() {
        let mut stamp = Stamp::default();
        assert_eq!(text(&mut stamp, 0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(&mut stamp, 951_827_696, 7), "2000-02-29T12:34:56.007Z");
        assert_eq!(text(&mut stamp, 1_795_497_442, 999), "2026-11-24T05:17:22.999Z");
        assert_eq!(text(&mut stamp, 1_795_497_442, 0), "2026-11-24T05:17:22.000Z");
        assert_eq!(text(&mut stamp, 4_107_542_399, 0), "2100-02-28T23:59:59.000Z");
        assert_eq!(text(&mut stamp, 4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(&mut stamp, 1_795_497_442, 999), "2026-11-24T05:17:22.999Z", "a clock may be set back");
    }

    proptest! {
        #[test]
        fn any_day_is_written_as_the_next_one_after_the_day_before(days in 1u32..2_900_000) {
            let (before, today) = (date(days - 1), date(days));
            let next_day = today.0 == before.0 && today.1 == before.1 && today.2 == before.2 + 1;
            let next_month = today.0 == before.0 && today.1 == before.1 + 1 && today.2 == 1 && before.2 >= 28;
            let next_year = today == (before.0 + 1, 1, 1) && before.1 == 12 && before.2 == 31;
            prop_assert!(next_day || next_month || next_year, "{:?} {:?}", before, today);
        }
    }
}
