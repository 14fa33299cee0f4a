//! Numbers and words from JavaScript, range-checked: a plain conversion would wrap, clamp or truncate them silently.

use std::fmt::Display;

use ulysses_kernels::Isa;

use crate::failure::{Failure, Result};

/// Largest integer that a JavaScript number holds exactly.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A whole number from `min` to `max`.
pub fn whole(field: impl Display, value: f64, min: u64, max: u64) -> Result<u64> {
    if value.fract() == 0.0 && value >= min as f64 && value <= max as f64 {
        return Ok(value as u64);
    }
    Err(Failure::shape(field, value, format!("a whole number from {min} to {max}")))
}

/// An extent, a count or an offset.
pub fn extent(field: impl Display, value: f64) -> Result<usize> {
    whole(field, value, 0, MAX_SAFE_INTEGER).map(|value| value as usize)
}

pub fn threads(value: f64) -> Result<usize> {
    whole("threads", value, 1, 1024).map(|value| value as usize)
}

/// The instruction set that the caller insists on, else the best one of this machine.
pub fn isa(name: Option<String>) -> Result<Isa> {
    let Some(name) = name else { return Ok(Isa::detect()) };
    let known = Isa::ALL.map(Isa::name).join(", ");
    let isa = Isa::from_name(&name).ok_or_else(|| Failure::unsupported("isa", &name, format!("one of {known}")))?;
    if !isa.is_available() {
        let available: Vec<&str> = Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(Isa::name).collect();
        let expected = format!("one that this machine has: {}", available.join(", "));
        return Err(Failure::unsupported("isa", &name, expected));
    }
    Ok(isa)
}

#[derive(Clone, Copy)]
pub enum DType {
    F32,
    Bf16,
    F16,
}

impl DType {
    pub fn parse(name: &str) -> Result<DType> {
        match name {
            "f32" => Ok(DType::F32),
            "bf16" => Ok(DType::Bf16),
            "f16" => Ok(DType::F16),
            _ => Err(Failure::unsupported("dtype", name, "one of f32, bf16, f16")),
        }
    }
}
