//! The request target (RFC 9112, section 3.2) and the one canonical form of its path (RFC 3986, section 6.2.2).
//!
//! Routing, authorisation, cache key, logs and the forwarded request all use the canonical form, so that no rule is
//! evaluated on one spelling while the upstream acts on another. Nothing is ever decoded twice. Knows no routes.

use super::window::{every, every_pair};
use super::{Method, Span};
use crate::base::word::position;

/// The four forms of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A path and an optional query: the usual form.
    Origin,
    /// A whole `http` or `https` URI; its authority replaces Host (RFC 9112, section 3.2.2).
    Absolute,
    /// `host:port`, for CONNECT only.
    Authority,
    /// `*`, for OPTIONS only.
    Asterisk,
}

/// The scheme of a URI we serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The port meant when none is written.
    #[inline]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The name in lower case.
    #[inline]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where a canonical text stands: in the received bytes if they were canonical already, else in the caller's vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canonical {
    Received(Span),
    Written(Span),
}

impl Canonical {
    /// The text; `received` and `written` are those it was made with.
    #[inline]
    pub fn of<'a>(self, received: &'a [u8], written: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Received(span) => span.of(received),
            Self::Written(span) => span.of(written),
        }
    }

    /// The text that stands in `written` from `start` on; it moves back to `received` if it says the same.
    pub(super) fn settle(received: &[u8], at: Span, written: &mut Vec<u8>, start: usize) -> Self {
        if written[start..] == *at.of(received) {
            written.truncate(start);
            return Self::Received(at);
        }
        Self::Written(Span::new(start, written.len()))
    }
}

/// Why a target is refused. All of these are the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// None of the four forms, or one that the method does not take.
    Form,
    /// An absolute-form with a scheme other than `http` and `https`.
    Scheme,
    /// `%` without two hexadecimal digits behind it.
    Escape,
    /// `%00`.
    Nul,
    /// A raw octet that may not stand there.
    Octet,
    /// An encoded backslash.
    Backslash,
    /// A `#`: fragments are never sent (RFC 9110, section 7.1).
    Fragment,
    /// More `..` than there are segments.
    AboveRoot,
    /// A segment that begins with `..;`, which some servers read as `..`.
    DotsWithParameter,
    /// An encoded slash on a route that does not keep them; reported by the route, never by [`Target::parse`].
    EncodedSlash,
}

impl TargetError {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        400
    }

    /// The word for logs and problem types.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Form => "target-form",
            Self::Scheme => "target-scheme",
            Self::Escape => "target-escape",
            Self::Nul => "target-nul",
            Self::Octet => "target-octet",
            Self::Backslash => "target-backslash",
            Self::Fragment => "target-fragment",
            Self::AboveRoot => "target-above-root",
            Self::DotsWithParameter => "target-dots-with-parameter",
            Self::EncodedSlash => "target-encoded-slash",
        }
    }
}

/// A checked request target. Its spans count from the start of the target, not of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub form: Form,
    /// The scheme, where the target has one.
    pub scheme: Option<Scheme>,
    /// The authority, where the target has one; not yet checked (see [`super::authority`]).
    pub authority: Option<Span>,
    /// The canonical path; `*` for the asterisk-form, empty for the authority-form.
    pub path: Canonical,
    /// The query without its `?`, passed on byte for byte; an empty one is not the same as none.
    pub query: Option<Span>,
    /// Whether the path as received holds `%2F`, which is refused unless the route keeps it.
    pub encoded_slash: bool,
}

impl Target {
    /// Checks the target of a request with this method. A path that is not canonical as received is appended to
    /// `written` in its canonical form, which is never longer.
    #[inline]
    pub fn parse(method: Method, target: &[u8], written: &mut Vec<u8>) -> Result<Self, TargetError> {
        match (method, target) {
            (Method::Connect, _) => authority_form(target),
            (_, [b'/', ..]) => with_path(target, 0, written),
            (Method::Options, b"*") => Ok(asterisk_form(None, None, Canonical::Received(Span::new(0, 1)))),
            _ => absolute_form(method, target, written),
        }
    }

    /// Whether the target as received is the origin-form to send.
    #[inline]
    pub fn is_canonical(&self) -> bool {
        self.form == Form::Origin && matches!(self.path, Canonical::Received(_))
    }

    /// Appends the path and, where there is one, `?` and the query: the origin-form to send.
    pub fn append_origin_form(&self, received: &[u8], written: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.path.of(received, written));
        if let Some(query) = self.query {
            out.push(b'?');
            out.extend_from_slice(query.of(received));
        }
    }
}

fn asterisk_form(scheme: Option<Scheme>, authority: Option<Span>, path: Canonical) -> Target {
    Target { form: Form::Asterisk, scheme, authority, path, query: None, encoded_slash: false }
}

/// RFC 9112, section 3.2.3. What stands there is checked with the authority.
fn authority_form(target: &[u8]) -> Result<Target, TargetError> {
    if target.is_empty() || target.iter().any(|octet| matches!(octet, b'/' | b'?' | b'#' | b'*')) {
        return Err(TargetError::Form);
    }
    Ok(Target {
        form: Form::Authority,
        scheme: None,
        authority: Some(Span::new(0, target.len())),
        path: Canonical::Received(Span::default()),
        query: None,
        encoded_slash: false,
    })
}

/// RFC 9112, section 3.2.2.
fn absolute_form(method: Method, target: &[u8], written: &mut Vec<u8>) -> Result<Target, TargetError> {
    let (scheme, start) = scheme(target)?;
    let length = target[start..].iter().position(|octet| matches!(octet, b'/' | b'?' | b'#'));
    let end = length.map_or(target.len(), |length| start + length);
    if target.get(end) == Some(&b'#') {
        return Err(TargetError::Fragment);
    }
    let (scheme, authority) = (Some(scheme), Some(Span::new(start, end)));
    // RFC 9112, section 3.2.4: OPTIONS on a URI without path and query asks about the server as a whole.
    if method == Method::Options && end == target.len() {
        let at = written.len();
        written.push(b'*');
        return Ok(asterisk_form(scheme, authority, Canonical::Written(Span::new(at, at + 1))));
    }
    Ok(Target { form: Form::Absolute, scheme, authority, ..with_path(target, end, written)? })
}

/// The scheme and where the authority begins.
fn scheme(target: &[u8]) -> Result<(Scheme, usize), TargetError> {
    for (scheme, prefix) in [(Scheme::Http, b"http://".as_slice()), (Scheme::Https, b"https://")] {
        if target.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)) {
            return Ok((scheme, prefix.len()));
        }
    }
    let has_scheme = target.windows(3).any(|window| window == b"://");
    Err(if has_scheme { TargetError::Scheme } else { TargetError::Form })
}

/// The target whose path begins at `start`; no path at all means the root (RFC 9110, section 4.2.3).
#[inline]
fn with_path(target: &[u8], start: usize, written: &mut Vec<u8>) -> Result<Target, TargetError> {
    let end = position(target, start, b'?');
    let query = (end < target.len()).then(|| Span::new(end + 1, target.len()));
    if let Some(query) = query {
        check_query(query.of(target))?;
    }
    let at = Span::new(start, end);
    let (path, encoded_slash) = match is_plain(at.of(target)) {
        true => (Canonical::Received(at), false),
        false => canonical_path(target, at, written)?,
    };
    Ok(Target { form: Form::Origin, scheme: None, authority: None, path, query, encoded_slash })
}

/// No octet of the query may end the request line early or be read differently by the next hop.
#[inline]
fn check_query(query: &[u8]) -> Result<(), TargetError> {
    let fits = |octet: u8| (octet.wrapping_sub(b'!') <= b'~' - b'!') & (octet != b'#');
    if every(query, fits) { Ok(()) } else { Err(refused(query)) }
}

#[cold]
fn refused(query: &[u8]) -> TargetError {
    if query.contains(&b'#') { TargetError::Fragment } else { TargetError::Octet }
}

/// Whether a path is canonical at first sight, as nearly every path is: not empty, only [`is_common`] octets, no `//`,
/// and no segment that begins with a dot. Others may still turn out canonical, the long way.
#[inline]
fn is_plain(path: &[u8]) -> bool {
    let fits = |octet: u8, next: u8| is_common(octet) & !((octet == b'/') & (next | 1 == b'/'));
    !path.is_empty() && every_pair(path, b'a', fits)
}

/// Most octets that may stand in a path: all but `!`, `$`, `[` and `]` of the plain ones, for fewer comparisons.
#[inline]
const fn is_common(octet: u8) -> bool {
    ((octet | 0x20).wrapping_sub(b'a') < 26)
        | (octet.wrapping_sub(b'&') <= b';' - b'&') // `&'()*+,-./`, the digits, `:` and `;`
        | (octet == b'_')
        | (octet == b'=')
        | (octet == b'@')
        | (octet == b'~')
}

/// What an octet means in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Octet {
    Plain,
    Percent,
    Fragment,
    Refused,
}

static OCTETS: [Octet; 256] = octet_table();

const fn octet_table() -> [Octet; 256] {
    let mut table = [Octet::Refused; 256];
    let mut octet = b'!';
    while octet <= b'~' {
        table[octet as usize] = match octet {
            b'%' => Octet::Percent,
            b'#' => Octet::Fragment,
            b'"' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => Octet::Refused,
            _ => Octet::Plain,
        };
        octet += 1;
    }
    table
}

/// The long way: decodes, removes dot segments, merges slashes, in this order. Also says whether `%2F` is in it.
#[cold]
fn canonical_path(target: &[u8], at: Span, written: &mut Vec<u8>) -> Result<(Canonical, bool), TargetError> {
    let start = written.len();
    let encoded_slash = append_path(at.of(target), written).inspect_err(|_| written.truncate(start))?;
    merge_slashes(written, start);
    Ok((Canonical::settle(target, at, written, start), encoded_slash))
}

/// Appends the path without its dot segments (RFC 3986, section 5.2.4), empty segments still counting as segments.
fn append_path(path: &[u8], out: &mut Vec<u8>) -> Result<bool, TargetError> {
    let root = out.len();
    let mut encoded_slash = false;
    let mut segments = path.split(|&octet| octet == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let slash = out.len();
        out.push(b'/');
        encoded_slash |= append_segment(segment, out)?;
        match &out[slash + 1..] {
            b"." => out.truncate(slash),
            b".." => {
                out.truncate(slash);
                pop_segment(out, root)?;
            }
            [b'.', b'.', b';', ..] | [b'.', b'.', b'%', b'3', b'B', ..] => return Err(TargetError::DotsWithParameter),
            _ => continue,
        }
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
    if out.len() == root {
        out.push(b'/');
    }
    Ok(encoded_slash)
}

fn pop_segment(out: &mut Vec<u8>, root: usize) -> Result<(), TargetError> {
    let slash = out[root..].iter().rposition(|&octet| octet == b'/').ok_or(TargetError::AboveRoot)?;
    out.truncate(root + slash);
    Ok(())
}

/// Appends one segment, its unreserved characters decoded, all other escapes in upper case (RFC 3986, section 6.2.2).
fn append_segment(mut segment: &[u8], out: &mut Vec<u8>) -> Result<bool, TargetError> {
    let mut encoded_slash = false;
    while let [octet, rest @ ..] = segment {
        segment = rest;
        match OCTETS[*octet as usize] {
            Octet::Plain => out.push(*octet),
            Octet::Fragment => return Err(TargetError::Fragment),
            Octet::Refused => return Err(TargetError::Octet),
            Octet::Percent => {
                let ([high, low], rest) = segment.split_first_chunk().ok_or(TargetError::Escape)?;
                segment = rest;
                encoded_slash |= append_escape(*high, *low, out)?;
            }
        }
    }
    Ok(encoded_slash)
}

/// Appends what an escape stands for, or the escape; says whether it stands for a slash.
fn append_escape(high: u8, low: u8, out: &mut Vec<u8>) -> Result<bool, TargetError> {
    let digits = crate::base::hex::value(high).zip(crate::base::hex::value(low));
    let (high_value, low_value) = digits.ok_or(TargetError::Escape)?;
    match high_value << 4 | low_value {
        0 => Err(TargetError::Nul),
        b'\\' => Err(TargetError::Backslash),
        octet if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~') => {
            out.push(octet);
            Ok(false)
        }
        octet => {
            out.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
            Ok(octet == b'/')
        }
    }
}

/// Replaces each run of slashes behind `start` by one.
fn merge_slashes(out: &mut Vec<u8>, start: usize) {
    let mut end = start;
    for at in start..out.len() {
        let repeated = out[at] == b'/' && end > start && out[end - 1] == b'/';
        if !repeated {
            out[end] = out[at];
            end += 1;
        }
    }
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(target: &str) -> Result<(String, Target), TargetError> {
        parse_bytes(target.as_bytes())
    }

    fn parse_bytes(target: &[u8]) -> Result<(String, Target), TargetError> {
        let mut written = b"before".to_vec();
        let parsed = Target::parse(Method::Get, target, &mut written)?;
        Ok((String::from_utf8(parsed.path.of(target, &written).to_vec()).unwrap(), parsed))
    }

    fn path(target: &str) -> String {
        parse(target).unwrap().0
    }

    fn error(target: &str) -> TargetError {
        parse(target).unwrap_err()
    }

    #[test]
    fn a_canonical_path_is_a_range_of_what_was_received() {
        for target in ["/", "/v1/orders/42", "/a.b/c..d/~x;y=1/@:!$&'()*+,=[]", "/.well-known/x", "/a%20b/%C3%A9%25"] {
            let (path, parsed) = parse(target).unwrap();
            assert_eq!(path, target);
            assert!(matches!(parsed.path, Canonical::Received(_)), "{target} was copied");
        }
    }

    #[test]
    fn an_octet_common_at_first_sight_is_plain_the_long_way() {
        for octet in 0..=u8::MAX {
            let plain = OCTETS[octet as usize] == Octet::Plain;
            assert_eq!(is_common(octet), plain && !b"!$[]".contains(&octet), "{octet:#x}");
        }
    }

    #[test]
    fn slashes_and_dots_are_noticed_wherever_they_meet() {
        for length in 1..70 {
            let plain = format!("/{}", "p".repeat(length));
            assert!(is_plain(plain.as_bytes()));
            for place in 0..length {
                for joint in ["//", "/."] {
                    let mut path = plain.clone();
                    path.replace_range(place..place + 2, joint);
                    assert!(!is_plain(path.as_bytes()), "{path}");
                }
                let mut path = plain.clone();
                path.replace_range(place + 1..place + 2, "%");
                assert!(!is_plain(path.as_bytes()), "{path}");
            }
        }
    }

    #[test]
    fn escaped_unreserved_characters_are_decoded_and_other_escapes_are_upper_case() {
        assert_eq!(path("/%61dmin%2d%5f%7e"), "/admin-_~");
        assert_eq!(path("/a%3ab%c3%a9"), "/a%3Ab%C3%A9");
    }

    #[test]
    fn nothing_is_decoded_twice() {
        assert_eq!(path("/%2561dmin"), "/%2561dmin");
        assert_eq!(path("/a/%252e%252e/b"), "/a/%252e%252e/b");
    }

    #[test]
    fn dot_segments_are_removed_as_rfc_3986_shows() {
        // RFC 3986, section 5.2.4.
        assert_eq!(path("/a/b/c/./../../g"), "/a/g");
        for (target, expected) in [("/.", "/"), ("/a/.", "/a/"), ("/a/..", "/"), ("/a/b/..", "/a/"), ("/a/../b", "/b")]
        {
            assert_eq!(path(target), expected);
        }
    }

    #[test]
    fn encoded_dots_are_dots() {
        for target in ["/a/%2e%2e/admin", "/a/.%2E/admin", "/a/%2e./%2e/admin"] {
            assert_eq!(path(target), "/admin");
        }
    }

    #[test]
    fn repeated_slashes_are_merged_after_dot_segments_are_removed() {
        assert_eq!(path("//admin///x//"), "/admin/x/");
        assert_eq!(path("/a//../b"), "/a/b");
        assert_eq!(path("//.."), "/");
    }

    #[test]
    fn climbing_above_the_root_is_refused() {
        for target in ["/..", "/../a", "/a/../..", "/%2e%2e/", "/./..", "/a/b/../../../c"] {
            assert_eq!(error(target), TargetError::AboveRoot, "{target}");
        }
    }

    #[test]
    fn dots_with_a_path_parameter_are_refused_in_every_spelling() {
        for target in ["/a/..;/b", "/..;x=1/b", "/%2e%2e;/", "/a/..%3b/b", "/a/.%2e%3Bx"] {
            assert_eq!(error(target), TargetError::DotsWithParameter, "{target}");
        }
        assert_eq!(path("/a;x/b...;y"), "/a;x/b...;y");
    }

    #[test]
    fn broken_escapes_nul_and_backslash_are_refused() {
        for target in ["/%", "/a%2", "/%zz", "/%2/0", "/a?b/../%"] {
            let outcome = parse(target);
            assert!(outcome == Err(TargetError::Escape) || target.contains('?'), "{target}");
        }
        assert_eq!(error("/a%00"), TargetError::Nul);
        assert_eq!(error("/a%5cb"), TargetError::Backslash);
        assert_eq!(error("/a%5Cb"), TargetError::Backslash);
    }

    #[test]
    fn raw_octets_outside_the_grammar_are_refused_wherever_they_stand() {
        let padding = "p".repeat(40);
        for octet in (0..=b' ').chain(0x7f..=0xff).chain(*b"\"<>\\^`{|}") {
            for place in 0..=40 {
                let mut target = format!("/{padding}").into_bytes();
                target.insert(1 + place, octet);
                assert_eq!(parse_bytes(&target).unwrap_err(), TargetError::Octet, "{octet:#x} at {place}");
            }
        }
    }

    #[test]
    fn a_fragment_is_refused_in_path_and_query() {
        for target in ["/a#b", "/a?b#c", "/#", "http://h#x", "/a?0123456789abcdef#"] {
            assert_eq!(error(target), TargetError::Fragment, "{target}");
        }
    }

    #[test]
    fn an_encoded_slash_stays_and_is_reported() {
        let (path, parsed) = parse("/a%2fb/%2F").unwrap();
        assert_eq!((path.as_str(), parsed.encoded_slash), ("/a%2Fb/%2F", true));
        assert!(!parse("/a%2Eb").unwrap().1.encoded_slash);
    }

    #[test]
    fn the_query_is_split_off_and_never_normalised() {
        let target = "/a/./b?x=%61&y=/../%zz?\"<>{|}";
        let (path, parsed) = parse(target).unwrap();
        assert_eq!(path, "/a/b");
        assert_eq!(parsed.query.unwrap().of(target.as_bytes()), b"x=%61&y=/../%zz?\"<>{|}");
        assert_eq!(parse("/a?").unwrap().1.query, Some(Span::new(3, 3)));
        assert_eq!(parse("/a").unwrap().1.query, None);
    }

    #[test]
    fn raw_controls_spaces_and_non_ascii_octets_are_refused_in_a_query() {
        for octet in (0..=b' ').chain(0x7f..=0xff) {
            for place in 0..20 {
                let mut target = b"/?0123456789abcdefghij".to_vec();
                target[2 + place] = octet;
                assert_eq!(parse_bytes(&target).unwrap_err(), TargetError::Octet, "{octet:#x} at {place}");
            }
        }
    }

    #[test]
    fn an_absolute_form_gives_scheme_authority_path_and_query() {
        let target = "HTTPS://example.com:8443/a/../b?q";
        let (path, parsed) = parse(target).unwrap();
        assert_eq!((path.as_str(), parsed.form, parsed.scheme), ("/b", Form::Absolute, Some(Scheme::Https)));
        assert_eq!(parsed.authority.unwrap().of(target.as_bytes()), b"example.com:8443");
        assert_eq!(parsed.query.unwrap().of(target.as_bytes()), b"q");
    }

    #[test]
    fn an_absolute_form_without_a_path_means_the_root() {
        assert_eq!(path("http://example.com"), "/");
        assert_eq!(path("http://example.com?q"), "/");
        assert_eq!(parse("http://example.com?q").unwrap().1.query, Some(Span::new(19, 20)));
    }

    #[test]
    fn other_schemes_and_shapeless_targets_are_refused() {
        assert_eq!(error("ftp://example.com/"), TargetError::Scheme);
        for target in ["", "*", "a", "example.com:80", "http:/a", "?q", " /"] {
            assert_eq!(error(target), TargetError::Form, "{target}");
        }
    }

    #[test]
    fn the_asterisk_is_for_options_only() {
        let mut written = Vec::new();
        let parsed = Target::parse(Method::Options, b"*", &mut written).unwrap();
        assert_eq!((parsed.form, parsed.path.of(b"*", &written)), (Form::Asterisk, b"*".as_slice()));
    }

    #[test]
    fn options_on_a_uri_without_a_path_asks_about_the_whole_server() {
        // RFC 9112, section 3.2.4.
        let (target, mut written) = (b"http://www.example.org:8001", Vec::new());
        let parsed = Target::parse(Method::Options, target, &mut written).unwrap();
        assert_eq!((parsed.form, parsed.path.of(target, &written)), (Form::Asterisk, b"*".as_slice()));
        assert_eq!(parsed.authority.unwrap().of(target), b"www.example.org:8001");
    }

    #[test]
    fn connect_takes_an_authority_and_nothing_else() {
        let parsed = Target::parse(Method::Connect, b"example.com:443", &mut Vec::new()).unwrap();
        assert_eq!((parsed.form, parsed.authority), (Form::Authority, Some(Span::new(0, 15))));
        for target in ["", "/", "*", "http://example.com/"] {
            let outcome = Target::parse(Method::Connect, target.as_bytes(), &mut Vec::new());
            assert_eq!(outcome, Err(TargetError::Form), "{target}");
        }
    }

    #[test]
    fn the_origin_form_to_send_is_canonical_path_and_query() {
        let (target, mut written, mut out) = (b"/a//b?x=1", Vec::new(), Vec::new());
        let parsed = Target::parse(Method::Get, target, &mut written).unwrap();
        parsed.append_origin_form(target, &written, &mut out);
        assert_eq!(out, b"/a/b?x=1");
    }

    #[test]
    fn a_refused_path_leaves_nothing_behind() {
        let mut written = b"before".to_vec();
        assert!(Target::parse(Method::Get, b"/a/b/%zz", &mut written).is_err());
        assert_eq!(written, b"before");
    }

    /// Paths made of the pieces that matter, so that most runs meet several of them.
    fn paths() -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(vec![
            "/",
            "/",
            "//",
            ".",
            "..",
            "a",
            "abc",
            "0123456789abcdef",
            "%2e",
            "%2E",
            "%2f",
            "%25",
            "%61",
            "%c3",
            ";",
            "~",
        ]);
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn the_canonical_form_of_a_canonical_form_is_itself_uncopied(target in paths()) {
            if let Ok((canonical, first)) = parse(&target) {
                let (again, second) = parse(&canonical).unwrap();
                prop_assert_eq!(&again, &canonical);
                prop_assert!(matches!(second.path, Canonical::Received(_)));
                prop_assert!(first.encoded_slash || !second.encoded_slash);
            }
        }

        #[test]
        fn a_canonical_path_has_no_second_spelling(target in paths()) {
            if let Ok((canonical, _)) = parse(&target) {
                for spelling in ["//", "/./", "/../", "%2E", "%61", "%2f", "%c3"] {
                    prop_assert!(!canonical.contains(spelling), "{} in {}", spelling, canonical);
                }
                prop_assert!(canonical.starts_with('/') && canonical.len() <= target.len());
                prop_assert!(!canonical.ends_with("/.") && !canonical.ends_with("/.."));
            }
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(target in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Target::parse(Method::Options, &target, &mut Vec::new());
        }
    }
}
