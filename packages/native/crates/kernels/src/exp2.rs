use crate::isa::Simd;

/// [`Simd::exp2`] for instruction sets without better means.
///
/// x = n + r with n the nearest integer: a polynomial of degree 5 for 2^r, and 2^n by its bits.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    // 1.5 * 2^23 leaves an integer in the low bits of the sum; 127 more, and they are the exponent of 2^n.
    const MAGIC: f32 = 12_582_912.0 + 127.0;
    let magic = simd.splat(MAGIC);
    let shifted = simd.add(x, magic);
    let rest = simd.sub(x, simd.sub(shifted, magic));
    let power = polynomial(simd, rest);
    // A product, where an addition to the exponent bits would be as fast: it cannot turn NaN into a number.
    let power = simd.mul(power, simd.low_bits_to_exponent(shifted));
    simd.select(simd.less(x, simd.splat(-126.0)), simd.splat(0.0), power)
}

/// 2^x for x from -1/2 to 1/2; 1 at 0.
#[inline(always)]
pub(crate) fn polynomial<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    const COEFFICIENTS: [f32; 5] = [9.675_541e-3, 5.550_713_4e-2, 2.402_212e-1, 6.931_469_7e-1, 1.0];
    let mut power = simd.splat(1.327_647_2e-3);
    for coefficient in COEFFICIENTS {
        power = simd.mul_add(power, x, simd.splat(coefficient));
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Kernel};

    struct Exp2<'a>(&'a mut [f32]);

    impl Kernel for Exp2<'_> {
        type Output = ();
        const TILES: bool = true;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for at in (0..self.0.len()).step_by(S::LANES) {
                let x = simd.load(self.0, at);
                simd.store(self.0, at, simd.exp2(x));
            }
        }
    }

    #[test]
    fn two_to_the_x_is_within_its_bound_and_special_values_hold() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let count = if cfg!(miri) { 256 } else { 65_536 };
            let x: Vec<f32> = (0..count).map(|i| i as f32 * (127.0 / count as f32) - 126.0).collect();
            let mut y = x.clone();
            isa.run(Exp2(&mut y)).unwrap();
            for (x, y) in x.iter().zip(y) {
                let expected = f64::from(*x).exp2();
                assert!((f64::from(y) - expected).abs() <= 2.5e-7 * expected, "{isa:?} {x} {y}");
            }
            let mut y = [0.0; 16];
            y[..5].copy_from_slice(&[-126.5, f32::NEG_INFINITY, -1e30, 0.0, -1.0]);
            y[5] = f32::NAN;
            y[6] = f32::from_bits(0x7fff_ffff);
            isa.run(Exp2(&mut y)).unwrap();
            assert_eq!(y[..5], [0.0, 0.0, 0.0, 1.0, 0.5], "{isa:?}");
            assert!(y[5].is_nan() && y[6].is_nan(), "{isa:?}");
        }
    }
}
