//! The int8 product with AVX-VNNI: as `vnni.rs`, in registers of eight lanes.
//!
//! ```text
//! for 8 outputs j:
//!   for 8 T rows of x:     sum[j][t] += dot4(panel[t][g], w[j][4g..4g+4] in all lanes)       over all g, NB outputs at a time
//!                          c = bias + (sum - 128 * sum of w[j]) * scales, transposed
//! panel[t][g] = inputs 4g..4g+4 of 8 rows, a row per lane, as u8 = q + 128
//! ```
//! What wraps on the way comes back, since the result fits in 32 bits: the sums are exact. All but the instruction is AVX2's, and the instruction is
//! a parameter, [`Dot4`]: the tests run this code on processors without it.

use core::arch::x86_64::*;
use core::array::from_fn;
use core::mem::MaybeUninit;

use super::lanes8::{load_f32, load_i16, load_lanes, load_wide_i8, reduce, store_f32, to_array, transpose};
use super::pairs;
use crate::gemm_i8::{Int8Weights, QuantisedRows};
use crate::matrix::MatrixMut;
use crate::parts::{padded, tail, written};

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm).
#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn gemm(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    // SAFETY: the features are those that are asked for.
    unsafe { gemm_with::<AvxVnni>(x, w, bias, c) }
}

/// How products are added to the sums.
trait Dot4 {
    /// To each lane of `sum` the four products of a byte of `x`, which has no sign, and one of `w`, which has. The products are
    /// exact, and so is their sum; what is added to the lane wraps.
    ///
    /// # Safety
    /// The processor has AVX2 and the implementation's instruction.
    unsafe fn add(sum: __m256i, x: __m256i, w: __m256i) -> __m256i;
}

/// `vpdpbusd`, which widens both operands to 32 bits (Intel's manual, volume 2: the one that saturates is `vpdpbusds`).
struct AvxVnni;

impl Dot4 for AvxVnni {
    #[inline(always)]
    unsafe fn add(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpbusd_avx_epi32(sum, x, w) }
    }
}

/// [`gemm`] with an instruction.
///
/// # Safety
/// The processor has AVX2 and the instruction.
#[inline(always)]
unsafe fn gemm_with<D: Dot4>(
    x: QuantisedRows<'_>,
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
) {
    let (m, n, groups) = (x.scales.len(), w.num_outputs(), w.num_inputs().div_ceil(4));
    assert!(c.num_rows() == m && c.num_cols() == n && bias.is_none_or(|bias| bias.len() == n));
    let mut panel = [const { MaybeUninit::uninit() }; MAX_GROUPS];
    // SAFETY: the caller's promise.
    unsafe {
        if m < MIN_ROWS {
            return pairs::gemm(x, w, bias, c);
        }
        if let Some(signal) = Signal::pack(x, w.num_inputs(), &mut panel) {
            return product::<D>(&signal, x.scales, w, bias, c);
        }
        if groups > MAX_GROUPS {
            return pairs::gemm(x, w, bias, c);
        }
        let max_rows = 8 * (MAX_GROUPS / groups.max(1)).min(m.div_ceil(8));
        for first in (0..m).step_by(max_rows) {
            let rows = first..(first + max_rows).min(m);
            let x = QuantisedRows { data: &x.data[first * x.stride..], scales: &x.scales[rows.clone()], ..x };
            let panel = Panel { groups: pack(x, w.num_inputs(), &mut panel), num_groups: groups };
            product::<D>(&panel, x.scales, w, bias, &mut c.rows_mut(rows));
        }
    }
}

/// All rows of `x` times all weights.
///
/// # Safety
/// The processor has AVX2 and the instruction.
#[inline(always)]
unsafe fn product<D: Dot4>(
    x: &impl Packed,
    scales: &[f32],
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
) {
    let (num_tiles, n) = (scales.len().div_ceil(8), w.num_outputs());
    for begin in (0..n).step_by(8) {
        // SAFETY: the caller's promise.
        unsafe {
            let outputs = Outputs::new(w, bias, begin);
            let mut t = 0;
            while t < num_tiles {
                t += match num_tiles - t {
                    1 => outputs.tiles::<D, 1, 8>(x, t, scales, c),
                    2 | 4 => outputs.tiles::<D, 2, 4>(x, t, scales, c),
                    _ => outputs.tiles::<D, 3, 4>(x, t, scales, c),
                };
            }
        }
    }
}

/// Up to 8 outputs from `begin` on; where there are fewer, the last is taken again.
struct Outputs<'a> {
    begin: usize,
    count: usize,
    rows: [&'a [i8]; 8],
    scales: [f32; 8],
    bias: [f32; 8],
    /// What the inputs' offset of 128 adds.
    offsets: [i32; 8],
}

impl<'a> Outputs<'a> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(w: Int8Weights<'a>, bias: Option<&[f32]>, begin: usize) -> Self {
        let n = w.num_outputs();
        let output = |j: usize| (begin + j).min(n - 1);
        let mut rows: [&[i8]; 8] = [&[]; 8];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = w.row(output(j));
        }
        Self {
            begin,
            count: (n - begin).min(8),
            scales: from_fn(|j| w.scales()[output(j)]),
            bias: from_fn(|j| bias.map_or(0.0, |bias| bias[output(j)])),
            offsets: weight_sums(&rows).map(|sum| sum << 7),
            rows,
        }
    }

    /// These outputs of `T` tiles of 8 rows from tile `t` on, `NB` at a time; gives `T`.
    ///
    /// # Safety
    /// The processor has AVX2 and the instruction.
    #[inline(always)]
    unsafe fn tiles<D: Dot4, const T: usize, const NB: usize>(
        &self,
        x: &impl Packed,
        t: usize,
        scales: &[f32],
        c: &mut MatrixMut<'_>,
    ) -> usize {
        // SAFETY: the caller's promise.
        unsafe {
            let mut columns = [[_mm256_setzero_si256(); 8]; T];
            for begin in (0..self.count).step_by(NB) {
                let mut rows: [&[i8]; NB] = [&[]; NB];
                rows.copy_from_slice(&self.rows[begin..begin + NB]);
                for (j, sums) in (begin..).zip(x.dots::<D, T, NB>(t, rows)) {
                    for (i, sum) in sums.into_iter().enumerate() {
                        columns[i][j] = self.scaled(j, sum, tail(scales, 8 * (t + i)));
                    }
                }
            }
            for (tile, columns) in (t..).zip(&columns) {
                for (i, row) in (8 * tile..scales.len()).zip(transpose(columns)) {
                    let place = &mut c.row_mut(i)[self.begin..self.begin + self.count];
                    store_f32(place, _mm256_castsi256_ps(row));
                }
            }
        }
        T
    }

    /// Output `j` of eight rows with these scales.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn scaled(&self, j: usize, sum: __m256i, scales: &[f32]) -> __m256i {
        let scale = _mm256_mul_ps(load_f32(scales), _mm256_set1_ps(self.scales[j]));
        let sum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(self.offsets[j])));
        _mm256_castps_si256(_mm256_add_ps(_mm256_set1_ps(self.bias[j]), _mm256_mul_ps(sum, scale)))
    }
}

/// The sum of each of 8 rows of weights. `vpmaddubsw`, which can saturate, does not here: its factors are ones.
#[inline]
#[target_feature(enable = "avx2")]
fn weight_sums(rows: &[&[i8]; 8]) -> [i32; 8] {
    let mut lanes = [_mm256_setzero_si256(); 8];
    for (lanes, row) in lanes.iter_mut().zip(rows) {
        for part in row.chunks(32) {
            let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), load_wide_i8(part));
            *lanes = _mm256_add_epi32(*lanes, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
    }
    to_array(reduce(&lanes))
}

/// Quantised rows where the sums find them: 8 rows in the lanes of a register, four inputs of each.
trait Packed {
    /// The registers of `T` tiles of 8 rows from tile `t` on, group of inputs by group, times `NB` weights.
    ///
    /// # Safety
    /// The processor has AVX2 and the instruction.
    unsafe fn dots<D: Dot4, const T: usize, const NB: usize>(
        &self,
        t: usize,
        w: [&[i8]; NB],
    ) -> [[__m256i; T]; NB];
}

/// Tile by tile, each with all its inputs' groups of four.
struct Panel<'a> {
    groups: &'a [__m256i],
    num_groups: usize,
}

impl Packed for Panel<'_> {
    #[inline(always)]
    unsafe fn dots<D: Dot4, const T: usize, const NB: usize>(
        &self,
        t: usize,
        w: [&[i8]; NB],
    ) -> [[__m256i; T]; NB] {
        let whole = w[0].len() / 4;
        let mut fours: [&[[i8; 4]]; NB] = [&[]; NB];
        for (fours, w) in fours.iter_mut().zip(w) {
            *fours = &w.as_chunks().0[..whole];
        }
        let mut tiles: [&[__m256i]; T] = [&[]; T];
        for (i, tile) in tiles.iter_mut().enumerate() {
            *tile = &self.groups[(t + i) * self.num_groups..][..self.num_groups];
        }
        let mut groups = tiles;
        for groups in &mut groups {
            *groups = &groups[..whole];
        }
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); T]; NB];
            for g in 0..whole {
                let mut rows = [_mm256_setzero_si256(); T];
                rows.iter_mut().zip(groups).for_each(|(rows, groups)| *rows = groups[g]);
                for (sums, w) in sums.iter_mut().zip(fours) {
                    add::<D, T>(sums, &rows, w[g]);
                }
            }
            if w[0].len() > 4 * whole {
                let mut rows = [_mm256_setzero_si256(); T];
                rows.iter_mut().zip(tiles).for_each(|(rows, tile)| *rows = tile[whole]);
                for (sums, w) in sums.iter_mut().zip(w) {
                    add::<D, T>(sums, &rows, padded(&w[4 * whole..]));
                }
            }
            sums
        }
    }
}

/// Rows that overlap, each beginning `stride` inputs after the one before: every number once. Four inputs of consecutive
/// rows lie in consecutive lanes, so that the next `stride` inputs of a row are one lane on.
struct Signal<'a> {
    /// `[stride / 4, len]`, the first index that of four inputs.
    fours: &'a [i32],
    len: usize,
    stride: usize,
}

impl Packed for Signal<'_> {
    /// A row's inputs are found by where they lie in the signal.
    #[inline(always)]
    unsafe fn dots<D: Dot4, const T: usize, const NB: usize>(
        &self,
        t: usize,
        w: [&[i8]; NB],
    ) -> [[__m256i; T]; NB] {
        let groups = self.stride / 4;
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); T]; NB];
            for begin in (0..w[0].len()).step_by(self.stride) {
                let mut fours: [&[[i8; 4]]; NB] = [&[]; NB];
                for (fours, w) in fours.iter_mut().zip(w) {
                    *fours = &w[begin..begin + self.stride].as_chunks().0[..groups];
                }
                let first = 8 * t + begin / self.stride;
                for (f, row) in self.fours.chunks_exact(self.len).enumerate().take(groups) {
                    let lanes = &row[first..first + 8 * T];
                    let mut rows = [_mm256_setzero_si256(); T];
                    for (rows, lanes) in rows.iter_mut().zip(lanes.as_chunks().0) {
                        *rows = load_lanes(lanes);
                    }
                    for (sums, w) in sums.iter_mut().zip(fours) {
                        add::<D, T>(sums, &rows, w[f]);
                    }
                }
            }
            sums
        }
    }
}

/// Adds the products of four inputs of rows in `T` registers and of one output.
///
/// # Safety
/// The processor has AVX2 and the instruction.
#[inline(always)]
unsafe fn add<D: Dot4, const T: usize>(sums: &mut [__m256i; T], rows: &[__m256i; T], w: [i8; 4]) {
    // SAFETY: the caller's promise.
    unsafe {
        let w = _mm256_set1_epi32(i32::from_le_bytes(w.map(i8::cast_unsigned)));
        for (sum, rows) in sums.iter_mut().zip(rows) {
            *sum = D::add(*sum, *rows, w);
        }
    }
}

/// The rows in a panel; rows and inputs that are not there are 0.
#[target_feature(enable = "avx2")]
fn pack<'p>(
    x: QuantisedRows<'_>,
    inputs: usize,
    panel: &'p mut [MaybeUninit<__m256i>; MAX_GROUPS],
) -> &'p [__m256i] {
    let num_groups = inputs.div_ceil(4);
    let panel = &mut panel[..x.scales.len().div_ceil(8) * num_groups];
    let zero = _mm256_set1_epi8(-128);
    if num_groups > 0 {
        for (t, tile) in panel.chunks_exact_mut(num_groups).enumerate() {
            for (begin, groups) in (0..inputs).step_by(32).zip(tile.chunks_mut(8)) {
                let depth = (inputs - begin).min(32);
                let mut rows = [zero; 8];
                for (row, i) in rows.iter_mut().zip(8 * t..x.scales.len()) {
                    let q = &x.data[i * x.stride + begin..][..depth];
                    // The halves of both registers alternate, which the permutation undoes. No number is so large that it saturates.
                    let bytes = _mm256_packs_epi16(load_i16(q), load_i16(tail(q, 16)));
                    *row = _mm256_xor_si256(_mm256_permute4x64_epi64(bytes, 0b11_01_10_00), zero);
                }
                groups.iter_mut().zip(transpose(&rows)).for_each(|(place, group)| _ = place.write(group));
            }
        }
    }
    // SAFETY: the blocks of 32 inputs, 8 groups, of each tile wrote every group.
    unsafe { written(panel) }
}

impl<'p> Signal<'p> {
    /// If rows of these overlap by whole groups and the panel holds them. What is past the last row's end is 0.
    fn pack(
        x: QuantisedRows<'_>,
        inputs: usize,
        panel: &'p mut [MaybeUninit<__m256i>; MAX_GROUPS],
    ) -> Option<Self> {
        let (stride, num_tiles) = (x.stride, x.scales.len().div_ceil(8));
        if stride == 0 || stride >= inputs || !stride.is_multiple_of(4) || !inputs.is_multiple_of(stride) {
            return None;
        }
        let (num_real, len) = (x.scales.len() + inputs / stride - 1, 8 * num_tiles + inputs / stride - 1);
        if len * (stride / 4) > 8 * MAX_GROUPS {
            return None;
        }
        // SAFETY: a register is as large and aligned as eight such numbers at least.
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

/// Below this many rows most of a register would be empty.
const MIN_ROWS: usize = 3;

/// Four inputs of 8 rows each that are packed at a time: 128 KiB on the stack, in the second-level cache.
const MAX_GROUPS: usize = 4096;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::Kernels;
    use crate::x86_64::avx2;

    /// The instruction's products from AVX2's, which multiplies 16 bits: exact, like it.
    struct Emulated;

    impl Dot4 for Emulated {
        #[inline(always)]
        unsafe fn add(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
            // SAFETY: the caller's promise.
            unsafe {
                let even_x = _mm256_and_si256(x, _mm256_set1_epi16(0xff));
                let even_w = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
                let even = _mm256_madd_epi16(even_x, even_w);
                let odd = _mm256_madd_epi16(_mm256_srli_epi16(x, 8), _mm256_srai_epi16(w, 8));
                _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
            }
        }
    }

    /// A table for AVX2 whose int8 product is this file's.
    pub(in crate::x86_64) const EMULATED: Kernels = Kernels {
        name: "AVX-VNNI, emulated",
        gemm_i8: |x, w, bias, c| {
            // SAFETY: the table is AVX2's.
            unsafe { emulated_gemm(x, w, bias, c) }
        },
        ..avx2::TABLE
    };

    #[target_feature(enable = "avx2")]
    fn emulated_gemm(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
        // SAFETY: AVX2 is all that the emulation takes.
        unsafe { gemm_with::<Emulated>(x, w, bias, c) }
    }

    /// The instruction, as Intel's manual has it.
    fn definition(sum: i32, x: [u8; 4], w: [i8; 4]) -> i32 {
        x.into_iter().zip(w).fold(sum, |sum, (x, w)| sum.wrapping_add(i32::from(x) * i32::from(w)))
    }

    #[target_feature(enable = "avx2")]
    fn emulated(sum: &[i32; 8], x: &[i32; 8], w: &[i32; 8]) -> [i32; 8] {
        // SAFETY: AVX2 is all that the emulation takes.
        to_array(unsafe { Emulated::add(load_lanes(sum), load_lanes(x), load_lanes(w)) })
    }

    #[target_feature(enable = "avx2,avxvnni")]
    fn by_instruction(sum: &[i32; 8], x: &[i32; 8], w: &[i32; 8]) -> [i32; 8] {
        // SAFETY: the features are the instruction's.
        to_array(unsafe { AvxVnni::add(load_lanes(sum), load_lanes(x), load_lanes(w)) })
    }

    #[test]
    fn four_products_are_added_without_saturation() {
        let bytes = [0, 1, 2, 127, 128, 129, 254, 255_u8];
        for case in 0..4096 {
            // All of x's and w's bytes with each other, at each place, in each lane.
            let byte = |place: usize| bytes[(case >> (3 * (place % 4))) % 8];
            let x: [u8; 32] = from_fn(byte);
            let w: [u8; 32] =
                from_fn(|place| byte(place + 1 + place / 4).wrapping_mul(1 + 2 * (place / 16) as u8));
            let sum = [0, 1, -1, i32::MAX, i32::MIN, 1 << 30, -77, i32::MAX - 100];
            let lanes = |x: &[u8; 32]| from_fn(|i| i32::from_le_bytes(from_fn(|b| x[4 * i + b])));
            let expected = from_fn(|i| {
                definition(sum[i], from_fn(|b| x[4 * i + b]), from_fn(|b| w[4 * i + b].cast_signed()))
            });
            if crate::x86_64::has_avx2() {
                // SAFETY: the processor has just been asked.
                assert_eq!(unsafe { emulated(&sum, &lanes(&x), &lanes(&w)) }, expected, "{x:?} {w:?}");
            }
            if crate::x86_64::has_avx_vnni() {
                // SAFETY: the processor has just been asked.
                assert_eq!(unsafe { by_instruction(&sum, &lanes(&x), &lanes(&w)) }, expected, "{x:?} {w:?}");
            }
        }
    }
}
