use super::by_tiles;
use super::queries::{QueryTile, row_stride};
use crate::Element;
use crate::bounds::{Lanes, hull};
use crate::isa::{Kernel, Simd};
use crate::micro::{Product, Start};
use crate::pack::{columns_to_panels, rows_to_panels};
use crate::parallel::Halt;
use crate::rows::Rows;
use crate::tiles::{Tiles, columns_to_tiles, element, rows_to_tiles, slots};
use crate::workspace::Cutter;
use std::ops::Range;

/// Row groups whose scores are computed before they become P and dS: both stay in the first cache level in between.
const GROUPS: usize = 4;

/// What a thread works in.
pub(crate) struct Scratch<'m> {
    /// `[key / ROWS][d][ROWS]`. With tiles: rows as A's rows.
    pub k_rows: &'m mut [f32],
    pub v_rows: &'m mut [f32],
    /// `[d / ROWS][key][ROWS]`. With tiles: columns as A's rows.
    pub k_columns: &'m mut [f32],
    /// `[key][BACKWARD_QUERIES]`: scores, then P; and dP, then dS. With tiles as `by_tiles` says, from scores and dP of some
    /// keys, `[key][WIDTH]`.
    pub p: &'m mut [f32],
    pub ds: &'m mut [f32],
    pub scores: &'m mut [f32],
    pub lanes: Lanes<'m>,
}

impl<'m> Scratch<'m> {
    fn sizes<S: Simd>(d: usize) -> [usize; 8] {
        let (keys, tile) = (S::BACKWARD_KEYS, S::BACKWARD_KEYS * S::BACKWARD_QUERIES);
        let ([rows, columns], [p, ds, scores]) = if S::TILES {
            ([slots(keys, d); 2], by_tiles::scratch_slots::<S>())
        } else {
            ([keys * d, keys * d.next_multiple_of(S::ROWS)], [tile, tile, 0])
        };
        [rows, rows, columns, p, ds, scores, S::WIDTH, S::WIDTH]
    }

    pub(crate) fn floats<S: Simd>(d: usize) -> usize {
        Self::sizes::<S>(d).into_iter().map(Cutter::space).sum()
    }

    pub(crate) fn cut<S: Simd>(memory: &'m mut [f32], d: usize) -> Scratch<'m> {
        let mut memory = Cutter::new(memory);
        let [k_rows, v_rows, k_columns, p, ds, scores, lo, hi] = Self::sizes::<S>(d).map(|len| memory.cut(len));
        Scratch { k_rows, v_rows, k_columns, p, ds, scores, lanes: Lanes::new(lo, hi) }
    }
}

/// A block of a unit's keys and its gradients, `[key][stride]`: dk / scale, and dv.
pub(crate) struct KeyGradient<'m> {
    pub begin: usize,
    pub keys: usize,
    pub dk: &'m mut [f32],
    pub dv: &'m mut [f32],
}

impl<'m> KeyGradient<'m> {
    fn floats_of<S: Simd>(keys: usize, d: usize) -> usize {
        keys.next_multiple_of(S::ROWS) * row_stride::<S>(d)
    }

    /// Floats of the blocks that cover `seen`.
    pub(crate) fn floats<S: Simd>(seen: &Range<usize>, d: usize) -> usize {
        blocks::<S>(seen).map(|keys| 2 * Cutter::space(Self::floats_of::<S>(keys.len(), d))).sum()
    }

    pub(crate) fn cut<S: Simd>(seen: &Range<usize>, d: usize, memory: &mut Cutter<'m>) -> Vec<KeyGradient<'m>> {
        let gradient = |keys: Range<usize>| {
            let floats = Self::floats_of::<S>(keys.len(), d);
            let (dk, dv) = (memory.cut(floats), memory.cut(floats));
            KeyGradient { begin: keys.start, keys: keys.len(), dk, dv }
        };
        blocks::<S>(seen).map(gradient).collect()
    }
}

/// The blocks that cover `seen`: multiples of `BACKWARD_KEYS`, the last one cut off.
fn blocks<S: Simd>(seen: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = seen.end;
    (seen.start / S::BACKWARD_KEYS * S::BACKWARD_KEYS..end)
        .step_by(S::BACKWARD_KEYS)
        .map(move |begin| begin..end.min(begin + S::BACKWARD_KEYS))
}

/// All that one block of keys takes part in: its own dk and dv, and its share of every tile's dq.
pub(crate) struct Differentiate<'s, 'a, 'm, 'w, T> {
    /// The block's rows.
    pub k: Rows<'a, T>,
    pub v: Rows<'a, T>,
    /// Makes scores logarithms to the base 2.
    pub factor: f32,
    pub tiles: &'s [QueryTile<'m>],
    pub gradient: &'s mut KeyGradient<'m>,
    pub scratch: &'s mut Scratch<'w>,
    pub halt: &'s Halt<'s>,
}

impl<T: Element> Kernel for Differentiate<'_, '_, '_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let scratch = self.scratch;
        let extent = self.gradient.keys.next_multiple_of(S::ROWS);
        let d = self.k.width();
        let finite = if S::TILES {
            rows_to_tiles(simd, self.k, false, scratch.k_rows);
            rows_to_tiles(simd, self.v, false, scratch.v_rows);
            columns_to_tiles(simd, self.k, true, scratch.k_columns)
        } else {
            rows_to_panels(self.k, S::ROWS, d, 1.0, scratch.k_rows);
            rows_to_panels(self.v, S::ROWS, d, 1.0, scratch.v_rows);
            columns_to_panels(self.k, S::ROWS, extent, scratch.k_columns)
        };
        let finite = finite == self.k.len();
        self.gradient.dk.fill(0.0);
        self.gradient.dv.fill(0.0);
        let mut block = Block { scratch, gradient: self.gradient, finite, d, factor: self.factor, halt: self.halt };
        for tile in self.tiles {
            if self.halt.raised() {
                return;
            }
            block.add_tile(simd, tile);
        }
    }
}

pub(super) struct Block<'s, 'm, 'w> {
    pub scratch: &'s mut Scratch<'w>,
    pub gradient: &'s mut KeyGradient<'m>,
    /// Whether every element of k is finite.
    finite: bool,
    pub d: usize,
    pub factor: f32,
    halt: &'s Halt<'s>,
}

/// The part of a tile that a block meets: keys counted from the block's first, whole row groups but for the end, and
/// with tiles there too; and panels.
pub(super) struct Meeting {
    pub keys: Range<usize>,
    pub panels: Range<usize>,
}

impl Block<'_, '_, '_> {
    /// The keys of the block that rows with these bounds see, and all between them.
    #[inline(always)]
    fn seen(&self, bounds: &[i32]) -> Range<usize> {
        let (seen, begin) = (hull(bounds), self.gradient.begin);
        let end = seen.end.saturating_sub(begin).min(self.gradient.keys);
        seen.start.saturating_sub(begin).min(end)..end
    }

    #[inline(always)]
    fn meeting<S: Simd>(&self, tile: &QueryTile) -> Option<Meeting> {
        let keys = self.seen(tile.bounds);
        let panels = tile.bounds.chunks(2 * S::WIDTH);
        let mut met = (0..panels.len()).zip(panels).filter(|(_, bounds)| !self.seen(bounds).is_empty());
        let first = met.next()?.0;
        let last = met.next_back().map_or(first, |(panel, _)| panel);
        let end = if S::TILES { keys.end.next_multiple_of(S::ROWS) } else { keys.end };
        let keys = keys.start / S::ROWS * S::ROWS..end;
        Some(Meeting { keys, panels: first..last + 1 })
    }

    #[inline(always)]
    fn add_tile<S: Simd>(&mut self, simd: S, tile: &QueryTile) {
        // Blocks of keys inside the hull take their turn at dq even if no row sees them.
        let tile_keys = hull(tile.bounds);
        let (begin, keys) = (self.gradient.begin, self.gradient.keys);
        if begin >= tile_keys.end || begin + keys <= tile_keys.start {
            return;
        }
        let Some(meeting) = self.meeting::<S>(tile) else {
            self.turn::<S>(tile, |_| ());
            return;
        };
        let mut all = true;
        let tiles = Tiles::new(simd);
        for panel in meeting.panels.clone() {
            all &= if S::TILES {
                self.slopes_by_tiles(simd, &tiles, tile, &meeting, panel)
            } else {
                self.probabilities(simd, tile, &meeting, panel)
            };
        }
        // Products may touch pairs that do not see each other, as 0 times something, which must then be finite.
        // Row groups reach past the last key that is seen, up to the block's end.
        all &= meeting.keys.end.is_multiple_of(S::ROWS) || meeting.keys.end == keys;
        let finite = self.finite && tile.finite;
        if !all && !finite {
            return self.add_visible::<S>(tile, &meeting);
        }
        if S::TILES {
            self.add_to_keys_by_tiles(&tiles, tile, &meeting);
            // A turn may have to be waited for, which is not for a thread whose tiles are in use.
            drop(tiles);
            self.add_to_queries_by_tiles(simd, tile, &meeting);
        } else {
            self.add_to_keys(simd, tile, &meeting);
            self.add_to_queries(simd, tile, &meeting);
        }
    }

    #[inline(always)]
    pub(super) fn turn<S: Simd>(&self, tile: &QueryTile, change: impl FnOnce(&mut [f32])) {
        tile.dq.take(self.gradient.begin / S::BACKWARD_KEYS, self.halt, |dq| change(dq));
    }

    /// P = 2^(S - lse) and dS / scale = P * (dP - delta), `[key][panel]`, some keys at a time: 0 where a row does not see a
    /// key, and in the rows that fill the last row group. True if all rows see all keys.
    #[inline(always)]
    fn probabilities<S: Simd>(&mut self, simd: S, tile: &QueryTile, meeting: &Meeting, panel: usize) -> bool {
        let (keys, first) = (meeting.keys.clone(), panel * S::WIDTH);
        let rows = tile.rows.min(first + S::WIDTH);
        let bounds = &tile.bounds[2 * first..2 * rows];
        let all = self.scratch.lanes.set(bounds, self.gradient.begin, &keys);
        for begin in keys.clone().step_by(GROUPS * S::ROWS) {
            let part = begin..keys.end.min(begin + GROUPS * S::ROWS);
            self.scores(simd, tile, &part, panel);
            self.weigh(simd, tile, &part, first, all);
        }
        let Scratch { p, ds, .. } = &mut *self.scratch;
        for key in keys.end..keys.end.next_multiple_of(S::ROWS) {
            let place = key * S::BACKWARD_QUERIES + first;
            p[place..place + S::WIDTH].fill(0.0);
            ds[place..place + S::WIDTH].fill(0.0);
        }
        all
    }

    /// S^T = K Q^T and dP^T = V dO^T.
    #[inline(always)]
    fn scores<S: Simd>(&mut self, simd: S, tile: &QueryTile, keys: &Range<usize>, panel: usize) {
        let (d, width) = (self.d, S::WIDTH);
        let Scratch { k_rows, v_rows, p, ds, .. } = &mut *self.scratch;
        let products = [(k_rows, &tile.q_lanes, p), (v_rows, &tile.dout_lanes, ds)];
        for (a, b, c) in products {
            simd.invoke(Product {
                rows: keys.len(),
                columns: width,
                depth: d,
                a: &a[keys.start * d..],
                a_group: S::ROWS * d,
                a_row: 1,
                a_step: S::ROWS,
                b: &b[panel * d * width..],
                b_step: width,
                c: &mut c[keys.start * S::BACKWARD_QUERIES + panel * width..],
                c_row: S::BACKWARD_QUERIES,
                start: Start::Zero,
            });
        }
    }

    /// Scores become P, and dP becomes dS / scale.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, tile: &QueryTile, keys: &Range<usize>, first: usize, all: bool) {
        let Scratch { p, ds, lanes, .. } = &mut *self.scratch;
        let zero = simd.splat(0.0);
        for at in (0..S::WIDTH).step_by(S::LANES) {
            let (lse, delta) = (simd.load(tile.lse, first + at), simd.load(tile.delta, first + at));
            for key in keys.clone() {
                let place = key * S::BACKWARD_QUERIES + first + at;
                let mut probability = simd.exp2(simd.sub(simd.load(p, place), lse));
                let mut slope = simd.mul(probability, simd.sub(simd.load(ds, place), delta));
                if !all {
                    probability = lanes.select(simd, at, key, probability, zero);
                    slope = lanes.select(simd, at, key, slope, zero);
                }
                simd.store(p, place, probability);
                simd.store(ds, place, slope);
            }
        }
    }

    /// dV += P^T dO and dK += dS^T Q, `[key][d]`.
    #[inline(always)]
    fn add_to_keys<S: Simd>(&mut self, simd: S, tile: &QueryTile, meeting: &Meeting) {
        let stride = row_stride::<S>(self.d);
        let first = meeting.panels.start * S::WIDTH;
        let depth = tile.rows.min(meeting.panels.end * S::WIDTH) - first;
        let (scratch, gradient) = (&*self.scratch, &mut *self.gradient);
        let products = [(&scratch.p, &tile.dout_rows, &mut gradient.dv), (&scratch.ds, &tile.q_rows, &mut gradient.dk)];
        for (a, b, c) in products {
            for column in (0..stride).step_by(S::WIDTH) {
                simd.invoke(Product {
                    rows: meeting.keys.len().next_multiple_of(S::ROWS),
                    columns: S::WIDTH.min(stride - column),
                    depth,
                    a: &a[meeting.keys.start * S::BACKWARD_QUERIES + first..],
                    a_group: S::ROWS * S::BACKWARD_QUERIES,
                    a_row: S::BACKWARD_QUERIES,
                    a_step: 1,
                    b: &b[first * stride + column..],
                    b_step: stride,
                    c: &mut c[meeting.keys.start * stride + column..],
                    c_row: stride,
                    start: Start::Add,
                });
            }
        }
    }

    /// dQ^T += K^T dS^T, `[d][panel]`.
    #[inline(always)]
    fn add_to_queries<S: Simd>(&mut self, simd: S, tile: &QueryTile, meeting: &Meeting) {
        let (d, width, keys) = (self.d, S::WIDTH, &meeting.keys);
        let panel_floats = d.next_multiple_of(S::ROWS) * width;
        let extent = self.gradient.keys.next_multiple_of(S::ROWS);
        let (k_columns, ds) = (&*self.scratch.k_columns, &*self.scratch.ds);
        self.turn::<S>(tile, |dq| {
            for panel in meeting.panels.clone() {
                simd.invoke(Product {
                    rows: d,
                    columns: width,
                    depth: keys.len(),
                    a: &k_columns[keys.start * S::ROWS..],
                    a_group: S::ROWS * extent,
                    a_row: 1,
                    a_step: S::ROWS,
                    b: &ds[keys.start * S::BACKWARD_QUERIES + panel * width..],
                    b_step: S::BACKWARD_QUERIES,
                    c: &mut dq[panel * panel_floats..],
                    c_row: width,
                    start: Start::Add,
                });
            }
        });
    }

    /// The last three products pair by pair: what is not finite must not reach rows that do not see it.
    #[cold]
    fn add_visible<S: Simd>(&mut self, tile: &QueryTile, meeting: &Meeting) {
        let (d, stride, width) = (self.d, row_stride::<S>(self.d), S::WIDTH);
        let begin = self.gradient.begin;
        let pairs = || {
            let rows = meeting.panels.start * width..tile.rows.min(meeting.panels.end * width);
            rows.flat_map(|row| {
                let sees = tile.bounds[2 * row]..tile.bounds[2 * row + 1];
                let keys = meeting.keys.clone();
                keys.filter(move |key| sees.contains(&((begin + key) as i32))).map(move |key| (row, key))
            })
        };
        let value = |of: &[f32], row: usize, key: usize| {
            if S::TILES { by_tiles::value::<S>(of, row, key) } else { of[key * S::BACKWARD_QUERIES + row] }
        };
        let query = |of: &[f32], row: usize, c: usize| {
            if S::TILES { element(of, d, false, (row, c)) } else { of[row * stride + c] }
        };
        for (row, key) in pairs() {
            let (p, ds) = (value(self.scratch.p, row, key), value(self.scratch.ds, row, key));
            for c in 0..d {
                self.gradient.dv[key * stride + c] += p * query(tile.dout_rows, row, c);
                self.gradient.dk[key * stride + c] += ds * query(tile.q_rows, row, c);
            }
        }
        let panel_floats = d.next_multiple_of(S::ROWS) * width;
        let k_columns = &*self.scratch.k_columns;
        let extent = self.gradient.keys.next_multiple_of(S::ROWS);
        self.turn::<S>(tile, |dq| {
            for (row, key) in pairs() {
                let ds = value(self.scratch.ds, row, key);
                let to = &mut dq[row / width * panel_floats + row % width..];
                for c in 0..d {
                    let k = if S::TILES {
                        element(k_columns, d, true, (key, c))
                    } else {
                        k_columns[c / S::ROWS * S::ROWS * extent + key * S::ROWS + c % S::ROWS]
                    };
                    to[c * width] += ds * k;
                }
            }
        });
    }
}
