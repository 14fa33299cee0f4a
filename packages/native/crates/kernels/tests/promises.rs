//! What forward and backward promise beyond accuracy.
mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use support::grid::Grid;
use support::reference::reference;
use support::{Case, Mask, Problem, Rounding, isas};
use ulysses_kernels::{
    AttentionParams, Bf16, Element, Error, ForwardUnit, Isa, Strided, Workspaces, backward, forward,
};

fn computed<T: Element>(case: Case, isa: Isa, threads: usize, pool: &Workspaces) -> Problem<T> {
    let mut problem = Problem::<T>::new(case, 1);
    problem.forward(pool, isa, threads).unwrap();
    problem.backward(pool, isa, threads).unwrap();
    problem
}

#[test]
fn threads_and_what_ran_before_do_not_change_a_bit() {
    let case = Case { d: 40, rows: 333, kv_rows: 777, mask: Mask::Causal };
    for isa in isas() {
        let pool = Workspaces::new();
        let once = computed::<Bf16>(case, isa, 1, &pool).results();
        for threads in [1, 2, 3, 5] {
            assert_eq!(once, computed::<Bf16>(case, isa, threads, &pool).results(), "{isa:?} {threads} threads");
        }
    }
}

#[test]
fn many_units_in_one_call_give_the_bits_that_single_calls_give() {
    // More than a call packs at a time, forward and backward.
    let case = Case { d: 256, rows: 130, kv_rows: 1500, mask: Mask::Full };
    let (pool, isa, stop) = (Workspaces::new(), Isa::detect(), AtomicBool::new(false));
    let mut together: Vec<_> = (0..24).map(|seed| Problem::<f32>::new(case, seed)).collect();
    let mut single: Vec<_> = (0..24).map(|seed| Problem::<f32>::new(case, seed)).collect();
    let params = together[0].params(isa, 2);
    let bounds = together[0].bounds.clone();
    let units: Vec<_> =
        together.iter_mut().flat_map(|problem| [0, 1].map(|i| problem.forward_unit(i, &bounds))).collect();
    // SAFETY: grids have the rows that the units state.
    unsafe { forward(&pool, &params, &units, &stop) }.unwrap();
    let units: Vec<_> =
        together.iter_mut().flat_map(|problem| [0, 1].map(|i| problem.backward_unit(i, &bounds))).collect();
    // SAFETY: as above.
    unsafe { backward(&pool, &params, &units, &stop) }.unwrap();
    for (seed, (problem, together)) in single.iter_mut().zip(&together).enumerate() {
        problem.forward(&pool, isa, 2).unwrap();
        problem.backward(&pool, isa, 2).unwrap();
        assert_eq!(problem.results(), together.results(), "seed {seed}");
    }
}

#[test]
fn rows_that_see_nothing_get_zeros_and_change_nothing() {
    let case = Case { d: 24, rows: 100, kv_rows: 50, mask: Mask::Causal };
    for isa in isas() {
        let problem = computed::<f32>(case, isa, 2, &Workspaces::new());
        for head in 0..2 {
            for row in 0..50 {
                assert!(problem.out[head].row(row).iter().all(|x| *x == 0.0));
                assert!(problem.dq[head].row(row).iter().all(|x| *x == 0.0));
                assert_eq!(problem.lse[head].row(row), [f32::NEG_INFINITY]);
            }
        }
        let nothing = Case { rows: 50, kv_rows: 100, mask: Mask::Random, ..case };
        let mut problem = Problem::<f32>::new(nothing, 1);
        problem.bounds.fill(3);
        problem.forward(&Workspaces::new(), isa, 1).unwrap();
        problem.backward(&Workspaces::new(), isa, 1).unwrap();
        assert!([&problem.dk, &problem.dv].iter().all(|grid| grid.values().iter().all(|x| *x == 1.0)));
    }
}

/// Asserts that exactly those values are finite which are so by the definition, and about what they are.
fn check_finite<T: Rounding>(what: &str, expected: &[f64], actual: &Grid<T>, unit: f64) {
    let tolerance = if unit == f32::UNIT { 1e-4 } else { 8.0 * unit };
    for (i, (expected, actual)) in expected.iter().zip(actual.to_f64()).enumerate() {
        assert_eq!(expected.is_finite(), actual.is_finite(), "{what} {i}: {actual}, expected {expected}");
        let near = (expected - actual).abs() < tolerance;
        assert!(!expected.is_finite() || near, "{what} {i}: {actual}, expected {expected}");
    }
}

#[test]
fn what_is_not_finite_reaches_those_who_see_it_and_nobody_else() {
    check_not_finite::<f32>();
    check_not_finite::<Bf16>();
}

fn check_not_finite<T: Rounding>() {
    let masks = [Mask::Full, Mask::Prefix(100), Mask::Causal, Mask::Window(70), Mask::Packed(3), Mask::Random];
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for (isa, mask) in isas().flat_map(|isa| masks.map(|mask| (isa, mask))) {
        for (tensor, value) in (0..4).flat_map(|tensor| values.map(|value| (tensor, value))) {
            let case = Case { d: 5, rows: 101, kv_rows: 211, mask };
            let mut problem = Problem::<T>::new(case, 3);
            let target = [&mut problem.k, &mut problem.v];
            match tensor {
                0 | 1 => target.into_iter().nth(tensor).unwrap().row_mut(77)[2] = T::from_f32(value),
                2 => problem.q[0].row_mut(61)[2] = T::from_f32(value),
                _ => problem.dout[1].row_mut(61)[2] = T::from_f32(value),
            }
            let expected = reference(&problem);
            problem.forward(&Workspaces::new(), isa, 1).unwrap();
            problem.backward(&Workspaces::new(), isa, 1).unwrap();
            let what = format!("{isa:?} {mask:?}, {value} in {}:", ["k", "v", "q", "dout"][tensor]);
            for head in 0..2 {
                check_finite(&format!("{what} out"), &expected.out[head].value, &problem.out[head], T::UNIT);
                check_finite(&format!("{what} lse"), &expected.lse[head].value, &problem.lse[head], T::UNIT);
                check_finite(&format!("{what} dq"), &expected.dq[head].value, &problem.dq[head], T::UNIT);
            }
            check_finite(&format!("{what} dk"), &expected.dk.value, &problem.dk, T::UNIT);
            check_finite(&format!("{what} dv"), &expected.dv.value, &problem.dv, T::UNIT);
        }
    }
}

#[test]
fn workspace_grows_like_the_sequence_and_not_like_its_square() {
    let workspace = |rows: usize, threads: usize| {
        let pool = Workspaces::new();
        let case = Case { d: 64, rows, kv_rows: rows, mask: Mask::Causal };
        drop(computed::<Bf16>(case, Isa::detect(), threads, &pool));
        // Calls give back all that they took, so this is the most that one of them had.
        pool.kept_bytes()
    };
    for threads in [1, 2] {
        let bytes = [512, 1024, 2048, 4096].map(|rows| workspace(rows, threads));
        for (shorter, longer) in bytes.iter().zip(&bytes[1..]) {
            // Sizes are rounded up by at most a quarter.
            assert!(*longer as f64 <= 2.0 * 1.25 * *shorter as f64, "{threads} threads: {bytes:?}");
        }
        // q, k, v, dout, out, dq, dk and dv of two heads in float32, and a little for each thread.
        assert!(bytes[3] <= 8 * 2 * 4096 * 64 * 4 + threads * (4 << 20), "{threads} threads: {bytes:?}");
        assert!(bytes[3] < 4096 * 4096 * 4, "{threads} threads: {bytes:?} bytes could hold all pairs");
    }
}

#[test]
fn a_raised_flag_ends_work_in_flight_with_cancelled() {
    let case = Case { d: 64, rows: 3000, kv_rows: 3000, mask: Mask::Full };
    let pool = Workspaces::new();
    for threads in [1, 2] {
        let mut problem = Problem::<f32>::new(case, 1);
        let (params, bounds) = (problem.params(Isa::Portable, threads), problem.bounds.clone());
        let forwards = [0, 1].map(|i| problem.forward_unit(i, &bounds));
        let backwards = [0, 1].map(|i| problem.backward_unit(i, &bounds));
        let started = std::sync::Barrier::new(2);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                started.wait();
                stop.store(true, Relaxed);
            });
            // SAFETY: grids have the rows that the units state.
            unsafe { forward(&pool, &params, &forwards, &AtomicBool::new(false)) }.unwrap();
            started.wait();
            // SAFETY: as above.
            assert_eq!(unsafe { backward(&pool, &params, &backwards, &stop) }, Err(Error::Cancelled));
        });
        // SAFETY: as above.
        assert_eq!(unsafe { forward(&pool, &params, &forwards, &stop) }, Err(Error::Cancelled));
    }
}

#[test]
fn a_wrong_field_is_named_before_anything_is_touched() {
    let case = Case { d: 8, rows: 4, kv_rows: 6, mask: Mask::Full };
    let mut problem = Problem::<f32>::new(case, 1);
    let (params, bounds) = (problem.params(Isa::Portable, 1), problem.bounds.clone());
    let right = problem.forward_unit(0, &bounds);
    fn refused(params: AttentionParams, units: [ForwardUnit<f32>; 2]) -> String {
        // SAFETY: refused by the checks at the border, or as right as `right`.
        match unsafe { forward(&Workspaces::new(), &params, &units, &AtomicBool::new(false)) } {
            Err(Error::Shape(text)) => text,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
    for (head_size, threads, text) in [
        (0, 1, "head_size is 0, expected 1 to 256"),
        (257, 1, "head_size is 257, expected 1 to 256"),
        (8, 0, "threads is 0, expected at least 1"),
    ] {
        let params = AttentionParams { head_size, threads, ..params };
        assert_eq!(refused(params, [right; 2]), text);
    }
    let mut wrong = right;
    wrong.bounds = &bounds[1..];
    assert_eq!(refused(params, [right, wrong]), "units[1].bounds has 7 values, expected 8 (rows is 4)");
    for interval in [[0, 7], [-1, 2]] {
        let mut bounds = bounds.clone();
        bounds[4..6].copy_from_slice(&interval);
        let [lo, hi] = interval;
        let text = format!("units[1].bounds of row 2 is [{lo}, {hi}), expected a part of [0, 6)");
        assert_eq!(refused(params, [right, ForwardUnit { bounds: &bounds, ..right }]), text);
    }
    let mut wrong = right;
    wrong.out.row_stride = 7;
    assert_eq!(refused(params, [right, wrong]), "units[1].out.row_stride is 7, expected at least 8");
    let mut wrong = right;
    wrong.v = Strided { ptr: std::ptr::null(), ..right.v };
    assert!(refused(params, [right, wrong]).starts_with("units[1].v is at 0x0"));
    problem.out[0].check_canaries();
    assert!(problem.out[0].values().iter().all(|x| x.is_nan()));
}

#[test]
fn an_instruction_set_that_is_missing_is_refused_by_name() {
    let case = Case { d: 8, rows: 1, kv_rows: 1, mask: Mask::Full };
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        let text = format!("isa is {}, which this machine does not have", isa.name());
        let result = Problem::<f32>::new(case, 1).forward(&Workspaces::new(), isa, 1);
        assert_eq!(result, Err(Error::Unsupported(text)));
    }
    assert!(Isa::detect().is_available() && Isa::Portable.is_available());
    assert!(Isa::ALL.into_iter().all(|isa| Isa::from_name(isa.name()) == Some(isa)));
}
