//! The int8 product with NEON's `sdot`.
//!
//! ```text
//! for 4 T rows of x:     panel[g][t] = inputs 4g..4g+4 of 4 rows, a row per lane
//!   for 4 outputs j:     sum[j][t] += dot4(panel[g][t], w[j][4g..4g+4] in all lanes)       over all g
//! ```
//! Changed for speed against [`gemm_i8::gemm`](crate::gemm_i8::gemm): the weights are read where they lie, and each is multiplied with 4 T rows at once,
//! four inputs per instruction; `sdot` does not saturate.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use super::lanes4::{load_f32, load_i8, load_i16_as_i8, reduce, store_f32, transpose};
use crate::gemm_i8::{Int8Weights, QuantisedRows};
use crate::matrix::MatrixMut;
use crate::parts::{padded, tail, written};

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm).
#[target_feature(enable = "dotprod")]
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
    for first in (0..m).step_by(4 * max_tiles) {
        let product = Product { x, first, w, bias };
        match (m - first).div_ceil(4).min(max_tiles) {
            1 => product.rows::<1>(&mut panel, c),
            2 => product.rows::<2>(&mut panel, c),
            3 => product.rows::<3>(&mut panel, c),
            _ => product.rows::<4>(&mut panel, c),
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
    /// The next `4 T` rows.
    #[target_feature(enable = "dotprod")]
    fn rows<const T: usize>(&self, panel: &mut [MaybeUninit<int32x4_t>; MAX_GROUPS], c: &mut MatrixMut<'_>) {
        let (w, n) = (self.w, self.w.num_outputs());
        let panel = self.pack::<T>(panel);
        let scales = &self.x.scales[self.first..];
        for begin in (0..n).step_by(NB) {
            let count = (n - begin).min(NB);
            let mut rows: [&[i8]; NB] = [&[]; NB];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = w.row((begin + i).min(n - 1));
            }
            let sums = dots(panel, rows);
            for t in 0..T {
                let mut columns = [vdupq_n_s32(0); NB];
                for (i, (column, sums)) in columns.iter_mut().zip(&sums).enumerate() {
                    let output = (begin + i).min(n - 1);
                    let start = vdupq_n_f32(self.bias.map_or(0.0, |bias| bias[output]));
                    let scale = vmulq_f32(load_f32(tail(scales, 4 * t)), vdupq_n_f32(w.scales()[output]));
                    let value = vaddq_f32(start, vmulq_f32(vcvtq_f32_s32(sums[t]), scale));
                    *column = vreinterpretq_s32_f32(value);
                }
                let rows = transpose(&columns);
                for (i, row) in rows.iter().enumerate().take(tail(scales, 4 * t).len()) {
                    let place = &mut c.row_mut(self.first + 4 * t + i)[begin..begin + count];
                    store_f32(place, vreinterpretq_f32_s32(*row));
                }
            }
        }
    }

    /// The rows' inputs, as the algorithm above wants them; rows and inputs that are not there are 0.
    #[target_feature(enable = "dotprod")]
    fn pack<'p, const T: usize>(
        &self,
        panel: &'p mut [MaybeUninit<int32x4_t>; MAX_GROUPS],
    ) -> &'p [[int32x4_t; T]] {
        let (x, inputs) = (self.x, self.w.num_inputs());
        let panel = &mut panel[..inputs.div_ceil(4) * T];
        for t in 0..T {
            for begin in (0..inputs).step_by(16) {
                let depth = (inputs - begin).min(16);
                let mut rows = [vdupq_n_s32(0); 4];
                for (row, i) in rows.iter_mut().zip(self.first + 4 * t..x.scales.len()) {
                    *row = load_i16_as_i8(&x.data[i * x.stride + begin..][..depth]);
                }
                let place = panel[begin / 4 * T..].iter_mut().skip(t).step_by(T);
                for (place, group) in place.zip(transpose(&rows)) {
                    place.write(group);
                }
            }
        }
        // SAFETY: for each t the blocks of 16 inputs, 4 groups, wrote every group's entry g * T + t.
        let panel = unsafe { written(panel) };
        panel.as_chunks().0
    }
}

/// The sums of `NB` outputs and all rows.
#[inline]
#[target_feature(enable = "dotprod")]
fn dots<const T: usize>(panel: &[[int32x4_t; T]], w: [&[i8]; NB]) -> [[int32x4_t; T]; NB] {
    let mut sums = [[vdupq_n_s32(0); T]; NB];
    let whole = w[0].len() / 4;
    let mut fours: [&[[i8; 4]]; NB] = [&[]; NB];
    for (fours, w) in fours.iter_mut().zip(w) {
        *fours = &w.as_chunks().0[..whole];
    }
    for (g, group) in panel[..whole].iter().enumerate() {
        for (sums, w) in sums.iter_mut().zip(fours) {
            let w = vdupq_n_s32(i32::from_le_bytes(w[g].map(i8::cast_unsigned)));
            for (sum, rows) in sums.iter_mut().zip(group) {
                *sum = sdot(*sum, *rows, w);
            }
        }
    }
    if let Some(group) = panel.get(whole) {
        for (sums, w) in sums.iter_mut().zip(w) {
            let four = padded::<i8, 4>(&w[4 * whole..]);
            let w = vdupq_n_s32(i32::from_le_bytes(four.map(i8::cast_unsigned)));
            for (sum, rows) in sums.iter_mut().zip(group) {
                *sum = sdot(*sum, *rows, w);
            }
        }
    }
    sums
}

/// Where there are too few rows to fill registers: inputs lie in the lanes.
#[target_feature(enable = "dotprod")]
fn few_rows(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (n, inputs) = (w.num_outputs(), w.num_inputs());
    for (i, scale) in x.scales.iter().enumerate() {
        let q = &x.data[i * x.stride..][..inputs];
        for begin in (0..n).step_by(NB) {
            let end = (begin + NB).min(n);
            let mut lanes = [vdupq_n_s32(0); NB];
            for (j, lanes) in lanes.iter_mut().enumerate() {
                for (q, w) in q.chunks(16).zip(w.row((begin + j).min(n - 1)).chunks(16)) {
                    *lanes = sdot(*lanes, load_i16_as_i8(q), load_i8(w));
                }
            }
            let scales = vmulq_f32(vdupq_n_f32(*scale), load_f32(&w.scales()[begin..end]));
            let start = bias.map_or(vdupq_n_f32(0.0), |bias| load_f32(&bias[begin..end]));
            let values = vaddq_f32(start, vmulq_f32(vcvtq_f32_s32(reduce(&lanes)), scales));
            store_f32(&mut c.row_mut(i)[begin..end], values);
        }
    }
}

/// To each lane of `sum` the dot product of the four int8 numbers in that lane of `a` and `b`. The intrinsic, `vdotq_s32`, is not
/// stable.
#[inline]
#[target_feature(enable = "dotprod")]
fn sdot(mut sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: the instruction, which the function's feature stands for, touches these registers alone.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum,
            in(vreg) a,
            in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Outputs that are summed at a time: with four registers of rows each, half of all registers.
const NB: usize = 4;

/// Below this many rows most of a register would be empty.
const MIN_ROWS: usize = 3;

/// Four inputs of 4 rows each that are packed at a time: 64 KiB on the stack.
const MAX_GROUPS: usize = 4096;
