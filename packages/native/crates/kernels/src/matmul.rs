//! The matrix product. Both operands are packed whole; blocks of C are then independent and each is summed over k in
//! one order, so results do not depend on the number of threads.
use crate::check::{check_rows, check_threads};
use crate::isa::{Kernel, Simd};
use crate::micro::{Product, ROWS, Start};
use crate::pack::{MAX_WIDTH, columns_to_panels, rows_to_panels};
use crate::parallel::{Halt, for_each};
use crate::rows::{Rows, RowsMut};
use crate::workspace::{Buffer, Cutter};
use crate::{Error, Isa, Strided, StridedMut, Workspaces};
use std::sync::atomic::AtomicBool;

/// C (m x n) = A (m x k) B (k x n), all float32.
#[derive(Clone, Copy, Debug)]
pub struct MatmulParams {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// C += A B instead of C = A B.
    pub accumulate: bool,
    /// Threads that this call may use, the caller's included; results do not depend on it.
    pub threads: usize,
    pub isa: Isa,
}

/// A matrix to read: element (i, j) is at `ptr + i * row_stride + j`, or swapped when transposed.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub ptr: *const f32,
    pub row_stride: usize,
    pub transposed: bool,
}

// SAFETY: a plain address; every access goes through an unsafe entry point whose caller vouches for it.
unsafe impl Send for Matrix {}
// SAFETY: as above.
unsafe impl Sync for Matrix {}

impl Matrix {
    fn check(&self, field: &str, rows: usize, columns: usize) -> Result<(), Error> {
        let extents = if self.transposed { (columns, rows) } else { (rows, columns) };
        check_rows(format_args!("{field}"), self.ptr, self.row_stride, extents, false)
    }
}

/// Rows and columns of a block of C: its sums stay in the second cache level.
const BLOCK_ROWS: usize = 16 * ROWS;
const BLOCK_COLUMNS: usize = 192;

/// Floats of B that stay in the first cache level while rows of A pass.
const PANEL_FLOATS: usize = 4096;

/// Columns that are packed at a time: whole panels of any width.
const PACK_COLUMNS: usize = 192;

const _: () = assert!(PACK_COLUMNS <= MAX_WIDTH && PACK_COLUMNS.is_multiple_of(ROWS));

/// Computes C. Checks `stop` often enough to return within 50 ms of its being raised.
///
/// # Safety
/// The operands cover their extents, and until the call returns nobody writes to A or B nor touches C, which overlaps
/// neither.
pub unsafe fn matmul(
    workspaces: &Workspaces,
    params: &MatmulParams,
    a: Matrix,
    b: Matrix,
    c: StridedMut<f32>,
    stop: &AtomicBool,
) -> Result<(), Error> {
    let MatmulParams { m, n, k, .. } = *params;
    check_threads(params.threads)?;
    a.check("a", m, k)?;
    b.check("b", k, n)?;
    check_rows(format_args!("c"), c.ptr, c.row_stride, (m, n), true)?;
    let halt = Halt::new(stop);
    params.isa.run(Matmul { workspaces, params, a, b, c, halt: &halt })?
}

pub(crate) struct Matmul<'a> {
    pub(crate) workspaces: &'a Workspaces,
    pub(crate) params: &'a MatmulParams,
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) c: StridedMut<f32>,
    pub(crate) halt: &'a Halt<'a>,
}

impl Kernel for Matmul<'_> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Result<(), Error> {
        let MatmulParams { m, n, .. } = *self.params;
        let a = self.pack(simd, Lanes { of: self.a, along_rows: !self.a.transposed, count: m, width: ROWS })?;
        let b = self.pack(simd, Lanes { of: self.b, along_rows: self.b.transposed, count: n, width: S::WIDTH })?;
        self.multiply(simd, &a, &b)
    }
}

/// How an operand is packed: `[count / width][k][width]`.
#[derive(Clone, Copy)]
struct Lanes {
    of: Matrix,
    /// Whether lanes are rows in memory; else they are columns.
    along_rows: bool,
    count: usize,
    width: usize,
}

impl Matmul<'_> {
    fn pack<S: Simd>(&self, simd: S, lanes: Lanes) -> Result<Buffer<'_>, Error> {
        let k = self.params.k;
        let mut memory = self.workspaces.take(lanes.count.next_multiple_of(lanes.width) * k);
        let starts = (0..lanes.count).step_by(PACK_COLUMNS);
        let parts = memory.chunks_mut((PACK_COLUMNS * k).max(1));
        let packs = starts.zip(parts).map(|(first, panels)| PackLanes { lanes, first, k, panels }).collect();
        let mut workers = vec![(); self.params.threads];
        for_each(&mut workers, packs, self.halt, |_, pack| simd.invoke(pack))?;
        Ok(memory)
    }

    fn multiply<S: Simd>(&self, simd: S, a: &[f32], b: &[f32]) -> Result<(), Error> {
        let MatmulParams { m, n, k, accumulate, threads, .. } = *self.params;
        let mut blocks = Vec::new();
        for row in (0..m).step_by(BLOCK_ROWS) {
            for column in (0..n).step_by(BLOCK_COLUMNS) {
                let (rows, columns) = (BLOCK_ROWS.min(m - row), BLOCK_COLUMNS.min(n - column));
                let ptr = self.c.ptr.wrapping_add(row * self.c.row_stride + column);
                // SAFETY: `matmul`'s caller vouches for C, and blocks do not overlap.
                let to = unsafe { RowsMut::new(StridedMut { ptr, ..self.c }, rows, columns) };
                let (a, b) = (&a[row * k..], &b[column * k..]);
                blocks.push(Block { rows, columns, k, a, b, to, accumulate });
            }
        }
        let threads = threads.min(blocks.len());
        let floats = BLOCK_ROWS * BLOCK_COLUMNS;
        let mut buffers: Vec<_> = (0..threads).map(|_| self.workspaces.take(floats)).collect();
        for_each(&mut buffers, blocks, self.halt, |sums, block| {
            simd.invoke(MultiplyBlock { block, sums: Cutter::new(sums).cut(floats), halt: self.halt });
        })
    }
}

/// Packs up to PACK_COLUMNS lanes from `first` on.
struct PackLanes<'m> {
    lanes: Lanes,
    first: usize,
    k: usize,
    panels: &'m mut [f32],
}

impl Kernel for PackLanes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (Lanes { of, along_rows, count, width }, k) = (self.lanes, self.k);
        let lanes = PACK_COLUMNS.min(count - self.first);
        if !along_rows {
            let from = Strided { ptr: of.ptr.wrapping_add(self.first), row_stride: of.row_stride };
            // SAFETY: `matmul`'s caller vouches for k rows that have these columns.
            columns_to_panels(unsafe { Rows::new(from, k, lanes) }, width, k, self.panels);
            return;
        }
        for step in (0..k).step_by(MAX_WIDTH) {
            let ptr = of.ptr.wrapping_add(self.first * of.row_stride + step);
            let from = Strided { ptr, row_stride: of.row_stride };
            // SAFETY: `matmul`'s caller vouches for these rows of k elements.
            let rows = unsafe { Rows::new(from, lanes, MAX_WIDTH.min(k - step)) };
            rows_to_panels(rows, width, k, 1.0, &mut self.panels[step * width..]);
        }
    }
}

/// A block of C, and the panels of A and B that begin with its first row and column.
struct Block<'a> {
    rows: usize,
    columns: usize,
    k: usize,
    a: &'a [f32],
    b: &'a [f32],
    to: RowsMut<'a, f32>,
    accumulate: bool,
}

struct MultiplyBlock<'s, 'a> {
    block: Block<'a>,
    sums: &'s mut [f32],
    halt: &'s Halt<'s>,
}

impl Kernel for MultiplyBlock<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (mut block, sums) = (self.block, self.sums);
        let k = block.k;
        let depth = (PANEL_FLOATS / S::WIDTH).max(128);
        if k == 0 {
            sums.fill(0.0);
        }
        for step in (0..k).step_by(depth) {
            if self.halt.raised() {
                return;
            }
            for column in (0..block.columns).step_by(S::WIDTH) {
                simd.invoke(Product {
                    rows: block.rows,
                    columns: S::WIDTH,
                    depth: depth.min(k - step),
                    a: &block.a[step * ROWS..],
                    a_group: ROWS * k,
                    a_row: 1,
                    a_step: ROWS,
                    b: &block.b[column * k + step * S::WIDTH..],
                    b_step: S::WIDTH,
                    c: &mut sums[column..],
                    c_row: BLOCK_COLUMNS,
                    start: if step == 0 { Start::Zero } else { Start::Add },
                });
            }
        }
        for row in 0..block.rows {
            let sums = &sums[row * BLOCK_COLUMNS..];
            for (to, sum) in block.to.row_mut(row).iter_mut().zip(sums) {
                *to = if block.accumulate { *to + sum } else { *sum };
            }
        }
    }
}
