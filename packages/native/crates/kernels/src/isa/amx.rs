//! AMX: products of bfloat16 by tiles of 16 rows of 64 bytes, of which a thread has eight: four sums and four operands.
//! All else is that of AVX-512 with bfloat16.
//!
//! The compiler knows nothing of what is in a tile. So tiles never hold anything from one `asm!` to the next, and
//! each block names them all as overwritten. Their shape is per thread: loaded by `configure`, given up by
//! `release`, which also spares the system to save 8 KiB with the thread.
//!
//! SAFETY of every block here, where it says no more: an `Amx` exists only where `detect` found the instructions.
use super::avx512::operations;
use super::avx512_bf16::{Avx512Bf16, pair_operations, transposed};
use super::{Kernel, Simd};
use crate::exp2;
use crate::tiles::{SIDE, TILE, TileProduct};
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::transmute;
use std::sync::OnceLock;

#[derive(Clone, Copy)]
pub(crate) struct Amx(());

/// What LDTILECFG reads: palette 1, and eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 8],
    unused_row_bytes: [u16; 8],
    rows: [u8; 8],
    unused_rows: [u8; 8],
}

static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64; 8],
    unused_row_bytes: [0; 8],
    rows: [SIDE as u8; 8],
    unused_rows: [0; 8],
};

impl Amx {
    pub(crate) fn detect() -> Option<Amx> {
        // Asked once: permission is the process's, and CPUID takes a virtual machine microseconds.
        static FOUND: OnceLock<bool> = OnceLock::new();
        let found = *FOUND.get_or_init(|| Avx512Bf16::detect().is_some() && has_tiles() && permitted());
        found.then_some(Amx(()))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

/// Whether the processor has tiles of bfloat16, and the system saves them.
fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const TILE_CONFIGURATION_AND_CONTENTS: u64 = 0b11 << 17;
    // SAFETY: AVX-512, which was asked for first, implies leaf 7 and that XGETBV may be used.
    #[allow(unused_unsafe, reason = "safe from Rust 1.94 on")]
    let (features, saved) = unsafe { (__cpuid_count(7, 0).edx, enabled_state()) };
    let wanted = AMX_BF16 | AMX_TILE;
    features & wanted == wanted && saved & TILE_CONFIGURATION_AND_CONTENTS == TILE_CONFIGURATION_AND_CONTENTS
}

/// XCR0: the state that the system saves.
///
/// # Safety
/// The system has enabled XSAVE.
#[target_feature(enable = "xsave")]
unsafe fn enabled_state() -> u64 {
    // SAFETY: the caller's promise.
    unsafe { _xgetbv(0) }
}

/// Linux reserves room for tiles in a thread's saved state only for processes that asked.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: a call to the system that touches no memory of ours; the instruction overwrites rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// An `asm!` whose tiles are overwritten.
macro_rules! tile_asm {
    ($($arguments:tt)*) => {
        asm!(
            $($arguments)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// 32 x 32 sums, from what the first four instructions say.
macro_rules! product_asm {
    ($($start:literal),*, ($a:ident, $a_row:ident, $a_step:ident), ($b:ident, $b_row:ident, $b_step:ident),
     ($c:ident, $c_row:ident), $steps:ident) => {
        tile_asm!(
            $($start,)*
            "2:",
            "tileloadd tmm4, [{a} + {a_row}]",
            "tileloadd tmm6, [{b} + {b_row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b2} + {b_row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a2} + {a_row}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, {a_step}",
            "add {a2}, {a_step}",
            "add {b}, {b_step}",
            "add {b2}, {b_step}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{c} + {c_row}], tmm0",
            "tilestored [{c} + {c_row} + 64], tmm1",
            "tilestored [{c2} + {c_row}], tmm2",
            "tilestored [{c2} + {c_row} + 64], tmm3",
            a = inout(reg) $a[0] => _,
            a2 = inout(reg) $a[1] => _,
            a_row = in(reg) $a_row,
            a_step = in(reg) $a_step,
            b = inout(reg) $b[0] => _,
            b2 = inout(reg) $b[1] => _,
            b_row = in(reg) $b_row,
            b_step = in(reg) $b_step,
            c = in(reg) $c[0],
            c2 = in(reg) $c[1],
            c_row = in(reg) $c_row,
            steps = inout(reg) $steps => _,
        )
    };
}

impl Simd for Amx {
    operations!();

    pair_operations!();

    #[inline(always)]
    fn configure(self) {
        // SAFETY: see the head of the file; the shapes are what the instruction reads. It zeroes tiles.
        unsafe { tile_asm!("ldtilecfg [{shapes}]", shapes = in(reg) &raw const SHAPES,) }
    }

    #[inline(always)]
    fn release(self) {
        // SAFETY: see the head of the file.
        unsafe { tile_asm!("tilerelease",) }
    }

    #[inline(always)]
    unsafe fn multiply(self, product: TileProduct) {
        let TileProduct { rows, columns, depth, a, b, c, c_row, add } = product;
        let (a_slots, b_slots, c_slots) = (a.slots.as_ptr(), b.slots.as_ptr(), c.as_mut_ptr());
        let distances = [a.row, a.step, b.row, b.step, c_row].map(|slots| slots * size_of::<f32>());
        let steps = depth / (2 * SIDE);
        let blocks = columns / (2 * SIDE);
        for block in 0..rows / (2 * SIDE) * blocks {
            // Columns first: A's rows are then in the first cache level.
            let (row, column) = (block / blocks * 2 * SIDE, block % blocks * 2 * SIDE);
            // SAFETY: the product was checked: all that the steps touch is inside of the slices. The thread is configured.
            unsafe {
                let a_first = a_slots.add(row / SIDE * a.group);
                let b_first = b_slots.add(column / SIDE * b.group);
                let c_first = c_slots.add(row * c_row + column);
                let (a, b) = ([a_first, a_first.add(a.group)], [b_first, b_first.add(b.group)]);
                let c = [c_first, c_first.add(SIDE * c_row)];
                let [a_row, a_step, b_row, b_step, c_row] = distances;
                if add {
                    product_asm!(
                        "tileloadd tmm0, [{c} + {c_row}]",
                        "tileloadd tmm1, [{c} + {c_row} + 64]",
                        "tileloadd tmm2, [{c2} + {c_row}]",
                        "tileloadd tmm3, [{c2} + {c_row} + 64]",
                        (a, a_row, a_step),
                        (b, b_row, b_step),
                        (c, c_row),
                        steps
                    );
                } else {
                    product_asm!(
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "tilezero tmm2",
                        "tilezero tmm3",
                        (a, a_row, a_step),
                        (b, b_row, b_step),
                        (c, c_row),
                        steps
                    );
                }
            }
        }
    }
}
