//! Edits of a head: fields set, added and removed. Compiled to a set of names to drop and bytes to append.

use thiserror::Error;

use crate::http::Span;
use crate::http::header::{Field, HeaderName, KnownName};

/// Why an edit cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EditError {
    #[error("`{0}` is no field name")]
    Name(String),
    #[error("the value holds a control character")]
    Value,
    #[error("`{0}` is the gateway's own: what frames a message or names the hop cannot be edited")]
    Owned(&'static str),
}

/// The edits of one head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    dropped_known: u128,
    dropped_others: Vec<Box<str>>,
    lines: Vec<u8>,
}

impl HeaderEdits {
    /// Drops every received field of this name.
    pub fn remove(&mut self, name: &str) -> Result<(), EditError> {
        match editable(name)? {
            HeaderName::Known(known) => self.dropped_known |= known.bit(),
            HeaderName::Other(text) => self.dropped_others.push(text),
        }
        Ok(())
    }

    /// Appends a field beside those received.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        let name = editable(name)?;
        if value.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
            return Err(EditError::Value);
        }
        for part in [name.text(), ": ", value.trim_matches([' ', '\t']), "\r\n"] {
            self.lines.extend_from_slice(part.as_bytes());
        }
        Ok(())
    }

    /// Replaces every received field of this name by one.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.remove(name)?;
        self.add(name, value)
    }

    /// Whether `field` of the head in `bytes` is dropped.
    #[inline]
    pub fn drops(&self, field: &Field, bytes: &[u8]) -> bool {
        match field.known {
            Some(known) => self.dropped_known & known.bit() != 0,
            None => !self.dropped_others.is_empty() && self.drops_other(field.name, bytes),
        }
    }

    fn drops_other(&self, name: Span, bytes: &[u8]) -> bool {
        self.dropped_others.iter().any(|dropped| name.of(bytes).eq_ignore_ascii_case(dropped.as_bytes()))
    }

    /// Applies the edits to the field lines from `start` on, which are our own.
    pub fn apply(&self, start: usize, out: &mut Vec<u8>) {
        self.drop_lines(start, out);
        out.extend_from_slice(&self.lines);
    }

    /// Removes the lines from `start` on whose fields are dropped. Few messages come here.
    #[cold]
    pub fn drop_lines(&self, start: usize, out: &mut Vec<u8>) {
        if self.dropped_known == 0 && self.dropped_others.is_empty() {
            return;
        }
        let (mut kept, mut at) = (start, start);
        while at < out.len() {
            let end = memchr::memchr(b'\n', &out[at..]).map_or(out.len(), |length| at + length + 1);
            let name = memchr::memchr(b':', &out[at..end]).map_or(at, |length| at + length);
            if !self.drops_name(&out[at..name]) {
                out.copy_within(at..end, kept);
                kept += end - at;
            }
            at = end;
        }
        out.truncate(kept);
    }

    fn drops_name(&self, name: &[u8]) -> bool {
        match KnownName::of(name) {
            Some(known) => self.dropped_known & known.bit() != 0,
            None => self.dropped_others.iter().any(|dropped| name.eq_ignore_ascii_case(dropped.as_bytes())),
        }
    }

    /// The known names dropped, as a set of bits.
    #[inline]
    pub fn dropped_known(&self) -> u128 {
        self.dropped_known
    }

    /// The field lines to append.
    #[inline]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Whether there is nothing to edit.
    pub fn is_empty(&self) -> bool {
        self.dropped_known == 0 && self.dropped_others.is_empty() && self.lines.is_empty()
    }
}

/// The name, if operators may edit it: who frames a message or routes it is the gateway alone.
fn editable(name: &str) -> Result<HeaderName, EditError> {
    use KnownName::{
        Connection, ContentLength, Host, Http2Settings, KeepAlive, ProxyConnection, Te, Trailer, TransferEncoding,
        Upgrade, Via,
    };
    let name = HeaderName::parse(name).ok_or_else(|| EditError::Name(name.to_owned()))?;
    match name {
        HeaderName::Known(
            known @ (Connection | ContentLength | Host | Http2Settings | KeepAlive | ProxyConnection | Te | Trailer
            | TransferEncoding | Upgrade | Via),
        ) => Err(EditError::Owned(known.text())),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_fields_cannot_be_edited() {
        let mut edits = HeaderEdits::default();
        assert_eq!(edits.set("Content-Length", "1"), Err(EditError::Owned("content-length")));
        assert_eq!(edits.remove("connection"), Err(EditError::Owned("connection")));
    }

    #[test]
    fn a_value_cannot_smuggle_a_line() {
        assert_eq!(HeaderEdits::default().add("x-a", "1\r\nx-b: 2"), Err(EditError::Value));
    }

    #[test]
    fn lines_of_our_own_are_edited_as_received_ones_are() {
        let mut edits = HeaderEdits::default();
        edits.set("Content-Type", "text/css").expect("editable");
        edits.remove("x-own").expect("editable");
        let mut out = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nX-Own: 1\r\nx-other: 2\r\n".to_vec();
        edits.apply(17, &mut out);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nx-other: 2\r\ncontent-type: text/css\r\n");
    }

    #[test]
    fn setting_drops_what_came_and_appends_one_line() {
        let mut edits = HeaderEdits::default();
        edits.set("X-Env", "prod").expect("editable");
        let bytes = b"x-ENV";
        let field = Field { name: Span::new(0, 5), value: Span::new(5, 5), known: None, canonical: false };
        assert!(edits.drops(&field, bytes));
        assert_eq!(edits.lines(), b"x-env: prod\r\n");
    }
}
