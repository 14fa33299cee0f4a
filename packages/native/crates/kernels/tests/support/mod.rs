//! Inputs against guard pages, canaries between their rows, and attention by its definition in float64.
#![allow(dead_code, reason = "each test file uses its part")]
pub mod grid;
#[cfg(target_os = "linux")]
pub mod guarded;
pub mod reference;

use grid::Grid;
use std::sync::atomic::AtomicBool;
use ulysses_kernels::{
    AttentionParams, BackwardUnit, Bf16, Element, Error, F16, ForwardUnit, Isa, Workspaces, backward, forward,
};

/// The instruction sets that this machine can be tested with.
pub fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// The largest relative error of rounding to the type.
pub trait Rounding: Element {
    const UNIT: f64;
}

impl Rounding for f32 {
    const UNIT: f64 = 1.0 / (1 << 24) as f64;
}

impl Rounding for Bf16 {
    const UNIT: f64 = 1.0 / (1 << 8) as f64;
}

impl Rounding for F16 {
    const UNIT: f64 = 1.0 / (1 << 11) as f64;
}

#[derive(Clone, Copy, Debug)]
pub enum Mask {
    Full,
    /// The first 80 rows see this many keys, the others all.
    Prefix(i32),
    /// Row i of the last rows sees keys up to its own; earlier rows nothing.
    Causal,
    /// Causal, and at most this many keys.
    Window(i32),
    /// Rows and keys cut in this many segments, each seeing itself.
    Packed(usize),
    /// Random intervals, a third of them empty.
    Random,
}

impl Mask {
    pub fn bounds(self, rows: usize, kv_rows: usize) -> Vec<i32> {
        let (n, kv) = (rows as i32, kv_rows as i32);
        let mut random = Random::new(7);
        let mut interval = |i: i32| match self {
            Mask::Full => [0, kv],
            Mask::Prefix(keys) => [0, if i < 80 { keys } else { kv }],
            Mask::Causal => [0, i + 1 + kv - n],
            Mask::Window(size) => [(i + 1 + kv - n - size).max(0), i + 1 + kv - n],
            Mask::Packed(count) => {
                let segment = i as usize * count / rows;
                [segment, segment + 1].map(|at| (at * kv_rows / count) as i32)
            }
            Mask::Random => {
                let ends = [0, 1].map(|_| random.below(kv_rows + 1) as i32);
                if random.below(3) == 0 { [5, 5] } else { [ends[0].min(ends[1]), ends[0].max(ends[1])] }
            }
        };
        (0..n).flat_map(&mut interval).collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub d: usize,
    pub rows: usize,
    pub kv_rows: usize,
    pub mask: Mask,
}

/// xorshift64*; every test states its seed, so a failure repeats.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    pub fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// Two query heads that share one head of keys: what a call computes from and into.
pub struct Problem<T> {
    pub case: Case,
    pub scale: f32,
    pub bounds: Vec<i32>,
    pub q: [Grid<T>; 2],
    pub k: Grid<T>,
    pub v: Grid<T>,
    pub dout: [Grid<T>; 2],
    pub out: [Grid<T>; 2],
    pub lse: [Grid<f32>; 2],
    pub dq: [Grid<T>; 2],
    pub dk: Grid<f32>,
    pub dv: Grid<f32>,
}

impl<T: Element> Problem<T> {
    pub fn new(case: Case, seed: u64) -> Problem<T> {
        let Case { d, rows, kv_rows, mask } = case;
        let mut random = Random::new(seed);
        let mut input = |rows, gap| Grid::new(rows, d, d + gap, || T::from_f32(random.normal() as f32));
        let [q, dout] = [3, 0].map(|gap| [input(rows, gap), input(rows, gap + 1)]);
        let (k, v) = (input(kv_rows, 5), input(kv_rows, 0));
        // Outputs begin as NaN, for nothing of them may be read; sums begin at 1, to be added to.
        let [out, dq] = [2, 0].map(|gap| [0, 1].map(|_| Grid::new(rows, d, d + gap, || T::from_f32(f32::NAN))));
        let lse = [1, 3].map(|stride| Grid::new(rows, 1, stride, || f32::NAN));
        let [dk, dv] = [4, 0].map(|gap| Grid::new(kv_rows, d, d + gap, || 1.0));
        let scale = 1.0 / (d as f32).sqrt();
        let bounds = mask.bounds(rows, kv_rows);
        Problem { case, scale, bounds, q, k, v, dout, out, lse, dq, dk, dv }
    }

    pub fn params(&self, isa: Isa, threads: usize) -> AttentionParams {
        AttentionParams { head_size: self.case.d, scale: self.scale, threads, isa }
    }

    pub fn forward(&mut self, pool: &Workspaces, isa: Isa, threads: usize) -> Result<(), Error> {
        let params = self.params(isa, threads);
        let bounds = self.bounds.clone();
        let units = [0, 1].map(|i| self.forward_unit(i, &bounds));
        // SAFETY: grids have the rows that the units state.
        unsafe { forward(pool, &params, &units, &AtomicBool::new(false)) }
    }

    pub fn backward(&mut self, pool: &Workspaces, isa: Isa, threads: usize) -> Result<(), Error> {
        let params = self.params(isa, threads);
        let bounds = self.bounds.clone();
        let units = [0, 1].map(|i| self.backward_unit(i, &bounds));
        // SAFETY: grids have the rows that the units state.
        unsafe { backward(pool, &params, &units, &AtomicBool::new(false)) }
    }

    pub fn forward_unit<'b>(&mut self, i: usize, bounds: &'b [i32]) -> ForwardUnit<'b, T> {
        ForwardUnit {
            rows: self.case.rows,
            kv_rows: self.case.kv_rows,
            bounds,
            q: self.q[i].rows(),
            k: self.k.rows(),
            v: self.v.rows(),
            out: self.out[i].rows_mut(),
            lse: self.lse[i].rows_mut(),
        }
    }

    pub fn backward_unit<'b>(&mut self, i: usize, bounds: &'b [i32]) -> BackwardUnit<'b, T> {
        BackwardUnit {
            rows: self.case.rows,
            kv_rows: self.case.kv_rows,
            bounds,
            q: self.q[i].rows(),
            k: self.k.rows(),
            v: self.v.rows(),
            out: self.out[i].rows(),
            lse: self.lse[i].rows(),
            dout: self.dout[i].rows(),
            dq: self.dq[i].rows_mut(),
            dk: self.dk.rows_mut(),
            dv: self.dv.rows_mut(),
        }
    }

    /// Everything that a call writes, as bits.
    pub fn results(&self) -> Vec<u32> {
        let mut bits = Vec::new();
        for grid in self.out.iter().chain(&self.dq) {
            bits.extend(grid.values().iter().map(|x| x.to_f32().to_bits()));
        }
        for grid in self.lse.iter().chain([&self.dk, &self.dv]) {
            bits.extend(grid.values().iter().map(|x| x.to_bits()));
        }
        bits
    }

    /// Panics if anything between or around the rows was written.
    pub fn check_canaries(&self) {
        self.q.iter().chain(&self.dout).chain(&self.out).chain(&self.dq).for_each(Grid::check_canaries);
        [&self.k, &self.v].into_iter().for_each(Grid::check_canaries);
        self.lse.iter().chain([&self.dk, &self.dv]).for_each(Grid::check_canaries);
    }
}
