//! Memory that calls borrow and give back, so that repeated calls do not fault pages in again.
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Floats in a cache line. Buffers begin at one: vector loads that straddle lines cost a quarter of the micro-kernel's
/// speed (72 against 97 GFLOP/s on Zen 3).
const LINE: usize = 16;

/// A pool of scratch memory, usually one for each device. Keeps what calls gave back until it is dropped.
#[derive(Default)]
pub struct Workspaces {
    free: Mutex<Vec<Vec<f32>>>,
}

impl Workspaces {
    pub fn new() -> Workspaces {
        Workspaces::default()
    }

    /// Bytes that are kept for later calls.
    pub fn kept_bytes(&self) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.iter().map(|floats| size_of_val(&floats[..])).sum()
    }

    /// A buffer of `len` floats or slightly more, their values unspecified.
    pub(crate) fn take(&self, len: usize) -> Buffer<'_> {
        let len = LINE * (round_up(len.div_ceil(LINE).max(1)) + 1);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free.iter().position(|kept| kept.len() == len);
        let kept = kept.map(|at| free.swap_remove(at));
        drop(free);
        // Zeroed memory comes from the system untouched: its pages are faulted in by the threads that use them.
        let floats = kept.unwrap_or_else(|| vec![0.0; len]);
        let start = floats.as_ptr().align_offset(LINE * size_of::<f32>());
        let mut buffer = Buffer { pool: self, floats, start };
        if cfg!(debug_assertions) {
            // Shows when something is read that this call did not write.
            buffer.fill(f32::NAN);
        }
        buffer
    }
}

/// To three significant bits, so that calls of about the same size use the same buffers.
fn round_up(lines: usize) -> usize {
    let step = 1 << lines.ilog2().saturating_sub(2);
    lines.next_multiple_of(step)
}

/// Floats from a pool, aligned to 64 bytes; dropped, they go back.
pub(crate) struct Buffer<'p> {
    pool: &'p Workspaces,
    floats: Vec<f32>,
    start: usize,
}

impl Deref for Buffer<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats[self.start..]
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[self.start..]
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let floats = std::mem::take(&mut self.floats);
        self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(floats);
    }
}

/// Cuts a buffer into consecutive parts, each starting at a cache line.
pub(crate) struct Cutter<'a>(&'a mut [f32]);

impl<'a> Cutter<'a> {
    pub(crate) fn new(buffer: &'a mut [f32]) -> Cutter<'a> {
        Cutter(buffer)
    }

    /// The space that a part of `len` floats takes.
    pub(crate) const fn space(len: usize) -> usize {
        len.next_multiple_of(LINE)
    }

    pub(crate) fn cut(&mut self, len: usize) -> &'a mut [f32] {
        let (part, rest) = std::mem::take(&mut self.0).split_at_mut(Self::space(len));
        self.0 = rest;
        &mut part[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_comes_back_for_the_next_call_of_its_size() {
        let pool = Workspaces::new();
        let first = pool.take(1000);
        assert!(first.len() >= 1000 && first.as_ptr().addr().is_multiple_of(64));
        let address = first.as_ptr();
        drop(first);
        assert_eq!(pool.kept_bytes(), 4 * (1024 + LINE));
        assert_eq!(pool.take(1001).as_ptr(), address);
        assert_eq!(pool.kept_bytes(), 4 * (1024 + LINE));
    }

    #[test]
    fn rounding_wastes_at_most_a_quarter() {
        for lines in 1..10_000 {
            let rounded = round_up(lines);
            assert!((lines..=lines + lines / 4).contains(&rounded), "{lines} became {rounded}");
        }
    }

    #[test]
    fn parts_do_not_overlap_and_start_at_cache_lines() {
        let pool = Workspaces::new();
        let mut buffer = pool.take(Cutter::space(5) + Cutter::space(33));
        let mut cutter = Cutter::new(&mut buffer);
        let (a, b) = (cutter.cut(5), cutter.cut(33));
        assert_eq!((a.len(), b.len()), (5, 33));
        assert_eq!(b.as_ptr().addr() - a.as_ptr().addr(), 64);
    }
}
