//! Regular expressions that match a whole text in time linear in its length, with bounded memory, and the caches
//! that a shard keeps for them so that a match neither locks nor, once warm, allocates.

use std::sync::Arc;

use regex_automata::meta::{self, Cache};
use regex_automata::util::{primitives::NonMaxUsize, syntax};
use regex_automata::{Anchored, Input};

use super::PatternError;

/// Octets in the text of a regex.
const TEXT_BYTES_MAX: usize = 4 * 1024;
/// Memory of one compiled regex: what `\pL{100}` and the like may take.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Memory one shard keeps for the states of one regex; beyond, states are built again.
const CACHE_BYTES_MAX: usize = 256 * 1024;
/// Groups in a regex, the whole match included.
pub(super) const GROUPS_MAX: usize = 32;

/// What a regex is matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Alphabet {
    /// A canonical path: ASCII, so classes like `\w` are too.
    Path,
    /// A field or parameter value: any octets; classes know Unicode.
    Value,
}

/// A regex that is anchored at both ends.
#[derive(Clone, Debug)]
pub struct FullRegex {
    text: Box<str>,
    regex: Arc<meta::Regex>,
    alphabet: Alphabet,
    /// What every match begins with: sorts out most texts before the regex runs.
    prefix: Box<[u8]>,
    /// Its place among a scratch's caches, given when the table is built.
    slot: u32,
}

impl FullRegex {
    /// A regex over field and parameter values.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::compile(text, Alphabet::Value)
    }

    pub(super) fn compile(text: &str, alphabet: Alphabet) -> Result<Self, PatternError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(PatternError::new(
                TEXT_BYTES_MAX,
                "a regex has at most 4096 octets",
                "split it into several routes",
            ));
        }
        // On its own first: an unbalanced text could otherwise step out of the group around it.
        let alone = build(text, alphabet).map_err(|error| explain(&error, text))?;
        if alone.captures_len() > GROUPS_MAX {
            let hint = "make the groups that capture nothing of use `(?:…)`";
            return Err(PatternError::new(0, "a regex has at most 31 capturing groups", hint));
        }
        // The text is valid alone, so all that can fail now is a comment that swallows the closing bracket.
        let anchored = build(&format!(r"\A(?:{text})\z"), alphabet)
            .map_err(|_| PatternError::new(0, "a comment cannot end a regex", "put a line break behind it"))?;
        let prefix = literal_prefix(text).as_bytes().into();
        Ok(Self { text: text.into(), regex: Arc::new(anchored), alphabet, prefix, slot: 0 })
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What tells this regex from others.
    pub(super) fn key(&self) -> (Alphabet, &str) {
        (self.alphabet, &self.text)
    }

    /// Names of the groups by number; the whole match and unnamed groups have none.
    pub(super) fn group_names(&self) -> Vec<Option<Box<str>>> {
        let names = self.regex.group_info().pattern_names(regex_automata::PatternID::ZERO);
        names.map(|name| name.map(Box::from)).collect()
    }

    /// Takes a place among the caches; clones share it.
    pub(super) fn settle(&mut self, slot: u32) {
        self.slot = slot;
    }

    /// Its place among the caches, which tells it from the other regexes of its table.
    pub(super) fn slot(&self) -> u32 {
        self.slot
    }
}

impl PartialEq for FullRegex {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for FullRegex {}

/// Text that every match of a regex begins with, perhaps less than there is.
fn literal_prefix(text: &str) -> &str {
    // An alternative might begin with something else.
    if text.contains('|') {
        return "";
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_'))).unwrap_or(text.len());
    // The last character may be optional.
    let repeated = text[end..].starts_with(['*', '?', '+', '{']);
    &text[..end - usize::from(repeated && end > 0)]
}

#[expect(clippy::result_large_err, reason = "the error of another crate, turned into ours at once")]
fn build(text: &str, alphabet: Alphabet) -> Result<meta::Regex, meta::BuildError> {
    let config = meta::Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(COMPILED_BYTES_MAX))
        .onepass_size_limit(Some(COMPILED_BYTES_MAX))
        .hybrid_cache_capacity(CACHE_BYTES_MAX);
    let syntax = syntax::Config::new().utf8(false).unicode(alphabet == Alphabet::Value);
    meta::Regex::builder().configure(config).syntax(syntax).build(text)
}

/// Turns the compiler's several lines into one, and its caret into an offset.
fn explain(error: &meta::BuildError, text: &str) -> PatternError {
    if error.size_limit().is_some() {
        return PatternError::new(0, "the regex is too large once compiled", "lower its repetition counts");
    }
    let message = error.syntax_error().map(|error| error.to_string()).unwrap_or_default();
    let problem = message.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or("not a regex");
    let caret = message.lines().find(|line| line.contains('^') && line.trim_matches([' ', '^']).is_empty());
    let column = caret.and_then(|line| line.find('^')).map_or(0, |column| column.saturating_sub(CARET_INDENT));
    let at = text.char_indices().nth(column).map_or(0, |(at, _)| at);
    PatternError::new(
        at,
        problem.to_owned(),
        "see docs.rs/regex for the syntax; look-around and back-references are left out",
    )
}

/// The compiler prints the text, and the caret below it, indented by so much.
const CARET_INDENT: usize = 4;

/// One shard's memory for the regexes of one table, filled as they are first used.
#[derive(Debug, Default)]
pub(super) struct Caches {
    list: Vec<Option<Box<Cache>>>,
}

impl Caches {
    /// Forgets all and makes room for `count` regexes.
    pub(super) fn reset(&mut self, count: usize) {
        self.list.clear();
        self.list.resize_with(count, || None);
    }

    /// Whether `regex` matches all of `text`.
    pub(super) fn fits(&mut self, regex: &FullRegex, text: &[u8]) -> bool {
        if !text.starts_with(&regex.prefix) {
            return false;
        }
        let input = Input::new(text).anchored(Anchored::Yes).earliest(true);
        regex.regex.search_half_with(self.of(regex), &input).is_some()
    }

    /// Fills `slots` with the bounds of the groups of `regex` in `text`.
    pub(super) fn capture(&mut self, regex: &FullRegex, text: &[u8], slots: &mut [Option<NonMaxUsize>]) {
        let input = Input::new(text).anchored(Anchored::Yes);
        regex.regex.search_slots_with(self.of(regex), &input, slots);
    }

    fn of(&mut self, regex: &FullRegex) -> &mut Cache {
        self.list[regex.slot as usize].get_or_insert_with(|| Box::new(regex.regex.create_cache()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &[u8]) -> bool {
        let regex = FullRegex::parse(pattern).expect("a valid regex");
        let mut caches = Caches::default();
        caches.reset(1);
        caches.fits(&regex, text)
    }

    #[test]
    fn a_regex_matches_the_whole_text_or_not_at_all() {
        assert!(fits("a|ab", b"ab"));
        assert!(!fits("a|ab", b"xab"));
        assert!(!fits("a|ab", b"abx"));
        assert!(!fits("(?m)^a$", b"a\nb"));
        assert!(fits("", b""));
    }

    #[test]
    fn a_regex_cannot_step_out_of_its_anchors() {
        assert!(FullRegex::parse("a)|(b").is_err());
        let error = FullRegex::parse("(?x)a # letter").expect_err("the comment swallows the end");
        assert!(error.hint.contains("line break"));
        assert!(fits("(?x)a # letter\n", b"a"));
    }

    #[test]
    fn the_literal_prefix_of_a_regex_is_never_too_long() {
        let cases = [
            ("/svc1/v(?<v>[0-9]+)", "/svc1/v"),
            ("/ab?", "/a"),
            ("/ab{0,2}", "/a"),
            ("/a|b", ""),
            ("(?i)/a", ""),
            ("/a.b", "/a"),
            ("a*", ""),
            ("?", ""),
            ("/abc", "/abc"),
        ];
        for (text, prefix) in cases {
            assert_eq!(literal_prefix(text), prefix, "{text}");
        }
    }

    #[test]
    fn a_wrong_regex_is_explained_where_it_is_wrong() {
        let error = FullRegex::parse("ab(c").expect_err("unclosed");
        assert_eq!((error.at, error.problem.as_ref()), (2, "unclosed group"));
    }

    #[test]
    fn a_regex_that_grows_too_large_is_refused() {
        let error = FullRegex::parse(r"(\pL{500}){500}").expect_err("too large");
        assert!(error.problem.contains("too large"), "{error}");
    }
}
