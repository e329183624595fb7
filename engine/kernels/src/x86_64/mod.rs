//! Tables for x86-64, and whether the processor has what they need.

mod amx;
mod avx2;
mod avx512;
mod avxvnni;
mod by_outputs;
mod compiled;
mod fours;
mod lanes16;
mod lanes8;
mod pairs;
mod product;
mod softmax;
mod vnni;

use crate::Kernels;

/// The tables that the processor can run, the fastest first, those that equal the definition before their fused twins.
pub(crate) fn supported() -> [Option<&'static Kernels>; 8] {
    let tables = |is_there: bool, exact, fused| [is_there.then_some(exact), is_there.then_some(fused)];
    let [tiles, tiles_fused] = tables(amx::is_there(), &amx::TABLE, &amx::FUSED);
    let [wide, wide_fused] = tables(has_avx512_vnni(), &avx512::TABLE, &avx512::fused::TABLE);
    let [narrow, narrow_fused] = tables(has_avx_vnni(), &avxvnni::TABLE, &avxvnni::FUSED);
    let [oldest, oldest_fused] = tables(has_avx2(), &avx2::TABLE, &avx2::fused::TABLE);
    [tiles, tiles_fused, wide, wide_fused, narrow, narrow_fused, oldest, oldest_fused]
}

/// AVX-VNNI's and AMX's int8 products with their instructions emulated, if the processor has AVX2 and AVX-512 VNNI.
#[cfg(test)]
pub(crate) fn emulated() -> [Option<&'static Kernels>; 2] {
    [has_avx2().then_some(&fours::tests::EMULATED), has_avx512_vnni().then_some(&amx::tests::EMULATED)]
}

#[cfg(any(feature = "std", test))]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
}

#[cfg(not(any(feature = "std", test)))]
fn has_avx2() -> bool {
    cfg!(all(target_feature = "avx2", target_feature = "fma"))
}

#[cfg(any(feature = "std", test))]
fn has_avx_vnni() -> bool {
    std::is_x86_feature_detected!("avxvnni") && has_avx2()
}

#[cfg(not(any(feature = "std", test)))]
fn has_avx_vnni() -> bool {
    cfg!(target_feature = "avxvnni") && has_avx2()
}

#[cfg(any(feature = "std", test))]
fn has_avx512_vnni() -> bool {
    std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(any(feature = "std", test)))]
fn has_avx512_vnni() -> bool {
    cfg!(all(
        target_feature = "avx512f",
        target_feature = "avx512bw",
        target_feature = "avx512dq",
        target_feature = "avx512vl",
        target_feature = "avx512vnni"
    ))
}
