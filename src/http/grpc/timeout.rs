//! `grpc-timeout`: at most eight digits and a unit.

use std::fmt;
use std::time::Duration;

/// More digits are malformed.
const DIGITS_MAX: usize = 8;
/// The largest number of that many.
const NUMBER_MAX: u128 = 99_999_999;

/// Units by their letter and length, the finest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// A `grpc-timeout` that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTimeout;

impl InvalidTimeout {
    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        "grpc-timeout"
    }
}

impl fmt::Display for InvalidTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for InvalidTimeout {}

/// The time that `value` names.
pub fn parse_timeout(value: &[u8]) -> Result<Duration, InvalidTimeout> {
    let (unit, digits) = value.split_last().ok_or(InvalidTimeout)?;
    let (_, nanos) = UNITS.iter().find(|(letter, _)| letter == unit).ok_or(InvalidTimeout)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return Err(InvalidTimeout);
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u128::from(digit - b'0'));
    let (seconds, rest) = (number * nanos / 1_000_000_000, number * nanos % 1_000_000_000);
    // Eight digits of hours are far from the end of either.
    Ok(Duration::new(seconds as u64, rest as u32))
}

/// Appends `left`, rounded down, in the finest unit that holds it.
pub fn write_timeout(left: Duration, out: &mut Vec<u8>) {
    let nanos = left.as_nanos();
    let fits = |unit: &&(u8, u128)| nanos / unit.1 <= NUMBER_MAX;
    let (letter, unit) = UNITS.iter().find(fits).copied().unwrap_or(UNITS[UNITS.len() - 1]);
    let number = (nanos / unit).min(NUMBER_MAX) as u64;
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(left: Duration) -> String {
        let mut out = Vec::new();
        write_timeout(left, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_unit_is_read() {
        let units = ["2H", "2M", "2S", "2m", "2u", "2n"].map(|text| parse_timeout(text.as_bytes()).unwrap().as_nanos());
        assert_eq!(units, [7_200_000_000_000, 120_000_000_000, 2_000_000_000, 2_000_000, 2_000, 2]);
        assert_eq!(parse_timeout(b"99999999H").unwrap().as_secs(), 99_999_999 * 3600);
        assert_eq!(parse_timeout(b"0S"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_not_digits_and_a_unit_is_malformed() {
        for text in ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1 S", "1S ", "123456789m", "1mS", "0x1S"] {
            assert_eq!(parse_timeout(text.as_bytes()), Err(InvalidTimeout), "{text}");
        }
    }

    #[test]
    fn what_is_left_is_rounded_down() {
        assert_eq!(written(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(written(Duration::from_nanos(100_000_999)), "100000u");
        assert_eq!(written(Duration::new(100, 999_999)), "100000m");
        assert_eq!(written(Duration::MAX), "99999999H");
    }

    proptest! {
        #[test]
        fn a_written_timeout_is_read_as_no_more_and_little_less(nanos in any::<u64>()) {
            let left = Duration::from_nanos(nanos);
            let read = parse_timeout(written(left).as_bytes()).unwrap();
            prop_assert!(read <= left);
            prop_assert!(left - read <= left / 1_600_000);
        }
    }
}
