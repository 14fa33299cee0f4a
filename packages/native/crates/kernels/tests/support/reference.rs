//! Attention by its definition, in float64, and beside every value what bounds a float32 computation's error.
//!
//! The bound of a value is its reference with absolute values for each product and difference, carried through the
//! exponential (a score's error is P's relative error). A result passes if, in the Euclidean norm,
//! `|x - ref| <= C * eps * |bound| + 2e-6 * |ref|`, and rounding to a half-size type adds its unit times what was rounded.
//!
//! Products by tiles round P to bfloat16 for out, as PyTorch does: each term of a sum is off by up to half a unit of
//! itself, either way, so that the sum is off by about as much of the root of its terms' squares. Nothing else takes part
//! in this: lse is of P before it is rounded, and gradients of P and dS in two parts.
use super::{Problem, Rounding};

/// Error per operation in the bound, in units of 2^-24. The largest seen is 0.8.
const C: f64 = 1.0;
const EPS: f64 = f32::UNIT;

/// A tensor, what bounds its float32 error, and what bounds the error by rounding to the elements' type.
#[derive(Clone, Default)]
pub struct Expected {
    pub value: Vec<f64>,
    bound: Vec<f64>,
    rounding: Vec<f64>,
    /// The squares of all terms, summed: of what has P or dS as a factor.
    squares: f64,
}

/// What a result is rounded to, and its terms' factors, if they are.
#[derive(Clone, Copy)]
pub struct Units {
    pub result: f64,
    pub factors: f64,
}

impl Expected {
    fn new(len: usize, value: f64) -> Expected {
        Expected { value: vec![value; len], bound: vec![value.abs(); len], rounding: vec![0.0; len], squares: 0.0 }
    }

    fn add(&mut self, at: usize, value: f64, bound: f64, rounding: f64) {
        self.value[at] += value;
        self.bound[at] += bound;
        self.rounding[at] += rounding;
        self.squares += value * value;
    }

    /// What the error may be.
    pub fn tolerance(&self, units: Units) -> f64 {
        let rounded = if units.result > EPS { units.result * norm(&self.rounding) } else { 0.0 };
        let factors = units.factors / 2.0 * self.squares.sqrt();
        C * EPS * norm(&self.bound) + 2e-6 * norm(&self.value) + rounded + factors
    }

    /// Panics if `actual` is not this.
    pub fn check(&self, what: &str, actual: &[f64], units: Units) {
        let (error, tolerance) = (self.error(actual), self.tolerance(units));
        assert!(error <= tolerance, "{what}: error {error:e}, tolerance {tolerance:e}");
    }

    pub fn error(&self, actual: &[f64]) -> f64 {
        assert_eq!(actual.len(), self.value.len());
        // Infinities (lse of rows that see nothing) must match exactly and then count for nothing.
        let difference = |(x, expected): (&f64, &f64)| if x == expected { 0.0 } else { x - expected };
        norm(&actual.iter().zip(&self.value).map(difference).collect::<Vec<_>>())
    }
}

pub fn norm(values: &[f64]) -> f64 {
    values.iter().filter(|x| **x != f64::NEG_INFINITY).map(|x| x * x).sum::<f64>().sqrt()
}

#[derive(Default)]
pub struct Reference {
    pub out: [Expected; 2],
    pub lse: [Expected; 2],
    pub dq: [Expected; 2],
    pub dk: Expected,
    pub dv: Expected,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn dot_abs(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum()
}

/// Sums of gradients begin at 1, as in `Problem`.
pub fn reference<T: Rounding>(problem: &Problem<T>) -> Reference {
    let (d, kv_rows) = (problem.case.d, problem.case.kv_rows);
    let gradient = Expected::new(kv_rows * d, 1.0);
    let mut all = Reference { dk: gradient.clone(), dv: gradient, ..Default::default() };
    let (k, v) = (problem.k.to_f64(), problem.v.to_f64());
    for head in 0..2 {
        let [q, dout] = [&problem.q, &problem.dout].map(|grids| grids[head].to_f64());
        all.out[head] = Expected::new(q.len(), 0.0);
        all.dq[head] = Expected::new(q.len(), 0.0);
        all.lse[head] = Expected::new(problem.case.rows, 0.0);
        for row in 0..problem.case.rows {
            let keys = problem.bounds[2 * row]..problem.bounds[2 * row + 1];
            let keys: Vec<usize> = keys.map(|key| key as usize).collect();
            let this = row * d..(row + 1) * d;
            attend(&mut all, head, row, (&q[this.clone()], &dout[this]), (&k, &v), &keys, problem.scale.into());
        }
    }
    all
}

fn attend(
    all: &mut Reference,
    head: usize,
    row: usize,
    (q, dout): (&[f64], &[f64]),
    (k, v): (&[f64], &[f64]),
    keys: &[usize],
    scale: f64,
) {
    let d = q.len();
    let of = |x: &'_ [f64], key: usize| x[key * d..(key + 1) * d].to_vec();
    let (out, lse, dq) = (&mut all.out[head], &mut all.lse[head], &mut all.dq[head]);
    if keys.is_empty() {
        lse.value[row] = f64::NEG_INFINITY;
        return;
    }
    let s: Vec<_> = keys.iter().map(|&key| scale * dot(q, &of(k, key))).collect();
    let s_bound: Vec<_> = keys.iter().map(|&key| scale.abs() * dot_abs(q, &of(k, key))).collect();
    let top = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = top + s.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
    let p: Vec<_> = s.iter().map(|s| (s - log_sum).exp()).collect();
    // The sum's error is the mean of the scores'; subtracting lse, or the largest score, adds an error of its size.
    let shift = dot(&p, &s_bound) + log_sum.abs() + 1.0;
    let p_bound: Vec<_> = p.iter().zip(&s_bound).map(|(p, s)| p * (s + shift)).collect();
    lse.add(row, log_sum, shift, 0.0);

    for (i, &key) in keys.iter().enumerate() {
        for (c, v) in of(v, key).iter().enumerate() {
            out.add(row * d + c, p[i] * v, p_bound[i] * v.abs(), 0.0);
            all.dv.add(key * d + c, p[i] * dout[c], (p_bound[i] * dout[c]).abs(), 0.0);
        }
    }
    let this = row * d..(row + 1) * d;
    for c in this.clone() {
        out.rounding[c] = out.value[c];
    }
    let delta = dot(dout, &out.value[this.clone()]);
    let delta_bound = dot_abs(dout, &out.bound[this.clone()]);
    // The kernel is given out as it was rounded.
    let delta_rounding = dot_abs(dout, &out.value[this.clone()]);
    for (i, &key) in keys.iter().enumerate() {
        let (k, v) = (of(k, key), of(v, key));
        let dp = dot(dout, &v);
        let ds = scale * p[i] * (dp - delta);
        let factors_bound = p_bound[i] * (dp.abs() + delta.abs()) + p[i] * (dot_abs(dout, &v) + delta_bound);
        let ds_bound = scale.abs() * factors_bound;
        let ds_rounding = scale.abs() * p[i] * delta_rounding;
        for c in 0..d {
            dq.add(row * d + c, ds * k[c], ds_bound * k[c].abs(), ds_rounding * k[c].abs());
            all.dk.add(key * d + c, ds * q[c], ds_bound * q[c].abs(), ds_rounding * q[c].abs());
        }
    }
    for c in this {
        dq.rounding[c] += dq.value[c].abs();
    }
}
