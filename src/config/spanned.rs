//! A value that knows where it was written, and whether it may be shown.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::finding::{FileId, Span};

/// The name by which [`Spanned`] asks the deserializer for the place of its value.
pub(super) const SPANNED: &str = "$tidegate::Spanned";
/// What stands in any output for a value that came from `${…}`.
pub const HIDDEN: &str = "(hidden)";

/// Text with its place.
pub type Text = Spanned<String>;

/// A value with its place. Equality is that of the values, wherever they stand.
#[derive(Clone, Default)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
    /// The value came from `${…}`; [`fmt::Debug`] and [`Spanned::shown`] hide it.
    pub secret: bool,
}

impl<T> Spanned<T> {
    /// A value that nobody wrote, such as a default.
    pub fn unwritten(value: T) -> Self {
        Self { value, span: Span::default(), secret: false }
    }

    /// The value for a message: as it is, or `(hidden)`.
    pub fn shown(&self) -> impl fmt::Display + '_
    where
        T: fmt::Display,
    {
        Shown(self)
    }

    /// Another value at the same place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span, secret: self.secret }
    }
}

impl Text {
    /// The place of the character at byte `offset`, if the text stands in its file as it is: on one line, without escapes
    /// and references. Else the place of the whole.
    pub fn place_of(&self, offset: usize) -> Span {
        let (span, length) = (self.span, self.value.chars().count());
        let quotes = (span.end_column.saturating_sub(span.column) as usize).checked_sub(length);
        let (Some(before), Some(quotes @ (0 | 2))) = (self.value.get(..offset), quotes) else { return span };
        if self.secret || span.line != span.end_line {
            return span;
        }
        let at = u32::try_from(before.chars().count() + quotes / 2).unwrap_or(u32::MAX);
        let column = span.column.saturating_add(at);
        Span { column, end_column: column.saturating_add(1), ..span }
    }
}

struct Shown<'a, T>(&'a Spanned<T>);

impl<T: fmt::Display> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.secret { f.write_str(HIDDEN) } else { self.0.value.fmt(f) }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret { f.write_str(HIDDEN) } else { self.value.fmt(f) }
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SPANNED, SpannedVisitor(PhantomData))
    }
}

struct SpannedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
    type Value = Spanned<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let absent = || de::Error::custom("a value without its place");
        let [file, line, column, end_line, end_column, secret]: [u32; 6] = access.next_element()?.ok_or_else(absent)?;
        let value = access.next_element()?.ok_or_else(absent)?;
        let file = FileId(u16::try_from(file).unwrap_or(u16::MAX));
        Ok(Spanned { value, span: Span { file, line, column, end_line, end_column }, secret: secret != 0 })
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str, column: u32, end_column: u32) -> Text {
        let span = Span { line: 3, end_line: 3, column, end_column, ..Span::default() };
        Spanned { value: value.to_owned(), span, secret: false }
    }

    #[test]
    fn a_place_within_a_text_counts_its_characters_and_its_quote() {
        let columns = |text: &Text, offset| {
            let place = text.place_of(offset);
            (place.column, place.end_column)
        };
        assert_eq!(columns(&text("/a/b", 10, 14), 2), (12, 13));
        assert_eq!(columns(&text("/ä/b", 10, 16), 3), (13, 14));
        assert_eq!(columns(&text("/a", 10, 14), 2), (13, 14));
    }

    #[test]
    fn the_place_within_a_text_that_is_written_otherwise_is_that_of_the_whole() {
        let escaped = text("/a/b", 10, 19);
        assert_eq!(escaped.place_of(2), escaped.span);
        let mut folded = text("/a/b", 10, 14);
        folded.span.end_line = 4;
        assert_eq!(folded.place_of(2), folded.span);
        let secret = Spanned { secret: true, ..text("/a/b", 10, 14) };
        assert_eq!(secret.place_of(2), secret.span);
        let text = text("/a", 10, 12);
        assert_eq!(text.place_of(3), text.span);
    }

    #[test]
    fn a_secret_value_is_never_shown() {
        let secret = Spanned { value: "s3cret".to_owned(), span: Span::default(), secret: true };
        assert_eq!(format!("{secret:?} {}", secret.shown()), "(hidden) (hidden)");
        assert_eq!(format!("{:?}", Some(vec![secret])), "Some([(hidden)])");
    }
}
