//! The tree to typed values, through serde, with every mistake found and not only the first.
//!
//! serde stops at the first error. So [`typed`] notes it, sets the entry it stands in aside and tries again, until the
//! object is sound or its mistakes are all told. An error that only follows from an entry set aside is not told.
//!
//! Scalars are strict: `"5"` is text, `5` is a number, and only `true` and `false` are booleans. A message never repeats
//! a value that came from `${…}`.

use std::fmt;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor};

use super::finding::{Finding, Span};
use super::shape::ONE_OR_MANY;
use super::spanned::SPANNED;
use super::suggest::nearest;
use super::tree::{Content, Entry, Key, Node, Scalar};

/// Mistakes told per object; the rest appears when these are mended.
pub(super) const OBJECT_FINDINGS_MAX: usize = 100;

/// A value of type `T` from `node`, without the parts that are wrong: it is whole if there are no `findings`. `None` comes
/// with at least one of these, perhaps one that was there already.
pub(super) fn typed<T: de::DeserializeOwned>(
    node: &Node<'_>,
    key: Span,
    path: &str,
    findings: &mut Vec<Finding>,
) -> Option<T> {
    let mut aside = Vec::new();
    while findings.len() < OBJECT_FINDINGS_MAX {
        let mut failure = match T::deserialize(At { node, aside: &aside }) {
            Ok(value) => return Some(value),
            Err(failure) => *failure.0,
        };
        let place = failure.place.take().unwrap_or(Place { id: node.id, span: node.span, secret: false });
        if !failure.consequential {
            findings.push(failure.finding(&place, node, key, path));
        }
        if place.id == node.id || aside.contains(&place.id) || aside.len() >= OBJECT_FINDINGS_MAX {
            return None;
        }
        aside.push(place.id);
    }
    None
}

/// A node and the entries to pass over.
#[derive(Clone, Copy)]
struct At<'t, 's> {
    node: &'t Node<'s>,
    aside: &'t [u32],
}

impl<'t, 's> At<'t, 's> {
    fn is_aside(&self, node: &Node<'_>) -> bool {
        matches!(node.content, Content::Broken(_)) || self.aside.contains(&node.id)
    }

    fn place(&self) -> Place {
        let secret = matches!(&self.node.content, Content::Scalar(scalar) if scalar.secret);
        Place { id: self.node.id, span: self.node.span, secret }
    }

    fn scalar<'de, V: Visitor<'de>>(&self, scalar: &Scalar<'_>, visitor: V) -> Result<V::Value, Failure> {
        let text = &*scalar.text;
        match plain_value(scalar) {
            Plain::Null => Err(Failure::new(Problem::Null)),
            Plain::Bool(value) => visitor.visit_bool(value),
            Plain::Unsigned(value) => visitor.visit_u64(value),
            Plain::Signed(value) => visitor.visit_i64(value),
            Plain::Float(value) => visitor.visit_f64(value),
            Plain::Text => visitor.visit_str(text),
        }
    }

    fn sequence<'de, V: Visitor<'de>>(self, items: &'t [Node<'s>], visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_seq(Items { at: self, items, index: 0 })
    }

    fn mapping<'de, V: Visitor<'de>>(self, entries: &'t [Entry<'s>], visitor: V) -> Result<V::Value, Failure> {
        if entries.is_empty() {
            return Err(Failure::new(Problem::Empty));
        }
        let mut access = Entries { at: self, entries, index: 0 };
        let value = visitor.visit_map(&mut access)?;
        match access.peek() {
            None => Ok(value),
            Some(entry) => Err(access.failed(Failure::new(Problem::Surplus), entry, true)),
        }
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let result = match &self.node.content {
            Content::Scalar(scalar) => self.scalar(scalar, visitor),
            Content::Sequence(items) => self.sequence(items, visitor),
            Content::Mapping(entries) => self.mapping(entries, visitor),
            Content::Broken(_) => Err(Failure::new(Problem::Broken)),
        };
        result.map_err(|failure| self.located(failure))
    }

    /// Text, whatever it looks like when it came from outside; a map or a list goes to the visitor as it is.
    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.content {
            Content::Scalar(scalar) if scalar.secret => {
                visitor.visit_str(&scalar.text).map_err(|failure| self.located(failure))
            }
            _ => self.any(visitor),
        }
    }

    /// Gives the failure its place, if it has none, and decides whether it only follows from entries set aside.
    fn located(&self, mut failure: Failure) -> Failure {
        if failure.0.place.is_none() {
            failure.0.place = Some(self.place());
            failure.0.consequential = self.follows(&failure.0.problem);
        }
        failure
    }

    fn follows(&self, problem: &Problem) -> bool {
        match (&self.node.content, problem) {
            (Content::Mapping(entries), Problem::Missing(field)) => entries
                .iter()
                .filter(|entry| self.is_aside(&entry.value))
                .any(|entry| entry.key.text == *field || nearest(&entry.key.text, [*field]).is_some()),
            (Content::Mapping(entries), _) => entries.iter().any(|entry| self.is_aside(&entry.value)),
            (Content::Sequence(items), _) => items.iter().any(|item| self.is_aside(item)),
            (Content::Broken(_), _) => true,
            (Content::Scalar(_), _) => false,
        }
    }
}

enum Plain {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text,
}

/// The YAML 1.2 core schema, for decimal numbers.
fn plain_value(scalar: &Scalar<'_>) -> Plain {
    let text = &*scalar.text;
    if !scalar.plain {
        return Plain::Text;
    }
    match text {
        // An empty variable is empty text, not a forgotten value.
        "" | "~" | "null" | "Null" | "NULL" if !scalar.secret => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.as_bytes().first().is_some_and(|b| b.is_ascii_digit() || *b == b'.') {
        return Plain::Text;
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let integer = text.parse().map(Plain::Unsigned).or_else(|_| text.parse().map(Plain::Signed));
        return integer.unwrap_or_else(|_| text.parse().map_or(Plain::Text, Plain::Float));
    }
    let float = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if float { text.parse().map_or(Plain::Text, Plain::Float) } else { Plain::Text }
}

macro_rules! forward_to_any {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.any(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for At<'_, '_> {
    type Error = Failure;

    forward_to_any! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_seq deserialize_map
        deserialize_unit deserialize_bytes deserialize_byte_buf
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.text(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self).map_err(|failure| self.located(failure))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        self.any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        let result = match (name, &self.node.content) {
            (SPANNED, _) => visitor.visit_seq(WithPlace { place: Some(self.place()), value: Some(self) }),
            (ONE_OR_MANY, Content::Sequence(_)) => self.any(visitor),
            (ONE_OR_MANY, _) => visitor.visit_seq(One(Some(self))),
            _ => visitor.visit_newtype_struct(self),
        };
        result.map_err(|failure| self.located(failure))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.any(visitor).map_err(|failure| failure.offering(keys, self.node.id))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let result = match &self.node.content {
            Content::Scalar(scalar) => match plain_value(scalar) {
                Plain::Null => Err(Failure::new(Problem::Null)),
                _ => visitor.visit_enum(StrDeserializer::new(&scalar.text)),
            },
            Content::Mapping(entries) => {
                let mut access = Entries { at: self, entries, index: 0 };
                let as_enum = de::value::MapAccessDeserializer::new(&mut access);
                visitor.visit_enum(as_enum).and_then(|value| match access.peek() {
                    None => Ok(value),
                    Some(entry) => Err(access.failed(Failure::new(Problem::Surplus), entry, true)),
                })
            }
            _ => return self.any(visitor).map_err(|failure| failure.offering(words, self.node.id)),
        };
        result.map_err(|failure| self.located(failure))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }
}

struct Items<'t, 's> {
    at: At<'t, 's>,
    items: &'t [Node<'s>],
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        while let Some(node) = self.items.get(self.index) {
            let index = self.index;
            self.index += 1;
            if self.at.is_aside(node) {
                continue;
            }
            let at = At { node, aside: self.at.aside };
            return seed.deserialize(at).map(Some).map_err(|failure| at.located(failure).inside(Step::Index(index)));
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.index)
    }
}

struct Entries<'t, 's> {
    at: At<'t, 's>,
    entries: &'t [Entry<'s>],
    index: usize,
}

impl<'t, 's> Entries<'t, 's> {
    fn peek(&mut self) -> Option<&'t Entry<'s>> {
        while let Some(entry) = self.entries.get(self.index) {
            if !self.at.is_aside(&entry.value) {
                return Some(entry);
            }
            self.index += 1;
        }
        None
    }

    /// Places a failure of the entry: on its key, or on its value, which is also the key when the value is absent.
    fn failed(&self, mut failure: Failure, entry: &Entry<'_>, on_key: bool) -> Failure {
        let at = At { node: &entry.value, aside: self.at.aside };
        if on_key && failure.0.place.is_none() {
            failure.0.place = Some(Place { span: entry.key.span, ..at.place() });
        }
        let mut failure = at.located(failure);
        let about_the_whole = matches!(failure.0.problem, Problem::Null | Problem::Missing(_) | Problem::Empty);
        if let Some(place) = &mut failure.0.place
            && about_the_whole
            && place.id == entry.value.id
        {
            place.span = entry.key.span;
        }
        failure.inside(Step::Key(entry.key.text.clone().into_owned()))
    }
}

impl<'de> de::MapAccess<'de> for &mut Entries<'_, '_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some(entry) = self.peek() else {
            return Ok(None);
        };
        seed.deserialize(AtKey(&entry.key)).map(Some).map_err(|failure| self.failed(failure, entry, true))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some(entry) = self.peek() else {
            return Err(Failure::new(Problem::Broken));
        };
        self.index += 1;
        let at = At { node: &entry.value, aside: self.at.aside };
        seed.deserialize(at).map_err(|failure| self.failed(failure, entry, false))
    }
}

/// A key: always text.
struct AtKey<'t, 's>(&'t Key<'s>);

impl<'de> Deserializer<'de> for AtKey<'_, '_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_str(&self.0.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        if name != SPANNED {
            return visitor.visit_newtype_struct(self);
        }
        let place = Place { id: 0, span: self.0.span, secret: false };
        visitor.visit_seq(WithPlace { place: Some(place), value: Some(self) })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_enum(StrDeserializer::new(&self.0.text))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

/// A single value where a list may stand.
struct One<'t, 's>(Option<At<'t, 's>>);

impl<'de> de::SeqAccess<'de> for One<'_, '_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        self.0.take().map(|at| seed.deserialize(at).map_err(|failure| at.located(failure))).transpose()
    }
}

/// First the place, as six numbers, then the value.
struct WithPlace<D> {
    place: Option<Place>,
    value: Option<D>,
}

impl<'de, D: Deserializer<'de, Error = Failure>> de::SeqAccess<'de> for WithPlace<D> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        if let Some(Place { span, secret, .. }) = self.place.take() {
            let numbers =
                [u32::from(span.file.0), span.line, span.column, span.end_line, span.end_column, u32::from(secret)];
            return seed.deserialize(SeqDeserializer::new(numbers.into_iter())).map(Some);
        }
        self.value.take().map(|value| seed.deserialize(value)).transpose()
    }
}

/// Why typing stopped; boxed, because it travels up through every level.
pub(super) struct Failure(Box<Stop>);

struct Stop {
    problem: Problem,
    place: Option<Place>,
    /// Innermost first.
    path: Vec<Step>,
    consequential: bool,
}

struct Place {
    id: u32,
    span: Span,
    secret: bool,
}

enum Step {
    Key(String),
    Index(usize),
}

enum Problem {
    Type {
        found: String,
        expected: String,
        allowed: &'static [&'static str],
    },
    UnknownKey {
        key: String,
        allowed: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        allowed: &'static [&'static str],
    },
    Missing(&'static str),
    Twice(&'static str),
    Null,
    Empty,
    Surplus,
    Broken,
    /// From a visitor: the problem, and after a line break the hint.
    Other(String),
}

impl Failure {
    fn new(problem: Problem) -> Self {
        Self(Box::new(Stop { problem, place: None, path: Vec::new(), consequential: false }))
    }

    /// Adds what might have been written instead, if the node itself is of the wrong type.
    fn offering(mut self, words: &'static [&'static str], id: u32) -> Self {
        if let Problem::Type { allowed, .. } = &mut self.0.problem
            && self.0.place.as_ref().is_some_and(|place| place.id == id)
        {
            *allowed = words;
        }
        self
    }

    fn inside(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }
}

impl Stop {
    fn finding(self, place: &Place, root: &Node<'_>, key: Span, path: &str) -> Finding {
        let about_the_whole = matches!(self.problem, Problem::Null | Problem::Missing(_) | Problem::Empty);
        let span = if place.id == root.id && about_the_whole { key } else { place.span };
        let mut path = path.to_owned();
        for step in self.path.iter().rev() {
            path = match step {
                Step::Key(key) => super::finding::join(&path, key),
                Step::Index(index) => super::finding::join(&path, &format!("[{index}]")),
            };
        }
        let (code, problem, hint) = self.problem.told(place.secret);
        let finding = Finding::error(code, span, path, problem);
        match hint {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }
}

impl Problem {
    /// Code, problem and hint.
    fn told(self, secret: bool) -> (&'static str, String, Option<String>) {
        match self {
            Self::Type { found, expected, allowed } => wrong_type(&found, &expected, allowed, secret),
            Self::UnknownKey { key, allowed } => {
                let hint = did_you_mean(&key, allowed, "allowed here", false);
                ("unknown-key", format!("unknown key `{key}`"), Some(hint))
            }
            Self::UnknownWord { word, allowed } => {
                let problem = if secret { "unknown word".into() } else { format!("unknown word `{word}`") };
                ("unknown-word", problem, Some(did_you_mean(&word, allowed, "possible are", secret)))
            }
            Self::Missing(key) => ("missing-key", format!("the key `{key}` is missing"), Some(format!("add `{key}:`"))),
            Self::Twice(key) => ("duplicate-key", format!("`{key}` is written twice"), Some("keep one".into())),
            Self::Null => {
                ("empty-key", "this key has no value".into(), Some("give it a value, or remove the key".into()))
            }
            Self::Empty => ("empty-key", "this map is empty".into(), Some("fill it, or remove the key".into())),
            Self::Surplus => {
                ("one-of", "only one of these keys may be written".into(), Some("keep the one that is meant".into()))
            }
            Self::Broken => ("bad-value", "this value cannot be read".into(), Some("see docs/configuration.md".into())),
            Self::Other(message) => match message.split_once('\n') {
                Some((problem, hint)) => ("bad-value", problem.into(), Some(hint.into())),
                None => ("bad-value", message, None),
            },
        }
    }
}

fn did_you_mean(word: &str, allowed: &[&'static str], or: &str, secret: bool) -> String {
    let near = if secret { None } else { nearest(word, allowed.iter().copied()) };
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{or}: {}", allowed.join(", ")),
    }
}

fn wrong_type(
    found: &str,
    expected: &str,
    allowed: &[&'static str],
    secret: bool,
) -> (&'static str, String, Option<String>) {
    let found = if secret { "another value" } else { found };
    let hint = type_hint(found, expected, allowed);
    let (found, expected) = (in_our_words(found), in_our_words(expected));
    ("wrong-type", format!("expected {expected}, found {found}"), Some(hint))
}

fn type_hint(found: &str, expected: &str, allowed: &[&'static str]) -> String {
    let scalar = ["integer", "floating", "boolean"].iter().any(|kind| found.starts_with(kind));
    if found.starts_with("string") && expected.contains("boolean") {
        "write `true` or `false`, without quotes".into()
    } else if found.starts_with("string") && is_number(expected) {
        "write the number without quotes".into()
    } else if scalar && (expected.contains("string") || expected.contains("`\"")) {
        "put it in quotes".into()
    } else if expected.starts_with("enum ") && !allowed.is_empty() {
        format!("possible are: {}", allowed.join(", "))
    } else if !allowed.is_empty() {
        format!("write a map; its keys are: {}", allowed.join(", "))
    } else if expected.contains("sequence") {
        "write a list: `[…]`".into()
    } else if expected.contains("map") {
        "write a map: `{ key: value }`".into()
    } else {
        "see docs/configuration.md".into()
    }
}

fn is_number(expected: &str) -> bool {
    let rust_names = ["u8", "u16", "u32", "u64", "i64", "usize", "f64"];
    rust_names.contains(&expected) || expected.contains("number")
}

/// serde speaks of Rust's types; operators do not.
fn in_our_words(text: &str) -> String {
    if is_number(text) {
        return if text.contains("number") { text.to_owned() } else { "a whole number".to_owned() };
    }
    let text = if text.starts_with("struct ") { "a map" } else { text };
    let text = if text.starts_with("enum ") { "one of several words" } else { text };
    let words = [
        ("sequence", "a list"),
        ("map", "a map"),
        ("a sequence", "a list"),
        ("unit value", "no value"),
        ("unit", "the word alone"),
        ("unit variant", "the word alone"),
        ("newtype variant", "a map with this key"),
    ];
    if let Some((_, ours)) = words.iter().find(|(theirs, _)| *theirs == text) {
        return (*ours).to_owned();
    }
    let text = text.strip_prefix("integer ").map_or_else(|| text.to_owned(), |number| format!("the number {number}"));
    let text =
        text.strip_prefix("floating point ").map_or_else(|| text.clone(), |number| format!("the number {number}"));
    text.replace("a string", "text").replace("string ", "the text ").replace("boolean `", "the boolean `")
}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Problem::Type { found: found.to_string(), expected: expected.to_string(), allowed: &[] })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Self {
        Self::new(Problem::Type {
            found: "another number of values".into(),
            expected: expected.to_string(),
            allowed: &[],
        })
    }

    fn unknown_variant(word: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownWord { word: word.to_owned(), allowed })
    }

    fn unknown_field(key: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { key: key.to_owned(), allowed })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Problem::Missing(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::new(Problem::Twice(key))
    }
}

/// Says nothing of the value: whoever prints a failure by accident prints no secret.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value does not fit")
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl<'de> IntoDeserializer<'de, Failure> for At<'_, '_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
