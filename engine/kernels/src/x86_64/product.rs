//! The f32 product from packed panels: with multiplication and addition in one instruction, rounded once, or (in registers that are
//! [`RoundedTwice`]) as the definition has it.
//!
//! ```text
//! for N registers of columns j:
//!   for up to MAX_DEPTH inputs l:    panel[l] = b[l][j..]            copied where the rows are enough to pay for it
//!     for M rows i:                  sum[i][j] += a[i][l] (in all lanes) * panel[l][j]        sums in registers
//! ```
//! Every sum begins with the bias and is taken in the order of the inputs, as in [`gemm_f32`](crate::gemm_f32), whatever
//! the panels and tiles are: a row's result does not depend on the other rows. Between panels the sums wait in `c`.

use core::mem::MaybeUninit;

use crate::gemm_f32::check_sizes;
use crate::matrix::{Matrix, MatrixMut};

/// A register of f32 numbers.
///
/// # Safety
/// Of every function: the processor has the register's instructions; pointers lead to as many numbers as are read or
/// written.
pub(super) trait Register: Copy {
    /// Numbers in it.
    const LANES: usize;
    /// How many of the processor's registers can hold sums.
    const NUM_SUMS: usize;

    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(x: *const f32) -> Self;
    /// The first numbers, all that there are; the other lanes are 0.
    unsafe fn load_part(x: &[f32]) -> Self;
    unsafe fn store(self, x: *mut f32);
    /// The first numbers, as many as there is room for.
    unsafe fn store_part(self, x: &mut [f32]);
    /// `self * y + z`, as the product is to round it: once, unless it is [`RoundedTwice`].
    unsafe fn multiply_add(self, y: Self, z: Self) -> Self;
    /// `self * y + z`, rounded after either, as the definition does.
    unsafe fn multiply_then_add(self, y: Self, z: Self) -> Self;
    unsafe fn multiply(self, y: Self) -> Self;
    unsafe fn add(self, y: Self) -> Self;
    /// The larger of either; `self` where one is NaN.
    unsafe fn larger(self, y: Self) -> Self;
    /// `2^n` of the sums of `n` and [`ROUNDER`](crate::math::ROUNDER), `n` whole numbers from -126 to 127.
    unsafe fn power_of_two(self) -> Self;
}

/// A register whose products are the definition's.
#[derive(Clone, Copy)]
pub(super) struct RoundedTwice<R>(R);

// What its callers promise is what the register's functions ask for.
impl<R: Register> Register for RoundedTwice<R> {
    const LANES: usize = R::LANES;
    const NUM_SUMS: usize = R::NUM_SUMS;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { R::splat(x) })
    }

    #[inline(always)]
    unsafe fn load(x: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { R::load(x) })
    }

    #[inline(always)]
    unsafe fn load_part(x: &[f32]) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { R::load_part(x) })
    }

    #[inline(always)]
    unsafe fn store(self, x: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.0.store(x) }
    }

    #[inline(always)]
    unsafe fn store_part(self, x: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { self.0.store_part(x) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, y: Self, z: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.multiply_then_add(y, z) }
    }

    #[inline(always)]
    unsafe fn multiply_then_add(self, y: Self, z: Self) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.0.multiply_then_add(y.0, z.0) })
    }

    #[inline(always)]
    unsafe fn multiply(self, y: Self) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.0.multiply(y.0) })
    }

    #[inline(always)]
    unsafe fn add(self, y: Self) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.0.add(y.0) })
    }

    #[inline(always)]
    unsafe fn larger(self, y: Self) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.0.larger(y.0) })
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.0.power_of_two() })
    }
}

/// What a table makes of [`gemm`]: the panel's memory, then `a`, `b`, `bias` and `c`.
pub(super) type Gemm =
    unsafe fn(&mut [MaybeUninit<f32>], Matrix<'_>, Matrix<'_>, Option<&[f32]>, &mut MatrixMut<'_>);

/// Calls `gemm` with as large a panel on the stack as pays for these rows.
///
/// # Safety
/// That of `gemm`.
#[inline]
pub(super) unsafe fn with_panel(
    gemm: Gemm,
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (a.num_rows(), a.num_cols()) {
            (..MIN_PACKED_ROWS, _) => with_panel_of::<4096>(gemm, a, b, bias, c),
            (_, MANY_INPUTS..) if cfg!(feature = "std") => with_panel_of::<49152>(gemm, a, b, bias, c),
            _ => with_panel_of::<16384>(gemm, a, b, bias, c),
        }
    }
}

/// # Safety
/// That of `gemm`.
#[inline(never)] // The larger panel costs its time only where it is used: each of its pages is touched.
unsafe fn with_panel_of<const LEN: usize>(
    gemm: Gemm,
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
) {
    let mut panel = Panel([const { MaybeUninit::uninit() }; LEN]);
    // SAFETY: the caller's promise.
    unsafe { gemm(&mut panel.0, a, b, bias, c) }
}

/// `c = a b + bias`, as [`gemm_f32::gemm`](crate::gemm_f32::gemm) but for the rounding that the register's `multiply_add` has.
///
/// # Panics
/// If the sizes do not fit together, or the panel holds less than four registers.
///
/// # Safety
/// The processor has the register's instructions.
#[inline(always)]
pub(super) unsafe fn gemm<R: Register>(
    panel: &mut [MaybeUninit<f32>],
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&[f32]>,
    c: &mut MatrixMut<'_>,
) {
    check_sizes(a, b, bias, c);
    assert!(panel.len() >= 4 * R::LANES);
    let n = b.num_cols();
    let most = R::NUM_SUMS / 6 * R::LANES;
    for begin in (0..n).step_by(most) {
        let columns = Columns { a, b, bias, begin, end: n.min(begin + most) };
        // SAFETY: the caller's promise.
        unsafe {
            match (columns.end - begin).div_ceil(R::LANES) {
                1 => columns.product::<R, 1>(panel, c),
                2 => columns.product::<R, 2>(panel, c),
                3 => columns.product::<R, 3>(panel, c),
                _ => columns.product::<R, 4>(panel, c),
            }
        }
    }
}

/// The columns `begin..end` of a product.
struct Columns<'a> {
    a: Matrix<'a>,
    b: Matrix<'a>,
    bias: Option<&'a [f32]>,
    begin: usize,
    end: usize,
}

impl Columns<'_> {
    /// The columns lie in `N` registers.
    #[inline(always)]
    unsafe fn product<R: Register, const N: usize>(
        &self,
        panel: &mut [MaybeUninit<f32>],
        c: &mut MatrixMut<'_>,
    ) {
        let (inputs, is_whole) = (self.a.num_cols(), (self.end - self.begin) == N * R::LANES);
        let is_packed = self.a.num_rows() >= MIN_PACKED_ROWS || !is_whole;
        let max_depth = match (is_packed, self.a.num_rows()) {
            (true, _) => panel.len() / (N * R::LANES),
            // Read again for the next rows, from the first cache.
            (false, MANY_ROWS..) => NEAR_DEPTH,
            (false, _) => usize::MAX,
        };
        let mut first = 0;
        loop {
            let depth = max_depth.min(inputs - first);
            let (weights, stride) = match is_packed {
                true => (self.pack(first, depth, N * R::LANES, panel), N * R::LANES),
                false => self.in_place(first, depth),
            };
            let part = Part { columns: self, first, depth, weights, stride };
            // SAFETY: the caller's promise; weights and stride are a panel's, or whole rows of b.
            unsafe { part.rows::<R, N>(c) };
            first += depth;
            if first == inputs {
                return;
            }
        }
    }

    /// The columns of `depth` inputs from `first` on, one row after another, filled up with zeros to `width`.
    #[inline(always)]
    fn pack(&self, first: usize, depth: usize, width: usize, panel: &mut [MaybeUninit<f32>]) -> *const f32 {
        let panel = &mut panel[..depth * width];
        for (l, place) in panel.chunks_exact_mut(width).enumerate() {
            let row = &self.b.row(first + l)[self.begin..self.end];
            let (whole, rest) = place.split_at_mut(row.len());
            whole.iter_mut().zip(row).for_each(|(place, v)| _ = place.write(*v));
            rest.iter_mut().for_each(|place| _ = place.write(0.0));
        }
        panel.as_ptr().cast()
    }

    /// The same without a copy, and what lies between the rows.
    #[inline(always)]
    fn in_place(&self, first: usize, depth: usize) -> (*const f32, usize) {
        match depth {
            0 => (core::ptr::NonNull::dangling().as_ptr(), 0),
            // The last row is there as the first is.
            _ => {
                let last = self.b.row(first + depth - 1);
                assert!(last.len() >= self.end);
                (self.b.row(first)[self.begin..].as_ptr(), self.b.stride())
            }
        }
    }
}

/// Some of the inputs of some columns.
struct Part<'a> {
    columns: &'a Columns<'a>,
    first: usize,
    depth: usize,
    /// `depth` rows of whole registers, `stride` apart.
    weights: *const f32,
    stride: usize,
}

impl Part<'_> {
    /// All rows of `a`, as many at a time as there are registers for.
    #[inline(always)]
    unsafe fn rows<R: Register, const N: usize>(&self, c: &mut MatrixMut<'_>) {
        let num_rows = c.num_rows();
        let mut i = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while 8 * N <= R::NUM_SUMS && i + 8 <= num_rows {
                self.tile::<R, 8, N>(i, c);
                i += 8;
            }
            while i + 6 <= num_rows {
                self.tile::<R, 6, N>(i, c);
                i += 6;
            }
            while i + 4 <= num_rows {
                self.tile::<R, 4, N>(i, c);
                i += 4;
            }
            while i + 2 <= num_rows {
                self.tile::<R, 2, N>(i, c);
                i += 2;
            }
            while i < num_rows {
                self.tile::<R, 1, N>(i, c);
                i += 1;
            }
        }
    }

    /// Rows `i..i + M`.
    #[inline(always)]
    unsafe fn tile<R: Register, const M: usize, const N: usize>(&self, i: usize, c: &mut MatrixMut<'_>) {
        let Columns { a, bias, begin, end, .. } = *self.columns;
        let is_whole = end - begin == N * R::LANES;
        // SAFETY: the rows of a hold the part's inputs, which the slices check. What is loaded and stored of c and bias is
        // checked likewise: whole registers where the columns fill all of them, else parts that know their length.
        // The weights are the caller's promise.
        unsafe {
            let mut rows = [core::ptr::null(); M];
            for (r, row) in rows.iter_mut().enumerate() {
                *row = a.row(i + r)[self.first..self.first + self.depth].as_ptr();
            }
            let mut sums = [[R::splat(0.0); N]; M];
            if self.first > 0 {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let place = &c.row_mut(i + r)[begin..end];
                    *sums = load_all::<R, N>(place, is_whole);
                }
            } else if let Some(bias) = bias {
                sums = [load_all::<R, N>(&bias[begin..end], is_whole); M];
            }
            for l in 0..self.depth {
                let weights = self.weights.add(l * self.stride);
                let mut loaded = [R::splat(0.0); N];
                for (n, loaded) in loaded.iter_mut().enumerate() {
                    *loaded = R::load(weights.add(n * R::LANES));
                }
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let x = R::splat(*row.add(l));
                    for (sum, weights) in sums.iter_mut().zip(loaded) {
                        *sum = x.multiply_add(weights, *sum);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                let place = &mut c.row_mut(i + r)[begin..end];
                for (n, sum) in sums.iter().enumerate() {
                    match is_whole {
                        true => sum.store(place[n * R::LANES..][..R::LANES].as_mut_ptr()),
                        false => sum.store_part(&mut place[n * R::LANES..]),
                    }
                }
            }
        }
    }
}

/// `N` registers of numbers, the last of them perhaps not full.
#[inline(always)]
unsafe fn load_all<R: Register, const N: usize>(x: &[f32], is_whole: bool) -> [R; N] {
    // SAFETY: the processor has the instructions, the caller says; the numbers are in the slice.
    unsafe {
        let mut registers = [R::splat(0.0); N];
        for (n, register) in registers.iter_mut().enumerate() {
            *register = match is_whole {
                true => R::load(x[n * R::LANES..][..R::LANES].as_ptr()),
                false => R::load_part(&x[n * R::LANES..]),
            };
        }
        registers
    }
}

/// Begins with a line of the first cache, so that no register is loaded from two.
#[repr(align(64))]
struct Panel<const LEN: usize>([MaybeUninit<f32>; LEN]);

/// From this many inputs on a panel has 192 KiB, 768 inputs of 64 columns, where there is a system that gives so large a stack:
/// between panels every tile of sums is stored and loaded again, for which it waits. Other panels have 64 KiB, those of few
/// rows, which take one only for columns that do not fill a register, 16 KiB.
const MANY_INPUTS: usize = 513;

/// From this many rows on, a copy of the weights where they lie together is repaid.
const MIN_PACKED_ROWS: usize = 64;

/// From this many rows on, weights that are multiplied where they lie are read in parts of [`NEAR_DEPTH`] inputs.
const MANY_ROWS: usize = 12;
const NEAR_DEPTH: usize = 128;
