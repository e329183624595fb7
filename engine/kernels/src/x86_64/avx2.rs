//! The definition, compiled for AVX2 with registers of eight f32: tiles of four rows of two; the int8 product of its own.

super::compiled::compiled_for!("avx2", name: "AVX2", gemm_i8: super::pairs::gemm, widest: 16);
