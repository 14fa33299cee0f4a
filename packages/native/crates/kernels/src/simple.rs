//! Slow and obvious; replaced as soon as the tiled kernels stand.
use crate::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[derive(Clone, Copy, Debug)]
pub struct MatmulParams {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// C += A B instead of C = A B.
    pub accumulate: bool,
    pub threads: usize,
    pub isa: Isa,
}

/// A float32 matrix: element (i, j) is at `ptr + i * row_stride + j`, or swapped when transposed.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub ptr: *const f32,
    pub row_stride: usize,
    pub transposed: bool,
}

/// # Safety
/// Every operand covers its extents; `c` aliases nothing.
pub unsafe fn matmul(
    _workspaces: &Workspaces,
    params: &MatmulParams,
    a: Matrix,
    b: Matrix,
    c: StridedMut<f32>,
    stop: &AtomicBool,
) -> Result<(), Error> {
    attention::check_threads(params.threads)?;
    params.isa.check()?;
    let at = |x: Matrix, i: usize, j: usize| unsafe {
        *x.ptr.add(if x.transposed { j * x.row_stride + i } else { i * x.row_stride + j })
    };
    for i in 0..params.m {
        if stop.load(Relaxed) {
            return Err(Error::Cancelled);
        }
        for j in 0..params.n {
            let sum: f32 = (0..params.k).map(|p| at(a, i, p) * at(b, p, j)).sum();
            let target = unsafe { &mut *c.ptr.add(i * c.row_stride + j) };
            *target = if params.accumulate { *target + sum } else { sum };
        }
    }
    Ok(())
}
