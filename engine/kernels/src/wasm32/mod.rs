//! The table for WebAssembly. A module cannot ask what its host has: one that was compiled for simd128 does not start without.

mod lanes4;
mod pairs;

use crate::Kernels;

/// The tables that the compiler's target can run, the fastest first.
pub(crate) fn supported() -> [Option<&'static Kernels>; 1] {
    [Some(&SIMD128)]
}

/// The definition, which the compiler makes use of simd128 for; the int8 product of its own.
const SIMD128: Kernels = Kernels { name: "simd128", gemm_i8: pairs::gemm, ..*Kernels::SCALAR };
