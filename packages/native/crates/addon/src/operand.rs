//! Operands of a kernel call: where their rows lie, checked against their regions and against each other.

use std::fmt::Display;

use napi_derive::napi;
use ulysses_dataplane::Region;
use ulysses_kernels::{Strided, StridedMut};

use crate::checked::extent;
use crate::failure::{Failure, Result};
use crate::region::Lent;

/// `Rows` of `src/types.ts`.
#[napi(object, object_to_js = false)]
pub struct Rows {
    pub region: Lent,
    pub offset_bytes: f64,
    pub row_stride: f64,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Access {
    Read,
    Write,
    /// Adds to what is there. Operands of the same number may name the same rows: the kernel adds to them in turn.
    Accumulate(u8),
}

/// Extents of one operand: `rows` rows of `width` elements.
#[derive(Clone, Copy)]
pub struct Shape {
    pub rows: usize,
    pub width: usize,
}

/// All operands of one call. Owns the regions, so that addresses stay valid (A2).
#[derive(Default)]
pub struct Operands {
    spans: Vec<Span>,
}

/// Rows of one operand, as bytes of the address space.
struct Span {
    region: Region,
    field: String,
    access: Access,
    start: usize,
    end: usize,
    stride: usize,
    row_bytes: usize,
}

impl Operands {
    pub fn read<T>(&mut self, field: impl Display, rows: Rows, shape: Shape) -> Result<Strided<T>> {
        let (ptr, row_stride) = self.place::<T>(field, rows, shape, Access::Read)?;
        Ok(Strided { ptr, row_stride })
    }

    pub fn write<T>(&mut self, field: impl Display, rows: Rows, shape: Shape, access: Access) -> Result<StridedMut<T>> {
        let (ptr, row_stride) = self.place::<T>(field, rows, shape, access)?;
        Ok(StridedMut { ptr, row_stride })
    }

    fn place<T>(&mut self, field: impl Display, rows: Rows, shape: Shape, access: Access) -> Result<(*mut T, usize)> {
        let Rows { region: Lent(region), offset_bytes, row_stride } = rows;
        let region = region.ok_or_else(|| Failure::shape(format_args!("{field}.region"), "freed", "a live region"))?;
        let offset = extent(format_args!("{field}.offsetBytes"), offset_bytes)?;
        let row_stride = extent(format_args!("{field}.rowStride"), row_stride)?;
        let element = size_of::<T>();
        if !offset.is_multiple_of(element) {
            let expected = format!("a multiple of the element size {element}");
            return Err(Failure::shape(format_args!("{field}.offsetBytes"), offset, expected));
        }
        if access != Access::Read && shape.rows > 1 && row_stride < shape.width {
            let expected = format!("at least the {} elements of a row that is written", shape.width);
            return Err(Failure::shape(format_args!("{field}.rowStride"), row_stride, expected));
        }
        let is_empty = shape.rows == 0 || shape.width == 0;
        let len = if is_empty {
            Some(0)
        } else {
            (shape.rows - 1)
                .checked_mul(row_stride)
                .and_then(|n| n.checked_add(shape.width))
                .and_then(|n| n.checked_mul(element))
        };
        let Some(len) = len.filter(|&len| region.contains(offset, len)) else {
            return Err(outside(field, offset, row_stride, shape, region.len()));
        };
        let start = region.as_ptr() as usize + offset;
        // `contains` put the offset inside, and the region is aligned to more than any element.
        let address = region.as_ptr().wrapping_add(offset).cast::<T>();
        if !is_empty {
            self.spans.push(Span {
                region,
                field: field.to_string(),
                access,
                start,
                end: start + len,
                stride: row_stride.saturating_mul(element),
                row_bytes: shape.width * element,
            });
        }
        Ok((address, row_stride))
    }

    /// Refuses operands that are written and overlap another one. Call it once, after the last operand.
    pub fn check_overlaps(mut self) -> Result<Lease> {
        self.spans.sort_unstable_by_key(|span| span.start);
        let mut open: Vec<&Span> = Vec::new();
        for span in &self.spans {
            open.retain(|earlier| earlier.end > span.start);
            if let Some(earlier) = open.iter().find(|earlier| earlier.conflicts(span)) {
                let (written, other) = if span.access == Access::Read { (*earlier, span) } else { (span, *earlier) };
                let expected = format!("memory apart from {}", other.field);
                return Err(Failure::shape(&written.field, "memory of another operand", expected));
            }
            open.push(span);
        }
        Ok(Lease { _regions: self.spans.into_iter().map(|span| span.region).collect() })
    }
}

/// Keeps the memory of checked operands alive.
pub struct Lease {
    _regions: Vec<Region>,
}

impl Span {
    /// Whether `self` and `next`, which starts at or after it and before its end, must not be used in one call.
    fn conflicts(&self, next: &Span) -> bool {
        if self.access == Access::Read && next.access == Access::Read {
            return false;
        }
        if self.stride != next.stride {
            return true;
        }
        // Columns of one matrix, such as the heads of a token, interleave without touching.
        let shift = (next.start - self.start) % self.stride.max(1);
        let same_rows = shift == 0 && self.access == next.access && matches!(self.access, Access::Accumulate(_));
        let apart = self.row_bytes <= shift && shift + next.row_bytes <= self.stride;
        !(same_rows || apart)
    }
}

fn outside(field: impl Display, offset: usize, row_stride: usize, shape: Shape, region_bytes: usize) -> Failure {
    let Shape { rows, width } = shape;
    let value = format!("{rows} rows of {width} elements, stride {row_stride}, at byte {offset}");
    Failure::shape(field, value, format!("to end within the region's {region_bytes} bytes"))
}
