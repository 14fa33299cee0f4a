//! A block of keys and a panel of queries, by tiles: S^T = K Q^T and O^T += V^T P^T with P rounded to bfloat16.
//!
//! Scores are computed for some keys at a time, so that they stay in the first cache level until they are P, which lies as
//! the second product's B as soon as pairs of its rows are joined. P is relative to a base per row, not to the largest score:
//! floats, rounded ones too, are as exact above 1 as below. The base follows where a score is well above it, which is
//! rare, so sums are rarely scaled and the second product is of all keys of a block.
//!
//! lse comes from sums of P before it is rounded, as in PyTorch: it is as exact as in float32. But out is over the sum of
//! what was rounded, which PyTorch's is not: then P's errors weigh V - out in it, and where one key has nearly all the
//! weight, next to nothing. Backward's dP - delta, which cancels there, depends on that.
//!
//! Products and exponentials take turns. Interleaved step by step they take as long: next to any instruction on tiles,
//! vectors of 512 bits have one of their two ports (131 cycles for 128 FMAs and a step of 16, 80 and 66 alone).
use super::keys::KeyBlock;
use super::tile::{Scratch, add_visible};
use crate::bounds::Lanes;
use crate::isa::Simd;
use crate::tiles::{BLOCK, Operand, SIDE, TileProduct, Tiles, parts};
use std::ops::Range;

/// Keys whose scores are computed at a time.
const CHUNK: usize = 128;
/// A base follows the largest score once that is as many powers of two above it.
const SLACK: f32 = 8.0;

/// Floats for a chunk's scores and a block's P.
pub(super) const fn score_floats(keys: usize) -> usize {
    CHUNK * BLOCK + keys / 2 * BLOCK
}

/// As `tile::attend_block`; `factor`, which is not negative, makes scores logarithms to the base 2, after the product: q is
/// not rounded again.
#[inline(always)]
pub(super) fn attend_block<S: Simd>(
    simd: S,
    tiles: &Tiles<S>,
    scratch: &mut Scratch,
    block: &KeyBlock,
    panel: usize,
    bounds: &[i32],
    (d, factor): (usize, f32),
) {
    let keys = block.seen::<S>(bounds);
    if keys.is_empty() {
        return;
    }
    let all = scratch.lanes.set(bounds, block.begin, &keys);
    let padded = d.next_multiple_of(BLOCK);
    let (scores, p) = scratch.scores.split_at_mut(CHUNK * BLOCK);
    let lanes = panel * BLOCK..(panel + 1) * BLOCK;
    let mut softmax = Softmax {
        lanes: &scratch.lanes,
        common: scratch.lanes.common(),
        factor,
        base: &mut scratch.top[lanes.clone()],
        total: &mut scratch.total[lanes.clone()],
        rounded: &mut scratch.rounded[lanes],
        worth: scratch.worth,
    };
    let mut sums = Sums {
        tiles,
        block,
        hidden: (!all && keys.end > block.finite).then_some(&scratch.lanes),
        d,
        sums: &mut scratch.sums[panel * padded * BLOCK..][..padded * BLOCK],
    };
    // Chunks begin where they would for any other panel: what a row's sums are does not depend on its neighbours.
    let (mut begin, mut pending) = (keys.start, keys.start);
    while begin < keys.end {
        let chunk = begin..keys.end.min((begin / CHUNK + 1) * CHUNK);
        tiles.multiply(TileProduct {
            rows: chunk.len(),
            columns: BLOCK,
            depth: padded,
            a: Operand::of_rows(block.k, d, chunk.start),
            b: Operand::of_rows(scratch.queries, d, panel * BLOCK),
            c: scores,
            c_row: BLOCK,
            add: false,
        });
        if softmax.rebase(simd, &chunk, scores) {
            sums.add(&p[(pending - keys.start) / 2 * BLOCK..], pending..begin);
            sums.scale(simd, softmax.worth);
            pending = begin;
        }
        softmax.weigh(simd, &chunk, scores, &mut p[(begin - keys.start) / 2 * BLOCK..]);
        begin = chunk.end;
    }
    sums.add(&p[(pending - keys.start) / 2 * BLOCK..], pending..keys.end);
}

/// O^T of a panel so far.
struct Sums<'a, S: Simd> {
    tiles: &'a Tiles<S>,
    block: &'a KeyBlock<'a>,
    /// Where P must not meet values that are hidden from it.
    hidden: Option<&'a Lanes<'a>>,
    d: usize,
    sums: &'a mut [f32],
}

impl<S: Simd> Sums<'_, S> {
    /// Adds V^T P^T of these keys, whose P is `[pair of keys][query]`.
    #[inline(always)]
    fn add(&mut self, p: &[f32], keys: Range<usize>) {
        if keys.is_empty() {
            return;
        }
        if let Some(lanes) = self.hidden {
            return add_visible::<S>(lanes, self.block, &keys, p, &[1.0; BLOCK], self.sums);
        }
        self.tiles.multiply(TileProduct {
            rows: self.d.next_multiple_of(BLOCK),
            columns: BLOCK,
            depth: keys.len(),
            a: Operand::of_columns(self.block.v, self.d, keys.start),
            b: Operand { slots: p, row: BLOCK, step: SIDE * BLOCK, group: SIDE },
            c: self.sums,
            c_row: BLOCK,
            add: true,
        });
    }

    #[inline(always)]
    fn scale(&mut self, simd: S, worth: &[f32]) {
        for row in self.sums.chunks_exact_mut(BLOCK) {
            for at in [0, SIDE] {
                simd.store(row, at, simd.mul(simd.load(row, at), simd.load(worth, at)));
            }
        }
    }
}

/// The softmax of a panel's queries so far, and what hides keys from them.
struct Softmax<'a> {
    lanes: &'a Lanes<'a>,
    /// The keys that every lane sees.
    common: Range<usize>,
    factor: f32,
    /// As in [`Scratch`].
    base: &'a mut [f32],
    total: &'a mut [f32],
    rounded: &'a mut [f32],
    worth: &'a mut [f32],
}

impl Softmax<'_> {
    /// Makes bases fit the chunk's scores. True if sums must be scaled by `worth` for it.
    #[inline(always)]
    fn rebase<S: Simd>(&mut self, simd: S, chunk: &Range<usize>, scores: &[f32]) -> bool {
        let lowest = simd.splat(f32::NEG_INFINITY);
        let (factor, slack) = (simd.splat(self.factor), simd.splat(SLACK));
        let [before, common, after] = parts(chunk, self.common.clone());
        // A chain for each of four vectors, for latency. A NaN score may get lost here; its P will not.
        let mut top = [[lowest; 2]; 2];
        self.raise::<S, true>(simd, chunk.start, scores, before, &mut top);
        self.raise::<S, false>(simd, chunk.start, scores, common, &mut top);
        self.raise::<S, true>(simd, chunk.start, scores, after, &mut top);
        for v in 0..2 {
            let top = simd.max(top[0][v], top[1][v]);
            // No product of -inf and 0.
            let top = simd.select(simd.less(lowest, top), simd.mul(top, factor), lowest);
            let old = simd.load(self.base, v * SIDE);
            let new = simd.select(simd.less(simd.add(old, slack), top), top, old);
            simd.store(self.base, v * SIDE, new);
            // Rows without a base have sums of nothing, which may stay.
            let shrink = simd.exp2(simd.sub(old, new));
            simd.store(self.worth, v * SIDE, simd.select(simd.less(lowest, old), shrink, simd.splat(1.0)));
        }
        if self.worth.iter().all(|worth| *worth == 1.0) {
            return false;
        }
        for sums in [&mut *self.total, &mut *self.rounded] {
            for at in [0, SIDE] {
                simd.store(sums, at, simd.mul(simd.load(sums, at), simd.load(self.worth, at)));
            }
        }
        true
    }

    /// The largest scores of some pairs of a chunk's keys, which begin at `first`.
    #[inline(always)]
    fn raise<S: Simd, const HIDES: bool>(
        &self,
        simd: S,
        first: usize,
        scores: &[f32],
        pairs: Range<usize>,
        top: &mut [[S::Vector; 2]; 2],
    ) {
        let lowest = simd.splat(f32::NEG_INFINITY);
        for pair in pairs {
            let scores = &scores[2 * BLOCK * pair..][..2 * BLOCK];
            for (key, top) in top.iter_mut().enumerate() {
                for (v, top) in top.iter_mut().enumerate() {
                    let mut score = simd.load(scores, key * BLOCK + v * SIDE);
                    if HIDES {
                        score = self.lanes.select(simd, v * SIDE, first + 2 * pair + key, score, lowest);
                    }
                    *top = simd.max(score, *top);
                }
            }
        }
    }

    /// P of a chunk, and its sums.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, chunk: &Range<usize>, scores: &[f32], p: &mut [f32]) {
        let (lowest, zero) = (simd.splat(f32::NEG_INFINITY), simd.splat(0.0));
        let mut base = [zero; 2];
        for (v, base) in base.iter_mut().enumerate() {
            let of_row = simd.load(self.base, v * SIDE);
            // Rows that saw nothing yet, or nothing above -inf: subtract 0, as -inf - -inf would be NaN.
            *base = simd.select(simd.less(lowest, of_row), simd.sub(zero, of_row), zero);
        }
        let mut sums = PairSums {
            exact: [[simd.load(self.total, 0), simd.load(self.total, SIDE)], [zero; 2]],
            rounded: [simd.load(self.rounded, 0), simd.load(self.rounded, SIDE)],
        };
        let [before, common, after] = parts(chunk, self.common.clone());
        self.weigh_pairs::<S, true>(simd, chunk.start, base, scores, p, before, &mut sums);
        self.weigh_pairs::<S, false>(simd, chunk.start, base, scores, p, common, &mut sums);
        self.weigh_pairs::<S, true>(simd, chunk.start, base, scores, p, after, &mut sums);
        for v in 0..2 {
            simd.store(self.total, v * SIDE, simd.add(sums.exact[0][v], sums.exact[1][v]));
            simd.store(self.rounded, v * SIDE, sums.rounded[v]);
        }
    }

    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "registers")]
    fn weigh_pairs<S: Simd, const HIDES: bool>(
        &self,
        simd: S,
        first: usize,
        base: [S::Vector; 2],
        scores: &[f32],
        p: &mut [f32],
        pairs: Range<usize>,
        sums: &mut PairSums<S>,
    ) {
        let (zero, factor) = (simd.splat(0.0), simd.splat(self.factor));
        for pair in pairs {
            let scores = &scores[2 * BLOCK * pair..][..2 * BLOCK];
            let mut rounded = [zero; 2];
            for (key, rounded) in rounded.iter_mut().enumerate() {
                let mut p = [zero; 2];
                for v in 0..2 {
                    p[v] = simd.exp2(simd.mul_add(simd.load(scores, key * BLOCK + v * SIDE), factor, base[v]));
                    if HIDES {
                        p[v] = self.lanes.select(simd, v * SIDE, first + 2 * pair + key, p[v], zero);
                    }
                    sums.exact[key][v] = simd.add(sums.exact[key][v], p[v]);
                }
                *rounded = simd.round(p[0], p[1]);
            }
            for (v, joined) in simd.zip(rounded[0], rounded[1]).into_iter().enumerate() {
                simd.store(p, BLOCK * pair + v * SIDE, joined);
                sums.rounded[v] = simd.add_pairs(sums.rounded[v], joined);
            }
        }
    }
}

/// Sums of P, of even keys and of odd ones, and of what it was rounded to.
struct PairSums<S: Simd> {
    exact: [[S::Vector; 2]; 2],
    rounded: [S::Vector; 2],
}
