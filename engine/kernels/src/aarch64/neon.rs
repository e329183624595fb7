//! The definition, with f32 products of tiles for thirty-two registers of four f32. NEON is always there, so that the compiler uses it
//! in the scalar table, too.

use crate::Kernels;
use crate::attention::{attend_to_numbers_with, attend_with, weights};
use crate::gemm_f32::gemm_tiled;
use crate::matrix::{Matrix, MatrixMut};

pub(super) const TABLE: Kernels = Kernels {
    name: "NEON",
    gemm_f32: |a, b, bias, c| gemm_tiled::<WIDEST>(a, b, bias, c),
    attend: |queries, keys, values, scratch| attend_with(queries, keys, values, scratch, product, weights),
    attend_to_numbers: |queries, keys, values, out, scratch| {
        attend_to_numbers_with(queries, keys, values, out, scratch, product, weights);
    },
    ..*Kernels::SCALAR
};

/// Without a bias, as attention takes it.
fn product(a: Matrix<'_>, b: Matrix<'_>, c: &mut MatrixMut<'_>) {
    gemm_tiled::<WIDEST>(a, b, None, c);
}

/// Columns of the f32 product summed at a time: four rows of four registers.
const WIDEST: usize = 16;
