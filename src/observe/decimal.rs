//! Numbers as decimal text.

/// Writes a number to the front of `room`, which is long enough for any, and returns how many digits it has. What is
/// behind them may be overwritten.
#[inline(always)]
pub(super) fn decimal(number: u64, room: &mut [u8]) -> usize {
    match number {
        0..1_000 => from_table(number, room),
        1_000..10_000 => {
            room[..4].copy_from_slice(&four_digits(number));
            4
        }
        _ => large_decimal(number, room),
    }
}

/// The same for a number below 1,000.
#[inline(always)]
fn from_table(number: u64, room: &mut [u8]) -> usize {
    // The remainder says to the compiler what is so anyway.
    let small = SMALL[number as usize % SMALL.len()];
    room[..4].copy_from_slice(&small);
    usize::from(small[3])
}

#[inline(never)]
fn large_decimal(number: u64, room: &mut [u8]) -> usize {
    let (high, low) = (number / 10_000, number % 10_000);
    let front = match high {
        0..1_000 => from_table(high, room),
        1_000..10_000 => {
            room[..4].copy_from_slice(&four_digits(high));
            4
        }
        _ => return huge_decimal(number, room),
    };
    room[front..front + 4].copy_from_slice(&four_digits(low));
    front + 4
}

#[cold]
fn huge_decimal(number: u64, room: &mut [u8]) -> usize {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    room[..text.len()].copy_from_slice(text);
    text.len()
}

/// The digits of numbers below 1,000, in front, and behind them how many there are. There is room for 1,024.
static SMALL: [[u8; 4]; 1_024] = small();

const fn small() -> [[u8; 4]; 1_024] {
    let mut table = [[0; 4]; 1_024];
    let mut number = 0;
    while number < 1_000 {
        table[number] = match number {
            0..10 => [digit(number), 0, 0, 1],
            10..100 => [digit(number / 10), digit(number), 0, 2],
            _ => [digit(number / 100), digit(number / 10), digit(number), 3],
        };
        number += 1;
    }
    table
}

const fn digit(number: usize) -> u8 {
    b'0' + (number % 10) as u8
}

/// The four decimal digits of a number below 10,000, the highest in the lowest octet: halves, then digits are split in
/// all lanes at once. The factors are rounded-up reciprocals that are exact for the lane's range.
#[inline]
fn four_digits(number: u64) -> [u8; 4] {
    let number = number as u32;
    debug_assert!(number < 10_000, "four digits");
    let hundreds = (number * 5_243) >> 19;
    let twos = hundreds | ((number - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f;
    (tens | ((twos - 10 * tens) << 8) | 0x3030_3030).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(number: u64) -> String {
        let mut room = [b'x'; 20];
        let length = decimal(number, &mut room);
        String::from_utf8(room[..length].to_vec()).expect("digits")
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_they_are_read(number in any::<u64>(), shift in 0u32..64) {
            let number = number >> shift;
            prop_assert_eq!(text(number), number.to_string());
        }
    }

    #[test]
    fn all_small_numbers_are_written_as_they_are_read() {
        for number in (0..120_000).chain(99_990_000..100_010_000) {
            assert_eq!(text(number), number.to_string());
        }
        assert_eq!(text(u64::MAX), u64::MAX.to_string());
    }
}
