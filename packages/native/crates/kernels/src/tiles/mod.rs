//! Products of bfloat16 by tiles, as matrix hardware has them, and the operands' packed forms.
//!
//! A slot is 32 bits: a float of a sum, or two bfloat16 that are adjacent along the depth of a product. A tile has 16
//! rows of 16 slots. In `C = A B` a row of A's tile is a row of A, 32 of the depth; a row of B's tile is a pair of the
//! depth, 16 columns. Four kinds of tiles cover all products of attention, and two are the transposed others:
//!
//! - rows as rows, for A, and as columns, for B: `rows_to_tiles`;
//! - the depth along rows, columns as columns, for B, and as rows, for A: `columns_to_tiles`.
//!
//! Buffers of slots are slices of float32, as every packed form of this crate; nothing computes with slots that are pairs.
pub(crate) mod defined;
mod pack;

pub(crate) use pack::{columns_to_tiles, element, half, negate, rows_to_tiles, slots};

use crate::isa::Simd;
use std::ops::Range;

/// Rows of a tile, and slots of its row.
pub(crate) const SIDE: usize = 16;
/// Slots of a tile.
pub(crate) const TILE: usize = SIDE * SIDE;
/// Rows and columns of the smallest product, two tiles either way, and the smallest depth, that of one.
pub(crate) const BLOCK: usize = 2 * SIDE;

/// Distances in slots: from a row of a tile to its next, to the next tile along the depth, and to the next of A's rows
/// or B's columns.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub slots: &'a [f32],
    pub row: usize,
    pub step: usize,
    pub group: usize,
}

impl<'a> Operand<'a> {
    /// What [`rows_to_tiles`] packed, from a row on that begins a tile.
    #[inline(always)]
    pub(crate) fn of_rows(slots: &'a [f32], d: usize, first: usize) -> Operand<'a> {
        let group = d.div_ceil(BLOCK) * TILE;
        Operand { slots: &slots[first / SIDE * group..], row: SIDE, step: TILE, group }
    }

    /// What [`columns_to_tiles`] packed, from a row on that begins a tile.
    #[inline(always)]
    pub(crate) fn of_columns(slots: &'a [f32], d: usize, first: usize) -> Operand<'a> {
        let step = d.next_multiple_of(BLOCK) / SIDE * TILE;
        Operand { slots: &slots[first / BLOCK * step..], row: SIDE, step, group: TILE }
    }

    fn covers(&self, groups: usize, steps: usize) -> bool {
        let last = (groups - 1) * self.group + (steps - 1) * self.step + (SIDE - 1) * self.row;
        last + SIDE <= self.slots.len()
    }
}

/// `C[i][j] (+)= sum over k < depth of A[i][k] B[k][j]`, i < rows, j < columns, all multiples of 32. C's rows are
/// `c_row` slots apart.
pub(crate) struct TileProduct<'a> {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub a: Operand<'a>,
    pub b: Operand<'a>,
    pub c: &'a mut [f32],
    pub c_row: usize,
    /// Whether C is added to.
    pub add: bool,
}

/// A thread that is ready for tile products. It must not meet another of its kind in this thread.
pub(crate) struct Tiles<S: Simd> {
    simd: S,
    /// The thread's own.
    own: std::marker::PhantomData<*const ()>,
}

impl<S: Simd> Tiles<S> {
    #[inline(always)]
    pub(crate) fn new(simd: S) -> Tiles<S> {
        simd.configure();
        Tiles { simd, own: std::marker::PhantomData }
    }

    #[inline(always)]
    pub(crate) fn multiply(&self, product: TileProduct) {
        let TileProduct { rows, columns, depth, .. } = product;
        assert!([rows, columns, depth].iter().all(|extent| *extent > 0 && extent.is_multiple_of(BLOCK)));
        assert!(product.a.covers(rows / SIDE, depth / BLOCK) && product.b.covers(columns / SIDE, depth / BLOCK));
        assert!((rows - 1) * product.c_row + columns <= product.c.len());
        // SAFETY: just checked, and `new` configured the thread.
        unsafe { self.simd.multiply(product) }
    }
}

impl<S: Simd> Drop for Tiles<S> {
    #[inline(always)]
    fn drop(&mut self) {
        self.simd.release();
    }
}

/// `keys` in pairs, counted from the first: those before, in and after `common`, where some lane does not see every key,
/// every lane does, and again some does not.
pub(crate) fn parts(keys: &Range<usize>, common: Range<usize>) -> [Range<usize>; 3] {
    let all = keys.len() / 2;
    let begin = common.start.saturating_sub(keys.start).div_ceil(2).min(all);
    let end = (common.end.saturating_sub(keys.start) / 2).clamp(begin, all);
    [0..begin, begin..end, end..all]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Kernel};
    use crate::rows::Rows;
    use crate::{Bf16, Element, Strided};

    /// Small whole numbers: their products and sums are exact, in any order.
    fn whole(rows: usize, d: usize) -> Vec<Bf16> {
        (0..rows * d).map(|i| Bf16::from_f32((i * i % 13) as f32 - 6.0)).collect()
    }

    fn rows(values: &[Bf16], d: usize) -> Rows<'_, Bf16> {
        // SAFETY: as many rows as there are values for.
        unsafe { Rows::new(Strided { ptr: values.as_ptr(), row_stride: d }, values.len() / d, d) }
    }

    /// A runs along rows or columns, B the other way about.
    struct Multiply<'a> {
        a: &'a [Bf16],
        b: &'a [Bf16],
        /// (rows of C, depth, columns of C) before padding.
        extents: (usize, usize, usize),
        along_rows: bool,
    }

    impl Kernel for Multiply<'_> {
        type Output = Vec<f32>;
        const TILES: bool = true;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let (count, depth, columns) = self.extents;
            let [rows_of_c, padded, c_row] = [count, depth, columns].map(|extent| extent.next_multiple_of(BLOCK));
            let mut packed = [vec![f32::NAN; slots(count, depth)], vec![f32::NAN; slots(columns, depth)]];
            let [a, b] = &mut packed;
            if self.along_rows {
                rows_to_tiles(simd, rows(self.a, depth), false, a);
                rows_to_tiles(simd, rows(self.b, depth), true, b);
            } else {
                columns_to_tiles(simd, rows(self.a, count), true, a);
                columns_to_tiles(simd, rows(self.b, columns), false, b);
            }
            let operand = |slots, d| {
                if self.along_rows { Operand::of_rows(slots, depth, 0) } else { Operand::of_columns(slots, d, 0) }
            };
            let mut c = vec![1.0; rows_of_c * c_row];
            let tiles = Tiles::new(simd);
            for add in [false, true] {
                let (a, b) = (operand(a, count), operand(b, columns));
                tiles.multiply(TileProduct {
                    rows: rows_of_c,
                    columns: c_row,
                    depth: padded,
                    a,
                    b,
                    c: &mut c,
                    c_row,
                    add,
                });
            }
            c
        }
    }

    #[test]
    fn a_product_is_that_of_its_definition_and_twice_that_when_added() {
        let (count, depth, columns) = if cfg!(miri) { (5, 9, 7) } else { (70, 90, 51) };
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for along_rows in [true, false] {
                let (a, b) = (whole(count, depth), whole(columns, depth));
                let extents = (count, depth, columns);
                let c = isa.run(Multiply { a: &a, b: &b, extents, along_rows }).unwrap();
                let at = |of: &[Bf16], i: usize, k: usize, extent: usize| {
                    of[if along_rows { i * depth + k } else { k * extent + i }].to_f32()
                };
                for (place, actual) in c.iter().enumerate() {
                    let (i, j) = (place / columns.next_multiple_of(BLOCK), place % columns.next_multiple_of(BLOCK));
                    let inside = i < count && j < columns;
                    let sum: f32 = (0..depth)
                        .map(|k| if inside { at(&a, i, k, count) * at(&b, j, k, columns) } else { 0.0 })
                        .sum();
                    assert_eq!(*actual, 2.0 * sum, "{isa:?}, along rows {along_rows}, ({i}, {j})");
                }
            }
        }
    }

    #[test]
    fn what_lies_outside_of_an_operand_is_refused() {
        let slots = vec![0.0; slots(64, 64)];
        let operand = Operand::of_rows(&slots, 64, 0);
        assert!(operand.covers(4, 2) && !operand.covers(5, 2) && !operand.covers(4, 3));
        assert_eq!(parts(&(32..96), 35..94), [0..2, 2..31, 31..32]);
        assert_eq!(parts(&(32..96), 0..0), [0..0, 0..0, 0..32]);
    }
}
