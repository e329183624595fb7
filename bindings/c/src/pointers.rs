//! What is checked of a caller's pointer before it is used: null, alignment, size. That it points to what the header says
//! is the caller's promise.

use core::ffi::{CStr, c_char};
use core::slice;

use crate::error::Failure;
use crate::status::AesaStatus;

/// What `pointer` points to; `name` is for the message.
///
/// # Errors
/// [`AesaStatus::NullArgument`], [`AesaStatus::InvalidArgument`] if it is misaligned.
///
/// # Safety
/// If it is neither, it points to a `T` that lives for `'a` and that nobody changes meanwhile but through its locks.
pub(crate) unsafe fn borrow<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    check(pointer, name)?;
    // SAFETY: neither null nor misaligned; the rest is this function's own condition.
    Ok(unsafe { &*pointer })
}

/// Writes `value` to where the caller wants it.
///
/// # Errors
/// As [`borrow`]; `value` is then dropped.
///
/// # Safety
/// If it is neither, it points to memory for a `T` that may be written.
pub(crate) unsafe fn put<T>(pointer: *mut T, value: T, name: &str) -> Result<(), Failure> {
    check(pointer, name)?;
    // SAFETY: neither null nor misaligned; the rest is this function's own condition. Nothing is dropped there: the types
    // written are plain, and the memory may be uninitialised.
    unsafe { pointer.write(value) };
    Ok(())
}

/// `count` values; none may be null.
///
/// # Errors
/// As [`borrow`]; [`AesaStatus::InvalidArgument`] also where no memory holds so many.
///
/// # Safety
/// If all is well with the pointer, it points to `count` values that nobody changes during `'a`.
pub(crate) unsafe fn values<'a, T>(pointer: *const T, count: usize, name: &str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    check(pointer, name)?;
    if count > isize::MAX as usize / size_of::<T>() {
        let message = format_args!("{name}: {count} values are more than any memory holds");
        return Err(Failure::new(AesaStatus::InvalidArgument, message));
    }
    // SAFETY: not null, aligned, within isize::MAX bytes; the rest is this function's own condition.
    Ok(unsafe { slice::from_raw_parts(pointer, count) })
}

/// A text that ends with a zero.
///
/// # Errors
/// [`AesaStatus::NullArgument`], [`AesaStatus::InvalidArgument`] if it is not UTF-8.
///
/// # Safety
/// If it is not null, it points to bytes that end with a zero and that nobody changes during `'a`.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    check(pointer, name)?;
    // SAFETY: not null; the rest is this function's own condition.
    let text = unsafe { CStr::from_ptr(pointer) }.to_str();
    text.map_err(|_| Failure::new(AesaStatus::InvalidArgument, format_args!("{name} is not UTF-8")))
}

/// Refuses what is null or misaligned.
pub(crate) fn check<T>(pointer: *const T, name: &str) -> Result<(), Failure> {
    match () {
        () if pointer.is_null() => Err(Failure::new(AesaStatus::NullArgument, format_args!("{name} is null"))),
        () if !pointer.is_aligned() => {
            Err(Failure::new(AesaStatus::InvalidArgument, format_args!("{name} is misaligned")))
        }
        () => Ok(()),
    }
}
