//! The int8 product with AVX2: as `vnni.rs`, but two inputs per instruction, in 16 bits (`vpmaddwd`, exact here).
//!
//! ```text
//! for 8 T rows of x:   panel[g][t] = inputs 2g, 2g+1 of 8 rows, a row per lane
//!   for 4 outputs j:   pairs[j][g] = w[j][2g..2g+2], widened
//!                      sum[j][t] += dot2(panel[g][t], pairs[j][g] in all lanes)       over all g
//! ```

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::lanes8::{load_f32, load_i8, load_i16, reduce, store_f32, to_array, transpose};
use crate::gemm_i8::{Int8Weights, QuantisedRows};
use crate::matrix::MatrixMut;
use crate::parts::{tail, written};

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm).
#[target_feature(enable = "avx2")]
pub(super) fn gemm(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (m, n, groups) = (x.scales.len(), w.num_outputs(), w.num_inputs().div_ceil(2));
    assert!(c.num_rows() == m && c.num_cols() == n && bias.is_none_or(|bias| bias.len() == n));
    if groups > MAX_GROUPS {
        return crate::gemm_i8::gemm(x, w, bias, c);
    }
    if m < MIN_ROWS {
        return few_rows(x, w, bias, c);
    }
    let mut panel = [const { MaybeUninit::uninit() }; MAX_GROUPS];
    let mut pairs = [const { MaybeUninit::uninit() }; NB * MAX_GROUPS / 8];
    let max_tiles = (MAX_GROUPS / groups.max(1)).min(2);
    for first in (0..m).step_by(8 * max_tiles) {
        let product = Product { x, first, w, bias };
        match (m - first).div_ceil(8).min(max_tiles) {
            1 => product.rows::<1>(&mut panel, &mut pairs, c),
            _ => product.rows::<2>(&mut panel, &mut pairs, c),
        }
    }
}

/// The rows from `first` on.
struct Product<'a> {
    x: QuantisedRows<'a>,
    first: usize,
    w: Int8Weights<'a>,
    bias: Option<&'a [f32]>,
}

impl Product<'_> {
    /// The next `8 T` rows.
    #[target_feature(enable = "avx2")]
    fn rows<const T: usize>(
        &self,
        panel: &mut [MaybeUninit<__m256i>; MAX_GROUPS],
        pairs: &mut [MaybeUninit<[i32; 8]>; NB * MAX_GROUPS / 8],
        c: &mut MatrixMut<'_>,
    ) {
        let (w, n) = (self.w, self.w.num_outputs());
        let panel = self.pack::<T>(panel);
        let scales = &self.x.scales[self.first..];
        for begin in (0..n).step_by(8) {
            let count = (n - begin).min(8);
            let mut columns = [[_mm256_setzero_si256(); 8]; T];
            for j in (0..count).step_by(NB) {
                let sums = dots(panel, self.widen(begin + j, pairs));
                for (i, sums) in sums.iter().enumerate() {
                    let output = (begin + j + i).min(n - 1);
                    let start = _mm256_set1_ps(self.bias.map_or(0.0, |bias| bias[output]));
                    let weight_scale = _mm256_set1_ps(w.scales()[output]);
                    for t in 0..T {
                        let scale = _mm256_mul_ps(load_f32(tail(scales, 8 * t)), weight_scale);
                        let value = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[t]), scale);
                        columns[t][j + i] = _mm256_castps_si256(_mm256_add_ps(start, value));
                    }
                }
            }
            for (t, columns) in columns.iter().enumerate() {
                let rows = transpose(columns);
                for (i, row) in rows.iter().enumerate().take(tail(scales, 8 * t).len()) {
                    let place = &mut c.row_mut(self.first + 8 * t + i)[begin..begin + count];
                    store_f32(place, _mm256_castsi256_ps(*row));
                }
            }
        }
    }

    /// The rows' inputs, as the algorithm above wants them; rows and inputs that are not there are 0.
    #[target_feature(enable = "avx2")]
    fn pack<'p, const T: usize>(
        &self,
        panel: &'p mut [MaybeUninit<__m256i>; MAX_GROUPS],
    ) -> &'p [[__m256i; T]] {
        let (x, inputs) = (self.x, self.w.num_inputs());
        let panel = &mut panel[..inputs.div_ceil(2) * T];
        for t in 0..T {
            for begin in (0..inputs).step_by(16) {
                let depth = (inputs - begin).min(16);
                let mut rows = [_mm256_setzero_si256(); 8];
                for (row, i) in rows.iter_mut().zip(self.first + 8 * t..x.scales.len()) {
                    *row = load_i16(&x.data[i * x.stride + begin..][..depth]);
                }
                let place = panel[begin / 2 * T..].iter_mut().skip(t).step_by(T);
                for (place, group) in place.zip(transpose(&rows)) {
                    place.write(group);
                }
            }
        }
        // SAFETY: for each t the blocks of 16 inputs, 8 groups, wrote every group's entry g * T + t.
        let panel = unsafe { written(panel) };
        panel.as_chunks().0
    }

    /// The weights of the outputs from `j` on (the last again, where there are no more), in 16 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn widen<'p>(
        &self,
        j: usize,
        pairs: &'p mut [MaybeUninit<[i32; 8]>; NB * MAX_GROUPS / 8],
    ) -> [&'p [i32]; NB] {
        let blocks = self.w.num_inputs().div_ceil(16);
        let pairs = &mut pairs[..NB * blocks];
        for i in 0..NB {
            let row = self.w.row((j + i).min(self.w.num_outputs() - 1));
            for (place, part) in pairs[i * blocks..].iter_mut().zip(row.chunks(16)) {
                place.write(to_array(_mm256_cvtepi8_epi16(load_i8(part))));
            }
        }
        // SAFETY: each of the NB rows has as many parts of 16 inputs as blocks, and wrote all of them.
        let pairs = unsafe { written(pairs) };
        let mut rows: [&[i32]; NB] = [&[]; NB];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = pairs[i * blocks..(i + 1) * blocks].as_flattened();
        }
        rows
    }
}

/// The sums of `NB` outputs and all rows.
#[inline]
#[target_feature(enable = "avx2")]
fn dots<const T: usize>(panel: &[[__m256i; T]], mut pairs: [&[i32]; NB]) -> [[__m256i; T]; NB] {
    let mut sums = [[_mm256_setzero_si256(); T]; NB];
    for pairs in &mut pairs {
        *pairs = &pairs[..panel.len()];
    }
    for (g, group) in panel.iter().enumerate() {
        for (sums, pairs) in sums.iter_mut().zip(pairs) {
            let pair = _mm256_set1_epi32(pairs[g]);
            for (sum, rows) in sums.iter_mut().zip(group) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*rows, pair));
            }
        }
    }
    sums
}

/// Where there are too few rows to fill registers: inputs lie in the lanes.
#[target_feature(enable = "avx2")]
fn few_rows(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (n, inputs) = (w.num_outputs(), w.num_inputs());
    for (i, scale) in x.scales.iter().enumerate() {
        let q = &x.data[i * x.stride..][..inputs];
        for begin in (0..n).step_by(8) {
            let end = (begin + 8).min(n);
            let mut lanes = [_mm256_setzero_si256(); 8];
            for (j, lanes) in lanes.iter_mut().enumerate() {
                for (q, w) in q.chunks(16).zip(w.row((begin + j).min(n - 1)).chunks(16)) {
                    let products = _mm256_madd_epi16(load_i16(q), _mm256_cvtepi8_epi16(load_i8(w)));
                    *lanes = _mm256_add_epi32(*lanes, products);
                }
            }
            let sums = _mm256_cvtepi32_ps(reduce(&lanes));
            let scales = _mm256_mul_ps(_mm256_set1_ps(*scale), load_f32(&w.scales()[begin..end]));
            let start = bias.map_or(_mm256_setzero_ps(), |bias| load_f32(&bias[begin..end]));
            let values = _mm256_add_ps(start, _mm256_mul_ps(sums, scales));
            store_f32(&mut c.row_mut(i)[begin..end], values);
        }
    }
}

/// Outputs that are summed at a time: with two registers of rows each, half of all registers.
const NB: usize = 4;

/// Below this many rows most of a register would be empty.
const MIN_ROWS: usize = 3;

/// Pairs of inputs of 8 rows each that are packed at a time: 128 KiB on the stack, and 64 KiB for the weights.
const MAX_GROUPS: usize = 4096;
