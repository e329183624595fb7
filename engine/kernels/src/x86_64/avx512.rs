//! The definition, compiled for AVX-512 with registers of sixteen f32; the products of its own.

crate::x86_64::compiled::compiled_for!(
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    name: "AVX-512 VNNI",
    gemm_i8: crate::x86_64::vnni::gemm,
    linear_i8: Some(crate::x86_64::vnni::linear),
    weights_i8: crate::x86_64::softmax::weights_i8,
    mean_i8: crate::x86_64::softmax::mean_i8,
    is_fused: false,
    register: crate::x86_64::product::RoundedTwice<core::arch::x86_64::__m512>
);

/// The same with f32 products that are rounded once.
pub(super) mod fused {
    crate::x86_64::compiled::compiled_for!(
        "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
        name: "AVX-512 VNNI, fused",
        gemm_i8: crate::x86_64::vnni::gemm,
        linear_i8: Some(crate::x86_64::vnni::linear),
        weights_i8: crate::x86_64::softmax::weights_i8,
        mean_i8: crate::x86_64::softmax::mean_i8,
        is_fused: true,
        register: core::arch::x86_64::__m512
    );
}
