//! No intrinsics: arrays of 8 floats, which the compiler turns into whatever vectors the target has. Also the scalar
//! twin that the other paths are tested against.
use super::{Kernel, Simd};
use std::array::from_fn;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

type Lanes = [f32; 8];

impl Simd for Portable {
    const LANES: usize = 8;
    const VECTORS: usize = 1;
    const FORWARD_QUERIES: usize = 64;
    const BACKWARD_QUERIES: usize = 64;

    type Vector = Lanes;
    type Mask = [bool; 8];

    #[inline(always)]
    fn splat(self, value: f32) -> Lanes {
        [value; 8]
    }

    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        // Not f32::mul_add: without the instruction it is a call into the C library.
        from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn less(self, a: Lanes, b: Lanes) -> [bool; 8] {
        from_fn(|i| a[i] < b[i])
    }

    #[inline(always)]
    fn select(self, mask: [bool; 8], yes: Lanes, no: Lanes) -> Lanes {
        from_fn(|i| if mask[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, a: Lanes) -> Lanes {
        from_fn(|i| f32::from_bits(a[i].to_bits() << 23))
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> Lanes {
        // SAFETY: the caller vouches for the pointer.
        unsafe { from.cast::<Lanes>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn splat_at(self, from: *const f32) -> Lanes {
        // SAFETY: the caller vouches for the pointer.
        [unsafe { *from }; 8]
    }

    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32, value: Lanes) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { to.cast::<Lanes>().write_unaligned(value) }
    }

    #[inline(never)]
    fn invoke<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}
