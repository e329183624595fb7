//! The int8 product of [`vnni`](super::vnni) with outputs in the lanes, where rows have few inputs or there are few outputs, as in attention.
//!
//! ```text
//! for 16 T outputs j, for NB rows i:    sum[i][j] += dot4(panel[j][g], x[i][4g..4g+4] in all lanes)       over all g
//!                                       c[i][j] = bias[j] + (sum - 128 * sum of x[i]) * scales
//! panel[t][g] = inputs 4g..4g+4 of 16 outputs, an output per lane, as u8 = w + 128
//! ```
//! Sums lie as they are stored: nothing is transposed but the weights, once for all rows.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::lanes16::{load_f32, load_f32_as_i8, load_i8, load_i16_as_i8, store_f32, transpose};
use super::vnni::{NB, panel_dots};
use crate::gemm_i8::{Int8Weights, QuantisedRows, quantisation};
use crate::matrix::{Matrix, MatrixMut};
use crate::parts::{tail, written};

/// Whether so many rows go faster this way.
#[inline]
pub(super) fn pays(num_rows: usize, w: Int8Weights<'_>) -> bool {
    num_rows >= MIN_ROWS
        && w.num_inputs() > 0
        && (w.num_inputs() <= FEW_INPUTS || w.num_outputs() <= FEW_OUTPUTS)
}

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm) in this `memory`; false, and nothing done, if that is too small.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn gemm(
    x: QuantisedRows<'_>,
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
    memory: &mut [MaybeUninit<__m512i>],
) -> bool {
    let inputs = w.num_inputs();
    let row = |i: usize, place: &mut [MaybeUninit<__m512i>]| {
        let row = &x.data[i * x.stride..][..inputs];
        (place.iter_mut().zip(row.chunks(64))).for_each(|(place, x)| _ = place.write(load_i16_as_i8(x)));
        x.scales[i]
    };
    product(row, w, bias, c, memory)
}

/// [`gemm_i8::linear`](crate::gemm_i8::linear) in this `memory`; false, and nothing done, if that is too small.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn linear(
    x: Matrix<'_>,
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
    memory: &mut [__m512i],
) -> bool {
    assert_eq!(x.num_cols(), w.num_inputs());
    // SAFETY: they are laid out alike, and what is written to them are registers.
    let memory = unsafe { &mut *(core::ptr::from_mut(memory) as *mut [MaybeUninit<__m512i>]) };
    let row = |i: usize, place: &mut [MaybeUninit<__m512i>]| {
        let (scale, factor) = quantisation(x.row(i));
        let factor = _mm512_set1_ps(factor);
        (place.iter_mut().zip(x.row(i).chunks(64)))
            .for_each(|(place, x)| _ = place.write(load_f32_as_i8(x, factor)));
        scale
    };
    product(row, w, bias, c, memory)
}

/// `write_row` writes a row's inputs, zeros after the last of them, and gives its scale.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn product(
    write_row: impl Fn(usize, &mut [MaybeUninit<__m512i>]) -> f32,
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
    memory: &mut [MaybeUninit<__m512i>],
) -> bool {
    let (num_rows, inputs, n) = (c.num_rows(), w.num_inputs(), w.num_outputs());
    let (num_groups, row_len) = (inputs.div_ceil(4), inputs.div_ceil(64));
    let panel_len = n.div_ceil(16) * num_groups;
    let max_rows = (memory.len().saturating_sub(panel_len) / row_len).min(MAX_ROWS);
    if max_rows < num_rows.min(MIN_ROWS) {
        return false;
    }
    assert!(c.num_cols() == n && bias.is_none_or(|bias| bias.len() == n));
    let (panel, rows) = memory.split_at_mut(panel_len);
    let panel = pack(w, panel);
    let (mut scales, mut offsets) = ([0.0; MAX_ROWS], [0; MAX_ROWS]);
    for first in (0..num_rows).step_by(max_rows) {
        let count = max_rows.min(num_rows - first);
        let rows = &mut rows[..count * row_len];
        for (i, row) in rows.chunks_exact_mut(row_len).enumerate() {
            scales[i] = write_row(first + i, row);
            // SAFETY: it was just written to its end.
            offsets[i] = sum(unsafe { written(row) }) << 7;
        }
        // SAFETY: all were just written.
        let rows = unsafe { written(rows) };
        let x = Rows { data: rows, row_len, num_groups, scales: &scales[..count], offsets: &offsets };
        let mut c = c.rows_mut(first..first + count);
        let mut t = 0;
        while 16 * t < n {
            t += match n.div_ceil(16) - t {
                1 => x.times::<1>(panel, t, w, bias, &mut c),
                2 | 4 => x.times::<2>(panel, t, w, bias, &mut c),
                _ => x.times::<3>(panel, t, w, bias, &mut c),
            };
        }
    }
    true
}

/// Rows in int8.
struct Rows<'a> {
    data: &'a [__m512i],
    row_len: usize,
    num_groups: usize,
    scales: &'a [f32],
    /// What the weights' offset of 128 adds.
    offsets: &'a [i32],
}

impl Rows<'_> {
    /// All of them times `T` tiles of 16 outputs from tile `t` on; gives `T`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn times<const T: usize>(
        &self,
        panel: &[__m512i],
        t: usize,
        w: Int8Weights<'_>,
        bias: Option<&[f32]>,
        c: &mut MatrixMut<'_>,
    ) -> usize {
        let mut tiles: [&[__m512i]; T] = [&[]; T];
        let (mut start, mut weight_scales) = ([_mm512_setzero_ps(); T], [_mm512_setzero_ps(); T]);
        for i in 0..T {
            tiles[i] = &panel[(t + i) * self.num_groups..][..self.num_groups];
            if let Some(bias) = bias {
                start[i] = load_f32(tail(bias, 16 * (t + i)));
            }
            weight_scales[i] = load_f32(tail(w.scales(), 16 * (t + i)));
        }
        let end = w.num_outputs().min(16 * (t + T));
        for first in (0..self.scales.len()).step_by(NB) {
            // Where there are fewer, the last is taken again.
            let row = |i: usize| (first + i).min(self.scales.len() - 1);
            let mut rows: [&[i8]; NB] = [&[]; NB];
            for (i, place) in rows.iter_mut().enumerate() {
                *place = self.row(row(i));
            }
            let sums = panel_dots(tiles, rows);
            for (i, sums) in (first..self.scales.len()).zip(sums) {
                let (offset, scale) = (_mm512_set1_epi32(self.offsets[i]), _mm512_set1_ps(self.scales[i]));
                let place = &mut c.row_mut(i)[16 * t..end];
                for (part, sum) in sums.into_iter().enumerate() {
                    let sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, offset));
                    let scale = _mm512_mul_ps(scale, weight_scales[part]);
                    let values = _mm512_add_ps(start[part], _mm512_mul_ps(sum, scale));
                    store_f32(&mut place[16 * part..], values);
                }
            }
        }
        T
    }

    #[inline(always)]
    fn row(&self, i: usize) -> &[i8] {
        let row = &self.data[i * self.row_len..][..self.row_len];
        // SAFETY: a register is 64 such numbers, of which the groups are no more than there are.
        unsafe { core::slice::from_raw_parts(row.as_ptr().cast(), 4 * self.num_groups) }
    }
}

/// The weights in a panel; outputs and inputs that are not there are 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pack<'p>(w: Int8Weights<'_>, panel: &'p mut [MaybeUninit<__m512i>]) -> &'p [__m512i] {
    let (inputs, zero) = (w.num_inputs(), _mm512_set1_epi8(-128));
    for (t, tile) in panel.chunks_exact_mut(inputs.div_ceil(4)).enumerate() {
        for (begin, groups) in (0..inputs).step_by(64).zip(tile.chunks_mut(16)) {
            let depth = (inputs - begin).min(64);
            let mut rows = [zero; 16];
            for (row, j) in rows.iter_mut().zip(16 * t..w.num_outputs()) {
                *row = _mm512_xor_si512(load_i8(&w.row(j)[begin..begin + depth]), zero);
            }
            groups.iter_mut().zip(transpose(&rows)).for_each(|(place, group)| _ = place.write(group));
        }
    }
    // SAFETY: the blocks of 64 inputs, 16 groups, of each tile wrote every group.
    unsafe { written(panel) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn sum(row: &[__m512i]) -> i32 {
    let mut lanes = _mm512_setzero_si512();
    for part in row {
        lanes = _mm512_dpbusd_epi32(lanes, _mm512_set1_epi8(1), *part);
    }
    _mm512_reduce_add_epi32(lanes)
}

/// Fewer do not pay for packing the weights.
const MIN_ROWS: usize = 16;

/// Rows at a time.
const MAX_ROWS: usize = 256;

const FEW_INPUTS: usize = 128;

const FEW_OUTPUTS: usize = 64;
