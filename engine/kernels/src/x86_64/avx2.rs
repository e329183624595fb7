//! The definition, compiled for AVX2 with registers of eight f32; the products of its own.

super::compiled::compiled_for!(
    "avx2,fma",
    name: "AVX2",
    gemm_i8: super::pairs::gemm,
    linear_i8: None,
    register: core::arch::x86_64::__m256
);
