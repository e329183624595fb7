//! The definition, compiled once more for other instructions.

/// Functions of a table in f32 for `$features`: products and attention's weights are `product.rs`'s and `softmax.rs`'s in registers of
/// `$register`, rounded as it rounds.
macro_rules! f32_products_for {
    ($features:literal, $register:ty) => {
        use crate::attention::{Keys, attend_to_numbers_with, attend_with};
        use crate::matrix::{Matrix, MatrixMut};

        #[target_feature(enable = $features)]
        fn gemm_f32(a: Matrix<'_>, b: Matrix<'_>, bias: Option<&[f32]>, c: &mut MatrixMut<'_>) {
            // SAFETY: the features are those of this function, too.
            unsafe { crate::x86_64::product::with_panel(gemm_f32_in, a, b, bias, c) }
        }

        #[target_feature(enable = $features)]
        fn gemm_f32_in(
            panel: &mut [core::mem::MaybeUninit<f32>],
            a: Matrix<'_>,
            b: Matrix<'_>,
            bias: Option<&[f32]>,
            c: &mut MatrixMut<'_>,
        ) {
            // SAFETY: the features are the register's.
            unsafe { crate::x86_64::product::gemm::<$register>(panel, a, b, bias, c) }
        }

        #[target_feature(enable = $features)]
        fn attend(queries: &mut MatrixMut<'_>, keys: &Keys<'_>, values: Matrix<'_>, scratch: &mut [f32]) {
            attend_with(
                queries,
                keys,
                values,
                scratch,
                |a, b, c| gemm_f32(a, b, None, c),
                |x, max| weights(x, max),
            );
        }

        #[target_feature(enable = $features)]
        fn attend_to_numbers(
            queries: Matrix<'_>,
            keys: &Keys<'_>,
            values: &[f32],
            out: &mut [f32],
            scratch: &mut [f32],
        ) {
            attend_to_numbers_with(
                queries,
                keys,
                values,
                out,
                scratch,
                |a, b, c| gemm_f32(a, b, None, c),
                |x, max| weights(x, max),
            );
        }

        #[target_feature(enable = $features)]
        fn weights(scores: &mut [f32], max: f32) -> f32 {
            // SAFETY: the features are the register's.
            unsafe { crate::x86_64::softmax::weights::<$register>(scores, max) }
        }
    };
}

/// A table `TABLE` whose functions are the definition's, compiled for `$features`, but for those of [`f32_products_for`], which are
/// rounded as the definition's, and the int8 products and weights, which are its own.
macro_rules! compiled_for {
    (
        $features:literal,
        name: $name:literal,
        gemm_i8: $gemm_i8:path,
        linear_i8: $linear_i8:expr,
        weights_i8: $weights_i8:path,
        mean_i8: $mean_i8:path,
        register: $register:ty
    ) => {
        use core::arch::x86_64::{_mm_cvtss_f32, _mm_set_ss, _mm_sqrt_ss};

        use crate::gemm_i8::Int8Weights;
        use crate::{Kernels, attention_i8, f16, gemm_i8, lstm, math, norm};

        pub(in crate::x86_64) const TABLE: Kernels = Kernels {
            name: $name,
            is_fused: false,
            gemm_f32,
            gemm_i8: $gemm_i8,
            linear_i8: $linear_i8,
            quantise,
            layer_norm,
            attend,
            attend_i8,
            attend_to_numbers,
            attend_to_numbers_i8,
            weights,
            weights_i8: $weights_i8,
            mean_i8: $mean_i8,
            gelu,
            lstm_cell,
            f16_store,
            f16_load,
        };

        crate::x86_64::compiled::f32_products_for!(
            $features,
            crate::x86_64::product::RoundedTwice<$register>
        );

        #[target_feature(enable = $features)]
        fn quantise(x: &[f32], q: &mut [i16]) -> f32 {
            gemm_i8::quantise(x, q)
        }

        #[target_feature(enable = $features)]
        fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32]) {
            // libm's is an instruction of SSE, for which Intel's processors wait when wider registers are in use.
            let sqrt = |x| _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
            norm::layer_norm_with(x, weight, bias, sqrt);
        }

        #[target_feature(enable = $features)]
        fn attend_i8(
            table: &Kernels,
            queries: &mut MatrixMut<'_>,
            keys: &Keys<'_, Int8Weights<'_>>,
            values: Int8Weights<'_>,
            scratch: &mut [f32],
            quantised: &mut [i16],
        ) {
            attention_i8::attend(table, queries, keys, values, scratch, quantised);
        }

        #[target_feature(enable = $features)]
        fn attend_to_numbers_i8(
            table: &Kernels,
            queries: Matrix<'_>,
            keys: &Keys<'_, Int8Weights<'_>>,
            values: &[f32],
            out: &mut [f32],
            scratch: &mut [f32],
            quantised: &mut [i16],
        ) {
            attention_i8::attend_to_numbers(table, queries, keys, values, out, scratch, quantised);
        }

        #[target_feature(enable = $features)]
        fn gelu(x: &mut [f32]) {
            math::gelu_in_place(x);
        }

        #[target_feature(enable = $features)]
        fn lstm_cell(gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
            lstm::lstm_cell(gates, cell, hidden);
        }

        #[target_feature(enable = $features)]
        fn f16_store(values: &[f32], stored: &mut [u16]) {
            f16::store(values, stored);
        }

        #[target_feature(enable = $features)]
        fn f16_load(stored: &[u16], values: &mut [f32]) {
            f16::load(stored, values);
        }

        /// The same with f32 products that are rounded once.
        pub(in crate::x86_64) mod fused {
            use crate::Kernels;

            pub(in crate::x86_64) const TABLE: Kernels = Kernels {
                name: concat!($name, ", fused"),
                is_fused: true,
                gemm_f32,
                attend,
                attend_to_numbers,
                weights,
                ..super::TABLE
            };

            crate::x86_64::compiled::f32_products_for!($features, $register);
        }
    };
}

pub(super) use {compiled_for, f32_products_for};
