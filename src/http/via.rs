//! The Via field (RFC 9110, section 7.6.3): our mark on what we pass on, and how we notice that it came back.

use super::Protocol;
use super::header::HeaderName;
use crate::base::hex;

/// A longer pseudonym is a configuration error.
pub const PSEUDONYM_BYTES_MAX: usize = 64;

/// The name we write into Via instead of a host. Instances that share one are one hop to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pseudonym {
    /// The line we write, for a message that was received in version 1.1.
    line: Box<str>,
}

const LINE_START: &str = "via: 1.1 ";
const LINE_END: &str = "\r\n";
/// Where the digit of the minor version stands.
const MINOR_AT: usize = LINE_START.len() - 2;
/// Where that of the major version stands.
const MAJOR_AT: usize = MINOR_AT - 2;

impl Pseudonym {
    /// The name of a process without a configured one: `tidegate-` and 8 digits of `random`.
    pub fn of_random(random: u32) -> Self {
        let digits = hex::digits(u64::from(random));
        let digits = digits[8..].iter().map(|&digit| char::from(digit));
        Self::of("tidegate-".chars().chain(digits))
    }

    /// A configured name; `None` unless it is a token of a sensible length.
    pub fn named(name: &str) -> Option<Self> {
        (name.len() <= PSEUDONYM_BYTES_MAX && HeaderName::parse(name).is_some()).then(|| Self::of(name.chars()))
    }

    fn of(name: impl Iterator<Item = char>) -> Self {
        Self { line: LINE_START.chars().chain(name).chain(LINE_END.chars()).collect() }
    }

    /// The name.
    pub fn text(&self) -> &str {
        &self.line[LINE_START.len()..self.line.len() - LINE_END.len()]
    }

    /// Appends our Via line, for a message that was received by `protocol`.
    #[inline]
    pub fn append_line(&self, protocol: Protocol, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.line.as_bytes());
        if protocol == Protocol::Http11 {
            return;
        }
        out[start + MINOR_AT] = b'0';
        if protocol == Protocol::Http2 {
            out[start + MAJOR_AT] = b'2';
        }
    }

    /// Checks the Via values of a request, which may name us `hops` times (RFC 9110, section 7.6.3: Via serves to
    /// avoid request loops).
    pub fn check<'a>(&self, values: impl Iterator<Item = &'a [u8]>, hops: u32) -> Result<(), LoopDetected> {
        let passed: usize = values.map(|value| self.count(value)).sum();
        if passed > hops as usize { Err(LoopDetected) } else { Ok(()) }
    }

    /// How many members of the list name us. Comments are not skipped: an unbalanced one, written by the client,
    /// would hide every member that a proxy appended behind it.
    fn count(&self, value: &[u8]) -> usize {
        let members = value.split(|&octet| octet == b',');
        members.filter(|member| received_by(member).eq_ignore_ascii_case(self.text().as_bytes())).count()
    }
}

/// The second word of a member: `1.1 name (comment)`.
fn received_by(member: &[u8]) -> &[u8] {
    let mut words = member.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty());
    words.nth(1).unwrap_or_default()
}

/// The request has passed through us already: 508 (RFC 5842, section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopDetected;

impl LoopDetected {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        508
    }

    /// The word for logs and problem types.
    pub const fn reason(self) -> &'static str {
        "loop-detected"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], hops: u32) -> Result<(), LoopDetected> {
        Pseudonym::named("tidegate-1").unwrap().check(values.iter().map(|value| value.as_bytes()), hops)
    }

    #[test]
    fn a_process_names_itself_by_eight_digits() {
        assert_eq!(Pseudonym::of_random(0xbeef).text(), "tidegate-0000beef");
    }

    #[test]
    fn a_configured_name_is_a_token() {
        assert_eq!(Pseudonym::named("edge-1").map(|name| name.text().to_owned()), Some("edge-1".to_owned()));
        for name in ["", "a b", "a,b", "a(b)", &"a".repeat(65)] {
            assert_eq!(Pseudonym::named(name), None);
        }
    }

    #[test]
    fn the_version_written_is_the_one_received() {
        let mut out = Vec::new();
        let name = Pseudonym::named("edge").unwrap();
        name.append_line(Protocol::Http10, &mut out);
        name.append_line(Protocol::Http11, &mut out);
        assert_eq!(out, b"via: 1.0 edge\r\nvia: 1.1 edge\r\n");
    }

    #[test]
    fn a_request_that_comes_back_is_a_loop() {
        assert_eq!(check(&["1.1 tidegate-1"], 0), Err(LoopDetected));
        assert_eq!(check(&["1.0 fred, HTTP/1.1\tTIDEGATE-1 (edge), 1.1 p.example.net"], 0), Err(LoopDetected));
        assert_eq!(check(&["1.0 fred", "1.1 tidegate-1"], 0), Err(LoopDetected));
    }

    #[test]
    fn other_names_are_no_loop() {
        // RFC 9110, section 7.6.3.
        assert_eq!(check(&["1.0 fred, 1.1 p.example.net"], 0), Ok(()));
        assert_eq!(check(&["1.1 tidegate-10, 1.1 fred (tidegate-1), tidegate-1 x", "", ",,"], 0), Ok(()));
        assert_eq!(check(&[], 0), Ok(()));
    }

    #[test]
    fn as_many_passages_as_configured_are_allowed() {
        assert_eq!(check(&["1.1 tidegate-1, 1.1 tidegate-1"], 2), Ok(()));
        assert_eq!(check(&["1.1 tidegate-1, 1.1 tidegate-1"], 1), Err(LoopDetected));
    }

    #[test]
    fn an_open_comment_hides_nothing() {
        assert_eq!(check(&["1.1 x (, 1.1 tidegate-1"], 0), Err(LoopDetected));
    }
}
