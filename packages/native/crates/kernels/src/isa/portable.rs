//! No intrinsics: arrays of floats, which the compiler turns into whatever vectors the target has. Also the scalar twin
//! that the other paths are tested against, and, in any shape, a stand-in for sets that the machine lacks.
use super::{Kernel, Simd};
use std::array::from_fn;

/// Vectors of `L` floats, `V` side by side; with or without tiles.
#[derive(Clone, Copy)]
pub(crate) struct Arrays<const L: usize, const V: usize, const TILES: bool = false>;

/// Attention forward for SSE2 on Zen 3, d = 64: 13 GFLOP/s with 8 x 1, 22 with 4 x 2, 25 with this (the compiler's
/// doing).
pub(crate) type Portable = Arrays<16, 1>;

impl<const L: usize, const V: usize, const TILES: bool> Simd for Arrays<L, V, TILES> {
    const LANES: usize = L;
    const VECTORS: usize = V;
    const TILES: bool = TILES;
    const FORWARD_QUERIES: usize = if L * V > 32 { 2 * L * V } else { 64 };
    const FORWARD_KEYS: usize = 192;
    const BACKWARD_QUERIES: usize = 64;
    const BACKWARD_KEYS: usize = if TILES { 128 } else { 144 };

    type Vector = [f32; L];
    type Mask = [bool; L];

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; L] {
        [value; L]
    }

    #[inline(always)]
    fn add(self, a: [f32; L], b: [f32; L]) -> [f32; L] {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; L], b: [f32; L]) -> [f32; L] {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; L], b: [f32; L]) -> [f32; L] {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; L], b: [f32; L], c: [f32; L]) -> [f32; L] {
        // Not f32::mul_add: without the instruction it is a call into the C library.
        from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: [f32; L], b: [f32; L]) -> [f32; L] {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn less(self, a: [f32; L], b: [f32; L]) -> [bool; L] {
        from_fn(|i| a[i] < b[i])
    }

    #[inline(always)]
    fn select(self, mask: [bool; L], yes: [f32; L], no: [f32; L]) -> [f32; L] {
        from_fn(|i| if mask[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, a: [f32; L]) -> [f32; L] {
        from_fn(|i| f32::from_bits(a[i].to_bits() << 23))
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> [f32; L] {
        // SAFETY: the caller vouches for the pointer.
        unsafe { from.cast::<[f32; L]>().read() }
    }

    #[inline(always)]
    unsafe fn splat_at(self, from: *const f32) -> [f32; L] {
        // SAFETY: the caller vouches for the pointer.
        [unsafe { *from }; L]
    }

    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32, value: [f32; L]) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { to.cast::<[f32; L]>().write(value) }
    }

    #[inline(never)]
    fn invoke<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}
