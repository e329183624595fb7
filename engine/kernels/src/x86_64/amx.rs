//! The int8 product with AMX, whose registers are tiles of 16 rows of 64 bytes.
//!
//! ```text
//! for 32 outputs j:        panel[p][g] = inputs 4g..4g+4 of 16 outputs, an output per lane
//!   for 32 rows i of x:    sum[i][j]  += x[i][64b..64b+64] . lane j of panel[p][16b..16b+16]      over all b
//! ```
//! Changed for speed against [`gemm_i8::gemm`](crate::gemm_i8::gemm): an instruction (`tdpbssd`) multiplies a tile of rows with a tile of a panel: 16384
//! products. Two tiles of either are multiplied with each other, so that each is loaded for two products, and the rows of sums are as they are
//! stored. Tiles of rows pass by the first-level cache (`tileloaddt1`), where the panels are. Rows may overlap: a tile's rows are loaded from where
//! they begin. Outputs and inputs that are missing at the edges are 0 in the panels. The sums wrap, and so are exact, since they fit in 32 bits.
//!
//! The intrinsics are not stable, hence `asm!`. Linux keeps tiles for those processes alone that have asked for them (arch_prctl(2)).

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::lanes16::{load_f32, load_f32_as_i8, load_i8, load_i16_as_i8, store_f32, transpose};
use super::{avx512, vnni};
use crate::Kernels;
use crate::gemm_i8::{Int8Weights, QuantisedRows, quantisation};
use crate::matrix::{Matrix, MatrixMut};
use crate::parts::{tail, written, written_array};

pub(super) const TABLE: Kernels =
    Kernels { name: "AMX", gemm_i8: gemm, linear_i8: Some(linear), ..avx512::TABLE };

/// The same with f32 products that are rounded once.
pub(super) const FUSED: Kernels =
    Kernels { name: "AMX, fused", gemm_i8: gemm, linear_i8: Some(linear), ..avx512::fused::TABLE };

/// [`gemm_i8::gemm`](crate::gemm_i8::gemm).
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn gemm(x: QuantisedRows<'_>, w: Int8Weights<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    // SAFETY: the table is for processors that have tiles.
    unsafe { gemm_with::<Tiles>(x, w, bias, c) }
}

/// [`gemm_i8::linear`](crate::gemm_i8::linear): as many rows are quantised at a time as `scratch` holds.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn linear(
    x: Matrix<'_>,
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
    scratch: &mut [i16],
) {
    // SAFETY: the table is for processors that have tiles.
    unsafe { linear_with::<Tiles>(x, w, bias, c, scratch) }
}

/// What multiplies tiles.
trait Multiplier {
    /// # Safety
    /// The processor has what the multiplier needs, and the system lets this process use it.
    unsafe fn new() -> Self;

    /// The sums of two tiles of 16 rows of `x` with both panels: those of the first tile with either, then of the second; of each row a
    /// register, an output per lane.
    ///
    /// # Panics
    /// If `x` does not hold the tiles, as long as the panels are.
    fn dots<'s>(
        &self,
        x: Rows<'_>,
        tiles: [usize; 2],
        panels: [&[__m512i]; 2],
        sums: &'s mut [MaybeUninit<[__m512i; 16]>; 4],
    ) -> &'s [[__m512i; 16]; 4];
}

/// Rows of int8, and how far apart in bytes their parts begin.
#[derive(Clone, Copy)]
struct Rows<'a> {
    memory: &'a [Block],
    /// From one row of a tile to the next.
    row: usize,
    /// From 64 inputs of a row to the next.
    block: usize,
    /// From one tile's first row to the next one's.
    tile: usize,
}

impl Rows<'_> {
    /// Where a tile begins.
    ///
    /// # Panics
    /// If the memory does not hold it, `blocks` long.
    #[inline(always)]
    fn offset(&self, tile: usize, blocks: usize) -> usize {
        let offset = tile * self.tile;
        assert!(
            blocks > 0 && offset + 15 * self.row + (blocks - 1) * self.block + 64 <= 64 * self.memory.len()
        );
        offset
    }
}

/// 64 inputs, a line of the cache.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([i8; 64]);

/// # Safety
/// As [`Multiplier::new`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn gemm_with<M: Multiplier>(
    x: QuantisedRows<'_>,
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
) {
    let (m, inputs, stride) = (x.scales.len(), w.num_inputs(), x.stride);
    let blocks = inputs.div_ceil(64);
    let max_rows = match (64 * SIGNAL_BLOCKS).checked_sub(64 * blocks + 64) {
        Some(room) => room.checked_div(stride).map_or(MAX_ROWS, |rows| (rows + 1).min(MAX_ROWS)) / 16 * 16,
        None => 0,
    };
    if m < MIN_ROWS || inputs < MIN_INPUTS || blocks > MAX_BLOCKS || max_rows == 0 {
        return vnni::gemm(x, w, bias, c);
    }
    let mut memory: [MaybeUninit<Block>; SIGNAL_BLOCKS] = [const { MaybeUninit::uninit() }; SIGNAL_BLOCKS];
    for first in (0..m).step_by(max_rows) {
        let rows = first..(first + max_rows).min(m);
        let last_row = rows.len().next_multiple_of(16) - 1;
        let memory = &mut memory[..(last_row * stride).div_ceil(64) + blocks];
        let signal = &x.data[first * stride..][..(rows.len() - 1) * stride + inputs];
        for (place, q) in memory.iter_mut().zip(signal.chunks(64).chain(core::iter::repeat(&[][..]))) {
            // SAFETY: the place is as large as the register, and aligned as it is.
            unsafe { _mm512_store_si512(place.as_mut_ptr().cast(), load_i16_as_i8(q)) };
        }
        // SAFETY: each place was just written.
        let signal = Rows { memory: unsafe { written(memory) }, row: stride, block: 64, tile: 16 * stride };
        // SAFETY: the caller's promise.
        unsafe { product::<M>(signal, &x.scales[rows.clone()], w, bias, &mut c.rows_mut(rows)) };
    }
}

/// # Safety
/// As [`Multiplier::new`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn linear_with<M: Multiplier>(
    x: Matrix<'_>,
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
    scratch: &mut [i16],
) {
    let (m, inputs) = (x.num_rows(), x.num_cols());
    assert_eq!(inputs, w.num_inputs());
    let blocks = inputs.div_ceil(64);
    // SAFETY: any bits are int8 numbers.
    let (_, memory, _) = unsafe { scratch.align_to_mut::<Block>() };
    let max_rows = (memory.len() / blocks.max(1) / 16 * 16).min(MAX_ROWS);
    if m < MIN_ROWS || inputs < MIN_INPUTS || blocks > MAX_BLOCKS || max_rows == 0 {
        return vnni::linear(x, w, bias, c, scratch);
    }
    let mut scales = [0.0; MAX_ROWS];
    for first in (0..m).step_by(max_rows) {
        let rows = first..(first + max_rows).min(m);
        let (memory, scales) =
            (&mut memory[..rows.len().next_multiple_of(16) * blocks], &mut scales[..rows.len()]);
        for (tile, (first, scales)) in
            memory.chunks_exact_mut(16 * blocks).zip(rows.clone().step_by(16).zip(scales.chunks_mut(16)))
        {
            for (r, scale) in scales.iter_mut().enumerate() {
                *scale = quantise(x.row(first + r), tile[r..].iter_mut().step_by(16));
            }
        }
        let x = Rows { memory, row: 64, block: 1024, tile: 1024 * blocks };
        // SAFETY: the caller's promise.
        unsafe { product::<M>(x, scales, w, bias, &mut c.rows_mut(rows)) };
    }
}

/// As [`gemm_i8::quantise`](crate::gemm_i8::quantise), zeros behind what is there.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn quantise<'b>(x: &[f32], blocks: impl Iterator<Item = &'b mut Block>) -> f32 {
    let (scale, factor) = quantisation(x);
    let factor = _mm512_set1_ps(factor);
    for (b, block) in blocks.enumerate() {
        // SAFETY: the block is as large as the register, and aligned as it is.
        unsafe { _mm512_store_si512(block.0.as_mut_ptr().cast(), load_f32_as_i8(tail(x, 64 * b), factor)) };
    }
    scale
}

/// All rows times all weights. What is behind the last row or a row's inputs may be any numbers.
///
/// # Safety
/// As [`Multiplier::new`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn product<M: Multiplier>(
    x: Rows<'_>,
    scales: &[f32],
    w: Int8Weights<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
) {
    let (m, n) = (scales.len(), w.num_outputs());
    assert!(c.num_rows() == m && c.num_cols() == n && bias.is_none_or(|bias| bias.len() == n));
    let (last_tile, blocks) = ((m - 1) / 16, w.num_inputs().div_ceil(64));
    let mut memory = [const { MaybeUninit::uninit() }; 2 * 16 * MAX_BLOCKS];
    // SAFETY: the caller's promise.
    let multiplier = unsafe { M::new() };
    for begin in (0..n).step_by(32) {
        let (first, second) = memory[..2 * 16 * blocks].split_at_mut(16 * blocks);
        let panels = [pack(w, begin, first), pack(w, begin + 16, second)];
        let [mut weight_scales, mut start] = [[_mm512_setzero_ps(); 2]; 2];
        for (place, scales) in weight_scales.iter_mut().zip(w.scales()[begin..].chunks(16)) {
            *place = load_f32(scales);
        }
        for (place, bias) in start.iter_mut().zip(bias.map_or(&[][..], |bias| &bias[begin..]).chunks(16)) {
            *place = load_f32(bias);
        }
        for t in (0..=last_tile).step_by(2) {
            // An odd count ends with a tile taken twice.
            let mut sums = [const { MaybeUninit::uninit() }; 4];
            let sums = multiplier.dots(x, [t, (t + 1).min(last_tile)], panels, &mut sums);
            for (sums, first) in sums.as_chunks::<2>().0.iter().zip([16 * t, 16 * t + 16]) {
                for (r, i) in (first..m).take(16).enumerate() {
                    let scale = _mm512_set1_ps(scales[i]);
                    let mut values = start;
                    for (h, value) in values.iter_mut().enumerate() {
                        let scales = _mm512_mul_ps(scale, weight_scales[h]);
                        let sums = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[h][r]), scales);
                        *value = _mm512_add_ps(*value, sums);
                    }
                    let places = &mut c.row_mut(i)[begin..];
                    // Nearly all rows have room for both: one question instead of two.
                    if let Some(places) = places.first_chunk_mut::<32>() {
                        let (left, right) = places.split_at_mut(16);
                        store_f32(left, values[0]);
                        store_f32(right, values[1]);
                    } else {
                        for (place, values) in places.chunks_mut(16).zip(values) {
                            store_f32(place, values);
                        }
                    }
                }
            }
        }
    }
}

/// The panel of 16 outputs from `begin` on; outputs and inputs that are not there are 0.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pack<'p>(w: Int8Weights<'_>, begin: usize, panel: &'p mut [MaybeUninit<__m512i>]) -> &'p [__m512i] {
    for (b, groups) in panel.chunks_exact_mut(16).enumerate() {
        let mut rows = [_mm512_setzero_si512(); 16];
        for (row, j) in rows.iter_mut().zip(begin..w.num_outputs()) {
            *row = load_i8(&w.row(j)[64 * b..]);
        }
        groups.iter_mut().zip(transpose(&rows)).for_each(|(place, group)| _ = place.write(group));
    }
    // SAFETY: whole blocks of 16 groups: each was just written.
    unsafe { written(panel) }
}

/// That the tiles are set up, all of them with 16 rows of 64 bytes, until this is dropped.
struct Tiles;

/// What `ldtilecfg` reads (Intel's manual, volume 1, chapter 18).
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

/// The processor has eight tiles.
static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

impl Multiplier for Tiles {
    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: the caller's promise; it reads the 64 bytes of the shapes, and changes no register that Rust knows.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, preserves_flags)) };
        Self
    }

    #[inline(always)]
    fn dots<'s>(
        &self,
        x: Rows<'_>,
        tiles: [usize; 2],
        panels: [&[__m512i]; 2],
        sums: &'s mut [MaybeUninit<[__m512i; 16]>; 4],
    ) -> &'s [[__m512i; 16]; 4] {
        let blocks = panels[0].len() / 16;
        assert!(panels.iter().all(|panel| panel.len() == 16 * blocks));
        let tiles = tiles.map(|t| x.offset(t, blocks));
        // SAFETY: there are tiles, as long as `self` lives. What is loaded, `blocks` times: 16 rows of 64 bytes of either tile, all of which lie in the
        // memory, as `offset` has asked, and 1024 bytes of either panel. What is stored: 4 times 1024 bytes, all of `sums`.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloaddt1 tmm4, [{x0} + {row}]",
                "tileloadd tmm6, [{p0} + {line}]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{p1} + {line}]",
                "tdpbssd tmm1, tmm4, tmm7",
                "tileloaddt1 tmm5, [{x1} + {row}]",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                "add {x0}, {block}",
                "add {x1}, {block}",
                "add {p0}, 1024",
                "add {p1}, 1024",
                "dec {blocks}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + 1024], tmm1",
                "tilestored [{sums} + {line} + 2048], tmm2",
                "tilestored [{sums} + {line} + 3072], tmm3",
                blocks = inout(reg) blocks => _,
                x0 = inout(reg) x.memory.as_ptr().byte_add(tiles[0]) => _,
                x1 = inout(reg) x.memory.as_ptr().byte_add(tiles[1]) => _,
                p0 = inout(reg) panels[0].as_ptr() => _,
                p1 = inout(reg) panels[1].as_ptr() => _,
                row = in(reg) x.row,
                block = in(reg) x.block,
                line = in(reg) 64_usize,
                sums = in(reg) sums.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
            written_array(sums)
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there are tiles; without them nothing has to be saved when the system changes threads.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Whether the processor multiplies tiles of int8, and the system lets this process do so, which is asked for here. It does not where a thread has too
/// small a stack for signals, and refuses such stacks afterwards.
#[cfg(all(target_os = "linux", any(feature = "std", test)))]
pub(super) fn is_there() -> bool {
    use std::sync::OnceLock;

    const LEAF: u32 = 7;
    const TILES_AND_INT8: u32 = 0b11 << 24;
    // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) of Linux 5.16.
    const ARCH_PRCTL: isize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    static IS_THERE: OnceLock<bool> = OnceLock::new();

    *IS_THERE.get_or_init(|| {
        #[allow(unused_unsafe)] // Rust 1.89 still wants it.
        // SAFETY: whoever asks whether AVX-512 is there has this leaf.
        let has_it = || unsafe { __cpuid_count(LEAF, 0) }.edx & TILES_AND_INT8 == TILES_AND_INT8;
        if !super::has_avx512_vnni() || !has_it() {
            return false;
        }
        let mut result = ARCH_PRCTL;
        // SAFETY: the call changes nothing but what the system saves; where it has no such call, it is an error like any other.
        unsafe {
            asm!(
                "syscall",
                inout("rax") result,
                in("rdi") REQUEST_PERMISSION,
                in("rsi") TILE_DATA,
                out("rcx") _,
                out("r11") _,
                options(nostack)
            );
        }
        result == 0
    })
}

/// Other systems are not asked.
#[cfg(not(all(target_os = "linux", any(feature = "std", test))))]
pub(super) fn is_there() -> bool {
    false
}

/// Below this many rows most of a tile would be empty.
const MIN_ROWS: usize = 6;

/// Below this many inputs, of the 64 that a product takes, AVX-512 VNNI is faster.
const MIN_INPUTS: usize = 16;

/// Blocks of 64 inputs that a row may have, as the base network's positional convolution's: two panels of these are 192 KiB on the stack.
const MAX_BLOCKS: usize = 96;

/// What rows that may overlap are copied to, 64 KiB on the stack.
const SIGNAL_BLOCKS: usize = 1024;

/// Rows that are multiplied at a time.
const MAX_ROWS: usize = 512;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::vec::Vec;

    /// Tiles in plain Rust.
    struct Emulated;

    impl Multiplier for Emulated {
        unsafe fn new() -> Self {
            Self
        }

        fn dots<'s>(
            &self,
            x: Rows<'_>,
            tiles: [usize; 2],
            panels: [&[__m512i]; 2],
            sums: &'s mut [MaybeUninit<[__m512i; 16]>; 4],
        ) -> &'s [[__m512i; 16]; 4] {
            for (n, sums) in sums.iter_mut().enumerate() {
                let (panel, tile) = (panels[n % 2], x.offset(tiles[n / 2], panels[0].len() / 16));
                let mut found = [[0_i32; 16]; 16];
                for (g, group) in panel.iter().enumerate() {
                    // SAFETY: any bits are either's, and they are as large.
                    let outputs: [[i8; 4]; 16] = unsafe { core::mem::transmute(*group) };
                    for (i, found) in found.iter_mut().enumerate() {
                        let begin = tile + i * x.row + g / 16 * x.block + 4 * (g % 16);
                        let x: [i8; 4] =
                            core::array::from_fn(|b| x.memory[(begin + b) / 64].0[(begin + b) % 64]);
                        for (sum, w) in found.iter_mut().zip(outputs) {
                            let products = w.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(x));
                            *sum = products.fold(*sum, i32::wrapping_add);
                        }
                    }
                }
                // SAFETY: any bits are either's, and they are as large.
                sums.write(unsafe { core::mem::transmute::<[[i32; 16]; 16], [__m512i; 16]>(found) });
            }
            // SAFETY: each of the four was just written.
            unsafe { written_array(sums) }
        }
    }

    /// A table for AVX-512 VNNI whose int8 product is this file's.
    pub(in crate::x86_64) const EMULATED: Kernels = Kernels {
        name: "AMX, emulated",
        gemm_i8: |x, w, bias, c| {
            // SAFETY: the table is AVX-512's, and plain Rust needs nothing.
            unsafe { gemm_with::<Emulated>(x, w, bias, c) }
        },
        linear_i8: Some(|x, w, bias, c, scratch| {
            // SAFETY: likewise.
            unsafe { linear_with::<Emulated>(x, w, bias, c, scratch) }
        }),
        ..avx512::TABLE
    };

    /// # Safety
    /// As [`Multiplier::new`].
    unsafe fn dots<M: Multiplier>(x: Rows<'_>, panels: [&[__m512i]; 2]) -> [[[i32; 16]; 16]; 4] {
        let mut sums = [const { MaybeUninit::uninit() }; 4];
        // SAFETY: the caller's promise; any bits are either's, and they are as large.
        unsafe { core::mem::transmute(*M::new().dots(x, [1, 0], panels, &mut sums)) }
    }

    #[test]
    fn tiles_are_multiplied_as_the_manual_says() {
        if !is_there() {
            return;
        }
        let byte = |seed: usize, i: usize| ((i * seed) % 251) as u8;
        for blocks in [1, 2, 5] {
            let memory: Vec<Block> = (0..2 * 16 * blocks)
                .map(|i| Block(core::array::from_fn(|b| byte(7919, 64 * i + b).cast_signed())))
                .collect();
            let group = |i: usize| -> __m512i {
                let bytes: [u8; 64] = core::array::from_fn(|b| byte(104_729, 64 * i + b));
                // SAFETY: any bits are either's, and they are as large.
                unsafe { core::mem::transmute(bytes) }
            };
            let panels: Vec<__m512i> = (0..2 * 16 * blocks).map(group).collect();
            let panels = [&panels[..16 * blocks], &panels[16 * blocks..]];
            let whole = Rows { memory: &memory, row: 64, block: 1024, tile: 1024 * blocks };
            let overlapping = Rows { memory: &memory, row: 12, block: 64, tile: 16 * 12 };
            for x in [whole, overlapping] {
                // SAFETY: the processor has just been asked; plain Rust needs nothing.
                let (found, expected) = unsafe { (dots::<Tiles>(x, panels), dots::<Emulated>(x, panels)) };
                assert_eq!(found, expected, "{blocks} {}", x.row);
            }
        }
    }
}
