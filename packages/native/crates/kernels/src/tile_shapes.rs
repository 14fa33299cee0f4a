//! Tiles of the shape that AVX-512 and AVX2 have, computed in arrays: what remains unproved of a set that the machine
//! lacks is its lane operations.
use crate::backward::Backward;
use crate::forward::Forward;
use crate::isa::{Arrays, Portable, Simd};
use crate::matmul::Matmul;
use crate::parallel::Halt;
use crate::{AttentionParams, BackwardUnit, ForwardUnit, Isa, MatmulParams, Matrix, Strided, StridedMut, Workspaces};
use std::sync::atomic::AtomicBool;

// Miri interprets: two panels of queries and a partial group of keys are enough for it to see every access.
const ROWS: usize = if cfg!(miri) { 17 } else { 150 };
const KV_ROWS: usize = if cfg!(miri) { 20 } else { 333 };
const HEAD_SIZES: &[usize] = if cfg!(miri) { &[5] } else { &[5, 64, 80, 130, 256] };
const PRODUCTS: &[[usize; 3]] = if cfg!(miri) { &[[7, 17, 3]] } else { &[[97, 193, 300], [13, 70, 5], [6, 400, 129]] };

fn waves(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin()).collect()
}

/// out, lse, dq, dk and dv of bottom-right causal attention.
fn attention<S: Simd>(simd: S, d: usize) -> [Vec<f32>; 5] {
    let [q, dout] = [0.7, 1.3].map(|step| waves(ROWS * d, step));
    let [k, v] = [0.9, 1.1].map(|step| waves(KV_ROWS * d, step));
    let bounds: Vec<i32> = (0..ROWS).flat_map(|row| [0, (row + 1 + KV_ROWS - ROWS) as i32]).collect();
    let [mut out, mut dq] = [0, 1].map(|_| vec![f32::NAN; ROWS * d]);
    let [mut dk, mut dv] = [0, 1].map(|_| vec![0.0; KV_ROWS * d]);
    let mut lse = vec![f32::NAN; ROWS];
    let params = AttentionParams { head_size: d, scale: 0.5, threads: 2, isa: Isa::Portable };
    let (workspaces, stop) = (Workspaces::new(), AtomicBool::new(false));
    let halt = Halt::new(&stop);
    let read = |values: &[f32], row_stride| Strided { ptr: values.as_ptr(), row_stride };
    let write = |values: &mut [f32], row_stride| StridedMut { ptr: values.as_mut_ptr(), row_stride };
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
    [out, lse, dq, dk, dv]
}

fn product<S: Simd>(simd: S, [m, n, k]: [usize; 3]) -> Vec<f32> {
    let (a, b, mut c) = (waves(m * k, 0.7), waves(k * n, 1.1), vec![f32::NAN; m * n]);
    let params = MatmulParams { m, n, k, accumulate: false, threads: 2, isa: Isa::Portable };
    let (workspaces, stop) = (Workspaces::new(), AtomicBool::new(false));
    let halt = Halt::new(&stop);
    let a = Matrix { ptr: a.as_ptr(), row_stride: k, transposed: false };
    let b = Matrix { ptr: b.as_ptr(), row_stride: n, transposed: false };
    let to = StridedMut { ptr: c.as_mut_ptr(), row_stride: n };
    simd.invoke(Matmul { workspaces: &workspaces, params: &params, a, b, c: to, halt: &halt }).unwrap();
    c
}

/// Both are the same sums in another order: what differs is rounding.
fn check(what: &str, expected: &[f32], actual: &[f32]) {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let error = norm(&mut expected.iter().zip(actual).map(|(a, b)| a - b));
    let size = norm(&mut expected.iter().copied());
    assert!(error <= 1e-5 * size, "{what}: error {error:e} of {size:e}");
}

fn check_shape<S: Simd>(simd: S, what: &str) {
    for &d in HEAD_SIZES {
        let names = ["out", "lse", "dq", "dk", "dv"];
        for ((name, expected), actual) in names.iter().zip(attention(Portable {}, d)).zip(attention(simd, d)) {
            check(&format!("{what}, d {d}, {name}"), &expected, &actual);
        }
    }
    for &shape in PRODUCTS {
        check(&format!("{what}, product {shape:?}"), &product(Portable {}, shape), &product(simd, shape));
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
