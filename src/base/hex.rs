//! Lower-case hexadecimal text of fixed width.

/// The 16 digits of `number`.
#[inline]
pub(crate) fn digits(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(number >> (60 - 4 * place)) as usize & 0xf])
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
        assert_eq!(&digits_of_pair([0, 15]), b"0000000000000000000000000000000f");
    }

    #[test]
    fn a_digit_has_a_value_in_either_case() {
        assert_eq!((value(b'9'), value(b'f'), value(b'F'), value(b'g')), (Some(9), Some(15), Some(15), None));
    }
}
