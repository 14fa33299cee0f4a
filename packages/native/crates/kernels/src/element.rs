//! The three element types. Arithmetic is float32 everywhere; these only convert, while packing and storing.

/// A tensor's element: `f32`, [`Bf16`] or [`F16`].
pub trait Element: Copy + Default + Send + Sync + 'static {
    fn to_f32(self) -> f32;
    /// Rounds to nearest, ties to even; NaN stays NaN.
    fn from_f32(value: f32) -> Self;
    /// Whether it is a bfloat16, the type that tiles are made of.
    const IS_BF16: bool = false;
    /// Rounded to bfloat16; itself if it is one.
    #[inline(always)]
    fn to_bf16(self) -> Bf16 {
        Bf16::from_f32(self.to_f32())
    }
}

/// The bits of a bfloat16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

/// The bits of an IEEE 754 half-precision number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct F16(pub u16);

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> f32 {
        value
    }
}

impl Element for Bf16 {
    const IS_BF16: bool = true;

    #[inline(always)]
    fn to_bf16(self) -> Bf16 {
        self
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Bf16 {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        // Rounding a NaN's payload could carry it into infinity: keep the top half, made quiet.
        let quiet = (bits >> 16) | 0x40;
        let is_nan = (bits & 0x7fff_ffff) > 0x7f80_0000;
        Bf16(if is_nan { quiet } else { rounded } as u16)
    }
}

impl Element for F16 {
    // Both directions are free of branches, so that loops over them become vector code.
    #[inline(always)]
    fn to_f32(self) -> f32 {
        const SCALE: f32 = f32::from_bits((127 + 112) << 23);
        let bits = u32::from(self.0);
        let magnitude = (bits & 0x7fff) << 13;
        // 2^112 moves the exponent from half's bias to float's; it also makes subnormals normal.
        let finite = (f32::from_bits(magnitude) * SCALE).to_bits();
        let special = magnitude | 0x7f80_0000;
        let value = if (bits & 0x7c00) == 0x7c00 { special } else { finite };
        f32::from_bits(value | ((bits & 0x8000) << 16))
    }

    #[inline(always)]
    fn from_f32(value: f32) -> F16 {
        const SUBNORMAL_MAGIC: f32 = f32::from_bits(126 << 23);
        let bits = value.to_bits();
        let sign = (bits >> 16) & 0x8000;
        let magnitude = bits & 0x7fff_ffff;
        // Normal range: move the bias by -112 and round the 13 dropped bits; overflow carries into infinity, which 2^16 becomes.
        let bounded = magnitude.min(143 << 23);
        let odd = (bounded >> 13) & 1;
        let normal = (bounded + odd).wrapping_add(0xfff_u32.wrapping_sub(112 << 23)) >> 13;
        // Below 2^-14: adding 0.5 leaves the value, in steps of 2^-24, in the low bits, rounded by the hardware.
        let subnormal = (f32::from_bits(magnitude) + SUBNORMAL_MAGIC).to_bits().wrapping_sub(126 << 23);
        let finite = if magnitude < (113 << 23) { subnormal } else { normal };
        let rounded = if magnitude > 0x7f80_0000 { 0x7e00 } else { finite };
        F16((rounded | sign) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a half by its definition.
    fn half_value(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10) & 31, f64::from(bits & 0x3ff));
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    #[test]
    #[cfg_attr(miri, ignore = "safe code, and many values")]
    fn every_half_converts_exactly_and_back() {
        for bits in 0..=u16::MAX {
            let (value, expected) = (F16(bits).to_f32(), half_value(bits));
            if expected.is_nan() {
                assert!(value.is_nan() && half_value(F16::from_f32(value).0).is_nan(), "{bits:#x}");
            } else {
                assert_eq!(f64::from(value), expected, "{bits:#x}");
                assert_eq!(F16::from_f32(value).0, bits);
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "safe code, and many values")]
    fn float_to_half_takes_the_nearest_and_ties_to_even() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (half_value(bits), half_value(bits + 1));
            let middle = ((low + high) / 2.0) as f32;
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(F16::from_f32(middle).0, even, "tie above {bits:#x}");
            assert_eq!(F16::from_f32(middle.next_down()).0, bits);
            assert_eq!(F16::from_f32(middle.next_up()).0, bits + 1);
        }
        assert_eq!(F16::from_f32(65519.996).0, 0x7bff);
        assert_eq!(F16::from_f32(-65520.0).0, 0xfc00);
        assert_eq!(F16::from_f32(f32::NEG_INFINITY).0, 0xfc00);
    }

    #[test]
    #[cfg_attr(miri, ignore = "safe code, and many values")]
    fn float_to_bfloat_takes_the_nearest_and_keeps_nan() {
        for bits in 0..0x7f80u16 {
            let middle = f32::from_bits((u32::from(bits) << 16) | 0x8000);
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(Bf16::from_f32(middle).0, even, "tie above {bits:#x}");
            assert_eq!(Bf16::from_f32(middle.next_down()).0, bits);
        }
        for bits in [0x7f80_0001u32, 0x7fff_ffff, 0xff80_ffff] {
            assert!(Bf16::from_f32(f32::from_bits(bits)).to_f32().is_nan(), "{bits:#x}");
        }
        assert_eq!(Bf16::from_f32(f32::INFINITY).to_f32(), f32::INFINITY);
    }
}
