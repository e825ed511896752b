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
const HIDDEN: &str = "(hidden)";

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

    #[test]
    fn a_secret_value_is_never_shown() {
        let secret = Spanned { value: "s3cret".to_owned(), span: Span::default(), secret: true };
        assert_eq!(format!("{secret:?} {}", secret.shown()), "(hidden) (hidden)");
        assert_eq!(format!("{:?}", Some(vec![secret])), "Some([(hidden)])");
    }
}
