//! The int8 product with `smmla`, which multiplies matrices: 2 x 8 by 8 x 2, 32 products per instruction.
//!
//! ```text
//! for 2 U rows of x:     panel[b][h][u] = inputs 16b+8h..16b+8h+8 of rows 2u and 2u+1, a row per half
//!   for 4 outputs j:     pair[p]        = the same inputs of w[j+2p] and w[j+2p+1]
//!                        sum[p][u]     += panel[b][h][u] * transposed pair[p]                 over all b and h
//! ```
//! Changed for speed against [`gemm_i8::gemm`](crate::gemm_i8::gemm): the weights are read where they lie, and each pair is multiplied with 2 U rows at
//! once; `smmla` does not saturate. The sums of a pair of rows with 4 outputs are two registers, whose halves are the rows' as they are stored:
//! nothing is transposed.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use super::lanes4::{load_f32, load_i8, load_i16_as_i8, store_f32};
use crate::gemm_i8::{Int8Weights, QuantisedRows};
use crate::matrix::MatrixMut;
use crate::parts::written;

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm).
#[target_feature(enable = "dotprod,i8mm")]
pub(super) fn gemm(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (m, n, blocks) = (x.scales.len(), w.num_outputs(), w.num_inputs().div_ceil(16));
    assert!(c.num_rows() == m && c.num_cols() == n && bias.is_none_or(|bias| bias.len() == n));
    if m < MIN_ROWS || blocks > MAX_BLOCKS {
        return super::dotprod::gemm(x, w, bias, c);
    }
    let mut panel = [const { MaybeUninit::uninit() }; 4 * MAX_BLOCKS];
    let max_fours = (MAX_BLOCKS / blocks.max(1)).min(4);
    for first in (0..m).step_by(4 * max_fours) {
        let product = Product { x, first, w, bias };
        match (m - first).div_ceil(4).min(max_fours) {
            1 => product.rows::<2>(&mut panel, c),
            2 => product.rows::<4>(&mut panel, c),
            3 => product.rows::<6>(&mut panel, c),
            _ => product.rows::<8>(&mut panel, c),
        }
    }
}

/// 16 inputs of `U` pairs of rows, the first eight and the others.
type Block<const U: usize> = [[int32x4_t; U]; 2];

/// The rows from `first` on.
struct Product<'a> {
    x: QuantisedRows<'a>,
    first: usize,
    w: Int8Weights<'a>,
    bias: Option<&'a [f32]>,
}

impl Product<'_> {
    /// The next `2 U` rows.
    #[target_feature(enable = "neon,i8mm")]
    fn rows<const U: usize>(
        &self,
        panel: &mut [MaybeUninit<int32x4_t>; 4 * MAX_BLOCKS],
        c: &mut MatrixMut<'_>,
    ) {
        let n = self.w.num_outputs();
        let panel = self.pack::<U>(panel);
        for begin in (0..n).step_by(NB) {
            let mut rows: [&[i8]; NB] = [&[]; NB];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = self.w.row((begin + i).min(n - 1));
            }
            self.store(dots(panel, rows), begin, c);
        }
    }

    /// The rows' inputs, as the algorithm above wants them; rows and inputs that are not there are 0.
    #[target_feature(enable = "neon,i8mm")]
    fn pack<'p, const U: usize>(
        &self,
        panel: &'p mut [MaybeUninit<int32x4_t>; 4 * MAX_BLOCKS],
    ) -> &'p [Block<U>] {
        let (x, inputs) = (self.x, self.w.num_inputs());
        let panel = &mut panel[..inputs.div_ceil(16) * 2 * U];
        for (begin, block) in (0..inputs).step_by(16).zip(panel.chunks_exact_mut(2 * U)) {
            let depth = (inputs - begin).min(16);
            let row = |i: usize| match i < x.scales.len() {
                true => load_i16_as_i8(&x.data[i * x.stride + begin..][..depth]),
                false => vdupq_n_s32(0),
            };
            let (low, high) = block.split_at_mut(U);
            let places = low.iter_mut().zip(high);
            for (i, (low, high)) in (self.first..).step_by(2).zip(places) {
                let [low_inputs, high_inputs] = halves(row(i), row(i + 1));
                low.write(low_inputs);
                high.write(high_inputs);
            }
        }
        // SAFETY: each block of 16 inputs wrote its 2 U registers.
        let panel = unsafe { written(panel) };
        panel.as_chunks().0.as_chunks().0
    }

    /// Scales the sums with the outputs from `begin` on.
    #[inline]
    #[target_feature(enable = "neon,i8mm")]
    fn store<const U: usize>(&self, sums: [[int32x4_t; U]; NB / 2], begin: usize, c: &mut MatrixMut<'_>) {
        let (x, w) = (self.x, self.w);
        let end = (begin + NB).min(w.num_outputs());
        let weight_scales = load_f32(&w.scales()[begin..end]);
        let start = self.bias.map_or(vdupq_n_f32(0.0), |bias| load_f32(&bias[begin..end]));
        let [first, second] = sums;
        let rows = first.into_iter().zip(second).flat_map(|(first, second)| halves(first, second));
        for (i, sums) in (self.first..x.scales.len()).zip(rows) {
            let scales = vmulq_f32(vdupq_n_f32(x.scales[i]), weight_scales);
            let values = vaddq_f32(start, vmulq_f32(vcvtq_f32_s32(sums), scales));
            store_f32(&mut c.row_mut(i)[begin..end], values);
        }
    }
}

/// The sums of two pairs of outputs and all pairs of rows.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn dots<const U: usize>(panel: &[Block<U>], w: [&[i8]; NB]) -> [[int32x4_t; U]; NB / 2] {
    let mut sums = [[vdupq_n_s32(0); U]; NB / 2];
    let whole = w[0].len() / 16;
    let mut blocks: [&[[i8; 16]]; NB] = [&[]; NB];
    for (blocks, w) in blocks.iter_mut().zip(w) {
        *blocks = &w.as_chunks().0[..whole];
    }
    for (b, block) in panel[..whole].iter().enumerate() {
        for (sums, [first, second]) in sums.iter_mut().zip(blocks.as_chunks().0) {
            add(sums, block, load_i8(&first[b]), load_i8(&second[b]));
        }
    }
    if let Some(block) = panel.get(whole) {
        for (sums, [first, second]) in sums.iter_mut().zip(w.as_chunks().0) {
            add(sums, block, load_i8(&first[16 * whole..]), load_i8(&second[16 * whole..]));
        }
    }
    sums
}

/// Adds the products of a block and 16 inputs of two outputs.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn add<const U: usize>(sums: &mut [int32x4_t; U], block: &Block<U>, first: int32x4_t, second: int32x4_t) {
    for (rows, pair) in block.iter().zip(halves(first, second)) {
        for (sum, rows) in sums.iter_mut().zip(rows) {
            *sum = smmla(*sum, *rows, pair);
        }
    }
}

/// The low halves of both, then the high ones.
#[inline]
#[target_feature(enable = "neon")]
fn halves(a: int32x4_t, b: int32x4_t) -> [int32x4_t; 2] {
    let (a, b) = (vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b));
    [vreinterpretq_s32_s64(vzip1q_s64(a, b)), vreinterpretq_s32_s64(vzip2q_s64(a, b))]
}

/// To lane `2i + j` of `sum` the dot product of the eight int8 numbers in half `i` of `a` and half `j` of `b`. The intrinsic,
/// `vmmlaq_s32`, is not stable.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: the instruction, which the function's feature stands for, touches these registers alone.
    unsafe {
        asm!(
            "smmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum,
            in(vreg) a,
            in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Outputs that are summed at a time: with eight pairs of rows, half of all registers.
const NB: usize = 4;

/// Below this many rows half of the products would be of rows that are not there.
const MIN_ROWS: usize = 3;

/// Sixteen inputs of 4 rows each that are packed at a time: 64 KiB on the stack.
const MAX_BLOCKS: usize = 1024;
