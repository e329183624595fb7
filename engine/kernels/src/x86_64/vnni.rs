//! The int8 product with AVX-512 VNNI.
//!
//! ```text
//! for 16 T rows of x:    panel[g][t] = inputs 4g..4g+4 of 16 rows, a row per lane, as u8 = q + 128
//!   for 16 outputs:
//!     for NB outputs j:  sum[j][t] += dot4(panel[g][t], w[j][4g..4g+4] in all lanes)       over all g
//!     c = bias + (sum - 128 * sum of w[j]) * scales, transposed
//! ```
//! Changed for speed against [`gemm_i8::gemm`](crate::gemm_i8::gemm): the weights are read where they lie, without packing; each is multiplied with 16
//! rows at once, four inputs per instruction (`vpdpbusd`, which takes one operand without sign: hence the 128). It does not
//! saturate, and what wraps on the way comes back, since the result fits in 32 bits: the sums are exact.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::lanes16::{load_f32, load_i8, load_i16, reduce, store_f32, transpose};
use crate::gemm_i8::{Int8Weights, QuantisedRows};
use crate::matrix::MatrixMut;
use crate::parts::{padded, tail, written};

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm).
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn gemm(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (m, n, groups) = (x.scales.len(), w.num_outputs(), w.num_inputs().div_ceil(4));
    assert!(c.num_rows() == m && c.num_cols() == n && bias.is_none_or(|bias| bias.len() == n));
    if groups > MAX_GROUPS {
        return crate::gemm_i8::gemm(x, w, bias, c);
    }
    if m < MIN_ROWS {
        return few_rows(x, w, bias, c);
    }
    let mut panel = [const { MaybeUninit::uninit() }; MAX_GROUPS];
    let max_tiles = (MAX_GROUPS / groups.max(1)).min(4);
    for first in (0..m).step_by(16 * max_tiles) {
        let product = Product { x, first, w, bias };
        match (m - first).div_ceil(16).min(max_tiles) {
            1 => product.rows::<1, 8>(&mut panel, c),
            2 => product.rows::<2, 8>(&mut panel, c),
            3 => product.rows::<3, 8>(&mut panel, c),
            _ => product.rows::<4, 4>(&mut panel, c),
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
    /// The next `16 T` rows, `NB` outputs at a time. The panel holds the inputs' groups of four `T` times.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn rows<const T: usize, const NB: usize>(
        &self,
        panel: &mut [MaybeUninit<__m512i>; MAX_GROUPS],
        c: &mut MatrixMut<'_>,
    ) {
        let (w, n) = (self.w, self.w.num_outputs());
        let panel = self.pack::<T>(panel);
        let scales = &self.x.scales[self.first..];
        for begin in (0..n).step_by(16) {
            let count = (n - begin).min(16);
            let row = |j: usize| w.row((begin + j).min(n - 1));
            let offsets = weight_sums(row);
            let mut columns = [[_mm512_setzero_si512(); 16]; T];
            for j in (0..count).step_by(NB) {
                let mut rows: [&[i8]; NB] = [&[]; NB];
                for (i, r) in rows.iter_mut().enumerate() {
                    *r = row(j + i);
                }
                let sums = dots(panel, rows);
                for (i, sums) in sums.iter().enumerate() {
                    let output = (begin + j + i).min(n - 1);
                    let offset = _mm512_set1_epi32(offsets[j + i] << 7);
                    let start = _mm512_set1_ps(self.bias.map_or(0.0, |bias| bias[output]));
                    let weight_scale = _mm512_set1_ps(w.scales()[output]);
                    for t in 0..T {
                        let scale = _mm512_mul_ps(load_f32(tail(scales, 16 * t)), weight_scale);
                        let sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[t], offset));
                        let value = _mm512_add_ps(start, _mm512_mul_ps(sum, scale));
                        columns[t][j + i] = _mm512_castps_si512(value);
                    }
                }
            }
            for (t, columns) in columns.iter().enumerate() {
                let rows = transpose(columns);
                for (i, row) in rows.iter().enumerate().take(tail(scales, 16 * t).len()) {
                    let place = &mut c.row_mut(self.first + 16 * t + i)[begin..begin + count];
                    store_f32(place, _mm512_castsi512_ps(*row));
                }
            }
        }
    }

    /// The rows' inputs, as the algorithm above wants them; rows and inputs that are not there are 0.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn pack<'p, const T: usize>(
        &self,
        panel: &'p mut [MaybeUninit<__m512i>; MAX_GROUPS],
    ) -> &'p [[__m512i; T]] {
        let (x, inputs) = (self.x, self.w.num_inputs());
        let groups = inputs.div_ceil(4);
        let panel = &mut panel[..groups * T];
        let zero = _mm512_set1_epi8(-128);
        for t in 0..T {
            for begin in (0..inputs).step_by(64) {
                let depth = (inputs - begin).min(64);
                let mut rows = [zero; 16];
                for (row, i) in rows.iter_mut().zip(self.first + 16 * t..x.scales.len()) {
                    let q = &x.data[i * x.stride + begin..][..depth];
                    let low = _mm512_cvtepi16_epi8(load_i16(q));
                    let high = _mm512_cvtepi16_epi8(load_i16(tail(q, 32)));
                    let bytes = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
                    *row = _mm512_xor_si512(bytes, zero);
                }
                let place = panel[begin / 4 * T..].iter_mut().skip(t).step_by(T);
                for (place, group) in place.zip(transpose(&rows)) {
                    place.write(group);
                }
            }
        }
        // SAFETY: for each t the blocks of 64 inputs, 16 groups, wrote every group's entry g * T + t.
        let panel = unsafe { written(panel) };
        panel.as_chunks().0
    }
}

/// The sums of `NB` outputs and all rows, those of the inputs' offset of 128 included.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dots<const T: usize, const NB: usize>(panel: &[[__m512i; T]], w: [&[i8]; NB]) -> [[__m512i; T]; NB] {
    let mut sums = [[_mm512_setzero_si512(); T]; NB];
    let whole = w[0].len() / 4;
    let mut fours: [&[[i8; 4]]; NB] = [&[]; NB];
    for (fours, w) in fours.iter_mut().zip(w) {
        *fours = &w.as_chunks().0[..whole];
    }
    for (g, group) in panel[..whole].iter().enumerate() {
        for (sums, w) in sums.iter_mut().zip(fours) {
            let w = _mm512_set1_epi32(i32::from_le_bytes(w[g].map(i8::cast_unsigned)));
            for (sum, rows) in sums.iter_mut().zip(group) {
                *sum = _mm512_dpbusd_epi32(*sum, *rows, w);
            }
        }
    }
    if let Some(group) = panel.get(whole) {
        for (sums, w) in sums.iter_mut().zip(w) {
            let four = padded::<i8, 4>(&w[4 * whole..]);
            let w = _mm512_set1_epi32(i32::from_le_bytes(four.map(i8::cast_unsigned)));
            for (sum, rows) in sums.iter_mut().zip(group) {
                *sum = _mm512_dpbusd_epi32(*sum, *rows, w);
            }
        }
    }
    sums
}

/// The sum of each of 16 rows of weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn weight_sums<'w>(row: impl Fn(usize) -> &'w [i8]) -> [i32; 16] {
    let mut lanes = [_mm512_setzero_si512(); 16];
    for (j, lanes) in lanes.iter_mut().enumerate() {
        for part in row(j).chunks(64) {
            *lanes = _mm512_dpbusd_epi32(*lanes, _mm512_set1_epi8(1), load_i8(part));
        }
    }
    let mut sums = [0; 16];
    let all = reduce(&lanes);
    // SAFETY: the array is as large as the register.
    unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), all) };
    sums
}

/// Where there are too few rows to fill registers: inputs lie in the lanes, in 16 bits (`vpdpwssd`, which does not saturate
/// either).
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn few_rows(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (n, inputs) = (w.num_outputs(), w.num_inputs());
    for (i, scale) in x.scales.iter().enumerate() {
        let q = &x.data[i * x.stride..][..inputs];
        for begin in (0..n).step_by(16) {
            let end = (begin + 16).min(n);
            let mut lanes = [_mm512_setzero_si512(); 16];
            for (j, lanes) in lanes.iter_mut().enumerate() {
                for (q, w) in q.chunks(32).zip(w.row((begin + j).min(n - 1)).chunks(32)) {
                    let w = _mm512_cvtepi8_epi16(_mm512_castsi512_si256(load_i8(w)));
                    *lanes = _mm512_dpwssd_epi32(*lanes, load_i16(q), w);
                }
            }
            let sums = _mm512_cvtepi32_ps(reduce(&lanes));
            let scales = _mm512_mul_ps(_mm512_set1_ps(*scale), load_f32(&w.scales()[begin..end]));
            let start = bias.map_or(_mm512_setzero_ps(), |bias| load_f32(&bias[begin..end]));
            let values = _mm512_add_ps(start, _mm512_mul_ps(sums, scales));
            store_f32(&mut c.row_mut(i)[begin..end], values);
        }
    }
}

/// Below this many rows most of a register would be empty.
const MIN_ROWS: usize = 6;

/// Four inputs of 16 rows each that are packed at a time: 128 KiB on the stack, in the second-level cache.
const MAX_GROUPS: usize = 2048;
