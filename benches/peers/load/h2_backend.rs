//! HTTP/2 as the origin of the comparison speaks it: every request gets the same answer, within the windows it is given.

use std::collections::VecDeque;

use crate::h2::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PING, PREFACE, PRIORITY, SETTINGS, WINDOW_INITIAL,
    WINDOW_UPDATE, indexed_field, new_field, write,
};
use crate::message::{self, BODY_BYTES, Fault};

const STATUS_200: u8 = 0x88;

const SETTING_TABLE: u16 = 1;
const SETTING_WINDOW: u16 = 4;
const SETTING_STREAMS: u16 = 3;

/// The table that every peer begins with.
const TABLE_BYTES: u32 = 4096;

/// Requests the origin takes at once on a connection.
const STREAMS_MAX: u32 = 256;

/// Room for a padding length and a priority before a header block.
const PRIORITY_BYTES: usize = 5;

/// One connection's state.
pub struct Session {
    preface: bool,
    /// Octets of content the peer takes yet.
    window: u32,
    waiting: VecDeque<u32>,
    /// Whether the peer remembers fields, and has seen ours.
    may_index: bool,
    indexed: bool,
    /// Header fields of the first request.
    pub fields: usize,
    pub output: Vec<u8>,
}

impl Default for Session {
    fn default() -> Self {
        let mut output = Vec::new();
        let mut settings = SETTING_STREAMS.to_be_bytes().to_vec();
        settings.extend_from_slice(&STREAMS_MAX.to_be_bytes());
        write(&mut output, SETTINGS, 0, 0, &settings);
        Self {
            preface: false,
            window: WINDOW_INITIAL,
            waiting: VecDeque::new(),
            may_index: true,
            indexed: false,
            fields: 0,
            output,
        }
    }
}

impl Session {
    /// Reads whole frames, answers what they ask for in `output`, and returns how many octets were taken.
    pub fn read(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0;
        if !self.preface {
            if input.len() < PREFACE.len() {
                return Ok(0);
            }
            if !input.starts_with(PREFACE) {
                return Err(Fault::Framing);
            }
            self.preface = true;
            taken = PREFACE.len();
        }
        while let Some((frame, octets)) = Frame::first(&input[taken..])? {
            self.take(&frame)?;
            taken += octets;
        }
        self.answer();
        Ok(taken)
    }

    fn take(&mut self, frame: &Frame) -> Result<(), Fault> {
        match frame.kind {
            HEADERS => self.asked(frame)?,
            SETTINGS if !frame.has(ACK) => self.settings(frame.payload)?,
            PING if !frame.has(ACK) => write(&mut self.output, PING, ACK, 0, frame.payload),
            WINDOW_UPDATE if frame.stream == 0 => {
                let more = frame.payload.first_chunk().ok_or(Fault::Framing)?;
                self.window = self.window.saturating_add(u32::from_be_bytes(*more));
            }
            SETTINGS | PING | WINDOW_UPDATE => {}
            _ => return Err(Fault::Framing),
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Fault> {
        for setting in payload.chunks_exact(6) {
            let (name, value) = setting.split_at(2);
            let name = u16::from_be_bytes([name[0], name[1]]);
            let value = u32::from_be_bytes([value[0], value[1], value[2], value[3]]);
            match name {
                SETTING_TABLE => self.may_index = value >= TABLE_BYTES,
                // A stream's window always has room for the one body.
                SETTING_WINDOW if (value as usize) < BODY_BYTES => return Err(Fault::Framing),
                _ => {}
            }
        }
        write(&mut self.output, SETTINGS, ACK, 0, &[]);
        Ok(())
    }

    fn asked(&mut self, frame: &Frame) -> Result<(), Fault> {
        if !frame.has(END_HEADERS) || !frame.has(END_STREAM) || frame.has(PADDED) {
            return Err(Fault::Framing);
        }
        if self.fields == 0 {
            let skipped = if frame.has(PRIORITY) { PRIORITY_BYTES } else { 0 };
            self.fields = count_fields(frame.payload.get(skipped..).ok_or(Fault::Framing)?).ok_or(Fault::Framing)?;
        }
        self.waiting.push_back(frame.stream);
        Ok(())
    }

    fn answer(&mut self) {
        while self.window as usize >= BODY_BYTES
            && let Some(stream) = self.waiting.pop_front()
        {
            self.window -= BODY_BYTES as u32;
            let fields = response_fields(self.may_index && self.indexed);
            self.indexed = true;
            write(&mut self.output, HEADERS, END_HEADERS, stream, &fields);
            write(&mut self.output, DATA, END_STREAM, stream, &message::body());
        }
    }
}

/// The response's fields, written out or as indices.
fn response_fields(indexed: bool) -> Vec<u8> {
    let fields: Vec<_> = message::RESPONSE_HEAD.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
    let mut block = vec![STATUS_200];
    for (number, (name, value)) in fields.iter().enumerate() {
        if indexed {
            indexed_field(&mut block, number, fields.len());
        } else {
            new_field(&mut block, name, value);
        }
    }
    block
}

/// How many fields a block of HPACK holds, without reading them.
fn count_fields(mut block: &[u8]) -> Option<usize> {
    let mut count = 0;
    while let Some(&first) = block.first() {
        let prefix = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let index = integer(&mut block, prefix)?;
        match first {
            0x80.. => {}
            // The size of the table, which is no field.
            0x20..0x40 => continue,
            _ => {
                if index == 0 {
                    skip_string(&mut block)?;
                }
                skip_string(&mut block)?;
            }
        }
        count += 1;
    }
    Some(count)
}

fn skip_string(block: &mut &[u8]) -> Option<()> {
    let length = integer(block, 7)?;
    *block = block.get(length..)?;
    Some(())
}

/// RFC 7541, section 5.1.
fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let mask = (1u8 << prefix) - 1;
    let (first, rest) = block.split_first()?;
    *block = rest;
    let mut value = usize::from(first & mask);
    if value < usize::from(mask) {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let (octet, rest) = block.split_first()?;
        *block = rest;
        value += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
