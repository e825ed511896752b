//! Scans a header or trailer section, line by line and resumable (RFC 9112, section 5).
//!
//! Every decision depends only on octets already seen, so that the outcome is the same however the input is cut.

use super::HeadLimits;
use super::error::FieldError;
use super::name::{NAME_BYTES_MIN, known_name};
use super::scan::control;
use super::simd::{BLOCK_BYTES, Block, Vector, Work, with_widest};
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

/// How far a section was scanned.
pub(super) enum Section {
    /// It is complete: its empty line ends here.
    Ended(usize),
    /// It goes on behind what has arrived.
    Unfinished(Cursor),
}

/// Scans on from `cursor`.
#[inline(always)]
pub(super) fn scan_fields(
    cursor: Cursor,
    bytes: &[u8],
    fields: &mut Fields,
    limits: &HeadLimits,
) -> Result<Section, FieldError> {
    let window = limits.window(bytes);
    if cursor.scanned != cursor.line {
        return scan_odd_fields(cursor, window, fields, limits);
    }
    let line = with_widest(UsualLines { window, start: cursor.line, fields, limits });
    match window.get(line..).and_then(|rest| rest.first_chunk()) {
        Some(b"\r\n") => Ok(Section::Ended(line + 2)),
        _ => scan_odd_fields(Cursor::at(line), window, fields, limits),
    }
}

/// The same where the next line is not a usual one.
#[inline(never)]
fn scan_odd_fields(
    mut cursor: Cursor,
    window: &[u8],
    fields: &mut Fields,
    limits: &HeadLimits,
) -> Result<Section, FieldError> {
    loop {
        match any_line(&mut cursor, window, fields, limits)? {
            Line::Field(field, start) => {
                fields.push(field);
                cursor = Cursor::at(with_widest(UsualLines { window, start, fields, limits }));
            }
            Line::End(end) => return Ok(Section::Ended(end)),
            Line::Unfinished => return Ok(Section::Unfinished(cursor)),
        }
    }
}

/// Takes usual lines into the table up to the first line that is none, and answers where that one starts.
struct UsualLines<'a> {
    window: &'a [u8],
    start: usize,
    fields: &'a mut Fields,
    limits: &'a HeadLimits,
}

impl Work for UsualLines<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> usize {
        let Self { window, start, fields, limits } = self;
        // Within this view no line is too long.
        let room = limits.field_bytes_max.min(window.len().saturating_sub(start));
        let view = window.get(..start + room).unwrap_or_default();
        let mut line = start;
        fields.fill(limits.fields_max, || {
            let (field, next) = usual_line(vector, view, line)?;
            line = next;
            Some(field)
        });
        line
    }
}

/// A block, and what may end a line behind it.
const SIGHT_BYTES: usize = BLOCK_BYTES + 2;
type Sight = [u8; SIGHT_BYTES];

/// The line that starts at `line`, if it is whole and as nearly all lines are: a name of letters, digits and hyphens
/// that fits a block, one space, a value of printable US-ASCII; otherwise nothing is said about it.
#[inline(always)]
fn usual_line(vector: impl Vector, view: &[u8], line: usize) -> Option<(Field, usize)> {
    let rest = view.get(line..)?;
    let mut copy;
    let first = match rest.first_chunk() {
        Some(sight) => sight,
        None => {
            copy = [0; SIGHT_BYTES];
            copy_few(rest, &mut copy)?;
            &copy
        }
    };
    let colon = vector.equal(block(first), b':').trailing_zeros() as usize;
    if !(NAME_BYTES_MIN..BLOCK_BYTES).contains(&colon) || first[colon + 2] <= b' ' {
        return None;
    }
    let mut sight = first;
    let (mut at, mut stops) = (line, vector.outside(block(first), b' '));
    while stops == 0 {
        (at, sight) = further(view, at)?;
        stops = vector.outside(block(sight), b' ');
    }
    let stop = stops.trailing_zeros() as usize;
    if stop == 0 || sight[stop - 1] == b' ' || [sight[stop], sight[stop + 1]] != *b"\r\n" {
        return None;
    }
    let end = at + stop;
    let known = known_name(vector, block(first), colon);
    if known.is_none() && (first[colon + 1] != b' ' || unusual_at(vector, block(first)) != colon) {
        return None;
    }
    let name = Span::new(line, line + colon);
    let value = Span::new(line + colon + 2, end);
    Some((Field { name, value, known, canonical: true }, end + 2))
}

/// The place of the first octet that is neither letter, digit nor hyphen.
#[inline(always)]
fn unusual_at(vector: impl Vector, block: &Block) -> usize {
    vector.unusual_in_name(block).trailing_zeros() as usize
}

#[inline(always)]
fn block(sight: &Sight) -> &Block {
    let (block, _) = sight.split_first_chunk().expect("a block is shorter");
    block
}

/// The sight behind the one at `at`, a block without an end of the line: one octet of it is seen again, for what may
/// stop at the first one behind it, and more of them at the end of the view.
#[inline(always)]
fn further(view: &[u8], at: usize) -> Option<(usize, &Sight)> {
    let last = view.len().checked_sub(SIGHT_BYTES)?;
    if at >= last {
        return None;
    }
    let next = last.min(at + BLOCK_BYTES - 1);
    Some((next, view.get(next..)?.first_chunk()?))
}

/// Copies what is shorter than a sight; nothing where it is short.
#[inline(always)]
fn copy_few(rest: &[u8], copy: &mut Sight) -> Option<()> {
    if let (Some(first), Some(last)) = (rest.first_chunk::<17>(), rest.last_chunk::<17>()) {
        *copy.first_chunk_mut()? = *first;
        *copy.get_mut(rest.len() - last.len()..)?.first_chunk_mut()? = *last;
    } else {
        let (first, last) = (rest.first_chunk::<8>()?, rest.last_chunk::<8>()?);
        *copy.first_chunk_mut()? = *first;
        *copy.get_mut(rest.len() - last.len()..)?.first_chunk_mut()? = *last;
    }
    Some(())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::h1::simd::{Baseline, Words};

    /// Takes what is usual of a section into a table with places.
    fn taken(section: &[u8], limits: &HeadLimits, take: impl Fn(UsualLines<'_>) -> usize) -> (usize, String) {
        let mut fields = Fields::default();
        let place = Field { name: Span::new(0, 0), value: Span::new(0, 0), known: None, canonical: false };
        fields.push(place);
        fields.clear();
        let end = take(UsualLines { window: section, start: 0, fields: &mut fields, limits });
        (end, format!("{fields:?}"))
    }

    proptest! {
        #[test]
        fn every_kind_of_vector_takes_the_same_lines(
            lines in prop::collection::vec("[A-Za-z0-9_-]{1,34}: ?[ -~]{0,80}[ -\u{7f}]\r\n", 0..5),
            known in prop::sample::select(KnownName::ALL),
            rest in "[\r\nA-z: ]{0,40}",
            field_bytes_max in 1_usize..200,
        ) {
            let section = format!("{}: 1\r\n{}{rest}", known.text(), lines.concat());
            for limits in [HeadLimits::default(), HeadLimits { field_bytes_max, ..HeadLimits::default() }] {
                let widest = taken(section.as_bytes(), &limits, |lines| with_widest(lines));
                prop_assert_eq!(&widest, &taken(section.as_bytes(), &limits, |lines| lines.run(Baseline)));
                prop_assert_eq!(&widest, &taken(section.as_bytes(), &limits, |lines| lines.run(Words)));
            }
        }
    }
}
