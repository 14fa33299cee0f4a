//! The matrix product agrees with its definition, on every instruction set that the machine has.
mod support;

use std::sync::atomic::AtomicBool;
use support::grid::Grid;
use support::{Random, Rounding, isas};
use ulysses_kernels::{Error, Isa, MatmulParams, Matrix, Workspaces, matmul};

const SHAPES: [[usize; 3]; 13] = [
    [1, 1, 1],
    [6, 16, 4],
    [7, 17, 5],
    [97, 193, 257],
    [100, 3, 1000],
    [2, 400, 64],
    [193, 65, 129],
    [5, 64, 0],
    [0, 5, 7],
    [5, 0, 7],
    [12, 31, 6000],
    [200, 200, 200],
    [1, 1, 513],
];

/// A product, and what it is computed from: A and B as they lie in memory.
struct Problem {
    params: MatmulParams,
    a: Grid<f32>,
    b: Grid<f32>,
    c: Grid<f32>,
    transposed: [bool; 2],
}

impl Problem {
    fn new([m, n, k]: [usize; 3], variant: usize, isa: Isa, threads: usize) -> Problem {
        let transposed = [variant & 1 != 0, variant & 2 != 0];
        let accumulate = variant & 4 != 0;
        let mut random = Random::new((m * n + k) as u64);
        let mut grid = |rows: usize, columns: usize, swap: bool, gap| {
            let (rows, columns) = if swap { (columns, rows) } else { (rows, columns) };
            Grid::new(rows, columns, columns + gap, || random.normal() as f32)
        };
        let (a, b) = (grid(m, k, transposed[0], 3), grid(k, n, transposed[1], 0));
        let c = Grid::new(m, n, n + 2, || if accumulate { 1.0 } else { f32::NAN });
        let params = MatmulParams { m, n, k, accumulate, threads, isa };
        Problem { params, a, b, c, transposed }
    }

    fn matrix(&self, which: usize) -> Matrix {
        let rows = [&self.a, &self.b][which].rows();
        Matrix { ptr: rows.ptr, row_stride: rows.row_stride, transposed: self.transposed[which] }
    }

    fn run(&mut self, stop: bool) -> Result<(), Error> {
        let (a, b, c) = (self.matrix(0), self.matrix(1), self.c.rows_mut());
        // SAFETY: the grids have the rows that the parameters state.
        unsafe { matmul(&Workspaces::new(), &self.params, a, b, c, &AtomicBool::new(stop)) }
    }

    fn at(&self, which: usize, i: usize, j: usize) -> f64 {
        let (i, j) = if self.transposed[which] { (j, i) } else { (i, j) };
        [&self.a, &self.b][which].row(i)[j].into()
    }

    /// Each element within `2 sqrt(k) eps |A| |B|`: rounding errors are random, and this is several times their spread.
    fn check(&self, what: &str) {
        let MatmulParams { m, n, k, accumulate, .. } = self.params;
        for i in 0..m {
            for j in 0..n {
                let start = f64::from(u8::from(accumulate));
                let products = (0..k).map(|p| self.at(0, i, p) * self.at(1, p, j));
                let (expected, bound) = products.fold((start, start), |(sum, bound), x| (sum + x, bound + x.abs()));
                let error = (f64::from(self.c.row(i)[j]) - expected).abs();
                let tolerance = 2.0 * (k as f64).sqrt() * f32::UNIT * bound;
                assert!(error <= tolerance, "{what} ({i}, {j}): error {error:e}, tolerance {tolerance:e}");
            }
        }
        self.c.check_canaries();
    }
}

#[test]
fn every_shape_and_every_transposition_agrees_with_the_definition() {
    for isa in isas() {
        for shape in SHAPES {
            for variant in 0..8 {
                let mut problem = Problem::new(shape, variant, isa, 2);
                problem.run(false).unwrap();
                problem.check(&format!("{isa:?} {shape:?} variant {variant}"));
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for isa in isas() {
        let results = [1, 2, 3].map(|threads| {
            let mut problem = Problem::new([197, 401, 600], 0, isa, threads);
            problem.run(false).unwrap();
            problem.c.values()
        });
        assert_eq!(results[0], results[1]);
        assert_eq!(results[0], results[2]);
    }
}

#[test]
fn what_is_not_finite_reaches_its_row_or_column_and_nothing_else() {
    for isa in isas() {
        let mut problem = Problem::new([50, 40, 30], 0, isa, 1);
        problem.a.row_mut(7)[3] = f32::NAN;
        problem.b.row_mut(29)[39] = f32::INFINITY;
        problem.run(false).unwrap();
        for i in 0..50 {
            for (j, x) in problem.c.row(i).iter().enumerate() {
                assert_eq!(x.is_finite(), i != 7 && j != 39, "{isa:?} ({i}, {j}) is {x}");
            }
        }
    }
}

#[test]
fn a_raised_flag_ends_it_with_cancelled() {
    assert_eq!(Problem::new([50, 40, 30], 0, Isa::Portable, 2).run(true), Err(Error::Cancelled));
}

#[test]
fn a_wrong_field_is_named() {
    let mut problem = Problem::new([5, 4, 3], 0, Isa::Portable, 0);
    assert_eq!(problem.run(false), Err(Error::Shape("threads is 0, expected at least 1".into())));
    problem.params.threads = 1;
    let (a, b, mut c) = (problem.matrix(0), problem.matrix(1), problem.c.rows_mut());
    c.row_stride = 3;
    // SAFETY: refused before anything is touched.
    let result = unsafe { matmul(&Workspaces::new(), &problem.params, a, b, c, &AtomicBool::new(false)) };
    assert_eq!(result, Err(Error::Shape("c.row_stride is 3, expected at least 4".into())));
    let a = Matrix { row_stride: usize::MAX, ..a };
    // SAFETY: as above.
    let result = unsafe { matmul(&Workspaces::new(), &problem.params, a, b, c, &AtomicBool::new(false)) };
    assert!(matches!(result, Err(Error::Shape(text)) if text.starts_with("a.row_stride")));
}
