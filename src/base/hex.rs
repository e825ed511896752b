//! Lower-case hexadecimal text of fixed width.

/// The 16 digits of `number`.
#[inline]
pub(crate) fn digits(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    text[..8].copy_from_slice(&eight_digits((number >> 32) as u32));
    text[8..].copy_from_slice(&eight_digits(number as u32));
    text
}

/// Eight digits at once, since every request writes eighty: each nibble moves to a byte of its own, then all bytes
/// become digits together.
#[inline]
fn eight_digits(number: u32) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let pairs = u64::from(number);
    let pairs = (pairs << 16 | pairs) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs << 8 | pairs) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bytes << 4 | bytes) & (0x0f * EACH);
    let letters = ((nibbles + 6 * EACH) >> 4) & EACH; // one in each byte above nine
    let text = nibbles + u64::from(b'0') * EACH + letters * u64::from(b'a' - b'0' - 10);
    text.to_be_bytes()
}

/// The 32 digits of two numbers, the first one in front.
#[inline]
pub(crate) fn digits_of_pair(numbers: [u64; 2]) -> [u8; 32] {
    let mut text = [0; 32];
    text[..16].copy_from_slice(&digits(numbers[0]));
    text[16..].copy_from_slice(&digits(numbers[1]));
    text
}

/// The value of one hexadecimal digit in either case.
#[inline]
pub(crate) const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_keep_their_leading_zeros() {
        assert_eq!(&digits(0x0123_4567_89ab_cdef), b"0123456789abcdef");
        assert_eq!(digits(u64::MAX - 1), *b"fffffffffffffffe");
        assert_eq!(&digits_of_pair([0, 15]), b"0000000000000000000000000000000f");
    }

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for bit in 0..64 {
            let number = (1u64 << bit).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_eq!(digits(number), format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn a_digit_has_a_value_in_either_case() {
        assert_eq!((value(b'9'), value(b'f'), value(b'F'), value(b'g')), (Some(9), Some(15), Some(15), None));
    }
}
