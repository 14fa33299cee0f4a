//! Which keys rows see: `[rows][2]`, row i the keys `[lo, hi)`, none if lo >= hi. Checked at the border.
use crate::isa::Simd;
use std::ops::Range;

/// The keys that any of the rows sees, and all between them.
pub(crate) fn hull(bounds: &[i32]) -> Range<usize> {
    let (mut begin, mut end) = (usize::MAX, 0);
    for interval in bounds.chunks_exact(2).filter(|interval| interval[0] < interval[1]) {
        begin = begin.min(interval[0] as usize);
        end = end.max(interval[1] as usize);
    }
    begin.min(end)..end
}

/// What the lanes of a tile see of a block of keys, counted from the block's first key.
pub(crate) struct Lanes<'a> {
    lo: &'a mut [f32],
    hi: &'a mut [f32],
}

impl<'a> Lanes<'a> {
    pub(crate) fn new(lo: &'a mut [f32], hi: &'a mut [f32]) -> Lanes<'a> {
        Lanes { lo, hi }
    }

    /// Takes the rows' intervals; lanes without a row see every key. True if all rows see all of `keys`, which are
    /// counted from `first` like everything here.
    pub(crate) fn set(&mut self, bounds: &[i32], first: usize, keys: &Range<usize>) -> bool {
        // Exact in float32: clamped to the keys, which are fewer than 2^24.
        let clamp = |key: i32| (key as usize).saturating_sub(first).clamp(keys.start, keys.end) as f32;
        let (begin, end) = (keys.start as f32, keys.end as f32);
        self.lo.fill(begin);
        self.hi.fill(end);
        let mut all = true;
        for (lane, interval) in bounds.chunks_exact(2).enumerate() {
            let sees = interval[0] < interval[1];
            self.lo[lane] = if sees { clamp(interval[0]) } else { end };
            self.hi[lane] = if sees { clamp(interval[1]) } else { begin };
            all &= self.lo[lane] == begin && self.hi[lane] == end;
        }
        all
    }

    /// The keys that every lane sees, of those that were set.
    pub(crate) fn common(&self) -> Range<usize> {
        let begin = self.lo.iter().fold(0.0, |a: f32, b| a.max(*b));
        let end = self.hi.iter().fold(f32::INFINITY, |a, b| a.min(*b));
        begin as usize..end.max(begin) as usize
    }

    /// Lanes from `lane` on, which have no row, see nothing of `keys`.
    pub(crate) fn hide_from(&mut self, lane: usize, keys: &Range<usize>) {
        self.lo[lane..].fill(keys.end as f32);
        self.hi[lane..].fill(keys.start as f32);
    }

    pub(crate) fn sees(&self, lane: usize, key: usize) -> bool {
        (self.lo[lane]..self.hi[lane]).contains(&(key as f32))
    }

    /// `value` where the lanes from `at` on see the key, `hidden` elsewhere.
    #[inline(always)]
    pub(crate) fn select<S: Simd>(
        &self,
        simd: S,
        at: usize,
        key: usize,
        value: S::Vector,
        hidden: S::Vector,
    ) -> S::Vector {
        let key = simd.splat(key as f32);
        let value = simd.select(simd.less(key, simd.load(self.lo, at)), hidden, value);
        simd.select(simd.less(key, simd.load(self.hi, at)), value, hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hull_ignores_rows_that_see_nothing() {
        assert_eq!(hull(&[]), 0..0);
        assert_eq!(hull(&[3, 3, 9, -4]), 0..0);
        assert_eq!(hull(&[5, 7, 0, 0, 2, 3]), 2..7);
    }

    #[test]
    fn lanes_see_their_intervals_within_the_keys() {
        let (mut lo, mut hi) = ([0.0; 4], [0.0; 4]);
        let mut lanes = Lanes::new(&mut lo, &mut hi);
        assert!(lanes.set(&[0, 100, 12, 18], 10, &(2..8)));
        assert!(!lanes.set(&[13, 15, 5, 5, 0, 12], 10, &(2..8)));
        fn seen_by(lanes: &Lanes, lane: usize) -> Vec<usize> {
            (0..10).filter(|&key| lanes.sees(lane, key)).collect()
        }
        let seen = |lane| seen_by(&lanes, lane);
        assert_eq!(seen(0), [3, 4]);
        assert!(seen(1).is_empty() && seen(2).is_empty());
        assert_eq!(seen(3), [2, 3, 4, 5, 6, 7]);
        assert!(lanes.common().is_empty());
        assert!(!lanes.set(&[0, 17, 13, 18], 10, &(2..8)));
        assert_eq!(lanes.common(), 3..7);
        lanes.hide_from(3, &(2..8));
        assert!(lanes.common().is_empty() && seen_by(&lanes, 3).is_empty() && seen_by(&lanes, 1) == [3, 4, 5, 6, 7]);
    }
}
