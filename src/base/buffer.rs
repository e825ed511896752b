//! Owned byte buffers and the shard's bounded pool of them.
//!
//! A buffer travels by value into an IO call and comes back with its result, so that a completion-based driver may
//! write into it while nobody else can. Two sizes: a small one for heads and slow bodies, a large one for bodies that
//! have proven to flow.

use super::Shelf;

/// Room of a small buffer: a typical head, or a slow body's chunk.
pub const SMALL_BUFFER_BYTES: usize = 16 * 1024;
/// Room of a large buffer: the largest head, or a fast body's chunk.
pub const LARGE_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes with a filled front and free room behind. The room is fixed at creation; reads fill it, writers may append.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// An empty buffer with `room` bytes of capacity.
    pub fn with_room(room: usize) -> Self {
        Self { bytes: Vec::with_capacity(room) }
    }

    /// The filled bytes.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        &self.bytes
    }

    /// Free bytes behind the filled ones.
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Filled and free bytes together.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets the filled bytes.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Drops the first `count` filled bytes and moves the rest to the front.
    pub fn consume(&mut self, count: usize) {
        if count >= self.bytes.len() {
            self.bytes.clear();
        } else if count > 0 {
            self.bytes.copy_within(count.., 0);
            self.bytes.truncate(self.bytes.len() - count);
        }
    }

    /// The underlying vector, for encoders that append and for the IO shells. Its capacity must not grow in steady
    /// state: check [`Self::room`] before appending what a peer sized.
    #[inline]
    pub fn vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Gives the vector away; [`Self::from_vec`] is the way back.
    #[inline]
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes a vector as a buffer.
    #[inline]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

/// A shard's free buffers, last in first out so that the hottest memory is used again. It keeps at most a bounded
/// number of free ones, and fewer when fewer are needed; how many are lent is bounded by the connections of the shard,
/// each of which holds a few.
#[derive(Debug)]
pub struct BufferPool {
    small: Shelf<Buffer>,
    large: Shelf<Buffer>,
}

impl BufferPool {
    /// A pool that keeps at most these numbers of free buffers.
    pub fn new(small_free_max: usize, large_free_max: usize) -> Self {
        Self { small: Shelf::new(small_free_max), large: Shelf::new(large_free_max) }
    }

    /// An empty buffer of [`SMALL_BUFFER_BYTES`].
    #[inline]
    pub fn small(&self) -> Buffer {
        self.small.take().unwrap_or_else(|| Buffer::with_room(SMALL_BUFFER_BYTES))
    }

    /// An empty buffer of [`LARGE_BUFFER_BYTES`].
    #[inline]
    pub fn large(&self) -> Buffer {
        self.large.take().unwrap_or_else(|| Buffer::with_room(LARGE_BUFFER_BYTES))
    }

    /// Frees some of what was not needed of late; to be called a few times a second.
    pub fn trim(&self) {
        self.small.trim();
        self.large.trim();
    }

    /// An empty buffer with room for `needed` octets; what no pooled one holds is allocated.
    #[inline]
    pub fn holding(&self, needed: usize) -> Buffer {
        if needed <= SMALL_BUFFER_BYTES {
            self.small()
        } else if needed <= LARGE_BUFFER_BYTES {
            self.large()
        } else {
            Buffer::with_room(needed)
        }
    }

    /// Takes a buffer back; one that grew or is one too many is freed.
    #[inline]
    pub fn give(&self, mut buffer: Buffer) {
        buffer.clear();
        match buffer.capacity() {
            SMALL_BUFFER_BYTES => self.small.give(buffer),
            LARGE_BUFFER_BYTES => self.large.give(buffer),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_lent_again_empty() {
        let pool = BufferPool::new(1, 1);
        let mut buffer = pool.small();
        buffer.vec().extend_from_slice(b"abc");
        let address = buffer.filled().as_ptr();
        pool.give(buffer);
        let again = pool.small();
        assert_eq!((again.filled().as_ptr(), again.filled().len()), (address, 0));
    }

    #[test]
    fn consuming_moves_the_rest_to_the_front() {
        let mut buffer = Buffer::from_vec(b"headrest".to_vec());
        buffer.consume(4);
        assert_eq!(buffer.filled(), b"rest");
        buffer.consume(9);
        assert_eq!(buffer.filled(), b"");
    }
}
