//! The int8 product with AVX-512 VNNI.
//!
//! ```text
//! for 16 T rows of x:
//!   for 16 outputs j:      sum[j][t] += dot4(panel[t][g], w[j][4g..4g+4] in all lanes)       over all g, NB outputs at a time
//!                          c = bias + (sum - 128 * sum of w[j]) * scales, transposed
//! panel[t][g] = inputs 4g..4g+4 of 16 rows, a row per lane, as u8 = q + 128
//! ```
//! Changed for speed against [`gemm_i8::gemm`](crate::gemm_i8::gemm): the weights are read where they lie, without packing, for all rows those of
//! 128 outputs, which stay in the second-level cache. Each is multiplied with 16 rows at once, four inputs per instruction (`vpdpbusd`, which takes
//! one operand without sign: hence the 128). It does not saturate, and what wraps on the way comes back, since the result fits in 32 bits: the sums
//! are exact.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::by_outputs;
use super::lanes16::{
    load_f32, load_f32_as_i8, load_i8, load_i8_as_i16, load_i16, load_i16_as_i8, reduce, store_f32, transpose,
};
use crate::gemm_i8::{Int8Weights, QuantisedRows, quantisation};
use crate::matrix::{Matrix, MatrixMut};
use crate::parts::{padded, tail, written, written_array};

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm).
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn gemm(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (m, n, groups) = (x.scales.len(), w.num_outputs(), w.num_inputs().div_ceil(4));
    assert!(c.num_rows() == m && c.num_cols() == n && bias.is_none_or(|bias| bias.len() == n));
    if m < MIN_ROWS && groups <= MAX_GROUPS {
        return few_rows(x, w, bias, c);
    }
    many_rows(x, w, bias, c);
}

/// On its own, so that its panel is on the stack where it is needed only.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn many_rows(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (m, groups) = (x.scales.len(), w.num_inputs().div_ceil(4));
    let mut panel = [const { MaybeUninit::uninit() }; MAX_GROUPS];
    if x.stride == w.num_inputs() && by_outputs::pays(m, w) && by_outputs::gemm(x, w, bias, c, &mut panel) {
        return;
    }
    if let Some(signal) = Signal::pack(x, w.num_inputs(), &mut panel) {
        return product(&signal, x.scales, w, bias, c);
    }
    if groups > MAX_GROUPS {
        return crate::gemm_i8::gemm(x, w, bias, c);
    }
    let max_rows = 16 * (MAX_GROUPS / groups.max(1)).min(m.div_ceil(16));
    for first in (0..m).step_by(max_rows) {
        let rows = first..(first + max_rows).min(m);
        let x = QuantisedRows { data: &x.data[first * x.stride..], scales: &x.scales[rows.clone()], ..x };
        let panel = pack(x, w.num_inputs(), &mut panel);
        product(&Panel { groups: panel, num_groups: groups }, x.scales, w, bias, &mut c.rows_mut(rows));
    }
}

/// [`gemm_i8::linear`](crate::gemm_i8::linear): the rows are packed while they are quantised, as many at a time as `scratch` holds.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn linear(
    x: Matrix<'_>,
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
    scratch: &mut [i16],
) {
    let (m, inputs) = (x.num_rows(), x.num_cols());
    assert_eq!(inputs, w.num_inputs());
    let num_groups = inputs.div_ceil(4);
    // SAFETY: any bits are a register's.
    let (_, panel, _) = unsafe { scratch.align_to_mut::<__m512i>() };
    if by_outputs::pays(m, w) && by_outputs::linear(x, w, bias, c, panel) {
        return;
    }
    let max_tiles = (panel.len().min(MAX_LENT_GROUPS) / num_groups.max(1)).min(MAX_TILES);
    if m < MIN_ROWS || max_tiles == 0 {
        return crate::gemm_i8::linear_with(x, c, scratch, crate::gemm_i8::quantise, |x, c| {
            gemm(x, w, bias, c);
        });
    }
    let mut scales = [0.0; 16 * MAX_TILES];
    for first in (0..m).step_by(16 * max_tiles) {
        let rows = first..(first + 16 * max_tiles).min(m);
        let groups = &mut panel[..rows.len().div_ceil(16) * num_groups];
        let scales = &mut scales[..rows.len()];
        if num_groups > 0 {
            for (t, (tile, scales)) in
                groups.chunks_exact_mut(num_groups).zip(scales.chunks_mut(16)).enumerate()
            {
                quantise_tile(x.rows(first + 16 * t..first + 16 * t + scales.len()), tile, scales);
            }
        }
        product(&Panel { groups, num_groups }, scales, w, bias, &mut c.rows_mut(rows));
    }
}

/// Up to 16 rows, quantised as [`gemm_i8::quantise`](crate::gemm_i8::quantise) does, in a tile of a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn quantise_tile(x: Matrix<'_>, tile: &mut [__m512i], scales: &mut [f32]) {
    let mut factors = [_mm512_setzero_ps(); 16];
    for (i, (scale, factor)) in scales.iter_mut().zip(&mut factors).enumerate() {
        let (whole, part) = quantisation(x.row(i));
        *scale = whole;
        *factor = _mm512_set1_ps(part);
    }
    let zero = _mm512_set1_epi8(-128);
    for (begin, groups) in (0..x.num_cols()).step_by(64).zip(tile.chunks_mut(16)) {
        let mut rows = [zero; 16];
        for (i, (row, factor)) in rows.iter_mut().zip(factors).enumerate().take(x.num_rows()) {
            *row = _mm512_xor_si512(load_f32_as_i8(&x.row(i)[begin..], factor), zero);
        }
        groups.iter_mut().zip(transpose(&rows)).for_each(|(place, group)| *place = group);
    }
}

/// Quantised rows where the sums find them: 16 rows in the lanes of a register, four inputs of each.
trait Packed {
    /// The registers of `T` tiles of 16 rows from tile `t` on, group of inputs by group, times `NB` weights.
    fn dots<const T: usize, const NB: usize>(&self, t: usize, w: [&[i8]; NB]) -> [[__m512i; T]; NB];
}

/// Tile by tile, each with all its inputs' groups of four.
struct Panel<'a> {
    groups: &'a [__m512i],
    num_groups: usize,
}

/// Rows that overlap, each beginning `stride` inputs after the one before: every number once. Four inputs of consecutive
/// rows lie in consecutive lanes, so that the next `stride` inputs of a row are one lane on.
struct Signal<'a> {
    /// `[stride / 4, len]`, the first index that of four inputs.
    fours: &'a [i32],
    len: usize,
    stride: usize,
}

/// All rows of `x` times all weights: as long as some tiles of rows are in the first cache, [`NUM_BLOCKS`] blocks of 16 outputs, whose weights are in
/// the second.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn product(x: &impl Packed, scales: &[f32], w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    let (num_tiles, n) = (scales.len().div_ceil(16), w.num_outputs());
    let mut memory = [const { MaybeUninit::uninit() }; NUM_BLOCKS];
    for first in (0..n).step_by(16 * NUM_BLOCKS) {
        let end = (first + 16 * NUM_BLOCKS).min(n);
        let blocks = &mut memory[..(end - first).div_ceil(16)];
        for (place, begin) in blocks.iter_mut().zip((first..end).step_by(16)) {
            place.write(Outputs::new(w, bias, begin));
        }
        // SAFETY: each was just written.
        let blocks = unsafe { written(blocks) };
        // They come from far, once: asked for while the ones before are multiplied.
        let mut next = w.outputs(end..(end + 16 * NUM_BLOCKS).min(n)).data().chunks(64);
        let num_ahead = next.len().div_ceil(num_tiles.div_ceil(3) * blocks.len());
        let mut t = 0;
        while t < num_tiles {
            let count = match num_tiles - t {
                1 => 1,
                2 | 4 => 2,
                _ => 3,
            };
            for outputs in blocks {
                for line in next.by_ref().take(num_ahead) {
                    _mm_prefetch(line.as_ptr(), _MM_HINT_T1);
                }
                match count {
                    1 => outputs.tiles::<1>(x, t, scales, c),
                    2 => outputs.tiles::<2>(x, t, scales, c),
                    _ => outputs.tiles::<3>(x, t, scales, c),
                }
            }
            t += count;
        }
    }
}

/// Up to 16 outputs from `begin` on; where there are fewer, the last is taken again.
struct Outputs<'a> {
    begin: usize,
    count: usize,
    rows: [&'a [i8]; 16],
    scales: [f32; 16],
    bias: [f32; 16],
    /// What the inputs' offset of 128 adds.
    offsets: [i32; 16],
}

impl<'a> Outputs<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn new(w: Int8Weights<'a>, bias: Option<&[f32]>, begin: usize) -> Self {
        let n = w.num_outputs();
        let output = |j: usize| (begin + j).min(n - 1);
        let (mut rows, mut scales, mut biases): ([&[i8]; 16], _, _) = ([&[]; 16], [0.0; 16], [0.0; 16]);
        for j in 0..16 {
            rows[j] = w.row(output(j));
            scales[j] = w.scales()[output(j)];
            if let Some(bias) = bias {
                biases[j] = bias[output(j)];
            }
        }
        Self {
            begin,
            count: (n - begin).min(16),
            scales,
            bias: biases,
            offsets: weight_sums(&rows).map(|sum| sum << 7),
            rows,
        }
    }

    /// These outputs of `T` tiles of 16 rows from tile `t` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn tiles<const T: usize>(&self, x: &impl Packed, t: usize, scales: &[f32], c: &mut MatrixMut<'_>) {
        // Not set to anything: that would be a call of memset.
        let mut columns = [[const { MaybeUninit::uninit() }; 16]; T];
        let num_columns = self.count.next_multiple_of(NB);
        for begin in (0..num_columns).step_by(NB) {
            let mut rows: [&[i8]; NB] = [&[]; NB];
            rows.copy_from_slice(&self.rows[begin..begin + NB]);
            let sums = x.dots::<T, NB>(t, rows);
            for (j, sums) in (begin..).zip(sums) {
                let offset = _mm512_set1_epi32(self.offsets[j]);
                let (start, weight_scale) = (_mm512_set1_ps(self.bias[j]), _mm512_set1_ps(self.scales[j]));
                for (i, sum) in sums.into_iter().enumerate() {
                    let scale = _mm512_mul_ps(load_f32(tail(scales, 16 * (t + i))), weight_scale);
                    let sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, offset));
                    let values = _mm512_add_ps(start, _mm512_mul_ps(sum, scale));
                    columns[i][j].write(_mm512_castps_si512(values));
                }
            }
        }
        for (tile, columns) in (t..).zip(&mut columns) {
            columns[num_columns..].iter_mut().for_each(|column| _ = column.write(_mm512_setzero_si512()));
            // SAFETY: each of the 16 is written: the first by the loop above, the others by the line above.
            let columns = unsafe { written_array(columns) };
            for (i, row) in (16 * tile..scales.len()).zip(transpose(columns)) {
                let place = &mut c.row_mut(i)[self.begin..self.begin + self.count];
                store_f32(place, _mm512_castsi512_ps(row));
            }
        }
    }
}

/// The rows in a panel; rows and inputs that are not there are 0.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pack<'p>(
    x: QuantisedRows<'_>,
    inputs: usize,
    panel: &'p mut [MaybeUninit<__m512i>; MAX_GROUPS],
) -> &'p [__m512i] {
    let num_groups = inputs.div_ceil(4);
    let panel = &mut panel[..x.scales.len().div_ceil(16) * num_groups];
    let zero = _mm512_set1_epi8(-128);
    if num_groups > 0 {
        for (t, tile) in panel.chunks_exact_mut(num_groups).enumerate() {
            for (begin, groups) in (0..inputs).step_by(64).zip(tile.chunks_mut(16)) {
                let depth = (inputs - begin).min(64);
                let mut rows = [zero; 16];
                for (row, i) in rows.iter_mut().zip(16 * t..x.scales.len()) {
                    let q = &x.data[i * x.stride + begin..][..depth];
                    *row = _mm512_xor_si512(load_i16_as_i8(q), zero);
                }
                groups.iter_mut().zip(transpose(&rows)).for_each(|(place, group)| _ = place.write(group));
            }
        }
    }
    // SAFETY: the blocks of 64 inputs, 16 groups, of each tile wrote every group.
    unsafe { written(panel) }
}

impl<'p> Signal<'p> {
    /// If rows of these overlap by whole groups and the panel holds them. What is past the last row's end is 0.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn pack(
        x: QuantisedRows<'_>,
        inputs: usize,
        panel: &'p mut [MaybeUninit<__m512i>; MAX_GROUPS],
    ) -> Option<Self> {
        let (stride, num_tiles) = (x.stride, x.scales.len().div_ceil(16));
        if stride == 0 || stride >= inputs || !stride.is_multiple_of(4) || !inputs.is_multiple_of(stride) {
            return None;
        }
        let (num_real, len) = (x.scales.len() + inputs / stride - 1, 16 * num_tiles + inputs / stride - 1);
        if len * (stride / 4) > 16 * MAX_GROUPS {
            return None;
        }
        // SAFETY: a register is as large and aligned as sixteen such numbers at least.
        let fours = unsafe {
            core::slice::from_raw_parts_mut(panel.as_mut_ptr().cast::<MaybeUninit<i32>>(), len * (stride / 4))
        };
        for (f, row) in fours.chunks_exact_mut(len).enumerate() {
            for (i, place) in row.iter_mut().enumerate() {
                let q = match i < num_real {
                    true => x.data[i * stride + 4 * f..].first_chunk().copied().unwrap_or([0; 4]),
                    false => [0; 4],
                };
                place.write(i32::from_le_bytes(q.map(|q| (q + 128) as u8)));
            }
        }
        // SAFETY: every row of it was just written to its end.
        Some(Self { fours: unsafe { written(fours) }, len, stride })
    }
}

impl Packed for Signal<'_> {
    #[inline(always)]
    fn dots<const T: usize, const NB: usize>(&self, t: usize, w: [&[i8]; NB]) -> [[__m512i; T]; NB] {
        // SAFETY: who calls the products has the instructions.
        unsafe { signal_dots(self, t, w) }
    }
}

impl Packed for Panel<'_> {
    #[inline(always)]
    fn dots<const T: usize, const NB: usize>(&self, t: usize, w: [&[i8]; NB]) -> [[__m512i; T]; NB] {
        let mut tiles: [&[__m512i]; T] = [&[]; T];
        for (i, tile) in tiles.iter_mut().enumerate() {
            *tile = &self.groups[(t + i) * self.num_groups..][..self.num_groups];
        }
        // SAFETY: who calls the products has the instructions.
        unsafe { panel_dots(tiles, w) }
    }
}

/// [`Packed::dots`]: a weight's four inputs go to all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn panel_dots<const T: usize, const NB: usize>(
    tiles: [&[__m512i]; T],
    w: [&[i8]; NB],
) -> [[__m512i; T]; NB] {
    let mut sums = [[_mm512_setzero_si512(); T]; NB];
    let whole = w[0].len() / 4;
    let mut fours: [&[[i8; 4]]; NB] = [&[]; NB];
    for (fours, w) in fours.iter_mut().zip(w) {
        *fours = &w.as_chunks().0[..whole];
    }
    let mut groups: [&[__m512i]; T] = [&[]; T];
    for (groups, tile) in groups.iter_mut().zip(tiles) {
        *groups = &tile[..whole];
    }
    for g in 0..whole {
        let mut rows = [_mm512_setzero_si512(); T];
        rows.iter_mut().zip(groups).for_each(|(rows, groups)| *rows = groups[g]);
        for (sums, w) in sums.iter_mut().zip(fours) {
            let w = _mm512_set1_epi32(i32::from_le_bytes(w[g].map(i8::cast_unsigned)));
            for (sum, rows) in sums.iter_mut().zip(rows) {
                *sum = _mm512_dpbusd_epi32(*sum, rows, w);
            }
        }
    }
    if w[0].len() > 4 * whole {
        for (sums, w) in sums.iter_mut().zip(w) {
            let four = padded::<i8, 4>(&w[4 * whole..]);
            let w = _mm512_set1_epi32(i32::from_le_bytes(four.map(i8::cast_unsigned)));
            for (sum, tile) in sums.iter_mut().zip(tiles) {
                *sum = _mm512_dpbusd_epi32(*sum, tile[whole], w);
            }
        }
    }
    sums
}

/// [`Packed::dots`] of a signal: a row's inputs are found by where they lie in it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn signal_dots<const T: usize, const NB: usize>(
    x: &Signal<'_>,
    t: usize,
    w: [&[i8]; NB],
) -> [[__m512i; T]; NB] {
    let mut sums = [[_mm512_setzero_si512(); T]; NB];
    let groups = x.stride / 4;
    for begin in (0..w[0].len()).step_by(x.stride) {
        let mut fours: [&[[i8; 4]]; NB] = [&[]; NB];
        for (fours, w) in fours.iter_mut().zip(w) {
            *fours = &w[begin..begin + x.stride].as_chunks().0[..groups];
        }
        let first = 16 * t + begin / x.stride;
        for (f, row) in x.fours.chunks_exact(x.len).enumerate().take(groups) {
            let lanes = &row[first..first + 16 * T];
            let mut rows = [_mm512_setzero_si512(); T];
            for (rows, lanes) in rows.iter_mut().zip(lanes.as_chunks::<16>().0) {
                // SAFETY: the array is as large as the register.
                *rows = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
            }
            for (sums, w) in sums.iter_mut().zip(fours) {
                let w = _mm512_set1_epi32(i32::from_le_bytes(w[f].map(i8::cast_unsigned)));
                for (sum, rows) in sums.iter_mut().zip(rows) {
                    *sum = _mm512_dpbusd_epi32(*sum, rows, w);
                }
            }
        }
    }
    sums
}

/// The sum of each of 16 rows of weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn weight_sums(rows: &[&[i8]; 16]) -> [i32; 16] {
    let mut lanes = [_mm512_setzero_si512(); 16];
    for (lanes, row) in lanes.iter_mut().zip(rows) {
        let (whole, rest) = row.as_chunks::<64>();
        for part in whole {
            *lanes = _mm512_dpbusd_epi32(*lanes, _mm512_set1_epi8(1), load_i8(part));
        }
        if !rest.is_empty() {
            *lanes = _mm512_dpbusd_epi32(*lanes, _mm512_set1_epi8(1), load_i8(rest));
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
            let row = |j: usize| w.row((begin + j).min(n - 1));
            let mut lanes = [_mm512_setzero_si512(); 16];
            for (j, lanes) in (0..16).step_by(4).zip(lanes.as_chunks_mut().0) {
                *lanes = row_dots(q, [row(j), row(j + 1), row(j + 2), row(j + 3)]);
            }
            let sums = _mm512_cvtepi32_ps(reduce(&lanes));
            let scales = _mm512_mul_ps(_mm512_set1_ps(*scale), load_f32(&w.scales()[begin..end]));
            let start = match bias {
                Some(bias) => load_f32(&bias[begin..end]),
                None => _mm512_setzero_ps(),
            };
            let values = _mm512_add_ps(start, _mm512_mul_ps(sums, scales));
            store_f32(&mut c.row_mut(i)[begin..end], values);
        }
    }
}

/// A row's inputs times those of `N` outputs, in sixteen parts each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn row_dots<const N: usize>(q: &[i16], w: [&[i8]; N]) -> [__m512i; N] {
    let (whole, rest) = q.as_chunks::<32>();
    let mut blocks: [&[[i8; 32]]; N] = [&[]; N];
    for (blocks, w) in blocks.iter_mut().zip(w) {
        *blocks = &w.as_chunks().0[..whole.len()];
    }
    let mut sums = [_mm512_setzero_si512(); N];
    for (part, q) in whole.iter().enumerate() {
        let q = load_i16(q);
        for (sum, blocks) in sums.iter_mut().zip(blocks) {
            *sum = _mm512_dpwssd_epi32(*sum, q, load_i8_as_i16(&blocks[part]));
        }
    }
    if !rest.is_empty() {
        let q = load_i16(rest);
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = _mm512_dpwssd_epi32(*sum, q, load_i8_as_i16(&w[32 * whole.len()..]));
        }
    }
    sums
}

/// Below this many rows most of a register would be empty.
const MIN_ROWS: usize = 6;

/// Four inputs of 16 rows each that are packed at a time: 128 KiB on the stack, in the second-level cache.
const MAX_GROUPS: usize = 2048;

/// The same of memory that is lent: 384 KiB, in the second-level cache beside the weights.
const MAX_LENT_GROUPS: usize = 6144;

/// Tiles of 16 rows that are multiplied at a time.
const MAX_TILES: usize = 32;

/// Outputs whose sums are in registers at a time, for up to three tiles.
pub(super) const NB: usize = 8;

/// Blocks of 16 outputs that the same tiles are multiplied with, one after another: their weights are 96 KiB with 768 inputs.
const NUM_BLOCKS: usize = 8;
