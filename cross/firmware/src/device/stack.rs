//! How much memory a program took beside its model.

use cortex_m_rt::STACK_PAINT_VALUE;

/// Bytes of the stack that were ever used: cortex-m-rt paints all of it before `main`.
#[allow(unsafe_code)]
pub(crate) fn used_bytes() -> usize {
    let (mut word, top) = (&raw const _stack_end, &raw const _stack_start);
    // SAFETY: between the two symbols of cortex-m-rt's linker script lies the stack, which is memory that can be read, as
    // whole words; below the frames in use nobody writes to it meanwhile but interrupts, which read and write no less.
    while word < top && unsafe { word.read_volatile() } == STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    top.addr() - word.addr()
}

/// Bytes of all variables that have a fixed place.
#[allow(unsafe_code)]
pub(crate) fn static_bytes() -> usize {
    (&raw const _stack_end).addr() - (&raw const __sdata).addr()
}

#[allow(unsafe_code)]
// SAFETY: these are symbols of cortex-m-rt's linker script. Only the addresses of the first and the last are taken.
unsafe extern "C" {
    static __sdata: u32;
    static _stack_end: u32;
    static _stack_start: u32;
}
