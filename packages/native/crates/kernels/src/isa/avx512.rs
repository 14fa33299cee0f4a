//! AVX-512F: 32 registers of 16 floats; 6 x 4 accumulators, 4 operands and a broadcast use 29.
//!
//! SAFETY of every block here: an `Avx512` exists only where `detect` found the instructions.
use super::{Kernel, Simd};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Avx512> {
        let found = is_x86_feature_detected!("avx512f");
        found.then_some(Avx512(()))
    }

    #[target_feature(enable = "avx512f")]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

/// The operations, which `Amx` and `Avx512Bf16` share.
macro_rules! operations {
    () => {
        type Vector = __m512;
        type Mask = __mmask16;

        #[inline(always)]
        fn splat(self, value: f32) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        fn add(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        fn sub(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_sub_ps(a, b) }
        }

        #[inline(always)]
        fn mul(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_mul_ps(a, b) }
        }

        #[inline(always)]
        fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        fn max(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_max_ps(a, b) }
        }

        #[inline(always)]
        fn less(self, a: __m512, b: __m512) -> __mmask16 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
        }

        #[inline(always)]
        fn select(self, mask: __mmask16, yes: __m512, no: __m512) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_mask_blend_ps(mask, no, yes) }
        }

        #[inline(always)]
        fn low_bits_to_exponent(self, a: __m512) -> __m512 {
            // SAFETY: see the head of the file.
            unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))) }
        }

        #[inline(always)]
        unsafe fn load_at(self, from: *const f32) -> __m512 {
            // SAFETY: see the head of the file; the caller vouches for the pointer.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn splat_at(self, from: *const f32) -> __m512 {
            // SAFETY: see the head of the file; the caller vouches for the pointer.
            unsafe { _mm512_set1_ps(*from) }
        }

        #[inline(always)]
        unsafe fn store_at(self, to: *mut f32, value: __m512) {
            // SAFETY: see the head of the file; the caller vouches for the pointer.
            unsafe { _mm512_storeu_ps(to, value) }
        }
        #[inline(always)]
        fn invoke<K: Kernel>(self, kernel: K) -> K::Output {
            // SAFETY: see the head of the file.
            unsafe { self.enter(kernel) }
        }
    };
}
pub(super) use operations;

impl Simd for Avx512 {
    const LANES: usize = 16;
    const VECTORS: usize = 4;
    // Measured on a Zen 5: of 48 to 288 keys forward 192 is up to 2 % above the others, and so are windows of 256; queries make
    // no difference. Backward's are those of AVX2.
    const FORWARD_QUERIES: usize = 128;
    const FORWARD_KEYS: usize = 192;
    const BACKWARD_QUERIES: usize = 64;
    const BACKWARD_KEYS: usize = 144;

    operations!();
}
