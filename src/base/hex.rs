//! Lower-case hexadecimal text of fixed width.

/// The 16 digits of `number`.
#[inline]
pub(crate) fn digits(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    write_digits(&number.to_be_bytes(), &mut text);
    text
}

/// The 32 digits of two numbers, the first one in front.
#[inline]
pub(crate) fn digits_of_pair(numbers: [u64; 2]) -> [u8; 32] {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&numbers[0].to_be_bytes());
    octets[8..].copy_from_slice(&numbers[1].to_be_bytes());
    let mut text = [0; 32];
    write_digits(&octets, &mut text);
    text
}

/// Writes two digits for each octet, eight octets to a vector register. Not inlined: what the compiler knows to come
/// from a number it takes apart octet by octet.
#[inline(never)]
fn write_digits<const N: usize, const DIGITS: usize>(octets: &[u8; N], text: &mut [u8; DIGITS]) {
    const BOTH: u16 = 0x0101;
    for (pair, octet) in text.as_chunks_mut().0.iter_mut().zip(octets) {
        let octet = u16::from(*octet);
        let nibbles = octet >> 4 | (octet & 15) << 8;
        let letters = (nibbles + 6 * BOTH) >> 4 & BOTH; // one in each byte above nine
        *pair = (nibbles + u16::from(b'0') * BOTH + letters * u16::from(b'a' - b'0' - 10)).to_le_bytes();
    }
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
