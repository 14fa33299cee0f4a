//! A block of keys and a tile of queries, by tiles.
//!
//! P and dS are each the sum of two bfloat16, high and low, and multiplied as such: gradients are as exact as in float32.
//! What is rounded once makes errors of the size that results have by their own rounding.
//!
//! Both are laid out by keys, `[panel][key][16 slots]` with each key's queries in a row, so that P^T and dS^T are A for dV and
//! dK; and dS by pairs of keys, 32 slots each, so that dS^T is B for dQ^T.
//!
//! delta = dout . out is as uncertain as out is by its rounding, and where one key has nearly all the weight, dP - delta
//! is nothing else. Rows that see keys of this block only have all their P and dP here: their delta is summed anew.
use super::block::{Block, Meeting, Scratch};
use super::queries::{QueryTile, row_stride};
use crate::bounds::Lanes;
use crate::isa::Simd;
use crate::tiles::{BLOCK, Operand, SIDE, TILE, TileProduct, Tiles, half, parts};
use std::ops::Range;

/// Keys whose scores and dP are computed at a time: few enough for the first cache level.
const CHUNK: usize = 64;

/// Slots of a panel, laid out once.
const fn panel_slots<S: Simd>() -> usize {
    S::BACKWARD_KEYS * SIDE
}

/// Slots of a part of P or dS, laid out once.
const fn layout_slots<S: Simd>() -> usize {
    S::BACKWARD_QUERIES / BLOCK * panel_slots::<S>()
}

/// Slots of P, of dS, and of a chunk's scores and dP.
pub(super) const fn scratch_slots<S: Simd>() -> [usize; 3] {
    [2 * layout_slots::<S>(), 4 * layout_slots::<S>(), 2 * CHUNK * BLOCK]
}

/// The parts of P or dS of a pair, once laid out by keys, summed.
pub(super) fn value<S: Simd>(of: &[f32], row: usize, key: usize) -> f32 {
    let place = row / BLOCK * panel_slots::<S>() + key * SIDE + row % BLOCK / 2;
    half(of[place], row % 2) + half(of[layout_slots::<S>() + place], row % 2)
}

/// P^T or dS^T as A, from the meeting's first key and panel on.
#[inline(always)]
fn by_keys<'a, S: Simd>(of: &'a [f32], meeting: &Meeting) -> Operand<'a> {
    let first = meeting.panels.start * panel_slots::<S>() + meeting.keys.start * SIDE;
    Operand { slots: &of[first..], row: SIDE, step: panel_slots::<S>(), group: TILE }
}

impl Block<'_, '_, '_> {
    /// P and dS / scale of a panel; 0 where a row does not see a key. True if all rows see all keys.
    #[inline(always)]
    pub(super) fn slopes_by_tiles<S: Simd>(
        &mut self,
        simd: S,
        tiles: &Tiles<S>,
        tile: &QueryTile,
        meeting: &Meeting,
        panel: usize,
    ) -> bool {
        let (keys, first) = (&meeting.keys, panel * BLOCK);
        let rows = tile.rows.min(first + BLOCK);
        let bounds = &tile.bounds[2 * first..2 * rows];
        let all = self.scratch.lanes.set(bounds, self.gradient.begin, keys);
        // 0 times a value that is not finite must not reach dk from lanes without a row.
        self.scratch.lanes.hide_from(rows - first, keys);
        let mut delta = [0.0; BLOCK];
        delta.copy_from_slice(&tile.delta[first..][..BLOCK]);
        let block = self.gradient.begin..self.gradient.begin + self.gradient.keys;
        let mut inside = [false; BLOCK];
        for (inside, seen) in inside.iter_mut().zip(bounds.chunks_exact(2)) {
            *inside = seen[0] < seen[1] && block.start <= seen[0] as usize && seen[1] as usize <= block.end;
        }
        if inside.contains(&true) {
            let sums = self.chunks::<S, true>(simd, tiles, tile, meeting, panel, &delta);
            for lane in (0..BLOCK).filter(|lane| inside[*lane]) {
                delta[lane] = sums[lane];
            }
        }
        self.chunks::<S, false>(simd, tiles, tile, meeting, panel, &delta);
        all
    }

    /// Scores and dP of a panel, chunk by chunk, and what becomes of them: sums of P dP, else P and dS / scale.
    #[inline(always)]
    fn chunks<S: Simd, const SUMS: bool>(
        &mut self,
        simd: S,
        tiles: &Tiles<S>,
        tile: &QueryTile,
        meeting: &Meeting,
        panel: usize,
        delta: &[f32; BLOCK],
    ) -> [f32; BLOCK] {
        let (d, keys, first) = (self.d, &meeting.keys, panel * BLOCK);
        let Scratch { k_rows, v_rows, p, ds, scores, lanes, .. } = &mut *self.scratch;
        let common = lanes.common();
        let (scores, dp) = scores.split_at_mut(CHUNK * BLOCK);
        let (by_keys, by_pairs) = ds.split_at_mut(2 * layout_slots::<S>());
        let mut sums = [0.0; BLOCK];
        let mut begin = keys.start;
        while begin < keys.end {
            let chunk = begin..keys.end.min(begin + CHUNK);
            // S^T = K Q^T and dP^T = V dO^T.
            for (a, b, c) in [(&*k_rows, &*tile.q_lanes, &mut *scores), (&*v_rows, &*tile.dout_lanes, &mut *dp)] {
                tiles.multiply(TileProduct {
                    rows: chunk.len(),
                    columns: BLOCK,
                    depth: d.next_multiple_of(BLOCK),
                    a: Operand::of_rows(a, d, begin),
                    b: Operand::of_rows(b, d, first),
                    c,
                    c_row: BLOCK,
                    add: false,
                });
            }
            let place = panel * panel_slots::<S>() + begin * SIDE;
            let place = place..place + chunk.len() * SIDE;
            let mut work = Chunk {
                lanes,
                first: begin,
                factor: self.factor,
                lse: &tile.lse[first..],
                delta,
                scores,
                dp,
                p: parts_of::<S>(p, place.clone()),
                ds: parts_of::<S>(by_keys, place.clone()),
                pairs: parts_of::<S>(by_pairs, place),
            };
            let [before, common, after] = parts(&chunk, common.clone());
            if SUMS {
                work.sum::<S, true>(simd, before, &mut sums);
                work.sum::<S, false>(simd, common, &mut sums);
                work.sum::<S, true>(simd, after, &mut sums);
            } else {
                work.differentiate::<S, true>(simd, before);
                work.differentiate::<S, false>(simd, common);
                work.differentiate::<S, true>(simd, after);
            }
            begin = chunk.end;
        }
        sums
    }

    /// dV += P^T dO and dK += dS^T Q, `[key][d]`.
    #[inline(always)]
    pub(super) fn add_to_keys_by_tiles<S: Simd>(&mut self, tiles: &Tiles<S>, tile: &QueryTile, meeting: &Meeting) {
        let (d, stride) = (self.d, row_stride::<S>(self.d));
        let first = meeting.panels.start * BLOCK;
        let (p, ds) = (self.scratch.p.split_at(layout_slots::<S>()), self.scratch.ds.split_at(layout_slots::<S>()));
        for (of_p, a) in [(true, p.0), (true, p.1), (false, ds.0), (false, ds.1)] {
            let (b, c) =
                if of_p { (&*tile.dout_rows, &mut *self.gradient.dv) } else { (&*tile.q_rows, &mut *self.gradient.dk) };
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
        let k_columns = &*self.scratch.k_columns;
        let (_, pairs) = self.scratch.ds.split_at(2 * layout_slots::<S>());
        let (high, low) = pairs.split_at(layout_slots::<S>());
        self.turn::<S>(tile, |dq| {
            let tiles = Tiles::new(simd);
            for panel in meeting.panels.clone() {
                for part in [high, low] {
                    let pairs = &part[panel * panel_slots::<S>() + keys.start * SIDE..];
                    tiles.multiply(TileProduct {
                        rows,
                        columns: BLOCK,
                        depth: keys.len(),
                        a: Operand::of_columns(k_columns, d, keys.start),
                        b: Operand { slots: pairs, row: BLOCK, step: SIDE * BLOCK, group: SIDE },
                        c: &mut dq[panel * rows * BLOCK..],
                        c_row: BLOCK,
                        add: true,
                    });
                }
            }
        });
    }
}

/// The same place in the high and in the low part.
#[inline(always)]
fn parts_of<S: Simd>(of: &mut [f32], place: Range<usize>) -> [&mut [f32]; 2] {
    let (high, low) = of.split_at_mut(layout_slots::<S>());
    [&mut high[place.clone()], &mut low[place]]
}

/// Some keys and a panel of queries: scores and dP, `[key][32]`, and where their P and dS go.
struct Chunk<'a, 'l> {
    lanes: &'a Lanes<'l>,
    /// The first key.
    first: usize,
    factor: f32,
    lse: &'a [f32],
    delta: &'a [f32; BLOCK],
    scores: &'a [f32],
    dp: &'a [f32],
    /// High parts and low ones, by keys.
    p: [&'a mut [f32]; 2],
    ds: [&'a mut [f32]; 2],
    /// dS by pairs of keys.
    pairs: [&'a mut [f32]; 2],
}

impl Chunk<'_, '_> {
    /// P = 2^(factor S - lse) of 16 queries from `v` on.
    #[inline(always)]
    fn probability<S: Simd>(&self, simd: S, key: usize, v: usize) -> S::Vector {
        let score = simd.load(self.scores, key * BLOCK + v * SIDE);
        let lse = simd.sub(simd.splat(0.0), simd.load(self.lse, v * SIDE));
        simd.exp2(simd.mul_add(score, simd.splat(self.factor), lse))
    }

    /// Adds P dP of some pairs of keys, each lane's.
    #[inline(always)]
    fn sum<S: Simd, const HIDES: bool>(&self, simd: S, pairs: Range<usize>, sums: &mut [f32; BLOCK]) {
        let zero = simd.splat(0.0);
        let mut sum = [simd.load(sums, 0), simd.load(sums, SIDE)];
        for key in 2 * pairs.start..2 * pairs.end {
            for (v, sum) in sum.iter_mut().enumerate() {
                let mut term = simd.mul(self.probability(simd, key, v), simd.load(self.dp, key * BLOCK + v * SIDE));
                if HIDES {
                    term = self.lanes.select(simd, v * SIDE, self.first + key, term, zero);
                }
                *sum = simd.add(*sum, term);
            }
        }
        simd.store(sums, 0, sum[0]);
        simd.store(sums, SIDE, sum[1]);
    }

    /// P and dS / scale = P * (dP - delta) of some pairs of keys, laid out; 0 where they are hidden.
    #[inline(always)]
    fn differentiate<S: Simd, const HIDES: bool>(&mut self, simd: S, pairs: Range<usize>) {
        let zero = simd.splat(0.0);
        let delta = [simd.load(self.delta, 0), simd.load(self.delta, SIDE)];
        for pair in pairs {
            let mut parts = [[zero; 2]; 2];
            for key in 2 * pair..2 * pair + 2 {
                let [mut p, mut ds] = [[zero; 2]; 2];
                for v in 0..2 {
                    let dp = simd.load(self.dp, key * BLOCK + v * SIDE);
                    p[v] = self.probability(simd, key, v);
                    ds[v] = simd.mul(p[v], simd.sub(dp, delta[v]));
                    if HIDES {
                        p[v] = self.lanes.select(simd, v * SIDE, self.first + key, p[v], zero);
                        ds[v] = self.lanes.select(simd, v * SIDE, self.first + key, ds[v], zero);
                    }
                }
                let (p, ds) = (split(simd, p), split(simd, ds));
                for part in 0..2 {
                    simd.store(self.p[part], SIDE * key, p[part]);
                    simd.store(self.ds[part], SIDE * key, ds[part]);
                    parts[part][key % 2] = ds[part];
                }
            }
            for (part, [even, odd]) in parts.into_iter().enumerate() {
                let [first, second] = simd.zip(even, odd);
                simd.store(self.pairs[part], BLOCK * pair, first);
                simd.store(self.pairs[part], BLOCK * pair + SIDE, second);
            }
        }
    }
}

/// The high and the low bfloat16 of 32 queries.
#[inline(always)]
fn split<S: Simd>(simd: S, values: [S::Vector; 2]) -> [S::Vector; 2] {
    let high = [simd.cut(values[0]), simd.cut(values[1])];
    let low = [simd.sub(values[0], high[0]), simd.sub(values[1], high[1])];
    [simd.round(high[0], high[1]), simd.round(low[0], low[1])]
}
