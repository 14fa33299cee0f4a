//! Elements in pairs, and the operands that they are packed to.
use super::{BLOCK, Operand, SIDE, TILE};
use crate::isa::Simd;
use crate::rows::Rows;
use crate::{Bf16, Element};

pub(crate) fn pair(first: Bf16, second: Bf16) -> f32 {
    f32::from_bits(u32::from(first.0) | u32::from(second.0) << 16)
}

/// One of a slot's two.
pub(crate) fn half(slot: f32, which: usize) -> f32 {
    Bf16((slot.to_bits() >> (16 * which)) as u16).to_f32()
}

/// Changes the sign of both in every slot.
pub(crate) fn negate(slots: &mut [f32]) {
    for slot in slots {
        *slot = f32::from_bits(slot.to_bits() ^ 0x8000_8000);
    }
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
