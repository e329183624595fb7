//! The int8 product with simd128: two inputs per instruction, in 16 bits (`i32x4.dot_i16x8_s`, exact here).
//!
//! ```text
//! for 4 T rows of x:   panel[g][t] = inputs 2g, 2g+1 of 4 rows, a row per lane
//!   for 4 outputs j:   pairs[j][g] = w[j][2g..2g+2], widened
//!                      sum[j][t] += dot2(panel[g][t], pairs[j][g] in all lanes)       over all g
//! ```
//! Changed for speed against [`gemm_i8::gemm`](crate::gemm_i8::gemm): each weight that is widened is multiplied with 4 T rows at once. The
//! instruction saturates nothing: its largest sum is 2 * 128 * 127.

use core::arch::wasm32::*;
use core::mem::MaybeUninit;

use super::lanes4::{load_f32, load_i8, load_i16, reduce, store_f32, transpose};
use crate::gemm_i8::{Int8Weights, QuantisedRows};
use crate::matrix::MatrixMut;
use crate::parts::{tail, written};

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm).
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
    let mut pairs = [const { MaybeUninit::uninit() }; NB * MAX_GROUPS / 4];
    let max_tiles = (MAX_GROUPS / groups.max(1)).min(2);
    for first in (0..m).step_by(4 * max_tiles) {
        let product = Product { x, first, w, bias };
        match (m - first).div_ceil(4).min(max_tiles) {
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
    /// The next `4 T` rows.
    fn rows<const T: usize>(
        &self,
        panel: &mut [MaybeUninit<v128>; MAX_GROUPS],
        pairs: &mut [MaybeUninit<v128>; NB * MAX_GROUPS / 4],
        c: &mut MatrixMut<'_>,
    ) {
        let (w, n) = (self.w, self.w.num_outputs());
        let panel = self.pack::<T>(panel);
        let scales = &self.x.scales[self.first..];
        for begin in (0..n).step_by(NB) {
            let count = (n - begin).min(NB);
            let sums = dots(panel, self.widen(begin, pairs));
            for t in 0..T {
                let mut columns = [i32x4_splat(0); NB];
                for (i, (column, sums)) in columns.iter_mut().zip(&sums).enumerate() {
                    let output = (begin + i).min(n - 1);
                    let start = f32x4_splat(self.bias.map_or(0.0, |bias| bias[output]));
                    let scale = f32x4_mul(load_f32(tail(scales, 4 * t)), f32x4_splat(w.scales()[output]));
                    *column = f32x4_add(start, f32x4_mul(f32x4_convert_i32x4(sums[t]), scale));
                }
                let rows = transpose(&columns);
                for (i, row) in rows.iter().enumerate().take(tail(scales, 4 * t).len()) {
                    store_f32(&mut c.row_mut(self.first + 4 * t + i)[begin..begin + count], *row);
                }
            }
        }
    }

    /// The rows' inputs, as the algorithm above wants them; rows and inputs that are not there are 0.
    fn pack<'p, const T: usize>(&self, panel: &'p mut [MaybeUninit<v128>; MAX_GROUPS]) -> &'p [[v128; T]] {
        let (x, inputs) = (self.x, self.w.num_inputs());
        let panel = &mut panel[..inputs.div_ceil(2) * T];
        for t in 0..T {
            for begin in (0..inputs).step_by(8) {
                let depth = (inputs - begin).min(8);
                let mut rows = [i32x4_splat(0); 4];
                for (row, i) in rows.iter_mut().zip(self.first + 4 * t..x.scales.len()) {
                    *row = load_i16(&x.data[i * x.stride + begin..][..depth]);
                }
                let place = panel[begin / 2 * T..].iter_mut().skip(t).step_by(T);
                for (place, group) in place.zip(transpose(&rows)) {
                    place.write(group);
                }
            }
        }
        // SAFETY: for each t the blocks of 8 inputs, 4 groups, wrote every group's entry g * T + t.
        let panel = unsafe { written(panel) };
        panel.as_chunks().0
    }

    /// The weights of the outputs from `j` on (the last again, where there are no more), in 16 bits, four pairs to a register.
    fn widen<'p>(
        &self,
        j: usize,
        pairs: &'p mut [MaybeUninit<v128>; NB * MAX_GROUPS / 4],
    ) -> [&'p [v128]; NB] {
        let blocks = self.w.num_inputs().div_ceil(8);
        let pairs = &mut pairs[..NB * blocks];
        for i in 0..NB {
            let row = self.w.row((j + i).min(self.w.num_outputs() - 1));
            for (place, part) in pairs[i * blocks..].iter_mut().zip(row.chunks(8)) {
                place.write(load_i8(part));
            }
        }
        // SAFETY: each of the NB rows has as many parts of 8 inputs as blocks, and wrote all of them.
        let pairs = unsafe { written(pairs) };
        let mut rows: [&[v128]; NB] = [&[]; NB];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = &pairs[i * blocks..(i + 1) * blocks];
        }
        rows
    }
}

/// The sums of `NB` outputs and all rows.
#[inline(always)]
fn dots<const T: usize>(panel: &[[v128; T]], pairs: [&[v128]; NB]) -> [[v128; T]; NB] {
    let mut sums = [[i32x4_splat(0); T]; NB];
    let (fours, rest) = panel.as_chunks::<4>();
    let pairs = pairs.map(|pairs| &pairs[..panel.len().div_ceil(4)]);
    for (g, four) in fours.iter().enumerate() {
        let weights = pairs.map(|pairs| pairs[g]);
        add_group(&mut sums, &four[0], weights.map(|w| i32x4_shuffle::<0, 0, 0, 0>(w, w)));
        add_group(&mut sums, &four[1], weights.map(|w| i32x4_shuffle::<1, 1, 1, 1>(w, w)));
        add_group(&mut sums, &four[2], weights.map(|w| i32x4_shuffle::<2, 2, 2, 2>(w, w)));
        add_group(&mut sums, &four[3], weights.map(|w| i32x4_shuffle::<3, 3, 3, 3>(w, w)));
    }
    if !rest.is_empty() {
        let weights = pairs.map(|pairs| pairs[fours.len()]);
        add_group(&mut sums, &rest[0], weights.map(|w| i32x4_shuffle::<0, 0, 0, 0>(w, w)));
        if let Some(group) = rest.get(1) {
            add_group(&mut sums, group, weights.map(|w| i32x4_shuffle::<1, 1, 1, 1>(w, w)));
        }
        if let Some(group) = rest.get(2) {
            add_group(&mut sums, group, weights.map(|w| i32x4_shuffle::<2, 2, 2, 2>(w, w)));
        }
    }
    sums
}

/// One pair of inputs of all rows with a pair of each output's weights, which fills its register.
#[inline(always)]
fn add_group<const T: usize>(sums: &mut [[v128; T]; NB], group: &[v128; T], weights: [v128; NB]) {
    for (sums, w) in sums.iter_mut().zip(weights) {
        for (sum, rows) in sums.iter_mut().zip(group) {
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(*rows, w));
        }
    }
}

/// Where there are too few rows to fill registers: inputs lie in the lanes.
fn few_rows(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (n, inputs) = (w.num_outputs(), w.num_inputs());
    for (i, scale) in x.scales.iter().enumerate() {
        let q = &x.data[i * x.stride..][..inputs];
        for begin in (0..n).step_by(NB) {
            let end = (begin + NB).min(n);
            let mut lanes = [i32x4_splat(0); NB];
            for (j, lanes) in lanes.iter_mut().enumerate() {
                for (q, w) in q.chunks(8).zip(w.row((begin + j).min(n - 1)).chunks(8)) {
                    *lanes = i32x4_add(*lanes, i32x4_dot_i16x8(load_i16(q), load_i8(w)));
                }
            }
            let scales = f32x4_mul(f32x4_splat(*scale), load_f32(&w.scales()[begin..end]));
            let start = bias.map_or(f32x4_splat(0.0), |bias| load_f32(&bias[begin..end]));
            let values = f32x4_add(start, f32x4_mul(f32x4_convert_i32x4(reduce(&lanes)), scales));
            store_f32(&mut c.row_mut(i)[begin..end], values);
        }
    }
}

/// Outputs that are summed at a time: with two registers of rows each, half of sixteen.
const NB: usize = 4;

/// Below this many rows most of a register would be empty.
const MIN_ROWS: usize = 3;

/// Pairs of inputs of 4 rows each that are packed at a time: 64 KiB on the stack, and 64 KiB for the weights.
const MAX_GROUPS: usize = 4096;
