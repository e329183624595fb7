//! The definition, compiled for AVX-512 with registers of sixteen f32; the products of its own.

crate::x86_64::compiled::compiled_for!(
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    name: "AVX-512 VNNI",
    gemm_i8: crate::x86_64::vnni::gemm,
    linear_i8: Some(crate::x86_64::vnni::linear),
    weights_i8: crate::x86_64::softmax::weights_i8,
    mean_i8: crate::x86_64::softmax::mean_i8,
    register: core::arch::x86_64::__m512
);
