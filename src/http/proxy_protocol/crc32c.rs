//! The checksum of RFC 4960, appendix B, over pieces.

/// The polynomial of Castagnoli, its bits reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What each octet does to the sum.
static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < table.len() {
        let (mut sum, mut bit) = (octet as u32, 0);
        while bit < u8::BITS {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        table[octet] = sum;
        octet += 1;
    }
    table
}

/// A sum under way.
pub(super) struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32c {
    /// The sum with these octets behind those before.
    pub fn add(self, octets: &[u8]) -> Self {
        Self(octets.iter().fold(self.0, |sum, octet| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ octet)]))
    }

    pub fn sum(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_standard_however_the_octets_are_cut() {
        // RFC 3720, section B.4.
        let vectors: [(&[u8], u32); 4] =
            [(&[0; 32], 0x8a91_36aa), (&[0xff; 32], 0x62a8_ab43), (b"123456789", 0xe306_9283), (b"", 0)];
        for (octets, sum) in vectors {
            assert_eq!(Crc32c::default().add(octets).sum(), sum);
            let (front, back) = octets.split_at(octets.len() / 3);
            assert_eq!(Crc32c::default().add(front).add(back).sum(), sum);
        }
    }
}
