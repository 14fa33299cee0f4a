//! Rows in memory that somebody else owns: an address, and elements from one row to the next.
use std::marker::PhantomData;

/// Rows to read. Row `i` starts at `ptr + i * row_stride` elements; its elements are contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Strided<T> {
    pub ptr: *const T,
    pub row_stride: usize,
}

/// Rows to write. Rows must not overlap: with more than one row, `row_stride` is at least the row's length.
#[derive(Clone, Copy, Debug)]
pub struct StridedMut<T> {
    pub ptr: *mut T,
    pub row_stride: usize,
}

// SAFETY: these are plain addresses; every access goes through an unsafe entry point whose caller vouches for them.
unsafe impl<T: Sync> Send for Strided<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Strided<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for StridedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for StridedMut<T> {}

/// Some rows of `width` elements that may be read for as long as `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    from: Strided<T>,
    rows: usize,
    width: usize,
    borrow: PhantomData<&'a [T]>,
}

impl<'a, T> Rows<'a, T> {
    /// # Safety
    /// For `'a`, `from` has `rows` rows of `width` elements to read, and nobody writes to them.
    pub(crate) unsafe fn new(from: Strided<T>, rows: usize, width: usize) -> Rows<'a, T> {
        Rows { from, rows, width, borrow: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows);
        // SAFETY: the row exists, as `new` was promised.
        unsafe { std::slice::from_raw_parts(self.from.ptr.add(row * self.from.row_stride), self.width) }
    }

    /// The `count` rows from `begin` on.
    pub(crate) fn part(&self, begin: usize, count: usize) -> Rows<'a, T> {
        assert!(begin <= self.rows && count <= self.rows - begin);
        let ptr = self.from.ptr.wrapping_add(begin * self.from.row_stride);
        Rows { from: Strided { ptr, ..self.from }, rows: count, ..*self }
    }
}

/// Some rows of `width` elements that may be written for as long as `'a`, by this owner alone.
pub(crate) struct RowsMut<'a, T> {
    to: StridedMut<T>,
    rows: usize,
    width: usize,
    borrow: PhantomData<&'a mut [T]>,
}

impl<'a, T: Copy> RowsMut<'a, T> {
    /// # Safety
    /// For `'a`, `to` has `rows` rows of `width` elements to write, they do not overlap, and nobody else touches them.
    pub(crate) unsafe fn new(to: StridedMut<T>, rows: usize, width: usize) -> RowsMut<'a, T> {
        RowsMut { to, rows, width, borrow: PhantomData }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    #[inline(always)]
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows);
        // SAFETY: the row exists and is this owner's alone, as `new` was promised.
        unsafe { std::slice::from_raw_parts_mut(self.to.ptr.add(row * self.to.row_stride), self.width) }
    }

    /// Takes the first `count` rows off.
    pub(crate) fn split_off_front(&mut self, count: usize) -> RowsMut<'a, T> {
        assert!(count <= self.rows);
        let front = RowsMut { to: self.to, rows: count, width: self.width, borrow: PhantomData };
        self.to.ptr = self.to.ptr.wrapping_add(count * self.to.row_stride);
        self.rows -= count;
        front
    }
}
