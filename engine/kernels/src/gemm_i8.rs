//! The int8 product: weights quantised per output channel, activations per row while they are computed.
//!
//! ```text
//! scale[i] = max |x[i]| / 127;  q[i][l] = round(x[i][l] / scale[i])            -127..=127, ties to even
//! y[i][j]  = bias[j] + (scale[i] * weight_scale[j]) * sum over l of q[i][l] * w[j][l]      the sum exact, i32
//! ```

use crate::lanes::max_abs;
use crate::math::round;
use crate::matrix::{Matrix, MatrixMut};

/// Weights `[outputs, inputs]`, row-major, with one scale per output.
#[derive(Clone, Copy, Debug)]
pub struct Int8Weights<'a> {
    data: &'a [i8],
    scales: &'a [f32],
    inputs: usize,
}

impl<'a> Int8Weights<'a> {
    /// `data` `[outputs, inputs]`, `scales` `[outputs]`.
    ///
    /// # Panics
    /// If the sizes do not fit together, or a sum could overflow: more than 2^17 - 1 inputs.
    pub fn new(data: &'a [i8], scales: &'a [f32], inputs: usize) -> Self {
        assert!(inputs < 1 << 17 && data.len() == scales.len() * inputs);
        Self { data, scales, inputs }
    }

    /// How many numbers a row of activations holds.
    pub fn num_inputs(&self) -> usize {
        self.inputs
    }

    /// How many numbers come out.
    pub fn num_outputs(&self) -> usize {
        self.scales.len()
    }

    /// Some of the outputs.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn outputs(&self, range: core::ops::Range<usize>) -> Self {
        let data = &self.data[range.start * self.inputs..range.end * self.inputs];
        Self { data, scales: &self.scales[range], inputs: self.inputs }
    }

    /// All of them, row by row.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    pub(crate) fn data(&self) -> &'a [i8] {
        self.data
    }

    /// One per output.
    pub(crate) fn scales(&self) -> &'a [f32] {
        self.scales
    }

    #[inline(always)]
    pub(crate) fn row(&self, j: usize) -> &'a [i8] {
        &self.data[j * self.inputs..][..self.inputs]
    }
}

/// Quantises a row; gives its scale, 0 for a row that is (nearly) all zero.
///
/// The numbers are int8; they are stored in 16 bits, which the product would widen them to.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn quantise(x: &[f32], q: &mut [i16]) -> f32 {
    assert_eq!(x.len(), q.len());
    let (scale, factor) = quantisation(x);
    q.iter_mut().zip(x).for_each(|(q, x)| *q = round(x * factor) as i16);
    scale
}

/// A row's scale, and the factor that makes it whole numbers; both 0 for a row that is (nearly) all zero.
#[inline(always)]
pub(crate) fn quantisation(x: &[f32]) -> (f32, f32) {
    let largest = max_abs(x);
    if largest < SMALLEST { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) }
}

/// `c[i] = w x[i] + bias` for rows `x` `[m, inputs]`, each quantised on the way; `scratch` holds a row of them at least.
///
/// # Panics
/// If the sizes do not fit together.
pub fn linear(
    x: Matrix<'_>,
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
    scratch: &mut [i16],
) {
    linear_with(x, c, scratch, quantise, |x, c| gemm(x, w, bias, c));
}

/// [`linear`] with other parts: as many rows at a time as `scratch` and [`MAX_ROWS`] allow.
#[inline(always)]
pub(crate) fn linear_with(
    x: Matrix<'_>,
    c: &mut MatrixMut<'_>,
    scratch: &mut [i16],
    quantise: impl Fn(&[f32], &mut [i16]) -> f32,
    product: impl Fn(QuantisedRows<'_>, &mut MatrixMut<'_>),
) {
    let inputs = x.num_cols();
    let tile_rows = (scratch.len() / inputs.max(1)).min(MAX_ROWS);
    assert!(tile_rows > 0 && c.num_rows() == x.num_rows());
    let mut scales = [0.0; MAX_ROWS];
    for first in (0..x.num_rows()).step_by(tile_rows) {
        let rows = first..(first + tile_rows).min(x.num_rows());
        for (i, scale) in rows.clone().zip(&mut scales) {
            *scale = quantise(x.row(i), &mut scratch[(i - first) * inputs..][..inputs]);
        }
        let tile = QuantisedRows { data: scratch, stride: inputs, scales: &scales[..rows.len()] };
        product(tile, &mut c.rows_mut(rows));
    }
}

/// Quantised rows: row `i` is the `inputs` numbers from `i * stride`, times `scales[i]`. Rows may overlap.
#[derive(Clone, Copy, Debug)]
pub struct QuantisedRows<'a> {
    /// The numbers, -127 to 127.
    pub data: &'a [i16],
    /// From one row's begin to the next.
    pub stride: usize,
    /// One per row.
    pub scales: &'a [f32],
}

/// `c[i][j] = bias[j] + x.scales[i] * w.scales[j] * sum`; `c` `[rows, outputs]`, overwritten.
///
/// Changed for speed: two weight rows at a time are widened to 16 bits, once for up to [`MAX_ROWS`] rows.
///
/// # Panics
/// If the sizes do not fit together.
#[inline(always)]
pub fn gemm(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (m, n) = (x.scales.len(), w.num_outputs());
    assert!(c.num_rows() == m && c.num_cols() == n && bias.is_none_or(|bias| bias.len() == n));
    // Once, since clearing them for every pair would take longer than a short sum.
    let (mut wide, mut sums) = ([[0; DEPTH]; 2], [[0; 2]; MAX_ROWS]);
    for first in (0..m).step_by(MAX_ROWS) {
        let count = MAX_ROWS.min(m - first);
        for j in (0..n).step_by(2) {
            // An odd count ends with a row taken twice.
            let pair = [j, (j + 1).min(n - 1)];
            sum_pair(x, first, pair.map(|j| w.row(j)), &mut wide, &mut sums[..count]);
            for (i, sums) in (first..).zip(&sums[..count]) {
                let row = c.row_mut(i);
                for (&j, &sum) in pair.iter().zip(sums) {
                    let start = bias.map_or(0.0, |bias| bias[j]);
                    row[j] = start + sum as f32 * (x.scales[i] * w.scales()[j]);
                }
            }
        }
    }
}

/// The `sums` of the rows from `first` on with two weight rows; `wide` is for these in 16 bits.
#[inline(always)]
fn sum_pair(
    x: QuantisedRows<'_>,
    first: usize,
    w: [&[i8]; 2],
    wide: &mut [[i16; DEPTH]; 2],
    sums: &mut [[i32; 2]],
) {
    sums.fill([0; 2]);
    let inputs = w[0].len();
    for begin in (0..inputs).step_by(DEPTH) {
        let depth = DEPTH.min(inputs - begin);
        for (wide, w) in wide.iter_mut().zip(w) {
            wide.iter_mut().zip(&w[begin..begin + depth]).for_each(|(wide, w)| *wide = i16::from(*w));
        }
        let [u, v] = &*wide;
        for (i, sums) in (first..).zip(&mut *sums) {
            let row = &x.data[i * x.stride + begin..][..depth];
            let [s, t] = dots(row, &u[..depth], &v[..depth]);
            sums[0] += s;
            sums[1] += t;
        }
    }
}

#[inline(always)]
fn dots(x: &[i16], u: &[i16], v: &[i16]) -> [i32; 2] {
    let n = x.len();
    let (u, v) = (&u[..n], &v[..n]);
    let (mut s, mut t) = (0, 0);
    for l in 0..n {
        s += i32::from(x[l]) * i32::from(u[l]);
        t += i32::from(x[l]) * i32::from(v[l]);
    }
    [s, t]
}

/// Rows that share one widening of the weights.
pub const MAX_ROWS: usize = 64;

/// Inputs widened at a time.
const DEPTH: usize = 512;

/// Below this a row counts as zero: 127 divided by it is still finite.
const SMALLEST: f32 = 1e-30;

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn numbers(n: usize, seed: usize) -> Vec<i8> {
        (0..n).map(|i| (((i * 7919 + seed * 104_729) % 1009) % 256) as u8 as i8).collect()
    }

    #[test]
    fn sums_are_exact_at_all_tails_and_extremes() {
        let sizes = [(1, 1, 1), (3, 17, 5), (70, 33, 2), (2, 1100, 3), (5, 512, 4)];
        for (m, k, n) in sizes {
            for extreme in [false, true] {
                let w: Vec<i8> = if extreme { vec![-128; n * k] } else { numbers(n * k, 1) };
                let q: Vec<i16> = numbers(m * k, 2).iter().map(|v| i16::from((*v).max(-127))).collect();
                let q = if extreme { vec![127; m * k] } else { q };
                let ones = vec![1.0; n];
                let weights = Int8Weights::new(&w, &ones, k);
                let scales = vec![1.0; m];
                let mut c = vec![f32::NAN; m * n];
                let rows = QuantisedRows { data: &q, stride: k, scales: &scales };
                gemm(rows, weights, None, &mut MatrixMut::new(&mut c, n));
                for (i, c) in c.iter().enumerate() {
                    let (x, w) = (&q[i / n * k..][..k], &w[i % n * k..][..k]);
                    let sum: i64 = x.iter().zip(w).map(|(x, w)| i64::from(*x) * i64::from(*w)).sum();
                    assert_eq!(*c, sum as f32, "{m} {k} {n}");
                }
            }
        }
    }

    #[test]
    fn quantised_rows_are_within_half_a_step() {
        let x: Vec<f32> = (0..100).map(|i| ((i * 37) % 41) as f32 / 7.0 - 3.0).collect();
        let mut q = vec![0; 100];
        let scale = quantise(&x, &mut q);
        assert_eq!(q.iter().map(|q| q.abs()).max(), Some(127));
        for (x, q) in x.iter().zip(&q) {
            assert!((x - f32::from(*q) * scale).abs() <= 0.5001 * scale);
        }
        assert_eq!(quantise(&[0.0, -1e-38], &mut q[..2]), 0.0);
        assert_eq!(q[..2], [0, 0]);
        assert!(quantise(&[f32::MAX, f32::MIN], &mut q[..2]).is_finite());
        assert_eq!(q[..2], [127, -127]);
    }

    #[test]
    fn scales_and_bias_are_applied() {
        let weights = Int8Weights::new(&[2, -3], &[0.5], 2);
        let (data, scales) = ([10, 1, -4, 100], [0.25, 2.0]);
        let mut c = [f32::NAN; 2];
        gemm(
            QuantisedRows { data: &data, stride: 2, scales: &scales },
            weights,
            Some(&[7.0]),
            &mut MatrixMut::new(&mut c, 1),
        );
        assert_eq!(c, [7.0 + 17.0 * 0.125, 7.0 - 308.0]);
    }
}
