//! HTTP/2 as the client of the comparison speaks it: one request, header fields indexed after their first use, windows
//! too wide to wait for.

use crate::h2::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PING, PREFACE, PRIORITY, SETTINGS, WINDOW_INITIAL,
    WINDOW_UPDATE, indexed_field, literal, new_field, write,
};
use crate::message::{self, BODY_BYTES, Fault};

/// Octets a peer may have under way on a connection, and how many of them are taken before it is given more.
const WINDOW: u32 = 1 << 30;
const WINDOW_LOW: u32 = WINDOW / 2;

/// What HPACK's static table has for the request and its answer.
const METHOD_GET: u8 = 0x82;
const SCHEME_HTTP: u8 = 0x86;
const SCHEME_HTTPS: u8 = 0x87;
const AUTHORITY: u8 = 1;
const PATH: u8 = 4;
const STATUS_200: u8 = 0x88;

/// One request under way.
#[derive(Clone, Copy, Default)]
struct Lane {
    stream: u32,
    answered: bool,
    body: usize,
}

/// One connection's state.
pub struct Session {
    lanes: Vec<Lane>,
    next_stream: u32,
    scheme: u8,
    indexed: bool,
    taken: u32,
    /// What is to be sent with the next write.
    pub output: Vec<u8>,
}

impl Session {
    /// A connection for `lanes` requests at once.
    pub fn new(lanes: usize, secure: bool) -> Self {
        let mut output = PREFACE.to_vec();
        write(&mut output, SETTINGS, 0, 0, &[]);
        write(&mut output, WINDOW_UPDATE, 0, 0, &(WINDOW - WINDOW_INITIAL).to_be_bytes());
        let scheme = if secure { SCHEME_HTTPS } else { SCHEME_HTTP };
        Self { lanes: vec![Lane::default(); lanes], next_stream: 1, scheme, indexed: false, taken: 0, output }
    }

    /// Puts the request on `lane`, which must be free.
    pub fn request(&mut self, lane: usize) {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.lanes[lane] = Lane { stream, ..Lane::default() };
        let fields = request_fields(self.scheme, self.indexed);
        self.indexed = true;
        write(&mut self.output, HEADERS, END_HEADERS | END_STREAM, stream, &fields);
    }

    /// Reads whole frames, tells which lanes are answered, and returns how many octets were taken.
    pub fn read(&mut self, input: &[u8], body: &[u8; BODY_BYTES], done: &mut Vec<usize>) -> Result<usize, Fault> {
        let mut taken = 0;
        while let Some((frame, octets)) = Frame::first(&input[taken..])? {
            self.take(&frame, body, done)?;
            taken += octets;
        }
        Ok(taken)
    }

    fn take(&mut self, frame: &Frame, body: &[u8; BODY_BYTES], done: &mut Vec<usize>) -> Result<(), Fault> {
        match frame.kind {
            HEADERS => self.answer_begins(frame)?,
            DATA => {
                self.give_window(frame.payload.len());
                done.extend(self.content(frame, body)?);
            }
            SETTINGS if !frame.has(ACK) => write(&mut self.output, SETTINGS, ACK, 0, &[]),
            PING if !frame.has(ACK) => write(&mut self.output, PING, ACK, 0, frame.payload),
            SETTINGS | PING | WINDOW_UPDATE => {}
            // A reset, a push, a farewell: none of them belongs to the agreed work.
            _ => return Err(Fault::Framing),
        }
        Ok(())
    }

    fn lane(&self, stream: u32) -> Result<usize, Fault> {
        self.lanes.iter().position(|lane| lane.stream == stream).ok_or(Fault::Framing)
    }

    fn answer_begins(&mut self, frame: &Frame) -> Result<(), Fault> {
        let lane = self.lane(frame.stream)?;
        let whole = frame.has(END_HEADERS) && !frame.has(END_STREAM | PADDED | PRIORITY);
        if !whole || self.lanes[lane].answered {
            return Err(Fault::Framing);
        }
        // The peer may change the size of its table first.
        let first = frame.payload.iter().find(|octet| *octet & 0xe0 != 0x20);
        if first != Some(&STATUS_200) {
            return Err(Fault::Status);
        }
        self.lanes[lane].answered = true;
        Ok(())
    }

    /// Checks a piece of the body; the lane, when it is complete.
    fn content(&mut self, frame: &Frame, body: &[u8; BODY_BYTES]) -> Result<Option<usize>, Fault> {
        let lane = self.lane(frame.stream)?;
        let state = &mut self.lanes[lane];
        if !state.answered || frame.has(PADDED) {
            return Err(Fault::Framing);
        }
        let end = state.body + frame.payload.len();
        if body.get(state.body..end) != Some(frame.payload) {
            return Err(Fault::Body);
        }
        state.body = end;
        if !frame.has(END_STREAM) {
            return Ok(None);
        }
        if end != BODY_BYTES {
            return Err(Fault::Body);
        }
        *state = Lane::default();
        Ok(Some(lane))
    }

    /// The windows of streams are wider than a body; the connection's is filled up now and then.
    fn give_window(&mut self, octets: usize) {
        self.taken += octets as u32;
        if self.taken >= WINDOW_LOW {
            write(&mut self.output, WINDOW_UPDATE, 0, 0, &self.taken.to_be_bytes());
            self.taken = 0;
        }
    }
}

/// The request's fields, written out or as indices. The target is never indexed: other requests have others.
fn request_fields(scheme: u8, indexed: bool) -> Vec<u8> {
    let text = std::str::from_utf8(message::REQUEST).expect("it is ASCII");
    let target = text.split(' ').nth(1).expect("a target");
    let lines = text.lines().skip(1).take_while(|line| !line.is_empty());
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let mut block = vec![METHOD_GET, scheme];
    for (number, (name, value)) in fields.iter().enumerate() {
        if indexed {
            indexed_field(&mut block, number, fields.len());
        } else if name.eq_ignore_ascii_case("host") {
            block.push(0x40 | AUTHORITY);
            literal(&mut block, value);
        } else {
            new_field(&mut block, name, value);
        }
    }
    // Last among the pseudo-header fields stands the target, before what is not one.
    let position = if indexed { 3 } else { 3 + 1 + fields[0].1.len() };
    let mut path = vec![PATH];
    literal(&mut path, target);
    block.splice(position..position, path);
    block
}
