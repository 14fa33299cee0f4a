//! A block of keys and a panel of queries, by tiles: S^T = K Q^T and O^T += V^T P^T with P rounded to bfloat16.
//!
//! P^T lies as the second product's B as soon as pairs of its rows are joined, so it takes the place of the scores. Rows'
//! sums are of P before it is rounded, as in PyTorch and FlashAttention: lse is as exact as in float32.
//!
//! Products and exponentials take turns, a block's each. Interleaved step by step they take as long: next to any
//! instruction on tiles, vectors of 512 bits have one of their two ports (131 cycles for 128 FMAs and a step of 16, 80 and 66 alone).
use super::keys::KeyBlock;
use super::tile::{Scratch, add_visible};
use crate::bounds::Lanes;
use crate::isa::Simd;
use crate::tiles::{BLOCK, Operand, SIDE, TileProduct, Tiles, parts};
use std::ops::Range;

/// As `tile::attend_block`; `factor` makes scores logarithms to the base 2, after the product: q is not rounded again.
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
    let padded = d.next_multiple_of(BLOCK);
    let scores = &mut scratch.scores[..keys.len() * BLOCK];
    tiles.multiply(TileProduct {
        rows: keys.len(),
        columns: BLOCK,
        depth: padded,
        a: Operand::of_rows(block.k, d, keys.start),
        b: Operand::of_rows(scratch.queries, d, panel * BLOCK),
        c: scores,
        c_row: BLOCK,
        add: false,
    });

    let all = scratch.lanes.set(bounds, block.begin, &keys);
    let row = Row {
        top: &mut scratch.top[panel * BLOCK..],
        total: &mut scratch.total[panel * BLOCK..],
        worth: scratch.worth,
    };
    softmax(simd, &scratch.lanes, &keys, factor, scores, row);

    let sums = &mut scratch.sums[panel * padded * BLOCK..][..padded * BLOCK];
    if !all && keys.end > block.finite {
        return add_visible::<S>(&scratch.lanes, block, &keys, scores, scratch.worth, sums);
    }
    if scratch.worth.iter().any(|worth| *worth != 1.0) {
        scale(simd, scratch.worth, sums);
    }
    tiles.multiply(TileProduct {
        rows: padded,
        columns: BLOCK,
        depth: keys.len(),
        a: Operand::of_columns(block.v, d, keys.start),
        b: Operand { slots: scores, row: BLOCK, step: SIDE * BLOCK, group: SIDE },
        c: sums,
        c_row: BLOCK,
        add: true,
    });
}

/// What is kept for each query of the panel, as in [`Scratch`].
struct Row<'a> {
    top: &'a mut [f32],
    total: &'a mut [f32],
    worth: &'a mut [f32],
}

/// Scores, once times `factor`, become P relative to the largest so far. Those that are hidden are as if they were not
/// there.
#[inline(always)]
fn softmax<S: Simd>(simd: S, lanes: &Lanes, keys: &Range<usize>, factor: f32, scores: &mut [f32], row: Row) {
    let (lowest, zero, factor) = (simd.splat(f32::NEG_INFINITY), simd.splat(0.0), simd.splat(factor));
    let [before, common, after] = parts(keys, lanes.common());
    let old = [simd.load(row.top, 0), simd.load(row.top, SIDE)];
    // A chain for each of four vectors, for latency. A NaN score may get lost here; its P will not.
    let mut new = [old, old];
    raise::<S, true>(simd, lanes, keys.start, factor, scores, before.clone(), &mut new);
    raise::<S, false>(simd, lanes, keys.start, factor, scores, common.clone(), &mut new);
    raise::<S, true>(simd, lanes, keys.start, factor, scores, after.clone(), &mut new);
    let mut base = [zero; 2];
    let mut sum = [[zero; 2]; 2];
    for v in 0..2 {
        let new = simd.max(new[0][v], new[1][v]);
        simd.store(row.top, v * SIDE, new);
        // Rows that saw nothing yet, or nothing above -inf: subtract 0, as -inf - -inf would be NaN.
        let new = simd.select(simd.less(lowest, new), new, zero);
        let shrink = simd.exp2(simd.sub(old[v], new));
        simd.store(row.worth, v * SIDE, shrink);
        sum[0][v] = simd.mul(simd.load(row.total, v * SIDE), shrink);
        base[v] = simd.sub(zero, new);
    }
    weigh::<S, true>(simd, lanes, keys.start, (factor, base), scores, before, &mut sum);
    weigh::<S, false>(simd, lanes, keys.start, (factor, base), scores, common, &mut sum);
    weigh::<S, true>(simd, lanes, keys.start, (factor, base), scores, after, &mut sum);
    simd.store(row.total, 0, simd.add(sum[0][0], sum[1][0]));
    simd.store(row.total, SIDE, simd.add(sum[0][1], sum[1][1]));
}

/// The largest scores, of some pairs of keys.
#[inline(always)]
fn raise<S: Simd, const HIDES: bool>(
    simd: S,
    lanes: &Lanes,
    first: usize,
    factor: S::Vector,
    scores: &[f32],
    pairs: Range<usize>,
    top: &mut [[S::Vector; 2]; 2],
) {
    let lowest = simd.splat(f32::NEG_INFINITY);
    for pair in pairs {
        let scores = &scores[2 * BLOCK * pair..][..2 * BLOCK];
        for (key, top) in top.iter_mut().enumerate() {
            for (v, top) in top.iter_mut().enumerate() {
                let mut score = simd.mul(simd.load(scores, key * BLOCK + v * SIDE), factor);
                if HIDES {
                    score = lanes.select(simd, v * SIDE, first + 2 * pair + key, score, lowest);
                }
                *top = simd.max(score, *top);
            }
        }
    }
}

/// P of some pairs of keys, and its sums.
#[inline(always)]
fn weigh<S: Simd, const HIDES: bool>(
    simd: S,
    lanes: &Lanes,
    first: usize,
    (factor, base): (S::Vector, [S::Vector; 2]),
    scores: &mut [f32],
    pairs: Range<usize>,
    sum: &mut [[S::Vector; 2]; 2],
) {
    let zero = simd.splat(0.0);
    for pair in pairs {
        let of_pair = &scores[2 * BLOCK * pair..][..2 * BLOCK];
        let mut rounded = [zero; 2];
        for key in 0..2 {
            let mut p = [zero; 2];
            for v in 0..2 {
                p[v] = simd.exp2(simd.mul_add(simd.load(of_pair, key * BLOCK + v * SIDE), factor, base[v]));
                if HIDES {
                    p[v] = lanes.select(simd, v * SIDE, first + 2 * pair + key, p[v], zero);
                }
                sum[key][v] = simd.add(sum[key][v], p[v]);
            }
            rounded[key] = simd.round(p[0], p[1]);
        }
        let [low, high] = simd.zip(rounded[0], rounded[1]);
        simd.store(scores, BLOCK * pair, low);
        simd.store(scores, BLOCK * pair + SIDE, high);
    }
}

#[inline(always)]
fn scale<S: Simd>(simd: S, worth: &[f32], sums: &mut [f32]) {
    for row in sums.chunks_exact_mut(BLOCK) {
        for at in [0, SIDE] {
            simd.store(row, at, simd.mul(simd.load(row, at), simd.load(worth, at)));
        }
    }
}
