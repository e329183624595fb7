//! AVX2's tables, but the int8 product.

use super::{avx2, fours};
use crate::attention::Keys;
use crate::gemm_i8::Int8Weights;
use crate::matrix::MatrixMut;
use crate::{Kernels, attention_i8};

pub(super) const TABLE: Kernels =
    Kernels { name: "AVX-VNNI", gemm_i8: fours::gemm, attend_i8, ..avx2::TABLE };

/// The same with f32 products that are rounded once.
pub(super) const FUSED: Kernels =
    Kernels { name: "AVX-VNNI, fused", gemm_i8: fours::gemm, attend_i8, ..avx2::fused::TABLE };

/// Takes nothing of a table but what both have.
#[target_feature(enable = "avx2,fma")]
fn attend_i8(
    queries: &mut MatrixMut<'_>,
    keys: &Keys<'_, Int8Weights<'_>>,
    values: Int8Weights<'_>,
    scratch: &mut [f32],
    quantised: &mut [i16],
) {
    attention_i8::attend_with(queries, keys, values, scratch, quantised, &TABLE);
}
