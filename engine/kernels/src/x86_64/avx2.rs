//! The definition, compiled for AVX2 with registers of eight f32; the products of its own.

crate::x86_64::compiled::compiled_for!(
    "avx2,fma",
    name: "AVX2",
    gemm_i8: crate::x86_64::pairs::gemm,
    linear_i8: None,
    weights_i8: weights_i8,
    mean_i8: mean_i8,
    register: core::arch::x86_64::__m256
);

#[target_feature(enable = "avx2,fma")]
fn weights_i8(scores: &[f32], max: f32, weights: &mut [i16]) -> f32 {
    attention_i8::weights(scores, max, weights)
}

#[target_feature(enable = "avx2,fma")]
fn mean_i8(scores: &[f32], max: f32, values: &[f32]) -> f32 {
    attention_i8::mean(scores, max, values)
}
