//! Frames of HTTP/2, for both peers of the comparison. They are written by hand: a library would cost more than some of
//! the proxies do.

use crate::message::Fault;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;

/// What a peer may send in one frame unless told otherwise.
const FRAME_BYTES_MAX: usize = 16_384;

/// Octets a connection may have under way before anybody widens its window.
pub const WINDOW_INITIAL: u32 = 65_535;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITY: u8 = 32;

/// The first index of HPACK's dynamic table, which the newest entry has.
pub const DYNAMIC: usize = 62;

pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of `input` and the octets it takes, when it has arrived whole.
    pub fn first(input: &'a [u8]) -> Result<Option<(Self, usize)>, Fault> {
        let Some(head) = input.first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Fault::Framing);
        }
        let end = FRAME_HEAD_BYTES + length;
        let Some(payload) = input.get(FRAME_HEAD_BYTES..end) else { return Ok(None) };
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok(Some((Self { kind: head[3], flags: head[4], stream, payload }, end)))
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

pub fn write(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    output.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(payload);
}

/// A field that is written out, and indexed for the next time.
pub fn new_field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0x40);
    literal(block, &name.to_ascii_lowercase());
    literal(block, value);
}

/// The entry that was the `number`th of `count` to be indexed.
pub fn indexed_field(block: &mut Vec<u8>, number: usize, count: usize) {
    block.push(0x80 | (DYNAMIC + count - 1 - number) as u8);
}

/// A string as it is, shorter than one octet's prefix can say.
pub fn literal(block: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 127, "the lengths of our own fields fit one octet");
    block.push(text.len() as u8);
    block.extend_from_slice(text.as_bytes());
}
