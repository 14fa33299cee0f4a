//! Checks at the border that attention and the matrix product share.
use crate::Error;
use std::fmt::Arguments;

pub(crate) fn check_threads(threads: usize) -> Result<(), Error> {
    match threads {
        0 => Err(Error::Shape("threads is 0, expected at least 1".into())),
        _ => Ok(()),
    }
}

/// Refuses an address or a stride that cannot be right for `rows` rows of `width` elements, naming the field.
pub(crate) fn check_rows<T>(
    field: Arguments,
    ptr: *const T,
    row_stride: usize,
    (rows, width): (usize, usize),
    disjoint: bool,
) -> Result<(), Error> {
    if rows == 0 || width == 0 {
        return Ok(());
    }
    if ptr.is_null() || !ptr.is_aligned() {
        let alignment = align_of::<T>();
        return Err(Error::Shape(format!("{field} is at {ptr:p}, expected an address aligned to {alignment} bytes")));
    }
    let elements = (rows - 1).checked_mul(row_stride).and_then(|n| n.checked_add(width));
    if elements.is_none_or(|n| n > isize::MAX as usize / size_of::<T>()) {
        return Err(Error::Shape(format!(
            "{field}.row_stride is {row_stride}, with which {rows} rows exceed the address space"
        )));
    }
    if disjoint && rows > 1 && row_stride < width {
        return Err(Error::Shape(format!("{field}.row_stride is {row_stride}, expected at least {width}")));
    }
    Ok(())
}
