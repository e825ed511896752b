//! Scans a header or trailer section, line by line and resumable (RFC 9112, section 5).
//!
//! Every decision depends only on octets already seen, so that the outcome is the same however the input is cut.

use super::HeadLimits;
use super::error::FieldError;
use super::name::{SHORT_NAME_BYTES_MAX, short_name};
use super::scan::{control, place, words};
use crate::http::Span;
use crate::http::header::{Field, Fields, KnownName, is_token};

/// Where the scan of a section stands: at the start of a line, or within a line whose end has not arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// Start of the line under way.
    pub(super) line: usize,
    /// Octets before this position need no second look.
    pub(super) scanned: usize,
    /// The colon of the line, once seen; 0 before.
    pub(super) colon: usize,
}

impl Cursor {
    /// At the start of a line.
    #[inline(always)]
    pub(super) fn at(line: usize) -> Self {
        Self { line, scanned: line, colon: 0 }
    }
}

/// Scans on from `cursor`; answers with the position after the empty line, or nothing if it has not arrived.
/// `judge` sees each field that frames or routes the message before it enters the table.
#[inline(always)]
pub(super) fn scan_fields<E: From<FieldError>>(
    cursor: &mut Cursor,
    bytes: &[u8],
    fields: &mut Fields,
    limits: &HeadLimits,
    mut judge: impl FnMut(KnownName, &[u8], &Fields) -> Result<(), E>,
) -> Result<Option<usize>, E> {
    let window = limits.window(bytes);
    let mut at = *cursor;
    loop {
        match window.get(at.line) {
            Some(b'\r') => return Ok(section_end(cursor, window, at, limits)?),
            Some(_) if fields.len() < limits.fields_max => {}
            Some(_) => return Err(FieldError::TooManyFields.into()),
            None => return Ok(unfinished(cursor, window, at, limits)?),
        }
        let view = &window[..window.len().min(at.line + limits.field_bytes_max)];
        let Some((field, next)) = field_line(view, &mut at, fields)? else {
            return Ok(unfinished(cursor, window, at, limits)?);
        };
        if let Some(name @ (KnownName::ContentLength | KnownName::Host | KnownName::TransferEncoding)) = field.known {
            judge(name, field.value.of(view), fields)?;
        }
        fields.push(field);
        at = Cursor::at(next);
    }
}

fn section_end(
    cursor: &mut Cursor,
    window: &[u8],
    at: Cursor,
    limits: &HeadLimits,
) -> Result<Option<usize>, FieldError> {
    match window.get(at.line + 1) {
        Some(b'\n') => Ok(Some(at.line + 2)),
        Some(_) => Err(FieldError::BareCr),
        None => unfinished(cursor, window, at, limits),
    }
}

/// Keeps the place for the next call, unless the line or the section can no longer keep within its limit.
#[cold]
fn unfinished(
    cursor: &mut Cursor,
    window: &[u8],
    at: Cursor,
    limits: &HeadLimits,
) -> Result<Option<usize>, FieldError> {
    *cursor = at;
    if window.len() >= at.line + limits.field_bytes_max {
        return Err(FieldError::FieldTooLarge);
    }
    if window.len() >= limits.head_bytes_max {
        return Err(FieldError::HeadTooLarge);
    }
    Ok(None)
}

/// One line: the field and where the next line starts; or nothing if its end has not arrived, `at` telling how far
/// the line was scanned.
#[inline(always)]
fn field_line(view: &[u8], at: &mut Cursor, fields: &Fields) -> Result<Option<(Field, usize)>, FieldError> {
    let known = match usual_name(view, at) {
        Some(known) => known,
        None => match any_name(view, at, fields)? {
            Some(known) => known,
            None => return Ok(None),
        },
    };
    let end = control(view, at.scanned);
    match view.get(end..) {
        Some([b'\r', b'\n', ..]) => Ok(Some((field(view, at, end, known), end + 2))),
        rest => {
            at.scanned = end;
            value_fault(rest.unwrap_or_default())
        }
    }
}

/// The known name of a short name, if the line begins with one.
#[inline(always)]
fn usual_name(view: &[u8], at: &mut Cursor) -> Option<Option<KnownName>> {
    if at.scanned != at.line {
        return None;
    }
    let start = words(view, at.line);
    let length = place(start, b':');
    if length.wrapping_sub(1) >= SHORT_NAME_BYTES_MAX {
        return None;
    }
    let known = short_name(start, length);
    if known.is_none() && !view[at.line..at.line + length].iter().all(|&octet| is_token(octet)) {
        return None;
    }
    at.colon = at.line + length;
    at.scanned = at.colon + 1;
    Some(known)
}

/// The known name of any name, octet by octet: for long and unusual names, lines that came in pieces, and faults.
#[inline(never)]
fn any_name(view: &[u8], at: &mut Cursor, fields: &Fields) -> Result<Option<Option<KnownName>>, FieldError> {
    if at.colon == 0 {
        let rest = view.get(at.scanned..).unwrap_or_default();
        let Some(count) = rest.iter().position(|&octet| !is_token(octet)) else {
            at.scanned = view.len();
            return Ok(None);
        };
        let stop = at.scanned + count;
        if view[stop] != b':' || stop == at.line {
            return Err(name_fault(view[stop], stop == at.line, fields.is_empty()));
        }
        at.colon = stop;
        at.scanned = stop + 1;
    }
    Ok(Some(KnownName::of(&view[at.line..at.colon])))
}

#[cold]
fn name_fault(octet: u8, starts_line: bool, first_field: bool) -> FieldError {
    match octet {
        b' ' | b'\t' if starts_line && first_field => FieldError::SpaceBeforeFirstField,
        b' ' | b'\t' if starts_line => FieldError::ObsFold,
        b' ' | b'\t' => FieldError::SpaceBeforeColon,
        b'\n' => FieldError::BareLf,
        b'\r' => FieldError::MissingColon,
        _ => FieldError::InvalidName,
    }
}

/// What is wrong with a value that stops at `rest`, or nothing if it may go on.
#[cold]
pub(super) fn value_fault<T>(rest: &[u8]) -> Result<Option<T>, FieldError> {
    match rest {
        [] | [b'\r'] => Ok(None),
        [b'\r', ..] => Err(FieldError::BareCr),
        [b'\n', ..] => Err(FieldError::BareLf),
        _ => Err(FieldError::ControlInValue),
    }
}

/// The field of the line that ends before `end`, its value without surrounding white space.
#[inline(always)]
fn field(view: &[u8], at: &Cursor, end: usize, known: Option<KnownName>) -> Field {
    let name = Span::new(at.line, at.colon);
    let from = at.colon + 1;
    let spaced = view[from] == b' ';
    let start = from + usize::from(spaced);
    if start == end || !is_space(view[start]) && !is_space(view[end - 1]) {
        return Field { name, value: Span::new(start, end), known, canonical: spaced };
    }
    Field { name, value: trimmed(view, from, end), known, canonical: false }
}

#[cold]
#[inline(never)]
fn trimmed(view: &[u8], from: usize, end: usize) -> Span {
    let value = &view[from..end];
    let leading = value.iter().take_while(|&&octet| is_space(octet)).count();
    let trailing = value[leading..].iter().rev().take_while(|&&octet| is_space(octet)).count();
    Span::new(from + leading, end - trailing)
}

#[inline(always)]
fn is_space(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}
