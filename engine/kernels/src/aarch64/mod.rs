//! Tables for aarch64, and whether the processor has what they need.

mod dotprod;
mod i8mm;
mod lanes4;
mod neon;

use crate::Kernels;

/// The tables that the processor can run, the fastest first. Every one has NEON.
pub(crate) fn supported() -> [Option<&'static Kernels>; 3] {
    [has_i8mm().then_some(&I8MM), has_dotprod().then_some(&DOTPROD), Some(&neon::TABLE)]
}

/// As [`neon::TABLE`], but the int8 product.
const I8MM: Kernels = Kernels { name: "NEON i8mm", gemm_i8: i8mm::gemm, ..neon::TABLE };

/// As [`neon::TABLE`], but the int8 product.
const DOTPROD: Kernels = Kernels { name: "NEON dotprod", gemm_i8: dotprod::gemm, ..neon::TABLE };

/// Its product takes `sdot`'s where there are few rows. Armv8.6 asks for both; before it, a processor may have one of them.
#[cfg(any(feature = "std", test))]
fn has_i8mm() -> bool {
    std::arch::is_aarch64_feature_detected!("i8mm") && has_dotprod()
}

#[cfg(not(any(feature = "std", test)))]
fn has_i8mm() -> bool {
    cfg!(target_feature = "i8mm") && has_dotprod()
}

#[cfg(any(feature = "std", test))]
fn has_dotprod() -> bool {
    std::arch::is_aarch64_feature_detected!("dotprod")
}

#[cfg(not(any(feature = "std", test)))]
fn has_dotprod() -> bool {
    cfg!(target_feature = "dotprod")
}
