//! What a client may do to a connection of HTTP/2 before it is told to calm down (RFC 9113, section 10.5): every budget
//! with its name and its default, but for those that a listener configures: streams and windows. Knows frames by their
//! heads alone.
//!
//! Over budget, the connection ends with ENHANCE_YOUR_CALM.

use std::time::Duration;

use super::strict::Strict;
use crate::base::Timestamp;

/// Octets of a response that wait on one stream for the connection to take them.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// The largest frame that a client may send: the least that the protocol allows to demand.
pub const FRAME_BYTES: u32 = 16 * 1024;
/// What a field costs in a header list beyond its octets (RFC 9113, section 6.5.2).
pub const FIELD_OVERHEAD_BYTES: u32 = 32;

/// Streams that the library remembers for a second after we reset them, so that late frames are no error.
pub const RESET_STREAMS_REMEMBERED: usize = 50;
/// Streams that were reset by the client before they were looked at: the first half of a rapid reset.
pub const RESETS_BEFORE_ACCEPT: usize = 20;
/// Streams that the client had us reset by breaking rules, over the life of a connection: MadeYouReset.
pub const STREAM_ERRORS: usize = 100;
/// Requests refused for the size of their header list, over the life of a connection.
pub const HEADS_TOO_LARGE: u32 = 10;
/// Streams whose client took nothing for the idle time, over the life of a connection.
pub const STALLS: u32 = 10;

/// In which time the budgets below hold.
pub const PERIOD: Duration = Duration::from_secs(1);
/// Streams reset by the client: rapid reset.
pub const RESETS: u32 = 200;
/// Requests that were refused before they were looked at: malformed, too many at once, too large.
pub const REFUSED: u32 = 200;
/// Changes of settings, and answers to ours.
pub const SETTINGS: u32 = 20;
/// Pings, and answers to ours, beside those that our own content gives rise to: a client of gRPC measures its connection by
/// one whenever something has come, as soon as the last one is answered.
pub const PINGS: u32 = 500;
/// Priorities, which are ignored.
pub const PRIORITIES: u32 = 1000;
/// Updates of windows, beside those that our own content gives rise to, and one for each ping: a client of gRPC sends both
/// together.
pub const WINDOW_UPDATES: u32 = 1000;
/// Octets of ours that give rise to one more of them.
pub const OCTETS_FOR_WINDOW_UPDATE: u64 = 256;
/// Continuations of header blocks.
pub const CONTINUATIONS: u32 = 200;
/// DATA frames without content that do not end their stream.
pub const EMPTY_DATA: u32 = 100;
/// DATA frames of fewer than [`TINY_BYTES`] octets that do not end their stream.
pub const TINY_DATA: u32 = 10_000;
/// As many more for each stream that is open: messages of gRPC and WebSocket are often as small.
pub const TINY_DATA_PER_STREAM: u32 = 1000;
/// See [`TINY_DATA`].
pub const TINY_BYTES: usize = 32;
/// Frames of types that we do not know.
pub const UNKNOWN: u32 = 500;

/// Streams to an upstream that the library remembers after we let go of them, so that late frames are no error.
pub const CANCELLED_STREAMS_REMEMBERED: usize = 1024;
/// How long.
pub const CANCELLED_STREAMS_REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// Streams that an upstream had us reset by breaking rules, over the life of a connection.
pub const UPSTREAM_STREAM_ERRORS: usize = 10_000;
/// Header blocks that an upstream may send beside those that our requests give rise to.
pub const HEADS_UNEARNED: u32 = 100;
/// Header blocks that a request of ours may give rise to: interim responses, the final one, and trailers.
pub const HEADS_PER_REQUEST: u32 = 18;
/// The most that requests can earn by the two above.
pub const HEADS_EARNED_MAX: u32 = 8192;
/// Frames of each kind, but for settings, that an upstream may send more for each request of the period.
pub const FRAMES_PER_REQUEST: u32 = 8;
/// [`TINY_DATA_PER_STREAM`] of an upstream: whom one stream would hurt are all that share the connection.
pub const UPSTREAM_TINY_DATA_PER_STREAM: u32 = 10_000;

/// How long a connection that ends by our will waits for the client to see it.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// What a client has done too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    Resets,
    Refused,
    Settings,
    Pings,
    Priorities,
    WindowUpdates,
    Continuations,
    EmptyData,
    TinyData,
    Unknown,
    HeadsTooLarge,
    Stalls,
    /// Of an upstream: header blocks, such as those of interim responses.
    Heads,
    /// One of the library's own budgets, which does not say which.
    Library,
}

impl Flood {
    /// A stable word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Refused => "refused-requests",
            Self::Settings => "settings",
            Self::Pings => "pings",
            Self::Priorities => "priorities",
            Self::WindowUpdates => "window-updates",
            Self::Continuations => "continuations",
            Self::EmptyData => "empty-data",
            Self::TinyData => "tiny-data",
            Self::Unknown => "unknown-frames",
            Self::HeadsTooLarge => "heads-too-large",
            Self::Stalls => "stalled-streams",
            Self::Heads => "heads",
            Self::Library => "library",
        }
    }
}

/// Octets of a frame head (RFC 9113, section 4.1).
const FRAME_HEAD_BYTES: usize = 9;
/// Octets of a ping, and of the answer to one.
const PING_BYTES: usize = FRAME_HEAD_BYTES + 8;
/// Octets of the smallest message of gRPC: a prefix, and nothing behind it.
const MESSAGE_BYTES: usize = FRAME_HEAD_BYTES + 5;
/// What a client sends first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS_FRAME: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The kinds of frames that are counted, each with its budget.
const KINDS: [(Flood, u32); 10] = [
    (Flood::Resets, RESETS),
    (Flood::Refused, REFUSED),
    (Flood::Settings, SETTINGS),
    (Flood::Pings, PINGS),
    (Flood::Priorities, PRIORITIES),
    (Flood::WindowUpdates, WINDOW_UPDATES),
    (Flood::Continuations, CONTINUATIONS),
    (Flood::EmptyData, EMPTY_DATA),
    (Flood::TinyData, TINY_DATA),
    (Flood::Unknown, UNKNOWN),
];

/// Follows the frames that a client sends by their heads, and counts.
#[derive(Debug)]
pub struct Follower {
    /// Of the head that is being read.
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    /// Octets to pass over before the next head: a payload, or what is left of the preface.
    skip: usize,
    counts: [u32; KINDS.len()],
    period_end: Timestamp,
    /// Octets that we sent in this period.
    sent: u64,
    /// Writes among them that said more than the answer to a ping.
    said: u32,
    /// Streams that are open.
    streams: u32,
    /// The highest stream that was opened.
    newest: u32,
    /// Whether the block that is being read opens a stream.
    opening: bool,
    /// Whether it ends with the payload that is passed over.
    ending: bool,
    /// Streams opened whose header blocks were complete.
    opened: u64,
    /// Of an upstream: header blocks that it may still send. None for clients.
    heads_left: Option<u32>,
    /// Requests that we sent in this period.
    asked: u32,
    /// Whether the settings that are being read end with the payload that is passed over.
    settling: bool,
    has_settled: bool,
    /// Whether the peer has said that it takes no more.
    leaves: bool,
    flood: Option<Flood>,
    /// None of an upstream, which opens no streams.
    strict: Option<Strict>,
}

impl Default for Follower {
    fn default() -> Self {
        Self {
            head: [0; FRAME_HEAD_BYTES],
            head_bytes: 0,
            skip: PREFACE.len(),
            counts: [0; KINDS.len()],
            period_end: Timestamp::default(),
            sent: 0,
            said: 0,
            streams: 0,
            newest: 0,
            opening: false,
            ending: false,
            opened: 0,
            heads_left: None,
            asked: 0,
            settling: false,
            has_settled: false,
            leaves: false,
            flood: None,
            strict: Some(Strict::default()),
        }
    }
}

impl Follower {
    /// Follows an upstream, which sends no preface.
    pub fn of_upstream() -> Self {
        Self { skip: 0, heads_left: Some(HEADS_UNEARNED), strict: None, ..Self::default() }
    }

    /// Takes note of a request that we sent.
    pub fn asked(&mut self, now: Timestamp) {
        self.turn(now);
        self.asked = self.asked.saturating_add(1);
        self.heads_left = self.heads_left.map(|left| (left + HEADS_PER_REQUEST).min(HEADS_EARNED_MAX));
    }

    /// Whether settings of the peer have come.
    pub fn has_settled(&self) -> bool {
        self.has_settled
    }

    /// Whether an upstream has said that it takes no more requests.
    pub fn leaves(&self) -> bool {
        self.leaves
    }

    /// Takes note of how many streams are open.
    pub fn carries(&mut self, streams: u32) {
        self.streams = streams;
    }

    /// Takes what was received at `now`.
    pub fn received(&mut self, mut octets: &[u8], now: Timestamp) {
        self.turn(now);
        while !octets.is_empty() {
            let skipped = self.skip.min(octets.len());
            self.skip -= skipped;
            if let Some(strict) = &mut self.strict {
                strict.payload(&octets[..skipped]);
            }
            octets = &octets[skipped..];
            self.passed();
            let taken = (FRAME_HEAD_BYTES - self.head_bytes).min(octets.len());
            self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&octets[..taken]);
            self.head_bytes += taken;
            octets = &octets[taken..];
            if self.head_bytes == FRAME_HEAD_BYTES {
                self.head_bytes = 0;
                self.frame();
                self.passed();
            }
        }
    }

    /// Takes what was sent by one write.
    pub fn sent(&mut self, octets: usize) {
        self.sent += octets as u64;
        self.said = self.said.saturating_add(u32::from(octets >= MESSAGE_BYTES && octets != PING_BYTES));
    }

    /// Takes note that so many requests were refused before they were looked at.
    pub fn refused(&mut self, requests: u32, now: Timestamp) {
        self.turn(now);
        self.count(Flood::Refused, requests);
    }

    /// Streams that were opened by complete header blocks.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// What was done too often.
    pub fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// Whether the client has sent content on a stream that it had ended.
    pub fn wrote_after_end(&self) -> bool {
        self.strict.as_ref().is_some_and(Strict::wrote_after_end)
    }

    /// Whether the trailers of a stream, which have arrived, hold pseudo-header fields.
    pub fn has_malformed_trailers(&self, stream: u32) -> bool {
        self.strict.as_ref().is_some_and(|strict| strict.has_malformed_trailers(stream))
    }

    fn turn(&mut self, now: Timestamp) {
        if now >= self.period_end {
            self.counts = [0; KINDS.len()];
            self.sent = 0;
            self.said = 0;
            self.asked = 0;
            self.period_end = now.plus(PERIOD);
        }
    }

    fn frame(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        self.skip = length;
        if let Some(strict) = &mut self.strict {
            strict.frame(kind, flags, stream, length, stream > self.newest);
        }
        match kind {
            DATA if flags & END_STREAM != 0 => {}
            DATA if length == 0 => self.count(Flood::EmptyData, 1),
            DATA if length < TINY_BYTES => self.count(Flood::TinyData, 1),
            DATA | PUSH_PROMISE => {}
            GOAWAY => self.leaves = true,
            HEADERS => {
                self.opening = stream > self.newest;
                self.newest = self.newest.max(stream);
                self.block(flags);
                self.count_head();
            }
            CONTINUATION => {
                self.count(Flood::Continuations, 1);
                self.block(flags);
            }
            PRIORITY => self.count(Flood::Priorities, 1),
            RST_STREAM => self.count(Flood::Resets, 1),
            SETTINGS_FRAME => {
                self.settling = flags & ACK == 0;
                self.count(Flood::Settings, 1);
            }
            PING => self.count(Flood::Pings, 1),
            WINDOW_UPDATE => self.count(Flood::WindowUpdates, 1),
            _ => self.count(Flood::Unknown, 1),
        }
    }

    fn count_head(&mut self) {
        match &mut self.heads_left {
            Some(0) => self.flood = self.flood.or(Some(Flood::Heads)),
            Some(left) => *left -= 1,
            None => {}
        }
    }

    fn block(&mut self, flags: u8) {
        self.ending = flags & END_HEADERS != 0;
    }

    /// Takes note of a block that is complete with the last octet of its last frame.
    fn passed(&mut self) {
        if self.skip > 0 {
            return;
        }
        self.has_settled |= std::mem::take(&mut self.settling);
        if std::mem::take(&mut self.ending) {
            self.opened += u64::from(std::mem::take(&mut self.opening));
        }
    }

    fn count(&mut self, flood: Flood, times: u32) {
        let Some(at) = KINDS.iter().position(|(kind, _)| *kind == flood) else { return };
        self.counts[at] = self.counts[at].saturating_add(times);
        if u64::from(self.counts[at]) > u64::from(KINDS[at].1) + self.earned(flood) {
            self.flood.get_or_insert(flood);
        }
    }

    /// What the period allows beyond the budget.
    fn earned(&self, flood: Flood) -> u64 {
        let requests = u64::from(self.asked.saturating_mul(FRAMES_PER_REQUEST));
        match flood {
            // A change of settings is nobody's answer to a request.
            Flood::Settings => 0,
            Flood::Pings => requests + u64::from(self.said),
            Flood::WindowUpdates => requests + self.sent / OCTETS_FOR_WINDOW_UPDATE + self.counted(Flood::Pings),
            Flood::TinyData => {
                let is_upstream = self.heads_left.is_some();
                let each = if is_upstream { UPSTREAM_TINY_DATA_PER_STREAM } else { TINY_DATA_PER_STREAM };
                requests + u64::from(each) * u64::from(self.streams)
            }
            _ => requests,
        }
    }

    fn counted(&self, flood: Flood) -> u64 {
        let at = KINDS.iter().position(|(kind, _)| *kind == flood);
        at.map_or(0, |at| u64::from(self.counts[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let length = (payload as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), &vec![0; payload]].concat()
    }

    fn now(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let frames = [frame(PING, 0, 0, 8), frame(DATA, 0, 1, 1000), frame(HEADERS, END_HEADERS, 1, 20)].concat();
        let octets = [PREFACE, &frames, &frames].concat();
        for size in [1, 3, 9, 17, octets.len()] {
            let mut follower = Follower::default();
            octets.chunks(size).for_each(|piece| follower.received(piece, now(1)));
            let pings = KINDS.iter().position(|(kind, _)| *kind == Flood::Pings).unwrap();
            assert_eq!((follower.counts[pings], follower.opened()), (2, 1), "in pieces of {size}");
            assert_eq!(follower.flood(), None);
        }
    }

    #[test]
    fn a_budget_holds_for_its_period_and_is_renewed() {
        let mut follower = Follower::default();
        follower.received(PREFACE, now(1));
        for second in [1, 3, 5] {
            for _ in 0..SETTINGS {
                follower.received(&frame(SETTINGS_FRAME, 0, 0, 0), now(second));
            }
            assert_eq!(follower.flood(), None);
        }
        follower.received(&frame(SETTINGS_FRAME, 0, 0, 0), now(5));
        assert_eq!(follower.flood(), Some(Flood::Settings));
    }

    #[test]
    fn what_we_send_earns_updates_of_windows() {
        let mut follower = Follower::default();
        follower.received(PREFACE, now(1));
        follower.sent(10 * OCTETS_FOR_WINDOW_UPDATE as usize);
        for _ in 0..WINDOW_UPDATES + 10 {
            follower.received(&frame(WINDOW_UPDATE, 0, 0, 4), now(1));
        }
        assert_eq!(follower.flood(), None);
        follower.received(&frame(WINDOW_UPDATE, 0, 0, 4), now(1));
        assert_eq!(follower.flood(), Some(Flood::WindowUpdates));
    }

    #[test]
    fn what_we_say_earns_the_ping_that_measures_the_connection_and_its_answer_does_not() {
        let mut follower = Follower::default();
        follower.received(PREFACE, now(1));
        for _ in 0..2 * (PINGS + WINDOW_UPDATES) {
            follower.sent(MESSAGE_BYTES);
            follower.received(&frame(WINDOW_UPDATE, 0, 0, 4), now(1));
            follower.received(&frame(PING, 0, 0, 8), now(1));
        }
        assert_eq!(follower.flood(), None);
        for _ in 0..=PINGS {
            follower.sent(PING_BYTES);
            follower.received(&frame(PING, 0, 0, 8), now(1));
        }
        assert_eq!(follower.flood(), Some(Flood::Pings));
    }

    #[test]
    fn open_streams_earn_small_frames() {
        for (mut follower, each) in
            [(Follower::default(), TINY_DATA_PER_STREAM), (Follower::of_upstream(), UPSTREAM_TINY_DATA_PER_STREAM)]
        {
            let begins = if follower.strict.is_some() { PREFACE } else { b"" };
            follower.received(begins, now(1));
            follower.carries(3);
            for _ in 0..TINY_DATA + 3 * each {
                follower.received(&frame(DATA, 0, 1, 6), now(1));
            }
            assert_eq!(follower.flood(), None);
            follower.received(&frame(DATA, 0, 1, 6), now(1));
            assert_eq!(follower.flood(), Some(Flood::TinyData));
        }
    }

    #[test]
    fn a_block_in_parts_opens_one_stream_and_trailers_open_none() {
        let mut follower = Follower::default();
        follower.received(PREFACE, now(1));
        for part in [frame(HEADERS, 0, 1, 5), frame(CONTINUATION, 0, 1, 5), frame(CONTINUATION, END_HEADERS, 1, 5)] {
            assert_eq!(follower.opened(), 0);
            follower.received(&part, now(1));
        }
        follower.received(&frame(HEADERS, END_HEADERS | END_STREAM, 1, 5), now(1));
        assert_eq!(follower.opened(), 1);
    }

    #[test]
    fn the_end_of_a_stream_is_no_empty_frame() {
        let mut follower = Follower::default();
        follower.received(PREFACE, now(1));
        for stream in 0..1000 {
            follower.received(&frame(DATA, END_STREAM, 2 * stream + 1, 0), now(1));
        }
        assert_eq!(follower.flood(), None);
    }
}
