//! Rewritten paths, hosts and redirect targets: text with `{name}` where a captured parameter goes.
//!
//! A captured value is used as it stands in the canonical path, never decoded. What comes out is canonical again: slashes
//! are not doubled where an empty value or one with a slash meets the text around it, and a value that would make a
//! dot segment, or break an escape, refuses the rendering. In a query or fragment, what separates parameters there
//! is escaped, so that a path cannot add any; in a host only letters, digits, `-`, `_` and dots are taken.
//!
//! On a route with a path prefix the template's path takes the place of the prefix and what followed the prefix is
//! kept, as Gateway API's `ReplacePrefixMatch` does; a trailing slash of the template means nothing there.

use super::canonical;
use super::{Captures, PathPattern, PatternError};

/// Pieces of one template at most.
const PIECES_MAX: usize = 64;
/// Octets in the text of a template.
const TEXT_BYTES_MAX: usize = 4 * 1024;
/// Octets in a label of a host (RFC 1035, section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Text with parameters of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Scheme and authority, or a host.
    head: Box<[Piece]>,
    path: Box<[Piece]>,
    /// Query and fragment, with their leading `?` or `#`.
    suffix: Box<[Piece]>,
    keeps_remainder: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Parameter(usize),
}

/// Why captured values cannot go where the template puts them. The request is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("the rewritten path would not be canonical")]
    Path,
    #[error("the rewritten host would not be a host")]
    Host,
}

impl Template {
    /// A path, with or without a query, for requests that `pattern` matched.
    pub fn path(text: &str, pattern: &PathPattern) -> Result<Self, PatternError> {
        check_length(text)?;
        if let Some(at) = text.find('#') {
            return Err(PatternError::new(at, "a fragment is never sent to a server", "leave it out"));
        }
        Self::path_and_suffix(text, pattern)
    }

    /// A host, with or without a port, for requests that `pattern` matched.
    pub fn host(text: &str, pattern: &PathPattern) -> Result<Self, PatternError> {
        check_length(text)?;
        check_authority(text)?;
        let none = Box::default();
        Ok(Self { head: pieces(text, pattern)?, path: none, suffix: Box::default(), keeps_remainder: false })
    }

    /// A redirect's target: a path, or a URL with `http:` or `https:`, with or without query and fragment.
    pub fn location(text: &str, pattern: &PathPattern) -> Result<Self, PatternError> {
        check_length(text)?;
        if text.starts_with('/') && !text.starts_with("//") {
            return Self::path_and_suffix(text, pattern);
        }
        let scheme = ["https://", "http://"].into_iter().find(|scheme| text.starts_with(scheme));
        let Some(scheme) = scheme else {
            return Err(PatternError::new(0, "not a redirect target", "write a path, or a URL with `https://`"));
        };
        let end = text[scheme.len()..].find(['/', '?', '#']).map_or(text.len(), |at| scheme.len() + at);
        check_authority(&text[scheme.len()..end]).map_err(|error| error.shifted(scheme.len()))?;
        let head = pieces(&text[..end], pattern)?;
        let behind = match &text[end..] {
            behind if behind.starts_with('/') => Self::path_and_suffix(behind, pattern),
            behind => Self::path_and_suffix(&format!("/{behind}"), pattern),
        };
        Ok(Self { head, ..behind.map_err(|error| error.shifted(end))? })
    }

    /// Whether the template has a query of its own, which takes the place of the request's.
    pub fn has_query(&self) -> bool {
        matches!(self.suffix.first(), Some(Piece::Literal(text)) if text.starts_with('?'))
    }

    /// Appends the text to `out`, which is left as it was on an error. `path` is the one `captures` were made from.
    pub fn render(&self, captures: &Captures, path: &[u8], out: &mut Vec<u8>) -> Result<(), RenderError> {
        let start = out.len();
        let rendered = self.append(captures, path, out);
        if rendered.is_err() {
            out.truncate(start);
        }
        rendered
    }

    fn path_and_suffix(text: &str, pattern: &PathPattern) -> Result<Self, PatternError> {
        let end = text.find(['?', '#']).unwrap_or(text.len());
        check_path(&text[..end])?;
        check_suffix(&text[end..]).map_err(|error| error.shifted(end))?;
        Ok(Self {
            head: Box::default(),
            path: pieces(&text[..end], pattern)?,
            suffix: pieces(&text[end..], pattern).map_err(|error| error.shifted(end))?,
            keeps_remainder: pattern.is_prefix(),
        })
    }

    fn append(&self, captures: &Captures, path: &[u8], out: &mut Vec<u8>) -> Result<(), RenderError> {
        for piece in &self.head {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Parameter(index) => append_host(captures.value(*index, path), out)?,
            }
        }
        if !self.path.is_empty() {
            self.append_path(captures, path, out)?;
        }
        for piece in &self.suffix {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Parameter(index) => append_escaped(captures.value(*index, path), out),
            }
        }
        Ok(())
    }

    fn append_path(&self, captures: &Captures, path: &[u8], out: &mut Vec<u8>) -> Result<(), RenderError> {
        let start = out.len();
        for piece in &self.path {
            let value = match piece {
                Piece::Literal(text) => text.as_bytes(),
                Piece::Parameter(index) => captures.value(*index, path),
            };
            append_joined(value, start, out);
        }
        if self.keeps_remainder {
            append_remainder(captures.remainder(path), start, out);
        }
        // Text alone was checked when it was parsed, and a remainder begins at a slash.
        let has_parameter = self.path.iter().any(|piece| matches!(piece, Piece::Parameter(_)));
        if has_parameter && canonical::fault(&out[start..]).is_some() {
            return Err(RenderError::Path);
        }
        Ok(())
    }
}

/// Appends to the path that begins at `start`, without doubling a slash.
fn append_joined(value: &[u8], start: usize, out: &mut Vec<u8>) {
    let doubled = value.first() == Some(&b'/') && out[start..].last() == Some(&b'/');
    out.extend_from_slice(&value[usize::from(doubled)..]);
}

/// Appends what followed a prefix, which is empty or begins with a slash, to what took its place.
fn append_remainder(remainder: &[u8], start: usize, out: &mut Vec<u8>) {
    if out[start..].last() == Some(&b'/') {
        out.pop();
    }
    out.extend_from_slice(remainder);
    if out.len() == start {
        out.push(b'/');
    }
}

fn append_host(value: &[u8], out: &mut Vec<u8>) -> Result<(), RenderError> {
    for label in value.split(|&octet| octet == b'.') {
        let fits = label.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'));
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || !fits {
            return Err(RenderError::Host);
        }
    }
    out.extend(value.iter().map(u8::to_ascii_lowercase));
    Ok(())
}

/// Appends path text to a query: escapes and slashes stay, whatever has a meaning there is escaped.
fn append_escaped(value: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for (at, &octet) in value.iter().enumerate() {
        let is_escape =
            octet == b'%' && matches!(value[at + 1..], [high, low, ..] if canonical::decode(high, low).is_some());
        if is_escape || octet == b'/' || canonical::is_unreserved(octet) {
            out.push(octet);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
        }
    }
}

/// Cuts text into pieces and finds the index of each name.
fn pieces(text: &str, pattern: &PathPattern) -> Result<Box<[Piece]>, PatternError> {
    let mut list = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        if list.len() == PIECES_MAX {
            return Err(PatternError::new(at, "too many parameters", "a template has at most 64 pieces"));
        }
        match rest.strip_prefix('{') {
            None => {
                let end = rest.find('{').unwrap_or(rest.len());
                list.push(Piece::Literal(rest[..end].into()));
                rest = &rest[end..];
            }
            Some(inner) => {
                let (name, behind) = inner
                    .split_once('}')
                    .ok_or_else(|| PatternError::new(at, "a parameter is not closed", "write `{name}`"))?;
                list.push(Piece::Parameter(parameter(name, pattern).map_err(|error| error.shifted(at + 1))?));
                rest = behind;
            }
        }
    }
    Ok(list.into())
}

fn parameter(name: &str, pattern: &PathPattern) -> Result<usize, PatternError> {
    let names = pattern.parameters();
    if let Some(index) = names.iter().position(|known| **known == *name) {
        return Ok(index);
    }
    let plain = name.trim_start_matches('*');
    let hint = match names {
        names if names.iter().any(|known| **known == *plain) => format!("write `{{{plain}}}`"),
        [] => format!("the path `{pattern}` has no parameters"),
        names => format!(
            "the path `{pattern}` has {}",
            names.iter().map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", ")
        ),
    };
    Err(PatternError::new(0, format!("no parameter is called `{name}`"), hint))
}

fn check_length(text: &str) -> Result<(), PatternError> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(PatternError::new(0, "a template has at most 4096 octets", "shorten it"))
}

/// The text with every octet of a parameter replaced by a letter, to check what is around.
fn masked(text: &str) -> Vec<u8> {
    let mut inside = false;
    text.bytes()
        .map(|octet| {
            inside |= octet == b'{';
            let was_inside = inside;
            inside &= octet != b'}';
            if was_inside { b'x' } else { octet }
        })
        .collect()
}

fn check_path(text: &str) -> Result<(), PatternError> {
    if !text.starts_with('/') {
        return Err(PatternError::new(0, "a path begins with a slash", format!("write `/{text}`")));
    }
    match canonical::fault(&masked(text)) {
        Some((at, fault)) => Err(PatternError::new(at, fault.problem(), fault.hint())),
        None => Ok(()),
    }
}

fn check_authority(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternError::new(0, "a host cannot be empty", "name a host"));
    }
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(octet);
    match masked(text).iter().position(|octet| !fits(octet)) {
        Some(at) => {
            Err(PatternError::new(at, "not a host", "a host has letters, digits, `-`, `_`, dots and perhaps a port"))
        }
        None => Ok(()),
    }
}

fn check_suffix(text: &str) -> Result<(), PatternError> {
    match masked(text).iter().position(|octet| !octet.is_ascii_graphic()) {
        Some(at) => {
            Err(PatternError::new(at, "a query is printable ASCII", "write other octets percent-encoded, as in `%20`"))
        }
        None => Ok(()),
    }
}
