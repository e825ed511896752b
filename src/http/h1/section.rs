//! Scans a header or trailer section, line by line and resumable (RFC 9112, section 5).
//!
//! Every decision depends only on octets already seen, so that the outcome is the same however the input is cut.

use super::HeadLimits;
use super::error::FieldError;
use super::name::{SHORT_NAME_BYTES_MAX, short_name};
use super::scan::{control, usual_value_length};
use super::simd::equal;
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
    loop {
        if cursor.scanned == cursor.line {
            cursor.line = usual_lines(window, cursor.line, fields, limits, &mut judge)?;
            cursor.scanned = cursor.line;
            if window.get(cursor.line..).and_then(|rest| rest.first_chunk()) == Some(b"\r\n") {
                return Ok(Some(cursor.line + 2));
            }
        }
        match any_line(cursor, window, fields, limits)? {
            Line::Field(field, next) => {
                enter(field, window, fields, &mut judge)?;
                *cursor = Cursor::at(next);
            }
            Line::End(end) => return Ok(Some(end)),
            Line::Unfinished => return Ok(None),
        }
    }
}

/// Takes usual lines into the table up to the first line that is none, and answers where that one starts.
#[inline(always)]
fn usual_lines<E>(
    window: &[u8],
    start: usize,
    fields: &mut Fields,
    limits: &HeadLimits,
    judge: &mut impl FnMut(KnownName, &[u8], &Fields) -> Result<(), E>,
) -> Result<usize, E> {
    let mut line = start;
    while fields.len() < limits.fields_max
        && let Some((field, next)) = usual_line(window, line)
        && next - line <= limits.field_bytes_max
    {
        enter(field, window, fields, judge)?;
        line = next;
    }
    Ok(line)
}

/// Takes a field into the table, unless the message must not have it.
#[inline(always)]
fn enter<E>(
    field: Field,
    window: &[u8],
    fields: &mut Fields,
    judge: &mut impl FnMut(KnownName, &[u8], &Fields) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(known) = field.known
        && JUDGED & known.bit() != 0
    {
        judge(known, field.value.of(window), fields)?;
    }
    fields.push(field);
    Ok(())
}

/// The names that frame or route a message.
const JUDGED: u128 = KnownName::ContentLength.bit() | KnownName::Host.bit() | KnownName::TransferEncoding.bit();

/// The line that starts at `line`, if it is whole and as nearly all lines are: a short name of letters, digits and
/// hyphens, one space, a value of printable US-ASCII; otherwise nothing is said about it.
#[inline(always)]
fn usual_line(window: &[u8], line: usize) -> Option<(Field, usize)> {
    let rest = window.get(line..)?;
    let (start, _) = rest.split_first_chunk::<18>()?;
    let (name, _) = start.split_first_chunk()?;
    let colon = equal(name, b':').trailing_zeros() as usize;
    if colon.wrapping_sub(1) >= SHORT_NAME_BYTES_MAX || start[colon + 1] != b' ' || start[colon + 2] == b' ' {
        return None;
    }
    let known = short_name(name, colon)?;
    let value = &rest[colon + 2..];
    let length = usual_value_length(value, window);
    if value.get(length..).and_then(|rest| rest.first_chunk()) != Some(b"\r\n") || rest[colon + 1 + length] == b' ' {
        return None;
    }
    let name = Span::new(line, line + colon);
    let value = Span::new(line + colon + 2, line + colon + 2 + length);
    Some((Field { name, value, known, canonical: true }, line + colon + length + 4))
}

/// What stands at the cursor.
enum Line {
    /// A field, and where the next line starts.
    Field(Field, usize),
    /// The empty line, which ends here.
    End(usize),
    /// The end of the line has not arrived; the cursor tells how far it was scanned.
    Unfinished,
}

/// The line at the cursor, whatever it is.
#[inline(never)]
fn any_line(cursor: &mut Cursor, window: &[u8], fields: &Fields, limits: &HeadLimits) -> Result<Line, FieldError> {
    match window.get(cursor.line..).unwrap_or_default() {
        [b'\r', b'\n', ..] => return Ok(Line::End(cursor.line + 2)),
        [b'\r', _, ..] => return Err(FieldError::BareCr),
        [] | [b'\r'] => {}
        _ if fields.len() >= limits.fields_max => return Err(FieldError::TooManyFields),
        _ => {
            let view = &window[..window.len().min(cursor.line + limits.field_bytes_max)];
            if let Some((field, next)) = field_line(view, cursor, fields)? {
                return Ok(Line::Field(field, next));
            }
        }
    }
    // The first half of the empty line is no field, however small a field may be.
    let field_begun = window.get(cursor.line).is_some_and(|octet| *octet != b'\r');
    if field_begun && window.len() >= cursor.line + limits.field_bytes_max {
        return Err(FieldError::FieldTooLarge);
    }
    if window.len() >= limits.head_bytes_max {
        return Err(FieldError::HeadTooLarge);
    }
    Ok(Line::Unfinished)
}

/// One line: the field and where the next line starts; or nothing if its end has not arrived, `at` telling how far
/// the line was scanned.
fn field_line(view: &[u8], at: &mut Cursor, fields: &Fields) -> Result<Option<(Field, usize)>, FieldError> {
    let Some(known) = name(view, at, fields)? else { return Ok(None) };
    let end = control(view, at.scanned);
    match view.get(end..) {
        Some([b'\r', b'\n', ..]) => Ok(Some((field(view, at, end, known), end + 2))),
        rest => {
            at.scanned = end;
            value_fault(rest.unwrap_or_default())
        }
    }
}

/// The known name, if it is one, of the name that starts the line; nothing if its colon has not arrived.
fn name(view: &[u8], at: &mut Cursor, fields: &Fields) -> Result<Option<Option<KnownName>>, FieldError> {
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

fn trimmed(view: &[u8], from: usize, end: usize) -> Span {
    let value = &view[from..end];
    let leading = value.iter().take_while(|&&octet| is_space(octet)).count();
    let trailing = value[leading..].iter().rev().take_while(|&&octet| is_space(octet)).count();
    Span::new(from + leading, end - trailing)
}

fn is_space(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}
