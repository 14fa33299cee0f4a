//! AVX2 with FMA: 16 registers of 8 floats; 6 x 2 accumulators, 2 operands and a broadcast use 15.
//!
//! SAFETY of every block here: an `Avx2` exists only where `detect` found the instructions.
use super::{Kernel, Simd};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Avx2> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(Avx2(()))
    }

    #[target_feature(enable = "avx2,fma")]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const VECTORS: usize = 2;
    // The scores of a panel and a block, 12 KiB, stay in the first cache level.
    const FORWARD_QUERIES: usize = 64;
    const FORWARD_KEYS: usize = 192;
    // Of 48 to 128 x 96 to 288 the best by a few per cent; 64 x 96 is 5 % slower.
    const BACKWARD_QUERIES: usize = 80;
    const BACKWARD_KEYS: usize = 144;

    type Vector = __m256;
    type Mask = __m256;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: see the head of the file.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the head of the file.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the head of the file.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the head of the file.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see the head of the file.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the head of the file.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn less(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the head of the file.
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
    }

    #[inline(always)]
    fn select(self, mask: __m256, yes: __m256, no: __m256) -> __m256 {
        // SAFETY: see the head of the file.
        unsafe { _mm256_blendv_ps(no, yes, mask) }
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, a: __m256) -> __m256 {
        // SAFETY: see the head of the file.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a))) }
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> __m256 {
        // SAFETY: see the head of the file; the caller vouches for the pointer.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat_at(self, from: *const f32) -> __m256 {
        // SAFETY: see the head of the file; the caller vouches for the pointer.
        unsafe { _mm256_broadcast_ss(&*from) }
    }

    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32, value: __m256) {
        // SAFETY: see the head of the file; the caller vouches for the pointer.
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    fn invoke<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: see the head of the file.
        unsafe { self.enter(kernel) }
    }
}
