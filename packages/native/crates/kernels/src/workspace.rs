//! Memory that calls borrow and give back, so that repeated calls do not fault pages in again.
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Floats in a cache line. Buffers begin at one: vector loads that straddle lines cost a quarter of the micro-kernel's
/// speed (72 against 97 GFLOP/s on Zen 3).
const LINE: usize = 16;

/// A pool of scratch memory, usually one for each device. What it lent and what it keeps for later calls are together never
/// more than the most that it lent at a time.
#[derive(Default)]
pub struct Workspaces {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that came back first is first.
    free: Vec<Vec<f32>>,
    /// Floats.
    lent: usize,
    most_lent: usize,
}

impl State {
    /// The smallest that has `len` floats.
    fn reuse(&mut self, len: usize) -> Option<Vec<f32>> {
        let fitting = (0..self.free.len()).filter(|&at| self.free[at].len() >= len);
        let best = fitting.min_by_key(|&at| self.free[at].len())?;
        Some(self.free.remove(best))
    }

    /// What is kept no longer.
    fn shrink(&mut self) -> Vec<Vec<f32>> {
        let mut kept: usize = self.free.iter().map(Vec::len).sum();
        let excess = self.free.iter().take_while(|floats| {
            let exceeds = self.lent + kept > self.most_lent;
            kept -= floats.len();
            exceeds
        });
        let count = excess.count();
        self.free.drain(..count).collect()
    }
}

impl Workspaces {
    pub fn new() -> Workspaces {
        Workspaces::default()
    }

    /// Bytes that are kept for later calls.
    pub fn kept_bytes(&self) -> usize {
        self.lock().free.iter().map(|floats| size_of_val(&floats[..])).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` floats or more, their values unspecified.
    pub(crate) fn take(&self, len: usize) -> Buffer<'_> {
        let len = LINE * (round_up(len.div_ceil(LINE).max(1)) + 1);
        let mut state = self.lock();
        let kept = state.reuse(len);
        state.lent += kept.as_ref().map_or(len, Vec::len);
        state.most_lent = state.most_lent.max(state.lent);
        let gone = state.shrink();
        drop(state);
        drop(gone);
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
        let mut state = self.pool.lock();
        state.lent -= floats.len();
        state.free.push(floats);
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
    fn calls_of_other_sizes_keep_no_more_than_was_lent_at_a_time() {
        let pool = Workspaces::new();
        let sizes = [100, 300, 1000, 3000, 10_000, 2000, 700, 10_000];
        for len in sizes {
            drop((pool.take(len), pool.take(100)));
        }
        let most = 4 * (LINE * (round_up(10_000 / LINE) + 1) + LINE * (round_up(7) + 1));
        assert!(pool.kept_bytes() <= most, "{} bytes kept, {most} lent at a time", pool.kept_bytes());
        let large = pool.take(10_000);
        assert!(pool.kept_bytes() + 4 * large.floats.len() <= most);
    }

    #[test]
    fn the_smallest_buffer_that_fits_is_lent() {
        let pool = Workspaces::new();
        let (large, small) = (pool.take(8000), pool.take(1000));
        let addresses = [large.as_ptr(), small.as_ptr()];
        drop((large, small));
        let (first, second) = (pool.take(500), pool.take(500));
        assert_eq!([second.as_ptr(), first.as_ptr()], addresses);
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
