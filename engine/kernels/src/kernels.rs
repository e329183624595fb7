//! The functions of one instruction set, chosen once.

use core::fmt;

use crate::attention::{self, Keys};
use crate::gemm_i8::{self, Int8Weights, QuantisedRows};
use crate::matrix::{Matrix, MatrixMut};
use crate::{attention_i8, f16, gemm_f32, lstm, math, norm};

/// All kernels for one instruction set.
///
/// Every table gives the same bits as [`SCALAR`](Self::SCALAR), which is the definition: the integer sums are exact, and the f32
/// functions keep its order of sums. One thing differs where [`is_fused`](Self::is_fused) says so: products of f32, and the polynomials
/// of attention's weights, are rounded after the addition only, so that such tables agree with each other to the last bit, and with the
/// definition as closely as this allows.
///
/// A table for more than the compiler's target leaves this crate through [`supported`](Self::supported) only, which has asked the
/// processor: that is what the calls below rely on.
///
/// ```
/// use aesa_kernels::Kernels;
///
/// let mut x = [-1.0, 0.0, 1.0];
/// Kernels::detect().gelu(&mut x);
/// assert!((x[2] - 0.841_345).abs() < 1e-6);
/// ```
pub struct Kernels {
    pub(crate) name: &'static str,
    pub(crate) is_fused: bool,
    pub(crate) gemm_f32: unsafe fn(Matrix<'_>, Matrix<'_>, Option<&[f32]>, &mut MatrixMut<'_>),
    pub(crate) gemm_i8: unsafe fn(QuantisedRows<'_>, Int8Weights<'_>, Option<&[f32]>, &mut MatrixMut<'_>),
    /// For a table that does better than its `quantise` and `gemm_i8` one after the other.
    pub(crate) linear_i8: Option<LinearInt8>,
    pub(crate) quantise: unsafe fn(&[f32], &mut [i16]) -> f32,
    pub(crate) layer_norm: unsafe fn(&mut [f32], &[f32], &[f32]),
    pub(crate) attend: unsafe fn(&mut MatrixMut<'_>, &Keys<'_>, Matrix<'_>, &mut [f32]),
    pub(crate) attend_i8: AttendInt8,
    pub(crate) attend_to_numbers: unsafe fn(Matrix<'_>, &Keys<'_>, &[f32], &mut [f32], &mut [f32]),
    pub(crate) attend_to_numbers_i8: AttendToNumbersInt8,
    pub(crate) weights: unsafe fn(&mut [f32], f32) -> f32,
    pub(crate) weights_i8: unsafe fn(&[f32], f32, &mut [i16]) -> f32,
    pub(crate) mean_i8: unsafe fn(&[f32], f32, &[f32]) -> f32,
    pub(crate) gelu: unsafe fn(&mut [f32]),
    pub(crate) lstm_cell: unsafe fn(&[f32], &mut [f32], &mut [f32]),
    pub(crate) f16_store: unsafe fn(&[f32], &mut [u16]),
    pub(crate) f16_load: unsafe fn(&[u16], &mut [f32]),
}

/// Compiled for the table's instructions; the first argument is the table, whose products it takes.
type AttendInt8 = unsafe fn(
    &Kernels,
    &mut MatrixMut<'_>,
    &Keys<'_, Int8Weights<'_>>,
    Int8Weights<'_>,
    &mut [f32],
    &mut [i16],
);

/// Likewise.
type AttendToNumbersInt8 =
    unsafe fn(&Kernels, Matrix<'_>, &Keys<'_, Int8Weights<'_>>, &[f32], &mut [f32], &mut [f32], &mut [i16]);

type LinearInt8 = unsafe fn(Matrix<'_>, Int8Weights<'_>, Option<&[f32]>, &mut MatrixMut<'_>, &mut [i16]);

impl Kernels {
    /// The definition: plain Rust, as the compiler's target allows.
    pub const SCALAR: &'static Self = &Self {
        name: "scalar",
        is_fused: false,
        gemm_f32: gemm_f32::gemm,
        gemm_i8: gemm_i8::gemm,
        linear_i8: None,
        quantise: gemm_i8::quantise,
        layer_norm: norm::layer_norm_in_place,
        attend: attention::attend,
        attend_i8: attention_i8::attend,
        attend_to_numbers: attention::attend_to_numbers,
        attend_to_numbers_i8: attention_i8::attend_to_numbers,
        weights: attention::weights,
        weights_i8: attention_i8::weights,
        mean_i8: attention_i8::mean,
        gelu: math::gelu_in_place,
        lstm_cell: lstm::lstm_cell,
        f16_store: f16::store,
        f16_load: f16::load,
    };

    /// The fastest table that equals the definition bit for bit.
    pub fn detect() -> &'static Self {
        Self::supported().next().unwrap_or(Self::SCALAR)
    }

    /// The fastest table, be its f32 products [fused](Self::is_fused) or not.
    pub fn detect_fastest() -> &'static Self {
        Self::supported().find(|table| table.is_fused).unwrap_or_else(Self::detect)
    }

    /// The tables that this processor can run, the fastest first, [`SCALAR`](Self::SCALAR) last. With `std` the processor is
    /// asked; without, it is what the compiler was told of it (`-C target-feature`).
    pub fn supported() -> impl Iterator<Item = &'static Self> {
        #[cfg(target_arch = "x86_64")]
        let tables = crate::x86_64::supported();
        #[cfg(target_arch = "aarch64")]
        let tables = crate::aarch64::supported();
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        let tables = crate::wasm32::supported();
        #[cfg(not(any(
            target_arch = "aarch64",
            target_arch = "x86_64",
            all(target_arch = "wasm32", target_feature = "simd128")
        )))]
        let tables: [Option<&'static Self>; 0] = [];
        tables.into_iter().flatten().chain(core::iter::once(Self::SCALAR))
    }

    /// What the table is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether f32 products and attention in f32 round a multiplication and the addition after it once, not twice.
    pub fn is_fused(&self) -> bool {
        self.is_fused
    }

    /// [`gemm_f32::gemm`].
    ///
    /// # Panics
    /// As that.
    pub fn gemm_f32(&self, a: Matrix<'_>, b: Matrix<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.gemm_f32)(a, b, bias, c) }
    }

    /// [`gemm_i8::gemm`].
    ///
    /// # Panics
    /// As that.
    pub fn gemm_i8(
        &self,
        x: QuantisedRows<'_>,
        w: Int8Weights<'_>,
        bias: Option<&[f32]>,
        c: &mut MatrixMut<'_>,
    ) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.gemm_i8)(x, w, bias, c) }
    }

    /// [`gemm_i8::linear`].
    ///
    /// # Panics
    /// As that.
    pub fn linear_i8(
        &self,
        x: Matrix<'_>,
        w: Int8Weights<'_>,
        bias: Option<&[f32]>,
        c: &mut MatrixMut<'_>,
        scratch: &mut [i16],
    ) {
        match self.linear_i8 {
            // SAFETY: the processor has the table's instructions.
            Some(linear) => unsafe { linear(x, w, bias, c, scratch) },
            None => gemm_i8::linear_with(
                x,
                c,
                scratch,
                |x, q| self.quantise(x, q),
                |x, c| self.gemm_i8(x, w, bias, c),
            ),
        }
    }

    /// [`gemm_i8::quantise`].
    ///
    /// # Panics
    /// As that.
    pub fn quantise(&self, x: &[f32], q: &mut [i16]) -> f32 {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.quantise)(x, q) }
    }

    /// [`norm::layer_norm_in_place`].
    ///
    /// # Panics
    /// As that.
    pub fn layer_norm(&self, x: &mut [f32], weight: &[f32], bias: &[f32]) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.layer_norm)(x, weight, bias) }
    }

    /// [`attention::attend`].
    ///
    /// # Panics
    /// As that.
    pub fn attend(
        &self,
        queries: &mut MatrixMut<'_>,
        keys: &Keys<'_>,
        values: Matrix<'_>,
        scratch: &mut [f32],
    ) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.attend)(queries, keys, values, scratch) }
    }

    /// [`attention_i8::attend`] with this table's products.
    ///
    /// # Panics
    /// As that.
    pub fn attend_i8(
        &self,
        queries: &mut MatrixMut<'_>,
        keys: &Keys<'_, Int8Weights<'_>>,
        values: Int8Weights<'_>,
        scratch: &mut [f32],
        quantised: &mut [i16],
    ) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.attend_i8)(self, queries, keys, values, scratch, quantised) }
    }

    /// [`attention::attend_to_numbers`].
    ///
    /// # Panics
    /// As that.
    pub fn attend_to_numbers(
        &self,
        queries: Matrix<'_>,
        keys: &Keys<'_>,
        values: &[f32],
        out: &mut [f32],
        scratch: &mut [f32],
    ) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.attend_to_numbers)(queries, keys, values, out, scratch) }
    }

    /// [`attention_i8::attend_to_numbers`] with this table's products.
    ///
    /// # Panics
    /// As that.
    pub fn attend_to_numbers_i8(
        &self,
        queries: Matrix<'_>,
        keys: &Keys<'_, Int8Weights<'_>>,
        values: &[f32],
        out: &mut [f32],
        scratch: &mut [f32],
        quantised: &mut [i16],
    ) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.attend_to_numbers_i8)(self, queries, keys, values, out, scratch, quantised) }
    }

    /// [`attention::weights`].
    pub fn weights(&self, scores: &mut [f32], max: f32) -> f32 {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.weights)(scores, max) }
    }

    /// [`attention_i8::weights`].
    ///
    /// # Panics
    /// As that.
    pub fn weights_i8(&self, scores: &[f32], max: f32, weights: &mut [i16]) -> f32 {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.weights_i8)(scores, max, weights) }
    }

    /// [`attention_i8::mean`].
    ///
    /// # Panics
    /// As that.
    pub fn mean_i8(&self, scores: &[f32], max: f32, values: &[f32]) -> f32 {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.mean_i8)(scores, max, values) }
    }

    /// [`math::gelu`] of each number.
    pub fn gelu(&self, x: &mut [f32]) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.gelu)(x) }
    }

    /// [`lstm::lstm_cell`].
    ///
    /// # Panics
    /// As that.
    pub fn lstm_cell(&self, gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.lstm_cell)(gates, cell, hidden) }
    }

    /// [`f16::store`].
    ///
    /// # Panics
    /// As that.
    pub fn f16_store(&self, values: &[f32], stored: &mut [u16]) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.f16_store)(values, stored) }
    }

    /// [`f16::load`].
    ///
    /// # Panics
    /// As that.
    pub fn f16_load(&self, stored: &[u16], values: &mut [f32]) {
        // SAFETY: the processor has the table's instructions.
        unsafe { (self.f16_load)(stored, values) }
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernels").field(&self.name).finish()
    }
}
