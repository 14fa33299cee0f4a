//! C = A B, or C += A B, in float32.

use std::sync::atomic::AtomicBool;

use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use ulysses_kernels::{self as kernels, MatmulParams, Strided};

use crate::checked::{isa, threads, whole};
use crate::device::{Cancellation, Device};
use crate::failure::Result;
use crate::operand::{Access, Operands, Rows, Shape};
use crate::queue::Work;
use crate::region::Lent;

#[napi(object, object_to_js = false)]
pub struct Matrix {
    pub region: Lent,
    pub offset_bytes: f64,
    pub row_stride: f64,
    pub transposed: bool,
}

/// A is [m, k], B [k, n], C [m, n].
#[napi(object, object_to_js = false)]
pub struct MatmulJob {
    pub m: f64,
    pub n: f64,
    pub k: f64,
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
    pub accumulate: bool,
    pub threads: f64,
}

#[napi]
impl Device {
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn matmul<'e>(
        &self,
        env: &'e Env,
        job: MatmulJob,
        isa: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<Object<'e>> {
        let work = self.matmul_work(job, isa);
        self.submit(env, cancellation, work)
    }

    fn matmul_work(&self, job: MatmulJob, isa_name: Option<String>) -> Result<Work> {
        let (m, n, k) = (dimension("m", job.m)?, dimension("n", job.n)?, dimension("k", job.k)?);
        let mut operands = Operands::default();
        let (a_transposed, b_transposed) = (job.a.transposed, job.b.transposed);
        let a = operands.read::<f32>("a", job.a.into_rows(), stored(m, k, a_transposed))?;
        let b = operands.read::<f32>("b", job.b.into_rows(), stored(k, n, b_transposed))?;
        let c_transposed = job.c.transposed;
        let c = operands.write::<f32>("c", job.c.into_rows(), stored(m, n, c_transposed), Access::Write)?;
        let lease = operands.check_overlaps()?;
        let (m, n) = if c_transposed { (n, m) } else { (m, n) };
        let params =
            MatmulParams { m, n, k, accumulate: job.accumulate, threads: threads(job.threads)?, isa: isa(isa_name)? };
        let workspaces = self.workspaces.clone();
        Ok(Box::new(move |stop: &AtomicBool| {
            let _lease = lease;
            // The kernel writes rows of C. A transposed C is the plain one of (A B)^T = B^T A^T.
            let (a, b) = if c_transposed {
                (matrix(b, !b_transposed), matrix(a, !a_transposed))
            } else {
                (matrix(a, a_transposed), matrix(b, b_transposed))
            };
            // SAFETY: operands were checked against their regions and each other; the lease keeps the regions alive.
            Ok(unsafe { kernels::matmul(&workspaces, &params, a, b, c, stop) }?)
        }))
    }
}

fn matrix(rows: Strided<f32>, transposed: bool) -> kernels::Matrix {
    kernels::Matrix { ptr: rows.ptr, row_stride: rows.row_stride, transposed }
}

impl Matrix {
    fn into_rows(self) -> Rows {
        Rows { region: self.region, offset_bytes: self.offset_bytes, row_stride: self.row_stride }
    }
}

fn dimension(field: &str, value: f64) -> Result<usize> {
    whole(field, value, 0, i32::MAX as u64).map(|value| value as usize)
}

/// Rows as they lie in memory, of a matrix of this many rows and columns.
fn stored(rows: usize, columns: usize, transposed: bool) -> Shape {
    let (rows, width) = if transposed { (columns, rows) } else { (rows, columns) };
    Shape { rows, width }
}
