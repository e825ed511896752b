//! One hash table for every step of a lookup: from an owner and a text to a number.
//!
//! All hosts, whole paths and segments of a table lie in it, so a step is one hash and, nearly always, one probe. Short
//! texts are hashed and compared as two words. Hashes are keyed at random, and only the operator's texts are in the
//! table: nobody outside can lengthen a probe.

use ahash::RandomState;

use crate::base::word::{Words, words};

/// Entries per slot at most, in tenths: a probe for a text that is not there stays short.
const LOAD_TENTHS_MAX: usize = 5;
const SLOTS_MIN: usize = 16;
const VACANT: u32 = u32::MAX;

/// Spreads small numbers over a word: the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whom a text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(u32);

impl Owner {
    /// Whole host names.
    pub(super) const HOSTS: Self = Self(0);
    /// Names to the right of `*.`.
    pub(super) const WILDCARDS: Self = Self(1);

    /// The whole exact paths of a tree.
    #[inline]
    pub(super) fn paths(tree: u32) -> Self {
        Self(2 + 2 * tree)
    }

    /// The literal segments below a node.
    #[inline]
    pub(super) fn segments(node: u32) -> Self {
        Self(3 + 2 * node)
    }

    #[inline(always)]
    fn with_length(self, text: &[u8]) -> u64 {
        u64::from(self.0) << 32 | text.len() as u64
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Slot {
    key: Key,
    value: u32,
    hash: u32,
}

/// What tells one entry from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    /// The owner, and the length of the text.
    owner_and_length: u64,
    /// The text where it is short; where it lies in the arena, else.
    words: Words,
}

const _: () = assert!(size_of::<Slot>() == 32, "two slots to a cache line");
const NO_KEY: Key = Key { owner_and_length: 0, words: [0; 2] };
const EMPTY: Slot = Slot { key: NO_KEY, value: VACANT, hash: 0 };

/// The table: open addressing, linear probing, long texts in one arena.
#[derive(Debug)]
pub(super) struct Index {
    slots: Vec<Slot>,
    texts: Vec<u8>,
    count: usize,
    keys: [u64; 2],
}

impl Default for Index {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            slots: vec![EMPTY; SLOTS_MIN],
            texts: Vec::new(),
            count: 0,
            keys: [random.hash_one(0), random.hash_one(1)],
        }
    }
}

impl Index {
    /// The number under `text`, if there is one.
    #[inline(always)]
    pub(super) fn find(&self, owner: Owner, text: &[u8]) -> Option<u32> {
        let value = self.slots[self.place(owner, text).0].value;
        (value != VACANT).then_some(value)
    }

    /// The number under `text`, which becomes `value` if there was none.
    pub(super) fn find_or_insert(&mut self, owner: Owner, text: &[u8], value: u32) -> u32 {
        debug_assert!(value != VACANT, "tables are bounded far below");
        let (at, hash) = self.place(owner, text);
        if self.slots[at].value != VACANT {
            return self.slots[at].value;
        }
        let words = words(text).unwrap_or_else(|| self.store(text));
        self.slots[at] = Slot { key: Key { owner_and_length: owner.with_length(text), words }, value, hash };
        self.count += 1;
        if self.count * 10 > self.slots.len() * LOAD_TENTHS_MAX {
            self.grow();
        }
        value
    }

    /// The slot that holds `text`, or the vacant one where it would go; and its hash. Ends because the table is never
    /// full.
    #[inline(always)]
    fn place(&self, owner: Owner, text: &[u8]) -> (usize, u32) {
        let owner_and_length = owner.with_length(text);
        match words(text) {
            Some(words) => {
                let hash = self.mixed(owner_and_length.wrapping_mul(SPREAD), words) as u32;
                let key = Key { owner_and_length, words };
                (self.probe(hash, |slot| slot.key == key), hash)
            }
            None => self.place_long(owner_and_length, text),
        }
    }

    #[inline(never)]
    fn place_long(&self, owner_and_length: u64, text: &[u8]) -> (usize, u32) {
        let mut hash = owner_and_length.wrapping_mul(SPREAD);
        for block in text.as_chunks::<16>().0.iter().chain(text.last_chunk()) {
            hash = self.mixed(hash, words(block).unwrap_or_default());
        }
        let hash = hash as u32;
        let holds = |slot: &Slot| {
            let start = slot.key.words[0] as usize;
            slot.hash == hash
                && slot.key.owner_and_length == owner_and_length
                && self.texts.get(start..start + text.len()) == Some(text)
        };
        (self.probe(hash, holds), hash)
    }

    /// As wyhash does: a product of both words, each keyed, folded.
    #[inline(always)]
    fn mixed(&self, state: u64, words: Words) -> u64 {
        let product = u128::from(words[0] ^ self.keys[0]) * u128::from(words[1] ^ self.keys[1] ^ state);
        product as u64 ^ (product >> 64) as u64
    }

    #[inline(always)]
    fn probe(&self, hash: u32, holds: impl Fn(&Slot) -> bool) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        // A vacant slot may look like an empty text of the first owner, which says the same: nothing is there.
        while !holds(&self.slots[at]) && self.slots[at].value != VACANT {
            at = (at + 1) & mask;
        }
        at
    }

    /// Keeps a long text, and says where.
    fn store(&mut self, text: &[u8]) -> Words {
        let start = self.texts.len() as u64;
        self.texts.extend_from_slice(text);
        [start, 0]
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; mask + 1]);
        for slot in old.into_iter().filter(|slot| slot.value != VACANT) {
            let mut at = slot.hash as usize & mask;
            while self.slots[at].value != VACANT {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_found_again_under_its_owner_only() {
        let mut index = Index::default();
        for number in 0..5_000 {
            let text = format!("segment{number}");
            assert_eq!(index.find_or_insert(Owner::segments(number % 7), text.as_bytes(), number), number);
        }
        for number in 0..5_000 {
            let text = format!("segment{number}");
            assert_eq!(index.find(Owner::segments(number % 7), text.as_bytes()), Some(number));
            assert_eq!(index.find(Owner::segments(number % 7 + 1), text.as_bytes()), None);
            assert_eq!(index.find(Owner::paths(number % 7), text.as_bytes()), None);
        }
    }

    #[test]
    fn long_texts_are_told_apart_wherever_they_differ() {
        let mut index = Index::default();
        let text = |place: usize, length: usize| {
            let mut text = vec![b'a'; length];
            text[place] = b'b';
            text
        };
        let lengths = [17, 31, 32, 33, 64];
        let places = || lengths.into_iter().flat_map(|length| (0..length).map(move |place| (place, length)));
        for (number, (place, length)) in places().enumerate() {
            assert_eq!(index.find_or_insert(Owner::HOSTS, &text(place, length), number as u32), number as u32);
        }
        for (number, (place, length)) in places().enumerate() {
            assert_eq!(index.find(Owner::HOSTS, &text(place, length)), Some(number as u32));
            assert_eq!(index.find(Owner::WILDCARDS, &text(place, length)), None);
        }
    }

    #[test]
    fn an_empty_text_is_not_there_until_it_is_inserted() {
        let mut index = Index::default();
        assert_eq!(index.find(Owner::HOSTS, b""), None);
        index.find_or_insert(Owner::HOSTS, b"", 7);
        assert_eq!((index.find(Owner::HOSTS, b""), index.find(Owner::WILDCARDS, b"")), (Some(7), None));
    }

    #[test]
    fn many_similar_texts_of_many_owners_need_few_probes() {
        let mut index = Index::default();
        for number in 0..10_000 {
            let text = format!("area-{}", number % 10);
            index.find_or_insert(Owner::segments(number / 10), text.as_bytes(), number);
        }
        let mask = index.slots.len() - 1;
        let used = index.slots.iter().enumerate().filter(|(_, slot)| slot.value != VACANT);
        let steps: usize = used.map(|(at, slot)| at.wrapping_sub(slot.hash as usize) & mask).sum();
        assert!(steps < 2 * index.count, "{steps} steps for {} texts", index.count);
    }

    #[test]
    fn the_first_number_of_a_text_stays() {
        let mut index = Index::default();
        index.find_or_insert(Owner::HOSTS, b"a", 1);
        assert_eq!(index.find_or_insert(Owner::HOSTS, b"a", 2), 1);
        assert_eq!(index.find(Owner::WILDCARDS, b"a"), None);
    }
}
