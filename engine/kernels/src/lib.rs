//! The arithmetic of aesa's native engine, in plain safe Rust that vectorises well.
//!
//! ```text
//!  matrix.rs      views of row-major f32 matrices with a row stride
//!  gemm_f32.rs    f32 product, summed in the order of the inner index
//!  gemm_i8.rs     rows quantised on the fly, int8 weights per output channel, exact i32 sums
//!  norm.rs        layer norm
//!  attention.rs   one head: scores, gated relative bias, softmax, weighted values
//!  lstm.rs        one LSTM cell
//!  math.rs        exp, sigmoid, tanh, GELU;   f16.rs  storage in 16 bits;   lanes.rs  sums, maxima, dot products
//! ```
//!
//! These functions are the definition: every sum has one order, no operation is fused, and `exp` and its kin are made of
//! additions, multiplications and divisions alone, so that all processors give the same bits.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod attention;
pub mod f16;
pub mod gemm_f32;
pub mod gemm_i8;
pub mod lanes;
pub mod lstm;
pub mod math;
pub mod matrix;
pub mod norm;

pub use matrix::{Matrix, MatrixMut};
