//! Keys and values of forward units, packed once for all query tiles and for all units that share them.
use crate::bounds::hull;
use crate::isa::{Kernel, Simd};
use crate::pack::{columns_to_panels, rows_to_panels};
use crate::rows::Rows;
use crate::tiles::{columns_to_tiles, element, rows_to_tiles, slots};
use crate::workspace::Cutter;
use crate::{Element, ForwardUnit};
use std::collections::HashMap;
use std::ops::Range;

/// Floats that a wave may pack: 64 MiB.
const WAVE_FLOATS: usize = 16 << 20;

/// The leading units whose keys and values are packed at a time: at least one.
pub(crate) struct Wave {
    /// For each unit of the wave, its place in `owners`.
    pub sources: Vec<usize>,
    /// What is packed.
    pub owners: Vec<Owner>,
    /// What packing takes.
    pub floats: usize,
}

/// Keys and values that some units share: the first of these, and the keys that any of them sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub unit: usize,
    pub seen: Range<usize>,
}

impl Wave {
    pub(crate) fn first_of<S: Simd, T: Element>(units: &[ForwardUnit<T>], d: usize) -> Wave {
        let mut known = HashMap::new();
        let mut wave = Wave { sources: Vec::new(), owners: Vec::<Owner>::new(), floats: 0 };
        for (i, unit) in units.iter().enumerate() {
            let (k, v) = (unit.k, unit.v);
            let seen = hull(unit.bounds);
            let source = *known.entry((k.ptr, k.row_stride, v.ptr, v.row_stride)).or_insert(wave.owners.len());
            let before = wave.owners.get(source).map_or(0..0, |owner| owner.seen.clone());
            let all = union(&before, &seen);
            let floats = wave.floats + floats::<S>(&all, d) - floats::<S>(&before, d);
            if i > 0 && floats > wave.floats.max(WAVE_FLOATS) {
                break;
            }
            wave.floats = floats;
            match wave.owners.get_mut(source) {
                Some(owner) => owner.seen = all,
                None => wave.owners.push(Owner { unit: i, seen: all }),
            }
            wave.sources.push(source);
        }
        wave
    }
}

fn union(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}

/// The blocks that cover `seen`: from multiples of `FORWARD_KEYS` on, the last one cut off.
fn blocks<S: Simd>(seen: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let (begin, end) = (seen.start / S::FORWARD_KEYS * S::FORWARD_KEYS, seen.end);
    (begin..end).step_by(S::FORWARD_KEYS).map(move |begin| begin..end.min(begin + S::FORWARD_KEYS))
}

fn floats<S: Simd>(seen: &Range<usize>, d: usize) -> usize {
    blocks::<S>(seen).map(|keys| space::<S>(keys.len(), d)).sum()
}

/// Floats of k and of v, packed.
fn sizes<S: Simd>(keys: usize, d: usize) -> [usize; 2] {
    if S::TILES {
        return [slots(keys, d); 2];
    }
    let keys = keys.next_multiple_of(S::ROWS);
    [keys * d, keys * d.next_multiple_of(S::ROWS)]
}

fn space<S: Simd>(keys: usize, d: usize) -> usize {
    sizes::<S>(keys, d).into_iter().map(Cutter::space).sum()
}

/// A block of keys: k in panels of rows, v in panels of columns. With tiles: rows of k as A's rows, columns of v as A's
/// rows.
pub(crate) struct KeyBlock<'m> {
    /// The first key's row, and how many follow it.
    pub begin: usize,
    pub keys: usize,
    pub k: &'m mut [f32],
    pub v: &'m mut [f32],
    /// Keys before the first whose value is not finite; those that fill the last row group count as finite.
    pub finite: usize,
}

impl<'m> KeyBlock<'m> {
    /// The blocks that cover `seen`, still to be packed.
    pub(crate) fn cut<S: Simd>(seen: &Range<usize>, d: usize, memory: &mut Cutter<'m>) -> Vec<KeyBlock<'m>> {
        let block = |keys: Range<usize>| {
            let [k, v] = sizes::<S>(keys.len(), d).map(|len| memory.cut(len));
            KeyBlock { begin: keys.start, keys: keys.len(), k, v, finite: 0 }
        };
        blocks::<S>(seen).map(block).collect()
    }

    /// The keys, counted from the block's first, that rows with these bounds see, and all between them; from a whole row
    /// group on, and with tiles to the end of one.
    #[inline(always)]
    pub(crate) fn seen<S: Simd>(&self, bounds: &[i32]) -> Range<usize> {
        let seen = hull(bounds);
        let end = seen.end.saturating_sub(self.begin).min(self.keys);
        let begin = seen.start.saturating_sub(self.begin) / S::ROWS * S::ROWS;
        begin..if S::TILES { end.next_multiple_of(S::ROWS) } else { end }
    }

    /// Element c of the key's value.
    pub(crate) fn value<S: Simd>(&self, key: usize, c: usize) -> f32 {
        let extent = self.extent::<S>();
        if S::TILES {
            return element(self.v, 2 * self.v.len() / extent, true, (key, c));
        }
        self.v[c / S::ROWS * S::ROWS * extent + c % S::ROWS + key * S::ROWS]
    }

    /// Keys to the next value panel.
    pub(crate) fn extent<S: Simd>(&self) -> usize {
        self.keys.next_multiple_of(S::ROWS)
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
    fn run<S: Simd>(self, simd: S) {
        let block = self.block;
        let extent = block.extent::<S>();
        let [k, v] = [self.k, self.v].map(|rows| rows.part(block.begin, block.keys));
        let finite = if S::TILES {
            rows_to_tiles(simd, k, false, block.k);
            columns_to_tiles(simd, v, true, block.v)
        } else {
            rows_to_panels(k, S::ROWS, k.width(), 1.0, block.k);
            columns_to_panels(v, S::ROWS, extent, block.v)
        };
        block.finite = if finite == block.keys { extent } else { finite };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Portable;
    use crate::{Strided, StridedMut};

    /// One row that sees all keys.
    fn unit(k: usize, bounds: &[i32; 2]) -> ForwardUnit<'_, f32> {
        let rows = Strided { ptr: std::ptr::without_provenance(64 * k), row_stride: 256 };
        let to = StridedMut { ptr: std::ptr::null_mut(), row_stride: 1 };
        ForwardUnit { rows: 1, kv_rows: bounds[1] as usize, bounds, q: rows, k: rows, v: rows, out: to, lse: to }
    }

    #[test]
    fn units_that_share_keys_share_their_packed_form() {
        let units = [unit(1, &[90, 500]), unit(2, &[0, 500]), unit(1, &[0, 0]), unit(1, &[80, 400])];
        let wave = Wave::first_of::<Portable, _>(&units, 64);
        assert_eq!(wave.sources, [0, 1, 0, 0]);
        assert_eq!(wave.owners, [Owner { unit: 0, seen: 80..500 }, Owner { unit: 1, seen: 0..500 }]);
    }

    #[test]
    fn a_wave_is_bounded_but_never_empty() {
        const LARGE: i32 = (2 * WAVE_FLOATS / 256) as i32;
        let sources = |units: &[_]| Wave::first_of::<Portable, _>(units, 256).sources;
        assert_eq!(sources(&[unit(1, &[0, LARGE]), unit(2, &[0, 1])]), [0]);
        assert_eq!(sources(&[unit(2, &[0, 1]), unit(1, &[0, LARGE])]), [0]);
        assert_eq!(sources(&[unit(1, &[0, 1]), unit(1, &[0, LARGE])]), [0]);
        assert_eq!(sources(&[unit(1, &[0, LARGE]), unit(1, &[0, 1])]), [0, 0]);
        assert_eq!(sources(&[unit(2, &[0, 1]), unit(2, &[0, 1])]), [0, 0]);
    }

    #[test]
    fn the_blocks_fill_what_the_wave_counted() {
        let wave = Wave::first_of::<Portable, _>(&[unit(1, &[200, 500])], 80);
        let mut memory = vec![0.0; wave.floats];
        let blocks = KeyBlock::cut::<Portable>(&wave.owners[0].seen, 80, &mut Cutter::new(&mut memory));
        assert_eq!(blocks.iter().map(|b| (b.begin, b.keys)).collect::<Vec<_>>(), [(192, 192), (384, 116)]);
    }
}
