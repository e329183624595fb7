//! Row-major f32 matrices inside larger memory.

use core::ops::Range;

/// A view of `rows` times `cols` numbers whose rows lie `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

/// As [`Matrix`], to write to.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `cols` numbers, one after another; what does not fill a row is left out.
    ///
    /// # Panics
    /// If `cols` is 0.
    pub fn new(data: &'a [f32], cols: usize) -> Self {
        Self { data, rows: data.len() / cols, cols, stride: cols }
    }

    /// `rows` rows of `cols` numbers, one every `stride`; they may overlap.
    ///
    /// # Panics
    /// If the data does not hold the last row.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + cols <= data.len());
        Self { data, rows, cols, stride }
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a row.
    pub fn num_cols(&self) -> usize {
        self.cols
    }

    /// From one row's begin to the next.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is none.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows);
        &self.data[i * self.stride..][..self.cols]
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn rows(&self, range: Range<usize>) -> Self {
        assert!(range.end <= self.rows);
        Self { data: self.data.get(range.start * self.stride..).unwrap_or(&[]), rows: range.len(), ..*self }
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn columns(&self, range: Range<usize>) -> Self {
        assert!(range.end <= self.cols);
        Self { data: self.data.get(range.start..).unwrap_or(&[]), cols: range.len(), ..*self }
    }
}

impl<'a> MatrixMut<'a> {
    /// As [`Matrix::new`].
    ///
    /// # Panics
    /// If `cols` is 0.
    pub fn new(data: &'a mut [f32], cols: usize) -> Self {
        Self { rows: data.len() / cols, data, cols, stride: cols }
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a row.
    pub fn num_cols(&self) -> usize {
        self.cols
    }

    /// To read.
    pub fn view(&self) -> Matrix<'_> {
        Matrix { data: self.data, rows: self.rows, cols: self.cols, stride: self.stride }
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is none.
    #[inline(always)]
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows);
        &mut self.data[i * self.stride..][..self.cols]
    }

    /// The same memory, all of it, as `rows` rows of `cols` from its begin on.
    ///
    /// # Panics
    /// If it does not hold them.
    pub fn reshaped(self, rows: usize, cols: usize) -> Self {
        assert!(rows * cols <= self.data.len());
        Self { data: self.data, rows, cols, stride: cols }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn rows_mut(&mut self, range: Range<usize>) -> MatrixMut<'_> {
        assert!(range.end <= self.rows);
        let (cols, stride) = (self.cols, self.stride);
        let data = self.data.get_mut(range.start * stride..).unwrap_or(&mut []);
        MatrixMut { data, rows: range.len(), cols, stride }
    }

    /// All rows in blocks of `count`, one after another; the last may have fewer.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn row_blocks_mut(&mut self, count: usize) -> impl Iterator<Item = MatrixMut<'_>> + Send {
        let (rows, cols, stride) = (self.rows, self.cols, self.stride);
        let blocks = self.data.chunks_mut(count * stride).zip((0..rows).step_by(count));
        blocks.map(move |(data, first)| MatrixMut { data, rows: count.min(rows - first), cols, stride })
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn columns_mut(&mut self, range: Range<usize>) -> MatrixMut<'_> {
        assert!(range.end <= self.cols);
        let (rows, stride) = (self.rows, self.stride);
        MatrixMut {
            data: self.data.get_mut(range.start..).unwrap_or(&mut []),
            rows,
            cols: range.len(),
            stride,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_parts_are_where_they_should_be() {
        let mut data: [f32; 20] = core::array::from_fn(|i| i as f32);
        let whole = Matrix::new(&data, 5);
        assert_eq!((whole.num_rows(), whole.num_cols()), (4, 5));
        let part = whole.rows(1..4).columns(2..4);
        assert_eq!(part.row(0), [7.0, 8.0]);
        assert_eq!(part.row(2), [17.0, 18.0]);
        assert_eq!(Matrix::strided(&data, 3, 4, 2).row(2), [4.0, 5.0, 6.0, 7.0]);
        let mut whole = MatrixMut::new(&mut data, 5);
        whole.rows_mut(3..4).columns_mut(4..5).row_mut(0)[0] = -1.0;
        assert_eq!(data[19], -1.0);
    }

    #[test]
    fn blocks_hold_each_row_once() {
        for (rows, count, expected) in [(4, 2, 2), (4, 3, 2), (4, 4, 1), (4, 9, 1), (1, 1, 1), (0, 3, 0)] {
            // The last row ends before the memory of a whole one does, and what follows is none of the matrix's.
            let mut data = [0.0; 5 * 6];
            let mut whole = MatrixMut::new(&mut data, 6);
            let mut part = whole.rows_mut(0..rows);
            let mut part = part.columns_mut(1..3);
            let mut first = 0;
            for mut block in part.row_blocks_mut(count) {
                assert_eq!((block.num_rows(), block.num_cols()), (count.min(rows - first), 2));
                (0..block.num_rows()).for_each(|i| block.row_mut(i).fill((1 + first + i) as f32));
                first += block.num_rows();
            }
            assert_eq!((first, rows.div_ceil(count)), (rows, expected));
            for (i, row) in data.chunks_exact(6).enumerate() {
                let own = if i < rows { (1 + i) as f32 } else { 0.0 };
                assert_eq!(row, [0.0, own, own, 0.0, 0.0, 0.0], "{rows} {count}");
            }
        }
    }
}
