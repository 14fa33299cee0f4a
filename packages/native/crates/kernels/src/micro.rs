//! The one micro-kernel: a tile of up to six rows of C, kept in registers while the depth is walked.
use crate::isa::{Kernel, Simd};

/// Rows of the micro-kernel's tile, and of every packed panel.
pub(crate) const ROWS: usize = 6;

/// What the tile of C starts from.
pub(crate) enum Start<'a> {
    Zero,
    /// What C holds.
    Add,
    /// What C holds, each column times its factor.
    Scaled(&'a [f32]),
}

/// `C[r][j] = start + sum over k < depth of a[r * a_row + k * a_step] * b[k * b_step + j]`, r < rows, j < columns.
/// C's rows are `c_row` apart. `rows` is 2, 4 or 6; `columns` a multiple of `LANES`, at most `WIDTH`.
pub(crate) struct Product<'a> {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub a: &'a [f32],
    pub a_row: usize,
    pub a_step: usize,
    pub b: &'a [f32],
    pub b_step: usize,
    pub c: &'a mut [f32],
    pub c_row: usize,
    pub start: Start<'a>,
}

impl Product<'_> {
    /// Panics unless every element that the product touches lies inside its slice.
    #[inline(always)]
    fn check<S: Simd>(&self) {
        assert!(matches!(self.rows, 2 | 4 | 6));
        assert!((1..=S::VECTORS).contains(&(self.columns / S::LANES)));
        assert!(self.columns.is_multiple_of(S::LANES));
        if let Some(last) = self.depth.checked_sub(1) {
            assert!((self.rows - 1) * self.a_row + last * self.a_step < self.a.len());
            assert!(last * self.b_step + self.columns <= self.b.len());
        }
        assert!((self.rows - 1) * self.c_row + self.columns <= self.c.len());
        if let Start::Scaled(factors) = self.start {
            assert!(factors.len() >= self.columns);
        }
    }
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.check::<S>();
        // SAFETY: `check` proved the extents, and each arm has the rows and vectors that it proved them for.
        unsafe {
            match self.columns / S::LANES {
                1 => rows::<S, 1>(simd, self),
                2 if S::VECTORS >= 2 => rows::<S, 2>(simd, self),
                3 if S::VECTORS >= 3 => rows::<S, 3>(simd, self),
                4 if S::VECTORS >= 4 => rows::<S, 4>(simd, self),
                _ => unreachable!("checked"),
            }
        }
    }
}

/// # Safety
/// The product was checked, and `V` is its columns in vectors.
#[inline(always)]
unsafe fn rows<S: Simd, const V: usize>(simd: S, product: Product) {
    // SAFETY: the caller's promise, and the rows are as matched.
    unsafe {
        let (a_row, a_step) = (product.a_row, product.a_step);
        match (product.rows, a_row) {
            // Packed panels: with the distances known, the compiler folds them into the addresses.
            (6, 1) if a_step == ROWS => tile::<S, 6, V>(simd, product, 1, ROWS),
            (6, _) => tile::<S, 6, V>(simd, product, a_row, a_step),
            (4, _) => tile::<S, 4, V>(simd, product, a_row, a_step),
            _ => tile::<S, 2, V>(simd, product, a_row, a_step),
        }
    }
}

/// # Safety
/// The product was checked, and has `R` rows and `V` vectors of columns; `a_row` and `a_step` are its own.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const V: usize>(simd: S, product: Product, a_row: usize, a_step: usize) {
    let mut sum = [[simd.splat(0.0); V]; R];
    let c = product.c.as_mut_ptr();
    if !matches!(product.start, Start::Zero) {
        for (r, row) in sum.iter_mut().enumerate() {
            for (v, sum) in row.iter_mut().enumerate() {
                // SAFETY: row r < R and its V vectors of C are inside the slice.
                *sum = unsafe { simd.load_at(c.add(r * product.c_row + v * S::LANES)) };
            }
        }
    }
    if let Start::Scaled(factors) = product.start {
        for v in 0..V {
            // SAFETY: there is a factor for each column.
            let factor = unsafe { simd.load_at(factors.as_ptr().add(v * S::LANES)) };
            for row in &mut sum {
                row[v] = simd.mul(row[v], factor);
            }
        }
    }
    let (a, b) = (product.a.as_ptr(), product.b.as_ptr());
    for k in 0..product.depth {
        let mut columns = [simd.splat(0.0); V];
        for (v, column) in columns.iter_mut().enumerate() {
            // SAFETY: step k < depth of B has V vectors inside the slice.
            *column = unsafe { simd.load_at(b.add(k * product.b_step + v * S::LANES)) };
        }
        for (r, row) in sum.iter_mut().enumerate() {
            // SAFETY: element (r, k) of A is inside the slice.
            let factor = unsafe { simd.splat_at(a.add(r * a_row + k * a_step)) };
            for (sum, column) in row.iter_mut().zip(columns) {
                *sum = simd.mul_add(factor, column, *sum);
            }
        }
    }
    for (r, row) in sum.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            // SAFETY: as for loading C.
            unsafe { simd.store_at(c.add(r * product.c_row + v * S::LANES), *sum) };
        }
    }
}
