//! The int8 product with simd128: two inputs per instruction, in 16 bits (`i32x4.dot_i16x8_s`, exact here).
//!
//! ```text
//! for 64 rows of x, or as many as the panel holds, in tiles of 8:
//!   panel[tile][g][t] = inputs 2g, 2g+1 of 4 rows, a row per lane; t is 0 or 1
//!   for 4 outputs j:    pairs[j][g] = w[j][2g..2g+2], widened
//!     for each tile:    sum[j][t] += dot2(panel[tile][g][t], pairs[j][g] in all lanes)       over all g
//! ```
//! Changed for speed against [`gemm_i8::gemm`](crate::gemm_i8::gemm): each weight that is loaded is multiplied with 8 rows at once. The
//! instruction saturates nothing here: its largest sum is 2 * 128 * 127.

use core::arch::wasm32::*;
use core::array::from_fn;
use core::mem::MaybeUninit;

use super::lanes4::{load_f32, load_i8, load_i16, reduce, store_f32, to_array, transpose};
use crate::gemm_i8::{Int8Weights, QuantisedRows};
use crate::matrix::MatrixMut;
use crate::parts::{tail, written};

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm).
pub(super) fn gemm(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (m, n, groups) = (x.scales.len(), w.num_outputs(), w.num_inputs().div_ceil(2));
    assert!(c.num_rows() == m && c.num_cols() == n && bias.is_none_or(|bias| bias.len() == n));
    if groups == 0 || groups > MAX_GROUPS {
        return crate::gemm_i8::gemm(x, w, bias, c);
    }
    if m < MIN_ROWS {
        return few_rows(x, w, bias, c);
    }
    let mut panel = [const { MaybeUninit::uninit() }; MAX_GROUPS];
    let mut pairs = [const { MaybeUninit::uninit() }; NB * MAX_GROUPS / 4];
    let max_tiles = (MAX_GROUPS / groups).min(8);
    for first in (0..m).step_by(ROWS * max_tiles) {
        let num_rows = (m - first).min(ROWS * max_tiles);
        Product { x, first, num_rows, w, bias }.rows(&mut panel, &mut pairs, c);
    }
}

/// Inputs 2g, 2g+1 of the rows of a tile.
type Group = [v128; 2];

/// Some rows from `first` on.
struct Product<'a> {
    x: QuantisedRows<'a>,
    first: usize,
    num_rows: usize,
    w: Int8Weights<'a>,
    bias: Option<&'a [f32]>,
}

impl Product<'_> {
    /// All outputs of the rows.
    fn rows(
        &self,
        panel: &mut [MaybeUninit<Group>; MAX_GROUPS],
        pairs: &mut [MaybeUninit<[i32; 4]>; NB * MAX_GROUPS / 4],
        c: &mut MatrixMut<'_>,
    ) {
        let groups = self.w.num_inputs().div_ceil(2);
        let panel = self.pack(panel);
        for begin in (0..self.w.num_outputs()).step_by(NB) {
            let pairs = self.widen(begin, pairs);
            for (tile, panel) in panel.chunks_exact(groups).enumerate() {
                self.store(dots(panel, pairs), ROWS * tile, begin, c);
            }
        }
    }

    /// The rows' inputs, as the algorithm above wants them; rows and inputs that are not there are 0.
    fn pack<'p>(&self, panel: &'p mut [MaybeUninit<Group>; MAX_GROUPS]) -> &'p [Group] {
        let (x, inputs) = (self.x, self.w.num_inputs());
        let groups = inputs.div_ceil(2);
        let panel = &mut panel[..groups * self.num_rows.div_ceil(ROWS)];
        for (tile, panel) in panel.chunks_exact_mut(groups).enumerate() {
            for begin in (0..inputs).step_by(8) {
                let depth = (inputs - begin).min(8);
                let [low, high] = [0, 4].map(|half| {
                    transpose(&from_fn(|i| match ROWS * tile + half + i {
                        i if i < self.num_rows => {
                            load_i16(&x.data[(self.first + i) * x.stride + begin..][..depth])
                        }
                        _ => i32x4_splat(0),
                    }))
                });
                for (place, (low, high)) in panel[begin / 2..].iter_mut().zip(low.into_iter().zip(high)) {
                    place.write([low, high]);
                }
            }
        }
        // SAFETY: in each tile the blocks of 8 inputs, 4 groups, wrote every group.
        unsafe { written(panel) }
    }

    /// The weights of the outputs from `j` on (the last again, where there are no more), in 16 bits.
    fn widen<'p>(
        &self,
        j: usize,
        pairs: &'p mut [MaybeUninit<[i32; 4]>; NB * MAX_GROUPS / 4],
    ) -> [&'p [i32]; NB] {
        let blocks = self.w.num_inputs().div_ceil(8);
        let pairs = &mut pairs[..NB * blocks];
        for i in 0..NB {
            let row = self.w.row((j + i).min(self.w.num_outputs() - 1));
            for (place, part) in pairs[i * blocks..].iter_mut().zip(row.chunks(8)) {
                place.write(to_array(load_i8(part)));
            }
        }
        // SAFETY: each of the NB rows has as many parts of 8 inputs as blocks, and wrote all of them.
        let pairs = unsafe { written(pairs) };
        from_fn(|i| pairs[i * blocks..(i + 1) * blocks].as_flattened())
    }

    /// Scales the sums of a tile, whose first row is `row`, with the outputs from `begin` on.
    fn store(&self, sums: [Group; NB], row: usize, begin: usize, c: &mut MatrixMut<'_>) {
        let n = self.w.num_outputs();
        let end = (begin + NB).min(n);
        let scales = &self.x.scales[self.first + row..self.first + self.num_rows];
        for (t, scales) in [scales, tail(scales, 4)].into_iter().enumerate() {
            let row_scales = load_f32(scales);
            let columns = from_fn(|i| {
                let output = (begin + i).min(n - 1);
                let start = f32x4_splat(self.bias.map_or(0.0, |bias| bias[output]));
                let scale = f32x4_mul(row_scales, f32x4_splat(self.w.scales()[output]));
                f32x4_add(start, f32x4_mul(f32x4_convert_i32x4(sums[i][t]), scale))
            });
            for (i, values) in transpose(&columns).iter().enumerate().take(scales.len()) {
                store_f32(&mut c.row_mut(self.first + row + 4 * t + i)[begin..end], *values);
            }
        }
    }
}

/// The sums of `NB` outputs and the rows of a tile.
#[inline(always)]
fn dots(panel: &[Group], mut pairs: [&[i32]; NB]) -> [Group; NB] {
    let mut sums = [[i32x4_splat(0); 2]; NB];
    for pairs in &mut pairs {
        *pairs = &pairs[..panel.len()];
    }
    for (g, group) in panel.iter().enumerate() {
        for (sums, pairs) in sums.iter_mut().zip(pairs) {
            let pair = i32x4_splat(pairs[g]);
            for (sum, rows) in sums.iter_mut().zip(group) {
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(*rows, pair));
            }
        }
    }
    sums
}

/// Where there are too few rows to fill registers: inputs lie in the lanes.
fn few_rows(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (n, inputs) = (w.num_outputs(), w.num_inputs());
    for (i, scale) in x.scales.iter().enumerate() {
        let q = &x.data[i * x.stride..][..inputs];
        for begin in (0..n).step_by(NB) {
            let end = (begin + NB).min(n);
            let sums = reduce(&row_dots(q, from_fn(|j| w.row((begin + j).min(n - 1)))));
            let scales = f32x4_mul(f32x4_splat(*scale), load_f32(&w.scales()[begin..end]));
            let start = bias.map_or(f32x4_splat(0.0), |bias| load_f32(&bias[begin..end]));
            let values = f32x4_add(start, f32x4_mul(f32x4_convert_i32x4(sums), scales));
            store_f32(&mut c.row_mut(i)[begin..end], values);
        }
    }
}

/// The sums of one row and `NB` outputs, each in four parts.
#[inline(always)]
fn row_dots(q: &[i16], w: [&[i8]; NB]) -> [v128; NB] {
    let (blocks, rest) = q.as_chunks::<8>();
    let mut sums = [i32x4_splat(0); NB];
    let w_blocks = w.map(|w| &w.as_chunks::<8>().0[..blocks.len()]);
    for (l, block) in blocks.iter().enumerate() {
        let q = load_i16(block);
        for (sum, w) in sums.iter_mut().zip(w_blocks) {
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(q, load_i8(&w[l])));
        }
    }
    if !rest.is_empty() {
        let q = load_i16(rest);
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(q, load_i8(&w[8 * blocks.len()..])));
        }
    }
    sums
}

/// Rows of a tile: two registers of a number per row.
const ROWS: usize = 8;

/// Outputs that are summed at a time: with two registers of rows each, half of the sixteen that most hosts have.
const NB: usize = 4;

/// Below this many rows most of a register would be empty.
const MIN_ROWS: usize = 3;

/// Pairs of inputs of 8 rows each that are packed at a time: 128 KiB on the stack, and 64 KiB for the weights.
const MAX_GROUPS: usize = 4096;
