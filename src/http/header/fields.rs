//! The field table of one head: where each name and value stands in the receive buffer.

use super::{HeaderName, KnownName};
use crate::http::Span;

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name as received.
    pub name: Span,
    /// The value without surrounding white space.
    pub value: Span,
    /// The name's number, where it has one.
    pub known: Option<KnownName>,
    /// Whether the received line is exactly `name: value` CRLF, the form we would write: runs of such lines may be
    /// written by one copy of their range.
    pub canonical: bool,
}

impl Field {
    /// The range of the whole line, its CRLF included; meaningful only where [`Self::canonical`].
    #[inline]
    pub fn line(&self) -> Span {
        Span { start: self.name.start, end: self.value.end + 2 }
    }
}

/// The fields of a head in order of arrival. Reused from message to message: clearing keeps the allocation.
#[derive(Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
    /// One bit for each known name present, in the order of their numbers.
    known: u64,
}

impl Fields {
    /// A table with room for `count` fields.
    pub fn with_room(count: usize) -> Self {
        Self { list: Vec::with_capacity(count), known: 0 }
    }

    /// Forgets all fields.
    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
        self.known = 0;
    }

    /// Adds a field at the end.
    #[inline]
    pub fn push(&mut self, field: Field) {
        if let Some(known) = field.known {
            self.known |= known.bit() as u64;
        }
        self.list.push(field);
    }

    /// The fields in order of arrival.
    #[inline]
    pub fn as_slice(&self) -> &[Field] {
        &self.list
    }

    /// Number of field lines.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The set of known names present, one bit each (see [`KnownName::bit`]).
    #[inline]
    pub fn known(&self) -> u128 {
        u128::from(self.known)
    }

    /// Whether a field of this name is present.
    #[inline]
    pub fn has(&self, name: KnownName) -> bool {
        self.known & name.bit() as u64 != 0
    }

    /// The fields of a known name, in order.
    #[inline]
    pub fn all(&self, name: KnownName) -> impl Iterator<Item = &Field> {
        let list: &[Field] = if self.has(name) { &self.list } else { &[] };
        list.iter().filter(move |field| field.known == Some(name))
    }

    /// The value of the first field of a known name; `bytes` is the buffer the head was parsed from.
    #[inline]
    pub fn first<'b>(&self, name: KnownName, bytes: &'b [u8]) -> Option<&'b [u8]> {
        self.all(name).next().map(|field| field.value.of(bytes))
    }

    /// The fields of any name, in order; `bytes` is the buffer the head was parsed from.
    pub fn named<'a>(&'a self, name: &'a HeaderName, bytes: &'a [u8]) -> impl Iterator<Item = &'a Field> {
        self.list.iter().filter(move |field| match (name, field.known) {
            (HeaderName::Known(name), known) => known == Some(*name),
            (HeaderName::Other(name), None) => field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()),
            (HeaderName::Other(_), Some(_)) => false,
        })
    }
}
