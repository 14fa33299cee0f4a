//! Sums of partial results, rounded once.
use crate::check::check_rows;
use crate::isa::{Kernel, Simd};
use crate::rows::{Rows, RowsMut};
use crate::{Element, Error, Isa, Strided, StridedMut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Columns that are summed at a time; sums stay in the first cache level.
const COLUMNS: usize = 256;

/// Extents of every operand.
#[derive(Clone, Copy, Debug)]
pub struct FoldParams {
    pub rows: usize,
    pub width: usize,
    pub isa: Isa,
}

/// target = partials[0] + partials[1] + ... in this order in float32, rounded once; zeros when there is none. Returns soon
/// after `stop` was raised.
///
/// # Safety
/// The operands cover their extents, and until the call returns nobody writes to partials nor touches the target, which
/// overlaps none of them.
pub unsafe fn fold<T: Element>(
    params: &FoldParams,
    target: StridedMut<T>,
    partials: &[Strided<f32>],
    stop: &AtomicBool,
) -> Result<(), Error> {
    let extents = (params.rows, params.width);
    check_rows(format_args!("target"), target.ptr, target.row_stride, extents, true)?;
    for (i, partial) in partials.iter().enumerate() {
        check_rows(format_args!("partials[{i}]"), partial.ptr, partial.row_stride, extents, false)?;
    }
    // SAFETY: the caller's promise.
    let partials: Vec<_> = partials.iter().map(|&rows| unsafe { Rows::new(rows, params.rows, params.width) }).collect();
    // SAFETY: the caller's promise.
    let target = unsafe { RowsMut::new(target, params.rows, params.width) };
    params.isa.run(Fold { target, partials: &partials, rows: params.rows, stop })?
}

struct Fold<'a, T> {
    target: RowsMut<'a, T>,
    partials: &'a [Rows<'a, f32>],
    rows: usize,
    stop: &'a AtomicBool,
}

impl<T: Element> Kernel for Fold<'_, T> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) -> Result<(), Error> {
        let mut sums = [0.0; COLUMNS];
        for row in 0..self.rows {
            if self.stop.load(Relaxed) {
                return Err(Error::Cancelled);
            }
            for (i, target) in self.target.row_mut(row).chunks_mut(COLUMNS).enumerate() {
                let columns = i * COLUMNS..i * COLUMNS + target.len();
                let sums = &mut sums[..target.len()];
                match self.partials {
                    [] => target.fill(T::default()),
                    [only] => round(&only.row(row)[columns], target),
                    [first, others @ ..] => {
                        sums.copy_from_slice(&first.row(row)[columns.clone()]);
                        for partial in others {
                            for (sum, value) in sums.iter_mut().zip(&partial.row(row)[columns.clone()]) {
                                *sum += value;
                            }
                        }
                        round(sums, target);
                    }
                }
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn round<T: Element>(values: &[f32], to: &mut [T]) {
    for (element, value) in to.iter_mut().zip(values) {
        *element = T::from_f32(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bf16, F16};

    /// Rows of 300 elements, 310 apart; the partials' 305.
    fn folded<T: Element>(isa: Isa, partials: &[Vec<f32>]) -> Vec<T> {
        let params = FoldParams { rows: 3, width: 300, isa };
        let mut target = vec![T::from_f32(7.0); 3 * 310];
        let partials: Vec<_> = partials.iter().map(|rows| Strided { ptr: rows.as_ptr(), row_stride: 305 }).collect();
        let to = StridedMut { ptr: target.as_mut_ptr(), row_stride: 310 };
        // SAFETY: as large as the parameters say.
        unsafe { fold(&params, to, &partials, &AtomicBool::new(false)) }.unwrap();
        target
    }

    fn check<T: Element>(count: usize) {
        let partials: Vec<Vec<f32>> =
            (0..count).map(|p| (0..3 * 305).map(|i| ((i * 7 + p * 13) as f32).sin() * 1e3).collect()).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let got = folded::<T>(isa, &partials);
            for (at, element) in got.iter().enumerate() {
                let (row, column) = (at / 310, at % 310);
                let sum = partials.iter().map(|rows| rows[row * 305 + column.min(299)]).reduce(|a, b| a + b);
                let expected = if column < 300 { sum.unwrap_or(0.0) } else { 7.0 };
                assert_eq!(
                    element.to_f32(),
                    T::from_f32(expected).to_f32(),
                    "{isa:?}, {count} partials, {row} {column}"
                );
            }
        }
    }

    #[test]
    fn sums_are_in_order_rounded_once_and_the_same_for_every_instruction_set() {
        for count in if cfg!(miri) { 2..3 } else { 0..4 } {
            check::<f32>(count);
            check::<Bf16>(count);
            check::<F16>(count);
        }
    }

    #[test]
    fn a_raised_flag_ends_it() {
        let params = FoldParams { rows: 1, width: 1, isa: Isa::detect() };
        let mut target = [0.0f32];
        let to = StridedMut { ptr: target.as_mut_ptr(), row_stride: 1 };
        // SAFETY: one element.
        assert_eq!(unsafe { fold(&params, to, &[], &AtomicBool::new(true)) }, Err(Error::Cancelled));
    }
}
