//! Buffers for ciphertext, lent while there is some.

use crate::base::{Buffer, Shelf};

/// Room for most heads and small answers, sealed.
pub(super) const SMALL_BYTES: usize = 4 * 1024;
/// Room for the content of any pooled buffer, sealed, and for every record.
pub(super) const LARGE_BYTES: usize = 68 * 1024;
/// The longest record there is: RFC 5246, section 6.2.3, which is longer than RFC 8446 allows.
const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;

const _: () = assert!(RECORD_BYTES_MAX < LARGE_BYTES, "a record must fit the large buffer");

/// Free small buffers a shard keeps.
const SMALL_FREE_MAX: usize = 1024;
/// Free large buffers a shard keeps.
const LARGE_FREE_MAX: usize = 64;

/// A shard's free buffers for ciphertext.
#[derive(Debug)]
pub struct CipherBuffers {
    small: Shelf<Buffer>,
    large: Shelf<Buffer>,
}

impl Default for CipherBuffers {
    fn default() -> Self {
        Self { small: Shelf::new(SMALL_FREE_MAX), large: Shelf::new(LARGE_FREE_MAX) }
    }
}

impl CipherBuffers {
    pub(super) fn small(&self) -> Buffer {
        self.small.take().unwrap_or_else(|| Buffer::with_room(SMALL_BYTES))
    }

    pub(super) fn large(&self) -> Buffer {
        self.large.take().unwrap_or_else(|| Buffer::with_room(LARGE_BYTES))
    }

    /// An empty buffer with room for `needed` octets; what no pooled one holds is allocated.
    pub(super) fn holding(&self, needed: usize) -> Buffer {
        if needed <= SMALL_BYTES {
            self.small()
        } else if needed <= LARGE_BYTES {
            self.large()
        } else {
            Buffer::with_room(needed)
        }
    }

    /// Takes a buffer back; one of another size is freed.
    pub(super) fn give(&self, mut buffer: Buffer) {
        buffer.clear();
        match buffer.capacity() {
            SMALL_BYTES => self.small.give(buffer),
            LARGE_BYTES => self.large.give(buffer),
            _ => {}
        }
    }

    /// Frees some of what was not needed of late; to be called a few times a second.
    pub fn trim(&self) {
        self.small.trim();
        self.large.trim();
    }
}
