//! Shapes of the model: one or many, named entries in their order, and the shorthand of one word for a whole map.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::spanned::{Spanned, Text};

/// One value or a list of at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<Spanned<T>>);

impl<T> Default for OneOrMany<T> {
    /// None at all, where the key is absent.
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    pub fn iter(&self) -> std::slice::Iter<'_, Spanned<T>> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a, T> IntoIterator for &'a OneOrMany<T> {
    type Item = &'a Spanned<T>;
    type IntoIter = std::slice::Iter<'a, Spanned<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Form(values) = deserializer.deserialize_newtype_struct(ONE_OR_MANY, FormVisitor(PhantomData))?;
        Ok(Self(values))
    }
}

/// The name by which [`OneOrMany`] asks for a list of one where there is no list.
pub(super) const ONE_OR_MANY: &str = "$tidegate::OneOrMany";

struct Form<T>(Vec<Spanned<T>>);

struct FormVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FormVisitor<T> {
    type Value = Form<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value or a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Form<T>, A::Error> {
        let values = Vec::<Spanned<T>>::deserialize(SeqAccessDeserializer::new(access))?;
        if values.is_empty() {
            return Err(de::Error::custom("this list is empty\nfill it, or remove the key"));
        }
        Ok(Form(values))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one.clone(), { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// Named entries in the order they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<K, T>(pub Vec<(Spanned<K>, T)>);

impl<K, T> Default for Entries<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, T> Entries<K, T> {
    pub fn iter(&self) -> std::slice::Iter<'_, (Spanned<K>, T)> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a, K, T> IntoIterator for &'a Entries<K, T> {
    type Item = &'a (Spanned<K>, T);
    type IntoIter = std::slice::Iter<'a, (Spanned<K>, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de, K: Deserialize<'de>, T: Deserialize<'de>> Deserialize<'de> for Entries<K, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<K, T>(PhantomData<(K, T)>);

impl<'de, K: Deserialize<'de>, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<K, T> {
    type Value = Entries<K, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key()? {
            entries.push((key, access.next_value()?));
        }
        Ok(Entries(entries))
    }
}

impl<K: JsonSchema, T: JsonSchema> JsonSchema for Entries<K, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        let key = generator.subschema_for::<K>();
        json_schema!({ "type": "object", "additionalProperties": value, "propertyNames": key, "minProperties": 1 })
    }
}

/// A map that may be written as one word.
pub(super) trait Shorthand: Sized {
    /// The map as it is written in full.
    type Full;
    /// For messages: "expected …".
    const EXPECTED: &'static str;

    /// The error is the problem, and after a line break a hint; it never repeats the word.
    fn of_word(word: Text) -> Result<Self, String>;

    fn of_full(full: Self::Full) -> Self;
}

pub(super) fn shorthand<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Shorthand<Full: Deserialize<'de>>,
    D: Deserializer<'de>,
{
    let written = Spanned::<Written<T>>::deserialize(deserializer)?;
    let (span, secret) = (written.span, written.secret);
    match written.value {
        Written::Word(value) => T::of_word(Spanned { value, span, secret }).map_err(de::Error::custom),
        Written::Full(full) => Ok(T::of_full(full)),
    }
}

/// A shorthand as it stands in the file.
enum Written<T: Shorthand> {
    Word(String),
    Full(T::Full),
}

impl<'de, T: Shorthand<Full: Deserialize<'de>>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WrittenVisitor(PhantomData))
    }
}

struct WrittenVisitor<T>(PhantomData<T>);

impl<'de, T: Shorthand<Full: Deserialize<'de>>> Visitor<'de> for WrittenVisitor<T> {
    type Value = Written<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Written<T>, E> {
        Ok(Written::Word(word.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Written<T>, A::Error> {
        T::Full::deserialize(MapAccessDeserializer::new(access)).map(Written::Full)
    }
}

/// Ties a shorthand to serde and to a schema of both forms.
macro_rules! shorthand_type {
    ($type:ty, $word:tt) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::shape::shorthand(deserializer)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let full = generator.subschema_for::<<$type as $crate::config::shape::Shorthand>::Full>();
                schemars::json_schema!({ "anyOf": [$word, full] })
            }
        }
    };
}
pub(super) use shorthand_type;

/// Text with a rule.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The error is the problem, and after a line break a hint; it never repeats the text.
            pub(super) fn parse(text: &str) -> Result<Self, String> {
                let parse: fn(&str) -> Result<Box<str>, String> = $parse;
                parse(text).map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::shape::ruled_text(deserializer, $expected, Self::parse)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string" })
            }
        }
    };
}
pub(super) use text_type;

pub(super) fn ruled_text<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(RuledText { expected, parse })
}

struct RuledText<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for RuledText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

text_type!(
    /// The name of a header field: a token (RFC 9110, section 5.1), kept in lower case.
    FieldName,
    "a string that names a header field",
    |text| {
        if text.is_empty() || !text.bytes().all(is_token_byte) {
            return Err("this is not the name of a header field\nwrite letters, digits and dashes, as in `x-request-id`".into());
        }
        Ok(text.to_ascii_lowercase().into())
    }
);

impl FieldName {
    /// A name that is known to be one, in lower case.
    pub(super) fn fixed(name: &'static str) -> Self {
        Self(name.into())
    }
}

text_type!(
    /// The value of a header field: no control characters, no space around it (RFC 9110, section 5.5).
    FieldValue,
    "a string",
    |text| {
        if text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Err("a header value cannot hold line breaks or control characters\nremove them".into());
        }
        Ok(text.trim_matches([' ', '\t']).into())
    }
);

text_type!(
    /// A method: a token, case-sensitive (RFC 9110, section 9.1).
    Method,
    "a string that names a method",
    |text| {
        if text.is_empty() || text.len() > METHOD_BYTES_MAX || !text.bytes().all(is_token_byte) {
            return Err("this is not a method\nwrite `GET`, `POST` or another token".into());
        }
        if text.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err("methods are case-sensitive, and the known ones are upper case\nwrite `GET`, not `get`".into());
        }
        if matches!(text, "CONNECT" | "TRACE") {
            return Err("CONNECT and TRACE are always refused\nremove the method".into());
        }
        Ok(text.into())
    }
);

const METHOD_BYTES_MAX: usize = 32;

text_type!(
    /// A protocol to upgrade to, kept in lower case.
    Protocol,
    "a string that names a protocol",
    |text| {
        if text.is_empty() || !text.split('/').all(|part| !part.is_empty() && part.bytes().all(is_token_byte)) {
            return Err("this is not the name of a protocol\nwrite `websocket`".into());
        }
        if text.to_ascii_lowercase().starts_with("h2") {
            return Err("HTTP/2 by upgrade would be a tunnel past every rule\nremove it".into());
        }
        Ok(text.to_ascii_lowercase().into())
    }
);

/// RFC 9110, section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

text_type!(
    /// The name of a listener, an upstream or a route. Names stand in logs, metrics and messages.
    Name,
    "a string that is a name",
    |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_./:".contains(&b);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(format!("this is not a name\nwrite up to {NAME_BYTES_MAX} letters, digits and `-_./:`"));
        }
        Ok(text.into())
    }
);

const NAME_BYTES_MAX: usize = 128;
