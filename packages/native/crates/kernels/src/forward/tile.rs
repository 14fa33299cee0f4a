use super::by_tiles;
use super::keys::KeyBlock;
use crate::Element;
use crate::bounds::{Lanes, hull};
use crate::isa::{Kernel, Simd};
use crate::micro::{Product, Start};
use crate::pack::{lane_to_row, rows_to_panels};
use crate::parallel::Halt;
use crate::rows::{Rows, RowsMut};
use crate::tiles::{self, Tiles, half, negate, rows_to_tiles};
use crate::workspace::Cutter;
use std::f64::consts::LN_2;
use std::ops::Range;

/// Some query rows of a unit, and where their results go.
pub(crate) struct Tile<'a, T> {
    pub q: Rows<'a, T>,
    /// Makes scores logarithms to the base 2.
    pub factor: f32,
    pub bounds: &'a [i32],
    pub blocks: &'a [KeyBlock<'a>],
    pub out: RowsMut<'a, T>,
    pub lse: RowsMut<'a, f32>,
}

/// What a thread works in. A panel is `WIDTH` queries.
pub(crate) struct Scratch<'m> {
    /// `[panel][d][WIDTH]`; with tiles, rows as columns.
    pub queries: &'m mut [f32],
    /// `[panel][d][WIDTH]`, d padded to whole row groups: P V so far.
    pub sums: &'m mut [f32],
    /// `[key][WIDTH]`: scores of a block, then P. With tiles, scores of some keys, and then P, `[pair of keys][WIDTH]`.
    pub scores: &'m mut [f32],
    /// `[panel][WIDTH]`: what P is relative to, which is the largest score so far, or with tiles near it; and the sum of P.
    pub top: &'m mut [f32],
    pub total: &'m mut [f32],
    /// With tiles, as `total`: the sum of P once rounded.
    pub rounded: &'m mut [f32],
    /// `[WIDTH]`: what a panel's sums are worth once the largest score has grown.
    pub worth: &'m mut [f32],
    pub lanes: Lanes<'m>,
}

impl<'m> Scratch<'m> {
    fn sizes<S: Simd>(d: usize) -> [usize; 9] {
        let (queries, keys, width) = (S::FORWARD_QUERIES, S::FORWARD_KEYS, S::WIDTH);
        let sums = queries * d.next_multiple_of(S::ROWS);
        let (packed, scores, rounded) = if S::TILES {
            (tiles::slots(queries, d), by_tiles::score_floats(keys), queries)
        } else {
            (queries * d, keys * width, 0)
        };
        [packed, sums, scores, queries, queries, rounded, width, width, width]
    }

    pub(crate) fn floats<S: Simd>(d: usize) -> usize {
        Self::sizes::<S>(d).into_iter().map(Cutter::space).sum()
    }

    pub(crate) fn cut<S: Simd>(memory: &'m mut [f32], d: usize) -> Scratch<'m> {
        let mut memory = Cutter::new(memory);
        let [queries, sums, scores, top, total, rounded, worth, lo, hi] =
            Self::sizes::<S>(d).map(|len| memory.cut(len));
        Scratch { queries, sums, scores, top, total, rounded, worth, lanes: Lanes::new(lo, hi) }
    }
}

/// Attends one tile: out and lse of its rows.
pub(crate) struct Attend<'s, 'a, 'm, T> {
    pub tile: Tile<'a, T>,
    pub scratch: &'s mut Scratch<'m>,
    pub halt: &'s Halt<'s>,
}

impl<T: Element> Kernel for Attend<'_, '_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (tile, scratch) = (&self.tile, &mut *self.scratch);
        let d = tile.q.width();
        let tiles = Tiles::new(simd);
        if S::TILES {
            rows_to_tiles(simd, tile.q, true, scratch.queries);
            // The largest product is then the largest score.
            if tile.factor < 0.0 {
                negate(scratch.queries);
            }
        } else {
            rows_to_panels(tile.q, S::WIDTH, d, tile.factor, scratch.queries);
        }
        scratch.sums.fill(0.0);
        scratch.top.fill(f32::NEG_INFINITY);
        scratch.total.fill(0.0);
        scratch.rounded.fill(0.0);
        let keys = hull(tile.bounds);
        for block in tile.blocks {
            if block.begin >= keys.end || block.begin + block.keys <= keys.start {
                continue;
            }
            if self.halt.raised() {
                return;
            }
            for (panel, bounds) in tile.bounds.chunks(2 * S::WIDTH).enumerate() {
                if S::TILES {
                    by_tiles::attend_block(simd, &tiles, scratch, block, panel, bounds, (d, tile.factor.abs()));
                } else {
                    attend_block(simd, scratch, block, panel, bounds, d);
                }
            }
        }
        self.finish::<S>();
    }
}

/// Adds a block of keys to a panel of queries.
#[inline(always)]
fn attend_block<S: Simd>(simd: S, scratch: &mut Scratch, block: &KeyBlock, panel: usize, bounds: &[i32], d: usize) {
    let width = S::WIDTH;
    let keys = block.seen::<S>(bounds);
    let (begin, end) = (keys.start, keys.end);
    if begin >= end {
        return;
    }

    // S^T = K Q^T, [keys][WIDTH].
    let queries = &scratch.queries[panel * d * width..][..d * width];
    simd.invoke(Product {
        rows: end - begin,
        columns: width,
        depth: d,
        a: &block.k[begin * d..],
        a_group: S::ROWS * d,
        a_row: 1,
        a_step: S::ROWS,
        b: queries,
        b_step: width,
        c: &mut scratch.scores[begin * width..],
        c_row: width,
        start: Start::Zero,
    });

    let scores = &mut scratch.scores[begin * width..end * width];
    let all = scratch.lanes.set(bounds, block.begin, &keys);
    if !all {
        hide(simd, &scratch.lanes, scores, begin);
    }
    let (top, total) = (&mut scratch.top[panel * width..], &mut scratch.total[panel * width..]);
    softmax(simd, scores, top, total, scratch.worth);

    // O^T = O^T * worth + V^T P^T, [d][WIDTH].
    let extent = block.extent::<S>();
    let padded = d.next_multiple_of(S::ROWS);
    let sums = &mut scratch.sums[panel * padded * width..][..padded * width];
    if !all && end > block.finite {
        return add_visible::<S>(&scratch.lanes, block, &keys, scores, scratch.worth, sums);
    }
    simd.invoke(Product {
        rows: d,
        columns: width,
        depth: end - begin,
        a: &block.v[begin * S::ROWS..],
        a_group: S::ROWS * extent,
        a_row: 1,
        a_step: S::ROWS,
        b: scores,
        b_step: width,
        c: sums,
        c_row: width,
        start: Start::Scaled(scratch.worth),
    });
}

/// Scores that a lane must not see become -inf. `scores` begin at key `first` of the block.
#[inline(always)]
fn hide<S: Simd>(simd: S, lanes: &Lanes, scores: &mut [f32], first: usize) {
    let hidden = simd.splat(f32::NEG_INFINITY);
    for (i, row) in scores.chunks_exact_mut(S::WIDTH).enumerate() {
        for at in (0..S::WIDTH).step_by(S::LANES) {
            let score = simd.load(row, at);
            simd.store(row, at, lanes.select(simd, at, first + i, score, hidden));
        }
    }
}

/// Scores become P relative to the largest score so far; its sum is kept, and `worth` says how the past shrinks.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32], top: &mut [f32], total: &mut [f32], worth: &mut [f32]) {
    let lowest = simd.splat(f32::NEG_INFINITY);
    for at in (0..S::WIDTH).step_by(S::LANES) {
        let old = simd.load(top, at);
        // Two chains, for latency. A NaN score may get lost here; its P will not.
        let mut new = [old, old];
        for pair in scores.chunks(2 * S::WIDTH) {
            new[0] = simd.max(simd.load(pair, at), new[0]);
            if pair.len() > S::WIDTH {
                new[1] = simd.max(simd.load(pair, S::WIDTH + at), new[1]);
            }
        }
        let new = simd.max(new[0], new[1]);
        simd.store(top, at, new);
        // Rows that saw nothing yet, or nothing above -inf: subtract 0, as -inf - -inf would be NaN.
        let zero = simd.splat(0.0);
        let new = simd.select(simd.less(lowest, new), new, zero);
        let shrink = simd.exp2(simd.sub(old, new));
        simd.store(worth, at, shrink);
        let mut sum = simd.mul(simd.load(total, at), shrink);
        for row in scores.chunks_exact_mut(S::WIDTH) {
            let p = simd.exp2(simd.sub(simd.load(row, at), new));
            sum = simd.add(sum, p);
            simd.store(row, at, p);
        }
        simd.store(total, at, sum);
    }
}

/// The second product, row by row and key by key: a value that is not finite must not reach rows that do not see it,
/// and 0 times it would.
#[cold]
pub(super) fn add_visible<S: Simd>(
    lanes: &Lanes,
    block: &KeyBlock,
    keys: &Range<usize>,
    p: &[f32],
    worth: &[f32],
    sums: &mut [f32],
) {
    let weight = |key: usize, lane: usize| {
        let row = key - keys.start;
        if S::TILES { half(p[row / 2 * S::WIDTH + lane], row % 2) } else { p[row * S::WIDTH + lane] }
    };
    for (c, row) in sums.chunks_exact_mut(S::WIDTH).enumerate() {
        for (lane, sum) in row.iter_mut().enumerate() {
            *sum *= worth[lane];
            for key in keys.clone().filter(|&key| lanes.sees(lane, key)) {
                *sum += weight(key, lane) * block.value::<S>(key, c);
            }
        }
    }
}

impl<T: Element> Attend<'_, '_, '_, T> {
    #[inline(always)]
    fn finish<S: Simd>(&mut self) {
        let (tile, scratch) = (&mut self.tile, &self.scratch);
        let panel_floats = tile.q.width().next_multiple_of(S::ROWS) * S::WIDTH;
        for (row, interval) in tile.bounds.chunks_exact(2).enumerate() {
            let out = tile.out.row_mut(row);
            if interval[0] >= interval[1] {
                out.fill(T::default());
                tile.lse.row_mut(row)[0] = f32::NEG_INFINITY;
                continue;
            }
            let total = scratch.total[row];
            let weight = if S::TILES { scratch.rounded[row] } else { total };
            let sums = &scratch.sums[row / S::WIDTH * panel_floats..];
            lane_to_row(sums, S::WIDTH, row % S::WIDTH, 1.0 / weight, out);
            let lse = (f64::from(scratch.top[row]) + f64::from(total).log2()) * LN_2;
            tile.lse.row_mut(row)[0] = lse as f32;
        }
    }
}
