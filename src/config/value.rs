//! Values with units: times, sizes, rates, counts, and `unlimited`.
//!
//! The range a value must lie in is part of its type, so that a value out of range is a finding at its own place and
//! nobody below checks again.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A value written as one word or number.
pub(super) trait Literal: Sized {
    /// For messages: "expected …".
    const EXPECTED: &'static str;

    /// From text. The error is the problem, and after a line break a hint; it never repeats the text.
    fn of_text(text: &str) -> Result<Self, String>;

    /// From a bare number.
    fn of_number(number: u64) -> Result<Self, String>;
}

pub(super) fn literal<'de, T: Literal, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(LiteralVisitor(PhantomData))
}

struct LiteralVisitor<T>(PhantomData<T>);

impl<T: Literal> Visitor<'_> for LiteralVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::of_text(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::of_number(number).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<T, E> {
        Err(E::custom(format!("expected {}, found a negative number\nwrite it without a sign", T::EXPECTED)))
    }
}

/// A time with a unit: `250ms`, `5s`, `2m`, `1h`, `7d`. At least `MIN_MS` and at most `MAX_MS` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period<const MIN_MS: u64 = 1, const MAX_MS: u64 = { 365 * 24 * 3600 * 1000 }>(Duration);

impl<const MIN_MS: u64, const MAX_MS: u64> Period<MIN_MS, MAX_MS> {
    /// For defaults: the milliseconds are cut to the range.
    pub const fn from_millis(millis: u64) -> Self {
        let millis = if millis < MIN_MS { MIN_MS } else { millis };
        Self(Duration::from_millis(if millis > MAX_MS { MAX_MS } else { millis }))
    }

    /// For defaults: see [`Self::from_millis`].
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    pub const fn get(self) -> Duration {
        self.0
    }
}

const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const TIME_HINT: &str = "write a number and a unit: `250ms`, `5s`, `2m`, `1h`, `7d`";

impl<const MIN_MS: u64, const MAX_MS: u64> Literal for Period<MIN_MS, MAX_MS> {
    const EXPECTED: &'static str = "a time such as `5s`";

    fn of_text(text: &str) -> Result<Self, String> {
        let millis = with_unit(text, &TIME_UNITS).ok_or_else(|| format!("this is not a time\n{TIME_HINT}"))?;
        in_range(millis, MIN_MS, MAX_MS, show_millis)?;
        Ok(Self(Duration::from_millis(millis)))
    }

    fn of_number(number: u64) -> Result<Self, String> {
        if number == 0 && MIN_MS == 0 {
            return Ok(Self(Duration::ZERO));
        }
        Err(format!("a time needs a unit\n{TIME_HINT}"))
    }
}

/// A size with a unit: `512B`, `16KiB`, `10MiB`, `1GiB`, or decimal `kB`, `MB`, `GB`. At least `MIN` and at most `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size<const MIN: u64 = 0, const MAX: u64 = { i64::MAX as u64 }>(u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// For defaults: cut to the range.
    pub const fn from_bytes(bytes: u64) -> Self {
        let bytes = if bytes < MIN { MIN } else { bytes };
        Self(if bytes > MAX { MAX } else { bytes })
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_bytes(self.0))
    }
}

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const SIZE_HINT: &str = "write a number and a unit: `512B`, `16KiB`, `10MiB`, `1GiB`, or decimal `kB`, `MB`, `GB`";

impl<const MIN: u64, const MAX: u64> Literal for Size<MIN, MAX> {
    const EXPECTED: &'static str = "a size such as `16KiB`";

    fn of_text(text: &str) -> Result<Self, String> {
        let bytes = with_unit(text, &SIZE_UNITS).ok_or_else(|| format!("this is not a size\n{SIZE_HINT}"))?;
        in_range(bytes, MIN, MAX, show_bytes)?;
        Ok(Self(bytes))
    }

    fn of_number(_: u64) -> Result<Self, String> {
        Err(format!("a size needs a unit\n{SIZE_HINT}"))
    }
}

/// Bytes per second: `1KiB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

const RATE_HINT: &str = "write a size per second: `1KiB/s`";

impl Rate {
    pub const fn from_bytes_per_second(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn bytes_per_second(self) -> u64 {
        self.0
    }
}

impl Literal for Rate {
    const EXPECTED: &'static str = "a rate such as `1KiB/s`";

    fn of_text(text: &str) -> Result<Self, String> {
        let size = text.strip_suffix("/s").map(str::trim_end);
        let rate = size.and_then(|size| with_unit(size, &SIZE_UNITS)).filter(|bytes| *bytes > 0);
        rate.map(Self).ok_or_else(|| format!("this is not a rate\n{RATE_HINT}"))
    }

    fn of_number(_: u64) -> Result<Self, String> {
        Err(format!("a rate needs a unit\n{RATE_HINT}"))
    }
}

/// A whole number of things, at least `MIN` and at most `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    const VALID: () = assert!(MIN <= MAX && MAX <= u32::MAX as u64, "a count fits 32 bits");

    /// For defaults: cut to the range.
    pub const fn new(number: u64) -> Self {
        let () = Self::VALID;
        let number = if number < MIN { MIN } else { number };
        Self(if number > MAX { MAX } else { number })
    }

    #[expect(clippy::cast_possible_truncation, reason = "`VALID` bounds it")]
    pub const fn get(self) -> u32 {
        let () = Self::VALID;
        self.0 as u32
    }
}

impl<const MIN: u64, const MAX: u64> Literal for Count<MIN, MAX> {
    const EXPECTED: &'static str = "a whole number";

    fn of_text(_: &str) -> Result<Self, String> {
        Err(format!("expected a whole number\nwrite a number from {MIN} to {MAX}, without quotes"))
    }

    fn of_number(number: u64) -> Result<Self, String> {
        in_range(number, MIN, MAX, |number| number.to_string())?;
        Ok(Self(number))
    }
}

/// A value, or `unlimited`, which must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bounded<T> {
    AtMost(T),
    Unlimited,
}

impl<T> Bounded<T> {
    pub fn limit(self) -> Option<T> {
        match self {
            Self::AtMost(limit) => Some(limit),
            Self::Unlimited => None,
        }
    }
}

impl<T: Literal> Literal for Bounded<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn of_text(text: &str) -> Result<Self, String> {
        match text {
            "unlimited" => Ok(Self::Unlimited),
            _ => T::of_text(text).map(Self::AtMost).map_err(|error| error + ", or `unlimited`"),
        }
    }

    fn of_number(number: u64) -> Result<Self, String> {
        T::of_number(number).map(Self::AtMost)
    }
}

/// A value, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Switched<T> {
    On(T),
    Off,
}

impl<T: Literal> Literal for Switched<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn of_text(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => T::of_text(text).map(Self::On).map_err(|error| error + ", or `off`"),
        }
    }

    fn of_number(number: u64) -> Result<Self, String> {
        T::of_number(number).map(Self::On)
    }
}

/// The digits of `text` times its unit; no fractions, no signs.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let (_, factor) = units.iter().find(|(unit, _)| *unit == text[digits..].trim_start())?;
    number.checked_mul(*factor)
}

fn in_range(value: u64, min: u64, max: u64, show: fn(u64) -> String) -> Result<(), String> {
    if value < min {
        return Err(format!("the value is too small\nthe least is {}", show(min)));
    }
    if value > max {
        return Err(format!("the value is too large\nthe most is {}", show(max)));
    }
    Ok(())
}

pub(super) fn show_millis(millis: u64) -> String {
    show(millis, &TIME_UNITS, "ms")
}

pub(super) fn show_bytes(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS[..5], "B")
}

/// The number in the largest unit that divides it.
fn show(number: u64, units: &[(&str, u64)], smallest: &str) -> String {
    let fitting = units.iter().rev().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor));
    match fitting {
        Some((unit, factor)) => format!("{}{unit}", number / factor),
        None => format!("{number}{smallest}"),
    }
}

const TIME_PATTERN: &str = r"^ *[0-9]+ *(ms|s|m|h|d) *$|\$\{";
const SIZE_PATTERN: &str = r"^ *[0-9]+ *(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB) *$|\$\{";
const RATE_PATTERN: &str = r"^ *[0-9]+ *(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB) */s$|\$\{";
/// Where a number is due, a reference may stand as text.
pub(super) const REFERENCE_PATTERN: &str = r"\$\{";

/// Ties a literal to serde and to a schema that is written in place.
macro_rules! literal_type {
    ([$($generics:tt)*] $type:ty, $name:literal, |$generator:ident| $schema:expr) => {
        impl<'de, $($generics)*> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                literal(deserializer)
            }
        }

        impl<$($generics)*> JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

literal_type!([const MIN_MS: u64, const MAX_MS: u64] Period<MIN_MS, MAX_MS>, "time", |_generator| {
    json_schema!({ "type": "string", "format": "time", "pattern": TIME_PATTERN })
});
literal_type!([const MIN: u64, const MAX: u64] Size<MIN, MAX>, "size", |_generator| {
    json_schema!({ "type": "string", "format": "size", "pattern": SIZE_PATTERN })
});
literal_type!([] Rate, "rate", |_generator| {
    json_schema!({ "type": "string", "format": "rate", "pattern": RATE_PATTERN })
});
literal_type!([const MIN: u64, const MAX: u64] Count<MIN, MAX>, "number", |_generator| {
    json_schema!({ "anyOf": [
        { "type": "integer", "minimum": MIN, "maximum": MAX },
        { "type": "string", "pattern": REFERENCE_PATTERN },
    ] })
});
literal_type!([T: Literal + JsonSchema] Bounded<T>, "bounded", |generator| {
    json_schema!({ "anyOf": [T::json_schema(generator), { "const": "unlimited" }] })
});
literal_type!([T: Literal + JsonSchema] Switched<T>, "switched", |generator| {
    json_schema!({ "anyOf": [T::json_schema(generator), { "const": "off" }] })
});

pub(super) use literal_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_carry_a_unit() {
        for (text, millis) in [("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("7d", 604_800_000)] {
            assert_eq!(Period::<1>::of_text(text).unwrap().get(), Duration::from_millis(millis), "{text}");
        }
        for text in
            ["", "5", "s", "-5s", "1.5s", "5 sec", "5S", "99999999999999999999s", "18446744073709551615d", "ö5s"]
        {
            assert!(Period::<1>::of_text(text).is_err(), "{text}");
        }
        assert!(Period::<1>::of_number(5).unwrap_err().contains("unit"));
        assert!(Period::<0>::of_number(0).is_ok());
    }

    #[test]
    fn sizes_carry_a_unit_binary_or_decimal() {
        for (text, bytes) in [
            ("512B", 512),
            ("16KiB", 16_384),
            ("10MiB", 10 << 20),
            ("1GiB", 1 << 30),
            ("2kB", 2000),
            ("3 MB", 3_000_000),
        ] {
            assert_eq!(Size::<0>::of_text(text).unwrap().bytes(), bytes, "{text}");
        }
        for text in ["", "16", "16K", "16kib", "16777216TiB"] {
            assert!(Size::<0>::of_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_out_of_range_names_the_bound() {
        assert!(Size::<0, 65_535>::of_text("64KiB").unwrap_err().ends_with("the most is 65535B"));
        assert!(Period::<1000>::of_text("1ms").unwrap_err().ends_with("the least is 1s"));
        assert!(Count::<1, 10>::of_number(11).unwrap_err().ends_with("the most is 10"));
    }

    #[test]
    fn rates_are_sizes_per_second() {
        assert_eq!(Rate::of_text("1KiB/s").unwrap().bytes_per_second(), 1024);
        assert!(Rate::of_text("1KiB").is_err());
        assert!(Rate::of_text("0B/s").is_err());
    }

    #[test]
    fn unlimited_must_be_written() {
        assert_eq!(Bounded::<Count<1, 5>>::of_text("unlimited"), Ok(Bounded::Unlimited));
        assert_eq!(Bounded::<Count<1, 5>>::of_number(3), Ok(Bounded::AtMost(Count::new(3))));
        assert_eq!(Switched::<Rate>::of_text("off"), Ok(Switched::Off));
    }
}
