//! The definition, compiled for AVX2 with registers of eight f32; the products of its own.

crate::x86_64::compiled::compiled_for!(
    "avx2,fma",
    name: "AVX2",
    gemm_i8: crate::x86_64::pairs::gemm,
    linear_i8: None,
    is_fused: false,
    register: crate::x86_64::product::RoundedTwice<core::arch::x86_64::__m256>
);

/// The same with f32 products that are rounded once.
pub(super) mod fused {
    crate::x86_64::compiled::compiled_for!(
        "avx2,fma",
        name: "AVX2, fused",
        gemm_i8: crate::x86_64::pairs::gemm,
        linear_i8: None,
        is_fused: true,
        register: core::arch::x86_64::__m256
    );
}
