//! The definition, compiled for AVX-512 with registers of sixteen f32: tiles of four rows of four; the int8 product of its own.

super::compiled::compiled_for!(
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    name: "AVX-512 VNNI",
    gemm_i8: super::vnni::gemm,
    widest: 64
);
