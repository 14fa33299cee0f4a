//! A block of keys and a tile of queries, by tiles, P and dS rounded to bfloat16.
//!
//! p and ds are `[panel][key][32]`, floats first. Where 32 floats were, as many bfloat16 then fill the first half: P^T and
//! dS^T as they are A for dV and dK, each key's queries in a row. The second halves of a pair of keys' rows of ds are
//! what dQ^T needs as B: pairs of keys, the first 16 queries in the even key's row, the others in the odd one's.
use super::block::{Block, Meeting, Scratch};
use super::queries::{QueryTile, row_stride};
use crate::bounds::Lanes;
use crate::isa::Simd;
use crate::tiles::{BLOCK, Operand, SIDE, TileProduct, Tiles, half, parts};
use std::ops::Range;

/// Slots of a panel.
const fn panel_slots<S: Simd>() -> usize {
    S::BACKWARD_KEYS * BLOCK
}

/// P or dS of a pair, once rounded.
pub(super) fn value<S: Simd>(of: &[f32], row: usize, key: usize) -> f32 {
    half(of[row / BLOCK * panel_slots::<S>() + key * BLOCK + row % BLOCK / 2], row % 2)
}

/// P^T or dS^T as A, from the meeting's first key and panel on.
#[inline(always)]
fn by_keys<'a, S: Simd>(of: &'a [f32], meeting: &Meeting) -> Operand<'a> {
    let first = meeting.panels.start * panel_slots::<S>() + meeting.keys.start * BLOCK;
    Operand { slots: &of[first..], row: BLOCK, step: panel_slots::<S>(), group: SIDE * BLOCK }
}

impl Block<'_, '_, '_> {
    /// S^T = K Q^T and dP^T = V dO^T.
    #[inline(always)]
    pub(super) fn scores_by_tiles<S: Simd>(
        &mut self,
        tiles: &Tiles<S>,
        tile: &QueryTile,
        meeting: &Meeting,
        panel: usize,
    ) {
        let (d, keys) = (self.d, &meeting.keys);
        let Scratch { k_rows, v_rows, p, ds, .. } = &mut *self.scratch;
        let products = [(&*k_rows, &*tile.q_lanes, p), (&*v_rows, &*tile.dout_lanes, ds)];
        for (a, b, c) in products {
            tiles.multiply(TileProduct {
                rows: keys.len(),
                columns: BLOCK,
                depth: d.next_multiple_of(BLOCK),
                a: Operand::of_rows(a, d, keys.start),
                b: Operand::of_rows(b, d, panel * BLOCK),
                c: &mut c[panel * panel_slots::<S>() + keys.start * BLOCK..],
                c_row: BLOCK,
                add: false,
            });
        }
    }

    /// As `probabilities`, and rounded.
    #[inline(always)]
    pub(super) fn probabilities_by_tiles<S: Simd>(
        &mut self,
        simd: S,
        tile: &QueryTile,
        meeting: &Meeting,
        panel: usize,
    ) -> bool {
        let (keys, first) = (meeting.keys.clone(), panel * BLOCK);
        let rows = tile.rows.min(first + BLOCK);
        let Scratch { p, ds, lanes, .. } = &mut *self.scratch;
        let all = lanes.set(&tile.bounds[2 * first..2 * rows], self.gradient.begin, &keys);
        // 0 times a value that is not finite must not reach dk from lanes without a row.
        lanes.hide_from(rows - first, &keys);
        let place = panel * panel_slots::<S>() + keys.start * BLOCK;
        let [p, ds] = [p, ds].map(|of| &mut of[place..][..keys.len() * BLOCK]);
        let (lse, delta) = (&tile.lse[first..], &tile.delta[first..]);
        let [before, common, after] = parts(&keys, lanes.common());
        slopes::<S, true>(simd, lanes, keys.start, self.factor, p, ds, (lse, delta), before);
        slopes::<S, false>(simd, lanes, keys.start, self.factor, p, ds, (lse, delta), common);
        slopes::<S, true>(simd, lanes, keys.start, self.factor, p, ds, (lse, delta), after);
        all
    }

    /// dV += P^T dO and dK += dS^T Q, `[key][d]`.
    #[inline(always)]
    pub(super) fn add_to_keys_by_tiles<S: Simd>(&mut self, tiles: &Tiles<S>, tile: &QueryTile, meeting: &Meeting) {
        let (d, stride) = (self.d, row_stride::<S>(self.d));
        let first = meeting.panels.start * BLOCK;
        let (scratch, gradient) = (&*self.scratch, &mut *self.gradient);
        let products =
            [(&*scratch.p, &*tile.dout_rows, &mut gradient.dv), (&*scratch.ds, &*tile.q_rows, &mut gradient.dk)];
        for (a, b, c) in products {
            tiles.multiply(TileProduct {
                rows: meeting.keys.len(),
                columns: stride,
                depth: meeting.panels.len() * BLOCK,
                a: by_keys::<S>(a, meeting),
                b: Operand::of_columns(b, d, first),
                c: &mut c[meeting.keys.start * stride..],
                c_row: stride,
                add: true,
            });
        }
    }

    /// dQ^T += K^T dS^T, `[d][panel]`.
    #[inline(always)]
    pub(super) fn add_to_queries_by_tiles<S: Simd>(&mut self, simd: S, tile: &QueryTile, meeting: &Meeting) {
        let (d, keys) = (self.d, &meeting.keys);
        let rows = d.next_multiple_of(BLOCK);
        let (k_columns, ds) = (&*self.scratch.k_columns, &*self.scratch.ds);
        self.turn::<S>(tile, |dq| {
            let tiles = Tiles::new(simd);
            for panel in meeting.panels.clone() {
                let pairs = &ds[panel * panel_slots::<S>() + keys.start * BLOCK + SIDE..];
                tiles.multiply(TileProduct {
                    rows,
                    columns: BLOCK,
                    depth: keys.len(),
                    a: Operand::of_columns(k_columns, d, keys.start),
                    b: Operand { slots: pairs, row: 2 * BLOCK, step: BLOCK * BLOCK, group: BLOCK },
                    c: &mut dq[panel * rows * BLOCK..],
                    c_row: BLOCK,
                    add: true,
                });
            }
        });
    }
}

/// P = 2^(factor S - lse) and dS / scale = P * (dP - delta) of some pairs of keys, rounded and laid out; 0 where they are
/// hidden.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "what a panel is made of")]
fn slopes<S: Simd, const HIDES: bool>(
    simd: S,
    lanes: &Lanes,
    first: usize,
    factor: f32,
    p: &mut [f32],
    ds: &mut [f32],
    (lse, delta): (&[f32], &[f32]),
    pairs: Range<usize>,
) {
    let (zero, factor) = (simd.splat(0.0), simd.splat(factor));
    let lse = [simd.load(lse, 0), simd.load(lse, SIDE)];
    let delta = [simd.load(delta, 0), simd.load(delta, SIDE)];
    let lse = [simd.sub(zero, lse[0]), simd.sub(zero, lse[1])];
    for pair in pairs {
        let p = &mut p[2 * BLOCK * pair..][..2 * BLOCK];
        let ds = &mut ds[2 * BLOCK * pair..][..2 * BLOCK];
        let mut rounded = [zero; 2];
        for (key, rounded) in rounded.iter_mut().enumerate() {
            let (mut probability, mut slope) = ([zero; 2], [zero; 2]);
            for v in 0..2 {
                let at = key * BLOCK + v * SIDE;
                probability[v] = simd.exp2(simd.mul_add(simd.load(p, at), factor, lse[v]));
                slope[v] = simd.mul(probability[v], simd.sub(simd.load(ds, at), delta[v]));
                if HIDES {
                    let key = first + 2 * pair + key;
                    probability[v] = lanes.select(simd, v * SIDE, key, probability[v], zero);
                    slope[v] = lanes.select(simd, v * SIDE, key, slope[v], zero);
                }
            }
            simd.store(p, key * BLOCK, simd.round(probability[0], probability[1]));
            *rounded = simd.round(slope[0], slope[1]);
            simd.store(ds, key * BLOCK, *rounded);
        }
        let pairs = simd.zip(rounded[0], rounded[1]);
        simd.store(ds, SIDE, pairs[0]);
        simd.store(ds, BLOCK + SIDE, pairs[1]);
    }
}
