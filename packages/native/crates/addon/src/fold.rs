//! Sums of the partial gradients that several ranks computed for the same rows.

use std::sync::atomic::AtomicBool;

use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use ulysses_kernels::{self as kernels, Bf16, Element, F16, FoldParams};

use crate::checked::{DType, MAX_SAFE_INTEGER, extent, isa, whole};
use crate::device::{Cancellation, Device};
use crate::failure::Result;
use crate::operand::{Access, Operands, Rows, Shape};
use crate::queue::Work;

/// Shapes: target [rows, headSize] in dtype; each partial [rows, headSize] float32.
#[napi(object, object_to_js = false)]
pub struct FoldJob {
    pub target: Rows,
    pub dtype: String,
    pub rows: f64,
    pub head_size: f64,
    pub partials: Vec<Rows>,
}

#[napi]
impl Device {
    /// target = partials[0] + partials[1] + ... in this order in float32, rounded once; zeros when there is none.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn fold_partials<'e>(
        &self,
        env: &'e Env,
        job: FoldJob,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Object<'e>> {
        let work = DType::parse(&job.dtype).and_then(|dtype| match dtype {
            DType::F32 => fold::<f32>(job),
            DType::Bf16 => fold::<Bf16>(job),
            DType::F16 => fold::<F16>(job),
        });
        self.submit(env, cancellation, work)
    }
}

fn fold<T: Element>(job: FoldJob) -> Result<Work> {
    let rows = extent("rows", job.rows)?;
    let width = whole("headSize", job.head_size, 1, MAX_SAFE_INTEGER)? as usize;
    let shape = Shape { rows, width };
    let mut operands = Operands::default();
    let target = operands.write::<T>("target", job.target, shape, Access::Write)?;
    let mut partials = Vec::with_capacity(job.partials.len());
    for (i, rows) in job.partials.into_iter().enumerate() {
        partials.push(operands.read::<f32>(format_args!("partials[{i}]"), rows, shape)?);
    }
    let lease = operands.check_overlaps()?;
    let params = FoldParams { rows, width, isa: isa(None)? };
    Ok(Box::new(move |stop: &AtomicBool| {
        let _lease = lease;
        // SAFETY: operands were checked against their regions and each other; the lease keeps the regions alive.
        Ok(unsafe { kernels::fold(&params, target, &partials, stop) }?)
    }))
}
