//! The definition, compiled for AVX-512 with registers of sixteen f32; the products of its own.

super::compiled::compiled_for!(
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    name: "AVX-512 VNNI",
    gemm_i8: super::vnni::gemm,
    linear_i8: Some(super::vnni::linear),
    register: core::arch::x86_64::__m512
);
