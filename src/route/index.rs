//! One hash table for every step of a lookup: from an owner and a text to a number.
//!
//! All hosts, whole paths and segments of a table lie in it, so a step is one hash and, nearly always, one probe.
//! Hashes are keyed at random: nobody outside can choose colliding texts.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

/// Entries per slot at most, in tenths: a probe for a text that is not there stays short.
const LOAD_TENTHS_MAX: usize = 5;
const SLOTS_MIN: usize = 16;
const VACANT: u32 = u32::MAX;

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
}

/// Octets of a text that fit its slot; longer ones lie in the arena.
const INLINE_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Slot {
    hash: u32,
    owner: Owner,
    value: u32,
    length: u32,
    /// The text, or where it begins in the arena.
    text: [u8; INLINE_MAX],
}

const _: () = assert!(size_of::<Slot>() == 32, "two slots to a cache line");
const EMPTY: Slot = Slot { hash: 0, owner: Owner(0), value: VACANT, length: 0, text: [0; INLINE_MAX] };

/// The table: open addressing, linear probing, long texts in one arena.
#[derive(Debug)]
pub(super) struct Index {
    slots: Vec<Slot>,
    texts: Vec<u8>,
    count: usize,
    keys: RandomState,
}

impl Default for Index {
    fn default() -> Self {
        Self { slots: vec![EMPTY; SLOTS_MIN], texts: Vec::new(), count: 0, keys: RandomState::new() }
    }
}

impl Index {
    /// The number under `text`, if there is one.
    #[inline]
    pub(super) fn find(&self, owner: Owner, text: &[u8]) -> Option<u32> {
        let slot = &self.slots[self.place(self.hash(owner, text), owner, text)];
        (slot.value != VACANT).then_some(slot.value)
    }

    /// The number under `text`, which becomes `value` if there was none.
    pub(super) fn find_or_insert(&mut self, owner: Owner, text: &[u8], value: u32) -> u32 {
        debug_assert!(value != VACANT, "tables are bounded far below");
        let hash = self.hash(owner, text);
        let at = self.place(hash, owner, text);
        if self.slots[at].value != VACANT {
            return self.slots[at].value;
        }
        self.slots[at] = Slot { hash, owner, value, length: text.len() as u32, text: self.store(text) };
        self.count += 1;
        if self.count * 10 > self.slots.len() * LOAD_TENTHS_MAX {
            self.grow();
        }
        value
    }

    #[inline]
    fn hash(&self, owner: Owner, text: &[u8]) -> u32 {
        let mut hasher = self.keys.build_hasher();
        hasher.write_u32(owner.0);
        hasher.write(text);
        hasher.finish() as u32
    }

    /// The slot that holds `text`, or the vacant one where it would go. Ends because the table is never full.
    #[inline]
    fn place(&self, hash: u32, owner: Owner, text: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.value == VACANT || (slot.hash == hash && slot.owner == owner && self.holds(slot, text)) {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn holds(&self, slot: &Slot, text: &[u8]) -> bool {
        if slot.length as usize != text.len() {
            return false;
        }
        if let Some(inline) = slot.text.get(..text.len()) {
            return inline == text;
        }
        let [a, b, c, d, ..] = slot.text;
        let start = u32::from_ne_bytes([a, b, c, d]) as usize;
        self.texts[start..start + text.len()] == *text
    }

    fn store(&mut self, text: &[u8]) -> [u8; INLINE_MAX] {
        let mut inline = [0; INLINE_MAX];
        if text.len() <= INLINE_MAX {
            inline[..text.len()].copy_from_slice(text);
        } else {
            inline[..4].copy_from_slice(&(self.texts.len() as u32).to_ne_bytes());
            self.texts.extend_from_slice(text);
        }
        inline
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
    fn the_first_number_of_a_text_stays() {
        let mut index = Index::default();
        index.find_or_insert(Owner::HOSTS, b"a", 1);
        assert_eq!(index.find_or_insert(Owner::HOSTS, b"a", 2), 1);
        assert_eq!(index.find(Owner::WILDCARDS, b"a"), None);
    }
}
