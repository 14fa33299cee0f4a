//! Tiles of the shape that AVX-512 and AVX2 have, computed in arrays: what remains unproved of a set that the machine
//! lacks is its lane operations.
use crate::backward::Backward;
use crate::forward::Forward;
use crate::isa::{Arrays, Portable, Simd};
use crate::matmul::Matmul;
use crate::parallel::Halt;
use crate::{
    AttentionParams, BackwardUnit, Bf16, Element, ForwardUnit, Isa, MatmulParams, Matrix, Strided, StridedMut,
    Workspaces,
};
use std::sync::atomic::AtomicBool;

// Miri interprets: two panels of queries and a partial group of keys are enough for it to see every access.
const ROWS: usize = if cfg!(miri) { 17 } else { 150 };
const KV_ROWS: usize = if cfg!(miri) { 20 } else { 333 };
const HEAD_SIZES: &[usize] = if cfg!(miri) { &[5] } else { &[5, 64, 80, 130, 256] };
const PRODUCTS: &[[usize; 3]] = if cfg!(miri) { &[[7, 17, 3]] } else { &[[97, 193, 300], [13, 70, 5], [6, 400, 129]] };

/// Numbers from -1 to 1 in no order.
fn noise<T: Element>(len: usize, seed: usize) -> Vec<T> {
    let of = |i: usize| ((i * 8 + seed) as u32).wrapping_mul(2_654_435_769).rotate_left(15).wrapping_mul(2_246_822_519);
    (0..len).map(|i| T::from_f32(of(i) as i32 as f32 / 2f32.powi(31))).collect()
}

fn read<T>(values: &[T], row_stride: usize) -> Strided<T> {
    Strided { ptr: values.as_ptr(), row_stride }
}

fn write<T>(values: &mut [T], row_stride: usize) -> StridedMut<T> {
    StridedMut { ptr: values.as_mut_ptr(), row_stride }
}

/// out, lse, dq, dk and dv of bottom-right causal attention.
fn attention<S: Simd, T: Element>(simd: S, d: usize) -> [Vec<f32>; 5] {
    let [q, dout] = [1, 2].map(|seed| noise::<T>(ROWS * d, seed));
    let [k, v] = [3, 4].map(|seed| noise::<T>(KV_ROWS * d, seed));
    let bounds: Vec<i32> = (0..ROWS).flat_map(|row| [0, (row + 1 + KV_ROWS - ROWS) as i32]).collect();
    let [mut out, mut dq] = [0, 1].map(|_| vec![T::from_f32(f32::NAN); ROWS * d]);
    let [mut dk, mut dv] = [0, 1].map(|_| vec![0.0; KV_ROWS * d]);
    let mut lse = vec![f32::NAN; ROWS];
    let params = AttentionParams { head_size: d, scale: 1.0 / (d as f32).sqrt(), threads: 2, isa: Isa::Portable };
    let (workspaces, stop) = (Workspaces::new(), AtomicBool::new(false));
    let halt = Halt::new(&stop);
    let unit = ForwardUnit {
        rows: ROWS,
        kv_rows: KV_ROWS,
        bounds: &bounds,
        q: read(&q, d),
        k: read(&k, d),
        v: read(&v, d),
        out: write(&mut out, d),
        lse: write(&mut lse, 1),
    };
    simd.invoke(Forward { workspaces: &workspaces, params: &params, units: &[unit], halt: &halt }).unwrap();
    let unit = BackwardUnit {
        rows: ROWS,
        kv_rows: KV_ROWS,
        bounds: &bounds,
        q: unit.q,
        k: unit.k,
        v: unit.v,
        out: read(&out, d),
        lse: read(&lse, 1),
        dout: read(&dout, d),
        dq: write(&mut dq, d),
        dk: write(&mut dk, d),
        dv: write(&mut dv, d),
    };
    simd.invoke(Backward { workspaces: &workspaces, params: &params, units: &[unit], halt: &halt }).unwrap();
    let [out, dq] = [out, dq].map(|rows| rows.into_iter().map(T::to_f32).collect());
    [out, lse, dq, dk, dv]
}

fn product<S: Simd>(simd: S, [m, n, k]: [usize; 3]) -> Vec<f32> {
    let (a, b, mut c) = (noise(m * k, 1), noise(k * n, 2), vec![f32::NAN; m * n]);
    let params = MatmulParams { m, n, k, accumulate: false, threads: 2, isa: Isa::Portable };
    let (workspaces, stop) = (Workspaces::new(), AtomicBool::new(false));
    let halt = Halt::new(&stop);
    let a = Matrix { ptr: a.as_ptr(), row_stride: k, transposed: false };
    let b = Matrix { ptr: b.as_ptr(), row_stride: n, transposed: false };
    let to = StridedMut { ptr: c.as_mut_ptr(), row_stride: n };
    simd.invoke(Matmul { workspaces: &workspaces, params: &params, a, b, c: to, halt: &halt }).unwrap();
    c
}

/// Relative, in the Euclidean norm.
fn check(what: &str, expected: &[f32], actual: &[f32], tolerance: f64) {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let error = norm(&mut expected.iter().zip(actual).map(|(a, b)| a - b));
    let size = norm(&mut expected.iter().copied());
    assert!(error <= tolerance * size, "{what}: error {error:e} of {size:e}");
}

fn check_attention<S: Simd, T: Element>(simd: S, what: &str, tolerance: f64) {
    for &d in HEAD_SIZES {
        let (expected, actual) = (attention::<_, T>(Portable {}, d), attention::<_, T>(simd, d));
        for ((name, expected), actual) in ["out", "lse", "dq", "dk", "dv"].iter().zip(expected).zip(actual) {
            check(&format!("{what}, d {d}, {name}"), &expected, &actual, tolerance);
        }
    }
}

/// Both are the same sums in another order: what differs is rounding.
fn check_shape<S: Simd>(simd: S, what: &str) {
    check_attention::<_, f32>(simd, what, 1e-5);
    for &shape in PRODUCTS {
        check(&format!("{what}, product {shape:?}"), &product(Portable {}, shape), &product(simd, shape), 1e-5);
    }
}

#[test]
#[cfg_attr(miri, ignore = "the same code as below, and four times as long")]
fn tiles_of_the_shape_of_avx512_give_the_same_results() {
    check_shape(Arrays::<16, 4>, "4 vectors of 16");
}

#[test]
fn tiles_of_the_shape_of_avx2_give_the_same_results() {
    check_shape(Arrays::<8, 2>, "2 vectors of 8");
}

#[test]
#[cfg_attr(miri, ignore = "minutes; where there is AMX, out_of_bounds guards the same code")]
fn products_by_tiles_differ_by_the_rounding_of_p() {
    // By up to 2^-9 in each term of out and again at the end, on either side; gradients are given an out that differs so.
    check_attention::<_, Bf16>(Arrays::<16, 2, true>, "tiles", 1.0 / 64.0);
}
