//! Attention forward and backward over units: `src/types.ts` has the shapes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use napi::bindgen_prelude::{FromNapiValue, Object};
use napi::{Env, sys};
use napi_derive::napi;
use ulysses_kernels::{self as kernels, AttentionParams, Bf16, Element, F16, MAX_HEAD_SIZE, Workspaces};

use crate::checked::{DType, isa, threads, whole};
use crate::device::{Cancellation, Device};
use crate::failure::{Failure, Result};
use crate::operand::{Access, Operands, Rows, Shape};
use crate::queue::Work;

#[napi(object, object_to_js = false)]
pub struct AttentionJob {
    pub dtype: String,
    pub head_size: f64,
    pub scale: f64,
    pub threads: f64,
}

#[napi(object, object_to_js = false)]
pub struct ForwardUnit {
    pub rows: f64,
    pub kv_rows: f64,
    pub bounds: Bounds,
    pub q: Rows,
    pub k: Rows,
    pub v: Rows,
    pub out: Rows,
    pub lse: Rows,
}

#[napi(object, object_to_js = false)]
pub struct BackwardUnit {
    pub rows: f64,
    pub kv_rows: f64,
    pub bounds: Bounds,
    pub q: Rows,
    pub k: Rows,
    pub v: Rows,
    pub out: Rows,
    pub lse: Rows,
    pub dout: Rows,
    pub dq: Rows,
    pub dk: Rows,
    pub dv: Rows,
}

/// A copy of an Int32Array: the caller may reuse his at once.
pub struct Bounds(Vec<i32>);

impl FromNapiValue for Bounds {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Bounds> {
        // SAFETY: both values come from the engine, in this call; no JavaScript runs while the slice lives.
        let values = unsafe { <&[i32]>::from_napi_value(env, value) }?;
        Ok(Bounds(values.to_vec()))
    }
}

#[napi]
impl Device {
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn attention_forward<'e>(
        &self,
        env: &'e Env,
        job: AttentionJob,
        units: Vec<ForwardUnit>,
        isa: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Object<'e>> {
        let work = params(&job, isa).and_then(|(dtype, params)| {
            let workspaces = self.workspaces.clone();
            match dtype {
                DType::F32 => forward::<f32>(workspaces, params, units),
                DType::Bf16 => forward::<Bf16>(workspaces, params, units),
                DType::F16 => forward::<F16>(workspaces, params, units),
            }
        });
        self.submit(env, cancellation, work)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn attention_backward<'e>(
        &self,
        env: &'e Env,
        job: AttentionJob,
        units: Vec<BackwardUnit>,
        isa: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Object<'e>> {
        let work = params(&job, isa).and_then(|(dtype, params)| {
            let workspaces = self.workspaces.clone();
            match dtype {
                DType::F32 => backward::<f32>(workspaces, params, units),
                DType::Bf16 => backward::<Bf16>(workspaces, params, units),
                DType::F16 => backward::<F16>(workspaces, params, units),
            }
        });
        self.submit(env, cancellation, work)
    }
}

fn params(job: &AttentionJob, isa_name: Option<String>) -> Result<(DType, AttentionParams)> {
    let dtype = DType::parse(&job.dtype)?;
    let head_size = whole("headSize", job.head_size, 1, u32::MAX.into())? as usize;
    if head_size > MAX_HEAD_SIZE {
        return Err(Failure::unsupported("headSize", head_size, format!("1 to {MAX_HEAD_SIZE}")));
    }
    let scale = job.scale as f32;
    if !scale.is_finite() {
        return Err(Failure::shape("scale", job.scale, "a finite float32"));
    }
    let params = AttentionParams { head_size, scale, threads: threads(job.threads)?, isa: isa(isa_name)? };
    Ok((dtype, params))
}

/// Extents of a unit: its q-like and its k-like operands, and lse.
struct Extents {
    rows: usize,
    kv_rows: usize,
    q: Shape,
    kv: Shape,
    lse: Shape,
}

fn extents(unit: &str, rows: f64, kv_rows: f64, bounds: &[i32], d: usize) -> Result<Extents> {
    let max = i32::MAX as u64;
    let rows = whole(format_args!("{unit}.rows"), rows, 0, max)? as usize;
    let kv_rows = whole(format_args!("{unit}.kvRows"), kv_rows, 0, max)? as usize;
    if bounds.len() != 2 * rows {
        let expected = format!("{} (two for each of {rows} rows)", 2 * rows);
        return Err(Failure::shape(format_args!("{unit}.bounds.length"), bounds.len(), expected));
    }
    for (row, interval) in bounds.chunks_exact(2).enumerate() {
        let (lo, hi) = (interval[0], interval[1]);
        if lo < hi && (lo < 0 || hi as usize > kv_rows) {
            let (value, expected) = (format!("[{lo}, {hi})"), format!("a part of [0, {kv_rows})"));
            return Err(Failure::shape(format_args!("{unit}.bounds of row {row}"), value, expected));
        }
    }
    let q = Shape { rows, width: d };
    let kv = Shape { rows: kv_rows, width: d };
    let lse = Shape { rows, width: 1 };
    Ok(Extents { rows, kv_rows, q, kv, lse })
}

fn forward<T: Element>(workspaces: Arc<Workspaces>, params: AttentionParams, units: Vec<ForwardUnit>) -> Result<Work> {
    let mut operands = Operands::default();
    let (mut checked, mut all_bounds) = (Vec::new(), Vec::new());
    for (i, unit) in units.into_iter().enumerate() {
        let name = format!("units[{i}]");
        let bounds = unit.bounds.0;
        let at = extents(&name, unit.rows, unit.kv_rows, &bounds, params.head_size)?;
        checked.push(kernels::ForwardUnit::<T> {
            rows: at.rows,
            kv_rows: at.kv_rows,
            bounds: &[],
            q: operands.read(format_args!("{name}.q"), unit.q, at.q)?,
            k: operands.read(format_args!("{name}.k"), unit.k, at.kv)?,
            v: operands.read(format_args!("{name}.v"), unit.v, at.kv)?,
            out: operands.write(format_args!("{name}.out"), unit.out, at.q, Access::Write)?,
            lse: operands.write(format_args!("{name}.lse"), unit.lse, at.lse, Access::Write)?,
        });
        all_bounds.push(bounds);
    }
    let lease = operands.check_overlaps()?;
    Ok(Box::new(move |stop: &AtomicBool| {
        let _lease = lease;
        let with_bounds = checked.iter().zip(&all_bounds);
        let units: Vec<_> = with_bounds.map(|(unit, bounds)| kernels::ForwardUnit { bounds, ..*unit }).collect();
        // SAFETY: operands were checked against their regions and each other; the lease keeps the regions alive.
        Ok(unsafe { kernels::forward(&workspaces, &params, &units, stop) }?)
    }))
}

fn backward<T: Element>(
    workspaces: Arc<Workspaces>,
    params: AttentionParams,
    units: Vec<BackwardUnit>,
) -> Result<Work> {
    let mut operands = Operands::default();
    let (mut checked, mut all_bounds) = (Vec::new(), Vec::new());
    for (i, unit) in units.into_iter().enumerate() {
        let name = format!("units[{i}]");
        let bounds = unit.bounds.0;
        let at = extents(&name, unit.rows, unit.kv_rows, &bounds, params.head_size)?;
        checked.push(kernels::BackwardUnit::<T> {
            rows: at.rows,
            kv_rows: at.kv_rows,
            bounds: &[],
            q: operands.read(format_args!("{name}.q"), unit.q, at.q)?,
            k: operands.read(format_args!("{name}.k"), unit.k, at.kv)?,
            v: operands.read(format_args!("{name}.v"), unit.v, at.kv)?,
            out: operands.read(format_args!("{name}.out"), unit.out, at.q)?,
            lse: operands.read(format_args!("{name}.lse"), unit.lse, at.lse)?,
            dout: operands.read(format_args!("{name}.dout"), unit.dout, at.q)?,
            dq: operands.write(format_args!("{name}.dq"), unit.dq, at.q, Access::Write)?,
            dk: operands.write(format_args!("{name}.dk"), unit.dk, at.kv, Access::Accumulate(0))?,
            dv: operands.write(format_args!("{name}.dv"), unit.dv, at.kv, Access::Accumulate(1))?,
        });
        all_bounds.push(bounds);
    }
    let lease = operands.check_overlaps()?;
    Ok(Box::new(move |stop: &AtomicBool| {
        let _lease = lease;
        let with_bounds = checked.iter().zip(&all_bounds);
        let units: Vec<_> = with_bounds.map(|(unit, bounds)| kernels::BackwardUnit { bounds, ..*unit }).collect();
        // SAFETY: operands were checked against their regions and each other; the lease keeps the regions alive.
        Ok(unsafe { kernels::backward(&workspaces, &params, &units, stop) }?)
    }))
}
