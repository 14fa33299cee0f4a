//! What a call of attention is made of, and the checks at its border. Behind them extents are trusted.
use crate::check::{check_rows, check_threads};
use crate::{Element, Error, Isa, Strided, StridedMut};

pub const MAX_HEAD_SIZE: usize = 256;

/// Settings shared by all units of one call.
#[derive(Clone, Copy, Debug)]
pub struct AttentionParams {
    /// d, 1 to 256.
    pub head_size: usize,
    /// Softmax scale.
    pub scale: f32,
    /// Threads that this call may use, the caller's included; results do not depend on it.
    pub threads: usize,
    pub isa: Isa,
}

/// One unit of attention: `rows` query rows against `kv_rows` key rows.
///
/// Shapes: q, out [rows, d]; k, v [kv_rows, d]; lse [rows] (its stride counts floats). `bounds` is [rows][2]: row i
/// sees keys `[bounds[2i], bounds[2i + 1])`. An empty interval gives out = 0 and lse = -inf. Units may share k and v.
#[derive(Clone, Copy, Debug)]
pub struct ForwardUnit<'a, T> {
    pub rows: usize,
    pub kv_rows: usize,
    pub bounds: &'a [i32],
    pub q: Strided<T>,
    pub k: Strided<T>,
    pub v: Strided<T>,
    pub out: StridedMut<T>,
    pub lse: StridedMut<f32>,
}

/// Backward of one unit; shapes as in [`ForwardUnit`], and dout, dq [rows, d]; dk, dv [kv_rows, d].
///
/// `out` and `lse` come from the forward. dq is overwritten. dk and dv are added to, units in the given order; the
/// rows of two units may be the same memory, but two different rows never overlap.
#[derive(Clone, Copy, Debug)]
pub struct BackwardUnit<'a, T> {
    pub rows: usize,
    pub kv_rows: usize,
    pub bounds: &'a [i32],
    pub q: Strided<T>,
    pub k: Strided<T>,
    pub v: Strided<T>,
    pub out: Strided<T>,
    pub lse: Strided<f32>,
    pub dout: Strided<T>,
    pub dq: StridedMut<T>,
    pub dk: StridedMut<f32>,
    pub dv: StridedMut<f32>,
}

pub(crate) fn check_params(params: &AttentionParams) -> Result<(), Error> {
    let d = params.head_size;
    if !(1..=MAX_HEAD_SIZE).contains(&d) {
        return Err(Error::Shape(format!("head_size is {d}, expected 1 to {MAX_HEAD_SIZE}")));
    }
    check_threads(params.threads)?;
    params.isa.check()
}

fn check_extents(unit: usize, rows: usize, kv_rows: usize, bounds: &[i32]) -> Result<(), Error> {
    for (field, value) in [("rows", rows), ("kv_rows", kv_rows)] {
        if value > i32::MAX as usize {
            return Err(Error::Shape(format!("units[{unit}].{field} is {value}, expected at most {}", i32::MAX)));
        }
    }
    if bounds.len() != 2 * rows {
        let (is, expected) = (bounds.len(), 2 * rows);
        return Err(Error::Shape(format!(
            "units[{unit}].bounds has {is} values, expected {expected} (rows is {rows})"
        )));
    }
    for (row, interval) in bounds.chunks_exact(2).enumerate() {
        let (lo, hi) = (interval[0], interval[1]);
        if lo < hi && (lo < 0 || hi as usize > kv_rows) {
            return Err(Error::Shape(format!(
                "units[{unit}].bounds of row {row} is [{lo}, {hi}), expected a part of [0, {kv_rows})"
            )));
        }
    }
    Ok(())
}

impl<T: Element> ForwardUnit<'_, T> {
    pub(crate) fn check(&self, unit: usize, d: usize) -> Result<(), Error> {
        check_extents(unit, self.rows, self.kv_rows, self.bounds)?;
        let (q, kv) = ((self.rows, d), (self.kv_rows, d));
        check_rows(format_args!("units[{unit}].q"), self.q.ptr, self.q.row_stride, q, false)?;
        check_rows(format_args!("units[{unit}].k"), self.k.ptr, self.k.row_stride, kv, false)?;
        check_rows(format_args!("units[{unit}].v"), self.v.ptr, self.v.row_stride, kv, false)?;
        check_rows(format_args!("units[{unit}].out"), self.out.ptr, self.out.row_stride, q, true)?;
        check_rows(format_args!("units[{unit}].lse"), self.lse.ptr, self.lse.row_stride, (self.rows, 1), true)
    }
}

impl<T: Element> BackwardUnit<'_, T> {
    pub(crate) fn check(&self, unit: usize, d: usize) -> Result<(), Error> {
        check_extents(unit, self.rows, self.kv_rows, self.bounds)?;
        let (q, kv) = ((self.rows, d), (self.kv_rows, d));
        check_rows(format_args!("units[{unit}].q"), self.q.ptr, self.q.row_stride, q, false)?;
        check_rows(format_args!("units[{unit}].k"), self.k.ptr, self.k.row_stride, kv, false)?;
        check_rows(format_args!("units[{unit}].v"), self.v.ptr, self.v.row_stride, kv, false)?;
        check_rows(format_args!("units[{unit}].out"), self.out.ptr, self.out.row_stride, q, false)?;
        check_rows(format_args!("units[{unit}].lse"), self.lse.ptr, self.lse.row_stride, (self.rows, 1), false)?;
        check_rows(format_args!("units[{unit}].dout"), self.dout.ptr, self.dout.row_stride, q, false)?;
        check_rows(format_args!("units[{unit}].dq"), self.dq.ptr, self.dq.row_stride, q, true)?;
        check_rows(format_args!("units[{unit}].dk"), self.dk.ptr, self.dk.row_stride, kv, true)?;
        check_rows(format_args!("units[{unit}].dv"), self.dv.ptr, self.dv.row_stride, kv, true)
    }
}
