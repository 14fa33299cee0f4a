//! Query tiles of the backward, packed once and read by every block of keys.
use crate::Element;
use crate::bounds::hull;
use crate::isa::{Kernel, Simd};
use crate::pack::{convert, copy_rows, lane_to_row, rows_to_panels};
use crate::parallel::Turns;
use crate::rows::{Rows, RowsMut};
use crate::tiles::{columns_to_tiles, rows_to_tiles, slots};
use crate::workspace::Cutter;
use std::f32::consts::LOG2_E;

/// Some query rows of a unit as the products read them. A panel is `WIDTH` queries.
pub(crate) struct QueryTile<'m> {
    pub rows: usize,
    pub bounds: &'m [i32],
    /// `[panel][d][WIDTH]`: q times scale times log2(e), and dout. With tiles: rows as columns, q as it is.
    pub q_lanes: &'m mut [f32],
    pub dout_lanes: &'m mut [f32],
    /// `[row][stride]`. With tiles: rows along the depth, columns as columns.
    pub q_rows: &'m mut [f32],
    pub dout_rows: &'m mut [f32],
    /// `[panel][WIDTH]`: lse to the base 2, and dout . out.
    pub lse: &'m mut [f32],
    pub delta: &'m mut [f32],
    /// Whether every element of q and dout is finite.
    pub finite: bool,
    /// `[panel][d][WIDTH]`, d padded to whole row groups: dq / scale so far. Blocks of keys add to it in their order.
    pub dq: Turns<&'m mut [f32]>,
}

/// Elements from one packed row to the next.
pub(crate) fn row_stride<S: Simd>(d: usize) -> usize {
    d.next_multiple_of(if S::TILES { S::ROWS } else { S::LANES })
}

fn sizes<S: Simd>(rows: usize, d: usize) -> [usize; 7] {
    let lanes = rows.next_multiple_of(S::WIDTH);
    let (panels, packed_rows) =
        if S::TILES { (slots(rows, d), slots(rows, d)) } else { (lanes * d, rows * row_stride::<S>(d)) };
    let dq = lanes * d.next_multiple_of(S::ROWS);
    [panels, panels, packed_rows, packed_rows, lanes, lanes, dq]
}

/// Rows of each tile of a unit.
fn tile_lengths<S: Simd>(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).step_by(S::BACKWARD_QUERIES).map(move |at| S::BACKWARD_QUERIES.min(rows - at))
}

impl<'m> QueryTile<'m> {
    /// Floats of a unit's tiles.
    pub(crate) fn floats<S: Simd>(rows: usize, d: usize) -> usize {
        let space = |rows| sizes::<S>(rows, d).into_iter().map(Cutter::space).sum::<usize>();
        tile_lengths::<S>(rows).map(space).sum()
    }

    /// The tiles of a unit, still to be packed.
    pub(crate) fn cut<S: Simd>(bounds: &'m [i32], d: usize, memory: &mut Cutter<'m>) -> Vec<QueryTile<'m>> {
        let tile = |bounds: &'m [i32]| {
            let rows = bounds.len() / 2;
            let [q_lanes, dout_lanes, q_rows, dout_rows, lse, delta, dq] =
                sizes::<S>(rows, d).map(|len| memory.cut(len));
            let dq = Turns::new(hull(bounds).start / S::BACKWARD_KEYS, dq);
            let finite = true;
            QueryTile { rows, bounds, q_lanes, dout_lanes, q_rows, dout_rows, lse, delta, finite, dq }
        };
        bounds.chunks(2 * S::BACKWARD_QUERIES).map(tile).collect()
    }
}

/// Packs one tile; dq begins at zero.
pub(crate) struct PackQueries<'a, 'm, T> {
    pub q: Rows<'a, T>,
    pub out: Rows<'a, T>,
    pub dout: Rows<'a, T>,
    pub lse: Rows<'a, f32>,
    pub scale: f32,
    pub tile: &'a mut QueryTile<'m>,
}

impl<T: Element> Kernel for PackQueries<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let tile = self.tile;
        let (d, stride) = (self.q.width(), row_stride::<S>(self.q.width()));
        if S::TILES {
            rows_to_tiles(simd, self.q, true, tile.q_lanes);
            rows_to_tiles(simd, self.dout, true, tile.dout_lanes);
            let finite = columns_to_tiles(simd, self.q, false, tile.q_rows);
            tile.finite = finite.min(columns_to_tiles(simd, self.dout, false, tile.dout_rows)) == tile.rows;
        } else {
            rows_to_panels(self.q, S::WIDTH, d, self.scale * LOG2_E, tile.q_lanes);
            rows_to_panels(self.dout, S::WIDTH, d, 1.0, tile.dout_lanes);
            let finite = copy_rows(self.q, stride, tile.q_rows);
            tile.finite = copy_rows(self.dout, stride, tile.dout_rows) & finite;
        }
        // Lanes without a row get P = 2^-inf = 0.
        tile.lse.fill(f32::INFINITY);
        tile.delta.fill(0.0);
        let [mut out, mut dout] = [[0.0; crate::MAX_HEAD_SIZE]; 2];
        for row in 0..tile.rows {
            convert(self.out.row(row), &mut out[..d]);
            convert(self.dout.row(row), &mut dout[..d]);
            tile.lse[row] = self.lse.row(row)[0] * LOG2_E;
            tile.delta[row] = dot(&dout[..d], &out[..d]);
        }
        tile.dq.get_mut().fill(0.0);
    }
}

/// In eight partial sums, so that it becomes vector code.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// Rounds a tile's dq into the rows that it belongs to.
pub(crate) struct StoreQueryGradient<'a, T> {
    /// As in [`QueryTile`].
    pub dq: &'a [f32],
    pub scale: f32,
    pub rows: usize,
    pub to: RowsMut<'a, T>,
}

impl<T: Element> Kernel for StoreQueryGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let panel_floats = self.to.width().next_multiple_of(S::ROWS) * S::WIDTH;
        for row in 0..self.rows {
            let panel = &self.dq[row / S::WIDTH * panel_floats..];
            lane_to_row(panel, S::WIDTH, row % S::WIDTH, self.scale, self.to.row_mut(row));
        }
    }
}
