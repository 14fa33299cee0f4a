//! The instructions on tiles and pairs by their definition, for sets of instructions that lack them.
use super::pack::{half, pair};
use super::{SIDE, TILE, TileProduct};
use crate::isa::Simd;
use crate::{Bf16, Element};

#[inline(always)]
pub(crate) fn cut<S: Simd>(simd: S, a: S::Vector) -> S::Vector {
    let mut floats = [0.0; SIDE];
    simd.store(&mut floats, 0, a);
    simd.load(&floats.map(|float| f32::from_bits(float.to_bits() & 0xffff_0000)), 0)
}

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
pub(crate) fn add_pairs<S: Simd>(simd: S, sums: S::Vector, pairs: S::Vector) -> S::Vector {
    let mut slots = [0.0; SIDE];
    simd.store(&mut slots, 0, pairs);
    let mut sums = sums;
    for which in [1, 0] {
        let halves = slots.map(|slot| half(slot, which));
        sums = simd.add(sums, simd.load(&halves, 0));
    }
    sums
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
    use crate::isa::{Isa, Kernel};

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
            let mut results = [0.0; 5 * SIDE];
            simd.store(&mut results, 0, rounded);
            simd.store(&mut results, SIDE, first);
            simd.store(&mut results, 2 * SIDE, second);
            simd.store(&mut results, 3 * SIDE, simd.add_pairs(simd.splat(0.5), rounded));
            simd.store(&mut results, 4 * SIDE, simd.cut(low));
            let tile = std::array::from_fn(|i| i as f32);
            let mut transposed = [0.0; TILE];
            simd.transpose(&tile, &mut transposed);
            results.iter().chain(&transposed).map(|slot| slot.to_bits()).collect()
        }
    }

    #[test]
    fn the_instructions_round_zip_add_cut_and_transpose_as_defined() {
        let values = std::array::from_fn(|i| {
            [1.0f32, -1.5, 1.0039063, 3.0e38, f32::INFINITY, 0.3][i % 6] * (1.0 + i as f32 / 97.0)
        });
        let expected = Isa::Portable.run(Instructions(values)).unwrap();
        assert_eq!(expected[0], u32::from(Bf16::from_f32(values[0]).0) | u32::from(Bf16::from_f32(values[1]).0) << 16);
        assert_eq!(expected[SIDE], values[0].to_bits() & 0xffff | values[SIDE].to_bits() << 16);
        assert_eq!(expected[4 * SIDE], values[0].to_bits() >> 16 << 16);
        let [first, second] = [values[0], values[1]].map(|value| Bf16::from_f32(value).to_f32());
        assert_eq!(f32::from_bits(expected[3 * SIDE]), 0.5 + second + first);
        assert_eq!(f32::from_bits(expected[5 * SIDE + 1]), 16.0);
        for isa in [Isa::Amx, Isa::Avx512Bf16].into_iter().filter(|isa| isa.is_available()) {
            assert_eq!(isa.run(Instructions(values)).unwrap(), expected, "{isa:?}");
        }
    }
}
