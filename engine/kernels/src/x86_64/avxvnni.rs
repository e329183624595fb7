//! AVX2's tables, but the int8 product.

use super::{avx2, fours};
use crate::Kernels;

pub(super) const TABLE: Kernels = Kernels { name: "AVX-VNNI", gemm_i8: fours::gemm, ..avx2::TABLE };

/// The same with f32 products that are rounded once.
pub(super) const FUSED: Kernels =
    Kernels { name: "AVX-VNNI, fused", gemm_i8: fours::gemm, ..avx2::fused::TABLE };
