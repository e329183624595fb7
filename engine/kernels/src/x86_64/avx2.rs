//! The definition, compiled for AVX2 with registers of eight f32; the int8 product of its own.

use super::pairs;
use crate::attention::{Keys, attend_tiled, attend_to_numbers_tiled};
use crate::gemm_f32::gemm_tiled;
use crate::matrix::{Matrix, MatrixMut};
use crate::{Kernels, f16, gemm_i8, lstm, math, norm};

pub(super) const TABLE: Kernels = Kernels {
    name: "AVX2",
    gemm_f32,
    gemm_i8: pairs::gemm,
    quantise,
    layer_norm,
    attend,
    attend_to_numbers,
    gelu,
    lstm_cell,
    f16_store,
    f16_load,
};

#[target_feature(enable = "avx2")]
fn gemm_f32(a: Matrix<'_>, b: Matrix<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
    gemm_tiled::<WIDEST>(a, b, bias, c);
}

#[target_feature(enable = "avx2")]
fn quantise(x: &[f32], q: &mut [i16]) -> f32 {
    gemm_i8::quantise(x, q)
}

#[target_feature(enable = "avx2")]
fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32]) {
    norm::layer_norm_in_place(x, weight, bias);
}

#[target_feature(enable = "avx2")]
fn attend(queries: &mut MatrixMut<'_>, keys: &Keys<'_>, values: Matrix<'_>, scratch: &mut [f32]) {
    attend_tiled::<WIDEST>(queries, keys, values, scratch);
}

#[target_feature(enable = "avx2")]
fn attend_to_numbers(
    queries: Matrix<'_>,
    keys: &Keys<'_>,
    values: &[f32],
    out: &mut [f32],
    scratch: &mut [f32],
) {
    attend_to_numbers_tiled::<WIDEST>(queries, keys, values, out, scratch);
}

#[target_feature(enable = "avx2")]
fn gelu(x: &mut [f32]) {
    math::gelu_in_place(x);
}

#[target_feature(enable = "avx2")]
fn lstm_cell(gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
    lstm::lstm_cell(gates, cell, hidden);
}

#[target_feature(enable = "avx2")]
fn f16_store(values: &[f32], stored: &mut [u16]) {
    f16::store(values, stored);
}

#[target_feature(enable = "avx2")]
fn f16_load(stored: &[u16], values: &mut [f32]) {
    f16::load(stored, values);
}

/// Columns of the f32 product summed at a time: four rows of two registers.
const WIDEST: usize = 16;
