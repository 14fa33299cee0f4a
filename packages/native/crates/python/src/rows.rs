//! Rows in memory of Python objects, lent to the plane.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use ulysses_dataplane::{Region, SegmentPlace};

use crate::failure::shape;

/// Buffers that the plane has let go of: they are released by whoever has the interpreter next (P1, P2).
#[derive(Default)]
pub struct Returned(Mutex<Vec<PyUntypedBuffer>>);

impl Returned {
    pub fn release(&self, py: Python<'_>) {
        let buffers = std::mem::take(&mut *self.lock());
        buffers.into_iter().for_each(|buffer| buffer.release(py));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PyUntypedBuffer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by a region.
struct Lent {
    /// None once it is dropped.
    buffer: Option<PyUntypedBuffer>,
    returned: Arc<Returned>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.returned.lock().extend(self.buffer.take());
    }
}

/// A segment's rows: a buffer of bytes [rows, row_bytes], each row contiguous.
pub fn place(rows: &Bound<'_, PyAny>, writable: bool, returned: &Arc<Returned>) -> PyResult<SegmentPlace> {
    let buffer = PyUntypedBuffer::get(rows)?;
    let (&[count, row_bytes], &[stride, within]) = (buffer.shape(), buffer.strides()) else {
        return Err(shape("rows.ndim", buffer.dimensions(), "2: [rows, row_bytes]"));
    };
    if buffer.item_size() != 1 || buffer.suboffsets().is_some() {
        return Err(shape("rows.itemsize", buffer.item_size(), "1, in one piece of memory"));
    }
    if row_bytes > 1 && within != 1 {
        return Err(shape("rows.strides[1]", within, "1"));
    }
    let row_stride = if count <= 1 { row_bytes } else { usize::try_from(stride).unwrap_or(0) };
    if row_stride < row_bytes {
        return Err(shape("rows.strides[0]", stride, "at least a row"));
    }
    if writable && buffer.readonly() {
        return Err(shape("rows.readonly", true, "false: rows are received there"));
    }
    let empty = count == 0 || row_bytes == 0;
    let len = if empty { 0 } else { (count - 1) * row_stride + row_bytes };
    let start = NonNull::new(buffer.buf_ptr().cast::<c_void>()).unwrap_or(NonNull::dangling());
    let lent = Lent { buffer: Some(buffer), returned: returned.clone() };
    // SAFETY: an exported buffer stays in place until it is released (P2), and its exporter says that these bytes are its
    // own: the rows lie in `[start, start + len)`, strides being positive. Only they are read and written, never the gaps
    // between them, and only writable ones are registered as receives. That nobody else writes rows that are sent, or
    // reads rows that are to be received, before their step says so is for the caller to keep, as it is in Python
    // whenever a call works on an array without the interpreter; the bytes are plain, so that what breaks is their values.
    let region = unsafe { Region::lend(start.cast(), len, Box::new(lent)) };
    Ok(SegmentPlace {
        region,
        offset_bytes: 0,
        rows: count,
        row_bytes,
        row_stride_bytes: row_stride,
        granule: 0,
        granule_ends: vec![],
    })
}
