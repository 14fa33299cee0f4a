//! Keys and values of forward units, packed once for all query tiles and for all units that share them.
use crate::isa::{Kernel, Simd};
use crate::micro::ROWS;
use crate::pack::{columns_to_panels, rows_to_panels};
use crate::rows::Rows;
use crate::workspace::Cutter;
use crate::{Element, ForwardUnit};
use std::collections::HashMap;

/// Floats that a wave may pack: 64 MiB.
const WAVE_FLOATS: usize = 16 << 20;

/// The leading units whose keys and values are packed at a time: at least one.
pub(crate) struct Wave {
    /// For each unit of the wave, its place in `owners`.
    pub sources: Vec<usize>,
    /// Units with different keys or values.
    pub owners: Vec<usize>,
    /// What packing takes.
    pub floats: usize,
}

impl Wave {
    pub(crate) fn first_of<S: Simd, T: Element>(units: &[ForwardUnit<T>], d: usize) -> Wave {
        let mut known = HashMap::new();
        let mut wave = Wave { sources: Vec::new(), owners: Vec::new(), floats: 0 };
        for (i, unit) in units.iter().enumerate() {
            let (k, v) = (unit.k, unit.v);
            let identity = (k.ptr, k.row_stride, v.ptr, v.row_stride, unit.kv_rows);
            let source = *known.entry(identity).or_insert(wave.owners.len());
            if source == wave.owners.len() {
                let floats: usize = block_lengths::<S>(unit.kv_rows).map(|keys| space(keys, d)).sum();
                if i > 0 && wave.floats + floats > WAVE_FLOATS {
                    break;
                }
                wave.floats += floats;
                wave.owners.push(i);
            }
            wave.sources.push(source);
        }
        wave
    }
}

fn block_lengths<S: Simd>(kv_rows: usize) -> impl Iterator<Item = usize> {
    (0..kv_rows).step_by(S::FORWARD_KEYS).map(move |begin| S::FORWARD_KEYS.min(kv_rows - begin))
}

/// Floats of k and of v, packed.
fn sizes(keys: usize, d: usize) -> [usize; 2] {
    let keys = keys.next_multiple_of(ROWS);
    [keys * d, keys * d.next_multiple_of(ROWS)]
}

fn space(keys: usize, d: usize) -> usize {
    sizes(keys, d).into_iter().map(Cutter::space).sum()
}

/// A block of keys: k in panels of rows, v in panels of columns.
pub(crate) struct KeyBlock<'m> {
    /// The first key's row, and how many follow it.
    pub begin: usize,
    pub keys: usize,
    pub k: &'m mut [f32],
    pub v: &'m mut [f32],
    pub v_is_finite: bool,
}

impl<'m> KeyBlock<'m> {
    /// The blocks of a source, still to be packed.
    pub(crate) fn cut<S: Simd>(kv_rows: usize, d: usize, memory: &mut Cutter<'m>) -> Vec<KeyBlock<'m>> {
        let block = |(i, keys)| {
            let [k, v] = sizes(keys, d).map(|len| memory.cut(len));
            KeyBlock { begin: i * S::FORWARD_KEYS, keys, k, v, v_is_finite: true }
        };
        block_lengths::<S>(kv_rows).enumerate().map(block).collect()
    }

    /// Keys to the next value panel.
    pub(crate) fn extent(&self) -> usize {
        self.keys.next_multiple_of(ROWS)
    }
}

/// Packs one block from its source.
pub(crate) struct PackKeys<'a, 'm, T> {
    pub k: Rows<'a, T>,
    pub v: Rows<'a, T>,
    pub block: &'a mut KeyBlock<'m>,
}

impl<T: Element> Kernel for PackKeys<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let extent = self.block.extent();
        let block = self.block;
        let (begin, keys) = (block.begin, block.keys);
        rows_to_panels(self.k.part(begin, keys), ROWS, self.k.width(), 1.0, block.k);
        block.v_is_finite = columns_to_panels(self.v.part(begin, keys), ROWS, extent, block.v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Portable;
    use crate::{Strided, StridedMut};

    fn unit(k: usize, kv_rows: usize) -> ForwardUnit<'static, f32> {
        let rows = Strided { ptr: std::ptr::without_provenance(64 * k), row_stride: 256 };
        let to = StridedMut { ptr: std::ptr::null_mut(), row_stride: 1 };
        ForwardUnit { rows: 0, kv_rows, bounds: &[], q: rows, k: rows, v: rows, out: to, lse: to }
    }

    #[test]
    fn units_that_share_keys_share_their_packed_form() {
        let wave = Wave::first_of::<Portable, _>(&[unit(1, 500), unit(2, 500), unit(1, 500), unit(1, 400)], 64);
        assert_eq!((wave.sources, wave.owners), (vec![0, 1, 0, 2], vec![0, 1, 3]));
    }

    #[test]
    fn a_wave_is_bounded_but_never_empty() {
        let large = 2 * WAVE_FLOATS / 256;
        assert_eq!(Wave::first_of::<Portable, _>(&[unit(1, large), unit(2, 1)], 256).sources, [0]);
        assert_eq!(Wave::first_of::<Portable, _>(&[unit(2, 1), unit(1, large)], 256).sources, [0]);
        assert_eq!(Wave::first_of::<Portable, _>(&[unit(2, 1), unit(2, 1)], 256).sources, [0, 0]);
    }

    #[test]
    fn the_blocks_fill_what_the_wave_counted() {
        let wave = Wave::first_of::<Portable, _>(&[unit(1, 500)], 80);
        let mut memory = vec![0.0; wave.floats];
        let blocks = KeyBlock::cut::<Portable>(500, 80, &mut Cutter::new(&mut memory));
        assert_eq!(blocks.iter().map(|b| (b.begin, b.keys)).collect::<Vec<_>>(), [(0, 192), (192, 192), (384, 116)]);
    }
}
