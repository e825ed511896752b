//! Where WebSocket frames begin and end (RFC 6455, section 5.2), so that a frame of ours can stand between two of others.
//!
//! Only the heads are read; what frames hold is nobody's business here.

/// A head without its masking key: two octets, and up to eight of a longer length.
const HEAD_BYTES_MAX: usize = 10;
const MASK_BYTES: u64 = 4;
/// Opcodes (RFC 6455, section 5.2).
const CLOSE: u8 = 8;
/// FIN and the opcode of a close frame.
const CLOSE_HEAD: u8 = 0x80 | CLOSE;
/// Set where a masking key follows.
const MASKED: u8 = 0x80;
/// The endpoint is going away (RFC 6455, section 7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// Follows the frames of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    /// Octets of the head that have passed.
    passed: u8,
    /// Octets of the frame that are still to come behind its head.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Notes octets that pass, however they are cut.
    pub fn pass(&mut self, mut octets: &[u8]) {
        while let Some((&first, rest)) = octets.split_first() {
            if self.left > 0 {
                let count = octets.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= count as u64;
                octets = &octets[count..];
                continue;
            }
            self.head[usize::from(self.passed)] = first;
            self.passed += 1;
            octets = rest;
            self.finish_head();
        }
    }

    /// Whether a frame may begin here: none is under way, and the last one did not end them all.
    pub fn may_begin(&self) -> bool {
        self.left == 0 && self.passed == 0 && !self.closed
    }

    /// Begins the frame if its head is complete.
    fn finish_head(&mut self) {
        let long = match self.head[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.passed < 2 || usize::from(self.passed) < 2 + long {
            return;
        }
        let length = match long {
            0 => u64::from(self.head[1] & !MASKED),
            _ => self.head[2..2 + long].iter().fold(0, |length, &octet| length << 8 | u64::from(octet)),
        };
        let mask = if self.head[1] & MASKED != 0 { MASK_BYTES } else { 0 };
        self.left = length.saturating_add(mask);
        self.closed |= self.head[0] & 0x0f == CLOSE;
        self.passed = 0;
    }
}

/// Appends a close frame that says the gateway is going away; towards a server it is masked (section 5.1).
pub fn append_going_away(mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let length = GOING_AWAY.len() as u8;
    let Some(mask) = mask else {
        out.extend_from_slice(&[CLOSE_HEAD, length]);
        return out.extend_from_slice(&GOING_AWAY);
    };
    out.extend_from_slice(&[CLOSE_HEAD, MASKED | length]);
    out.extend_from_slice(&mask);
    out.extend(GOING_AWAY.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(octets: &[u8]) -> bool {
        let mut frames = Frames::default();
        frames.pass(octets);
        frames.may_begin()
    }

    fn long(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = match length {
            0..126 => vec![0x82, mask | length as u8],
            126..0x1_0000 => [&[0x82, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
            _ => [&[0x82, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
        };
        frame.resize(frame.len() + length + if masked { 4 } else { 0 }, 0x88);
        frame
    }

    #[test]
    fn a_frame_may_begin_before_the_first_and_behind_each_whole_one() {
        assert!(after(b""));
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
                let frame = long(length, masked);
                assert!(after(&frame), "{length}");
                assert!(after(&frame.repeat(2)), "{length}");
                for cut in [1, 2, 3, frame.len() / 2, frame.len() - 1] {
                    assert!(!after(&frame[..cut.clamp(1, frame.len() - 1)]), "{length} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn however_the_octets_are_cut_the_frames_are_the_same() {
        let octets = [long(3, true), long(200, false), long(0, true)].concat();
        for size in 1..octets.len() {
            let mut frames = Frames::default();
            octets.chunks(size).for_each(|chunk| frames.pass(chunk));
            assert!(frames.may_begin(), "in pieces of {size}");
        }
    }

    #[test]
    fn nothing_may_follow_a_close_frame() {
        assert!(!after(&[0x88, 0]));
        assert!(!after(&[0x81, 0, 0x88, 2, 3, 0xe8]));
    }

    #[test]
    fn a_length_that_overflows_is_a_frame_without_end() {
        assert!(!after(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn going_away_is_a_whole_close_frame_either_way() {
        let mut plain = Vec::new();
        append_going_away(None, &mut plain);
        assert_eq!(plain, [0x88, 2, 3, 0xe9]);
        let mut masked = Vec::new();
        append_going_away(Some([1, 2, 3, 4]), &mut masked);
        assert_eq!(masked, [0x88, 0x82, 1, 2, 3, 4, 3 ^ 1, 0xe9 ^ 2]);
    }
}
