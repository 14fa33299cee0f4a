//! One algorithm, written against [`Simd`], compiled once for every instruction set.
//!
//! A value of a type that implements `Simd` is a token: it exists only where the instructions do, which is what makes
//! its operations safe to call. Code reaches vector registers by [`Isa::run`], whose callee must be inlined whole
//! (`#[inline(always)]` all the way down, no closures in loops): only the function that `invoke` makes carries the
//! target features.
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod portable;

#[cfg(test)]
pub(crate) use portable::Arrays;
pub(crate) use portable::Portable;

use crate::Error;
use crate::exp2::exp2;
use crate::micro;
use crate::tiles::{self, TILE, TileProduct, defined};

/// Vectors of float32 and what the kernels do with them.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Floats in a vector.
    const LANES: usize;
    /// Vectors side by side in the micro-kernel's tile; with its six rows they fill the register file.
    const VECTORS: usize;
    /// Floats side by side in the micro-kernel's tile.
    const WIDTH: usize = Self::LANES * Self::VECTORS;
    /// Whether the products of attention are those of [`tiles`](crate::tiles): of bfloat16, accumulated in float32. A
    /// vector is then a row of a tile.
    const TILES: bool = false;
    /// Keys that a product takes at a time, and columns of d; what is packed for it is padded to whole groups.
    const ROWS: usize = if Self::TILES { tiles::BLOCK } else { micro::ROWS };
    /// Query rows of a tile, a multiple of `WIDTH`, and keys of a block, a multiple of `ROWS`. Blocks stay in the second
    /// cache level while tiles, or their panels, pass; long ones cost less for sums in between.
    const FORWARD_QUERIES: usize;
    const FORWARD_KEYS: usize;
    const BACKWARD_QUERIES: usize;
    const BACKWARD_KEYS: usize;

    type Vector: Copy;
    type Mask: Copy;

    fn splat(self, value: f32) -> Self::Vector;
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a * b + c.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger; b where either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a < b; false where either is NaN.
    fn less(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    fn select(self, mask: Self::Mask, yes: Self::Vector, no: Self::Vector) -> Self::Vector;
    /// The low bits of each float, moved to where the exponent is.
    fn low_bits_to_exponent(self, a: Self::Vector) -> Self::Vector;

    /// 2^x for x up to 127, relative error below 2.5e-7; 0 below -126; NaN stays NaN.
    #[inline(always)]
    fn exp2(self, x: Self::Vector) -> Self::Vector {
        exp2(self, x)
    }
    /// Each float without the bits that bfloat16 lacks.
    #[inline(always)]
    fn cut(self, a: Self::Vector) -> Self::Vector {
        defined::cut(self, a)
    }
    /// 2 `LANES` bfloat16 in a vector: those of `low`, then those of `high`, rounded to nearest.
    #[inline(always)]
    fn round(self, low: Self::Vector, high: Self::Vector) -> Self::Vector {
        defined::round(self, low, high)
    }
    /// The bfloat16 of two vectors in turn, each from `even` followed by that from `odd`.
    #[inline(always)]
    fn zip(self, even: Self::Vector, odd: Self::Vector) -> [Self::Vector; 2] {
        defined::zip(self, even, odd)
    }
    /// Adds both bfloat16 of every slot.
    #[inline(always)]
    fn add_pairs(self, sums: Self::Vector, pairs: Self::Vector) -> Self::Vector {
        defined::add_pairs(self, sums, pairs)
    }
    /// Exchanges rows and slots.
    #[inline(always)]
    fn transpose(self, tile: &[f32; TILE], to: &mut [f32; TILE]) {
        defined::transpose(tile, to);
    }
    /// Makes this thread ready for `multiply`, until `release`.
    #[inline(always)]
    fn configure(self) {}
    #[inline(always)]
    fn release(self) {}
    /// # Safety
    /// The product was checked, and this thread is configured.
    #[inline(always)]
    unsafe fn multiply(self, product: TileProduct) {
        defined::multiply(product);
    }

    /// # Safety
    /// `from` points to `LANES` floats.
    unsafe fn load_at(self, from: *const f32) -> Self::Vector;
    /// # Safety
    /// `from` points to a float.
    unsafe fn splat_at(self, from: *const f32) -> Self::Vector;
    /// # Safety
    /// `to` points to `LANES` floats that may be written.
    unsafe fn store_at(self, to: *mut f32, value: Self::Vector);

    #[inline(always)]
    fn load(self, from: &[f32], at: usize) -> Self::Vector {
        let from = &from[at..at + Self::LANES];
        // SAFETY: the slice has LANES floats.
        unsafe { self.load_at(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32], at: usize, value: Self::Vector) {
        let to = &mut to[at..at + Self::LANES];
        // SAFETY: the slice has LANES floats.
        unsafe { self.store_at(to.as_mut_ptr(), value) }
    }

    /// Runs the kernel in a function of its own that is compiled for these instructions.
    fn invoke<K: Kernel>(self, kernel: K) -> K::Output;
}

/// A piece of work that can be compiled for any instruction set. `run` is always `#[inline(always)]`.
pub(crate) trait Kernel {
    type Output;
    /// Whether it does its products by tiles where there are such.
    const TILES: bool = false;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The instruction sets that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512, and bfloat16 products by matrix instructions.
    Amx,
    /// AVX-512, and bfloat16 products by its own instruction.
    Avx512Bf16,
    Avx512,
    Avx2,
    Portable,
}

impl Isa {
    /// All of them, best first.
    pub const ALL: [Isa; 5] = [Isa::Amx, Isa::Avx512Bf16, Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// The best that this machine has.
    pub fn detect() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => amx::Amx::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => avx512_bf16::Avx512Bf16::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::Avx512::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::Avx2::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Amx | Isa::Avx512Bf16 | Isa::Avx512 | Isa::Avx2 => false,
            Isa::Portable => true,
        }
    }

    /// As callers spell it: `amx`, `avx512-bf16`, `avx512`, `avx2`, `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Amx => "amx",
            Isa::Avx512Bf16 => "avx512-bf16",
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }

    /// The inverse of [`Isa::name`].
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    fn missing(self) -> Error {
        Error::Unsupported(format!("isa is {}, which this machine does not have", self.name()))
    }

    pub(crate) fn check(self) -> Result<(), Error> {
        if self.is_available() { Ok(()) } else { Err(self.missing()) }
    }

    /// Runs the kernel with these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> Result<K::Output, Error> {
        let missing = || self.missing();
        match self {
            // What has no use for tiles runs as with AVX-512.
            Isa::Amx | Isa::Avx512Bf16 if !K::TILES => {
                self.check()?;
                Isa::Avx512.run(kernel)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Ok(enter(amx::Amx::detect().ok_or_else(missing)?, kernel)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Ok(enter(avx512_bf16::Avx512Bf16::detect().ok_or_else(missing)?, kernel)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Ok(enter(avx512::Avx512::detect().ok_or_else(missing)?, kernel)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Ok(enter(avx2::Avx2::detect().ok_or_else(missing)?, kernel)),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Amx | Isa::Avx512Bf16 | Isa::Avx512 | Isa::Avx2 => Err(missing()),
            Isa::Portable => Ok(enter(Portable {}, kernel)),
        }
    }
}

fn enter<S: Simd, K: Kernel>(simd: S, kernel: K) -> K::Output {
    const {
        assert!(!S::TILES || (S::LANES == tiles::SIDE && S::WIDTH == tiles::BLOCK));
        assert!(S::FORWARD_QUERIES.is_multiple_of(S::WIDTH) && S::BACKWARD_QUERIES.is_multiple_of(S::WIDTH));
        assert!(S::FORWARD_KEYS.is_multiple_of(S::ROWS) && S::BACKWARD_KEYS.is_multiple_of(S::ROWS));
    }
    simd.invoke(kernel)
}
