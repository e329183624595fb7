//! AVX2's tables, but the int8 product.

use super::compiled::attend_i8_for;
use super::{avx2, fours};
use crate::Kernels;

pub(super) const TABLE: Kernels =
    Kernels { name: "AVX-VNNI", gemm_i8: fours::gemm, attend_i8, ..avx2::TABLE };

/// The same with f32 products that are rounded once.
pub(super) const FUSED: Kernels =
    Kernels { name: "AVX-VNNI, fused", gemm_i8: fours::gemm, attend_i8, ..avx2::fused::TABLE };

// It takes nothing of a table but what both have.
attend_i8_for!("avx2,fma");
