//! YAML text to a tree whose every node knows its place.
//!
//! This file knows YAML and nothing of the model. The dialect is small on purpose: one document, text keys, no anchors,
//! aliases, tags or merge keys. What is wrong in one place is kept *in* the tree as [`Content::Broken`], so that it is
//! reported together with everything else about the object it stands in; only text that is no YAML at all fails as a whole.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle};

use super::finding::{FileId, Finding, Span};

/// Nodes of one file; 20,000 routes need about 600,000.
const NODES_MAX: u32 = 4_000_000;
/// Maps and lists inside each other; the model needs seven.
const DEPTH_MAX: usize = 48;
/// Up to here duplicates are searched by comparing, beyond by hashing.
const COMPARED_KEYS_MAX: usize = 16;

/// What YAML would read as structure inside `${…}`, and its stand-in while parsing, one character for one.
const STAND_INS: [(char, char); 6] =
    [('{', '\u{E000}'), ('}', '\u{E001}'), ('[', '\u{E002}'), (']', '\u{E003}'), (',', '\u{E004}'), ('#', '\u{E005}')];

/// A value with its place. `id` is unique within its file.
#[derive(Debug)]
pub(super) struct Node<'s> {
    pub id: u32,
    pub span: Span,
    pub content: Content<'s>,
}

#[derive(Debug)]
pub(super) enum Content<'s> {
    Scalar(Scalar<'s>),
    Sequence(Vec<Node<'s>>),
    Mapping(Vec<Entry<'s>>),
    /// Refused; the rest of the tree goes on without it.
    Broken(Box<Refusal>),
}

pub(super) struct Scalar<'s> {
    pub text: Cow<'s, str>,
    /// Written without quotes, so that it may be a number or a boolean.
    pub plain: bool,
    /// Came from outside by `${…}`: must not be shown.
    pub secret: bool,
}

impl std::fmt::Debug for Scalar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.secret { "(hidden)" } else { &self.text })
    }
}

#[derive(Debug)]
pub(super) struct Entry<'s> {
    pub key: Key<'s>,
    pub value: Node<'s>,
}

#[derive(Debug)]
pub(super) struct Key<'s> {
    pub text: Cow<'s, str>,
    pub span: Span,
}

/// Why a node was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub code: &'static str,
    pub span: Span,
    pub problem: String,
    pub hint: Cow<'static, str>,
    pub related: Option<(Span, &'static str)>,
}

impl Refusal {
    pub fn finding(&self, path: &str) -> Finding {
        let finding = Finding::error(self.code, self.span, path, &self.problem).hint(&*self.hint);
        match self.related {
            Some((span, message)) => finding.related(span, message),
            None => finding,
        }
    }
}

/// Exchanges the braces, brackets and commas of every `${…}` for stand-ins, so that it is plain text to YAML even in a
/// `{ flow: map }`. Columns stay. Fails if the text already holds a stand-in.
pub(super) fn fold(text: &str) -> Result<Cow<'_, str>, char> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    if let Some(taken) = text.chars().find(|c| STAND_INS.iter().any(|(_, stand_in)| stand_in == c)) {
        return Err(taken);
    }
    let mut folded = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        folded.push_str(&rest[..=start]);
        rest = &rest[start + 1..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let Some(end) = line.find('}') else {
            folded.push('{');
            rest = &rest[1..];
            continue;
        };
        folded.extend(rest[..=end].chars().map(stand_in));
        rest = &rest[end + 1..];
    }
    folded.push_str(rest);
    Ok(Cow::Owned(folded))
}

fn stand_in(c: char) -> char {
    STAND_INS.iter().find(|(plain, _)| *plain == c).map_or(c, |(_, stand_in)| *stand_in)
}

/// Undoes [`fold`] in one scalar.
fn unfold<'s>(text: Cow<'s, str>, folded: bool) -> Cow<'s, str> {
    if !folded || !text.contains('\u{E000}') {
        return text;
    }
    let restore = |c| STAND_INS.iter().find(|(_, stand_in)| *stand_in == c).map_or(c, |(plain, _)| *plain);
    Cow::Owned(text.chars().map(restore).collect())
}

/// Reads one document. `None` if the text holds nothing but comments.
pub(super) fn parse<'s>(text: &'s str, folded: bool, file: FileId) -> Result<Option<Node<'s>>, Finding> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { file, folded, next_id: 0, frames: Vec::new(), root: None };
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| builder.syntax(&error))?;
        let span = builder.span(&span);
        builder.event(event, span)?;
    }
    Ok(builder.root)
}

struct Builder<'s> {
    file: FileId,
    folded: bool,
    next_id: u32,
    frames: Vec<Frame<'s>>,
    root: Option<Node<'s>>,
}

/// An open map or list.
struct Frame<'s> {
    id: u32,
    span: Span,
    refused: Option<Box<Refusal>>,
    kind: Open<'s>,
}

enum Open<'s> {
    Sequence(Vec<Node<'s>>),
    Mapping(Vec<Entry<'s>>, Option<Key<'s>>),
}

impl<'s> Builder<'s> {
    fn event(&mut self, event: Event<'s>, span: Span) -> Result<(), Finding> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text = unfold(text, self.folded);
                if self.key_is_next() {
                    return self.key(text, span);
                }
                let refused = property(anchor, tag.is_some(), span);
                let scalar = Scalar { text, plain: style == ScalarStyle::Plain, secret: false };
                let content = refused.map_or(Content::Scalar(scalar), Content::Broken);
                let id = self.id(span)?;
                self.value(Node { id, span, content })
            }
            Event::SequenceStart(_, anchor, tag) => self.open(span, anchor, tag.is_some(), Open::Sequence(Vec::new())),
            Event::MappingStart(_, anchor, tag) => {
                self.open(span, anchor, tag.is_some(), Open::Mapping(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(_) | Event::UnresolvedAlias(_) => self.alias(span),
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Finding::error("yaml-syntax", span, "", "a second YAML document begins here")
                    .hint("keep one document per file; a folder may hold several files"))
            }
            _ => Ok(()),
        }
    }

    fn id(&mut self, span: Span) -> Result<u32, Finding> {
        let id = self.next_id;
        self.next_id += 1;
        if id < NODES_MAX {
            return Ok(id);
        }
        let problem = format!("the file holds more than {NODES_MAX} values");
        Err(Finding::error("too-large", span, "", problem).hint("use a folder of several files"))
    }

    fn key_is_next(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { kind: Open::Mapping(_, None), .. }))
    }

    fn key(&mut self, text: Cow<'s, str>, span: Span) -> Result<(), Finding> {
        if let Some(Frame { kind: Open::Mapping(_, key), .. }) = self.frames.last_mut() {
            *key = Some(Key { text, span });
        }
        Ok(())
    }

    fn open(&mut self, span: Span, anchor: usize, tagged: bool, kind: Open<'s>) -> Result<(), Finding> {
        if self.key_is_next() {
            return Err(Finding::error("yaml-syntax", span, "", "a key must be text, not a map or a list")
                .hint("text that begins with `{` or `[` needs quotes"));
        }
        if self.frames.len() >= DEPTH_MAX {
            let problem = format!("nested more than {DEPTH_MAX} levels deep");
            return Err(Finding::error("too-large", span, "", problem).hint("no key of the model is so deep"));
        }
        let id = self.id(span)?;
        self.frames.push(Frame { id, span, refused: property(anchor, tagged, span), kind });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Finding> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let mut span = frame.span;
        if end.line == span.line && end.end_column > span.column {
            span.end_column = end.end_column;
        }
        let content = match (frame.refused, frame.kind) {
            (Some(refused), _) => Content::Broken(refused),
            (None, Open::Sequence(items)) => Content::Sequence(items),
            (None, Open::Mapping(mut entries, _)) => {
                refuse_duplicates(&mut entries);
                Content::Mapping(entries)
            }
        };
        self.value(Node { id: frame.id, span, content })
    }

    fn alias(&mut self, span: Span) -> Result<(), Finding> {
        let refusal = Refusal {
            code: "yaml-alias",
            span,
            problem: "anchors and aliases are not supported".into(),
            hint: "write the value out, or name it once at the level above, where it is inherited".into(),
            related: None,
        };
        if self.key_is_next() {
            return Err(refusal.finding(""));
        }
        let id = self.id(span)?;
        self.value(Node { id, span, content: Content::Broken(Box::new(refusal)) })
    }

    fn value(&mut self, mut node: Node<'s>) -> Result<(), Finding> {
        match self.frames.last_mut().map(|frame| &mut frame.kind) {
            None => self.root = Some(node),
            Some(Open::Sequence(items)) => items.push(node),
            Some(Open::Mapping(entries, key)) => {
                if let Some(key) = key.take() {
                    refuse_merge_key(&key, &mut node);
                    entries.push(Entry { key, value: node });
                }
            }
        }
        Ok(())
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span {
            file: self.file,
            line: number(span.start.line()),
            column: number(span.start.col() + 1),
            end_line: number(span.end.line()),
            end_column: number(span.end.col() + 1),
        }
    }

    fn syntax(&self, error: &granit_parser::ScanError) -> Finding {
        let at = granit_parser::Span::empty(*error.marker());
        let finding = Finding::error("yaml-syntax", self.span(&at), "", format!("this is not YAML: {}", error.info()));
        finding.hint(
            "check indentation and brackets at and before this place; text that begins with `*`, or holds `{`, `[`, `: ` or \
             ` #`, needs quotes",
        )
    }
}

/// Anchors and tags change what a node means elsewhere; neither is part of our dialect.
fn property(anchor: usize, tagged: bool, span: Span) -> Option<Box<Refusal>> {
    let (code, problem, hint) = match (anchor, tagged) {
        (0, false) => return None,
        (0, true) => ("yaml-tag", "tags are not supported", "remove the `!tag`; quotes make a value text"),
        _ => ("yaml-alias", "anchors and aliases are not supported", "remove the `&anchor` and write the value out"),
    };
    Some(Box::new(Refusal { code, span, problem: problem.into(), hint: hint.into(), related: None }))
}

fn refuse_merge_key(key: &Key<'_>, node: &mut Node<'_>) {
    if key.text == "<<" {
        node.content = Content::Broken(Box::new(Refusal {
            code: "yaml-alias",
            span: key.span,
            problem: "merge keys are not supported".into(),
            hint: "write the keys out, or name them once at the level above, where they are inherited".into(),
            related: None,
        }));
    }
}

fn refuse_duplicates(entries: &mut [Entry<'_>]) {
    if entries.len() <= COMPARED_KEYS_MAX {
        for later in 1..entries.len() {
            let (before, rest) = entries.split_at_mut(later);
            if let Some(first) = before.iter().find(|entry| entry.key.text == rest[0].key.text) {
                refuse_duplicate(first.key.span, &mut rest[0]);
            }
        }
        return;
    }
    let mut seen: HashMap<String, Span> = HashMap::with_capacity(entries.len());
    for entry in entries {
        match seen.get(&*entry.key.text) {
            Some(first) => refuse_duplicate(*first, entry),
            None => drop(seen.insert(entry.key.text.clone().into_owned(), entry.key.span)),
        }
    }
}

fn refuse_duplicate(first: Span, entry: &mut Entry<'_>) {
    entry.value.content = Content::Broken(Box::new(Refusal {
        code: "duplicate-key",
        span: entry.key.span,
        problem: format!("`{}` is written twice", entry.key.text),
        hint: "keep one of the two".into(),
        related: Some((first, "first written here")),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node<'_> {
        parse(text, false, FileId::default()).unwrap().unwrap()
    }

    fn entries<'a, 's>(node: &'a Node<'s>) -> &'a [Entry<'s>] {
        let Content::Mapping(entries) = &node.content else { panic!("not a mapping: {node:?}") };
        entries
    }

    #[test]
    fn every_key_and_value_knows_its_line_and_column() {
        let root = tree("a: 1\nüb: { c: \"x y\" }\n");
        let second = &entries(&root)[1];
        assert_eq!((second.key.span.line, second.key.span.column, second.key.span.end_column), (2, 1, 3));
        let inner = &entries(&second.value)[0];
        assert_eq!((inner.value.span.line, inner.value.span.column, inner.value.span.end_column), (2, 10, 15));
    }

    #[test]
    fn a_key_written_twice_is_refused_and_the_first_kept() {
        let root = tree("a: 1\nb: 2\na: 3\n");
        assert!(matches!(&entries(&root)[0].value.content, Content::Scalar(s) if s.text == "1"));
        let Content::Broken(refusal) = &entries(&root)[2].value.content else { panic!() };
        assert_eq!((refusal.code, refusal.span.line, refusal.related.unwrap().0.line), ("duplicate-key", 3, 1));
    }

    #[test]
    fn a_duplicate_is_found_in_a_long_map_too() {
        let mut text: String = (0..100).map(|n| format!("k{n}: 1\n")).collect();
        text.push_str("k50: 2\n");
        let root = tree(&text);
        assert!(matches!(entries(&root)[100].value.content, Content::Broken(_)));
    }

    #[test]
    fn anchors_aliases_tags_and_merge_keys_are_refused_in_place() {
        let root = tree("a: &x 1\nb: *x\nc: !t 1\n<<: { d: 1 }\ne: 1\n");
        let broken = |entry: &Entry<'_>| matches!(entry.value.content, Content::Broken(_));
        assert_eq!(entries(&root).iter().map(broken).collect::<Vec<_>>(), [true, true, true, true, false]);
    }

    #[test]
    fn text_that_is_not_yaml_points_at_its_place() {
        let finding = parse("a: [1\nb: 2\n", false, FileId::default()).unwrap_err();
        assert_eq!(finding.code, "yaml-syntax");
        assert!(finding.span.line >= 1);
    }

    #[test]
    fn a_host_that_begins_with_a_star_is_told_to_be_quoted() {
        let finding = parse("host: *.example.com\n", false, FileId::default()).unwrap_err();
        assert!(finding.hint.unwrap().contains("begins with `*`"));
    }

    #[test]
    fn a_second_document_is_refused() {
        let finding = parse("a: 1\n---\nb: 2\n", false, FileId::default()).unwrap_err();
        assert_eq!(finding.span.line, 2);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = ["[".repeat(100), "]".repeat(100)].concat();
        let finding = parse(&text, false, FileId::default()).unwrap_err();
        assert_eq!(finding.code, "too-large");
    }

    #[test]
    fn the_nodes_of_a_file_are_bounded() {
        let mut builder =
            Builder { file: FileId::default(), folded: false, next_id: NODES_MAX - 1, frames: Vec::new(), root: None };
        assert!(builder.id(Span::default()).is_ok());
        assert_eq!(builder.id(Span::default()).unwrap_err().code, "too-large");
    }

    #[test]
    fn braces_of_a_reference_survive_a_flow_map() {
        let text = "a: { b: ${X:-[1,2]}, c: \"${Y}\" } # ${Z}\n";
        let folded = fold(text).unwrap();
        assert_eq!(folded.chars().count(), text.chars().count());
        let root = parse(&folded, true, FileId::default()).unwrap().unwrap();
        let inner = entries(&entries(&root)[0].value);
        let text = |entry: &Entry<'_>| match &entry.value.content {
            Content::Scalar(scalar) => scalar.text.clone().into_owned(),
            _ => panic!(),
        };
        assert_eq!(inner.iter().map(text).collect::<Vec<_>>(), ["${X:-[1,2]}", "${Y}"]);
    }

    #[test]
    fn nothing_but_comments_is_nothing() {
        assert!(parse("# nothing\n", false, FileId::default()).unwrap().is_none());
    }
}
