//! The table for WebAssembly. A module cannot ask what its host has: one that was compiled for simd128 does not start without.

mod lanes4;
mod pairs;

use crate::Kernels;
use crate::attention::{attend_tiled, attend_to_numbers_tiled};
use crate::gemm_f32::gemm_tiled;

/// The tables that the compiler's target can run, the fastest first.
pub(crate) fn supported() -> [Option<&'static Kernels>; 1] {
    [Some(&SIMD128)]
}

/// The definition, which the compiler makes use of simd128 for in the scalar table, too; the int8 product of its own.
const SIMD128: Kernels = Kernels {
    name: "simd128",
    gemm_f32: |a, b, bias, c| gemm_tiled::<WIDEST>(a, b, bias, c),
    gemm_i8: pairs::gemm,
    attend: |queries, keys, values, scratch| attend_tiled::<WIDEST>(queries, keys, values, scratch),
    attend_to_numbers: |queries, keys, values, out, scratch| {
        attend_to_numbers_tiled::<WIDEST>(queries, keys, values, out, scratch);
    },
    ..*Kernels::SCALAR
};

/// Columns of the f32 product summed at a time: four rows of two registers, of which hosts have sixteen at least.
const WIDEST: usize = 8;
