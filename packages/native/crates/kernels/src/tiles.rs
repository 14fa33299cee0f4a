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
use crate::isa::Simd;
use crate::rows::Rows;
use crate::{Bf16, Element};
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

pub(crate) fn pair(first: Bf16, second: Bf16) -> f32 {
    f32::from_bits(u32::from(first.0) | u32::from(second.0) << 16)
}

/// One of a slot's two.
pub(crate) fn half(slot: f32, which: usize) -> f32 {
    Bf16((slot.to_bits() >> (16 * which)) as u16).to_f32()
}

/// Slots of a packed operand; both extents are padded to whole blocks.
pub(crate) const fn slots(rows: usize, d: usize) -> usize {
    rows.next_multiple_of(BLOCK) * d.next_multiple_of(BLOCK) / 2
}

/// `[rows][d] -> [row / 16][d / 32][16 rows][16 pairs of d]`, or the last two exchanged; padded with zeros.
/// True if every element is finite.
#[inline(always)]
pub(crate) fn rows_to_tiles<S: Simd, T: Element>(simd: S, rows: Rows<T>, exchanged: bool, to: &mut [f32]) -> bool {
    let (count, d) = (rows.len(), rows.width());
    let mut finite = true;
    let mut tile = [0.0; TILE];
    let mut tiles = to[..slots(count, d)].as_chunks_mut::<TILE>().0.iter_mut();
    for group in (0..count.next_multiple_of(BLOCK)).step_by(SIDE) {
        for column in (0..d).step_by(BLOCK) {
            let columns = column..d.min(column + BLOCK);
            for (i, slots) in tile.chunks_exact_mut(SIDE).enumerate() {
                let row = if group + i < count { &rows.row(group + i)[columns.clone()] } else { &[] };
                finite &= join(row, slots);
            }
            let to = tiles.next().expect("as many tiles as slots");
            if exchanged { simd.transpose(&tile, to) } else { to.copy_from_slice(&tile) }
        }
    }
    finite
}

/// Elements next to each other become slots. True if every element is finite.
#[inline(always)]
fn join<T: Element>(row: &[T], slots: &mut [f32]) -> bool {
    let mut halves = [Bf16(0); BLOCK];
    let mut special = false;
    for (half, element) in halves.iter_mut().zip(row) {
        *half = element.to_bf16();
        special |= is_special(*half);
    }
    for (slot, halves) in slots.iter_mut().zip(halves.as_chunks::<2>().0) {
        *slot = pair(halves[0], halves[1]);
    }
    !special
}

/// `[rows][d] -> [row / 32][d / 16][16 pairs of rows][16 of d]`, or the last two exchanged; padded with zeros.
/// Returns how many rows come before the first that is not all finite.
#[inline(always)]
pub(crate) fn columns_to_tiles<S: Simd, T: Element>(simd: S, rows: Rows<T>, exchanged: bool, to: &mut [f32]) -> usize {
    let (count, d) = (rows.len(), rows.width());
    let mut finite = count;
    let mut tile = [0.0; TILE];
    let mut tiles = to[..slots(count, d)].as_chunks_mut::<TILE>().0.iter_mut();
    for group in (0..count).step_by(BLOCK) {
        for column in (0..d.next_multiple_of(BLOCK)).step_by(SIDE) {
            let columns = column.min(d)..d.min(column + SIDE);
            for (i, slots) in tile.chunks_exact_mut(SIDE).enumerate() {
                let row = |row: usize| if row < count { &rows.row(row)[columns.clone()] } else { &[] };
                let first = group + 2 * i;
                let specials = interleave(row(first), row(first + 1), slots);
                if specials[0] {
                    finite = finite.min(first);
                }
                if specials[1] {
                    finite = finite.min(first + 1);
                }
            }
            let to = tiles.next().expect("as many tiles as slots");
            if exchanged { simd.transpose(&tile, to) } else { to.copy_from_slice(&tile) }
        }
    }
    finite
}

/// An element of what [`columns_to_tiles`] packed.
pub(crate) fn element(slots: &[f32], d: usize, exchanged: bool, (row, column): (usize, usize)) -> f32 {
    let (pair, column_in_tile) = (row % BLOCK / 2, column % SIDE);
    let slot = if exchanged { column_in_tile * SIDE + pair } else { pair * SIDE + column_in_tile };
    half(Operand::of_columns(slots, d, row).slots[column / SIDE * TILE + slot], row % 2)
}

/// Elements of two rows above each other become slots. Whether any of either is not finite.
#[inline(always)]
fn interleave<T: Element>(first: &[T], second: &[T], slots: &mut [f32]) -> [bool; 2] {
    let mut halves = [[Bf16(0); SIDE]; 2];
    let mut special = [false; 2];
    for ((halves, special), row) in halves.iter_mut().zip(&mut special).zip([first, second]) {
        for (half, element) in halves.iter_mut().zip(row) {
            *half = element.to_bf16();
            *special |= is_special(*half);
        }
    }
    for ((slot, first), second) in slots.iter_mut().zip(halves[0]).zip(halves[1]) {
        *slot = pair(first, second);
    }
    special
}

#[inline(always)]
fn is_special(element: Bf16) -> bool {
    const EXPONENT: u16 = 0x7f80;
    element.0 & EXPONENT == EXPONENT
}

/// The instructions by their definition, for sets of instructions that lack them.
#[inline(always)]
pub(crate) fn round<S: Simd>(simd: S, low: S::Vector, high: S::Vector) -> S::Vector {
    let mut floats = [0.0; 2 * SIDE];
    simd.store(&mut floats, 0, low);
    simd.store(&mut floats, S::LANES, high);
    let mut slots = [0.0; SIDE];
    for (slot, floats) in slots.iter_mut().zip(floats.as_chunks::<2>().0) {
        *slot = pair(Bf16::from_f32(floats[0]), Bf16::from_f32(floats[1]));
    }
    simd.load(&slots, 0)
}

#[inline(always)]
pub(crate) fn zip<S: Simd>(simd: S, even: S::Vector, odd: S::Vector) -> [S::Vector; 2] {
    let [mut evens, mut odds] = [[0.0; SIDE]; 2];
    simd.store(&mut evens, 0, even);
    simd.store(&mut odds, 0, odd);
    let mut slots = [0.0; 2 * SIDE];
    for (i, slot) in slots.iter_mut().enumerate() {
        let of = |slots: &[f32; SIDE]| Bf16((slots[i / 2].to_bits() >> (16 * (i % 2))) as u16);
        *slot = pair(of(&evens), of(&odds));
    }
    [simd.load(&slots, 0), simd.load(&slots, S::LANES)]
}

#[inline(always)]
pub(crate) fn transpose(tile: &[f32; TILE], to: &mut [f32; TILE]) {
    for (i, slot) in to.iter_mut().enumerate() {
        *slot = tile[i % SIDE * SIDE + i / SIDE];
    }
}

#[inline(always)]
pub(crate) fn multiply(product: TileProduct) {
    let TileProduct { rows, columns, depth, a, b, c, c_row, add } = product;
    for row in 0..rows {
        for group in 0..columns / SIDE {
            let to = &mut c[row * c_row + SIDE * group..][..SIDE];
            if !add {
                to.fill(0.0);
            }
            for k in 0..depth / 2 {
                let (step, k) = (k / SIDE, k % SIDE);
                let of_a = a.slots[row / SIDE * a.group + step * a.step + row % SIDE * a.row + k];
                let of_b = &b.slots[group * b.group + step * b.step + k * b.row..][..SIDE];
                for (sum, of_b) in to.iter_mut().zip(of_b) {
                    *sum += half(of_a, 0) * half(*of_b, 0) + half(of_a, 1) * half(*of_b, 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strided;
    use crate::isa::{Isa, Kernel};

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

    /// What the instructions make of two vectors, and of a tile.
    struct Instructions([f32; 2 * SIDE]);

    impl Kernel for Instructions {
        type Output = Vec<u32>;
        const TILES: bool = true;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<u32> {
            let (low, high) = (simd.load(&self.0, 0), simd.load(&self.0, S::LANES));
            let rounded = simd.round(low, high);
            let [first, second] = simd.zip(low, high);
            let mut results = [0.0; 3 * SIDE];
            simd.store(&mut results, 0, rounded);
            simd.store(&mut results, SIDE, first);
            simd.store(&mut results, 2 * SIDE, second);
            let tile = std::array::from_fn(|i| i as f32);
            let mut transposed = [0.0; TILE];
            simd.transpose(&tile, &mut transposed);
            results.iter().chain(&transposed).map(|slot| slot.to_bits()).collect()
        }
    }

    #[test]
    fn the_instructions_round_zip_and_transpose_as_defined() {
        let values = std::array::from_fn(|i| {
            [1.0f32, -1.5, 1.0039063, 3.0e38, f32::INFINITY, 0.3][i % 6] * (1.0 + i as f32 / 97.0)
        });
        let expected = Isa::Portable.run(Instructions(values)).unwrap();
        assert_eq!(expected[0], u32::from(Bf16::from_f32(values[0]).0) | u32::from(Bf16::from_f32(values[1]).0) << 16);
        assert_eq!(expected[SIDE], values[0].to_bits() & 0xffff | values[SIDE].to_bits() << 16);
        assert_eq!(f32::from_bits(expected[3 * SIDE + 1]), 16.0);
        if Isa::Amx.is_available() {
            assert_eq!(Isa::Amx.run(Instructions(values)).unwrap(), expected);
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
