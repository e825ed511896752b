//! Things kept for their next use: last in first out, bounded, and fewer when fewer are needed.

use std::cell::{Cell, RefCell};

/// Free things of one kind. What nobody needed between two calls of [`Self::trim`] is given up by halves, so that a
/// burst does not hold its memory for ever.
#[derive(Debug)]
pub struct Shelf<T> {
    free: RefCell<Vec<T>>,
    /// The fewest that were free since the last trim: so many were not needed. Never more than are free.
    unused: Cell<usize>,
    free_max: usize,
}

impl<T> Shelf<T> {
    /// An empty shelf that keeps at most `free_max` things.
    pub fn new(free_max: usize) -> Self {
        Self { free: RefCell::default(), unused: Cell::new(0), free_max }
    }

    /// The one that was put back last.
    #[inline]
    pub fn take(&self) -> Option<T> {
        let mut free = self.free.borrow_mut();
        let thing = free.pop()?;
        if free.len() < self.unused.get() {
            self.unused.set(free.len());
        }
        Some(thing)
    }

    /// Puts one back; one too many is dropped.
    #[inline]
    pub fn give(&self, thing: T) {
        let mut free = self.free.borrow_mut();
        if free.len() < self.free_max {
            free.push(thing);
        }
    }

    /// Drops half of what was not needed since the last call; to be called a few times a second.
    pub fn trim(&self) {
        let mut free = self.free.borrow_mut();
        let surplus = self.unused.get().min(free.len()).div_ceil(2);
        // The oldest are at the front: the ones whose memory is coldest.
        let dropped: Vec<T> = free.drain(..surplus).collect();
        self.unused.set(free.len());
        drop(free);
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count<T>(shelf: &Shelf<T>) -> usize {
        shelf.free.borrow().len()
    }

    #[test]
    fn the_last_put_back_is_the_first_taken() {
        let shelf = Shelf::new(2);
        (1..=3).for_each(|thing| shelf.give(thing));
        assert_eq!((shelf.take(), shelf.take(), shelf.take()), (Some(2), Some(1), None));
    }

    #[test]
    fn what_is_not_needed_is_given_up_by_halves() {
        let shelf = Shelf::new(100);
        (0..64).for_each(|thing| shelf.give(thing));
        shelf.trim();
        assert_eq!(count(&shelf), 64, "they were all in use a moment ago");
        shelf.trim();
        assert_eq!(count(&shelf), 32);
        let taken: Vec<_> = (0..30).filter_map(|_| shelf.take()).collect();
        taken.into_iter().for_each(|thing| shelf.give(thing));
        shelf.trim();
        assert_eq!(count(&shelf), 31, "only two of them were idle");
    }
}
