//! AVX-512 with bfloat16: VDPBF16PS adds a pair's products to each of 16 floats, twice as many as an FMA does.
//!
//! Attention goes by tiles here too, since their layout is what the instruction reads: a row of B's tile is a vector of
//! pairs, a slot of A's a pair for all of its lanes.
//!
//! SAFETY of every block here, where it says no more: an `Avx512Bf16` exists only where `detect` found the instructions.
use super::avx512::operations;
use super::{Kernel, Simd};
use crate::exp2;
use crate::tiles::{BLOCK, SIDE, TILE, TileProduct};
use std::arch::x86_64::*;
use std::mem::transmute;

#[derive(Clone, Copy)]
pub(crate) struct Avx512Bf16(());

impl Avx512Bf16 {
    pub(crate) fn detect() -> Option<Avx512Bf16> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16");
        found.then_some(Avx512Bf16(()))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

/// The shape of tiles and the operations on pairs, which `Amx` shares.
macro_rules! pair_operations {
    () => {
        const LANES: usize = 16;
        const VECTORS: usize = 2;
        const TILES: bool = true;
        // Long blocks, so that products and vectors take turns rarely: of 128, 256 and 512 keys forward the last is 1 to 10 % above
        // the others with either product; backward 256 is best, or within noise of it; more queries gain nothing.
        const FORWARD_QUERIES: usize = 128;
        const FORWARD_KEYS: usize = 512;
        const BACKWARD_QUERIES: usize = 128;
        const BACKWARD_KEYS: usize = 256;

        /// As the portable way, but VREDUCEPS finds the rest and VSCALEFPS multiplies by the power: 5 operations for 8.
        #[inline(always)]
        fn exp2(self, x: __m512) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe {
                let rest = _mm512_reduce_ps::<_MM_FROUND_TO_NEAREST_INT>(x);
                let power = exp2::polynomial(self, rest);
                let normal = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(-126.0));
                _mm512_maskz_scalef_ps(normal, power, _mm512_sub_ps(x, rest))
            }
        }

        #[inline(always)]
        fn cut(self, a: __m512) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_and_ps(a, _mm512_castsi512_ps(_mm512_set1_epi32(0xffff_0000_u32 as i32))) }
        }

        #[inline(always)]
        fn round(self, low: __m512, high: __m512) -> __m512 {
            // SAFETY: see the head of the file; both types are 512 bits.
            unsafe { transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low)) }
        }

        #[inline(always)]
        fn zip(self, even: __m512, odd: __m512) -> [__m512; 2] {
            const fn order(first: u16) -> [u16; 32] {
                let mut order = [0; 32];
                let mut i = 0;
                while i < 32 {
                    // 32 and above are of the second vector.
                    order[i as usize] = first + i / 2 + 32 * (i % 2);
                    i += 1;
                }
                order
            }
            const LOW: [u16; 32] = order(0);
            const HIGH: [u16; 32] = order(16);
            // Not by `map`: closures of arrays are calls.
            // SAFETY: see the head of the file; an order is as long as a vector.
            unsafe {
                let [low, high] = [transmute::<[u16; 32], __m512i>(LOW), transmute::<[u16; 32], __m512i>(HIGH)];
                let (even, odd) = (_mm512_castps_si512(even), _mm512_castps_si512(odd));
                let low = _mm512_permutex2var_epi16(even, low, odd);
                let high = _mm512_permutex2var_epi16(even, high, odd);
                [_mm512_castsi512_ps(low), _mm512_castsi512_ps(high)]
            }
        }

        #[inline(always)]
        fn add_pairs(self, sums: __m512, pairs: __m512) -> __m512 {
            const ONES: i32 = 0x3f80_3f80;
            // SAFETY: see the head of the file; all types are 512 bits.
            unsafe {
                let ones = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(ONES));
                _mm512_dpbf16_ps(sums, transmute::<__m512, __m512bh>(pairs), ones)
            }
        }

        #[inline(always)]
        fn transpose(self, tile: &[f32; TILE], to: &mut [f32; TILE]) {
            // SAFETY: see the head of the file; a tile has 16 vectors.
            unsafe {
                let mut rows = [_mm512_setzero_ps(); SIDE];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = _mm512_loadu_ps(tile.as_ptr().add(SIDE * i));
                }
                for (i, column) in transposed(rows).into_iter().enumerate() {
                    _mm512_storeu_ps(to.as_mut_ptr().add(SIDE * i), column);
                }
            }
        }
    };
}
pub(super) use pair_operations;

/// Rows whose sums of 32 columns are in registers at a time: 16 of them, with B's two vectors and a slot of A.
const ROWS: usize = 8;

impl Simd for Avx512Bf16 {
    operations!();
    pair_operations!();

    #[inline(always)]
    unsafe fn multiply(self, product: TileProduct) {
        // SAFETY: the caller's promise, and see the head of the file.
        unsafe { multiply(product) }
    }
}

/// A function of its own, whoever calls it: in a closure it would have no vectors.
///
/// # Safety
/// The product was checked, and the instructions exist.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply(product: TileProduct) {
    let TileProduct { rows, columns, depth, a, b, c, c_row, add } = product;
    let (a_slots, b_slots, c_slots) = (a.slots.as_ptr(), b.slots.as_ptr(), c.as_mut_ptr());
    for column in (0..columns).step_by(BLOCK) {
        for row in (0..rows).step_by(ROWS) {
            // SAFETY: the product was checked: all that the steps touch is inside of the slices.
            unsafe {
                let mut a_first = a_slots.add(row / SIDE * a.group + row % SIDE * a.row);
                let mut b_first = b_slots.add(column / SIDE * b.group);
                let c = c_slots.add(row * c_row + column);
                let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
                if add {
                    for (r, [low, high]) in sums.iter_mut().enumerate() {
                        *low = _mm512_loadu_ps(c.add(r * c_row));
                        *high = _mm512_loadu_ps(c.add(r * c_row + SIDE));
                    }
                }
                for _ in 0..depth / BLOCK {
                    for k in 0..SIDE {
                        let low = pairs(_mm512_loadu_ps(b_first.add(k * b.row)));
                        let high = pairs(_mm512_loadu_ps(b_first.add(k * b.row + b.group)));
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let factor = pairs(_mm512_set1_ps(*a_first.add(r * a.row + k)));
                            sums[0] = _mm512_dpbf16_ps(sums[0], factor, low);
                            sums[1] = _mm512_dpbf16_ps(sums[1], factor, high);
                        }
                    }
                    a_first = a_first.wrapping_add(a.step);
                    b_first = b_first.wrapping_add(b.step);
                }
                for (r, [low, high]) in sums.into_iter().enumerate() {
                    _mm512_storeu_ps(c.add(r * c_row), low);
                    _mm512_storeu_ps(c.add(r * c_row + SIDE), high);
                }
            }
        }
    }
}

#[inline(always)]
fn pairs(slots: __m512) -> __m512bh {
    // SAFETY: both are 512 bits.
    unsafe { transmute(slots) }
}

/// # Safety
/// AVX-512.
#[inline(always)]
pub(super) unsafe fn transposed(rows: [__m512; SIDE]) -> [__m512; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = _mm512_setzero_ps();
        let [mut pairs, mut quads, mut halves, mut columns] = [[zero; SIDE]; 4];
        // [row][column] within quarters of 4 columns, then the quarters themselves.
        for i in (0..SIDE).step_by(2) {
            pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        }
        for i in (0..SIDE).step_by(4) {
            for half in 0..2 {
                let (upper, lower) = (_mm512_castps_pd(pairs[i + half]), _mm512_castps_pd(pairs[i + 2 + half]));
                quads[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(upper, lower));
                quads[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(upper, lower));
            }
        }
        for i in 0..4 {
            for pair in 0..2 {
                let (upper, lower) = (quads[8 * pair + i], quads[8 * pair + 4 + i]);
                halves[8 * pair + i] = _mm512_shuffle_f32x4::<0x88>(upper, lower);
                halves[8 * pair + 4 + i] = _mm512_shuffle_f32x4::<0xdd>(upper, lower);
            }
        }
        for i in 0..4 {
            for odd in 0..2 {
                let (upper, lower) = (halves[4 * odd + i], halves[8 + 4 * odd + i]);
                columns[4 * odd + i] = _mm512_shuffle_f32x4::<0x88>(upper, lower);
                columns[8 + 4 * odd + i] = _mm512_shuffle_f32x4::<0xdd>(upper, lower);
            }
        }
        columns
    }
}
