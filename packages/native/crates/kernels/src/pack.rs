//! Operands as the micro-kernel reads them: float32, in panels, padded with zeros.
use crate::Element;
use crate::attention::MAX_HEAD_SIZE;
use crate::rows::Rows;

/// Longest row that the functions here take.
pub(crate) const MAX_WIDTH: usize = MAX_HEAD_SIZE;

/// `[rows][d] -> [rows / width][extent][width]`, times `factor`; lanes beyond the last row are zero, steps beyond d are
/// left alone. True if every element is finite.
#[inline(always)]
pub(crate) fn rows_to_panels<T: Element>(
    rows: Rows<T>,
    width: usize,
    extent: usize,
    factor: f32,
    panels: &mut [f32],
) -> bool {
    let mut buffer = [0.0; MAX_WIDTH];
    let mut finite = true;
    for row in 0..rows.len() {
        let from = rows.row(row);
        let d = from.len();
        finite &= convert(from, &mut buffer[..d]);
        let panel = &mut panels[row / width * width * extent..][..width * d];
        for (step, value) in panel.chunks_exact_mut(width).zip(&buffer) {
            step[row % width] = value * factor;
        }
        if row + 1 == rows.len() {
            for step in panel.chunks_exact_mut(width) {
                step[row % width + 1..].fill(0.0);
            }
        }
    }
    finite
}

/// `[rows][d] -> [d / width][extent][width]`; columns beyond d are zero, steps beyond the rows are left alone.
/// Returns how many rows come before the first that is not all finite.
#[inline(always)]
pub(crate) fn columns_to_panels<T: Element>(rows: Rows<T>, width: usize, extent: usize, panels: &mut [f32]) -> usize {
    let mut buffer = [0.0; 2 * MAX_WIDTH];
    let mut finite = rows.len();
    for row in 0..rows.len() {
        let from = rows.row(row);
        if !convert(from, &mut buffer[..from.len()]) {
            finite = finite.min(row);
        }
        let groups = buffer.chunks_exact(width).take(from.len().div_ceil(width));
        for (group, columns) in groups.enumerate() {
            panels[(group * extent + row) * width..][..width].copy_from_slice(columns);
        }
    }
    finite
}

/// `[rows][d] -> [rows][stride]`; columns beyond d are zero. True if every element is finite.
#[inline(always)]
pub(crate) fn copy_rows<T: Element>(rows: Rows<T>, stride: usize, to: &mut [f32]) -> bool {
    let mut finite = true;
    for row in 0..rows.len() {
        let from = rows.row(row);
        let (values, padding) = to[row * stride..][..stride].split_at_mut(from.len());
        finite &= convert(from, values);
        padding.fill(0.0);
    }
    finite
}

/// True if every element is finite.
#[inline(always)]
pub(crate) fn convert<T: Element>(from: &[T], to: &mut [f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    let mut special = false;
    for (to, from) in to.iter_mut().zip(from) {
        let value = from.to_f32();
        special |= value.to_bits() & EXPONENT == EXPONENT;
        *to = value;
    }
    !special
}

/// Rounds a lane of a transposed tile, `[d][width]` times `factor`, into a row.
#[inline(always)]
pub(crate) fn lane_to_row<T: Element>(tile: &[f32], width: usize, lane: usize, factor: f32, row: &mut [T]) {
    for (steps, to) in tile.chunks_exact(width).zip(row) {
        *to = T::from_f32(steps[lane] * factor);
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "makes rows of arrays")]
mod tests {
    use super::*;
    use crate::Strided;
    use crate::micro::ROWS;

    fn rows(values: &[f32], rows: usize, stride: usize, d: usize) -> Rows<'_, f32> {
        let from = Strided { ptr: values.as_ptr(), row_stride: stride };
        assert!(values.len() >= (rows - 1) * stride + d);
        // SAFETY: just checked.
        unsafe { Rows::new(from, rows, d) }
    }

    #[test]
    fn rows_become_lanes_and_missing_lanes_are_zero() {
        let values: Vec<f32> = (0..15).map(|i| i as f32).collect();
        let mut panels = [f32::NAN; 16];
        assert!(rows_to_panels(rows(&values, 3, 6, 3), 2, 3, 10.0, &mut panels));
        let expected = [0.0, 60.0, 10.0, 70.0, 20.0, 80.0, 120.0, 0.0, 130.0, 0.0, 140.0, 0.0];
        assert_eq!(panels[..12], expected);
        assert!(panels[12..].iter().all(|x| x.is_nan()));
    }

    #[test]
    fn columns_become_lanes_and_missing_columns_are_zero() {
        let values: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let mut panels = [f32::NAN; 36];
        assert_eq!(columns_to_panels(rows(&values, 2, 8, 8), ROWS, 3, &mut panels), 2);
        assert_eq!(panels[..12], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0]);
        assert_eq!(panels[18..30], [6.0, 7.0, 0.0, 0.0, 0.0, 0.0, 14.0, 15.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn an_element_that_is_not_finite_is_reported() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let values = [1.0, value, f32::MAX];
            assert!(!copy_rows(rows(&values, 1, 3, 3), 3, &mut [0.0; 3]));
            assert!(copy_rows(rows(&values, 1, 3, 1), 3, &mut [0.0; 3]));
            assert_eq!(columns_to_panels(rows(&values, 3, 1, 1), ROWS, 3, &mut [0.0; 3 * ROWS]), 1);
        }
    }
}
