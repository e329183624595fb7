//! The arithmetic of aesa's native engine: plain safe Rust that vectorises well, compiled once per instruction set.
//!
//! ```text
//!  matrix.rs      views of row-major f32 matrices with a row stride
//!  gemm_f32.rs    f32 product, summed in the order of the inner index
//!  gemm_i8.rs     rows quantised on the fly, int8 weights per output channel, exact i32 sums
//!  norm.rs        layer norm
//!  attention.rs   one head: scores, gated relative bias, softmax, weighted values
//!  attention_i8.rs  the same with its products in int8
//!  lstm.rs        one LSTM cell
//!  math.rs        exp, sigmoid, tanh, GELU;   f16.rs  storage in 16 bits;   lanes.rs  sums, maxima, dot products
//!
//!  file_map.rs    a file mapped into memory (feature `map`)
//!  kernels.rs     the table of all these functions for one instruction set
//!  x86_64/        AMX, AVX-512 VNNI, AVX-VNNI, AVX2 (product.rs: f32);   aarch64/  NEON, its dot and matrix products;   wasm32/  simd128
//! ```
//!
//! The functions of the first modules are the definition: every sum has one order, no operation is fused, and `exp` and its kin are made of
//! additions, multiplications and divisions alone, so that all processors give the same bits. What is in the tables equals them bit for bit,
//! but for the f32 products of x86-64's fused twins, which round after the addition only ([`Kernels::is_fused`]).
#![no_std]

#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub mod attention;
pub mod attention_i8;
pub mod f16;
#[cfg(feature = "map")]
mod file_map;
pub mod gemm_f32;
pub mod gemm_i8;
mod kernels;
pub mod lanes;
pub mod lstm;
pub mod math;
pub mod matrix;
pub mod norm;
#[cfg(any(
    target_arch = "aarch64",
    target_arch = "x86_64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod parts;
#[cfg(test)]
mod suite;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm32;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(feature = "map")]
pub use file_map::FileMap;
pub use kernels::Kernels;
pub use matrix::{Matrix, MatrixMut};
