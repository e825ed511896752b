//! Path predicates: patterns, prefixes and regexes, parsed once.

use super::PatternError;
use super::canonical;
use super::regex::{Alphabet, FullRegex};

/// Parameters of one path at most.
pub const PARAMETERS_MAX: usize = 16;
/// Segments of one pattern or prefix at most: the depth of a lookup.
pub const SEGMENTS_MAX: usize = 64;
/// Octets in the name of a parameter.
const NAME_BYTES_MAX: usize = 64;

/// Which paths a route answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    pub(super) shape: Shape,
    parameters: Box<[Box<str>]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Segments {
        segments: Box<[Segment]>,
        end: End,
    },
    /// With the group number of each parameter.
    Regex {
        regex: FullRegex,
        groups: Box<[u16]>,
    },
}

/// One step of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// This text; empty only at the end, for a trailing slash.
    Literal(Box<str>),
    /// One segment that is not empty.
    Parameter,
}

/// What follows the segments of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing.
    Here,
    /// A slash and anything.
    Rest,
    /// Nothing, or a slash and anything.
    Prefix,
}

impl PathPattern {
    /// A pattern for the whole path, with `{name}` for a segment and a trailing `{*name}` for the rest.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut parser = Parser::default();
        let segments = check_slashes(text)?;
        parser.segments(segments)?;
        Ok(parser.finish(text, End::Here))
    }

    /// Exactly this path, without parameters. A canonical path holds no braces, so neither may this.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        if let Some(at) = text.find(['{', '}']) {
            return Err(PatternError::new(at, "no request path holds a brace", "write `path: \"…\"` for a pattern"));
        }
        Self::parse(text)
    }

    /// A prefix by whole segments; `{name}` may stand in it, a trailing slash means nothing.
    pub fn prefix(text: &str) -> Result<Self, PatternError> {
        let mut parser = Parser::default();
        let segments = check_slashes(text)?;
        parser.segments(segments.strip_suffix('/').unwrap_or(segments))?;
        if parser.rest {
            let at = text.rfind("{*").unwrap_or_default();
            return Err(PatternError::new(at, "a prefix takes the rest already", "leave the `{*…}` segment out"));
        }
        // The root has one segment, the empty one behind its slash, which as a prefix is no condition.
        if parser.segments.last() == Some(&Segment::Literal("".into())) {
            parser.segments.pop();
        }
        Ok(parser.finish(text, End::Prefix))
    }

    /// A regex for the whole path; its named groups are parameters.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        let regex = FullRegex::compile(text, Alphabet::Path)?;
        let mut parameters = Vec::new();
        let mut groups = Vec::new();
        for (group, name) in regex.group_names().into_iter().enumerate() {
            if let Some(name) = name {
                parameters.push(name);
                groups.push(group as u16);
            }
        }
        if parameters.len() > PARAMETERS_MAX {
            return Err(PatternError::new(
                0,
                "a path has at most 16 parameters",
                "make the groups you do not use `(?:…)`",
            ));
        }
        let shape = Shape::Regex { regex, groups: groups.into() };
        Ok(Self { text: text.into(), shape, parameters: parameters.into() })
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names of the parameters from left to right; the position is the index of the captured value.
    pub fn parameters(&self) -> &[Box<str>] {
        &self.parameters
    }

    /// Whether a rewrite replaces the prefix only, and what follows it is kept.
    pub fn is_prefix(&self) -> bool {
        matches!(self.shape, Shape::Segments { end: End::Prefix, .. })
    }

    /// Whether one path only fits.
    pub(super) fn is_exact(&self) -> bool {
        match &self.shape {
            Shape::Segments { segments, end: End::Here } => !segments.contains(&Segment::Parameter),
            _ => false,
        }
    }

    /// The segment (from 1) at which `path` leaves this pattern, or none if it fits. A regex differs at 0: as a whole.
    pub(super) fn differs(&self, path: &[u8], mut regex_fits: impl FnMut(&FullRegex) -> bool) -> Option<usize> {
        match &self.shape {
            Shape::Regex { regex, .. } => (!regex_fits(regex)).then_some(0),
            Shape::Segments { segments, end } => segments_differ(segments, *end, path),
        }
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.shape {
            Shape::Regex { .. } => write!(f, "regex {}", self.text),
            Shape::Segments { end: End::Prefix, .. } => write!(f, "prefix {}", self.text),
            Shape::Segments { .. } => f.write_str(&self.text),
        }
    }
}

fn segments_differ(segments: &[Segment], end: End, path: &[u8]) -> Option<usize> {
    let Some(path) = path.strip_prefix(b"/") else { return Some(1) };
    let mut given = path.split(|&octet| octet == b'/');
    for (at, wanted) in segments.iter().enumerate() {
        let fits = given.next().is_some_and(|segment| match wanted {
            Segment::Literal(text) => text.as_bytes() == segment,
            Segment::Parameter => !segment.is_empty(),
        });
        if !fits {
            return Some(at + 1);
        }
    }
    let fits = match end {
        End::Here => given.next().is_none(),
        End::Rest => given.next().is_some(),
        End::Prefix => true,
    };
    (!fits).then_some(segments.len() + 1)
}

/// What follows the leading slash. Slashes are not doubled anywhere.
fn check_slashes(text: &str) -> Result<&str, PatternError> {
    if let Some(at) = text.find("//") {
        let fault = canonical::Fault::EmptySegment;
        return Err(PatternError::new(at + 1, fault.problem(), fault.hint()));
    }
    text.strip_prefix('/').ok_or_else(|| PatternError::new(0, "a path begins with a slash", format!("write `/{text}`")))
}

#[derive(Default)]
struct Parser {
    segments: Vec<Segment>,
    parameters: Vec<Box<str>>,
    rest: bool,
}

impl Parser {
    /// Takes the segments of a text that stood behind the leading slash.
    fn segments(&mut self, text: &str) -> Result<(), PatternError> {
        let mut at = 1;
        for segment in text.split('/') {
            if self.rest {
                return Err(PatternError::new(at, "nothing can follow `{*…}`", "move it to the end"));
            }
            if self.segments.len() == SEGMENTS_MAX {
                return Err(PatternError::new(at, "a path has at most 64 segments", "use a prefix or `{*rest}`"));
            }
            self.segment(segment).map_err(|error| error.shifted(at))?;
            at += segment.len() + 1;
        }
        Ok(())
    }

    fn segment(&mut self, text: &str) -> Result<(), PatternError> {
        if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            return self.parameter(inner);
        }
        check_literal(text)?;
        self.segments.push(Segment::Literal(text.into()));
        Ok(())
    }

    fn parameter(&mut self, inner: &str) -> Result<(), PatternError> {
        let (name, offset) = match inner.strip_prefix('*') {
            Some(name) => (name, 2),
            None => (inner, 1),
        };
        check_name(name).map_err(|error| error.shifted(offset))?;
        if self.parameters.iter().any(|known| **known == *name) {
            return Err(PatternError::new(
                offset,
                format!("the name `{name}` is taken"),
                "give each parameter its own",
            ));
        }
        if self.parameters.len() == PARAMETERS_MAX {
            return Err(PatternError::new(0, "a path has at most 16 parameters", "use `{*rest}` for what follows"));
        }
        self.parameters.push(name.into());
        match offset {
            2 => self.rest = true,
            _ => self.segments.push(Segment::Parameter),
        }
        Ok(())
    }

    fn finish(self, text: &str, end: End) -> PathPattern {
        let end = if self.rest { End::Rest } else { end };
        let shape = Shape::Segments { segments: self.segments.into(), end };
        PathPattern { text: text.into(), shape, parameters: self.parameters.into() }
    }
}

fn check_literal(text: &str) -> Result<(), PatternError> {
    if let Some(at) = text.find(['{', '}']) {
        let hint = "write `{name}` between two slashes, or use `regex`";
        return Err(PatternError::new(at, "a parameter takes a whole segment", hint));
    }
    if matches!(text, "*" | "**") {
        return Err(PatternError::new(
            0,
            format!("`{text}` is no wildcard here"),
            "write `{name}` for a segment, `{*rest}` for the rest",
        ));
    }
    match canonical::fault(text.as_bytes()) {
        Some((at, fault)) => Err(PatternError::new(at, fault.problem(), fault.hint())),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), PatternError> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
    if starts && goes_on && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(PatternError::new(
        0,
        "not a name for a parameter",
        "use letters, digits and `_`, beginning with a letter, at most 64",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(pattern: &str, path: &str) -> Option<usize> {
        PathPattern::parse(pattern).expect("a valid pattern").differs(path.as_bytes(), |_| false)
    }

    fn prefix_fits(prefix: &str, path: &str) -> bool {
        PathPattern::prefix(prefix).expect("a valid prefix").differs(path.as_bytes(), |_| false).is_none()
    }

    #[test]
    fn a_parameter_is_one_segment_that_is_not_empty() {
        assert_eq!(differs("/a/{id}", "/a/b"), None);
        assert_eq!(differs("/a/{id}", "/a/"), Some(2));
        assert_eq!(differs("/a/{id}", "/a"), Some(2));
        assert_eq!(differs("/a/{id}", "/a/b/c"), Some(3));
    }

    #[test]
    fn a_trailing_slash_is_significant() {
        assert_eq!(differs("/a", "/a/"), Some(2));
        assert_eq!(differs("/a/", "/a/"), None);
        assert_eq!(differs("/a/", "/a"), Some(2));
        assert_eq!(differs("/{id}/", "/x/"), None);
        assert_eq!(differs("/", "/"), None);
    }

    #[test]
    fn the_rest_may_be_empty_but_its_slash_may_not_be_missing() {
        assert_eq!(differs("/a/{*rest}", "/a/"), None);
        assert_eq!(differs("/a/{*rest}", "/a/b/c"), None);
        assert_eq!(differs("/a/{*rest}", "/a"), Some(2));
        assert_eq!(differs("/{*rest}", "/"), None);
    }

    #[test]
    fn a_prefix_matches_by_segment() {
        assert!(prefix_fits("/a", "/a"));
        assert!(prefix_fits("/a", "/a/"));
        assert!(prefix_fits("/a", "/a/b"));
        assert!(!prefix_fits("/a", "/ab"));
        assert!(prefix_fits("/a/", "/a"));
        assert!(prefix_fits("/", "/"));
        assert!(prefix_fits("/", "/x/y"));
        assert!(prefix_fits("/t/{tenant}", "/t/acme/x"));
        assert!(!prefix_fits("/t/{tenant}", "/t/"));
    }

    #[test]
    fn parameters_are_named_from_left_to_right() {
        let pattern = PathPattern::parse("/{a}/x/{b}/{*c}").expect("a valid pattern");
        assert_eq!(pattern.parameters().iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b", "c"]);
        let pattern = PathPattern::regex("/(?<a>[0-9]+)(x)?/(?<b>.*)").expect("a valid regex");
        assert_eq!(pattern.parameters().iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_wrong_pattern_is_explained_where_it_is_wrong() {
        let cases = [
            ("a", 0, "`/a`"),
            ("/v{n}", 2, "regex"),
            ("/a/*", 3, "{*rest}"),
            ("/{*rest}/b", 9, "end"),
            ("/{a}/{a}", 6, "its own"),
            ("/{}", 2, "letters"),
            ("/a//b", 3, "one slash"),
            ("//", 1, "one slash"),
            ("//a", 1, "one slash"),
            ("/a/../b", 3, "without them"),
            ("/a/x y", 4, "%20"),
            ("/%2f", 1, "%2F"),
            ("/a?b=c", 2, "query"),
        ];
        for (text, at, hint) in cases {
            let error = PathPattern::parse(text).expect_err(text);
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.hint.contains(hint), "{text}: {error}");
        }
        assert_eq!(PathPattern::prefix("/a/{*rest}").expect_err("rest in a prefix").at, 3);
        assert_eq!(PathPattern::prefix("/a//").expect_err("a doubled slash").at, 3);
    }
}
