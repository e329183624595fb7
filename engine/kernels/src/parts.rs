//! Parts of slices that may end before a register does, or that are yet to be written.

use core::mem::MaybeUninit;

/// What comes after the first `n`.
#[inline(always)]
pub(crate) fn tail<T>(x: &[T], n: usize) -> &[T] {
    &x[n.min(x.len())..]
}

/// The first `N` numbers, zeros where there are fewer.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default, const N: usize>(x: &[T]) -> [T; N] {
    match x.first_chunk() {
        Some(x) => *x,
        None => {
            let mut lanes = [T::default(); N];
            lanes[..x.len()].copy_from_slice(x);
            lanes
        }
    }
}

/// To read what has been written: `<[MaybeUninit<T>]>::assume_init_ref`, which Rust 1.89 does not have yet.
///
/// # Safety
/// Every element has been written.
#[inline(always)]
pub(crate) unsafe fn written<T>(x: &[MaybeUninit<T>]) -> &[T] {
    // SAFETY: a MaybeUninit is laid out as what it holds, and the caller says that each holds one.
    unsafe { core::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
}

/// The same of an array.
///
/// # Safety
/// Every element has been written.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn written_array<T, const N: usize>(x: &[MaybeUninit<T>; N]) -> &[T; N] {
    // SAFETY: as above.
    unsafe { &*x.as_ptr().cast() }
}
