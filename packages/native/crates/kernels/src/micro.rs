//! The one micro-kernel: tiles of up to six rows of C, each kept in registers while the depth is walked.
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

/// `C[r][j] = start + sum over k < depth of A[r][k] * b[k * b_step + j]`, r < rows, j < columns. A's rows come in groups of
/// `ROWS`, which begin `a_group` apart; row r of a group has its element k at `r * a_row + k * a_step`. C's rows are `c_row`
/// apart. Rows of the last group are computed up to an even count; `columns` is a multiple of `LANES`, at most `WIDTH`.
pub(crate) struct Product<'a> {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub a: &'a [f32],
    pub a_group: usize,
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
        assert!((1..=S::VECTORS).contains(&(self.columns / S::LANES)));
        assert!(self.columns.is_multiple_of(S::LANES));
        let last_step = self.depth.checked_sub(1);
        if let Some(last) = last_step {
            assert!(last * self.b_step + self.columns <= self.b.len());
        }
        for begin in (0..self.rows).step_by(ROWS) {
            let last_row = computed(self.rows - begin) - 1;
            assert!((begin + last_row) * self.c_row + self.columns <= self.c.len());
            if let Some(last) = last_step {
                let group = begin / ROWS * self.a_group;
                assert!(group + last_row * self.a_row + last * self.a_step < self.a.len());
            }
        }
        if let Start::Scaled(factors) = self.start {
            assert!(factors.len() >= self.columns);
        }
    }
}

/// Rows that are computed of a group, when so many are left.
#[inline(always)]
fn computed(left: usize) -> usize {
    left.min(ROWS).next_multiple_of(2)
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.check::<S>();
        // SAFETY: `check` proved the extents, and each arm has the vectors that it proved them for.
        unsafe {
            match self.columns / S::LANES {
                1 => groups::<S, 1>(simd, self),
                2 if S::VECTORS >= 2 => groups::<S, 2>(simd, self),
                3 if S::VECTORS >= 3 => groups::<S, 3>(simd, self),
                4 if S::VECTORS >= 4 => groups::<S, 4>(simd, self),
                _ => unreachable!("checked"),
            }
        }
    }
}

/// # Safety
/// The product was checked, and `V` is its columns in vectors.
#[inline(always)]
unsafe fn groups<S: Simd, const V: usize>(simd: S, product: Product) {
    let Product { rows, a_group, a_row, a_step, c_row, .. } = product;
    let (mut a, mut c) = (product.a.as_ptr(), product.c.as_mut_ptr());
    for begin in (0..rows).step_by(ROWS) {
        // SAFETY: the caller's promise; `check` counted these rows of this group.
        unsafe {
            match (computed(rows - begin), a_row) {
                // Packed panels: with the distances known, the compiler folds them into the addresses.
                (ROWS, 1) if a_step == ROWS => tile::<S, ROWS, V>(simd, &product, (a, 1, ROWS), c),
                (ROWS, _) => tile::<S, ROWS, V>(simd, &product, (a, a_row, a_step), c),
                (4, _) => tile::<S, 4, V>(simd, &product, (a, a_row, a_step), c),
                _ => tile::<S, 2, V>(simd, &product, (a, a_row, a_step), c),
            }
        }
        a = a.wrapping_add(a_group);
        c = c.wrapping_add(ROWS * c_row);
    }
}

/// # Safety
/// The product was checked, has `V` vectors of columns, and at `a` and `c` `R` rows of a group; `a_row` and `a_step` are
/// its own.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    product: &Product,
    (a, a_row, a_step): (*const f32, usize, usize),
    c: *mut f32,
) {
    let mut sum = [[simd.splat(0.0); V]; R];
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
    let b = product.b.as_ptr();
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
