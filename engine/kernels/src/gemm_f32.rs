//! The f32 product.

use crate::matrix::{Matrix, MatrixMut};

/// `c = a b + bias`: `a` `[m, k]`, `b` `[k, n]`, `bias` `[n]` or none (0), `c` `[m, n]`, overwritten.
///
/// ```text
/// for i, j:  sum = bias[j];  for l in 0..k:  sum += a[i][l] * b[l][j];  c[i][j] = sum
/// ```
/// For speed tiles of four rows times eight columns are summed at a time (more columns where registers are wider); the
/// order of each sum stays the one above.
///
/// # Panics
/// If the sizes do not fit together.
pub fn gemm(a: Matrix<'_>, b: Matrix<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    gemm_tiled::<8>(a, b, bias, c);
}

/// # Panics
/// If the sizes do not fit together.
#[inline(always)]
pub(crate) fn check_sizes(a: Matrix<'_>, b: Matrix<'_>, bias: Option<&[f32]>, c: &MatrixMut<'_>) {
    let n = b.num_cols();
    assert!(a.num_cols() == b.num_rows() && c.num_rows() == a.num_rows() && c.num_cols() == n);
    assert!(bias.is_none_or(|bias| bias.len() == n));
}

/// [`gemm`] with tiles of at most `WIDEST` columns: 8 or 16.
#[inline(always)]
pub(crate) fn gemm_tiled<const WIDEST: usize>(
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
) {
    check_sizes(a, b, bias, c);
    let mut j = 0;
    if WIDEST >= 16 {
        columns::<16>(a, b, bias, c, &mut j);
    }
    columns::<8>(a, b, bias, c, &mut j);
    columns::<1>(a, b, bias, c, &mut j);
}

/// Columns from `j` on, as long as there are `N`.
#[inline(always)]
fn columns<const N: usize>(
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
    j: &mut usize,
) {
    let m = a.num_rows();
    while *j + N <= b.num_cols() {
        let mut start = [0.0; N];
        if let Some(bias) = bias {
            start.copy_from_slice(&bias[*j..*j + N]);
        }
        let mut i = 0;
        while i + 4 <= m {
            tile::<4, N>(a, b, &start, c, [i, *j]);
            i += 4;
        }
        while i < m {
            tile::<1, N>(a, b, &start, c, [i, *j]);
            i += 1;
        }
        *j += N;
    }
}

/// Rows `i..i + M` times columns `j..j + N`.
#[inline(always)]
fn tile<const M: usize, const N: usize>(
    a: Matrix<'_>,
    b: Matrix<'_>,
    start: &[f32; N],
    c: &mut MatrixMut<'_>,
    [i, j]: [usize; 2],
) {
    let k = a.num_cols();
    let mut rows: [&[f32]; M] = [&[]; M];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &a.row(i + r)[..k];
    }
    let mut sums = [*start; M];
    for l in 0..k {
        let b = &b.row(l)[j..j + N];
        for (sums, a) in sums.iter_mut().zip(rows) {
            sums.iter_mut().zip(b).for_each(|(sum, b)| *sum += a[l] * b);
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        c.row_mut(i + r)[j..j + N].copy_from_slice(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn equals_the_plain_loops_bit_for_bit_at_all_tails() {
        for (m, k, n) in
            [(1, 1, 1), (3, 5, 7), (4, 8, 8), (5, 3, 17), (9, 31, 16), (16, 2, 23), (0, 3, 4), (2, 0, 9)]
        {
            let (a, b, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
            let mut c = vec![f32::NAN; m * n];
            let a_view = Matrix::strided(&a, m, k, k);
            gemm(a_view, Matrix::strided(&b, k, n, n), Some(&bias), &mut MatrixMut::new(&mut c, n));
            for i in 0..m {
                for j in 0..n {
                    let sum = (0..k).fold(bias[j], |sum, l| sum + a[i * k + l] * b[l * n + j]);
                    assert_eq!(c[i * n + j], sum, "{m} {k} {n}: {i} {j}");
                }
            }
        }
    }
}
