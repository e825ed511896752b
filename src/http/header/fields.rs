//! The field table of one head: where each name and value stands in the receive buffer.

use std::fmt;

use super::{HeaderName, KnownName};
use crate::http::Span;

/// One field line.
#[derive(Clone, Copy, Debug, Default)]
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

/// As many known names as a word has bits.
const NAMES_MAX: usize = u64::BITS as usize;
/// The least places that a table gets at once.
const PLACES_MIN: usize = 16;

/// The fields of a head in order of arrival. Reused from message to message: clearing keeps the allocation.
#[derive(Default)]
pub struct Fields {
    /// The fields, and behind them places that are free.
    places: Vec<Field>,
    count: usize,
    /// How many fields have no known name.
    unknown: usize,
    index: Index,
}

/// Which known names are present, and where.
#[derive(Clone, Copy)]
struct Index {
    /// One bit for each known name present, in the order of their numbers.
    known: u64,
    /// Those of them that more than one field has.
    repeated: u64,
    /// The number of the last field of a known name present, as far as it fits.
    last: [u8; NAMES_MAX],
}

impl Default for Index {
    fn default() -> Self {
        Self { known: 0, repeated: 0, last: [0; NAMES_MAX] }
    }
}

impl Index {
    #[inline(always)]
    fn note(&mut self, known: KnownName, number: usize) {
        let bit = known.bit() as u64;
        self.repeated |= self.known & bit;
        self.known |= bit;
        self.last[known as usize % NAMES_MAX] = number as u8;
    }
}

impl Fields {
    /// Forgets all fields.
    #[inline]
    pub fn clear(&mut self) {
        (self.count, self.unknown) = (0, 0);
        self.index.known = 0;
        self.index.repeated = 0;
    }

    /// Adds a field at the end.
    pub fn push(&mut self, field: Field) {
        if self.count == self.places.len() {
            self.places.resize(PLACES_MIN.max(2 * self.count), Field::default());
        }
        self.places[self.count] = field;
        match field.known {
            Some(known) => self.index.note(known, self.count),
            None => self.unknown += 1,
        }
        self.count += 1;
    }

    /// Adds what `next` gives until that is nothing, the table holds `count_max` fields, or no place is free.
    #[inline(always)]
    pub(crate) fn fill(&mut self, count_max: usize, mut next: impl FnMut() -> Option<Field>) {
        let end = count_max.min(self.places.len());
        let Some(free) = self.places.get_mut(self.count..end) else { return };
        let mut known = self.index.known;
        // Of all fields, and in the upper half of those without a known name.
        let mut counts = self.count as u64 | (self.unknown as u64) << 32;
        for place in free {
            let Some(field) = next() else { break };
            match field.known {
                Some(name) => {
                    known |= name.bit() as u64;
                    self.index.last[name as usize % NAMES_MAX] = counts as u8;
                }
                None => counts += 1 << 32,
            }
            counts += 1;
            *place = field;
        }
        let (count, unknown) = (counts as u32 as usize, (counts >> 32) as usize);
        if count - unknown != known.count_ones() as usize {
            self.note_repeated(count);
        }
        self.index.known = known;
        (self.count, self.unknown) = (count, unknown);
    }

    /// Notes which names are repeated by the fields up to `end` that are not yet counted.
    #[cold]
    fn note_repeated(&mut self, end: usize) {
        let mut known = self.index.known;
        for name in self.places[self.count..end].iter().filter_map(|field| field.known) {
            let bit = name.bit() as u64;
            self.index.repeated |= known & bit;
            known |= bit;
        }
    }

    /// The fields in order of arrival.
    #[inline]
    pub fn as_slice(&self) -> &[Field] {
        &self.places[..self.count]
    }

    /// Number of field lines.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The set of known names present, one bit each (see [`KnownName::bit`]).
    #[inline]
    pub fn known(&self) -> u128 {
        u128::from(self.index.known)
    }

    /// The set of known names that more than one field has.
    #[inline]
    pub fn repeated(&self) -> u128 {
        u128::from(self.index.repeated)
    }

    /// Whether a field of this name is present.
    #[inline]
    pub fn has(&self, name: KnownName) -> bool {
        self.index.known & name.bit() as u64 != 0
    }

    /// The fields of a known name, in order.
    #[inline]
    pub fn all(&self, name: KnownName) -> impl Iterator<Item = &Field> {
        let candidates = match self.only(name) {
            Some(only) => std::slice::from_ref(only),
            None if self.has(name) => self.as_slice(),
            None => &[],
        };
        candidates.iter().filter(move |field| field.known == Some(name))
    }

    /// The value of the first field of a known name; `bytes` is the buffer the head was parsed from.
    #[inline]
    pub fn first<'b>(&self, name: KnownName, bytes: &'b [u8]) -> Option<&'b [u8]> {
        if !self.has(name) {
            return None;
        }
        let field = self.only(name).or_else(|| self.search(name))?;
        Some(field.value.of(bytes))
    }

    /// The field of a name that one field alone has, if the index knows its place.
    #[inline]
    fn only(&self, name: KnownName) -> Option<&Field> {
        if (self.index.known & !self.index.repeated) & name.bit() as u64 == 0 {
            return None;
        }
        let field = self.places.get(usize::from(self.index.last[name as usize % NAMES_MAX]))?;
        (field.known == Some(name)).then_some(field)
    }

    #[cold]
    fn search(&self, name: KnownName) -> Option<&Field> {
        self.as_slice().iter().find(|field| field.known == Some(name))
    }

    /// The fields of any name, in order; `bytes` is the buffer the head was parsed from.
    pub fn named<'a>(&'a self, name: &'a HeaderName, bytes: &'a [u8]) -> impl Iterator<Item = &'a Field> {
        self.as_slice().iter().filter(move |field| match (name, field.known) {
            (HeaderName::Known(name), known) => known == Some(*name),
            (HeaderName::Other(name), None) => field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()),
            (HeaderName::Other(_), Some(_)) => false,
        })
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT_MAX: usize = 300;

    fn field(number: usize, known: Option<KnownName>) -> Field {
        Field { name: Span::new(number, number + 1), value: Span::new(number, number), known, canonical: false }
    }

    fn starts(fields: &Fields, name: KnownName) -> Vec<u32> {
        fields.all(name).map(|field| field.name.start).collect()
    }

    #[test]
    fn all_fields_of_a_name_are_found_in_order_wherever_they_stand() {
        for places in [[0, 0], [3, 3], [0, 1], [2, 299], [255, 256], [10, 266], [299, 299]] {
            let mut fields = Fields::default();
            for number in 0..COUNT_MAX {
                fields.push(field(number, places.contains(&number).then_some(KnownName::Via)));
            }
            let mut expected = places.map(|place| place as u32).to_vec();
            expected.dedup();
            assert_eq!(starts(&fields, KnownName::Via), expected);
            assert_eq!(fields.repeated() != 0, expected.len() > 1);
            assert!(starts(&fields, KnownName::Te).is_empty());
        }
    }

    #[test]
    fn a_cleared_table_holds_nothing_of_the_head_before() {
        let mut fields = Fields::default();
        fields.push(field(0, Some(KnownName::Via)));
        fields.push(field(1, Some(KnownName::Via)));
        fields.clear();
        assert_eq!((fields.known(), fields.repeated(), fields.as_slice().len()), (0, 0, 0));
        fields.push(field(2, None));
        fields.push(field(3, Some(KnownName::Via)));
        assert_eq!(starts(&fields, KnownName::Via), [3]);
    }

    #[test]
    fn a_table_is_filled_up_to_its_bound_or_its_places() {
        let mut fields = Fields::default();
        let mut numbers = 0..;
        let mut next = || numbers.next().map(|number| field(number, Some(KnownName::Via)));
        fields.fill(COUNT_MAX, &mut next);
        assert_eq!(fields.len(), 0);
        fields.push(field(0, None));
        fields.fill(3, &mut next);
        assert_eq!(starts(&fields, KnownName::Via), [0, 1]);
        fields.fill(2, &mut next);
        assert_eq!(fields.len(), 3);
        fields.fill(COUNT_MAX, &mut next);
        assert_eq!(fields.len(), PLACES_MIN);
    }
}
