//! Speed of the kernels on this machine: GFLOP per second, and the share of what its FMA units can do.
//!
//! `cargo run --release -p ulysses-kernels --example bench -- [--isa NAME] [--threads N] [--only TEXT]`, or `-- --peak` for that alone, as one
//! number, and `-- --peak-bf16` for bfloat16 products; `npm run bench:kernels` compares with PyTorch.
//!
//! FLOPs are the useful ones: 4 s² d forward and 10 s² d backward per head, half of that if causal. Seconds are the
//! best of some runs: of CPU time with one thread, so that a busy machine matters less; of the clock with more. The peak
//! is measured before every line with as many chains of FMAs as hide their latency, in one thread.
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use ulysses_kernels::{
    AttentionParams, BackwardUnit, Bf16, Element, Error, ForwardUnit, Isa, MatmulParams, Matrix, Strided, StridedMut,
    Workspaces, backward, forward, matmul,
};

const HEADS: usize = 2;
const RUNS: usize = 5;

#[derive(Clone, Copy)]
struct Machine {
    isa: Isa,
    threads: usize,
}

fn main() {
    let mut machine = Machine { isa: Isa::detect(), threads: 1 };
    let mut only = String::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        if flag == "--peak" {
            return println!("{}", fma_peak());
        }
        if flag == "--peak-bf16" {
            return println!("{}", pairs_peak());
        }
        let value = arguments.next().unwrap_or_else(|| panic!("{flag} needs a value"));
        match flag.as_str() {
            "--isa" => {
                machine.isa = Isa::from_name(&value).expect("--isa is amx, avx512-bf16, avx512, avx2 or portable")
            }
            "--threads" => machine.threads = value.parse().expect("--threads is a number"),
            "--only" => only = value,
            _ => panic!("unknown flag {flag}, expected --isa, --threads, --only, --peak or --peak-bf16"),
        }
    }
    println!("{}, {} thread(s), {HEADS} heads", machine.isa.name(), machine.threads);
    for (s, d) in [(4096, 64), (4096, 128), (1024, 64), (8190, 64)] {
        for causal in [false, true] {
            Attention::<f32>::new("f32", s, d, causal).measure(machine, &only);
            Attention::<Bf16>::new("bf16", s, d, causal).measure(machine, &only);
        }
    }
    if !only.is_empty() {
        return;
    }
    for [m, n, k] in [[1024, 1024, 1024], [512, 256, 256], [2048, 64, 64]] {
        measure_matmul(machine, m, n, k);
    }
    measure_cancellation(machine);
}

/// Seconds of CPU time of this process, or of the clock where that is not known.
fn cpu_seconds(since: Instant) -> f64 {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    {
        #[repr(C)]
        struct Timespec {
            seconds: i64,
            nanoseconds: i64,
        }
        unsafe extern "C" {
            fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
        }
        const PROCESS_CPU_TIME: i32 = 2;
        let mut time = Timespec { seconds: 0, nanoseconds: 0 };
        // SAFETY: the C library's function, with the struct that it fills.
        if unsafe { clock_gettime(PROCESS_CPU_TIME, &mut time) } == 0 {
            return time.seconds as f64 + time.nanoseconds as f64 * 1e-9;
        }
    }
    since.elapsed().as_secs_f64()
}

/// Seconds of the best run.
fn best_of(threads: usize, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let now = || if threads == 1 { cpu_seconds(start) } else { start.elapsed().as_secs_f64() };
    let time = |_| {
        let begin = now();
        run();
        now() - begin
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}

fn report(machine: Machine, what: &str, flops: f64, seconds: f64) {
    let (rate, peak) = (flops / seconds / 1e9, fma_peak());
    let share = 100.0 * rate / peak / machine.threads as f64;
    println!("{what:36} {rate:7.1} GFLOP/s, peak {peak:6.1} per thread, {share:5.1} %");
}

/// One head's rows after another's, normally distributed.
fn random<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u64 << 24) as f32
    };
    // The sum of twelve uniform numbers is near enough.
    (0..len).map(|_| T::from_f32((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect()
}

struct Attention<T> {
    name: String,
    s: usize,
    d: usize,
    flops: f64,
    bounds: Vec<i32>,
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    dout: Vec<T>,
    out: Vec<T>,
    lse: Vec<f32>,
    dq: Vec<T>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

fn read<T>(values: &[T], head: usize, row_stride: usize) -> Strided<T> {
    Strided { ptr: values[head * values.len() / HEADS..].as_ptr(), row_stride }
}

fn write<T>(values: &mut [T], head: usize, row_stride: usize) -> StridedMut<T> {
    let first = head * values.len() / HEADS;
    StridedMut { ptr: values[first..].as_mut_ptr(), row_stride }
}

impl<T: Element> Attention<T> {
    fn new(dtype: &str, s: usize, d: usize, causal: bool) -> Attention<T> {
        let len = HEADS * s * d;
        let [q, k, v, dout] = [1, 2, 3, 4].map(|seed| random(len, seed));
        let [out, dq] = [0, 1].map(|_| vec![T::default(); len]);
        let [dk, dv] = [0, 1].map(|_| vec![0.0; len]);
        let bounds = (0..s).flat_map(|row| [0, if causal { row + 1 } else { s } as i32]).collect();
        let flops = (HEADS * s * s * d) as f64 * if causal { 0.5 } else { 1.0 };
        let name = format!("{dtype} s {s} d {d} {}", if causal { "causal" } else { "full" });
        Attention { name, s, d, flops, bounds, q, k, v, dout, out, lse: vec![0.0; HEADS * s], dq, dk, dv }
    }

    fn params(&self, machine: Machine) -> AttentionParams {
        let scale = 1.0 / (self.d as f32).sqrt();
        AttentionParams { head_size: self.d, scale, threads: machine.threads, isa: machine.isa }
    }

    fn forward(&mut self, pool: &Workspaces, machine: Machine) {
        let (params, s, d) = (self.params(machine), self.s, self.d);
        let units: [_; HEADS] = std::array::from_fn(|head| ForwardUnit {
            rows: s,
            kv_rows: s,
            bounds: &self.bounds,
            q: read(&self.q, head, d),
            k: read(&self.k, head, d),
            v: read(&self.v, head, d),
            out: write(&mut self.out, head, d),
            lse: write(&mut self.lse, head, 1),
        });
        // SAFETY: each head has s rows of d elements.
        unsafe { forward(pool, &params, &units, &AtomicBool::new(false)) }.expect("forward");
    }

    fn backward(&mut self, pool: &Workspaces, machine: Machine, stop: &AtomicBool) -> Result<(), Error> {
        let (params, s, d) = (self.params(machine), self.s, self.d);
        let units: [_; HEADS] = std::array::from_fn(|head| BackwardUnit {
            rows: s,
            kv_rows: s,
            bounds: &self.bounds,
            q: read(&self.q, head, d),
            k: read(&self.k, head, d),
            v: read(&self.v, head, d),
            out: read(&self.out, head, d),
            lse: read(&self.lse, head, 1),
            dout: read(&self.dout, head, d),
            dq: write(&mut self.dq, head, d),
            dk: write(&mut self.dk, head, d),
            dv: write(&mut self.dv, head, d),
        });
        // SAFETY: each head has s rows of d elements.
        unsafe { backward(pool, &params, &units, stop) }
    }

    fn measure(&mut self, machine: Machine, only: &str) {
        let [forward, backward] = ["forward", "backward"].map(|pass| format!("{} {pass}", self.name));
        let (pool, stop) = (Workspaces::new(), AtomicBool::new(false));
        if forward.contains(only) {
            let seconds = best_of(machine.threads, || self.forward(&pool, machine));
            report(machine, &forward, 4.0 * self.flops, seconds);
        }
        if backward.contains(only) {
            self.forward(&pool, machine);
            let seconds = best_of(machine.threads, || self.backward(&pool, machine, &stop).expect("backward"));
            report(machine, &backward, 10.0 * self.flops, seconds);
        }
    }
}

fn measure_matmul(machine: Machine, m: usize, n: usize, k: usize) {
    let (pool, a, b, mut c) = (Workspaces::new(), random::<f32>(m * k, 1), random::<f32>(k * n, 2), vec![0.0; m * n]);
    let params = MatmulParams { m, n, k, accumulate: false, threads: machine.threads, isa: machine.isa };
    let matrix = |values: &[f32], row_stride| Matrix { ptr: values.as_ptr(), row_stride, transposed: false };
    let seconds = best_of(machine.threads, || {
        let to = StridedMut { ptr: c.as_mut_ptr(), row_stride: n };
        // SAFETY: the matrices have the extents that the parameters state.
        unsafe { matmul(&pool, &params, matrix(&a, k), matrix(&b, n), to, &AtomicBool::new(false)) }.expect("matmul");
    });
    report(machine, &format!("f32 product {m} x {n} x {k}"), 2.0 * (m * n * k) as f64, seconds);
}

/// How long a backward takes to return once its flag is raised, at the largest head size.
fn measure_cancellation(machine: Machine) {
    let (pool, mut longest) = (Workspaces::new(), Duration::ZERO);
    let mut attention = Attention::<f32>::new("f32", 4096, 256, false);
    attention.forward(&pool, machine);
    for delay in [1, 10, 50, 100, 200] {
        let stop = AtomicBool::new(false);
        let raised = std::thread::scope(|scope| {
            let raise = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(delay));
                stop.store(true, Relaxed);
                Instant::now()
            });
            let result = attention.backward(&pool, machine, &stop);
            let returned = Instant::now();
            assert_eq!(result, Err(Error::Cancelled));
            returned.duration_since(raise.join().expect("the thread that raises the flag"))
        });
        longest = longest.max(raised);
    }
    println!("cancelled within {:.1} ms (s 4096, d 256)", longest.as_secs_f64() * 1e3);
}

/// GFLOP/s of the machine's best FMA instructions in one thread.
fn fma_peak() -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: just detected.
            return unsafe { x86::peak_avx512() };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: just detected.
            return unsafe { x86::peak_avx2() };
        }
    }
    f64::NAN
}

/// The same of its bfloat16 products by vectors, or of its FMA instructions where it has none.
fn pairs_peak() -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: just detected.
        return unsafe { x86::peak_pairs() };
    }
    fma_peak()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::cpu_seconds;
    use std::arch::x86_64::*;
    use std::hint::black_box;
    use std::time::Instant;

    const STEPS: usize = 8_000_000;
    const CHAINS: usize = 12;

    macro_rules! peak {
        ($name:ident, $features:literal, $set1:ident, $fmadd:ident, $lanes:literal) => {
            #[target_feature(enable = $features)]
            pub fn $name() -> f64 {
                let (factor, term) = ($set1(black_box(0.5)), $set1(black_box(1.0)));
                let mut chains = [$set1(0.0); CHAINS];
                let start = Instant::now();
                let begin = cpu_seconds(start);
                for _ in 0..STEPS {
                    for chain in &mut chains {
                        *chain = $fmadd(*chain, factor, term);
                    }
                }
                black_box(chains);
                (2 * $lanes * CHAINS * STEPS) as f64 / (cpu_seconds(start) - begin) / 1e9
            }
        };
    }

    peak!(peak_avx2, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps, 8);
    peak!(peak_avx512, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps, 16);

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn peak_pairs() -> f64 {
        // SAFETY: both are 512 bits.
        let halves: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(black_box(0x3f00_3f00))) };
        let mut chains = [_mm512_setzero_ps(); CHAINS];
        let start = Instant::now();
        let begin = cpu_seconds(start);
        for _ in 0..STEPS {
            for chain in &mut chains {
                *chain = _mm512_dpbf16_ps(*chain, halves, halves);
            }
        }
        black_box(chains);
        (2 * 32 * CHAINS * STEPS) as f64 / (cpu_seconds(start) - begin) / 1e9
    }
}
