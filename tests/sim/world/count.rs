//! Counts what the shard allocates: the allocations made while one of its tasks is polled.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static INSIDE: Cell<u32> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static OCTETS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator with an eye on the shard.
pub struct Counting;

fn note(size: usize) {
    // A thread that is ending has no counters any more.
    let _ = INSIDE.try_with(|inside| {
        if inside.get() > 0 {
            ALLOCATIONS.with(|count| count.set(count.get() + 1));
            OCTETS.with(|octets| octets.set(octets.get() + size as u64));
        }
    });
}

// SAFETY: every call goes on to the system's allocator unchanged; the counters are plain cells without destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The shard's code begins.
pub fn enter() {
    INSIDE.with(|inside| inside.set(inside.get() + 1));
}

/// The shard's code ends.
pub fn leave() {
    INSIDE.with(|inside| inside.set(inside.get() - 1));
}

/// What the shard has allocated on this thread: how often, and how many octets.
pub fn allocations() -> (u64, u64) {
    (ALLOCATIONS.with(Cell::get), OCTETS.with(Cell::get))
}
