//! W3C Trace Context: reading, continuing or restarting a trace, and writing it for each attempt.
//!
//! Ids stay the hexadecimal text they travel and are logged as. Random numbers come from outside; what is exported is
//! decided elsewhere.

use arrayvec::ArrayVec;

use crate::base::hex;

/// A trace id: 32 lower-case hexadecimal digits, not all zero.
pub const TRACE_ID_BYTES: usize = 32;
/// A span id: 16 lower-case hexadecimal digits, not all zero.
pub const SPAN_ID_BYTES: usize = 16;
/// A traceparent of version 00.
pub const TRACEPARENT_BYTES: usize = 55;
/// Members of tracestate (section 3.3.1.1).
pub const TRACESTATE_MEMBERS_MAX: usize = 32;
/// What we pass on of tracestate: exactly what every participant should (section 3.3.1.5).
pub const TRACESTATE_BYTES_MAX: usize = 512;
/// Longer members are the first to go when tracestate is cut (section 3.3.1.5).
const LARGE_MEMBER_BYTES: usize = 128;
/// The longest key and the longest value of a member (section 3.3.1.3).
const KEY_OR_VALUE_BYTES_MAX: usize = 256;

/// The id of a trace.
pub type TraceId = [u8; TRACE_ID_BYTES];
/// The id of a span, the parent of what happens next.
pub type SpanId = [u8; SPAN_ID_BYTES];

/// The trace flags (section 3.2.2.5): bits, never compared as a number. Those without a meaning are sent as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    const SAMPLED: u8 = 1;
    const RANDOM: u8 = 2;

    /// Whether the caller may have recorded this trace.
    #[inline]
    pub const fn sampled(self) -> bool {
        self.0 & Self::SAMPLED != 0
    }

    /// Whether the right-most 7 bytes of the trace id are random.
    #[inline]
    pub const fn random(self) -> bool {
        self.0 & Self::RANDOM != 0
    }

    /// The same flags with this decision on sampling.
    #[inline]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        Self(self.0 & !Self::SAMPLED | sampled as u8)
    }
}

/// What a valid traceparent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    pub trace: TraceId,
    pub parent: SpanId,
    pub flags: Flags,
}

impl Traceparent {
    /// Reads the traceparent lines of a head. None, an invalid one and several are all no traceparent.
    pub fn of<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let line = lines.next()?;
        match lines.next() {
            None => Self::parse(line),
            Some(_) => None,
        }
    }

    /// Sections 3.2.2 and 4.3: `ff` is no version, a higher one may only add a dash and more behind what we know.
    fn parse(line: &[u8]) -> Option<Self> {
        let (known, rest) = line.split_first_chunk::<TRACEPARENT_BYTES>()?;
        let (version, trace, parent, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
        let dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
        let version_fits = match version {
            b"00" => rest.is_empty(),
            b"ff" => false,
            _ => matches!(rest, [] | [b'-', ..]),
        };
        let hexadecimal = is_lower_hex(version) & is_lower_hex(trace) & is_lower_hex(parent) & is_lower_hex(flags);
        let ids = !is_zero(trace) && !is_zero(parent);
        if !(dashes && version_fits && hexadecimal && ids) {
            return None;
        }
        let bits = hex::value(flags[1])? & (Flags::SAMPLED | Flags::RANDOM);
        Some(Self { trace: trace.try_into().ok()?, parent: parent.try_into().ok()?, flags: Flags(bits) })
    }
}

/// Without branches, so that the compiler looks at many digits at once; so is [`is_zero`].
#[inline]
fn is_lower_hex(digits: &[u8]) -> bool {
    let fits = |digit: u8| (digit.wrapping_sub(b'0') < 10) | (digit.wrapping_sub(b'a') < 6);
    digits.iter().fold(true, |all, &digit| all & fits(digit))
}

#[inline]
fn is_zero(digits: &[u8]) -> bool {
    digits.iter().fold(true, |all, &digit| all & (digit == b'0'))
}

/// The trace an exchange belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub id: TraceId,
    pub flags: Flags,
    /// The caller's span, where its trace is continued.
    pub parent: Option<SpanId>,
    /// The caller's trace, where ours only links to it.
    pub link: Option<Traceparent>,
}

impl Trace {
    /// The trace of an exchange: the caller's, if there is one and the peer is trusted, otherwise a new one.
    #[inline]
    pub fn begun(caller: Option<Traceparent>, trusted: bool, sampled: bool, random: [u64; 2]) -> Self {
        match caller {
            Some(caller) if trusted => Self::continued(caller),
            _ => Self::restarted(caller, sampled, random),
        }
    }

    /// Continues the caller's trace, its sampling decision included: for trusted peers.
    #[inline]
    pub fn continued(caller: Traceparent) -> Self {
        Self { id: caller.trace, flags: caller.flags, parent: Some(caller.parent), link: None }
    }

    /// Begins a trace. An untrusted caller's becomes a link: it can neither join our traces nor have them sampled.
    #[inline]
    pub fn restarted(caller: Option<Traceparent>, sampled: bool, random: [u64; 2]) -> Self {
        let id = hex::digits_of_pair([random[0], random[1].max(1)]);
        Self { id, flags: Flags(Flags::RANDOM).with_sampled(sampled), parent: None, link: caller }
    }

    /// Whether the caller's tracestate belongs to this trace; otherwise it is dropped (section 3.3).
    #[inline]
    pub fn is_continued(&self) -> bool {
        self.parent.is_some()
    }

    /// The traceparent value of one attempt, whose span this is.
    #[inline]
    pub fn traceparent(&self, span: SpanId) -> [u8; TRACEPARENT_BYTES] {
        let mut text = [b'-'; TRACEPARENT_BYTES];
        text[..2].copy_from_slice(b"00");
        text[3..35].copy_from_slice(&self.id);
        text[36..52].copy_from_slice(&span);
        text[53] = b'0';
        text[54] = b'0' + self.flags.0;
        text
    }
}

/// A new span id; each attempt (retry, hedge, shadow copy, part) has its own.
#[inline]
pub fn span_id(random: u64) -> SpanId {
    hex::digits(random.max(1))
}

/// Appends the tracestate to send with a continued trace, from the caller's lines in order, and says whether there is
/// one. An invalid tracestate is dropped as a whole and changes nothing else; a long one loses whole members.
pub fn append_tracestate<'a>(lines: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> bool {
    let Some(mut members) = tracestate_members(lines) else { return false };
    cut(&mut members);
    for (place, member) in members.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
    !members.is_empty()
}

type Members<'a> = ArrayVec<&'a [u8], TRACESTATE_MEMBERS_MAX>;

/// The members of all lines; `None` if one is malformed, a key comes twice or there are too many.
fn tracestate_members<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Members<'a>> {
    let mut members = Members::new();
    for member in lines.flat_map(|line| line.split(|&octet| octet == b',')) {
        let member = trim_blanks(member);
        if member.is_empty() {
            continue; // section 3.3.1.2: empty members are allowed
        }
        let key = member_key(member)?;
        // Each earlier member is `key=…`, and no key holds a `=`.
        let repeated = members.iter().any(|other| other.len() > key.len() && other.starts_with(&member[..=key.len()]));
        if repeated || members.try_push(member).is_err() {
            return None;
        }
    }
    Some(members)
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The key of a well-formed member (sections 3.3.1.3.1 and 3.3.1.3.2).
fn member_key(member: &[u8]) -> Option<&[u8]> {
    let equals = member.iter().position(|&octet| octet == b'=')?;
    let (key, value) = (&member[..equals], &member[equals + 1..]);
    let first = matches!(key.first(), Some(b'a'..=b'z' | b'0'..=b'9'));
    let key_fits = |octet: &u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let value_fits = |octet: &u8| matches!(octet, b' '..=b'~') && !matches!(octet, b',' | b'=');
    let lengths = key.len() <= KEY_OR_VALUE_BYTES_MAX && (1..=KEY_OR_VALUE_BYTES_MAX).contains(&value.len());
    (first && lengths && key.iter().all(key_fits) && value.iter().all(value_fits)).then_some(key)
}

/// Section 3.3.1.5: whole members go, the large ones first, then from the right.
fn cut(members: &mut Members<'_>) {
    while length(members) > TRACESTATE_BYTES_MAX {
        let large = members.iter().rposition(|member| member.len() > LARGE_MEMBER_BYTES);
        members.remove(large.unwrap_or(members.len() - 1));
    }
}

/// The length of the list with its commas.
fn length(members: &Members<'_>) -> usize {
    members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traceparent(lines: &[&str]) -> Option<Traceparent> {
        Traceparent::of(lines.iter().map(|line| line.as_bytes()))
    }

    fn tracestate(lines: &[&str]) -> Option<String> {
        let mut out = Vec::new();
        let any = append_tracestate(lines.iter().map(|line| line.as_bytes()), &mut out);
        any.then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_example_of_the_recommendation_is_read() {
        let read = traceparent(&[EXAMPLE]).unwrap();
        assert_eq!(&read.trace, b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(&read.parent, b"00f067aa0ba902b7");
        assert!(read.flags.sampled() && !read.flags.random());
    }

    #[test]
    fn malformed_traceparents_are_none() {
        let long = format!("{EXAMPLE}-");
        let upper = EXAMPLE.to_uppercase();
        let no_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let no_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let bad_flags = EXAMPLE.replace("-01", "-0g");
        let bad_dash = EXAMPLE.replacen('-', "_", 1);
        for line in ["", &EXAMPLE[..54], &long, &upper, no_trace, no_parent, &bad_flags, &bad_dash] {
            assert_eq!(traceparent(&[line]), None, "{line}");
        }
    }

    #[test]
    fn a_higher_version_is_read_as_far_as_we_know_it() {
        let higher = |end: &str| traceparent(&[&format!("cc{}{end}", &EXAMPLE[2..])]);
        assert_eq!(higher(""), traceparent(&[EXAMPLE]));
        assert_eq!(higher("-what-the-future-brings"), traceparent(&[EXAMPLE]));
        assert_eq!(higher(".what"), None);
        assert_eq!(traceparent(&[&EXAMPLE.replacen("00", "ff", 1)]), None);
        assert_eq!(traceparent(&[&EXAMPLE.replacen("00", "CC", 1)]), None);
    }

    #[test]
    fn several_traceparents_are_none() {
        assert_eq!(traceparent(&[EXAMPLE, EXAMPLE]), None);
        assert_eq!(traceparent(&[]), None);
    }

    #[test]
    fn flags_are_bits_and_unknown_ones_are_not_passed_on() {
        let read = traceparent(&[&EXAMPLE.replace("-01", "-ff")]).unwrap();
        assert!(read.flags.sampled() && read.flags.random());
        let sent = Trace::continued(read).traceparent(span_id(7));
        assert!(sent.ends_with(b"-03"));
        assert!(!traceparent(&[&EXAMPLE.replace("-01", "-fe")]).unwrap().flags.sampled());
    }

    #[test]
    fn a_continued_trace_keeps_id_and_flags_and_has_a_new_parent_per_attempt() {
        let trace = Trace::continued(traceparent(&[EXAMPLE]).unwrap());
        let attempt = |random| String::from_utf8(trace.traceparent(span_id(random)).to_vec()).unwrap();
        assert_eq!(attempt(1), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01");
        assert_eq!(attempt(0xab), "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
        assert!(trace.is_continued());
    }

    #[test]
    fn a_restarted_trace_links_to_the_callers_and_takes_no_sampling_from_it() {
        let caller = traceparent(&[EXAMPLE]);
        let trace = Trace::restarted(caller, false, [1, 2]);
        assert_eq!((trace.link, trace.parent, trace.is_continued()), (caller, None, false));
        let sent = trace.traceparent(span_id(3));
        assert_eq!(&sent, b"00-00000000000000010000000000000002-0000000000000003-02");
        assert!(Trace::restarted(None, true, [1, 2]).traceparent(span_id(3)).ends_with(b"-03"));
    }

    #[test]
    fn only_a_trusted_callers_trace_is_continued() {
        let caller = traceparent(&[EXAMPLE]);
        assert!(Trace::begun(caller, true, false, [1, 2]).is_continued());
        assert!(!Trace::begun(caller, false, false, [1, 2]).is_continued());
        assert!(!Trace::begun(None, true, false, [1, 2]).is_continued());
    }

    #[test]
    fn ids_are_never_all_zero() {
        assert!(!is_zero(&span_id(0)) && !is_zero(&Trace::restarted(None, false, [0, 0]).id));
    }

    #[test]
    fn a_tracestate_over_several_lines_is_one_list() {
        assert_eq!(tracestate(&["rojo=00f067aa0ba902b7"]).unwrap(), "rojo=00f067aa0ba902b7");
        assert_eq!(tracestate(&["rojo=1 , \tcongo=t6", "", "a@b=c d,,"]).unwrap(), "rojo=1,congo=t6,a@b=c d");
        assert_eq!(tracestate(&[]), None);
        assert_eq!(tracestate(&[" , "]), None);
    }

    #[test]
    fn a_malformed_member_drops_the_whole_tracestate() {
        for bad in ["a", "=b", "A=b", "a=", "a =b", "a=b=c", "_a=b", "a.b=c", "a=\u{e9}", "a=b\tc"] {
            assert_eq!(tracestate(&["good=1", bad]), None, "{bad}");
        }
        let long = "k".repeat(257);
        assert_eq!(tracestate(&[&format!("{long}=v")]), None);
        assert_eq!(tracestate(&[&format!("k={long}")]), None);
    }

    #[test]
    fn a_repeated_key_drops_the_whole_tracestate() {
        assert_eq!(tracestate(&["a=1,b=2", "a=3"]), None);
        assert_eq!(tracestate(&["a=1,ab=2"]).unwrap(), "a=1,ab=2");
        assert_eq!(tracestate(&["ab=2,a=1"]).unwrap(), "ab=2,a=1");
    }

    #[test]
    fn thirty_two_members_are_passed_and_one_more_drops_all() {
        let list = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(tracestate(&[&list(32)]), Some(list(32)));
        assert_eq!(tracestate(&[&list(33)]), None);
    }

    #[test]
    fn a_long_tracestate_loses_its_large_members_first() {
        let (large, medium) = (format!("l={}", "x".repeat(127)), "y".repeat(120));
        let list = format!("a={medium},{large},b={medium},c={medium},d={medium}");
        assert_eq!(tracestate(&[&list]).unwrap(), format!("a={medium},b={medium},c={medium},d={medium}"));
    }

    #[test]
    fn then_a_long_tracestate_loses_members_from_the_right() {
        let medium = "y".repeat(120);
        let list = format!("a={medium},b={medium},c={medium},d={medium},e={medium}");
        assert_eq!(tracestate(&[&list]).unwrap(), format!("a={medium},b={medium},c={medium},d={medium}"));
    }

    #[test]
    fn a_tracestate_of_512_characters_is_passed_whole() {
        let list = format!("a={},b={}", "x".repeat(250), "y".repeat(257 - 2));
        assert_eq!((list.len(), tracestate(&[&list])), (510, Some(list)));
    }

    proptest! {
        #[test]
        fn what_we_send_we_read_back(random in any::<[u64; 2]>(), span in any::<u64>(), sampled in any::<bool>()) {
            let trace = Trace::restarted(None, sampled, random);
            let read = Traceparent::of(std::iter::once(trace.traceparent(span_id(span)).as_slice())).unwrap();
            prop_assert_eq!((read.trace, read.parent, read.flags), (trace.id, span_id(span), trace.flags));
        }

        #[test]
        fn any_bytes_are_read_or_dropped_and_what_is_sent_is_bounded(
            lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4),
        ) {
            let mut out = Vec::new();
            append_tracestate(lines.iter().map(Vec::as_slice), &mut out);
            prop_assert!(out.len() <= TRACESTATE_BYTES_MAX);
            let _ = Traceparent::of(lines.iter().map(Vec::as_slice));
        }
    }
}
