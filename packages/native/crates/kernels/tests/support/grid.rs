use ulysses_kernels::{Element, Strided, StridedMut};

/// A NaN: reading it poisons results, and writing over it shows.
fn canary<T: Element>() -> T {
    T::from_f32(f32::from_bits(0x7fe5_0000))
}

/// Rows with a stride, canaries between them. Nothing is allocated before the first and after the last.
pub struct Grid<T> {
    elements: Vec<T>,
    rows: usize,
    width: usize,
    stride: usize,
}

impl<T: Element> Grid<T> {
    pub fn new(rows: usize, width: usize, stride: usize, mut value: impl FnMut() -> T) -> Grid<T> {
        let mut elements = vec![canary(); (rows * stride).saturating_sub(stride - width)];
        for row in 0..rows {
            elements[row * stride..][..width].fill_with(&mut value);
        }
        Grid { elements, rows, width, stride }
    }

    pub fn rows(&self) -> Strided<T> {
        Strided { ptr: self.elements.as_ptr(), row_stride: self.stride }
    }

    pub fn rows_mut(&mut self) -> StridedMut<T> {
        StridedMut { ptr: self.elements.as_mut_ptr(), row_stride: self.stride }
    }

    pub fn row(&self, row: usize) -> &[T] {
        &self.elements[row * self.stride..][..self.width]
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.elements[row * self.stride..][..self.width]
    }

    pub fn values(&self) -> Vec<T> {
        (0..self.rows).flat_map(|row| self.row(row).to_vec()).collect()
    }

    pub fn to_f64(&self) -> Vec<f64> {
        self.values().into_iter().map(|x| f64::from(x.to_f32())).collect()
    }

    pub fn check_canaries(&self) {
        let canary = canary::<T>().to_f32().to_bits();
        for (i, element) in self.elements.iter().enumerate() {
            let inside = i % self.stride < self.width;
            assert!(inside || element.to_f32().to_bits() == canary, "element {i} outside the rows was written");
        }
    }
}
