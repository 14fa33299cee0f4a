//! Forward and backward agree with attention's definition, on every instruction set that the machine has.
mod support;

use support::reference::{Reference, Units, reference};
use support::{Case, Mask, Problem, Rounding, isas};
use ulysses_kernels::{Bf16, F16, Isa, Workspaces};

const CASES: [Case; 23] = [
    Case { d: 1, rows: 1, kv_rows: 1, mask: Mask::Full },
    Case { d: 1, rows: 33, kv_rows: 197, mask: Mask::Random },
    Case { d: 3, rows: 70, kv_rows: 41, mask: Mask::Full },
    Case { d: 3, rows: 129, kv_rows: 129, mask: Mask::Causal },
    Case { d: 8, rows: 5, kv_rows: 401, mask: Mask::Causal },
    Case { d: 8, rows: 200, kv_rows: 200, mask: Mask::Packed(7) },
    Case { d: 64, rows: 131, kv_rows: 131, mask: Mask::Causal },
    Case { d: 64, rows: 65, kv_rows: 193, mask: Mask::Full },
    Case { d: 64, rows: 300, kv_rows: 300, mask: Mask::Window(50) },
    Case { d: 64, rows: 97, kv_rows: 31, mask: Mask::Causal },
    Case { d: 64, rows: 127, kv_rows: 255, mask: Mask::Random },
    Case { d: 64, rows: 1, kv_rows: 500, mask: Mask::Full },
    Case { d: 80, rows: 64, kv_rows: 96, mask: Mask::Full },
    Case { d: 80, rows: 101, kv_rows: 103, mask: Mask::Window(1) },
    Case { d: 80, rows: 77, kv_rows: 199, mask: Mask::Packed(3) },
    Case { d: 128, rows: 130, kv_rows: 130, mask: Mask::Causal },
    Case { d: 128, rows: 17, kv_rows: 7, mask: Mask::Full },
    Case { d: 128, rows: 90, kv_rows: 290, mask: Mask::Random },
    Case { d: 256, rows: 67, kv_rows: 98, mask: Mask::Causal },
    Case { d: 256, rows: 16, kv_rows: 193, mask: Mask::Packed(2) },
    Case { d: 40, rows: 150, kv_rows: 1200, mask: Mask::Random },
    Case { d: 64, rows: 0, kv_rows: 9, mask: Mask::Full },
    Case { d: 64, rows: 9, kv_rows: 0, mask: Mask::Full },
];

fn check<T: Rounding>(problem: &Problem<T>, expected: &Reference, isa: Isa, what: &str) {
    let what = &format!("{isa:?}, {what}");
    let exact = Units { result: T::UNIT, factors: 0.0 };
    // Tiles round P in forward.
    let by_tiles = matches!(isa, Isa::Amx | Isa::Avx512Bf16) && T::UNIT == Bf16::UNIT;
    let rounded = Units { factors: if by_tiles { Bf16::UNIT } else { 0.0 }, ..exact };
    for head in 0..2 {
        let what = format!("{what}, head {head}");
        expected.out[head].check(&format!("{what}, out"), &problem.out[head].to_f64(), rounded);
        expected.lse[head].check(&format!("{what}, lse"), &problem.lse[head].to_f64(), exact);
        expected.dq[head].check(&format!("{what}, dq"), &problem.dq[head].to_f64(), exact);
    }
    expected.dk.check(&format!("{what}, dk"), &problem.dk.to_f64(), exact);
    expected.dv.check(&format!("{what}, dv"), &problem.dv.to_f64(), exact);
}

fn check_cases<T: Rounding>(cases: &[Case]) {
    let pool = Workspaces::new();
    for (seed, &case) in cases.iter().enumerate() {
        let expected = reference(&Problem::<T>::new(case, seed as u64));
        for isa in isas() {
            let mut problem = Problem::<T>::new(case, seed as u64);
            problem.forward(&pool, isa, 2).unwrap();
            problem.backward(&pool, isa, 2).unwrap();
            check(&problem, &expected, isa, &format!("seed {seed}, {case:?}"));
            problem.check_canaries();
        }
    }
}

#[test]
fn float32_agrees_with_the_definition() {
    check_cases::<f32>(&CASES);
}

#[test]
fn bfloat16_agrees_with_the_definition() {
    check_cases::<Bf16>(&CASES);
}

#[test]
fn float16_agrees_with_the_definition() {
    check_cases::<F16>(&CASES);
}

#[test]
fn scores_in_the_hundreds_neither_overflow_nor_vanish() {
    for (seed, mask) in (0..).zip([Mask::Full, Mask::Window(1), Mask::Causal, Mask::Random]) {
        let case = Case { d: 64, rows: 90, kv_rows: 210, mask };
        let large = || {
            let mut problem = Problem::<f32>::new(case, seed);
            problem.scale = 20.0;
            problem
        };
        let expected = reference(&large());
        for isa in isas() {
            let mut problem = large();
            problem.forward(&Workspaces::new(), isa, 1).unwrap();
            problem.backward(&Workspaces::new(), isa, 1).unwrap();
            check(&problem, &expected, isa, &format!("seed {seed}, {case:?}"));
        }
    }
}

#[test]
fn an_error_of_one_in_ten_thousand_would_be_found() {
    for (seed, &case) in CASES.iter().enumerate().filter(|(_, case)| case.rows * case.kv_rows > 1) {
        let expected = reference(&Problem::<f32>::new(case, seed as u64));
        let tensors = [&expected.out[0], &expected.dq[1], &expected.dk, &expected.dv];
        for (which, tensor) in tensors.into_iter().enumerate() {
            let planted: Vec<_> = tensor.value.iter().map(|x| x * (1.0 + 1e-4)).collect();
            let error = tensor.error(&planted);
            assert!(
                error > tensor.tolerance(Units { result: 0.0, factors: 0.0 }) || error == 0.0,
                "tensor {which}, seed {seed}, {case:?}"
            );
        }
    }
}
